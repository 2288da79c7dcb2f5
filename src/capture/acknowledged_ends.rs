//! Where partitions end by Kafka's acknowledgements, which shows a topic that was made anew.

use std::collections::HashMap;

use super::lineage::END_LOST;
use crate::kafka::producer::Place;

/// The offset behind the last acknowledged record of each partition.
#[derive(Debug, Default)]
pub(super) struct AcknowledgedEnds {
    others: HashMap<(String, i32), i64>,
    /// Of the partition of the last record, as acknowledgements come by the batch.
    current: Option<(String, i32, i64)>,
}

impl AcknowledgedEnds {
    /// Begins with the ends that were read.
    pub(super) fn starting_at(ends: HashMap<(String, i32), i64>) -> Self {
        Self { others: ends, current: None }
    }

    /// Notes a record; false if it stands before what was acknowledged earlier, so that its topic is another one.
    pub(super) fn note(&mut self, place: Place<'_>) -> bool {
        if place.offset < 0 {
            return true;
        }
        let is_current =
            |(topic, partition, _): &(String, i32, i64)| *partition == place.partition && topic == place.topic;
        if !self.current.as_ref().is_some_and(is_current) {
            let known = self.others.remove(&(place.topic.to_owned(), place.partition)).unwrap_or(0);
            let before = self.current.replace((place.topic.to_owned(), place.partition, known));
            self.others.extend(before.map(|(topic, partition, end)| ((topic, partition), end)));
        }
        let Some((_, _, end)) = &mut self.current else { return true };
        if place.offset < *end {
            *end = END_LOST;
            return false;
        }
        *end = place.offset.saturating_add(1);
        true
    }

    /// All of them.
    pub(super) fn all(&self) -> HashMap<(String, i32), i64> {
        let mut all = self.others.clone();
        all.extend(self.current.iter().map(|(topic, partition, end)| ((topic.clone(), *partition), *end)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: &str, partition: i32, offset: i64) -> Place<'_> {
        Place { topic, partition, offset }
    }

    #[test]
    fn offsets_that_begin_again_are_noticed_in_each_partition() {
        let mut ends = AcknowledgedEnds::starting_at(HashMap::from([(("t".to_owned(), 1), 7)]));
        assert!(ends.note(place("t", 0, 0)) && ends.note(place("t", 0, 1)));
        assert!(ends.note(place("t", 1, 7)), "where it ended");
        assert!(ends.note(place("t", 0, 4)), "markers of transactions have offsets, too");
        assert!(ends.note(place("t", 0, -1)), "a broker that had the record already does not say where");
        assert_eq!(ends.all(), HashMap::from([(("t".to_owned(), 0), 5), (("t".to_owned(), 1), 8)]));
        assert!(!ends.note(place("t", 1, 0)));
        assert_eq!(ends.all()[&("t".to_owned(), 1)], END_LOST);
    }
}
