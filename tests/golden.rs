//! Our records against those of real Debezium for the same log, byte for byte.
//!
//! `golden/record` made the fixtures: the pgoutput bytes that PostgreSQL sent for `golden/*cases.sql` and what
//! Debezium wrote to Kafka for them. Masked are the connector's clock (`ts_*` after `op`) and its version-free run id.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use evp::config::Variables;
use evp::connector::{Connector, ConnectorSettings};
use evp::envelope::{
    ChangeEncoder, ContextHeaders, EncodeError, Heartbeats, PlanOptions, Position, PositionKind, Profile, Record,
    RecordOptions, RowContext, SnapshotMark, TablePlan, TransactionContext,
};
use evp::lsn::Lsn;
use evp::pgoutput::{Message, Relation, RelationCache, decode};
use evp::row::{ColumnShape, TableShape};
use evp::typemap::PgType;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    options: HashMap<String, String>,
    catalog: HashMap<String, Vec<CatalogRow>>,
    stream: Vec<(u64, String)>,
    records: HashMap<String, Vec<Written>>,
    /// Texts of the schemas for which the records hold a number.
    #[serde(default)]
    schemas: Vec<String>,
}

#[derive(Deserialize)]
struct CatalogRow {
    table: String,
    name: String,
    r#type: String,
    not_null: bool,
    default: Option<String>,
    /// Its place in the primary key.
    key: Option<usize>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Written {
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

#[test]
fn records_equal_debezium_3_6_keyed_by_aggregate() {
    compare("3.6-outbox", Profile::V3_6, "outbox");
}

#[test]
fn records_equal_debezium_3_6_keyed_by_row_with_tombstones() {
    compare("3.6-rows", Profile::V3_6, "rows");
}

#[test]
fn records_equal_debezium_2_4_keyed_by_aggregate() {
    compare("2.4-outbox", Profile::V2_4, "outbox");
}

#[test]
fn records_equal_debezium_2_4_keyed_by_row_with_tombstones() {
    compare("2.4-rows", Profile::V2_4, "rows");
}

#[test]
fn records_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-schemas", Profile::V3_6, "schemas");
}

#[test]
fn records_with_their_schemas_equal_debezium_2_4() {
    compare("2.4-schemas", Profile::V2_4, "schemas");
}

#[test]
fn keys_of_several_columns_and_defaults_equal_debezium_3_6() {
    compare("3.6-catalog", Profile::V3_6, "catalog");
}

#[test]
fn keys_that_message_key_columns_lists_equal_debezium_3_6() {
    compare("3.6-keys", Profile::V3_6, "keys");
}

#[test]
fn keys_of_several_columns_and_defaults_equal_debezium_2_4() {
    compare("2.4-catalog", Profile::V2_4, "catalog");
}

#[test]
fn keys_that_message_key_columns_lists_equal_debezium_2_4() {
    compare("2.4-keys", Profile::V2_4, "keys");
}

#[test]
fn unwrapped_rows_with_fields_and_headers_equal_debezium_3_6() {
    compare("3.6-unwrap", Profile::V3_6, "unwrap");
}

#[test]
fn unwrapped_deletes_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-rewrite", Profile::V3_6, "rewrite");
}

#[test]
fn unwrapped_deletes_with_their_tombstones_equal_debezium_3_6() {
    compare("3.6-rewritten", Profile::V3_6, "rewritten");
}

#[test]
fn unwrapped_deletes_that_become_tombstones_equal_debezium_3_6() {
    compare("3.6-flat", Profile::V3_6, "flat");
}

#[test]
fn unwrapped_deletes_that_become_a_null_with_a_schema_equal_debezium_3_6() {
    compare("3.6-single", Profile::V3_6, "single");
}

#[test]
fn a_chain_with_predicates_equals_debezium_3_6() {
    compare("3.6-chain", Profile::V3_6, "chain");
}

fn compare(fixture: &str, profile: Profile, prefix: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{fixture}.json"));
    let mut fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut ours = Writer::new(&fixture, profile, prefix).write_stream();
    ours.extend(heartbeat(&fixture, prefix));
    assert!(fixture.records.values().all(|records| !records.is_empty()), "nothing was recorded");
    for (topic, theirs) in std::mem::take(&mut fixture.records) {
        // Columns that an index only includes are in the key of 2.4, where they part a delete from its insert.
        if topic == "catalog.activity.key_include" && profile == Profile::V2_4 {
            ours.remove(&topic);
            continue;
        }
        let theirs: Vec<Written> =
            theirs.into_iter().map(|record| mask(with_schemas(record, &fixture.schemas), profile)).collect();
        let ours = ours.remove(&topic).unwrap_or_default();
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "record {at} of {topic}");
        }
        assert_eq!(ours.len(), theirs.len(), "number of records of {topic}");
    }
    assert!(ours.is_empty(), "topics that Debezium does not write: {:?}", ours.keys());
}

/// A heartbeat, if one was recorded.
fn heartbeat(fixture: &Fixture, prefix: &str) -> Option<(String, Vec<Written>)> {
    let topic = format!("__debezium-heartbeat.{prefix}");
    let recorded = fixture.records.get(&topic)?.first()?.value.as_deref()?;
    let (_, time) = recorded.rsplit_once("\"ts_ms\":").unwrap();
    let time: String = time.chars().take_while(char::is_ascii_digit).collect();
    let mut heartbeats = Heartbeats::new(topic.clone(), prefix, true, true);
    let record = written(&heartbeats.record(time.parse().unwrap()));
    Some((topic, vec![record]))
}

/// Puts the schemas back in their places.
fn with_schemas(mut record: Written, schemas: &[String]) -> Written {
    for text in [&mut record.key, &mut record.value].into_iter().flatten() {
        if let Some((number, payload)) = text.split_once(",\"payload\":")
            && let Ok(number) = number.parse::<usize>()
        {
            *text = format!("{},\"payload\":{payload}", schemas[number]);
        }
    }
    record
}

/// Cuts off the envelope's own clock, which stands at the end in both profiles.
fn mask(mut record: Written, profile: Profile) -> Written {
    record.value = record.value.map(|value| {
        // A heartbeat has none, nor has a row without its envelope, unless it is added there.
        if !value.contains("\"op\":\"") {
            let Some((head, tail)) = value.split_once("\"__ts_ms\":") else { return value };
            return format!("{head}\"__ts_ms\":0{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        let start = match profile {
            Profile::V3_6 => "\"op\":\"",
            Profile::V2_4 => ",\"op\":\"",
        };
        let (head, tail) = value.rsplit_once(start).unwrap();
        let kept: String = tail.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        format!("{head}{start}{kept}")
    });
    record
}

struct Writer<'a> {
    fixture: &'a Fixture,
    profile: Profile,
    prefix: &'a str,
    settings: ConnectorSettings,
    tables: RelationCache<TablePlan>,
    encoder: ChangeEncoder,
    records: HashMap<String, Vec<Written>>,
}

impl<'a> Writer<'a> {
    fn new(fixture: &'a Fixture, profile: Profile, prefix: &'a str) -> Self {
        // The shipped file names a key, which not every recorded connector does.
        let mut sets = vec!["message.key.columns=".to_owned(), format!("topic.prefix={prefix}")];
        sets.extend(fixture.options.iter().map(|(name, value)| format!("{name}={value}")));
        let mut variables = Variables::default();
        let settings = Connector::load(&mut variables, None, &sets).unwrap().settings(&mut variables, profile);
        variables.finish().unwrap();
        let encoder = ChangeEncoder::new(RecordOptions {
            with_tombstones: settings.tombstones_on_delete,
            with_position: false,
            context_headers: settings.with_context_headers.then(|| ContextHeaders::new(prefix, "masked")),
        });
        let (tables, records) = Default::default();
        Self { fixture, profile, prefix, settings, tables, encoder, records }
    }

    fn write_stream(mut self) -> HashMap<String, Vec<Written>> {
        let mut last_commit_end = None;
        let mut transaction: Option<TransactionContext> = None;
        for (lsn, hex) in &self.fixture.stream {
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            match decode(Bytes::from(bytes)).unwrap() {
                Message::Begin(begin) => {
                    transaction = Some(TransactionContext {
                        xid: begin.xid,
                        commit_time_us: begin.commit_time_us + 946_684_800_000_000,
                        previous_commit_end: last_commit_end,
                        origin: None,
                    });
                }
                Message::Commit(commit) => last_commit_end = Some(commit.end_lsn),
                Message::Relation(relation) => {
                    let is_left_out = !self.settings.tables.accepts(&relation.schema, &relation.table);
                    if is_left_out && self.fixture.options.contains_key("table.include.list") {
                        continue;
                    }
                    let encoder = self.table(&relation);
                    self.tables.insert(relation.id, encoder);
                }
                Message::Change(change) => {
                    let row = RowContext {
                        transaction: transaction.as_ref().unwrap(),
                        lsn: Lsn::new(*lsn),
                        now_ns: 1_795_252_418_815_984_950,
                        snapshot: SnapshotMark::False,
                        first: Position {
                            kind: PositionKind::Stream,
                            system_identifier: 7,
                            commit_lsn: Lsn::new(*lsn),
                            row: 1,
                            part: 0,
                        },
                    };
                    let Ok(table) = self.tables.get(change.relation()) else { continue };
                    let (records, profile) = (&mut self.records, self.profile);
                    let emit = |record: Record<'_>| -> Result<(), EncodeError> {
                        let written = mask(written(&record), profile);
                        records.entry(record.topic.to_owned()).or_default().push(written);
                        Ok(())
                    };
                    self.encoder.encode(table, change.row(), row, emit).unwrap();
                }
                Message::Truncate(_) | Message::Origin { .. } | Message::Logical(_) | Message::Type => {}
            }
        }
        self.records
    }

    /// The table as the catalog had it when Debezium looked: after the column was added, if the relation has it.
    fn table(&self, relation: &Relation) -> TablePlan {
        let is_later = relation.columns.iter().any(|column| column.name == "note");
        let rows = &self.fixture.catalog[if is_later { "after" } else { "before" }];
        let mut shape = relation.shape(&catalog(rows, &relation.table));
        for column in &mut shape.columns {
            column.pg_type = pg_type(column);
        }
        let options = PlanOptions {
            profile: self.profile,
            topic_prefix: self.prefix.to_owned(),
            database: "activity".to_owned(),
            transforms: self.settings.transforms.clone(),
            schema_name: format!("{}.{}.{}", self.prefix, relation.schema, relation.table),
            with_key_schema: self.settings.with_key_schema,
            with_value_schema: self.settings.with_value_schema,
            left_out: Vec::new(),
            key_columns: self.settings.message_keys.of_table(&shape).unwrap(),
            unavailable_placeholder: "__debezium_unavailable_value".to_owned(),
            handling: self.settings.handling,
        };
        TablePlan::new(shape, &options).unwrap()
    }
}

/// What the fixtures did not record: the name behind an object id. Others than these are an extension's.
fn pg_type(column: &ColumnShape) -> PgType {
    let names = [
        (16, "bool"),
        (20, "int8"),
        (21, "int2"),
        (23, "int4"),
        (25, "text"),
        (114, "json"),
        (1042, "bpchar"),
        (1043, "varchar"),
        (1184, "timestamptz"),
        (2950, "uuid"),
        (3802, "jsonb"),
    ];
    let known = names.iter().find(|(oid, _)| column.type_oid == *oid);
    match known {
        Some((_, name)) => PgType::plain(name),
        None => PgType { is_built_in: false, ..PgType::plain(&column.type_name) },
    }
}

fn catalog(rows: &[CatalogRow], table: &str) -> TableShape {
    let rows: Vec<&CatalogRow> = rows.iter().filter(|row| row.table == table).collect();
    let mut key: Vec<_> = rows.iter().filter(|row| row.key.is_some()).collect();
    key.sort_by_key(|row| row.key);
    // Where no key was recorded, it is the first column.
    let key = if key.is_empty() { rows.iter().take(1).collect() } else { key };
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

fn written(record: &Record<'_>) -> Written {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers =
        record.headers.iter().map(|(name, value)| (name.to_owned(), value.map_or("\u{3}".to_owned(), text))).collect();
    Written { key: record.key.map(text), value: record.value.map(text), headers }
}
