//! Whether the topic still is the one that was applied: looks for its witnesses, with a client that is in no group.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::chunk::Chunk;
use super::headers::TopicRecord;
use super::known::{Expected, KnownTopic};
use super::witness::Witness;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of reading all that is looked for.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads single records.
pub(crate) struct Identity {
    config: KafkaConfig,
    client: Mutex<Option<BaseConsumer>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.config.topic).finish()
    }
}

impl Identity {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self { config: config.clone(), client: Mutex::new(None) }
    }

    /// Refuses the topic if it ends before what was applied of it, or if a witness is not where it was.
    ///
    /// A witness that retention or compaction has deleted says nothing.
    pub(crate) fn check(&self, expected: &[Expected]) -> Result<()> {
        if expected.is_empty() {
            return Ok(());
        }
        // Taken and not held: the group's thread must not wait for a look that a broker keeps waiting.
        let kept = self.client.lock().take();
        let consumer = match kept {
            Some(consumer) => consumer,
            None => self.connect()?,
        };
        let checked = self.check_all(&consumer, expected);
        // One that did not get an answer may wait for a topic that is gone.
        let left = if checked.is_ok() { self.client.lock().replace(consumer) } else { Some(consumer) };
        left.into_iter().for_each(close_aside);
        checked
    }

    /// The same for everything that is known, and for the partitions and ends of the topic.
    pub(crate) fn check_whole(&self, known: &KnownTopic) -> Result<()> {
        let consumer = self.connect()?;
        let checked = self.check_known(&consumer, known);
        close_aside(consumer);
        checked
    }

    fn check_known(&self, consumer: &BaseConsumer, known: &KnownTopic) -> Result<()> {
        let topic = &self.config.topic;
        let failed = |error| not_seen(&self.config, error);
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(failed)?;
        let there: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(rdkafka::metadata::MetadataPartition::id)
            .collect();
        // A topic that is not there is told of where it is subscribed to.
        if there.is_empty() {
            return Ok(());
        }
        for (partition, known) in known.partitions() {
            let Some(applied) = known.applied.filter(|applied| *applied > 0) else { continue };
            let bounds = match there.contains(&partition) {
                true => consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?,
                false => (0, 0),
            };
            check_end(&self.config, partition, applied, bounds)?;
        }
        let expected: Vec<Expected> = known.expected(&there);
        self.check_all(consumer, &expected)
    }

    fn connect(&self) -> Result<BaseConsumer> {
        let mut client = client_config(&self.config, "evp-witness");
        with_user_properties(&mut client, &self.config);
        client
            .set("group.id", "evp-witness")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "50")
            // Bounds how long a client whose broker stands still is being closed.
            .set("socket.timeout.ms", "10000")
            // The batch that holds the record is enough.
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1")
            // One record fills the queue, after which librdkafka by default fetches nothing for a second.
            .set("fetch.queue.backoff.ms", "5")
            .remove("group.instance.id");
        let client: BaseConsumer =
            client.create().map_err(|error| client_error("creating a consumer", &self.config, error))?;
        // Connects at once: asked for watermarks first, librdkafka waits a second before it looks for a leader again
        // (`rd_kafka_topic_partition_list_query_leaders`, 2.12). What fails here fails again below, and is told there.
        let _ = client.fetch_metadata(Some(&self.config.topic), REQUEST_TIMEOUT);
        Ok(client)
    }

    /// One at a time: a broker that may send little sends records of the first partition only.
    fn check_all(&self, consumer: &BaseConsumer, expected: &[Expected]) -> Result<()> {
        let deadline = Instant::now() + READ_TIMEOUT;
        for Expected { partition, witness } in expected {
            self.check_one(consumer, *partition, witness, deadline)?;
        }
        Ok(())
    }

    fn check_one(&self, consumer: &BaseConsumer, partition: i32, witness: &Witness, deadline: Instant) -> Result<()> {
        let (config, topic) = (&self.config, &self.config.topic);
        let failed = |error| not_seen(config, error);
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        check_end(config, partition, witness.offset.saturating_add(1), (low, high))?;
        if witness.offset < low {
            return Ok(());
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(witness.offset)).map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        let found = self.read_at(consumer, partition, witness.offset, deadline);
        let _ = consumer.unassign();
        match found? {
            Some(found) if found != *witness => Err(another_record(config, partition, witness.offset)),
            _ => Ok(()),
        }
    }

    /// The record at an offset of the assigned partition; `None` if compaction has removed it.
    fn read_at(
        &self,
        consumer: &BaseConsumer,
        partition: i32,
        offset: i64,
        deadline: Instant,
    ) -> Result<Option<Witness>> {
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.partition() == partition && message.offset() >= offset => {
                    let mut found = Chunk::default();
                    found.push(TopicRecord::new(&message));
                    let found = found.record(0).filter(|record| record.offset() == offset);
                    return Ok(found.map(|record| Witness::of(&record)));
                }
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(None),
                Some(Err(error)) if is_final(&error) => {
                    return Err(not_seen(&self.config, error));
                }
                Some(_) | None => {}
            }
        }
        Err(Error::unavailable(format!("Kafka does not deliver topic `{}` in time", self.config.topic)))
    }
}

/// Closes a client where nobody waits for it: it stays open until its requests are answered, or time out.
pub(super) fn close_aside<T: Send + 'static>(client: T) {
    let closing = std::thread::Builder::new().name("kafka-closing".to_owned()).spawn(move || drop(client));
    if let Err(error) = closing {
        tracing::debug!(event = "kafka_client_closed", %error, "no thread could be had to close it aside");
    }
}

/// Why nothing was seen. A topic that a broker does not know may be known in a moment; whether it is gone is told by the
/// one who reads it.
fn not_seen(config: &KafkaConfig, error: KafkaError) -> Error {
    let error = client_error("looking at the topic", config, error);
    match error.kind() {
        ErrorKind::Missing => Error::unavailable(format!("Kafka does not know topic `{}` at the moment", config.topic)),
        _ => error,
    }
}

fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        Authentication, ClusterAuthorizationFailed, SaslAuthenticationFailed, TopicAuthorizationFailed,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(Authentication | SaslAuthenticationFailed | TopicAuthorizationFailed | ClusterAuthorizationFailed)
    )
}

/// Refuses a topic that ends before what was applied of it.
pub(crate) fn check_end(config: &KafkaConfig, partition: i32, applied: i64, (low, high): (i64, i64)) -> Result<()> {
    if applied <= high {
        return Ok(());
    }
    let topic = &config.topic;
    Err(refusal(
        config,
        &format!(
            "{topic}[{partition}] was applied up to offset {applied}, but it ends at {high}: the topic was re-created or has \
             lost its end, and offsets {low} to {high} may be other events"
        ),
    ))
}

fn another_record(config: &KafkaConfig, partition: i32, offset: i64) -> Error {
    let topic = &config.topic;
    refusal(
        config,
        &format!(
            "offset {offset} of {topic}[{partition}] is another record than the one that was applied: the topic was re-created \
             or has lost its end and been written on, and offsets 0 to {offset} may be events that were never applied"
        ),
    )
}

/// The group has applied another topic of the name, and another group has taken the present one for right.
pub(crate) fn superseded(config: &KafkaConfig) -> Error {
    let (topic, group) = (&config.topic, &config.group_id);
    refusal(config, &format!("what group `{group}` has applied of `{topic}` was another topic of that name"))
}

fn refusal(config: &KafkaConfig, what: &str) -> Error {
    let (topic, group) = (&config.topic, &config.group_id);
    Error::new(
        ErrorKind::Refused,
        format!(
            "{what}. Nothing was changed. If the topic is the right one: stop every process of group `{group}`, run \
             kafka-consumer-groups --group {group} --topic {topic} --reset-offsets --to-earliest --execute, and start one \
             evp process, once, with --accept-new-topic. Events applied in the last 30 days (REMEMBER_DAYS) are recognised by \
             their event_id and have no second effect; counters count older ones again, so if the topic holds such, reset --to-datetime \
             behind them"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    #[test]
    fn a_topic_that_ends_too_early_is_refused_with_the_range_and_the_remedy() {
        let config = KafkaConfig::from_variables(&mut Variables::of(&[]), &[]);
        assert!(check_end(&config, 0, 10, (10, 10)).is_ok());
        let beyond = check_end(&config, 3, 11, (0, 10)).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::Refused);
        for part in ["up to offset 11", "[3]", "0 to 10", "--to-earliest", "--accept-new-topic", "30 days"] {
            assert!(beyond.to_string().contains(part), "{part}: {beyond}");
        }
    }
}
