//! The record that `evp capture` writes for an event: the row that PostgreSQL would send, through capture's own encoder.

use jiff::Timestamp;

use super::OutboxEvent;
use crate::connector::ConnectorSettings;
use crate::envelope::{
    ChangeEncoder, ContextHeaders, EncodeError, Position, PositionKind, Record, RecordOptions, RowContext,
    SnapshotMark, TablePlan, TransactionContext,
};
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::row::{ColumnShape, RowChange, TableShape, Values};
use crate::typemap::PgType;

/// No cluster has this identifier, so that capture takes no record of this module for one of its own.
const SYSTEM_IDENTIFIER: u64 = 1;
/// Name, object id and name of the type, whether it is declared NOT NULL: the table of the first migration.
const COLUMNS: [(&str, u32, &str, bool); 12] = [
    ("event_id", 2950, "uuid", true),
    ("sequence_id", 20, "int8", true),
    ("aggregate_id", 2950, "uuid", true),
    ("aggregate_type", 25, "text", true),
    ("event_type", 25, "text", true),
    ("payload", 3802, "jsonb", true),
    ("status", 25, "text", true),
    ("retry_count", 23, "int4", true),
    ("last_error", 25, "text", false),
    ("lock_id", 2950, "uuid", false),
    ("created_at", 1184, "timestamptz", true),
    ("published_at", 1184, "timestamptz", false),
];

/// Writes one transaction after the other, each behind the one before.
pub(super) struct RecordWriter {
    plan: TablePlan,
    encoder: ChangeEncoder,
    row: Vec<u8>,
    /// Positions and numbers of rows, which grow from one run to the next because they begin at the clock.
    next: u64,
    xid: u32,
    previous_commit_end: Option<Lsn>,
}

/// A transaction that is being written.
pub(super) struct OpenTransaction {
    context: TransactionContext,
    created_at: String,
    commit_lsn: Lsn,
    /// Number of its first row.
    first: u64,
    /// Rows so far.
    row: u64,
}

impl RecordWriter {
    /// A writer whose positions begin at `now_us`, microseconds since 1970.
    pub(super) fn new(settings: &ConnectorSettings, database: &str, run_id: &str, now_us: i64) -> Result<Self> {
        let shape = outbox_shape();
        let key_columns = settings.message_keys.of_table(&shape).map_err(|missing| {
            Error::configuration(format!("message.key.columns names {missing}, which the outbox does not have"))
        })?;
        let options = settings.plan_options(&shape, database, key_columns, settings.handling);
        let plan = TablePlan::new(shape, &options).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("the connector does not fit the outbox: {error}"))
        })?;
        let context_headers =
            settings.with_context_headers.then(|| ContextHeaders::new(&settings.topic_prefix, run_id));
        let records = RecordOptions {
            with_tombstones: settings.tombstones_on_delete,
            with_position: true,
            context_headers,
            skips_unchanged: settings.skips_unchanged,
            skipped_operations: settings.skipped_operations.clone(),
        };
        Ok(Self {
            plan,
            encoder: ChangeEncoder::new(records),
            row: Vec::new(),
            next: u64::try_from(now_us).unwrap_or(1).max(1),
            xid: 0,
            previous_commit_end: None,
        })
    }

    /// Begins a transaction of so many rows, committed at `now_us`.
    pub(super) fn begin(&mut self, rows: u64, now_us: i64) -> OpenTransaction {
        self.xid = self.xid.wrapping_add(1);
        // The commit is behind its rows and has a place of its own.
        let first = self.next;
        let commit = first.saturating_add(rows);
        self.next = commit.saturating_add(1);
        let commit_lsn = Lsn::new(commit);
        let context = TransactionContext {
            xid: Xid(self.xid),
            commit_time_us: now_us,
            previous_commit_end: self.previous_commit_end.replace(commit_lsn),
            origin: None,
        };
        let at = Timestamp::from_microsecond(now_us).unwrap_or_default();
        OpenTransaction { context, created_at: at.strftime("%F %T%.6f+00").to_string(), commit_lsn, first, row: 0 }
    }

    /// Writes the record of one of its events and hands it to `emit`.
    pub(super) fn write<E: From<EncodeError>>(
        &mut self,
        open: &mut OpenTransaction,
        event: &OutboxEvent,
        emit: impl FnMut(Record<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let number = open.first.saturating_add(open.row);
        open.row = open.row.saturating_add(1);
        write_row(&mut self.row, event, number, &open.created_at);
        let new = Values::new(u16::try_from(COLUMNS.len()).unwrap_or(0), &self.row);
        let (kind, system_identifier) = (PositionKind::Stream, SYSTEM_IDENTIFIER);
        let first = Position { kind, system_identifier, commit_lsn: open.commit_lsn, row: open.row, part: 0 };
        let context = RowContext {
            transaction: &open.context,
            lsn: Lsn::new(number),
            now_ns: open.context.commit_time_us.saturating_mul(1_000),
            snapshot: SnapshotMark::False,
            first,
            order: None,
        };
        self.encoder.encode(&self.plan, RowChange::Create { new }, context, emit)
    }
}

/// The columns as the output plugin sends them, with what the table's defaults fill in.
fn write_row(row: &mut Vec<u8>, event: &OutboxEvent, number: u64, created_at: &str) {
    row.clear();
    let payload = event.payload.to_string();
    let mut id = uuid::Uuid::encode_buffer();
    put_text(row, event.event_id.hyphenated().encode_lower(&mut id));
    put_text(row, itoa::Buffer::new().format(number));
    put_text(row, event.aggregate_id.hyphenated().encode_lower(&mut id));
    for text in [event.aggregate_type, event.event_type, &payload, "pending", "0"] {
        put_text(row, text);
    }
    row.extend_from_slice(b"nn");
    put_text(row, created_at);
    row.push(b'n');
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    row.push(b't');
    row.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    row.extend_from_slice(text.as_bytes());
}

fn outbox_shape() -> TableShape {
    let columns = COLUMNS.map(|(name, type_oid, type_name, is_not_null)| ColumnShape {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        type_name: type_name.to_owned(),
        pg_type: PgType::plain(type_name),
        is_not_null,
        default_expression: None,
        is_identity: name == "event_id",
    });
    TableShape {
        schema: "activity".to_owned(),
        table: "event_outbox".to_owned(),
        columns: columns.to_vec(),
        primary_key: vec!["event_id".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::Variables;
    use crate::connector::Connector;
    use crate::envelope::Profile;
    use crate::generate::EventSource;

    fn writer(now_us: i64) -> RecordWriter {
        let mut variables = Variables::default();
        let connector = Connector::load(&mut variables, None, &[]).unwrap();
        let settings = connector.settings(&mut variables, Profile::V3_6);
        RecordWriter::new(&settings, "activity", "run", now_us).unwrap()
    }

    /// Key, value and position of the records of a transaction.
    fn written(writer: &mut RecordWriter, events: &[OutboxEvent], now_us: i64) -> Vec<(Value, Value, Position)> {
        let (mut records, mut open) = (Vec::new(), writer.begin(events.len() as u64, now_us));
        for event in events {
            let emit = |record: Record<'_>| {
                let json = |bytes: Option<&[u8]>| serde_json::from_slice(bytes.unwrap()).unwrap();
                records.push((json(record.key), json(record.value), record.position.unwrap()));
                Ok::<_, EncodeError>(())
            };
            writer.write(&mut open, event, emit).unwrap();
        }
        records
    }

    #[test]
    fn the_row_is_that_of_the_event_and_the_key_its_aggregate() {
        let event = EventSource::new(7).next_event();
        let mut writer = writer(1_795_252_418_709_461);
        let (key, value, _) = written(&mut writer, std::slice::from_ref(&event), 1_795_252_418_709_461).remove(0);
        assert_eq!(key["aggregate_id"], event.aggregate_id.to_string());
        let row = &value["after"];
        assert_eq!(row["event_id"], event.event_id.to_string());
        assert_eq!(serde_json::from_str::<Value>(row["payload"].as_str().unwrap()).unwrap(), event.payload);
        assert_eq!((row["status"].as_str(), &row["last_error"]), (Some("pending"), &Value::Null));
        assert_eq!(row["created_at"], "2026-11-21T09:13:38.709461Z");
        assert_eq!((value["op"].as_str(), value["source"]["table"].as_str()), (Some("c"), Some("event_outbox")));
    }

    #[test]
    fn positions_grow_from_row_to_row_and_from_run_to_run() {
        let mut source = EventSource::new(7);
        let events: Vec<_> = (0..3).map(|_| source.next_event()).collect();
        let mut orders = Vec::new();
        for run in [1_000, 2_000] {
            let mut writer = writer(run);
            for _ in 0..2 {
                let records = written(&mut writer, &events, run);
                orders.extend(records.iter().map(|(_, value, position)| {
                    assert!(value["source"]["lsn"].as_u64().unwrap() < position.commit_lsn.get());
                    (position.commit_lsn, position.row)
                }));
            }
        }
        assert!(orders.is_sorted_by(|left, right| left < right), "{orders:?}");
    }
}
