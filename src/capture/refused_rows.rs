//! Rows that cannot be on Kafka: named, so that they are found, and never passed over without a word.
//!
//! What is too large is known before it is sent. What a broker refuses is found by sending the records of its batch
//! again, one by one. Then capture stops, or, if told so, puts a pointer to the row into the topic's dead letters before
//! anything behind it is written.

use crate::config::KafkaConfig;
use crate::dead_letters::{Cause, dead_letter_topic};
use crate::envelope::{Headers, Position, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_kept_topic;
use crate::kafka::single::send_one;
use crate::lsn::Lsn;
use crate::row::{ColumnShape, Operation, RowChange, TableShape, Value};

/// What happens to a row that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedRows {
    /// Capture stops before it.
    Stop,
    /// A pointer to it goes to the dead letters, and capture goes on behind it.
    DeadLetter,
}

/// Larger values of an identity are left out of a pointer.
const IDENTITY_BYTES_MAX: usize = 256;

/// A record that is sent alone, or cannot be, and where to find its row.
#[derive(Debug, Clone)]
pub(super) struct RowName {
    /// `schema.table`.
    pub(super) table: String,
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) position: Position,
    pub(super) lsn: Lsn,
    pub(super) xid: u32,
    pub(super) operation: Operation,
    /// Columns of the replica identity and of the primary key with their texts.
    pub(super) identity: Vec<(String, String)>,
}

impl RowName {
    /// For people: what they need to find the row, and no more of it than its key.
    pub(super) fn describe(&self) -> String {
        let key =
            self.key.as_deref().map_or_else(|| self.identity_text(), |key| String::from_utf8_lossy(key).into_owned());
        let (table, commit, xid) = (&self.table, self.position.commit_lsn, self.xid);
        format!(
            "the row of {table} with key {key} (operation {}, commit {commit}, transaction {xid})",
            self.operation.letter()
        )
    }

    fn identity_text(&self) -> String {
        let columns = self.identity.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        serde_json::Value::Object(columns.collect()).to_string()
    }

    /// The value of a dead letter: an envelope with nothing of the row but its identity.
    fn pointer(&self) -> String {
        let identity = self.identity.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        let identity = serde_json::Value::Object(identity.collect());
        let (before, after) = match self.operation {
            Operation::Delete => (identity, serde_json::Value::Null),
            _ => (serde_json::Value::Null, identity),
        };
        let (schema, table) = self.table.split_once('.').unwrap_or(("", &self.table));
        serde_json::json!({
            "before": before,
            "after": after,
            "source": { "schema": schema, "table": table, "txId": self.xid, "lsn": self.lsn.as_i64() },
            "op": self.operation.letter().to_string(),
        })
        .to_string()
    }
}

/// The values by which the table tells its rows apart, as far as they are there.
pub(super) fn identity(table: &TableShape, change: RowChange<'_>) -> Vec<(String, String)> {
    // What the replica identity is only the log tells.
    let tells_apart = |column: &ColumnShape| column.is_identity || table.primary_key.contains(&column.name);
    let columns = table.columns.iter().zip(change.latest().columns()).filter(|(column, _)| tells_apart(column));
    columns
        .filter_map(|(column, data)| match data {
            Value::Text(text) if text.len() <= IDENTITY_BYTES_MAX => {
                Some((column.name.clone(), String::from_utf8_lossy(text).into_owned()))
            }
            _ => None,
        })
        .collect()
}

/// The end of capture before a row that cannot be written.
pub(super) fn stopped(row: &RowName, why: &str) -> Error {
    Error::refused(format!(
        "{} cannot be written: {why}. Nothing behind it is written; --refused-rows dead-letter puts a pointer to it into \
         {} and goes on",
        row.describe(),
        dead_letter_topic(&row.topic)
    ))
}

/// Writes a pointer to the row and waits until it is on its brokers.
pub(super) async fn write_dead_letter(config: &KafkaConfig, row: &RowName, why: &str) -> Result<()> {
    let topic = dead_letter_topic(&row.topic);
    create_kept_topic(config, &topic).await?;
    let value = row.pointer();
    let cause = Cause {
        topic: row.topic.clone(),
        partition: row.partition,
        stage: "VALUE_CONVERTER".to_owned(),
        kind: ErrorKind::Refused.name().to_owned(),
        message: why.to_owned(),
        ..Cause::default()
    };
    let mut position = Vec::new();
    row.position.write(&mut position);
    let cause = cause.to_headers();
    let others: Vec<(&str, Option<&[u8]>)> =
        cause.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let headers = Headers { position: Some(&position), others: &others, ..Headers::default() };
    let (key, value) = (row.key.as_deref(), Some(value.as_bytes()));
    let letter = Record { topic: &topic, key, value, headers, ..Record::default() };
    send_one(config, &letter, None).await?;
    metrics::counter!("evp_capture_dead_letters_total").increment(1);
    tracing::warn!(event = "row_dead_lettered", topic, why, "{} is not written: now a dead letter", row.describe());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::PositionKind;

    fn row(operation: Operation) -> RowName {
        RowName {
            table: "activity.event_outbox".to_owned(),
            topic: "t".to_owned(),
            partition: Some(2),
            key: Some(br#"{"aggregate_id":"a"}"#.to_vec()),
            position: Position {
                kind: PositionKind::Stream,
                system_identifier: 7,
                commit_lsn: Lsn::new(0x1F4),
                row: 3,
                part: 0,
            },
            lsn: Lsn::new(400),
            xid: 744,
            operation,
            identity: vec![("event_id".to_owned(), "e".to_owned())],
        }
    }

    #[test]
    fn a_row_is_named_by_table_key_commit_and_transaction() {
        let text = stopped(&row(Operation::Create), "too large").to_string();
        for part in ["activity.event_outbox", r#"{"aggregate_id":"a"}"#, "0/1F4", "744", "t.dlq"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_pointer_is_an_envelope_with_the_identity_alone() {
        let pointer: serde_json::Value = serde_json::from_str(&row(Operation::Update).pointer()).unwrap();
        assert_eq!(pointer["after"], serde_json::json!({ "event_id": "e" }));
        assert_eq!((&pointer["op"], &pointer["source"]["table"]), (&"u".into(), &"event_outbox".into()));
        let deleted: serde_json::Value = serde_json::from_str(&row(Operation::Delete).pointer()).unwrap();
        assert!(deleted["after"].is_null() && deleted["before"]["event_id"] == "e");
    }
}
