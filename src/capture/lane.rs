//! Which of three producers the next records go by.
//!
//! An event that comes alone is to leave at once, which librdkafka does with a linger of zero. For anything more
//! that is a bad choice: with five records of a partition in flight an idempotent librdkafka sends no more, but polls
//! in a busy loop while others are queued beyond their linger (`rd_kafka_toppar_producer_serve`, 2.12), which took
//! half of capture's time. So what comes together is sent by a producer that waits for all of it, and a backlog by one
//! that waits for full batches. Only one of them ever has records in flight, so that order is kept across retries.

/// One of the producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Sends each record at once.
    Prompt,
    /// Sends a burst as one batch, and the next when it is acknowledged.
    Grouped,
    /// Fills batches, one on its way while another is filled.
    Bulk,
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
/// Small rows are bounded by their number, because each has a fixed cost of memory.
const BURST_RECORDS_MAX: usize = 10_000;

/// More than this waiting, some four rows, is sent together.
const GROUPED_FROM_BYTES: usize = 2 * 1024;
/// This much waiting, some 200 rows, is a backlog.
const BULK_FROM_BYTES: usize = 128 * 1024;
/// Below this the backlog is over.
const BULK_UNTIL_BYTES: usize = 32 * 1024;

/// The lane of the next records, given that `waiting_bytes` of them have arrived; `None` if they have to wait.
pub(super) fn next_lane(current: Lane, in_flight: InFlight, waiting_bytes: usize) -> Option<Lane> {
    if in_flight.records == 0 {
        return Some(match waiting_bytes {
            0..GROUPED_FROM_BYTES => Lane::Prompt,
            GROUPED_FROM_BYTES..BULK_FROM_BYTES => Lane::Grouped,
            _ => Lane::Bulk,
        });
    }
    let goes_on = match current {
        Lane::Prompt => waiting_bytes < GROUPED_FROM_BYTES,
        Lane::Grouped => false,
        Lane::Bulk => waiting_bytes >= BULK_UNTIL_BYTES,
    };
    (goes_on && has_room(current, in_flight)).then_some(current)
}

/// Whether a burst on this lane may go on.
pub(super) fn has_room(lane: Lane, in_flight: InFlight) -> bool {
    let (records_max, bytes_max) = match lane {
        Lane::Prompt => (PROMPT_RECORDS_MAX, GROUP_BYTES_MAX),
        Lane::Grouped => (BURST_RECORDS_MAX, GROUP_BYTES_MAX),
        Lane::Bulk => (BURST_RECORDS_MAX, BULK_BYTES_MAX),
    };
    in_flight.records < records_max && in_flight.bytes < bytes_max
}

/// Whether acknowledgements that lead from one state to another can let something go on that waits.
pub(super) fn is_relief(before: InFlight, after: InFlight) -> bool {
    after.records < PROMPT_RECORDS_MAX || (!has_room(Lane::Bulk, before) && has_room(Lane::Bulk, after))
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
        assert_eq!(next_lane(Lane::Bulk, in_flight(0, 0), 600), Some(Lane::Prompt));
        assert_eq!(next_lane(Lane::Prompt, in_flight(4, 4_000), 600), Some(Lane::Prompt));
        assert_eq!(next_lane(Lane::Prompt, in_flight(0, 0), 6_000), Some(Lane::Grouped));
        assert_eq!(next_lane(Lane::Prompt, in_flight(0, 0), 1 << 20), Some(Lane::Bulk));
        assert_eq!(next_lane(Lane::Bulk, in_flight(900, 900_000), 1 << 20), Some(Lane::Bulk));
    }

    #[test]
    fn nothing_is_queued_behind_records_that_keep_librdkafka_from_sending() {
        assert_eq!(next_lane(Lane::Prompt, in_flight(5, 5_000), 600), None);
        assert!(!has_room(Lane::Prompt, in_flight(5, 500)));
        assert_eq!(next_lane(Lane::Grouped, in_flight(1, 1_000), 600), None);
    }

    fn lane() -> impl Strategy<Value = Lane> {
        prop_oneof![Just(Lane::Prompt), Just(Lane::Grouped), Just(Lane::Bulk)]
    }

    proptest! {
        #[test]
        fn the_lane_changes_only_with_nothing_in_flight(
            lane in lane(), records in 1_usize..20_000, bytes in 0_usize..4_000_000, waiting in 0_usize..4_000_000,
        ) {
            let next = next_lane(lane, in_flight(records, bytes), waiting);
            prop_assert!(next.is_none_or(|next| next == lane));
        }

        #[test]
        fn whoever_waits_is_woken_at_the_latest_when_nothing_is_in_flight(
            lane in lane(), steps in prop::collection::vec(1_usize..400_000, 1..20), waiting in 0_usize..4_000_000,
        ) {
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
