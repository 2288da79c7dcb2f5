//! The ends of topics: how many partitions there are and which record is the last of each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

/// Bound of one request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound of reading one stretch of a partition.
const SCAN_TIMEOUT: Duration = Duration::from_secs(20);

/// How many records are read back first; each further try reads sixteen times as many.
const FIRST_SCAN_RECORDS: i64 = 64;

/// How long the client's events are looked through for the reason of a failure.
const EVENTS_WAIT: Duration = Duration::from_millis(500);

/// What was made of the last records of a partition, and the offset of the next one.
pub(crate) struct Folded<T> {
    pub(crate) last: Option<T>,
    pub(crate) end: i64,
}

/// A consumer that looks at the ends of topics and belongs to no group.
pub(crate) struct TailReader {
    consumer: BaseConsumer,
    config: KafkaConfig,
}

impl TailReader {
    /// Connects in the background.
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self> {
        let mut client = client_config(config, "evp-tail");
        client
            .set("group.id", "evp-tail")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // What a transaction of Debezium's has written and not committed will not be there, once it is aborted.
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "16384");
        with_user_properties(&mut client, config);
        let consumer = client.create().map_err(|error| client_error("creating a consumer", config, error))?;
        Ok(Self { consumer, config: config.clone() })
    }

    /// How many partitions each topic has; topics that do not exist are left out.
    pub(crate) fn partition_counts(&self) -> Result<HashMap<String, u32>> {
        let metadata = self
            .consumer
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(|error| client_error("reading the topics", &self.config, self.refusal().unwrap_or(error)))?;
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .map(|topic| (topic.name().to_owned(), u32::try_from(topic.partitions().len()).unwrap_or(0)))
            .collect())
    }

    /// Whether the brokers refuse us: a request does not say so, it only times out.
    fn refusal(&self) -> Option<KafkaError> {
        let deadline = Instant::now() + EVENTS_WAIT;
        while Instant::now() < deadline {
            if let Some(Err(error)) = self.consumer.poll(EVENTS_WAIT / 5)
                && is_refusal(&error)
            {
                return Some(error);
            }
        }
        None
    }

    /// Folds records from the end of a partition backwards in growing stretches, oldest first within a stretch,
    /// until `fold` has made something of them or `first`, the first offset that counts, is reached.
    pub(crate) fn fold_tail<T>(
        &self,
        topic: &str,
        partition: i32,
        first: i64,
        mut fold: impl FnMut(Option<T>, &BorrowedMessage<'_>) -> Option<T>,
    ) -> Result<Folded<T>> {
        let failed = |error| client_error(&format!("reading the end of topic {topic}"), &self.config, error);
        let (low, high) = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        // A topic that was re-created since has begun again.
        let low = if first <= high { low.max(first) } else { low };
        if high <= low {
            return Ok(Folded { last: None, end: high });
        }
        let mut stretch = FIRST_SCAN_RECORDS;
        loop {
            let start = high.saturating_sub(stretch).max(low);
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(topic, partition, Offset::Offset(start)).map_err(failed)?;
            self.consumer.assign(&assignment).map_err(failed)?;
            let mut folded = None;
            self.scan(topic, high, |message| folded = fold(folded.take(), message))?;
            if folded.is_some() || start == low {
                return Ok(Folded { last: folded, end: high });
            }
            stretch = stretch.saturating_mul(16);
        }
    }

    /// Reads the assigned partition up to `high`.
    fn scan(&self, topic: &str, high: i64, mut visit: impl FnMut(&BorrowedMessage<'_>)) -> Result<()> {
        let deadline = Instant::now() + SCAN_TIMEOUT;
        while Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    visit(&message);
                    if message.offset().saturating_add(1) >= high {
                        return Ok(());
                    }
                }
                // Offsets up to the end may be markers of transactions, which are no records.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => {
                    return Err(client_error(&format!("reading the end of topic {topic}"), &self.config, error));
                }
                None => {}
            }
        }
        Err(Error::unavailable(format!("Kafka does not deliver the end of topic {topic} in time")))
    }
}

fn is_refusal(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed))
}

/// Errors that librdkafka reports and heals by itself.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve)
    )
}
