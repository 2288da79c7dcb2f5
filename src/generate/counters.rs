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
        let mut events = self.events.lock();
        for event_type in event_types {
            let count = events.entry(event_type).or_default();
            *count = count.saturating_add(1);
        }
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
    use super::*;

    #[test]
    fn a_refusal_is_the_reason_whatever_is_heard_of_first() {
        let counters = Counters::default();
        counters.fail(2, Error::unavailable("Kafka does not answer"));
        counters.fail(1, Error::data("too large"));
        counters.fail(1, Error::unavailable("Kafka does not answer"));
        assert_eq!(counters.failures(), Some((4, "too large".to_owned())));
    }
}
