//! Whether the slot still leads up to what the topics hold.
//!
//! Three witnesses are compared at each start. The *slot* says from where PostgreSQL will send. The
//! *confirmation record*, written to Kafka before each confirmation to PostgreSQL, says how far the slot
//! can have come by us. The *tails* of the topics say what is written. A slot that is further than
//! ever confirmed was moved by somebody else, and what lies between is nowhere: that is refused.

use super::lineage::{END_LOST, Lineage};
use super::snapshot::SnapshotProgress;
use super::tails::Tails;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// What was last written about confirmations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirmation {
    /// The cluster.
    pub(crate) system_identifier: u64,
    /// The slot was never confirmed beyond this by evp.
    pub(crate) confirmed_lsn: Lsn,
    /// End of the last commit seen until then.
    pub(crate) last_commit_end: Option<Lsn>,
    /// What the ends of the topics mean.
    pub(crate) lineage: Lineage,
}

/// The server's history is not the one of the last session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promotion {
    /// The timeline of the last session.
    pub(crate) from: u32,
    /// Where the server's history parts from that one's.
    pub(crate) parted_at: Lsn,
}

/// A partition that is shorter than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortened {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// It was written up to here.
    pub(crate) written: i64,
    pub(crate) end: i64,
}

/// The three witnesses.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) slot_name: &'a str,
    pub(crate) system_identifier: u64,
    /// End of the server's log, with what is in memory alone: a snapshot may have seen that far.
    pub(crate) server_lsn: Lsn,
    /// The slot's `confirmed_flush_lsn`; `None` if there is no such slot.
    pub(crate) slot_lsn: Option<Lsn>,
    pub(crate) is_slot_lost: bool,
    /// Why it is, by the server's word.
    pub(crate) lost_reason: Option<&'a str>,
    pub(crate) promotion: Option<Promotion>,
    pub(crate) confirmation: Option<&'a Confirmation>,
    pub(crate) tails: &'a Tails,
    /// A partition that ends before what evp has written to it.
    pub(crate) shortened: Option<Shortened>,
}

/// Refuses to go on where the topics hold what the server's history does not: positions of the two say nothing of
/// each other.
pub(crate) fn check_history(evidence: &Evidence<'_>) -> Result<()> {
    let ours = evidence.tails.last_of_ours();
    let known_system =
        evidence.confirmation.map(|record| record.system_identifier).or(ours.map(|p| p.system_identifier));
    if let Some(known) = known_system.filter(|known| *known != evidence.system_identifier) {
        return Err(refused(format!(
            "the topic was written from cluster {known}, but this server is cluster {}",
            evidence.system_identifier
        )));
    }
    let read = evidence.confirmation.and_then(|record| record.lineage.snapshot.as_ref()).map(SnapshotProgress::reach);
    let written = evidence.tails.last_lsn().max(read.unwrap_or_default());
    if let Some(Promotion { from, parted_at }) = evidence.promotion.filter(|promotion| promotion.parted_at <= written) {
        return Err(refused(format!(
            "the topic was written from timeline {from} and reaches to {written}, but this server left that history at \
             {parted_at}: a standby was promoted, or a backup restored, that does not have all of it"
        )));
    }
    if evidence.server_lsn < written {
        return Err(refused(format!(
            "the topic reaches to {written}, but the server's log ends at {}: it was restored from a backup",
            evidence.server_lsn
        )));
    }
    Ok(())
}

/// Refuses to go on where changes would be skipped.
pub(crate) fn check_for_gap(evidence: &Evidence<'_>) -> Result<()> {
    let slot_name = evidence.slot_name;
    let ours = evidence.tails.last_of_ours();
    let written = ours.map_or(Lsn::ZERO, |position| position.commit_lsn);
    // What was confirmed of the history that was left says nothing of this one.
    let parted_at = evidence.promotion.map(|promotion| promotion.parted_at);
    let confirmed =
        evidence.confirmation.map(|record| parted_at.map_or(record.confirmed_lsn, |at| record.confirmed_lsn.min(at)));
    let Some(slot_lsn) = evidence.slot_lsn else {
        let known = confirmed.max(Some(evidence.tails.last_lsn()).filter(|lsn| *lsn > Lsn::ZERO));
        return Err(match known {
            Some(known) => refused(format!(
                "replication slot {slot_name} is gone; changes after {known} are not in Kafka; make it again with `evp init`"
            )),
            None => Error::new(
                ErrorKind::Missing,
                format!("replication slot {slot_name} does not exist; run `evp init` with the same connector file"),
            ),
        });
    };
    if evidence.is_slot_lost {
        return Err(refused(format!(
            "PostgreSQL has given replication slot {slot_name} up ({}); changes after {slot_lsn} are not in Kafka; drop the \
             slot and make it again with `evp init`",
            lost_because(evidence.lost_reason)
        )));
    }
    // Without positions in headers our own records look like Debezium's.
    let may_be_debezium = evidence.confirmation.is_none_or(|record| !record.lineage.is_without_header);
    if let Some(Shortened { topic, partition, written: END_LOST, .. }) = &evidence.shortened {
        return Err(refused(format!(
            "topic {topic} was deleted and made anew while evp wrote to its partition {partition}, and what was in it is gone"
        )));
    }
    if let Some(Shortened { topic, partition, written, end }) = &evidence.shortened {
        return Err(refused(format!(
            "partition {partition} of topic {topic} ends at offset {end}, but evp has written up to {written}: it was deleted, \
             made anew or shortened, and records {end} to {} are gone from it",
            written.saturating_sub(1)
        )));
    }
    match confirmed {
        Some(confirmed)
            if slot_lsn > confirmed && !(may_be_debezium && evidence.tails.debezium_is_beyond(confirmed)) =>
        {
            Err(refused(format!(
                "replication slot {slot_name} stands at {slot_lsn}, beyond {confirmed} where evp left it: it was advanced, \
             re-created or read by somebody else; changes between the two may not be in Kafka"
            )))
        }
        None if ours.is_some() => Err(refused(format!(
            "the record of what was confirmed for replication slot {slot_name} is missing from Kafka, so a gap between \
             {written} and {slot_lsn} cannot be ruled out"
        ))),
        _ => Ok(()),
    }
}

/// The setting behind an `invalidation_reason` of version 17 or later; earlier servers know one reason.
fn lost_because(reason: Option<&str>) -> String {
    match reason {
        None | Some("wal_removed") => "wal_status is lost: it held more log than max_slot_wal_keep_size".to_owned(),
        Some("idle_timeout") => "nobody read it for idle_replication_slot_timeout".to_owned(),
        Some("wal_level_insufficient") => "wal_level was below logical".to_owned(),
        Some(other) => format!("invalidation_reason is {other}"),
    }
}

fn refused(what: String) -> Error {
    Error::refused(format!("{what}; if that is acceptable, start once with --accept-gap"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::tails::Tail;
    use crate::capture::tails::tests::{SYSTEM, debezium, ours, tails};

    fn confirmed(lsn: u64) -> Confirmation {
        Confirmation {
            system_identifier: SYSTEM,
            confirmed_lsn: Lsn::new(lsn),
            last_commit_end: None,
            lineage: Lineage::default(),
        }
    }

    fn check(slot: Option<u64>, confirmation: Option<&Confirmation>, tail: Option<Tail>) -> Result<()> {
        check_promoted(slot, confirmation, tail, None)
    }

    fn check_promoted(
        slot: Option<u64>,
        confirmation: Option<&Confirmation>,
        tail: Option<Tail>,
        promotion: Option<Promotion>,
    ) -> Result<()> {
        let evidence = Evidence {
            slot_name: "s",
            system_identifier: SYSTEM,
            server_lsn: Lsn::new(1_000),
            slot_lsn: slot.map(Lsn::new),
            is_slot_lost: false,
            lost_reason: None,
            promotion,
            confirmation,
            tails: &tails(tail),
            shortened: None,
        };
        check_history(&evidence).and_then(|()| check_for_gap(&evidence))
    }

    #[test]
    fn a_promoted_server_is_refused_unless_it_has_all_that_the_topic_holds() {
        let promoted = |parted_at: u64| {
            let promotion = Promotion { from: 3, parted_at: Lsn::new(parted_at) };
            check_promoted(Some(80), Some(&confirmed(100)), Some(ours(90, 0)), Some(promotion))
        };
        assert!(promoted(95).is_ok(), "what was confirmed behind the last record was empty");
        let re_created = Promotion { from: 3, parted_at: Lsn::new(95) };
        let error = check_promoted(Some(97), Some(&confirmed(100)), Some(ours(90, 0)), Some(re_created)).unwrap_err();
        assert!(error.message().contains("0/5F") && error.message().contains("0/61"), "{error}");
        for parted_at in [89, 90, 0] {
            let error = promoted(parted_at).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.message().contains("timeline 3") && error.message().contains("0/5A"), "{error}");
        }
    }

    #[test]
    fn a_slot_at_or_before_what_was_confirmed_is_fine() {
        assert!(check(Some(100), Some(&confirmed(100)), Some(ours(90, 0))).is_ok());
        assert!(check(Some(50), Some(&confirmed(100)), Some(ours(90, 0))).is_ok(), "the server crashed");
        assert!(check(Some(100), None, None).is_ok(), "a first start trusts the slot");
    }

    #[test]
    fn a_slot_beyond_what_was_confirmed_is_refused_with_the_range() {
        let error = check(Some(101), Some(&confirmed(100)), Some(ours(90, 0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("0/65") && error.message().contains("0/64"), "{error}");
        assert!(error.message().contains("--accept-gap"));
    }

    #[test]
    fn a_dropped_slot_is_refused_once_something_was_written_and_missing_before() {
        assert_eq!(check(None, Some(&confirmed(100)), None).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(check(None, None, Some(ours(90, 0))).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(check(None, None, Some(debezium())).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(check(None, None, None).unwrap_err().kind(), ErrorKind::Missing);
    }

    #[test]
    fn another_cluster_and_a_restored_backup_are_refused() {
        let other = Confirmation { system_identifier: 8, ..confirmed(100) };
        assert_eq!(check(Some(100), Some(&other), None).unwrap_err().kind(), ErrorKind::Refused);
        let ahead = check(Some(100), Some(&confirmed(100)), Some(ours(2_000, 0)));
        assert_eq!(ahead.unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn records_without_a_confirmation_are_refused() {
        assert_eq!(check(Some(100), None, Some(ours(90, 0))).unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_slot_that_debezium_moved_is_taken_over_where_debezium_stopped() {
        let debezium = debezium();
        assert!(check(Some(150), Some(&confirmed(100)), Some(debezium.clone())).is_ok());
        assert!(check(Some(300), Some(&confirmed(100)), Some(debezium.clone())).is_ok(), "its heartbeats moved it");
        assert!(check(Some(300), Some(&confirmed(250)), Some(debezium)).is_err(), "we have read it since");
    }
}
