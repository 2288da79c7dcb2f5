//! Our records for a recorded stream.

use std::collections::HashMap;

use bytes::Bytes;
use evp::config::Variables;
use evp::connector::{Connector, ConnectorSettings, topic_name};
use evp::envelope::{
    ChangeEncoder, ContextHeaders, EncodeError, EventCounts, EventOrder, MessageRecords, MessageSource, PlanOptions,
    Position, PositionKind, Profile, Record, RecordOptions, RowContext, SnapshotMark, TablePlan, TransactionContext,
    TransactionRecords,
};
use evp::lsn::Lsn;
use evp::pgoutput::{Message, Relation, RelationCache, Xid, decode};
use evp::row::{ColumnShape, Operation, TableShape};
use evp::typemap::{PgType, PgTypeKind, Placeholder};

use super::{CatalogRow, Fixture, Written, mask};

/// evp, reading a recorded stream.
pub(super) struct Writer<'a> {
    fixture: &'a Fixture,
    profile: Profile,
    prefix: &'a str,
    settings: ConnectorSettings,
    tables: RelationCache<TablePlan>,
    encoder: ChangeEncoder,
    transactions: Option<TransactionRecords>,
    messages: Option<MessageRecords>,
    records: HashMap<String, Vec<Written>>,
}

/// A transaction, or a message that is of none.
struct Open {
    context: TransactionContext,
    counts: EventCounts,
}

impl<'a> Writer<'a> {
    pub(super) fn new(fixture: &'a Fixture, profile: Profile, prefix: &'a str) -> Self {
        // The shipped file names a key, which not every recorded connector does.
        let mut sets = vec!["message.key.columns=".to_owned(), format!("topic.prefix={prefix}")];
        sets.extend(fixture.options.iter().map(|(name, value)| format!("{name}={value}")));
        let mut variables = Variables::default();
        let settings = Connector::load(&mut variables, None, &sets).unwrap().settings(&mut variables, profile);
        variables.finish().unwrap();
        let options = RecordOptions {
            with_tombstones: settings.tombstones_on_delete,
            with_position: false,
            context_headers: settings.with_context_headers.then(|| ContextHeaders::new(prefix, "masked")),
            skips_unchanged: settings.skips_unchanged,
            skipped_operations: settings.skipped_operations.clone(),
        };
        let converters = (settings.key_converter, settings.value_converter);
        let transaction_topic = settings.transaction_topic.clone();
        let transactions = transaction_topic.map(|topic| TransactionRecords::new(topic.into(), converters, &options));
        let source =
            MessageSource { profile, topic_prefix: prefix, database: "activity", mode: settings.handling.binary };
        // Those of the other recordings have asked for none.
        let message_topic = settings.message_topic.clone();
        let messages = message_topic.map(|topic| MessageRecords::new(topic.into(), converters, source, &options));
        let encoder = ChangeEncoder::new(options);
        let (tables, records) = Default::default();
        Self { fixture, profile, prefix, settings, tables, encoder, transactions, messages, records }
    }

    /// What it writes, by topic.
    pub(super) fn write_stream(mut self) -> HashMap<String, Vec<Written>> {
        let mut last_commit_end = None;
        let mut last_commit_us = 0;
        let mut open: Option<Open> = None;
        for (lsn, hex) in &self.fixture.stream {
            let lsn = Lsn::new(*lsn);
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            match decode(Bytes::from(bytes)).unwrap() {
                Message::Begin(begin) => {
                    last_commit_us = begin.commit_time_us + 946_684_800_000_000;
                    let context = context(begin.xid, last_commit_us, last_commit_end);
                    self.write_transaction(&context, lsn, None);
                    open = Some(Open { context, counts: EventCounts::default() });
                }
                Message::Commit(commit) => {
                    last_commit_end = Some(commit.end_lsn);
                    let Open { context, counts } = open.take().unwrap();
                    // Its frame is where the next record begins, which peeking at the slot does not show.
                    self.write_transaction(&context, commit.end_lsn, Some(&counts));
                }
                Message::Relation(relation) => {
                    let is_left_out = !self.settings.tables.accepts(&relation.schema, &relation.table);
                    if is_left_out && self.fixture.options.contains_key("table.include.list") {
                        continue;
                    }
                    let encoder = self.table(&relation);
                    self.tables.insert(relation.id, encoder);
                }
                Message::Change(change) => {
                    let open = open.as_mut().unwrap();
                    let Ok(table) = self.tables.get(change.relation()) else { continue };
                    let count = self.encoder.event_count(table, change.row()).unwrap();
                    let order = match count {
                        0 => EventOrder { total: 0, in_collection: 0 },
                        count => open.counts.add(&table.shape().name(), count),
                    };
                    let row = row(&open.context, lsn, self.transactions.as_ref().map(|_| order));
                    let (records, profile) = (&mut self.records, self.profile);
                    self.encoder.encode(table, change.row(), row, |record| note(records, &record, profile)).unwrap();
                }
                Message::Truncate(truncate) if !self.settings.skipped_operations.contains(&Operation::Truncate) => {
                    let open = open.as_mut().unwrap();
                    for relation in truncate.relations {
                        let Ok(table) = self.tables.get(relation) else { continue };
                        let order = open.counts.add(&table.shape().name(), 1);
                        let row = row(&open.context, lsn, self.transactions.as_ref().map(|_| order));
                        let (records, profile) = (&mut self.records, self.profile);
                        self.encoder.encode_truncate(table, row, |record| note(records, &record, profile)).unwrap();
                    }
                }
                Message::Logical(message) => {
                    let alone = (!message.is_transactional).then(|| {
                        last_commit_end = Some(lsn);
                        context(Xid(0), last_commit_us, last_commit_end)
                    });
                    let prefix = String::from_utf8_lossy(&message.prefix).into_owned();
                    if !self.settings.message_prefixes.accepts(&prefix) {
                        continue;
                    }
                    let order = open.as_mut().filter(|_| message.is_transactional).map(|open| {
                        let name = format!("{MESSAGE}@{}", open.counts.collections());
                        open.counts.add(&name, 1)
                    });
                    let context = alone.as_ref().or(open.as_ref().map(|open| &open.context)).unwrap();
                    let row = row(context, lsn, order.filter(|_| self.transactions.is_some()));
                    let Some(messages) = &mut self.messages else { continue };
                    note(&mut self.records, &messages.record(&message, row), self.profile).unwrap();
                }
                Message::Truncate(_) | Message::Origin { .. } | Message::Type => {}
            }
        }
        self.records
    }

    fn write_transaction(&mut self, context: &TransactionContext, lsn: Lsn, counts: Option<&EventCounts>) {
        if let Some(transactions) = &mut self.transactions {
            note(&mut self.records, &transactions.record(row(context, lsn, None), counts), self.profile).unwrap();
        }
    }

    fn left_out(&self, shape: &TableShape) -> Vec<String> {
        let names = shape.columns.iter().map(|column| &column.name);
        let tables = &self.settings.tables;
        names.filter(|name| !tables.accepts_column(&shape.schema, &shape.table, name)).cloned().collect()
    }

    /// The table as the catalog had it when Debezium looked: after the column was added, if the relation has it.
    fn table(&self, relation: &Relation) -> TablePlan {
        let is_later = relation.columns.iter().any(|column| column.name == "note");
        let later = self.fixture.catalog.get("after").filter(|_| is_later);
        let rows = later.unwrap_or(&self.fixture.catalog["before"]);
        let mut shape = relation.shape(&catalog(rows, &relation.table));
        for column in &mut shape.columns {
            column.pg_type = pg_type(column);
        }
        let options = PlanOptions {
            profile: self.profile,
            topic_prefix: self.prefix.to_owned(),
            database: "activity".to_owned(),
            transforms: self.settings.transforms.clone(),
            schema_name: topic_name(&self.settings.topic_delimiter, self.prefix, &relation.schema, &relation.table),
            key_converter: self.settings.key_converter,
            key_decimals_are_numbers: false,
            value_converter: self.settings.value_converter,
            with_text_headers: self.settings.with_text_headers,
            left_out: self.left_out(&shape),
            key_columns: self.settings.message_keys.of_table(&shape).unwrap(),
            unavailable_placeholder: Placeholder::parse("__debezium_unavailable_value").expect("a text"),
            handling: self.settings.handling,
            masks: self.settings.masks_of(&shape, false),
            schema_names: self.settings.schema_names,
            field_names: self.settings.field_names,
        };
        TablePlan::new(shape, &options).unwrap()
    }
}

/// What Debezium calls the collection of a message, before an address.
pub(super) const MESSAGE: &str =
    "io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId";

fn context(xid: Xid, commit_time_us: i64, previous_commit_end: Option<Lsn>) -> TransactionContext {
    TransactionContext { xid, commit_time_us, previous_commit_end, origin: None }
}

fn row(transaction: &TransactionContext, lsn: Lsn, order: Option<EventOrder>) -> RowContext<'_> {
    let kind = PositionKind::Stream;
    let first = Position { kind, system_identifier: 7, commit_lsn: lsn, row: 1, part: 0 };
    RowContext { transaction, lsn, now_ns: 1_795_252_418_815_984_950, snapshot: SnapshotMark::False, first, order }
}

fn note(records: &mut HashMap<String, Vec<Written>>, record: &Record<'_>, profile: Profile) -> Result<(), EncodeError> {
    records.entry(record.topic.to_owned()).or_default().push(mask(written(record), profile));
    Ok(())
}

/// What the fixtures did not record: the name behind an object id. Others than these are an extension's.
fn pg_type(column: &ColumnShape) -> PgType {
    let names = [
        (16, "bool"),
        (17, "bytea"),
        (20, "int8"),
        (21, "int2"),
        (23, "int4"),
        (25, "text"),
        (114, "json"),
        (701, "float8"),
        (1042, "bpchar"),
        (1043, "varchar"),
        (1114, "timestamp"),
        (1184, "timestamptz"),
        (1700, "numeric"),
        (2950, "uuid"),
        (3802, "jsonb"),
    ];
    if column.type_oid == 1_009 {
        let kind = PgTypeKind::Array(Box::new(PgType::plain("text")));
        return PgType { kind, ..PgType::plain("_text") };
    }
    let known = names.iter().find(|(oid, _)| column.type_oid == *oid);
    match known {
        Some((_, name)) => PgType::plain(name),
        None => PgType { is_built_in: false, ..PgType::plain(&column.type_name) },
    }
}

fn catalog(rows: &[CatalogRow], table: &str) -> TableShape {
    let has_keys = rows.iter().any(|row| row.key.is_some());
    let rows: Vec<&CatalogRow> = rows.iter().filter(|row| row.table == table).collect();
    let mut key: Vec<_> = rows.iter().filter(|row| row.key.is_some()).collect();
    key.sort_by_key(|row| row.key);
    // Where no keys were recorded, it is the first column.
    let key = if key.is_empty() && !has_keys { rows.iter().take(1).collect() } else { key };
    let column = |row: &&CatalogRow| ColumnShape {
        name: row.name.clone(),
        type_oid: 0,
        type_modifier: -1,
        type_name: row.r#type.clone(),
        pg_type: PgType::default(),
        is_not_null: row.not_null,
        default_expression: row.default.clone(),
        is_identity: false,
    };
    TableShape {
        primary_key: key.iter().map(|row| row.name.clone()).collect(),
        columns: rows.iter().map(column).collect(),
        ..TableShape::default()
    }
}

pub(super) fn written(record: &Record<'_>) -> Written {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers =
        record.headers.iter().map(|(name, value)| (name.to_owned(), value.map_or("\u{3}".to_owned(), text))).collect();
    Written {
        key: record.key.map(text),
        value: record.value.map(text),
        headers,
        timestamp: record.timestamp_ms,
        partition: record.partition,
    }
}
