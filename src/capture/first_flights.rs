//! The first record of a producer to a partition goes alone.
//!
//! A broker that holds nothing of a producer for a partition takes any sequence number
//! (`ProducerAppendInfo.checkSequence`), so that it would take a batch behind one that it has refused, and a later session
//! would take the hole for written. Once it has acknowledged one, it refuses whatever comes out of sequence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::lane::Lane;

/// One or two of these without a record are a long silence: brokers forget a producer that has sent nothing to a partition for
/// a day, if they are not told otherwise (`producer.id.expiration.ms`).
const AGE: Duration = Duration::from_secs(60);

/// Which partitions have acknowledged something of the producer of which lane.
#[derive(Debug)]
pub(super) struct FirstFlights {
    topics: BTreeMap<String, Vec<[Flight; Lane::COUNT]>>,
    /// How often everything was seen to be acknowledged that had been sent.
    settled: u64,
    age: u64,
    aged_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    None,
    /// The first is on its way, or was when everything was acknowledged for the last time.
    Alone {
        settled: u64,
    },
    /// One was acknowledged; the age of the last that was sent.
    Known {
        age: u64,
    },
}

impl FirstFlights {
    pub(super) fn new(now: Instant) -> Self {
        Self { topics: BTreeMap::new(), settled: 0, age: 0, aged_at: now }
    }

    /// Whether a record may go, which is noted if so; `is_settled` tells whether all that was sent is acknowledged.
    ///
    /// Of a topic of which nothing is known the partition is `None`.
    pub(super) fn may_go(
        &mut self,
        (topic, partition): (&str, Option<i32>),
        lane: Lane,
        is_settled: impl FnOnce() -> bool,
    ) -> bool {
        let place = usize::try_from(partition.map_or(0, |partition| partition.saturating_add(1))).unwrap_or(0);
        let partitions = match self.topics.get_mut(topic) {
            Some(partitions) => partitions,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        if partitions.len() <= place {
            partitions.resize(place.saturating_add(1), [Flight::None; Lane::COUNT]);
        }
        let Some(flight) = partitions.get_mut(place).and_then(|lanes| lanes.get_mut(lane.index())) else { return true };
        let known = Flight::Known { age: self.age };
        match *flight {
            Flight::Known { age } if age.saturating_add(1) >= self.age => *flight = known,
            Flight::Alone { settled } if settled < self.settled => *flight = known,
            Flight::Alone { .. } if is_settled() => {
                self.settled = self.settled.saturating_add(1);
                *flight = known;
            }
            Flight::Alone { .. } => return false,
            Flight::Known { .. } | Flight::None => *flight = Flight::Alone { settled: self.settled },
        }
        true
    }

    /// Looks at the time.
    pub(super) fn grow_older(&mut self, now: Instant) {
        let ages = now.saturating_duration_since(self.aged_at).as_secs() / AGE.as_secs();
        if ages > 0 {
            self.age = self.age.saturating_add(ages);
            self.aged_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_to_each_partition_is_acknowledged_before_the_second_goes() {
        let mut flights = FirstFlights::new(Instant::now());
        let mut go = |partition, lane, is_settled| flights.may_go(("t", partition), lane, || is_settled);
        assert!(go(Some(0), Lane::Bulk, true));
        assert!(!go(Some(0), Lane::Bulk, false));
        // Other partitions do not wait for it, and each producer is another one to a broker.
        assert!(go(Some(7), Lane::Bulk, false));
        assert!(go(Some(0), Lane::Prompt, false));
        assert!(go(None, Lane::Bulk, false));
        // One look tells of all that was sent before.
        assert!(go(Some(0), Lane::Bulk, true));
        assert!(go(Some(0), Lane::Bulk, false));
        assert!(go(Some(7), Lane::Bulk, false));
        assert!(go(None, Lane::Bulk, false));
        assert!(go(Some(3), Lane::Bulk, false));
        assert!(!go(Some(3), Lane::Bulk, false));
    }

    #[test]
    fn what_was_silent_for_long_goes_alone_again() {
        let begun = Instant::now();
        let mut flights = FirstFlights::new(begun);
        assert!(flights.may_go(("t", Some(0)), Lane::Prompt, || false));
        assert!(flights.may_go(("t", Some(0)), Lane::Prompt, || true));
        for minutes in 1..=3 {
            flights.grow_older(begun + AGE * minutes + Duration::from_secs(1));
            assert!(flights.may_go(("t", Some(0)), Lane::Prompt, || false), "it is never silent for long");
        }
        flights.grow_older(begun + AGE * 5 + Duration::from_secs(2));
        assert!(flights.may_go(("t", Some(0)), Lane::Prompt, || false));
        assert!(!flights.may_go(("t", Some(0)), Lane::Prompt, || false));
    }
}
