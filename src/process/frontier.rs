//! How far the group has come in the topic, by which an event is judged whose document is missing.
//!
//! A clock would not tell whether the event that creates the document was lost or stands in a partition that is behind.
//! So the ends of all partitions are looked at while something waits. An attempt counts once every other partition has
//! been tried up to where it ended when the waiting began, or up to records that were written after the event. In its own
//! partition whatever comes behind the event was committed later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kafka::chunk::Chunk;
use crate::kafka::ends::PartitionEnds;
use crate::kafka::offsets::OffsetTracker;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The least time after which a partition that does not move counts as tried to its end: what is left of it are markers
/// of transactions, or its reader waits for an event itself.
const STILL_MIN: Duration = Duration::from_secs(20);
/// Brokers that give the time of writing themselves may differ by so much.
const CLOCK_SKEW_MS: i64 = 5_000;

/// What is known of the topic's ends and of the way there.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    partitions: BTreeMap<i32, PartitionFrontier>,
    looked: Option<Instant>,
}

#[derive(Debug, Default)]
struct PartitionFrontier {
    /// Where it ended at a time, if that is not reached yet.
    end: Option<(Instant, i64)>,
    /// Everything that was in it at that time has been tried.
    passed: Option<Instant>,
    /// How far it is tried, and since when.
    reached: Option<(i64, Instant)>,
    /// When the record was written that was last taken of it.
    taken_ms: Option<i64>,
}

/// What waits for its document.
#[derive(Debug, Clone, Copy)]
pub(super) struct MissingSince {
    pub(super) partition: i32,
    pub(super) since: Instant,
    /// When its record was written.
    pub(super) written_ms: Option<i64>,
}

impl Frontier {
    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_INTERVAL)
    }

    /// Notes a look that began at `began`. Own partitions are as far as `tracker` says, others as the group has committed.
    ///
    /// One that has not moved for `still` counts as tried to its end; `None` where own records have not been taken.
    pub(super) fn looked(
        &mut self,
        began: Instant,
        looks: &[PartitionEnds],
        tracker: &OffsetTracker,
        still: impl Fn(i32) -> Option<Duration>,
    ) {
        self.looked = Some(began);
        for look in looks {
            let reached = tracker.tried_end(look.partition).or(look.committed).unwrap_or(look.low).max(look.low);
            let known = self.partitions.entry(look.partition).or_default();
            known.looked(began, reached, look.end, still(look.partition));
        }
    }

    /// Whether the event that creates the document is nowhere where it could still be read.
    pub(super) fn has_passed(&self, missing: MissingSince) -> bool {
        let others = || self.partitions.iter().filter(|(partition, _)| **partition != missing.partition);
        self.looked.is_some_and(|looked| looked >= missing.since)
            && others().all(|(_, other)| other.has_passed(missing))
    }

    /// Forgets the looks: nothing waits any more.
    pub(super) fn forget(&mut self) {
        if self.looked.take().is_some() {
            for known in self.partitions.values_mut() {
                *known = PartitionFrontier { taken_ms: known.taken_ms, ..PartitionFrontier::default() };
            }
        }
    }

    /// Notes what is taken.
    pub(super) fn taken(&mut self, chunks: &[Chunk]) {
        for record in chunks.iter().flat_map(Chunk::records) {
            self.partitions.entry(record.partition()).or_default().taken_ms = record.timestamp_ms();
        }
    }

    /// The own partition that is behind the others, and whose next records may be what others wait for.
    pub(super) fn hindmost(&self, tracker: &OffsetTracker) -> Option<i32> {
        let own = tracker.partitions().filter_map(|partition| Some((partition, self.partitions.get(&partition)?)));
        let behind = own.filter(|(_, known)| known.end.is_some());
        behind.min_by_key(|(_, known)| known.taken_ms).map(|(partition, _)| partition)
    }
}

impl PartitionFrontier {
    fn looked(&mut self, began: Instant, reached: i64, end: i64, still: Option<Duration>) {
        let since = match self.reached {
            Some((known, since)) if known == reached => since,
            _ => began,
        };
        self.reached = Some((reached, since));
        let has_stood = still.is_some_and(|still| began.saturating_duration_since(since) >= still.max(STILL_MIN));
        let (at, wanted) = *self.end.get_or_insert((began, end));
        if reached >= wanted || has_stood {
            self.passed = Some(at);
            self.end = (reached < end && !has_stood).then_some((began, end));
            if self.end.is_none() {
                self.passed = Some(began);
            }
        }
    }

    fn has_passed(&self, missing: MissingSince) -> bool {
        let is_later =
            |taken_ms| Some(taken_ms) > missing.written_ms.map(|written| written.saturating_add(CLOCK_SKEW_MS));
        self.passed.is_some_and(|passed| passed >= missing.since)
            || (missing.written_ms.is_some() && self.taken_ms.is_some_and(is_later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn still(_: i32) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }

    fn look(partition: i32, end: i64, committed: Option<i64>) -> PartitionEnds {
        PartitionEnds { partition, low: 0, end, committed }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn missing(partition: i32, since: Instant) -> MissingSince {
        MissingSince { partition, since, written_ms: Some(1_000) }
    }

    /// Partitions of which the records 0 to `count` are received, and which assignment they have.
    fn tracker(counts: &[(i32, i64)]) -> (OffsetTracker, Vec<crate::kafka::offsets::Assignment>) {
        let mut tracker = OffsetTracker::default();
        let mut assignments = Vec::new();
        for (partition, count) in counts {
            tracker.assign(*partition, None);
            assignments.extend((0..*count).map(|offset| tracker.received(*partition, offset).unwrap()).next_back());
        }
        (tracker, assignments)
    }

    #[test]
    fn an_attempt_counts_once_the_other_partitions_are_tried_to_where_they_ended() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        let (mut tracker, assignments) = tracker(&[(0, 1), (1, 1)]);
        frontier.looked(start, &[look(0, 9, None), look(1, 2, None)], &tracker, still);
        tracker.waits(1, assignments[1], 0);
        frontier.looked(at(start, 1), &[look(0, 9, None), look(1, 7, None)], &tracker, still);
        assert!(!frontier.has_passed(missing(0, start)), "offset 1 was there and has not been tried");
        tracker.received(1, 1);
        tracker.done(1, assignments[1], 1);
        frontier.looked(at(start, 2), &[look(0, 9, None), look(1, 7, None)], &tracker, still);
        assert!(frontier.has_passed(missing(0, start)) && !frontier.has_passed(missing(0, at(start, 1))));
    }

    #[test]
    fn the_own_partition_of_an_event_is_nothing_to_wait_for() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        let (tracker, _) = tracker(&[(0, 1)]);
        assert!(!frontier.has_passed(missing(0, start)), "nothing is known of other partitions yet");
        frontier.looked(start, &[look(0, 9, None)], &tracker, still);
        assert!(frontier.has_passed(missing(0, start)));
    }

    #[test]
    fn a_partition_whose_records_are_younger_than_the_event_is_not_waited_for() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        let (tracker, _) = tracker(&[(0, 1), (1, 1)]);
        frontier.looked(start, &[look(0, 1, None), look(1, 9, None)], &tracker, still);
        for (taken_ms, is_passed) in [(900, false), (6_000, false), (6_001, true)] {
            frontier.partitions.get_mut(&1).unwrap().taken_ms = Some(taken_ms);
            assert_eq!(frontier.has_passed(missing(0, start)), is_passed, "{taken_ms}");
        }
    }

    #[test]
    fn what_other_members_read_counts_by_their_commits_until_these_stand_still() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        let (tracker, _) = tracker(&[(0, 0)]);
        let looks = |committed| [look(0, 0, None), look(1, 5, Some(committed))];
        frontier.looked(start, &looks(2), &tracker, still);
        frontier.looked(at(start, 20), &looks(3), &tracker, still);
        frontier.looked(at(start, 49), &looks(3), &tracker, still);
        assert!(!frontier.has_passed(missing(0, start)));
        frontier.looked(at(start, 50), &looks(3), &tracker, still);
        assert!(frontier.has_passed(missing(0, start)));
        frontier.forget();
        assert!(!frontier.has_passed(missing(0, start)));
    }

    #[test]
    fn the_partition_whose_records_are_oldest_is_hindmost_unless_it_is_at_its_end() {
        let mut frontier = Frontier::default();
        let (mut tracker, assignments) = tracker(&[(0, 5), (1, 5), (2, 5)]);
        for (partition, assignment) in (0..).zip(assignments) {
            (0..5).for_each(|offset| tracker.done(partition, assignment, offset));
        }
        for (partition, taken_ms) in [(0, 300), (1, 100), (2, 200)] {
            frontier.partitions.entry(partition).or_default().taken_ms = Some(taken_ms);
        }
        assert_eq!(frontier.hindmost(&tracker), None);
        frontier.looked(Instant::now(), &[look(0, 9, None), look(1, 5, None), look(2, 9, None)], &tracker, still);
        assert_eq!(frontier.hindmost(&tracker), Some(2));
    }
}
