//! Which events wait in the dead-letter topic.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{client_config, client_error, with_user_properties};
use crate::process::dead_letter_topic;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// Without a record for this long the topic counts as unreadable.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What the dead-letter topic holds.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    pub(super) records: u64,
    pub(super) event_ids: HashSet<Uuid>,
    pub(super) without_event_id: u64,
}

/// Reads the topic to its end as it is now; a topic that does not exist is empty.
pub(super) async fn read(config: &KafkaConfig) -> Result<DeadLetters> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || read_blocking(&config))
        .await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the dead letters was interrupted", error))?
}

fn read_blocking(config: &KafkaConfig) -> Result<DeadLetters> {
    let topic = dead_letter_topic(&config.topic);
    let failed = |error| client_error("reading the dead letters", config, error);
    let mut client = client_config(config, "evp-verify");
    with_user_properties(&mut client, config);
    // Partitions are assigned by hand: no group is joined, and no offset is ever stored.
    client.set("group.id", "evp-verify").set("enable.auto.commit", "false").set("enable.partition.eof", "false");
    let consumer: BaseConsumer = client.create().map_err(failed)?;
    // All topics at once: asking for one by name can create it.
    let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT).map_err(failed)?;
    let mut dead_letters = DeadLetters::default();
    let Some(found) = metadata.topics().iter().find(|known| known.name() == topic) else { return Ok(dead_letters) };
    let mut assignment = TopicPartitionList::new();
    let mut remaining = std::collections::HashMap::new();
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(&topic, partition.id(), METADATA_TIMEOUT).map_err(failed)?;
        if high > low {
            assignment.add_partition_offset(&topic, partition.id(), Offset::Offset(low)).map_err(failed)?;
            remaining.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut heard = Instant::now();
    while !remaining.is_empty() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(record) => {
                let record = record.map_err(failed)?;
                heard = Instant::now();
                dead_letters.add(record.payload());
                let is_last = |end: &i64| record.offset().saturating_add(1) >= *end;
                if remaining.get(&record.partition()).is_some_and(is_last) {
                    remaining.remove(&record.partition());
                }
            }
            None if heard.elapsed() > SILENCE_MAX => {
                return Err(Error::unavailable(format!("topic {topic} does not deliver its records")));
            }
            None => {}
        }
    }
    Ok(dead_letters)
}

impl DeadLetters {
    fn add(&mut self, value: Option<&[u8]>) {
        self.records = self.records.saturating_add(1);
        match value.and_then(event_id) {
            Some(id) => {
                self.event_ids.insert(id);
            }
            None => self.without_event_id = self.without_event_id.saturating_add(1),
        }
    }
}

fn event_id(value: &[u8]) -> Option<Uuid> {
    let envelope: Value = serde_json::from_slice(value).ok()?;
    let envelope = envelope.get("payload").filter(|inner| inner.get("op").is_some()).unwrap_or(&envelope);
    Uuid::try_parse(envelope.get("after")?.get("event_id")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_found_with_and_without_the_schema_block() {
        let id = "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e";
        let bare = format!(r#"{{"after":{{"event_id":"{id}"}},"op":"c"}}"#);
        let with_schema = format!(r#"{{"schema":{{}},"payload":{bare}}}"#);
        let mut dead_letters = DeadLetters::default();
        for value in [bare.as_bytes(), with_schema.as_bytes(), b"not json", b"{}"] {
            dead_letters.add(Some(value));
        }
        dead_letters.add(None);
        assert_eq!(dead_letters.event_ids, HashSet::from([id.parse().unwrap()]));
        assert_eq!((dead_letters.records, dead_letters.without_event_id), (5, 3));
    }
}
