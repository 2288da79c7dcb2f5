//! How far capture has written: the last positions on the topic that it keeps for itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// What stands before the topic prefix in the name of a connector's topic of positions.
pub(crate) const POSITION_TOPICS: &str = "__evp-position.";

/// So many of the last records are read; a slot that is not among them has not moved for long.
const TAIL_RECORDS: i64 = 500;
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
struct Positions(BTreeMap<String, Captured>);

impl Positions {
    fn note(&mut self, key: &[u8], value: &[u8]) {
        let (Ok(key), Ok(value)) = (serde_json::from_slice::<Key>(key), serde_json::from_slice::<Value>(value)) else {
            return;
        };
        if let (None, Ok(system)) = (key.part, value.system_identifier.parse()) {
            self.0.insert(key.slot, Captured { system, lsn: value.confirmed_lsn });
        }
    }

    /// What all slots have written; nothing if they are of different clusters.
    fn lowest(&self) -> Option<Captured> {
        let lowest = self.0.values().min_by_key(|captured| captured.lsn).copied()?;
        self.0.values().all(|captured| captured.system == lowest.system).then_some(lowest)
    }
}

/// Follows the topic on a thread of its own until dropped.
#[derive(Debug)]
pub(crate) struct CapturedPositions {
    positions: Arc<Mutex<Positions>>,
    stop: Arc<AtomicBool>,
}

impl CapturedPositions {
    /// Begins with the last records. A topic that is not there leaves everything unknown.
    pub(crate) fn follow(config: &KafkaConfig, topic: &str) -> Result<Self> {
        let failed = |error| client_error(&format!("reading topic {topic}"), config, error);
        let mut client = client_config(config, "evp-captured");
        client
            .set("group.id", "evp-captured")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false");
        with_user_properties(&mut client, config);
        client.remove("group.instance.id");
        let consumer: BaseConsumer = client.create().map_err(failed)?;
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(topic, 0, Offset::OffsetTail(TAIL_RECORDS)).map_err(failed)?;
        consumer.assign(&partition).map_err(failed)?;
        let followed = Self { positions: Arc::default(), stop: Arc::default() };
        let (positions, stop) = (Arc::clone(&followed.positions), Arc::clone(&followed.stop));
        let read = move || {
            while !stop.load(Ordering::Relaxed) {
                match consumer.poll(POLL_INTERVAL) {
                    Some(Ok(record)) => {
                        if let (Some(key), Some(value)) = (record.key(), record.payload()) {
                            positions.lock().note(key, value);
                        }
                    }
                    Some(Err(error)) => tracing::debug!(event = "captured_position_unknown", %error),
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
        let mut positions = Positions::default();
        let note = |positions: &mut Positions, key: &str, system: &str, lsn: &str| {
            let value = format!(r#"{{"system_identifier":"{system}","confirmed_lsn":"{lsn}","published_at":null}}"#);
            positions.note(key.as_bytes(), value.as_bytes());
            positions.lowest().map(|captured| captured.lsn.get())
        };
        assert_eq!(note(&mut positions, r#"{"slot":"a","part":"lineage"}"#, "7", "0/9"), None);
        assert_eq!(note(&mut positions, r#"{"slot":"a"}"#, "7", "0/10"), Some(16));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "7", "0/8"), Some(8));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "7", "0/20"), Some(16));
        assert_eq!(note(&mut positions, r#"{"slot":"b"}"#, "8", "0/20"), None, "of two clusters");
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
