//! Which offset of each partition may be committed.
//!
//! Records finish in any order. What may be committed is one past the last record before which everything
//! received is done. Only received records count, so that offsets missing from a partition, by compaction
//! or transaction markers, need no special case.

use std::collections::{BTreeMap, VecDeque};

/// Received and finished records of the assigned partitions.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    partitions: BTreeMap<i32, PartitionOffsets>,
    assignments: u64,
}

/// Tells one assignment of a partition from a later one, so that records of the former cannot finish in the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Assignment(u64);

#[derive(Debug, Default)]
struct PartitionOffsets {
    assignment: Assignment,
    /// From the first unfinished record on, in order.
    received: VecDeque<(i64, Stage)>,
    /// One past the last record that was received.
    received_end: Option<i64>,
    /// One past the finished prefix.
    committable: Option<i64>,
    /// What was last handed out for committing.
    handed_out: Option<i64>,
}

/// How far a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not been tried.
    Open,
    /// It was tried, and waits.
    Waiting,
    /// It is applied, skipped, or safely in the dead-letter topic.
    Done,
}

impl OffsetTracker {
    /// Starts a partition anew; `beginning` may be committed at once.
    pub(crate) fn assign(&mut self, partition: i32, beginning: Option<i64>) {
        self.assignments = self.assignments.saturating_add(1);
        let assignment = Assignment(self.assignments);
        let offsets = PartitionOffsets { assignment, committable: beginning, ..PartitionOffsets::default() };
        self.partitions.insert(partition, offsets);
    }

    /// Forgets a partition.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// Whether the partition is still read under that assignment.
    pub(crate) fn is_current(&self, partition: i32, assignment: Assignment) -> bool {
        self.partitions.get(&partition).is_some_and(|known| known.assignment == assignment)
    }

    /// The partitions that are assigned.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.partitions.keys().copied()
    }

    /// Notes a record that was received; `None` if it is known already or the partition is not assigned.
    pub(crate) fn received(&mut self, partition: i32, offset: i64) -> Option<Assignment> {
        let partition = self.partitions.get_mut(&partition)?;
        let is_next = partition.received.back().is_none_or(|(last, _)| *last < offset)
            && partition.committable.is_none_or(|committable| committable <= offset);
        if !is_next {
            return None;
        }
        partition.received.push_back((offset, Stage::Open));
        partition.received_end = Some(offset.saturating_add(1));
        Some(partition.assignment)
    }

    /// Notes a record that was tried and waits for what another record brings.
    pub(crate) fn waits(&mut self, partition: i32, assignment: Assignment, offset: i64) {
        self.set_stage(partition, assignment, offset, Stage::Waiting);
    }

    /// One past the last record before which every record was tried; `None` before the first record.
    pub(crate) fn tried_end(&self, partition: i32) -> Option<i64> {
        let partition = self.partitions.get(&partition)?;
        let first_open = partition.received.iter().find(|(_, stage)| *stage == Stage::Open);
        first_open.map(|(offset, _)| *offset).or(partition.received_end)
    }

    /// One past the last record before which every record is done; `None` before the first one, unless the beginning is known.
    pub(crate) fn decided_end(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.committable
    }

    fn set_stage(&mut self, partition: i32, assignment: Assignment, offset: i64, stage: Stage) {
        let partition = self.partitions.get_mut(&partition).filter(|partition| partition.assignment == assignment);
        let Some(partition) = partition else { return };
        if let Ok(index) = partition.received.binary_search_by_key(&offset, |(received, _)| *received)
            && let Some((_, known)) = partition.received.get_mut(index)
        {
            *known = stage;
        }
    }

    /// Notes a record that is applied, skipped, or safely in the dead-letter topic.
    pub(crate) fn done(&mut self, partition: i32, assignment: Assignment, offset: i64) {
        self.set_stage(partition, assignment, offset, Stage::Done);
        let Some(partition) = self.partitions.get_mut(&partition) else { return };
        while let Some((offset, Stage::Done)) = partition.received.front().copied() {
            partition.received.pop_front();
            partition.committable = Some(offset.saturating_add(1));
        }
    }

    /// The offsets that have advanced since this was last asked.
    pub(crate) fn take_committable(&mut self) -> Vec<(i32, i64)> {
        let advanced = self.partitions.iter_mut().filter_map(|(number, partition)| {
            let committable = partition.committable.filter(|_| partition.committable != partition.handed_out)?;
            partition.handed_out = Some(committable);
            Some((*number, committable))
        });
        advanced.collect()
    }

    /// Hands out again what was handed out, because committing it failed.
    pub(crate) fn commit_failed(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.handed_out = None;
        }
    }

    /// Whether all that was received is done, and handed out for committing.
    pub(crate) fn is_settled(&self) -> bool {
        self.partitions.values().all(|known| known.received.is_empty() && known.committable == known.handed_out)
    }

    /// How many records are received and not yet committable.
    pub(crate) fn outstanding(&self) -> usize {
        self.partitions.values().map(|partition| partition.received.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tracker(offsets: &[i64]) -> (OffsetTracker, Assignment) {
        let mut tracker = OffsetTracker::default();
        tracker.assign(0, None);
        let mut assignment = Assignment::default();
        for offset in offsets {
            assignment = tracker.received(0, *offset).unwrap();
        }
        (tracker, assignment)
    }

    #[test]
    fn a_gap_in_the_offsets_does_not_stop_the_commit() {
        let (mut tracker, current) = tracker(&[3, 4, 9]);
        tracker.done(0, current, 4);
        assert_eq!(tracker.take_committable(), []);
        tracker.done(0, current, 3);
        assert_eq!(tracker.take_committable(), [(0, 5)]);
        tracker.done(0, current, 9);
        assert_eq!(tracker.take_committable(), [(0, 10)]);
        assert_eq!(tracker.take_committable(), []);
        tracker.commit_failed();
        assert_eq!(tracker.take_committable(), [(0, 10)]);
    }

    #[test]
    fn what_finishes_after_its_partition_was_revoked_counts_for_nothing() {
        let (mut tracker, former) = tracker(&[1, 2]);
        tracker.revoke(0);
        tracker.done(0, former, 1);
        assert_eq!(tracker.take_committable(), []);
        tracker.assign(0, None);
        let current = tracker.received(0, 1).unwrap();
        tracker.done(0, former, 1);
        assert_eq!((tracker.take_committable(), tracker.outstanding()), (vec![], 1));
        assert!(tracker.is_current(0, current) && !tracker.is_current(0, former));
    }

    #[test]
    fn where_a_partition_begins_is_committed_before_its_first_record() {
        let mut tracker = OffsetTracker::default();
        tracker.assign(0, Some(7));
        assert_eq!(tracker.take_committable(), [(0, 7)]);
        let current = tracker.received(0, 7).unwrap();
        tracker.done(0, current, 7);
        assert!(!tracker.is_settled(), "it is not committed");
        assert_eq!(tracker.take_committable(), [(0, 8)]);
        assert!(tracker.is_settled());
        tracker.received(0, 8).unwrap();
        assert!(!tracker.is_settled());
    }

    #[test]
    fn a_record_received_again_counts_once() {
        let (mut tracker, current) = tracker(&[1, 2]);
        assert_eq!(tracker.received(0, 2), None);
        tracker.done(0, current, 1);
        assert_eq!(tracker.received(0, 1), None);
        assert_eq!(tracker.outstanding(), 1);
        assert_eq!(tracker.received(5, 1), None);
    }

    #[test]
    fn what_waits_was_tried_and_what_is_in_the_works_was_not() {
        let (mut tracker, current) = tracker(&[3, 4, 9]);
        assert_eq!(tracker.tried_end(0), Some(3));
        tracker.waits(0, current, 3);
        assert_eq!(tracker.tried_end(0), Some(4));
        tracker.done(0, current, 9);
        assert_eq!((tracker.tried_end(0), tracker.take_committable(), tracker.decided_end(0)), (Some(4), vec![], None));
        tracker.done(0, current, 4);
        assert_eq!(tracker.tried_end(0), Some(10));
        tracker.done(0, current, 3);
        assert_eq!((tracker.tried_end(0), tracker.take_committable()), (Some(10), vec![(0, 10)]));
        assert_eq!((tracker.decided_end(0), tracker.tried_end(1), tracker.decided_end(1)), (Some(10), None, None));
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_completion_no_unfinished_record_is_passed(
            gaps in prop::collection::vec(1_i64..4, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let (mut tracker, current) = tracker(&offsets);
            let mut unfinished = offsets.clone();
            let mut committed = 0;
            for index in order {
                if unfinished.is_empty() {
                    break;
                }
                tracker.done(0, current, unfinished.remove(index.index(unfinished.len())));
                let first_unfinished = unfinished.first().copied().unwrap_or(i64::MAX);
                for (_, offset) in tracker.take_committable() {
                    prop_assert!(offset > committed && offset <= first_unfinished);
                    prop_assert!(offsets.contains(&(offset - 1)));
                    committed = offset;
                }
            }
            prop_assert!(unfinished.is_empty());
            prop_assert_eq!(Some(committed), offsets.last().map(|last| last + 1));
            prop_assert_eq!(tracker.outstanding(), 0);
        }
    }
}
