//! How far the assigned partitions are: which of them are at their end, and which offsets may be committed.

use std::collections::{HashMap, HashSet};

use super::in_flight::InFlight;
use crate::error::Result;
use crate::kafka::consumer::ConsumerHandle;
use crate::kafka::offsets::OffsetTracker;

/// The partitions of this member of the group.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) tracker: OffsetTracker,
    /// Where partitions begin that have no offset yet.
    beginnings: HashMap<i32, i64>,
    /// Partitions whose end was reached.
    ended: HashSet<i32>,
    /// Whether this member knows what it is to read, which it does not between a revocation and the next assignment.
    is_assigned: bool,
    /// Commits that the consumer has reported as failed so far.
    failed_commits: u64,
}

impl Progress {
    /// Notes where a partition that is about to be assigned begins, so that it begins there the next time, too.
    pub(super) fn will_begin_at(&mut self, partition: i32, offset: i64) {
        self.beginnings.insert(partition, offset);
    }

    pub(super) fn assign(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.tracker.assign(*partition, self.beginnings.remove(partition));
            self.ended.remove(partition);
        }
        self.is_assigned = true;
    }

    /// Forgets partitions, and says what may be committed for them.
    pub(super) fn revoke(&mut self, partitions: &[i32]) -> Vec<(i32, i64)> {
        self.tracker.commit_failed();
        let mut offsets = self.tracker.take_committable();
        offsets.retain(|(partition, _)| partitions.contains(partition));
        // What stays with this member was taken and is not committed here.
        self.tracker.commit_failed();
        for partition in partitions {
            self.tracker.revoke(*partition);
            self.ended.remove(partition);
        }
        self.is_assigned &= self.tracker.partitions().next().is_some();
        offsets
    }

    pub(super) fn reached_end(&mut self, partition: i32) {
        self.ended.insert(partition);
    }

    /// Whether the end of every assigned partition was reached.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_assigned && self.tracker.partitions().all(|partition| self.ended.contains(&partition))
    }

    /// Whether the event's partition is still read under the assignment under which the event came.
    pub(super) fn is_current(&self, event: &InFlight) -> bool {
        self.tracker.is_current(event.partition, event.assignment)
    }

    /// Notes that an event was tried and waits.
    pub(super) fn waits(&mut self, event: &InFlight) {
        self.tracker.waits(event.partition, event.assignment, event.position.offset);
    }

    pub(super) fn done(&mut self, event: &InFlight) {
        self.tracker.done(event.partition, event.assignment, event.position.offset);
    }

    /// Commits what has advanced, without waiting for the answer; returns what that is.
    ///
    /// Nothing while Kafka is away, or owes the answer to a commit: librdkafka gives partitions back, and joins the group again,
    /// only once it has an answer to every commit. One made while Kafka was away was once without an answer a minute after
    /// Kafka was back.
    pub(super) fn commit(&mut self, consumer: &ConsumerHandle) -> Vec<(i32, i64)> {
        if consumer.is_unreachable() || consumer.is_committing() {
            return Vec::new();
        }
        let failed = consumer.failed_commits();
        if failed != self.failed_commits {
            metrics::counter!("evp_process_commits_failed_total").increment(failed.saturating_sub(self.failed_commits));
            self.failed_commits = failed;
            self.tracker.commit_failed();
        }
        let offsets = self.tracker.take_committable();
        if !offsets.is_empty() {
            consumer.commit(offsets.clone());
        }
        offsets
    }

    /// Whether all that was read is decided, and the broker has taken its offsets.
    pub(super) fn is_committed(&self, consumer: &ConsumerHandle) -> bool {
        !consumer.is_committing() && consumer.failed_commits() == self.failed_commits && self.tracker.is_settled()
    }

    /// Commits everything and waits for the answer; returns what that is.
    pub(super) async fn commit_now(&mut self, consumer: &ConsumerHandle) -> Result<Vec<(i32, i64)>> {
        self.tracker.commit_failed();
        let offsets = self.tracker.take_committable();
        if !offsets.is_empty() {
            consumer.commit_now(offsets.clone()).await?;
        }
        Ok(offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_in_the_middle_of_a_rebalance_is_not_at_the_end() {
        let mut progress = Progress::default();
        assert!(!progress.is_at_end());
        progress.assign(&[0, 1]);
        progress.reached_end(0);
        progress.reached_end(1);
        assert!(progress.is_at_end());
        progress.revoke(&[0]);
        assert!(progress.is_at_end());
        progress.revoke(&[1]);
        assert!(!progress.is_at_end());
        // Other members may have them all.
        progress.assign(&[]);
        assert!(progress.is_at_end());
    }
}
