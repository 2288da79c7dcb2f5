//! Snapshots as live Debezium writes them: one database, two connectors, and each record of both compared byte for byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::support::{OwnStack, Record, World, eventually, records, topic_end};

/// Tables in no order of their names; the first of all by name, and the last, have no rows.
const TABLES: &str = r#"
CREATE EXTENSION hstore;
CREATE SCHEMA snap;
CREATE TYPE snap.mood AS ENUM ('sad', 'ok');
CREATE TABLE snap."AA empty" (id int PRIMARY KEY);
CREATE TABLE snap.composite (x int, y text, v text DEFAULT 'dd', PRIMARY KEY (y, x));
CREATE TABLE snap.keyless (v text);
CREATE TABLE snap."Odd Name.x" ("Id ü" int PRIMARY KEY, "select" text);
CREATE TABLE snap.single (id serial PRIMARY KEY);
CREATE TABLE snap.types (id int PRIMARY KEY, b bool, i2 smallint, i8 bigint, f4 real, f8 float8, n numeric(10,2),
    n2 numeric, t text, vc varchar(9), c char(4), u uuid, j json, jb jsonb, by bytea, ts timestamp, tz timestamptz,
    tm time, d date, iv interval, ip inet, m snap.mood, a int[], ta text[], h hstore, bits bit(5), r int4range, mo money);
CREATE TABLE snap.zz_empty (id int PRIMARY KEY);
INSERT INTO snap.composite VALUES (1, 'k1'), (2, 'k1');
INSERT INTO snap.composite VALUES (1, 'k2', NULL), (1, 'k3', E'tab\t\\ quote''"');
INSERT INTO snap.keyless VALUES ('a'), ('b'), ('b'), (NULL);
INSERT INTO snap."Odd Name.x" VALUES (1, 'ä');
INSERT INTO snap.single DEFAULT VALUES;
INSERT INTO snap.types VALUES (1, true, -3, 9223372036854775807, 1.5, 1e23, 12.34, 123456.789, E'line\nbreak \\N', 'v', 'ch',
    '5f5b5f5b-0000-0000-0000-000000000001', '{"a": 1}', '{"b":[1,null]}', '\x00ff', '2024-01-02 03:04:05.123456',
    '2024-01-02 03:04:05.123456+02', '23:59:59.123456', '2024-02-29', '1 year 2 mons 3 days 04:05:06.7', '10.0.0.1/24', 'ok',
    '{1,NULL,3}', '{"a b",NULL,"q\"x"}', 'k=>v,n=>NULL', B'10101', '[1,5)', 12.34);
INSERT INTO snap.types VALUES (2);
CREATE PUBLICATION snap FOR TABLES IN SCHEMA snap
"#;
const TOPICS: [&str; 5] = ["composite", "keyless", "Odd_Name.x", "single", "types"];
const RECORDS: i64 = 4 + 4 + 1 + 1 + 2;

pub(crate) fn connector(world: &World, verb: &str, connect: &str, file: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("debezium/connector"));
    for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
        command.env(name, world.variable(name));
    }
    let output = command.args([verb, "--connect", connect, "--yes", "--file"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server has few slots: those of connectors that are done make room for the next.
pub(crate) async fn drop_slots(world: &World) {
    let sql = world.sql().await;
    let drop =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active";
    let left = "SELECT count(*) = 0 FROM pg_replication_slots WHERE database = $1";
    eventually("their slots are dropped", async || {
        let is_dropped = sql.execute(drop, &[&world.name()]).await.is_ok();
        is_dropped && sql.query_one(left, &[&world.name()]).await.unwrap().get(0)
    })
    .await;
}

/// A record as text, without clocks, positions and what tells one run from another.
pub(crate) fn masked(record: &Record) -> String {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let clocks = Regex::new(r#""(_*(?:source_)?(?:ts_ms|ts_us|ts_ns|txId|lsn))":\d+"#).unwrap();
    let sequence = Regex::new(r#""sequence":"\[null,\\"\d+\\"\]""#).unwrap();
    let value = text(&record.value).unwrap_or_default();
    let value = clocks.replace_all(&value, "\"$1\":0");
    let value = sequence.replace_all(&value, "\"sequence\":0");
    let headers: Vec<_> = record
        .headers
        .iter()
        .filter(|(name, _)| name != "evp.position")
        .map(|(name, value)| (name, text(value).filter(|_| !name.ends_with(".runId") && name != "__lsn")))
        .collect();
    format!("{:?} {value} {headers:?}", text(&record.key))
}

async fn compare(stack: &OwnStack, test: &str, overrides: &[(&str, &str)]) {
    let world = World::on_stack(test, stack).await;
    world.sql().await.batch_execute(TABLES).await.unwrap();
    // Both have one prefix, and topics that begin with their own names.
    let settings = |side: &str| {
        let mut settings = BTreeMap::from([
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector".to_owned()),
            ("plugin.name", "pgoutput".to_owned()),
            ("database.hostname", world.variable("POSTGRES_HOST").to_owned()),
            ("publication.name", "snap".to_owned()),
            ("publication.autocreate.mode", "disabled".to_owned()),
            ("table.include.list", "snap.*".to_owned()),
            ("topic.prefix", world.name().to_owned()),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("transforms", "side".to_owned()),
            ("transforms.side.type", "org.apache.kafka.connect.transforms.RegexRouter".to_owned()),
            ("transforms.side.regex", "(.*)".to_owned()),
            ("transforms.side.replacement", format!("{side}.$1")),
            ("slot.name", format!("{}_{side}", world.name())),
        ]);
        settings.extend(overrides.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let path = world.directory().join(side).with_extension("json");
        std::fs::write(&path, serde_json::json!({"name": settings["slot.name"], "config": settings}).to_string())
            .unwrap();
        path
    };
    let (connect, theirs) = (&stack.variables()["CONNECT_URL"], settings("theirs"));
    connector(&world, "deploy", connect, &theirs);
    let topic = |side: &str, table: &str| format!("{side}.{}.snap.{table}", world.name());
    let count = |side: &str| TOPICS.iter().filter_map(|table| topic_end(&world, &topic(side, table))).sum::<i64>();
    eventually("Debezium has taken its snapshot", async || count("theirs") == RECORDS).await;
    let ours = settings("ours");
    let finished = world.run(&["capture", "--until", "caught-up", "--connector", ours.to_str().unwrap()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    connector(&world, "remove", connect, &theirs);
    for table in TOPICS {
        let [ours, theirs] =
            ["ours", "theirs"].map(|side| records(&world, &topic(side, table)).iter().map(masked).collect::<Vec<_>>());
        assert!(!theirs.is_empty());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{table}");
        }
        assert_eq!(ours.len(), theirs.len(), "{table}");
    }
}

#[tokio::test]
async fn snapshots_are_written_as_live_debezium_writes_them_through_transforms_as_well() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    compare(&stack, "snapshot_parity", &[]).await;
    let overrides = [
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        ("transforms", "unwrap,side"),
        ("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState"),
        ("transforms.unwrap.add.fields", "op,table,source.snapshot,lsn"),
        ("transforms.unwrap.add.headers", "op,db"),
    ];
    compare(&stack, "snapshot_unwrap", &overrides).await;
}
