//! The first and last offsets of partitions, and whether their leaders answer.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::{REQUEST_TIMEOUT, TailReader};
use crate::error::{Error, Result};

/// Bound of one request that only asks whether Kafka answers.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Partitions whose leaders are asked by a probe.
const PROBE_PARTITIONS_MAX: usize = 8;
/// Between two questions while a leader is elected or has just been.
const LEADER_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why the offset of a partition is not known.
struct NotTold<'a> {
    topic: &'a str,
    error: Option<KafkaError>,
}

impl NotTold<'_> {
    /// Whether the next answer can be another.
    fn is_passing(&self) -> bool {
        let code = self.error.as_ref().and_then(KafkaError::rdkafka_error_code);
        code.is_some_and(is_without_leader)
    }
}

impl TailReader {
    /// The offset behind the last record of each partition.
    pub(crate) fn ends(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>> {
        self.offsets(partitions, Offset::End)
    }

    /// The first offset or the one behind the last of each partition.
    ///
    /// A broker that does not lead a partition yet, or no longer, says so; librdkafka asks again where watermarks are
    /// wanted, and passes it on here (`rd_kafka_offsets_for_times`).
    pub(super) fn offsets(&self, partitions: &[(String, i32)], which: Offset) -> Result<Vec<i64>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let not_told = match self.ask_offsets(partitions, which) {
                Ok(offsets) => return Ok(offsets),
                Err(not_told) => not_told,
            };
            if !not_told.is_passing() || Instant::now() >= deadline {
                return Err(match not_told.error {
                    Some(error) => self.failed(not_told.topic, error),
                    None => Error::unavailable(format!("Kafka tells no offset of topic {}", not_told.topic)),
                });
            }
            std::thread::sleep(LEADER_LOOK_INTERVAL);
            // Who leads it now; that this fails shows in the next try.
            let _ = self.consumer.fetch_metadata(Some(not_told.topic), REQUEST_TIMEOUT);
        }
    }

    /// Asks each broker once.
    fn ask_offsets<'a>(
        &self,
        partitions: &'a [(String, i32)],
        which: Offset,
    ) -> std::result::Result<Vec<i64>, NotTold<'a>> {
        let Some((first, _)) = partitions.first() else { return Ok(Vec::new()) };
        let failed = |topic: &'a str, error| NotTold { topic, error: Some(error) };
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            asked.add_partition_offset(topic, *partition, which).map_err(|error| failed(topic, error))?;
        }
        let told = self.consumer.offsets_for_times(asked, REQUEST_TIMEOUT).map_err(|error| failed(first, error))?;
        let offset = |(topic, partition): &'a (String, i32)| {
            let told = told.find_partition(topic, *partition).ok_or(NotTold { topic, error: None })?;
            told.error().map_err(|error| failed(topic, error))?;
            match told.offset() {
                Offset::Offset(offset) => Ok(offset),
                _ => Err(NotTold { topic, error: None }),
            }
        };
        partitions.iter().map(offset).collect()
    }

    /// Whether Kafka answers: each of these partitions has a leader, and the first few of the leaders know its end.
    pub(crate) fn is_answered(&self, partitions: &[(String, i32)]) -> bool {
        let Ok(metadata) = self.consumer.fetch_metadata(None, PROBE_TIMEOUT) else { return false };
        let has_leader = |(topic, partition): &(String, i32)| {
            let known = metadata.topics().iter().find(|known| known.name() == topic);
            let mut partitions = known.into_iter().flat_map(MetadataTopic::partitions);
            partitions.any(|known| known.id() == *partition && known.leader() >= 0)
        };
        let knows_end = |(topic, partition): &(String, i32)| {
            self.consumer.fetch_watermarks(topic, *partition, PROBE_TIMEOUT).is_ok()
        };
        partitions.iter().all(has_leader) && partitions.iter().take(PROBE_PARTITIONS_MAX).all(knows_end)
    }
}

/// What brokers say of a partition whose leader is not elected yet, has changed, or does not know yet how far it is.
fn is_without_leader(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::NotEnoughReplicas
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_told(code: Code) -> NotTold<'static> {
        NotTold { topic: "orders", error: Some(KafkaError::MetadataFetch(code)) }
    }

    #[test]
    fn a_partition_without_a_leader_is_asked_for_again_and_a_refusal_is_not() {
        for code in [Code::NotLeaderForPartition, Code::LeaderNotAvailable, Code::OffsetNotAvailable] {
            assert!(not_told(code).is_passing(), "{code:?}");
        }
        for code in [Code::TopicAuthorizationFailed, Code::InvalidTopic, Code::UnsupportedVersion] {
            assert!(!not_told(code).is_passing(), "{code:?}");
        }
        assert!(!NotTold { topic: "orders", error: None }.is_passing());
    }
}
