//! Whether the broker takes the group's offsets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::telemetry::Health;

/// How long commits may fail, or be without an answer, before that is told: while a group is balanced some do.
const FAILING_MAX: Duration = Duration::from_secs(5);

/// The answers to commits.
#[derive(Debug)]
pub(super) struct Commits {
    group: String,
    state: Mutex<State>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct State {
    failed: u64,
    /// Since when all answers are refusals.
    failing: Option<Instant>,
    /// Since when an answer has been owed.
    unanswered: Option<Instant>,
    is_told: bool,
}

impl Commits {
    pub(super) fn new(group: &str, health: Arc<Health>) -> Self {
        Self { group: group.to_owned(), state: Mutex::default(), health }
    }

    /// How many commits the broker has refused or not answered.
    pub(super) fn failed(&self) -> u64 {
        self.state.lock().failed
    }

    /// Notes a commit whose answer is to come.
    pub(super) fn sent(&self) {
        self.state.lock().unanswered = Some(Instant::now());
    }

    /// Whether an answer is still to come.
    pub(super) fn are_open(&self) -> bool {
        self.state.lock().unanswered.is_some()
    }

    /// Notes an answer; what has failed is repeated by whoever asks for the count.
    pub(super) fn answered(&self, result: KafkaResult<()>) {
        match result {
            Ok(()) => self.taken(),
            // An empty commit has nothing to say.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) => {}
            Err(error) => self.refused(&error),
        }
        // Last, so that whoever sees that it is answered can see how.
        self.state.lock().unanswered = None;
    }

    /// Looks, now and then, how long an answer has been owed.
    pub(super) fn look(&self) {
        let mut state = self.state.lock();
        let waited = state.unanswered.map(|since| since.elapsed()).unwrap_or_default();
        metrics::gauge!("evp_process_commit_wait_seconds").set(waited.as_secs_f64());
        if waited >= FAILING_MAX {
            self.tell(&mut state, &format!("has not answered a commit for {} s", waited.as_secs()), "");
        }
    }

    fn taken(&self) {
        if self.forget_refusals() {
            tracing::info!(event = "kafka_commits_taken", "Kafka takes the group's offsets again");
        }
    }

    /// Forgets what was refused, as when partitions go to others and it is never tried again here; whether it was told.
    pub(super) fn forget_refusals(&self) -> bool {
        let mut state = self.state.lock();
        state.failing = None;
        let was_told = std::mem::take(&mut state.is_told);
        if was_told {
            self.health.set_commit_obstacle(None);
        }
        was_told
    }

    fn refused(&self, error: &KafkaError) {
        tracing::debug!(event = "kafka_commit_failed", %error, "offsets will be committed again");
        let mut state = self.state.lock();
        state.failed = state.failed.saturating_add(1);
        let elapsed = state.failing.get_or_insert_with(Instant::now).elapsed();
        if elapsed >= FAILING_MAX {
            self.tell(
                &mut state,
                &format!("has refused all commits for {} s", elapsed.as_secs()),
                &format!(": {error}"),
            );
        }
    }

    fn tell(&self, state: &mut State, what: &str, error: &str) {
        if std::mem::replace(&mut state.is_told, true) {
            return;
        }
        let reason = format!("the coordinator of group `{}` {what}{error}", self.group);
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

    fn commits() -> (Commits, Arc<Health>) {
        let health = Arc::new(Health::default());
        health.set_ready();
        (Commits::new("group", Arc::clone(&health)), health)
    }

    fn long_ago() -> Option<Instant> {
        Instant::now().checked_sub(FAILING_MAX)
    }

    #[test]
    fn commits_that_fail_for_a_while_are_told_until_one_is_taken() {
        let (commits, health) = commits();
        let refused = || Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NotEnoughReplicas));
        commits.answered(refused());
        assert_eq!((health.obstacle(), commits.failed()), (None, 1), "not at once");
        commits.state.lock().failing = long_ago();
        commits.answered(refused());
        assert!(health.obstacle().is_some_and(|obstacle| obstacle.contains("`group`")));
        commits.answered(Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)));
        assert!(health.obstacle().is_some(), "an empty commit says nothing");
        commits.answered(Ok(()));
        assert_eq!((health.obstacle(), commits.failed()), (None, 2));
    }

    #[test]
    fn a_commit_without_an_answer_is_told_after_a_while() {
        let (commits, health) = commits();
        commits.sent();
        commits.look();
        assert!(health.obstacle().is_none() && commits.are_open(), "not at once");
        commits.state.lock().unanswered = long_ago();
        commits.look();
        assert!(health.obstacle().is_some_and(|told| told.contains("not answered a commit")));
        commits.answered(Ok(()));
        assert!(health.obstacle().is_none() && !commits.are_open(), "it answers again");
    }
}
