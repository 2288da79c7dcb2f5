//! Where the partitions of the topic end, and how far its group is.

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::client_error;
use super::look::{Looker, REQUEST_TIMEOUT};
use crate::error::Result;

/// A partition, whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionEnds {
    pub(crate) partition: i32,
    /// The first offset that is there.
    pub(crate) low: i64,
    /// One past the last.
    pub(crate) end: i64,
    /// What the group has committed.
    pub(crate) committed: Option<i64>,
}

/// Asks Kafka for every partition of the topic; waits for the answers.
///
/// By a client that reads nothing: a broker answers the requests of a connection one after the other, and one for records
/// that are not there yet is held for half a second.
pub(super) fn partition_ends(looker: &Looker) -> Result<Vec<PartitionEnds>> {
    let (consumer, config) = (&looker.consumer, &looker.config);
    let topic = &config.topic;
    let failed = |error| client_error("asking for the ends of the topic", config, error);
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(failed)?;
    let mut wanted = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        wanted.add_partition(topic, partition.id());
    }
    let committed = consumer.committed_offsets(wanted, REQUEST_TIMEOUT).map_err(failed)?;
    let ends = committed.elements().into_iter().map(|element| {
        let partition = element.partition();
        let (low, end) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(PartitionEnds { partition, low, end, committed })
    });
    ends.collect()
}
