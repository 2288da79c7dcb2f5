//! The topic of signals: its first partition, read on from an offset.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::tail::is_passing;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::Result;

/// Bound of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What arrives within this is taken together.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// What one look takes at the most.
const SIGNALS_MAX: usize = 1_000;
/// As Debezium, which reads no other.
const PARTITION: i32 = 0;

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSignal {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Reads the topic; each call blocks.
pub(crate) struct SignalReader {
    config: KafkaConfig,
    topic: String,
    group_id: String,
    next_offset: Option<i64>,
    consumer: Option<BaseConsumer>,
}

impl SignalReader {
    /// Without an offset it goes on where the group is, or from the beginning.
    pub(crate) fn new(config: KafkaConfig, topic: &str, group_id: &str, next_offset: Option<i64>) -> Self {
        Self { config, topic: topic.to_owned(), group_id: group_id.to_owned(), next_offset, consumer: None }
    }

    /// What has come since the last look. A topic that is not there has nothing.
    pub(crate) fn look(&mut self) -> Result<Vec<TopicSignal>> {
        if self.consumer.is_none() {
            self.consumer = self.assigned()?;
        }
        let Some(consumer) = &self.consumer else { return Ok(Vec::new()) };
        let mut signals = Vec::new();
        while signals.len() < SIGNALS_MAX
            && let Some(polled) = consumer.poll(POLL_TIMEOUT)
        {
            match polled {
                Ok(record) => signals.push(TopicSignal {
                    offset: record.offset(),
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.payload().map(<[u8]>::to_vec),
                }),
                Err(KafkaError::PartitionEOF(_)) => break,
                Err(error) if is_passing(&error) => break,
                Err(error) => {
                    self.consumer = None;
                    return Err(client_error(&format!("reading topic {}", self.topic), &self.config, error));
                }
            }
        }
        if let Some(last) = signals.last() {
            self.next_offset = Some(last.offset.saturating_add(1));
        }
        Ok(signals)
    }

    /// A consumer of the partition, if it is there.
    fn assigned(&mut self) -> Result<Option<BaseConsumer>> {
        let failed = |error| client_error(&format!("reading topic {}", self.topic), &self.config, error);
        let mut client = client_config(&self.config, "evp-signals");
        with_user_properties(&mut client, &self.config);
        client
            .set("group.id", &self.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "earliest")
            .remove("group.instance.id");
        let consumer: BaseConsumer = client.create().map_err(failed)?;
        // All topics at once: asking for one by name can create it.
        let metadata = consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(failed)?;
        let is_there = |known: &rdkafka::metadata::MetadataTopic| {
            known.name() == self.topic && known.partitions().iter().any(|partition| partition.id() == PARTITION)
        };
        if !metadata.topics().iter().any(is_there) {
            return Ok(None);
        }
        let offset = match self.next_offset {
            Some(offset) => Offset::Offset(offset),
            None => self.committed(&consumer).map_err(failed)?,
        };
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, PARTITION, offset).map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        Ok(Some(consumer))
    }

    /// Where the group goes on.
    fn committed(&self, consumer: &BaseConsumer) -> std::result::Result<Offset, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, PARTITION);
        let committed = match consumer.committed_offsets(list, REQUEST_TIMEOUT) {
            // There is no such group yet.
            Err(error) if error.rdkafka_error_code() == Some(Code::GroupIdNotFound) => return Ok(Offset::Beginning),
            committed => committed?,
        };
        let known = committed.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset);
        Ok(known.filter(|offset| matches!(offset, Offset::Offset(_))).unwrap_or(Offset::Beginning))
    }
}
