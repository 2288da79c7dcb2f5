//! The ends of topics: how many partitions there are and which record is the last of each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::headers::TopicRecord;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

/// Bound of one request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of one request that only asks whether Kafka answers.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Partitions whose leaders are asked by a probe.
const PROBE_PARTITIONS_MAX: usize = 8;

/// Bound of reading one stretch of a partition.
const SCAN_TIMEOUT: Duration = Duration::from_secs(20);

/// How many records are read back first; each further try reads sixteen times as many.
const FIRST_SCAN_RECORDS: i64 = 64;
/// Further back the end of a topic is not looked for.
const SCAN_RECORDS_MAX: i64 = 262_144;

/// How long the client's events are looked through for the reason of a failure.
const EVENTS_WAIT: Duration = Duration::from_millis(500);

/// How often, and how long after each other, a topic has to be unknown by name before it counts as absent.
const ABSENT_ANSWERS: u32 = 2;
const ABSENT_WAIT: Duration = Duration::from_millis(200);

/// What of a topic is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// All that is on the topic. Records of others may belong to transactions that are open or aborted.
    Uncommitted,
    /// What no open transaction stands before, without that of aborted ones.
    Committed,
}

/// What was made of the last records of a partition, and the offset of the next one.
pub(crate) struct Folded<T> {
    pub(crate) last: Option<T>,
    pub(crate) end: i64,
    /// How many records were looked at.
    searched: i64,
}

/// A consumer that looks at the ends of topics and belongs to no group.
pub(crate) struct TailReader {
    consumer: BaseConsumer,
    config: KafkaConfig,
}

impl TailReader {
    /// Connects in the background.
    pub(crate) fn new(config: &KafkaConfig, isolation: Isolation) -> Result<Self> {
        let level = match isolation {
            Isolation::Uncommitted => "read_uncommitted",
            Isolation::Committed => "read_committed",
        };
        let mut client = client_config(config, "evp-tail");
        client
            .set("group.id", "evp-tail")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", level)
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5");
        with_user_properties(&mut client, config);
        let consumer = client.create().map_err(|error| client_error("creating a consumer", config, error))?;
        Ok(Self { consumer, config: config.clone() })
    }

    /// How many partitions each topic has; topics that do not exist are left out.
    ///
    /// An `expected` topic has to be unknown by name, more than once: a broker that starts, or whose controller
    /// changes, can answer incompletely, and a topic that is taken for absent looks like a first start.
    pub(crate) fn partition_counts<'a>(
        &self,
        expected: impl IntoIterator<Item = &'a String>,
    ) -> Result<HashMap<String, u32>> {
        let metadata = self.metadata(None)?;
        let mut counts: HashMap<String, u32> = metadata.topics().iter().filter_map(partition_count).collect();
        let mut absent: Vec<&String> = expected.into_iter().filter(|topic| !counts.contains_key(*topic)).collect();
        // All of them each time: waiting for one after the other, a hundred tables would take minutes to begin with.
        for answer in 1..=ABSENT_ANSWERS {
            for topic in std::mem::take(&mut absent) {
                match self.count_by_name(topic)? {
                    Some(count) => drop(counts.insert(topic.clone(), count)),
                    None => absent.push(topic),
                }
            }
            if absent.is_empty() {
                break;
            }
            if answer < ABSENT_ANSWERS {
                std::thread::sleep(ABSENT_WAIT);
            }
        }
        Ok(counts)
    }

    /// How many partitions a topic has, if it is there.
    pub(crate) fn partition_count(&self, topic: &str) -> Result<Option<u32>> {
        self.count_by_name(topic)
    }

    /// A consumer's request for a topic by name does not create it.
    fn count_by_name(&self, name: &str) -> Result<Option<u32>> {
        let metadata = self.metadata(Some(name))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let known = topic.and_then(partition_count).map(|(_, count)| count);
        match topic.and_then(MetadataTopic::error).map(Code::from).filter(|_| known.is_none()) {
            None | Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(known),
            Some(code) => {
                let what = format!("looking for topic {name}");
                Err(client_error(&what, &self.config, KafkaError::MetadataFetch(code)))
            }
        }
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        let fetched = self.consumer.fetch_metadata(topic, REQUEST_TIMEOUT);
        fetched.map_err(|error| client_error("reading the topics", &self.config, self.refusal().unwrap_or(error)))
    }

    /// Why the brokers send this client away, if they do. They say so to its events and not to its calls, and for some
    /// time after the call has failed.
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

    /// The same as [`Self::search_tail`], with a word in the log where nothing is made of the records.
    pub(crate) fn fold_tail<T>(
        &self,
        topic: &str,
        partition: i32,
        first: i64,
        fold: impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<Folded<T>> {
        let folded = self.search_tail(topic, partition, first, fold)?;
        if folded.last.is_none() && folded.searched > 0 {
            tracing::warn!(
                event = "topic_end_not_understood",
                topic,
                partition,
                records = folded.searched,
                "none of the last records is evp's or Debezium's envelope; capture writes behind them"
            );
        }
        Ok(folded)
    }

    /// Folds records from the end of a partition backwards in growing stretches, oldest first within a stretch,
    /// until `fold` has made something of them or `first`, the first offset that counts, is reached.
    pub(crate) fn search_tail<T>(
        &self,
        topic: &str,
        partition: i32,
        first: i64,
        mut fold: impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<Folded<T>> {
        let failed = |error| client_error(&format!("reading the end of topic {topic}"), &self.config, error);
        let (low, end) = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        // A topic that was re-created since has begun again.
        let begin = if first <= end { low.max(first) } else { low };
        let mut stretch = FIRST_SCAN_RECORDS;
        let mut last = None;
        let mut reached = end;
        while last.is_none() && reached > begin && stretch <= SCAN_RECORDS_MAX {
            reached = end.saturating_sub(stretch).max(begin);
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(topic, partition, Offset::Offset(reached)).map_err(failed)?;
            self.consumer.assign(&assignment).map_err(failed)?;
            self.scan(topic, partition, end, |message| last = fold(last.take(), TopicRecord::new(message)))?;
            stretch = stretch.saturating_mul(16);
        }
        Ok(Folded { last, end, searched: end.saturating_sub(reached) })
    }

    /// Reads a partition from an offset to its end.
    pub(crate) fn read_from(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        mut visit: impl FnMut(TopicRecord<'_>),
    ) -> Result<()> {
        let failed = |error| client_error(&format!("reading the end of topic {topic}"), &self.config, error);
        let (low, end) = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        let from = from.max(low);
        if from >= end {
            return Ok(());
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(failed)?;
        self.consumer.assign(&assignment).map_err(failed)?;
        self.scan(topic, partition, end, |message| visit(TopicRecord::new(message)))
    }

    /// Reads the assigned partition up to `end`.
    fn scan(&self, topic: &str, partition: i32, end: i64, mut visit: impl FnMut(&BorrowedMessage<'_>)) -> Result<()> {
        let deadline = Instant::now() + SCAN_TIMEOUT;
        while Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    visit(&message);
                    if message.offset().saturating_add(1) >= end {
                        return Ok(());
                    }
                }
                // Offsets up to the end may be markers of transactions, which are no records.
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(()),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => {
                    return Err(client_error(&format!("reading the end of topic {topic}"), &self.config, error));
                }
                None => {}
            }
        }
        Err(Error::unavailable(format!("Kafka does not deliver the end of topic {topic} in time")))
    }

    /// The offset behind the last record of each partition.
    pub(crate) fn ends(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>> {
        let end = |(topic, partition): &(String, i32)| {
            let watermarks = self.consumer.fetch_watermarks(topic, *partition, REQUEST_TIMEOUT);
            let failed = |error| client_error(&format!("reading the end of topic {topic}"), &self.config, error);
            watermarks.map(|(_, end)| end).map_err(failed)
        };
        partitions.iter().map(end).collect()
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

fn partition_count(topic: &MetadataTopic) -> Option<(String, u32)> {
    let count = u32::try_from(topic.partitions().len()).ok().filter(|count| *count > 0)?;
    topic.error().is_none().then(|| (topic.name().to_owned(), count))
}

fn is_refusal(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL))
}

/// Errors that librdkafka reports and heals by itself.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut)
    )
}
