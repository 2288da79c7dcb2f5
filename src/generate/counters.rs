//! What has been written so far, by all connections together.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;

use super::{Latencies, OutboxEvent};
use crate::error::{Error, ErrorKind};

/// Events that are committed together.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) events: Vec<OutboxEvent>,
    pub(super) due: Instant,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    events: Mutex<BTreeMap<&'static str, u64>>,
    seconds: Mutex<Seconds>,
    failures: Mutex<Failures>,
    pub(super) lateness: Latencies,
    pub(super) committed: Latencies,
}

/// What was sent and is not written.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    reason: Option<Error>,
}

/// How many events were written in whole seconds, from the first one on.
#[derive(Debug, Default)]
struct Seconds {
    began: Option<Instant>,
    /// Which one is counted.
    number: u64,
    count: u64,
    last: Option<u64>,
    most: Option<u64>,
}

impl Seconds {
    fn count(&mut self, count: u64, now: Instant) {
        let began = *self.began.get_or_insert(now);
        self.pass(now.saturating_duration_since(began).as_secs());
        self.count = self.count.saturating_add(count);
    }

    /// A second in which nothing was written is one as well.
    fn pass(&mut self, number: u64) {
        if number > self.number {
            self.most = self.most.max(Some(self.count));
            self.last = Some(if number > self.number.saturating_add(1) { 0 } else { self.count });
            (self.number, self.count) = (number, 0);
        }
    }
}

impl Counters {
    pub(super) fn event_count(&self) -> u64 {
        self.events.lock().values().sum()
    }

    pub(super) fn events(&self) -> BTreeMap<&'static str, u64> {
        self.events.lock().clone()
    }

    /// Events of these types, due together, are written.
    pub(super) fn commit(&self, event_types: &[&'static str], due: Instant) {
        self.committed.record_since(due);
        self.seconds.lock().count(u64::try_from(event_types.len()).unwrap_or(u64::MAX), Instant::now());
        let mut events = self.events.lock();
        for event_type in event_types {
            let count = events.entry(event_type).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// How many events the last whole second had, and the one that had most; none before the first has passed.
    pub(super) fn last_and_best_second(&self) -> Option<(u64, u64)> {
        let mut seconds = self.seconds.lock();
        let now = seconds.began?.elapsed().as_secs();
        seconds.pass(now);
        seconds.last.zip(seconds.most)
    }

    /// So many events are not written, as far as is known.
    pub(super) fn fail(&self, count: u64, error: Error) {
        let mut failures = self.failures.lock();
        failures.count = failures.count.saturating_add(count);
        // Behind a record that is refused others fail as if nobody answered, and may be heard of before it.
        let is_vague = |error: &Error| error.kind() == ErrorKind::Unavailable;
        if failures.reason.as_ref().is_none_or(|known| is_vague(known) && !is_vague(&error)) {
            failures.reason = Some(error);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failures.lock().count > 0
    }

    /// How many events failed, and why.
    pub(super) fn failures(&self) -> Option<(u64, String)> {
        let failures = self.failures.lock();
        failures.reason.as_ref().map(|error| (failures.count, error.message().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whole_seconds_tell_the_best_and_the_last_one() {
        let (mut seconds, began) = (Seconds::default(), Instant::now());
        for (millis, count) in [(0, 3), (900, 4), (1_100, 2), (1_900, 1), (2_000, 9)] {
            let now = began.checked_add(Duration::from_millis(millis)).unwrap();
            seconds.count(count, now);
        }
        assert_eq!((seconds.last, seconds.most), (Some(3), Some(7)));
        seconds.pass(5);
        assert_eq!((seconds.last, seconds.most), (Some(0), Some(9)));
    }

    #[test]
    fn a_refusal_is_the_reason_whatever_is_heard_of_first() {
        let counters = Counters::default();
        counters.fail(2, Error::unavailable("Kafka does not answer"));
        counters.fail(1, Error::data("too large"));
        counters.fail(1, Error::unavailable("Kafka does not answer"));
        assert_eq!(counters.failures(), Some((4, "too large".to_owned())));
    }
}
