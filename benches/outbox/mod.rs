//! What PostgreSQL sends for inserts into the outbox, made from the events of `evp generate`.

// Each bench uses its part of the way from a row to a record.
#![allow(dead_code)]

use bytes::{BufMut, Bytes, BytesMut};
use evp::envelope::{
    Adjustment, ChangeEncoder, Converter, EncodeError, PlanOptions, Position, PositionKind, Profile, RowContext,
    SnapshotMark, TablePlan, TransactionContext,
};
use evp::generate::{EventSource, OutboxEvent};
use evp::lsn::Lsn;
use evp::pgoutput::{Change, Message, Relation, RelationColumn, RelationId, ReplicaIdentity, Xid, decode};
use evp::row::TableShape;
use evp::transform::Transforms;
use evp::typemap::{Handling, PgType, Placeholder};

/// Events of one stream: enough for the caches to be as warm as in a backlog, and no warmer.
pub(crate) const EVENTS: usize = 4_096;

const SEED: u64 = 7;
const RELATION: u32 = 16_402;
const XID: u32 = 748_112;
const SYSTEM: u64 = 7_564_738_291_023_456_789;
const COMMIT_LSN: u64 = 0x1A2_B3C4_D5E8;
/// 2026-11-21 in microseconds since 2000.
const COMMIT_TIME_US: i64 = 848_567_618_710_659;
const CREATED_AT: &[u8] = b"2026-11-21 09:13:38.709461+00";

/// Name, type and its name of the columns, in the order of the table.
const COLUMNS: [(&str, u32, &str); 12] = [
    ("event_id", 2950, "uuid"),
    ("sequence_id", 20, "int8"),
    ("aggregate_id", 2950, "uuid"),
    ("aggregate_type", 25, "text"),
    ("event_type", 25, "text"),
    ("payload", 3802, "jsonb"),
    ("status", 25, "text"),
    ("retry_count", 23, "int4"),
    ("last_error", 25, "text"),
    ("lock_id", 2950, "uuid"),
    ("created_at", 1184, "timestamptz"),
    ("published_at", 1184, "timestamptz"),
];

/// The messages of single-row transactions: Begin, Insert, Commit for each event.
pub(crate) fn messages() -> Vec<Bytes> {
    let mut source = EventSource::new(SEED);
    let events = (1..=EVENTS).map(|sequence| (sequence, source.next_event()));
    events.flat_map(|(sequence, event)| [begin(), insert(sequence, &event), commit()]).collect()
}

/// The decoded rows alone.
pub(crate) fn changes() -> Vec<Change> {
    let decoded = messages().into_iter().map(|message| decode(message).expect("a message of this file is valid"));
    decoded
        .filter_map(|message| match message {
            Message::Change(change) => Some(change),
            _ => None,
        })
        .collect()
}

/// The table as capture prepares it for the shipped connector file.
pub(crate) fn table() -> TablePlan {
    table_by(Converter::default())
}

/// The same with the converters' own default, `schemas.enable=true`.
pub(crate) fn table_with_schemas() -> TablePlan {
    table_by(Converter::Json { with_schema: true, nulls: Default::default() })
}

fn table_by(converter: Converter) -> TablePlan {
    let columns = COLUMNS.map(|(name, type_oid, _)| RelationColumn {
        is_key: name == "event_id",
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
    });
    let relation = Relation {
        id: RelationId(RELATION),
        schema: "activity".to_owned(),
        table: "event_outbox".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.to_vec(),
    };
    let options = PlanOptions {
        profile: Profile::V3_6,
        topic_prefix: "postgres".to_owned(),
        database: "activity".to_owned(),
        transforms: Transforms::default(),
        schema_name: "postgres.activity.event_outbox".to_owned(),
        key_converter: converter,
        key_decimals_are_numbers: false,
        value_converter: converter,
        with_text_headers: false,
        masks: Vec::new(),
        schema_names: Adjustment::None,
        field_names: Adjustment::None,
        key_columns: vec!["aggregate_id".to_owned()],
        left_out: Vec::new(),
        unavailable_placeholder: Placeholder::parse("__debezium_unavailable_value").expect("a text"),
        handling: Handling::default(),
    };
    let mut shape = relation.shape(&TableShape::default());
    for (column, (_, _, type_name)) in shape.columns.iter_mut().zip(COLUMNS) {
        column.pg_type = PgType::plain(type_name);
    }
    TablePlan::new(shape, &options).expect("no transform stands in the way")
}

/// What the rows have in common.
pub(crate) fn transaction() -> TransactionContext {
    TransactionContext {
        xid: Xid(XID),
        commit_time_us: COMMIT_TIME_US + 946_684_800_000_000,
        previous_commit_end: Some(Lsn::new(COMMIT_LSN - 512)),
        origin: None,
    }
}

/// A row of the transaction.
pub(crate) fn row(transaction: &TransactionContext) -> RowContext<'_> {
    let (kind, commit_lsn) = (PositionKind::Stream, Lsn::new(COMMIT_LSN));
    let first = Position { kind, system_identifier: SYSTEM, commit_lsn, row: 1, part: 0 };
    RowContext {
        transaction,
        lsn: Lsn::new(COMMIT_LSN - 128),
        now_ns: 1_795_252_418_712_034_567,
        snapshot: SnapshotMark::False,
        first,
        order: None,
    }
}

/// The values of the records on Kafka.
pub(crate) fn envelopes() -> Vec<Vec<u8>> {
    envelopes_of(&table())
}

/// The values of the records of one of the tables above.
pub(crate) fn envelopes_of(table: &TablePlan) -> Vec<Vec<u8>> {
    let (transaction, mut encoder) = (transaction(), ChangeEncoder::default());
    let mut envelopes = Vec::with_capacity(EVENTS);
    for change in changes() {
        let written = encoder.encode(table, change.row(), row(&transaction), |record| {
            envelopes.push(record.value.unwrap_or_default().to_vec());
            Ok::<_, EncodeError>(())
        });
        written.expect("a row of this file is valid");
    }
    envelopes
}

fn begin() -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'B');
    out.put_u64(COMMIT_LSN);
    out.put_i64(COMMIT_TIME_US);
    out.put_u32(XID);
    out.freeze()
}

fn commit() -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"C\0");
    out.put_u64(COMMIT_LSN);
    out.put_u64(COMMIT_LSN + 48);
    out.put_i64(COMMIT_TIME_US);
    out.freeze()
}

fn insert(sequence: usize, event: &OutboxEvent) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'I');
    out.put_u32(RELATION);
    out.put_u8(b'N');
    out.put_u16(12);
    put_text(&mut out, event.event_id.to_string().as_bytes());
    put_text(&mut out, sequence.to_string().as_bytes());
    put_text(&mut out, event.aggregate_id.to_string().as_bytes());
    put_text(&mut out, event.aggregate_type.as_bytes());
    put_text(&mut out, event.event_type.as_bytes());
    put_text(&mut out, event.payload.to_string().as_bytes());
    put_text(&mut out, b"pending");
    put_text(&mut out, b"0");
    out.put_slice(b"nn");
    put_text(&mut out, CREATED_AT);
    out.put_u8(b'n');
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(b't');
    out.put_u32(u32::try_from(text.len()).expect("a value is short"));
    out.put_slice(text);
}
