//! Which events wait in the dead-letter topic.

use std::collections::HashSet;

use rdkafka::message::Message as _;
use serde_json::Value;
use uuid::Uuid;

use super::topic::read_to_end;
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::headers::dead_letter_topic;

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
    let read = tokio::task::spawn_blocking(move || {
        let mut dead_letters = DeadLetters::default();
        let topic = dead_letter_topic(&config.topic);
        read_to_end(&config, &topic, |record| dead_letters.add(record.payload())).map(|_| dead_letters)
    });
    read.await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the dead letters was interrupted", error))?
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
