//! Events without hope, on their way to the dead-letter topic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::waiting::after;

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Events that wait for their dead letters: new ones, and those whose dead letters Kafka did not take.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    new: Vec<Arc<InFlight>>,
    refused: Vec<Arc<InFlight>>,
    delay: Duration,
    due: Option<Instant>,
}

impl GivenUp {
    /// Lets events wait, apart from their chunks, which may be a thousand times larger.
    pub(super) fn extend(&mut self, events: Vec<Arc<InFlight>>) {
        events.iter().for_each(|event| event.detach_record());
        self.new.extend(events);
    }

    pub(super) fn len(&self) -> usize {
        self.new.len().saturating_add(self.refused.len())
    }

    /// How many bytes their records keep in memory.
    pub(super) fn bytes(&self) -> usize {
        self.new.iter().chain(&self.refused).map(|event| event.record_bytes()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what is to be written now; what was refused is tried again after a while.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Arc<InFlight>> {
        let mut events = std::mem::take(&mut self.new);
        if self.due.is_none_or(|due| due <= now) {
            self.due = None;
            events.append(&mut self.refused);
        }
        events
    }

    /// Keeps what Kafka did not take.
    pub(super) fn refused(&mut self, events: Vec<Arc<InFlight>>, now: Instant) {
        if events.is_empty() {
            if self.refused.is_empty() {
                self.delay = Duration::ZERO;
            }
            return;
        }
        self.refused.extend(events);
        if self.due.is_none() {
            self.delay = self.delay.saturating_mul(2).clamp(BACKOFF_FIRST, BACKOFF_MAX);
            self.due = Some(after(now, self.delay));
        }
    }

    /// Forgets events, such as those of a partition that somebody else reads now.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        self.new.retain(|event| keep(event));
        self.refused.retain(|event| keep(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(events: &[Arc<InFlight>]) -> Vec<i64> {
        events.iter().map(|event| event.position.offset).collect()
    }

    #[test]
    fn what_kafka_refuses_waits_longer_each_time_and_what_is_new_does_not_wait_for_it() {
        let (mut given_up, now) = (GivenUp::default(), Instant::now());
        given_up.extend(vec![Arc::new(InFlight::of(1))]);
        let refused = given_up.take(now);
        given_up.refused(refused, now);
        given_up.extend(vec![Arc::new(InFlight::of(2))]);
        assert_eq!(offsets(&given_up.take(now)), [2]);
        let later = after(now, BACKOFF_FIRST);
        let refused = given_up.take(later);
        assert_eq!(offsets(&refused), [1]);
        given_up.refused(refused, later);
        assert!(given_up.take(after(later, BACKOFF_FIRST)).is_empty());
        assert_eq!(offsets(&given_up.take(after(later, BACKOFF_FIRST * 2))), [1]);
        assert!(given_up.is_empty());
    }
}
