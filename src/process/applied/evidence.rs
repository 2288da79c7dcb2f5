//! What shows that everything up to a commit, or an event, is decided. Pure, so that its rules are tried without servers.
//!
//! A partition holds the records of commits in their order. It has passed a commit once a record of a later commit is decided and all
//! before it. A quiet partition shows nothing by its records. For it counts that capture has written everything up to the
//! commit, and that the partition is decided up to where it ended at a later moment.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::kafka::captured::Captured;
use crate::kafka::ends::PartitionEnds;
use crate::lsn::Lsn;
use crate::mongo::{ClaimState, CommitOrder, EventOrder};

/// A page of the log begins with a header, of this size or, at the beginning of a segment, of the other.
const PAGE_BYTES: u64 = 8_192;
const PAGE_HEADERS: [u64; 2] = [24, 40];

/// Where no record can begin any more before the next one. PostgreSQL's insert position is behind the header of a page that is not
/// begun yet, and the position that it sends is before it.
pub(super) fn without_page_header(lsn: Lsn) -> Lsn {
    let within = lsn.get() % PAGE_BYTES;
    if PAGE_HEADERS.contains(&within) { Lsn::new(lsn.get().saturating_sub(within)) } else { lsn }
}

/// A commit of the source, after those of clusters that were met before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Commit {
    pub(super) epoch: u16,
    /// At or before its commit record, and behind every commit before it.
    pub(super) lsn: Lsn,
}

impl Commit {
    /// The commit of an event, if its record tells one.
    pub(super) fn of(order: EventOrder) -> Option<Self> {
        match order {
            EventOrder::Commit(CommitOrder { epoch, commit, .. }) => Some(Self { epoch, lsn: Lsn::new(commit) }),
            EventOrder::Sequence(_) => None,
        }
    }
}

/// Which commits the own partitions have passed.
#[derive(Debug, Default)]
pub(super) struct Passage(HashMap<i32, PartitionPassage>);

#[derive(Debug, Default)]
struct PartitionPassage {
    /// The last record that was decided, whatever is still open before it.
    last: Option<(i64, Commit)>,
    /// One that was the last some time ago. Under load the last one always has something open before it.
    earlier: Option<(i64, Commit)>,
    passed: Option<Commit>,
}

impl Passage {
    /// A record is decided.
    pub(super) fn decided(&mut self, partition: i32, offset: i64, commit: Commit) {
        let known = self.0.entry(partition).or_default();
        if known.last.is_none_or(|(last, _)| last < offset) {
            known.last = Some((offset, commit));
        }
    }

    /// The partition is decided up to `end`; the last commit that it has passed by that.
    pub(super) fn advance(&mut self, partition: i32, end: Option<i64>) -> Option<Commit> {
        let known = self.0.get_mut(&partition)?;
        let is_passed =
            |record: Option<(i64, Commit)>| record.filter(|(offset, _)| end.is_some_and(|end| *offset < end));
        if let Some((_, commit)) = is_passed(known.last) {
            known.passed = known.passed.max(Some(commit));
            known.earlier = None;
        } else if let Some((_, commit)) = is_passed(known.earlier) {
            known.passed = known.passed.max(Some(commit));
            known.earlier = known.last;
        } else if known.earlier.is_none() {
            known.earlier = known.last;
        }
        known.passed
    }

    /// Partitions are read by somebody else.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.0.remove(partition);
        }
    }
}

/// How far an own partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnPartition {
    /// Everything before it is decided; `None` before the first record.
    pub(super) end: Option<i64>,
    pub(super) passed: Option<Commit>,
}

/// What one look shows, each part asked for after the one before, so that a later part never tells of less.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) own: BTreeMap<i32, OwnPartition>,
    /// What capture has written completely, and the place of its cluster among those met.
    pub(super) captured: Option<(Captured, Option<u16>)>,
    /// Every partition of the topic.
    pub(super) ends: Vec<PartitionEnds>,
    pub(super) claims: HashMap<Uuid, ClaimState>,
}

impl Look {
    /// One past what is decided of a partition, by whoever reads it.
    pub(super) fn decided_end(&self, ends: &PartitionEnds) -> Option<i64> {
        self.own.get(&ends.partition).and_then(|own| own.end).max(ends.committed)
    }

    /// The cluster whose commits are asked for: that of capture, else the one that was met last.
    fn epoch(&self) -> Option<u16> {
        match self.captured {
            Some((_, epoch)) => epoch,
            None => self.own.values().filter_map(|own| own.passed).map(|commit| commit.epoch).max(),
        }
    }

    fn has_passed(&self, partition: i32, lsn: Lsn) -> bool {
        let passed = self.own.get(&partition).and_then(|own| own.passed);
        passed.is_some_and(|commit| Some(commit.epoch) == self.epoch() && commit.lsn >= lsn)
    }
}

/// A commit that is waited for.
#[derive(Debug)]
pub(super) struct AwaitedCommit {
    lsn: Lsn,
    /// The cluster that it is of, if the question names one.
    system: Option<u64>,
    /// Where the partitions ended once capture had written everything up to it.
    targets: Option<BTreeMap<i32, i64>>,
}

impl AwaitedCommit {
    pub(super) fn new(lsn: Lsn, system: Option<u64>) -> Self {
        Self { lsn: without_page_header(lsn), system, targets: None }
    }

    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether everything up to the commit is decided.
    pub(super) fn is_decided(&mut self, look: &Look) -> bool {
        let captured = look.captured.map(|(captured, _)| captured.system);
        if self.system.is_some_and(|system| captured != Some(system)) {
            return false;
        }
        if self.targets.is_none() && look.captured.is_some_and(|(captured, _)| captured.lsn >= self.lsn) {
            self.targets = Some(look.ends.iter().map(|ends| (ends.partition, ends.end)).collect());
        }
        let is_reached = |ends: &PartitionEnds| {
            let Some(targets) = &self.targets else { return false };
            // A partition that was added since holds nothing of before.
            let Some(target) = targets.get(&ends.partition) else { return true };
            look.decided_end(ends).map_or(*target <= ends.low, |end| end >= *target)
        };
        let is_decided = |ends: &PartitionEnds| look.has_passed(ends.partition, self.lsn) || is_reached(ends);
        !look.ends.is_empty() && look.ends.iter().all(is_decided)
    }
}

/// What is known of an event that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventState {
    Applied,
    DeadLetter(Vec<String>),
    /// It was not read yet, its effects are on their way, or it waits.
    Open,
}

/// The state of an event of the topic that has the number `source`.
pub(super) fn event_state(look: &Look, event_id: Uuid, source: i32) -> EventState {
    let Some(claim) = look.claims.get(&event_id) else { return EventState::Open };
    if !claim.failed.is_empty() {
        return EventState::DeadLetter(claim.failed.clone());
    }
    let ends = look.ends.iter().find(|ends| claim.source == source && ends.partition == claim.partition);
    match ends.and_then(|ends| look.decided_end(ends)) {
        Some(end) if end > claim.offset => EventState::Applied,
        _ => EventState::Open,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commit(lsn: u64) -> Commit {
        Commit { epoch: 0, lsn: Lsn::new(lsn) }
    }

    fn own(end: i64, passed: Option<u64>) -> OwnPartition {
        OwnPartition { end: Some(end), passed: passed.map(commit) }
    }

    fn ends(partition: i32, end: i64, committed: Option<i64>) -> PartitionEnds {
        PartitionEnds { partition, low: 0, end, committed }
    }

    fn captured(lsn: u64) -> Option<(Captured, Option<u16>)> {
        Some((Captured { system: 7, lsn: Lsn::new(lsn) }, Some(0)))
    }

    fn is_decided(lsn: u64, look: &Look) -> bool {
        AwaitedCommit::new(Lsn::new(lsn), None).is_decided(look)
    }

    #[test]
    fn every_partition_has_to_have_passed_the_commit() {
        let mut look = Look { ends: vec![ends(0, 9, None), ends(1, 9, None)], ..Look::default() };
        look.own = BTreeMap::from([(0, own(9, Some(500))), (1, own(9, Some(400)))]);
        assert!(is_decided(400, &look) && !is_decided(401, &look));
        look.own.remove(&1);
        assert!(!is_decided(1, &look), "another member reads it, and nothing is known of capture");
        assert!(!is_decided(1, &Look::default()), "no partition is known");
    }

    #[test]
    fn quiet_partitions_count_up_to_where_they_ended_once_capture_was_past_the_commit() {
        let mut awaited = AwaitedCommit::new(Lsn::new(500), Some(7));
        let look = |lsn, end, own_end, committed| Look {
            own: BTreeMap::from([(0, own(own_end, None))]),
            captured: captured(lsn),
            ends: vec![ends(0, 4, None), ends(1, end, committed), PartitionEnds { low: 3, ..ends(2, 3, None) }],
            ..Look::default()
        };
        assert!(!awaited.is_decided(&look(499, 7, 4, Some(7))), "capture may have more to write");
        assert!(!awaited.is_decided(&look(500, 9, 4, Some(8))), "the group has not come to where the partition ended");
        assert!(!awaited.is_decided(&look(510, 20, 3, Some(9))), "the own partition has not");
        assert!(awaited.is_decided(&look(510, 20, 4, Some(9))), "what came later is none of it");
        assert!(
            !is_decided(500, &look(500, 1, 4, None)),
            "nothing of a partition that holds something is known to be applied"
        );
    }

    #[test]
    fn commits_of_another_cluster_show_nothing() {
        let of = |epoch, lsn| OwnPartition { end: Some(5), passed: Some(Commit { epoch, lsn: Lsn::new(lsn) }) };
        let mut look = Look { ends: vec![ends(0, 9, None), ends(1, 9, None)], ..Look::default() };
        look.own = BTreeMap::from([(0, of(1, 50)), (1, of(0, 900))]);
        assert!(!is_decided(40, &look), "the second has passed a commit of the former cluster only");
        look.own.insert(1, of(1, 60));
        assert!(is_decided(40, &look));
        assert!(
            !AwaitedCommit::new(Lsn::new(40), Some(7)).is_decided(&look),
            "capture is not known to read that cluster"
        );
        look.captured = Some((Captured { system: 9, lsn: Lsn::new(10) }, None));
        assert!(!is_decided(40, &look), "capture reads a cluster of which there was no event yet");
    }

    #[test]
    fn an_event_is_applied_once_its_own_record_is_decided_and_no_handler_has_failed() {
        let id = Uuid::from_u128(1);
        let claim = |offset, failed: &[&str]| {
            let failed = failed.iter().map(|name| (*name).to_owned()).collect();
            HashMap::from([(id, ClaimState { source: 3, partition: 0, offset, failed })])
        };
        let look = |claims| Look {
            own: BTreeMap::from([(0, own(5, None))]),
            ends: vec![ends(0, 9, Some(3))],
            claims,
            ..Look::default()
        };
        assert_eq!(event_state(&look(HashMap::new()), id, 3), EventState::Open);
        assert_eq!(event_state(&look(claim(4, &[])), id, 3), EventState::Applied);
        assert_eq!(event_state(&look(claim(5, &[])), id, 3), EventState::Open);
        assert_eq!(event_state(&look(claim(4, &[])), id, 2), EventState::Open, "offsets of another topic");
        let failed = EventState::DeadLetter(vec!["user_created".to_owned()]);
        assert_eq!(event_state(&look(claim(4, &["user_created"])), id, 3), failed);
    }

    #[test]
    fn a_position_behind_the_header_of_an_empty_page_is_that_of_the_page() {
        let cut = |lsn| without_page_header(Lsn::new(lsn)).get();
        assert_eq!([cut(8_192 * 5 + 24), cut(8_192 * 2_048 + 40)], [8_192 * 5, 8_192 * 2_048]);
        assert_eq!([cut(8_192 * 5 + 32), cut(8_192 * 5), cut(100)], [8_192 * 5 + 32, 8_192 * 5, 100]);
    }

    proptest! {
        /// Records that are decided in any order: what counts as passed has nothing open before it, and in the end all is.
        #[test]
        fn no_commit_is_passed_before_all_records_before_it_are_decided(
            order in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
            looks in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut passage = Passage::default();
            let mut open: Vec<i64> = (0..i64::try_from(order.len()).unwrap()).collect();
            let count = open.len();
            for (index, is_looked) in order.iter().zip(looks) {
                let offset = open.remove(index.index(open.len()));
                passage.decided(0, offset, commit(100 + 10 * offset.unsigned_abs()));
                let end = open.first().copied().unwrap_or(i64::try_from(count).unwrap());
                if is_looked && let Some(passed) = passage.advance(0, Some(end)) {
                    prop_assert!(passed.lsn.get() < 100 + 10 * end.unsigned_abs());
                }
            }
            let last = commit(100 + 10 * (count as u64 - 1));
            prop_assert_eq!(passage.advance(0, i64::try_from(count).ok()), Some(last));
        }
    }
}
