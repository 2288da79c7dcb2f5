//! How far capture has written: the last position of each slot on the topic that it keeps for itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// What stands before the topic prefix in the name of a connector's topic of positions.
pub(crate) const POSITION_TOPICS: &str = "__evp-position.";

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A position up to which every record of the cluster's commits is on Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) system: u64,
    pub(crate) lsn: Lsn,
}

/// The topic of positions that goes with a topic of rows, if that is named as Debezium does: `prefix.schema.table`.
pub(crate) fn position_topic_of(topic: &str) -> Option<String> {
    let prefix = topic.rsplitn(3, '.').nth(2).filter(|prefix| !prefix.is_empty())?;
    Some(format!("{POSITION_TOPICS}{prefix}"))
}

#[derive(Deserialize)]
struct Key {
    slot: String,
    part: Option<String>,
}

#[derive(Deserialize)]
struct Value {
    system_identifier: String,
    confirmed_lsn: Lsn,
}

/// Positions by slot, as they come.
#[derive(Debug, Default)]
struct Positions {
    by_slot: BTreeMap<String, Captured>,
    /// Everything that stood there at the beginning is read. Before that a slot may be missing.
    is_whole: bool,
    /// Why the topic cannot be read, if that is so.
    problem: Option<String>,
}

impl Positions {
    /// Takes a record; one without a value says that the slot is no more.
    fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Ok(Key { slot, part: None }) = serde_json::from_slice(key) else { return };
        let Some(value) = value else {
            self.by_slot.remove(&slot);
            return;
        };
        let Ok(value) = serde_json::from_slice::<Value>(value) else { return };
        if let Ok(system) = value.system_identifier.parse() {
            self.by_slot.insert(slot, Captured { system, lsn: value.confirmed_lsn });
        }
    }

    /// What all slots have written; nothing if they are of different clusters.
    fn lowest(&self) -> Option<Captured> {
        let lowest = self.by_slot.values().min_by_key(|captured| captured.lsn).copied()?;
        let is_one_cluster = self.by_slot.values().all(|captured| captured.system == lowest.system);
        (self.is_whole && is_one_cluster).then_some(lowest)
    }

    /// Why the lowest position is not known.
    fn problem(&self, topic: &str) -> Option<String> {
        let unread = || format!("topic {topic} is not read to its end yet");
        let foreign = || format!("topic {topic} has positions of several clusters");
        match &self.problem {
            Some(problem) => Some(problem.clone()),
            None if !self.is_whole => Some(unread()),
            None if self.by_slot.is_empty() => Some(format!("topic {topic} has no position of capture")),
            None => self.lowest().is_none().then(foreign),
        }
    }
}

/// Follows the topic on a thread of its own until dropped.
#[derive(Debug)]
pub(crate) struct CapturedPositions {
    topic: String,
    positions: Arc<Mutex<Positions>>,
    stop: Arc<AtomicBool>,
}

impl CapturedPositions {
    /// Begins with the first record, of which compaction has left few. A topic that is not there leaves everything unknown.
    pub(crate) fn follow(config: &KafkaConfig, topic: &str) -> Result<Self> {
        let failed = |error| client_error(&format!("reading topic {topic}"), config, error);
        let mut client = client_config(config, "evp-captured");
        client
            .set("group.id", "evp-captured")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        with_user_properties(&mut client, config);
        client.remove("group.instance.id");
        let consumer: BaseConsumer = client.create().map_err(failed)?;
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
        consumer.assign(&partition).map_err(failed)?;
        let followed = Self { topic: topic.to_owned(), positions: Arc::default(), stop: Arc::default() };
        let (positions, stop) = (Arc::clone(&followed.positions), Arc::clone(&followed.stop));
        let read = move || {
            while !stop.load(Ordering::Relaxed) {
                match consumer.poll(POLL_INTERVAL) {
                    Some(Ok(record)) => {
                        let mut positions = positions.lock();
                        positions.problem = None;
                        positions.note(record.key().unwrap_or_default(), record.payload());
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        let mut positions = positions.lock();
                        (positions.is_whole, positions.problem) = (true, None);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(event = "captured_position_unknown", %error);
                        positions.lock().problem = Some(error.to_string());
                    }
                    None => {}
                }
            }
        };
        let thread = std::thread::Builder::new().name("captured-positions".to_owned()).spawn(read);
        thread.map_err(|error| Error::with_source(ErrorKind::System, "cannot start a thread", error))?;
        Ok(followed)
    }

    /// Up to where every record is on Kafka, if that is known.
    pub(crate) fn lowest(&self) -> Option<Captured> {
        self.positions.lock().lowest()
    }

    /// Why that is not known, with what can be done about it.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.positions.lock().problem(&self.topic)?;
        Some(format!(
            "how far capture has written is not known: {problem}; POSITION_TOPIC names the topic, and the role has to be allowed to read it"
        ))
    }
}

impl Drop for CapturedPositions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_that_is_behind_counts_and_a_lineage_is_no_position() {
        let mut positions = Positions { is_whole: true, ..Positions::default() };
        let note = |positions: &mut Positions, key: &str, system: &str, lsn: &str| {
            let value = format!(r#"{{"system_identifier":"{system}","confirmed_lsn":"{lsn}","published_at":null}}"#);
            positions.note(key.as_bytes(), Some(value.as_bytes()));
            positions.lowest().map(|captured| captured.lsn.get())
        };
        assert_eq!(note(&mut positions, r#"{"slot":"a","part":"lineage"}"#, "7", "0/9"), None);
        assert_eq!(note(&mut positions, r#"{"slot":"a"}"#, "7", "0/10"), Some(16));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "7", "0/8"), Some(8));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "7", "0/20"), Some(16));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "8", "0/20"), None, "of two clusters");
        assert!(positions.problem("t").unwrap().contains("several clusters"));
        positions.note(br#"{"slot":"b"}"#, None);
        assert_eq!(positions.lowest().map(|captured| captured.lsn.get()), Some(16), "the slot is no more");
        assert_eq!(positions.problem("t"), None);
        positions.is_whole = false;
        assert_eq!(positions.lowest(), None, "a slot that is behind may not have been read yet");
    }

    #[test]
    fn the_topic_of_positions_is_found_by_the_prefix() {
        let of = |topic| position_topic_of(topic);
        assert_eq!(of("postgres.activity.event_outbox").as_deref(), Some("__evp-position.postgres"));
        assert_eq!(of("a.b.public.t").as_deref(), Some("__evp-position.a.b"));
        assert_eq!(
            (of("outbox.event.users"), of("events"), of(".a.b")),
            (Some("__evp-position.outbox".to_owned()), None, None)
        );
    }
}
