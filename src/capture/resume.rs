//! Where to go on: what the topic already holds, and whether the slot still leads up to it.
//!
//! Three witnesses are compared at each start. The *slot* says from where PostgreSQL will send. The
//! *confirmation record*, written to Kafka before each confirmation to PostgreSQL, says how far the slot
//! can have come by us. The *tails* of the topics say what is written. A slot that is further than
//! ever confirmed was moved by somebody else, and what lies between is nowhere: that is refused.

use std::collections::HashMap;

use super::lineage::{END_LOST, Lineage};
use crate::envelope::Position;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// The last record of a partition, as far as it can be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tail {
    /// evp wrote it.
    Ours(Position),
    /// Debezium wrote it.
    Debezium(DebeziumTail),
}

/// What Debezium's `source` block tells of the last record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DebeziumTail {
    /// Transaction id.
    pub(crate) xid: Xid,
    /// Position of the change.
    pub(crate) lsn: Lsn,
    /// End of the commit before the transaction, from `sequence`.
    pub(crate) previous_commit_end: Option<Lsn>,
    /// How many of the partition's last records share this position, as rows of one COPY do.
    pub(crate) rows_at_lsn: u64,
}

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
    /// End of the server's log.
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
    let written = evidence.tails.last_lsn();
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
            None => {
                Error::new(ErrorKind::Missing, format!("replication slot {slot_name} does not exist; run `evp init`"))
            }
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

/// The tails of every partition that capture writes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tails {
    partitions: HashMap<(String, i32), Tail>,
    /// Transactions that commit after this were never written, so that most rows need no look-up.
    last_commit_lsn: Option<Lsn>,
    has_debezium: bool,
}

/// A record about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) commit_lsn: Lsn,
    pub(crate) index: u64,
    pub(crate) lsn: Lsn,
    pub(crate) xid: Xid,
}

impl Tails {
    /// Adds the last record of a partition.
    pub(crate) fn insert(&mut self, topic: String, partition: i32, tail: Tail) {
        match &tail {
            Tail::Ours(position) => {
                self.last_commit_lsn = self.last_commit_lsn.max(Some(position.commit_lsn));
            }
            Tail::Debezium(_) => self.has_debezium = true,
        }
        self.partitions.insert((topic, partition), tail);
    }

    /// Whether rows of this commit can be there already; once false it stays false in commit order.
    pub(crate) fn can_hold(&self, commit_lsn: Lsn) -> bool {
        self.has_debezium || self.last_commit_lsn.is_some_and(|last| commit_lsn <= last)
    }

    /// Whether the record is in its partition already.
    ///
    /// Each partition holds a prefix of its own sub-stream, so that comparing with its last record is enough.
    pub(crate) fn holds(&mut self, topic: &str, partition: i32, candidate: &Candidate) -> bool {
        match self.partitions.get_mut(&(topic.to_owned(), partition)) {
            Some(Tail::Ours(position)) => (candidate.commit_lsn, candidate.index) <= position.order(),
            Some(Tail::Debezium(tail)) => tail.holds(candidate),
            None => false,
        }
    }

    /// How far the topics are known to reach: the commit of our last record, or Debezium's last change.
    pub(crate) fn last_lsn(&self) -> Lsn {
        let lsn = |tail: &Tail| match tail {
            Tail::Ours(position) => position.commit_lsn,
            Tail::Debezium(tail) => tail.lsn,
        };
        self.partitions.values().map(lsn).max().unwrap_or_default()
    }

    fn last_of_ours(&self) -> Option<&Position> {
        let ours = self.partitions.values().filter_map(|tail| match tail {
            Tail::Ours(position) => Some(position),
            Tail::Debezium(_) => None,
        });
        ours.max_by_key(|position| position.order())
    }

    /// Whether Debezium has read the slot since we did: it goes on to move it, with its heartbeats, beyond what it wrote.
    fn debezium_is_beyond(&self, confirmed: Lsn) -> bool {
        self.partitions.values().any(|tail| match tail {
            Tail::Debezium(tail) => tail.lsn > confirmed,
            Tail::Ours(_) => false,
        })
    }
}

impl DebeziumTail {
    /// Debezium does not say where its transaction commits, but which commit came before it.
    fn holds(&mut self, candidate: &Candidate) -> bool {
        if candidate.xid == self.xid {
            if candidate.lsn != self.lsn {
                return candidate.lsn < self.lsn;
            }
            let is_written = self.rows_at_lsn > 0;
            self.rows_at_lsn = self.rows_at_lsn.saturating_sub(1);
            return is_written;
        }
        match self.previous_commit_end {
            Some(end) => candidate.commit_lsn < end,
            // It is of a snapshot, which holds what had committed before its position; or of the first transaction that
            // Debezium saw, and then whatever else commits behind the change commits behind its transaction.
            None => candidate.commit_lsn < self.lsn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: u64 = 7;

    fn ours(lsn: u64, index: u64) -> Tail {
        Tail::Ours(Position { system_identifier: SYSTEM, commit_lsn: Lsn::new(lsn), index })
    }

    fn debezium() -> Tail {
        Tail::Debezium(DebeziumTail {
            xid: Xid(9),
            lsn: Lsn::new(200),
            previous_commit_end: Some(Lsn::new(150)),
            rows_at_lsn: 2,
        })
    }

    fn tails(tail: Option<Tail>) -> Tails {
        let mut tails = Tails::default();
        if let Some(tail) = tail {
            tails.insert("t".to_owned(), 0, tail);
        }
        tails
    }

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

    fn candidate(commit: u64, index: u64) -> Candidate {
        Candidate { commit_lsn: Lsn::new(commit), index, lsn: Lsn::new(commit - 5), xid: Xid(1) }
    }

    #[test]
    fn exactly_what_is_written_is_dropped() {
        let mut tails = tails(Some(ours(100, 3)));
        assert!(tails.holds("t", 0, &candidate(90, 9)));
        assert!(tails.holds("t", 0, &candidate(100, 3)));
        assert!(!tails.holds("t", 0, &candidate(100, 4)));
        assert!(!tails.holds("t", 1, &candidate(90, 0)), "another partition has its own end");
        assert!(tails.can_hold(Lsn::new(100)) && !tails.can_hold(Lsn::new(101)));
    }

    #[test]
    fn what_committed_behind_a_snapshot_is_not_in_it_whatever_the_clocks_say() {
        let snapshot = DebeziumTail { xid: Xid(9), lsn: Lsn::new(200), previous_commit_end: None, rows_at_lsn: 1 };
        let mut tails = tails(Some(Tail::Debezium(snapshot)));
        assert!(tails.holds("t", 0, &candidate(199, 0)));
        assert!(!tails.holds("t", 0, &candidate(201, 0)));
    }

    #[test]
    fn a_slot_that_debezium_moved_is_taken_over_where_debezium_stopped() {
        let debezium = debezium();
        assert!(check(Some(150), Some(&confirmed(100)), Some(debezium.clone())).is_ok());
        assert!(check(Some(300), Some(&confirmed(100)), Some(debezium.clone())).is_ok(), "its heartbeats moved it");
        assert!(check(Some(300), Some(&confirmed(250)), Some(debezium.clone())).is_err(), "we have read it since");
        let mut tails = tails(Some(debezium));
        assert!(tails.holds("t", 0, &candidate(140, 0)), "committed before Debezium's last transaction");
        assert!(!tails.holds("t", 0, &candidate(230, 0)), "committed after it");
        let same = |lsn: u64| Candidate { xid: Xid(9), lsn: Lsn::new(lsn), ..candidate(210, 0) };
        assert!(tails.holds("t", 0, &same(199)) && !tails.holds("t", 0, &same(201)));
        let rows_of_one_copy: Vec<bool> = (0..3).map(|_| tails.holds("t", 0, &same(200))).collect();
        assert_eq!(rows_of_one_copy, [true, true, false], "two of them were written");
    }
}
