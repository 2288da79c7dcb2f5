//! The ends of topics: how many partitions there are and which record is the last of each.

mod bounds;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::headers::TopicRecord;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

/// Bound of one request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
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

/// A partition of which the last records are wanted, and the first offset that counts.
#[derive(Debug, Clone)]
pub(crate) struct WantedTail {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) first: i64,
}

/// The last records of a partition, from `reached` on.
struct Stretch<T> {
    begin: i64,
    end: i64,
    reached: i64,
    is_read: bool,
    last: Option<T>,
}

impl<T> Stretch<T> {
    /// Whether nothing was made of its records yet and there are others.
    fn is_open(&self) -> bool {
        self.last.is_none() && self.reached > self.begin
    }
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

    /// The same as [`Self::search_tails`] for one partition, with a word in the log where nothing is made of the records.
    pub(crate) fn fold_tail<T>(
        &self,
        wanted: &WantedTail,
        fold: impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<Folded<T>> {
        let folded = self.fold_tails(std::slice::from_ref(wanted), fold)?;
        folded.into_iter().next().ok_or_else(|| Error::unavailable("Kafka tells no end of a partition"))
    }

    /// The same for several partitions.
    pub(crate) fn fold_tails<T>(
        &self,
        wanted: &[WantedTail],
        fold: impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<Vec<Folded<T>>> {
        let folded = self.search_tails(wanted, fold)?;
        for (tail, folded) in wanted.iter().zip(&folded) {
            if folded.last.is_none() && folded.searched > 0 {
                tracing::warn!(
                    event = "topic_end_not_understood",
                    topic = tail.topic,
                    partition = tail.partition,
                    records = folded.searched,
                    "none of the last records is evp's or Debezium's envelope; capture writes behind them"
                );
            }
        }
        Ok(folded)
    }

    /// Folds records from the ends of partitions backwards in growing stretches, oldest first within a stretch, until
    /// `fold` has made something of them or the first offset that counts is reached.
    ///
    /// All at once, because a start that asks for one after the other takes as long as there are partitions.
    pub(crate) fn search_tails<T>(
        &self,
        wanted: &[WantedTail],
        mut fold: impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<Vec<Folded<T>>> {
        let partitions: Vec<_> = wanted.iter().map(|tail| (tail.topic.clone(), tail.partition)).collect();
        let (lows, ends) = (self.offsets(&partitions, Offset::Beginning)?, self.ends(&partitions)?);
        let begun = wanted.iter().zip(lows.into_iter().zip(ends));
        let mut stretches: Vec<Stretch<T>> = begun
            .map(|(tail, (low, end))| {
                // A topic that was re-created since has begun again.
                let begin = if tail.first <= end { low.max(tail.first) } else { low };
                Stretch { begin, end, reached: end, is_read: true, last: None }
            })
            .collect();
        let mut records = FIRST_SCAN_RECORDS;
        while records <= SCAN_RECORDS_MAX {
            let open = wanted.iter().zip(&mut stretches).filter(|(_, stretch)| stretch.is_open());
            let mut open: Vec<_> = open.collect();
            if open.is_empty() {
                break;
            }
            for (_, stretch) in &mut open {
                stretch.reached = stretch.end.saturating_sub(records).max(stretch.begin);
            }
            self.scan(&mut open, &mut fold)?;
            // What ends with something else than records is seen to end only where it is read alone.
            for one in open.chunks_mut(1).filter(|one| one.iter().any(|(_, stretch)| !stretch.is_read)) {
                self.scan(one, &mut fold)?;
            }
            records = records.saturating_mul(16);
        }
        let folded = |stretch: Stretch<T>| {
            let searched = stretch.end.saturating_sub(stretch.reached);
            Folded { last: stretch.last, end: stretch.end, searched }
        };
        Ok(stretches.into_iter().map(folded).collect())
    }

    /// Reads a partition from an offset to its end.
    pub(crate) fn read_from(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        mut visit: impl FnMut(TopicRecord<'_>),
    ) -> Result<()> {
        let (low, end) = self
            .consumer
            .fetch_watermarks(topic, partition, REQUEST_TIMEOUT)
            .map_err(|error| self.failed(topic, error))?;
        let from = from.max(low);
        if from >= end {
            return Ok(());
        }
        let wanted = WantedTail { topic: topic.to_owned(), partition, first: from };
        let mut stretch = Stretch { begin: from, end, reached: from, is_read: false, last: None };
        self.scan(&mut [(&wanted, &mut stretch)], &mut |none: Option<()>, record| {
            visit(record);
            none
        })
    }

    /// Reads stretches of partitions to their ends, as far as records tell where those are. Offsets up to an end may be
    /// markers of transactions, which are no records, and the client tells of no topic which of its partitions has ended.
    fn scan<T>(
        &self,
        open: &mut [(&WantedTail, &mut Stretch<T>)],
        fold: &mut impl FnMut(Option<T>, TopicRecord<'_>) -> Option<T>,
    ) -> Result<()> {
        let (mut left, is_alone) = (open.len(), open.len() == 1);
        let mut assignment = TopicPartitionList::with_capacity(left);
        let mut places = HashMap::<&str, HashMap<i32, &mut Stretch<T>>>::new();
        for (tail, stretch) in open {
            let from = Offset::Offset(stretch.reached);
            assignment
                .add_partition_offset(&tail.topic, tail.partition, from)
                .map_err(|error| self.failed(&tail.topic, error))?;
            (stretch.last, stretch.is_read) = (None, false);
            places.entry(&tail.topic).or_default().insert(tail.partition, stretch);
        }
        // Named where the client does not say which it is about.
        let unread = |places: &HashMap<&str, HashMap<i32, &mut Stretch<T>>>| {
            let mut topics =
                places.iter().filter(|(_, partitions)| partitions.values().any(|stretch| !stretch.is_read));
            topics.next().map_or_else(String::new, |(topic, _)| (*topic).to_owned())
        };
        self.consumer.assign(&assignment).map_err(|error| self.failed(&unread(&places), error))?;
        let (mut ended, mut deadline) = (0, Instant::now() + SCAN_TIMEOUT);
        while Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let place = places.get_mut(message.topic()).and_then(|topic| topic.get_mut(&message.partition()));
                    let Some(stretch) = place.filter(|stretch| !stretch.is_read) else { continue };
                    deadline = Instant::now() + SCAN_TIMEOUT;
                    stretch.last = fold(stretch.last.take(), TopicRecord::new(&message));
                    if message.offset().saturating_add(1) >= stretch.end {
                        stretch.is_read = true;
                        left = left.saturating_sub(1);
                    }
                    if left == 0 {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) if is_alone => {
                    let mut stretches = places.values_mut().filter_map(|topic| topic.get_mut(&partition));
                    if let Some(stretch) = stretches.next() {
                        stretch.is_read = true;
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    ended += 1;
                    if ended >= assignment.count() {
                        return Ok(());
                    }
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(self.failed(&unread(&places), error)),
                None => {}
            }
        }
        Err(Error::unavailable(format!("Kafka does not deliver the end of topic {} in time", unread(&places))))
    }

    fn failed(&self, topic: &str, error: KafkaError) -> Error {
        client_error(&format!("reading the end of topic {topic}"), &self.config, error)
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
