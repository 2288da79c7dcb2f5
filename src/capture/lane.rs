//! Which of four producers the next records go by.
//!
//! An event that comes alone is to leave at once, which librdkafka does with a linger of zero. For anything more
//! that is a bad choice: with five records of a partition in flight an idempotent librdkafka sends no more, but polls
//! in a busy loop while others are queued beyond their linger (`rd_kafka_toppar_producer_serve`, 2.12), which took
//! half of capture's time. So what comes together is sent by a producer that waits for all of it, and a backlog by one
//! that waits for full batches. Only one of them ever has records in flight, so that order is kept across retries.
//!
//! Two batches a round trip are enough where the broker is near. Where it is not, the same producer would leave the way to
//! it empty, and a backlog goes by one that has more on their way: one of each partition.

use std::time::Duration;

/// One of the producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Sends each record at once.
    Prompt,
    /// Sends a burst as one batch, and the next when it is acknowledged.
    Grouped,
    /// Fills batches, one on its way while another is filled.
    Bulk,
    /// Fills batches, and has more of them on their way to a broker that takes long to answer.
    Distant,
}

impl Lane {
    pub(super) const COUNT: usize = 4;

    /// Its place among them.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Prompt => 0,
            Self::Grouped => 1,
            Self::Bulk => 2,
            Self::Distant => 3,
        }
    }
}

/// What is sent and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct InFlight {
    pub(super) records: usize,
    /// Of their values.
    pub(super) bytes: usize,
}

/// Records in flight from which on librdkafka polls in a busy loop.
const PROMPT_RECORDS_MAX: usize = 5;
/// So little is queued within the linger of a group, and with keys and headers it fits into one batch.
const GROUP_BYTES_MAX: usize = 300_000;
/// Two batches.
const BULK_BYTES_MAX: usize = 2_000_000;
/// As many batches as an idempotent producer may have on their way to a broker, and as many behind them.
const DISTANT_BYTES_MAX: usize = 10_000_000;
/// Small rows are bounded by their number, because each has a fixed cost of memory.
const BURST_RECORDS_MAX: usize = 10_000;
const DISTANT_RECORDS_MAX: usize = 50_000;

/// More than this waiting, some four rows, is sent together.
const GROUPED_FROM_BYTES: usize = 2 * 1024;
/// This much waiting, some 200 rows, is a backlog.
const BULK_FROM_BYTES: usize = 128 * 1024;
/// Below this the backlog is over.
const BULK_UNTIL_BYTES: usize = 32 * 1024;

/// A window that is full for so long, several times in a row, is too small.
const FULL_FOR: Duration = Duration::from_millis(60);
const FULL_TIMES: u32 = 3;

/// How far away the brokers are, by how long a full window of the bulk lane waits for them.
#[derive(Debug, Default)]
pub(super) struct Distance {
    long_waits: u32,
}

impl Distance {
    /// Notes for how long a full window was waited for.
    pub(super) fn waited(&mut self, time: Duration) {
        let is_long = time >= FULL_FOR;
        if !self.is_far() {
            self.long_waits = if is_long { self.long_waits.saturating_add(1) } else { 0 };
        }
    }

    /// The lane of a backlog. Once they are far it stays so for the session: a window that is too large does no harm.
    pub(super) fn backlog_lane(&self) -> Lane {
        if self.is_far() { Lane::Distant } else { Lane::Bulk }
    }

    fn is_far(&self) -> bool {
        self.long_waits >= FULL_TIMES
    }
}

/// The lane of the next records, given that `waiting_bytes` of them have arrived and which one a backlog takes; `None` if
/// they have to wait.
pub(super) fn next_lane(current: Lane, in_flight: InFlight, waiting_bytes: usize, backlog: Lane) -> Option<Lane> {
    if in_flight.records == 0 {
        return Some(match waiting_bytes {
            0..GROUPED_FROM_BYTES => Lane::Prompt,
            GROUPED_FROM_BYTES..BULK_FROM_BYTES => Lane::Grouped,
            _ => backlog,
        });
    }
    let goes_on = match current {
        Lane::Prompt => waiting_bytes < GROUPED_FROM_BYTES,
        Lane::Grouped => false,
        Lane::Bulk | Lane::Distant => current == backlog && waiting_bytes >= BULK_UNTIL_BYTES,
    };
    (goes_on && has_room(current, in_flight)).then_some(current)
}

/// Whether a burst on this lane may go on.
pub(super) fn has_room(lane: Lane, in_flight: InFlight) -> bool {
    let (records_max, bytes_max) = match lane {
        Lane::Prompt => (PROMPT_RECORDS_MAX, GROUP_BYTES_MAX),
        Lane::Grouped => (BURST_RECORDS_MAX, GROUP_BYTES_MAX),
        Lane::Bulk => (BURST_RECORDS_MAX, BULK_BYTES_MAX),
        Lane::Distant => (DISTANT_RECORDS_MAX, DISTANT_BYTES_MAX),
    };
    in_flight.records < records_max && in_flight.bytes < bytes_max
}

/// Whether acknowledgements that lead from one state to another can let something go on that waits.
pub(super) fn is_relief(before: InFlight, after: InFlight) -> bool {
    let makes_room = |lane| !has_room(lane, before) && has_room(lane, after);
    after.records < PROMPT_RECORDS_MAX || makes_room(Lane::Bulk) || makes_room(Lane::Distant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_flight(records: usize, bytes: usize) -> InFlight {
        InFlight { records, bytes }
    }

    #[test]
    fn an_event_alone_is_prompt_and_what_comes_together_is_not() {
        let next_lane = |current, in_flight, waiting| next_lane(current, in_flight, waiting, Lane::Bulk);
        assert_eq!(next_lane(Lane::Bulk, in_flight(0, 0), 600), Some(Lane::Prompt));
        assert_eq!(next_lane(Lane::Prompt, in_flight(4, 4_000), 600), Some(Lane::Prompt));
        assert_eq!(next_lane(Lane::Prompt, in_flight(0, 0), 6_000), Some(Lane::Grouped));
        assert_eq!(next_lane(Lane::Prompt, in_flight(0, 0), 1 << 20), Some(Lane::Bulk));
        assert_eq!(next_lane(Lane::Bulk, in_flight(900, 900_000), 1 << 20), Some(Lane::Bulk));
    }

    #[test]
    fn nothing_is_queued_behind_records_that_keep_librdkafka_from_sending() {
        assert_eq!(next_lane(Lane::Prompt, in_flight(5, 5_000), 600, Lane::Bulk), None);
        assert!(!has_room(Lane::Prompt, in_flight(5, 500)));
        assert_eq!(next_lane(Lane::Grouped, in_flight(1, 1_000), 600, Lane::Bulk), None);
    }

    #[test]
    fn a_backlog_of_brokers_that_are_far_gets_a_larger_window_once_nothing_is_in_flight() {
        let mut distance = Distance::default();
        let (long, short) = (FULL_FOR, FULL_FOR / 2);
        for (time, lane) in [(long, Lane::Bulk), (long, Lane::Bulk), (short, Lane::Bulk), (long, Lane::Bulk)] {
            distance.waited(time);
            assert_eq!(distance.backlog_lane(), lane);
        }
        [long, long, short].into_iter().for_each(|time| distance.waited(time));
        assert_eq!(distance.backlog_lane(), Lane::Distant);
        assert_eq!(next_lane(Lane::Bulk, in_flight(900, 900_000), 1 << 20, Lane::Distant), None);
        assert_eq!(next_lane(Lane::Bulk, in_flight(0, 0), 1 << 20, Lane::Distant), Some(Lane::Distant));
        assert_eq!(next_lane(Lane::Distant, in_flight(9_000, 9_000_000), 1 << 20, Lane::Distant), Some(Lane::Distant));
    }

    fn backlog() -> impl Strategy<Value = Lane> {
        prop_oneof![Just(Lane::Bulk), Just(Lane::Distant)]
    }

    fn lane() -> impl Strategy<Value = Lane> {
        prop_oneof![Just(Lane::Prompt), Just(Lane::Grouped), Just(Lane::Bulk), Just(Lane::Distant)]
    }

    proptest! {
        #[test]
        fn the_lane_changes_only_with_nothing_in_flight(
            (lane, backlog) in (lane(), backlog()),
            records in 1_usize..20_000, bytes in 0_usize..4_000_000, waiting in 0_usize..4_000_000,
        ) {
            let next = next_lane(lane, in_flight(records, bytes), waiting, backlog);
            prop_assert!(next.is_none_or(|next| next == lane));
        }

        #[test]
        fn whoever_waits_is_woken_at_the_latest_when_nothing_is_in_flight(
            (lane, backlog) in (lane(), backlog()),
            steps in prop::collection::vec(1_usize..1_000_000, 1..20), waiting in 0_usize..4_000_000,
        ) {
            let next_lane = |current, in_flight, waiting| next_lane(current, in_flight, waiting, backlog);
            let mut state = in_flight(steps.len(), steps.iter().sum());
            let could_go = next_lane(lane, state, waiting).is_some();
            let mut is_woken = could_go;
            for bytes in steps {
                let before = state;
                state = in_flight(state.records - 1, state.bytes - bytes);
                is_woken |= is_relief(before, state);
                prop_assert!(is_woken || next_lane(lane, state, waiting).is_none());
            }
            prop_assert!(is_woken && next_lane(lane, state, waiting).is_some());
        }
    }
}
