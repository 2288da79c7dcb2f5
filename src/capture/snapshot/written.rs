//! The rows of a table that a snapshot had sent when it was interrupted, and that are therefore on the topic already.
//!
//! They stand behind the ends that the progress knows, and are no more than are sent between two of its records. A row is
//! known by its key, if that holds the primary key, else by all of its columns. One that has changed meanwhile is known
//! by its key as well, and the change comes by the stream.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::capture::lineage::Ends;
use crate::config::KafkaConfig;
use crate::envelope::{POSITION_HEADER, Position, PositionKind, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::headers::TopicRecord;
use crate::kafka::tail::{Isolation, TailReader};
use crate::lsn::Lsn;

/// What tells rows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The record's key.
    Key,
    /// `after`; of a record that a transform has made flat the whole value.
    Row,
}

/// Rows that are on the topic.
#[derive(Debug)]
pub(super) struct Written {
    identity: Identity,
    rows: HashSet<Vec<u8>>,
}

impl Written {
    /// None.
    pub(super) fn none() -> Self {
        Self { identity: Identity::Key, rows: HashSet::new() }
    }

    /// Reads what stands behind the ends of a topic's partitions.
    pub(super) async fn read_back(
        config: &KafkaConfig,
        topic: &str,
        ends: &Ends,
        (id, identity): (Lsn, Identity),
    ) -> Result<Self> {
        let (config, topic) = (config.clone(), topic.to_owned());
        let ends = ends.get(&topic).cloned().unwrap_or_default();
        let reading = tokio::task::spawn_blocking(move || {
            let reader = TailReader::new(&config, Isolation::Uncommitted)?;
            let count = reader.partition_counts([&topic])?.get(&topic).copied().unwrap_or(0);
            let mut rows = HashSet::new();
            for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
                let from = ends.get(&partition).copied().unwrap_or(0);
                reader.read_from(&topic, partition, from, |record| {
                    if is_of(id, record) {
                        rows.extend(identity.of(record.key(), record.value()));
                    }
                })?;
            }
            Ok(Self { identity, rows })
        });
        let interrupted = |error| Error::with_source(ErrorKind::System, "reading a topic was interrupted", error);
        reading.await.map_err(interrupted)?
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the record is one of them, which it is once.
    pub(super) fn takes(&mut self, record: &Record<'_>) -> bool {
        if self.rows.is_empty() {
            return false;
        }
        let identity = self.identity.of(record.key, record.value);
        identity.is_some_and(|identity| self.rows.remove(&identity))
    }
}

/// Whether a record is of this snapshot. One without a position can be nobody else's, for nothing else is written.
fn is_of(id: Lsn, record: TopicRecord<'_>) -> bool {
    let Some(header) = record.header(POSITION_HEADER) else { return true };
    let position = std::str::from_utf8(header).ok().and_then(|text| text.parse::<Position>().ok());
    position.is_some_and(|position| position.kind == PositionKind::Snapshot && position.commit_lsn == id)
}

impl Identity {
    fn of(self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Vec<u8>> {
        match self {
            Self::Key => key.map(<[u8]>::to_vec),
            Self::Row => value.map(|value| after(value).unwrap_or_else(|| value.to_vec())),
        }
    }
}

/// An envelope, or Connect's wrapping of one with its schema.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
}

/// The row, as it stands in an envelope.
fn after(value: &[u8]) -> Option<Vec<u8>> {
    let envelope: Envelope<'_> = serde_json::from_slice(value).ok()?;
    let after = envelope.after.or(envelope.payload.and_then(|payload| payload.after))?;
    Some(after.get().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_key_or_by_its_columns_and_once() {
        let value = br#"{"before":null,"after":{"id":1,"v":"a"},"source":{"lsn":5},"op":"r"}"#;
        let again = br#"{"before":null,"after":{"id":1,"v":"a"},"source":{"lsn":9},"op":"r"}"#;
        let record = Record { key: Some(b"k"), value: Some(again), ..Record::default() };
        for identity in [Identity::Key, Identity::Row] {
            let rows = HashSet::from_iter(identity.of(Some(b"k"), Some(value)));
            let mut written = Written { identity, rows };
            assert!(written.takes(&record) && !written.takes(&record));
        }
    }

    #[test]
    fn the_row_is_found_within_a_schema_and_not_where_there_is_none() {
        let wrapped = br#"{"schema":{"type":"struct"},"payload":{"before":null,"after":{"id":1},"op":"r"}}"#;
        assert_eq!(after(wrapped).unwrap(), br#"{"id":1}"#);
        assert_eq!(after(br#"{"id":1,"__op":"r"}"#), None);
        assert_eq!(after(b"{"), None);
    }
}
