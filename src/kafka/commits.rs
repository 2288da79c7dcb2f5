//! Whether the broker takes the group's offsets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::telemetry::Health;

/// How long commits may fail before that is told: while a group is balanced some do.
const FAILING_MAX: Duration = Duration::from_secs(5);

/// The answers to commits.
#[derive(Debug)]
pub(super) struct Commits {
    group: String,
    failed: AtomicU64,
    failing: Mutex<Option<Failing>>,
    health: Arc<Health>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    is_told: bool,
}

impl Commits {
    pub(super) fn new(group: &str, health: Arc<Health>) -> Self {
        Self { group: group.to_owned(), failed: AtomicU64::new(0), failing: Mutex::new(None), health }
    }

    /// How many commits the broker has refused or not answered.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes an answer; what has failed is repeated by whoever asks for the count.
    pub(super) fn answered(&self, result: KafkaResult<()>) {
        match result {
            Ok(()) => self.taken(),
            // An empty commit has nothing to say.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) => {}
            Err(error) => self.refused(&error),
        }
    }

    fn taken(&self) {
        if self.failing.lock().take().is_some_and(|failing| failing.is_told) {
            self.health.set_commit_obstacle(None);
            tracing::info!(event = "kafka_commits_taken", "Kafka takes the group's offsets again");
        }
    }

    fn refused(&self, error: &KafkaError) {
        tracing::debug!(event = "kafka_commit_failed", %error, "offsets will be committed again");
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock();
        let failing = failing.get_or_insert_with(|| Failing { since: Instant::now(), is_told: false });
        let elapsed = failing.since.elapsed();
        if elapsed < FAILING_MAX || std::mem::replace(&mut failing.is_told, true) {
            return;
        }
        let (group, seconds) = (&self.group, elapsed.as_secs());
        let reason = format!("Kafka has not taken the offsets of group `{group}` for {seconds} s: {error}");
        tracing::warn!(
            event = "kafka_commits_refused",
            "{reason}; events are applied meanwhile, and after a restart again, without effect"
        );
        self.health.set_commit_obstacle(Some(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_fail_for_a_while_are_told_until_one_is_taken() {
        let health = Arc::new(Health::default());
        health.set_ready();
        let commits = Commits::new("group", Arc::clone(&health));
        let refused = || Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NotEnoughReplicas));
        commits.answered(refused());
        assert_eq!((health.obstacle(), commits.failed()), (None, 1), "not at once");
        commits.failing.lock().as_mut().unwrap().since = Instant::now().checked_sub(FAILING_MAX).unwrap();
        commits.answered(refused());
        assert!(health.obstacle().is_some_and(|obstacle| obstacle.contains("`group`")));
        commits.answered(Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)));
        assert!(health.obstacle().is_some(), "an empty commit says nothing");
        commits.answered(Ok(()));
        assert_eq!((health.obstacle(), commits.failed()), (None, 2));
    }
}
