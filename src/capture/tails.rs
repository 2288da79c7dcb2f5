//! The last record of each partition, by which a record that is there already is known before it is sent again.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::envelope::{Position, SnapshotMark};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// The last record of a partition, as far as it can be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tail {
    /// evp wrote it.
    Ours(Position),
    /// Debezium wrote it.
    Debezium(DebeziumTail),
}

/// What Debezium's `source` block tells of the last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DebeziumTail {
    /// Transaction id.
    pub(crate) xid: Xid,
    /// Position of the change.
    pub(crate) lsn: Lsn,
    /// End of the commit before the transaction, from `sequence`.
    pub(crate) previous_commit_end: Option<Lsn>,
    /// How many of the partition's last records share this position, as rows of one COPY do.
    pub(crate) rows_at_lsn: u64,
    /// `source.snapshot`.
    #[serde(skip)]
    pub(crate) snapshot: SnapshotMark,
}

/// The tails of every partition that capture writes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tails {
    topics: HashMap<String, BTreeMap<i32, Tail>>,
    /// Transactions that commit after this were never written, so that most rows need no look-up.
    last_commit_lsn: Option<Lsn>,
    has_debezium: bool,
}

/// A record about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) position: Position,
    /// Position of the change.
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
        self.topics.entry(topic).or_default().insert(partition, tail);
    }

    /// Whether rows of this commit can be there already; once false it stays false in commit order.
    pub(crate) fn can_hold(&self, commit_lsn: Lsn) -> bool {
        self.has_debezium || self.last_commit_lsn.is_some_and(|last| commit_lsn <= last)
    }

    /// Whether the record is in its partition already.
    ///
    /// Each partition holds a prefix of its own sub-stream, so that comparing with its last record is enough.
    pub(crate) fn holds(&mut self, topic: &str, partition: i32, candidate: &Candidate) -> bool {
        match self.topics.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition)) {
            Some(Tail::Ours(position)) => candidate.position.order() <= position.order(),
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
        self.all().map(lsn).max().unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &Tail> {
        self.topics.values().flat_map(BTreeMap::values)
    }

    /// The last records of all partitions.
    pub(super) fn by_topic(&self) -> BTreeMap<String, BTreeMap<i32, Tail>> {
        self.topics.iter().map(|(topic, partitions)| (topic.clone(), partitions.clone())).collect()
    }

    /// Whether Debezium was reading tables when it wrote last: its records are a snapshot's, and the last one is missing.
    pub(super) fn ends_within_debeziums_snapshot(&self) -> bool {
        let mut marks = self.all().filter_map(|tail| match tail {
            Tail::Debezium(tail) => Some(tail.snapshot),
            Tail::Ours(_) => None,
        });
        let is_open = |mark| !matches!(mark, SnapshotMark::False | SnapshotMark::Last | SnapshotMark::Incremental);
        let first = marks.next();
        first.is_some_and(is_open) && marks.all(is_open) && self.last_of_ours().is_none()
    }

    pub(super) fn last_of_ours(&self) -> Option<&Position> {
        let ours = self.all().filter_map(|tail| match tail {
            Tail::Ours(position) => Some(position),
            Tail::Debezium(_) => None,
        });
        ours.max_by_key(|position| position.order())
    }

    /// Whether Debezium has read the slot since we did: it goes on to move it, with its heartbeats, beyond what it wrote.
    pub(super) fn debezium_is_beyond(&self, confirmed: Lsn) -> bool {
        self.all().any(|tail| match tail {
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
            Some(end) => candidate.position.commit_lsn < end,
            // It is of a snapshot, which holds what had committed before its position; or of the first transaction that
            // Debezium saw, and then whatever else commits behind the change commits behind its transaction.
            None => candidate.position.commit_lsn < self.lsn,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::envelope::PositionKind;

    pub(in crate::capture) const SYSTEM: u64 = 7;

    pub(in crate::capture) fn ours(lsn: u64, row: u64) -> Tail {
        Tail::Ours(position(lsn, row))
    }

    pub(in crate::capture) fn position(commit: u64, row: u64) -> Position {
        let kind = PositionKind::Stream;
        Position { kind, system_identifier: SYSTEM, commit_lsn: Lsn::new(commit), row, part: 0 }
    }

    pub(in crate::capture) fn debezium() -> Tail {
        Tail::Debezium(DebeziumTail {
            xid: Xid(9),
            lsn: Lsn::new(200),
            previous_commit_end: Some(Lsn::new(150)),
            rows_at_lsn: 2,
            snapshot: SnapshotMark::False,
        })
    }

    pub(in crate::capture) fn tails(tail: Option<Tail>) -> Tails {
        let mut tails = Tails::default();
        if let Some(tail) = tail {
            tails.insert("t".to_owned(), 0, tail);
        }
        tails
    }

    fn read(snapshot: SnapshotMark) -> Tail {
        let (xid, lsn) = (Xid(9), Lsn::new(200));
        Tail::Debezium(DebeziumTail { xid, lsn, previous_commit_end: None, rows_at_lsn: 1, snapshot })
    }

    #[test]
    fn a_snapshot_of_debeziums_is_finished_by_its_last_row_or_by_the_stream() {
        let ends = |tails: &[Tail]| {
            let mut all = Tails::default();
            let numbered = (0..).zip(tails);
            numbered.for_each(|(partition, tail)| all.insert("t".to_owned(), partition, tail.clone()));
            all.ends_within_debeziums_snapshot()
        };
        assert!(ends(&[read(SnapshotMark::True), read(SnapshotMark::LastInTable)]));
        assert!(!ends(&[read(SnapshotMark::True), read(SnapshotMark::Last)]));
        assert!(!ends(&[read(SnapshotMark::True), debezium()]));
        assert!(!ends(&[read(SnapshotMark::True), ours(100, 1)]) && !ends(&[]));
    }

    fn candidate(commit: u64, row: u64) -> Candidate {
        Candidate { position: position(commit, row), lsn: Lsn::new(commit - 5), xid: Xid(1) }
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
        let mut tails = tails(Some(read(SnapshotMark::Last)));
        assert!(tails.holds("t", 0, &candidate(199, 0)));
        assert!(!tails.holds("t", 0, &candidate(201, 0)));
    }

    #[test]
    fn what_debezium_wrote_is_known_by_its_transaction_and_the_commit_before_it() {
        let mut tails = tails(Some(debezium()));
        assert!(tails.holds("t", 0, &candidate(140, 0)), "committed before Debezium's last transaction");
        assert!(!tails.holds("t", 0, &candidate(230, 0)), "committed after it");
        let same = |lsn: u64| Candidate { xid: Xid(9), lsn: Lsn::new(lsn), ..candidate(210, 0) };
        assert!(tails.holds("t", 0, &same(199)) && !tails.holds("t", 0, &same(201)));
        let rows_of_one_copy: Vec<bool> = (0..3).map(|_| tails.holds("t", 0, &same(200))).collect();
        assert_eq!(rows_of_one_copy, [true, true, false], "two of them were written");
    }
}
