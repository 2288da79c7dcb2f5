//! Incremental snapshots as live Debezium writes them: one database, two connectors, and each record of both compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use regex::{Captures, Regex};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::capture_snapshot_parity::{connector, masked};
use crate::support::envelopes::{NewRecord, produce};
use crate::support::{OwnStack, Record, Running, World, eventually, records, topic_end};

const TABLES: &str = r#"
CREATE SCHEMA inc;
CREATE TYPE inc.mood AS ENUM ('sad', 'ok');
CREATE TABLE inc.composite (x int, v text DEFAULT 'dd', y text, PRIMARY KEY (y, x));
CREATE TABLE inc.empty (id int PRIMARY KEY);
CREATE TABLE inc.keyless (v text);
CREATE TABLE inc."Odd Name" ("Id ü" int PRIMARY KEY, "select" text);
CREATE TABLE inc.types (id int PRIMARY KEY, b bool, i2 smallint, i8 bigint, f4 real, f8 float8, n numeric(10,2),
    n2 numeric, t text, vc varchar(9), c char(4), u uuid, j json, jb jsonb, by bytea, ts timestamp, tz timestamptz,
    tm time, d date, iv interval, ip inet, m inc.mood, a int[], ta text[], bits bit(5), r int4range, mo money,
    nm name, di date);
CREATE TABLE inc.ours_signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
CREATE TABLE inc.theirs_signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
INSERT INTO inc.composite SELECT n % 3, 'v' || n, 'k' || n / 3 FROM generate_series(1, 10) n;
INSERT INTO inc.keyless VALUES ('a'), ('b');
INSERT INTO inc."Odd Name" VALUES (1, 'ä'), (2, NULL);
INSERT INTO inc.types VALUES (1, true, -3, 9223372036854775807, 1.5, 1e23, 12.34, 123456.789, E'line\nbreak \\N', 'v', 'ch',
    '5f5b5f5b-0000-0000-0000-000000000001', '{"a": 1}', '{"b":[1,null]}', '\x00ff', '2024-01-02 03:04:05.123456',
    '2024-01-02 03:04:05.123456+02', '23:59:59.123456', '2024-02-29', '1 year 2 mons 3 days 04:05:06.7', '10.0.0.1/24', 'ok',
    '{1,NULL,3}', '{"a b",NULL,"q\"x"}', B'10101', '[1,5)', 12.34, 'a name', 'infinity');
INSERT INTO inc.types VALUES (2);
INSERT INTO inc.ours_signals VALUES ('old', 'log', '{"message":"old"}');
INSERT INTO inc.theirs_signals VALUES ('old', 'log', '{"message":"old"}');
CREATE PUBLICATION inc FOR TABLES IN SCHEMA inc
"#;
const TOPICS: [&str; 5] = ["composite", "keyless", "Odd_Name", "types", "signals"];

/// Both connectors on one database; their records are told apart by what their topics begin with.
struct Pair<'a> {
    world: &'a World,
    sql: Client,
    connect: String,
    overrides: Vec<(&'static str, &'static str)>,
    shown: RefCell<(String, Option<Instant>)>,
}

/// Sides of which one has marked more windows are given so long to come to the same.
const WINDOWS_WAIT: Duration = Duration::from_secs(3);

impl Pair<'_> {
    fn file(&self, side: &str) -> PathBuf {
        let world = self.world;
        let mut settings = BTreeMap::from([
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector".to_owned()),
            ("plugin.name", "pgoutput".to_owned()),
            ("database.hostname", world.variable("POSTGRES_HOST").to_owned()),
            ("publication.name", "inc".to_owned()),
            ("publication.autocreate.mode", "disabled".to_owned()),
            ("table.include.list", r"inc\.composite,inc\.empty,inc\.keyless,inc\.Odd.*,inc\.types".to_owned()),
            ("topic.prefix", world.name().to_owned()),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("transforms", "side".to_owned()),
            ("transforms.side.type", "org.apache.kafka.connect.transforms.RegexRouter".to_owned()),
            ("transforms.side.regex", "(.*)".to_owned()),
            ("transforms.side.replacement", format!("{side}.$1")),
            ("slot.name", format!("{}_{side}", world.name())),
            ("signal.data.collection", format!("inc.{side}_signals")),
            ("incremental.snapshot.chunk.size", "4".to_owned()),
            ("signal.enabled.channels", "source,kafka".to_owned()),
            ("signal.kafka.bootstrap.servers", world.variable("KAFKA_BOOTSTRAP_SERVERS").to_owned()),
            ("signal.poll.interval.ms", "300".to_owned()),
        ]);
        settings.extend(self.overrides.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let path = world.directory().join(side).with_extension("json");
        let file = json!({"name": settings["slot.name"], "config": settings});
        std::fs::write(&path, file.to_string()).unwrap();
        path
    }

    fn topic(&self, side: &str, table: &str) -> String {
        let table = if table == "signals" { format!("{side}_signals") } else { table.to_owned() };
        format!("{side}.{}.inc.{table}", self.world.name())
    }

    fn ends(&self, side: &str) -> Vec<i64> {
        TOPICS.iter().map(|table| topic_end(self.world, &self.topic(side, table)).unwrap_or(0)).collect()
    }

    /// Whether Debezium has written as many records as evp; what each has is shown where the test fails.
    ///
    /// A chunk that does not show a commit which the stream has told is read again by evp alone, in a window of its own.
    fn is_level(&self) -> bool {
        let (ours, theirs) = (self.ends("ours"), self.ends("theirs"));
        let ends = format!("{TOPICS:?}: evp {ours:?}, Debezium {theirs:?}");
        let (shown, since) = &mut *self.shown.borrow_mut();
        if *shown != ends {
            eprintln!("{ends}");
            (*shown, *since) = (ends, Some(Instant::now()));
        }
        let (rows, windows) = ours.split_at(ours.len() - 1);
        let (their_rows, their_windows) = theirs.split_at(theirs.len() - 1);
        let stands = since.is_some_and(|since| since.elapsed() >= WINDOWS_WAIT);
        ours == theirs || (stands && rows == their_rows && windows >= their_windows)
    }

    /// Asks both for the same.
    async fn signal(&self, id: &str, kind: &str, data: &Value) {
        for side in ["ours", "theirs"] {
            let insert = format!("INSERT INTO inc.{side}_signals VALUES ($1, $2, $3)");
            self.sql.execute(&insert, &[&id, &kind, &data.to_string()]).await.unwrap();
        }
    }

    /// Waits until ours has completed so many snapshots, and theirs has written as much.
    async fn settled(&self, ours: &mut Running, completed: usize) {
        eventually("evp has taken its snapshot", async || {
            ours.events("incremental_snapshot_completed").len() >= completed
        })
        .await;
        eventually("Debezium has written as much as evp", async || self.is_level()).await;
    }

    /// Rows of a table change while both wait to read their first chunk of it.
    async fn changed_within_the_window(&self, changes: &str, data: &Value) {
        let writer = self.world.sql().await;
        writer.batch_execute("BEGIN; LOCK TABLE inc.composite IN ACCESS EXCLUSIVE MODE").await.unwrap();
        self.signal("in the window", "execute-snapshot", data).await;
        // Whoever looks at what is published waits as well.
        let waiting = "SELECT count(*) FILTER (WHERE a.application_name LIKE 'Debezium%') > 0 \
                           AND count(*) FILTER (WHERE a.query LIKE 'BEGIN%LOCK TABLE%') > 0 \
                       FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                       WHERE l.relation = 'inc.composite'::regclass AND NOT l.granted";
        eventually("both wait for the table", async || self.sql.query_one(waiting, &[]).await.unwrap().get(0)).await;
        writer.batch_execute(&format!("{changes}; COMMIT")).await.unwrap();
    }

    fn compare(&self) {
        for table in TOPICS {
            let [ours, theirs] = ["ours", "theirs"].map(|side| self.comparable(side, table));
            assert!(!theirs.is_empty() || table == "keyless", "{table}");
            let [(ours, our_windows), (theirs, their_windows)] = [ours, theirs].map(apart);
            assert_eq!(our_windows, their_windows, "{table}");
            assert_eq!(our_windows.is_empty(), table != "signals", "{our_windows:?}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{table}");
            }
            assert_eq!(ours.len(), theirs.len(), "{table}");
        }
    }

    /// The records of a topic, masked; places are told to be those of records of the signal table.
    fn comparable(&self, side: &str, table: &str) -> Vec<String> {
        let marks = self.marks(side);
        let sequence = Regex::new(r#""sequence":"(\[[^]]*\])""#).unwrap();
        let uuid = Regex::new(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
        let instant = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z").unwrap();
        let place = |found: &Captures<'_>| match marks.iter().any(|mark| *mark == found[1]) {
            true => r#""sequence":"a mark""#.to_owned(),
            false => found[0].to_owned(),
        };
        // Debezium's stream goes on until the thread that reads has begun, so that its rows bear the place of the signal
        // or of whatever came behind it.
        let read = Regex::new(r#"("snapshot":"(?:true|first|last)\w*",[^{}]*"sequence":)"\[[^]]*\]""#).unwrap();
        let comparable = |record: &Record| {
            let is_mark = table == "signals";
            let text = masked(record);
            let text = read.replace_all(&text, "${1}then").into_owned();
            // Right after a start it is masked already.
            let text = if is_mark { text.replace(r#""sequence":0"#, "") } else { text };
            let text = if is_mark { sequence.replace_all(&text, "") } else { sequence.replace_all(&text, place) };
            let text = if is_mark { uuid.replace_all(&text, "window") } else { text };
            let text = if is_mark { instant.replace_all(&text, "then") } else { text };
            text.replace(&format!("{side}_signals"), "signals").replace(&format!("{side}."), "")
        };
        records(self.world, &self.topic(side, table)).iter().map(comparable).collect()
    }

    /// What `source.sequence` is in each record of the signal table.
    fn marks(&self, side: &str) -> Vec<String> {
        let values = records(self.world, &self.topic(side, "signals")).into_iter().filter_map(|record| record.value);
        values
            .map(|value| {
                let value: Value = serde_json::from_slice(&value).unwrap();
                let payload = if value["payload"].is_null() { &value } else { &value["payload"] };
                payload["source"]["sequence"].as_str().unwrap().replace('"', "\\\"")
            })
            .collect()
    }
}

/// The records that are no marks of windows, and the marks, each kind once: there may be more windows on one side.
fn apart(records: Vec<String>) -> (Vec<String>, BTreeSet<String>) {
    let (windows, others): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.contains("window-open") || record.contains("window-close"));
    (others, windows.into_iter().collect())
}

async fn compare(stack: &OwnStack, test: &str, overrides: &[(&'static str, &'static str)]) {
    let world = World::on_stack(test, stack).await;
    let sql = world.sql().await;
    sql.batch_execute(TABLES).await.unwrap();
    let connect = stack.variables()["CONNECT_URL"].clone();
    let pair = Pair { world: &world, sql, connect, overrides: overrides.to_vec(), shown: RefCell::default() };
    let (theirs, ours) = (pair.file("theirs"), pair.file("ours"));
    // Debezium wants the topic to be there.
    let log = r#"{"id":"first","type":"log","data":{"message":"m"}}"#;
    let record = NewRecord { key: Some(world.name().into()), value: Some(log.into()), ..NewRecord::default() };
    produce(&world, &format!("{}-signal", world.name()), &[record]).await;
    connector(&world, "deploy", &pair.connect, &theirs);
    let mut capture = world.start(&["capture", "--connector", ours.to_str().unwrap()]);
    capture.event("streaming_started").await;
    eventually("Debezium has begun as evp has", async || pair.is_level()).await;

    let all = json!({"type": "incremental", "data-collections":
        ["inc.composite", "inc.empty", "inc.types", "inc.keyless", "inc.none"]});
    let changes = "UPDATE inc.composite SET v = 'changed' WHERE (x, y) = (1, 'k0'); DELETE FROM inc.composite WHERE x = 2 AND y = 'k0'; \
                   UPDATE inc.composite SET x = 7 WHERE (x, y) = (0, 'k1'); INSERT INTO inc.composite VALUES (9, 'new', 'k0')";
    pair.changed_within_the_window(changes, &all).await;
    pair.settled(&mut capture, 1).await;
    pair.sql.batch_execute("UPDATE inc.composite SET v = 'behind' WHERE y = 'k2'").await.unwrap();
    let some = json!({"data-collections": ["inc.composite"],
        "additional-conditions": [{"data-collection": "inc.composite", "filter": "x > 0 OR y = 'k3'"}]});
    pair.signal("with a condition", "execute-snapshot", &some).await;
    pair.settled(&mut capture, 2).await;
    for (id, kind) in [("1", "pause-snapshot"), ("2", "resume-snapshot"), ("3", "stop-snapshot"), ("4", "dance")] {
        pair.signal(id, kind, &json!({"type": "incremental"})).await;
    }
    pair.signal("last", "execute-snapshot", &json!({"data-collections": ["inc.types"]})).await;
    pair.settled(&mut capture, 3).await;

    blocking(&pair, &mut capture).await;
    connector(&world, "remove", &pair.connect, &theirs);
    pair.compare();
    handover_is_refused(&pair, capture, &ours).await;
}

/// The stream waits for these. They have the order of their tables in the list, and rows that a statement orders.
async fn blocking(pair: &Pair<'_>, capture: &mut Running) {
    let asked = json!({"type": "blocking", "data-collections": ["inc.types", "inc.empty", "inc.composite", "inc.keyless"],
        "additional-conditions": [{"data-collection": "inc.composite",
            "filter": "SELECT * FROM inc.composite WHERE x > 0 ORDER BY y, x"}]});
    pair.signal("blocking", "execute-snapshot", &asked).await;
    let completed = async |count: usize| {
        eventually("evp has taken its snapshot", async || capture.events("blocking_snapshot_completed").len() >= count)
            .await;
        eventually("Debezium has written as much as evp", async || pair.is_level()).await;
    };
    completed(1).await;
    pair.sql.batch_execute("UPDATE inc.composite SET v = 'then' WHERE y = 'k2'").await.unwrap();
    eventually("both go on", async || pair.is_level()).await;
    let value = json!({"id": "by topic", "type": "execute-snapshot",
        "data": {"type": "blocking", "data-collections": ["inc.types"]}});
    let record = NewRecord {
        key: Some(pair.world.name().into()),
        value: Some(value.to_string().into()),
        ..NewRecord::default()
    };
    produce(pair.world, &format!("{}-signal", pair.world.name()), &[record]).await;
    completed(2).await;
}

/// A snapshot that is not finished cannot be gone on with by Debezium.
async fn handover_is_refused(pair: &Pair<'_>, capture: Running, ours: &std::path::Path) {
    let writer = pair.world.sql().await;
    writer.batch_execute("BEGIN; LOCK TABLE inc.types IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let insert =
        "INSERT INTO inc.ours_signals VALUES ('open', 'execute-snapshot', '{\"data-collections\":[\"inc.types\"]}')";
    pair.sql.batch_execute(insert).await.unwrap();
    eventually("the snapshot is asked for", async || capture.events("incremental_snapshot_requested").len() == 4).await;
    let confirmed = "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2";
    let end: String = pair.sql.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    pair.sql.batch_execute("INSERT INTO inc.keyless VALUES ('behind the signal')").await.unwrap();
    let slot = pair.world.name();
    eventually("it is confirmed", async || pair.sql.query_one(confirmed, &[&end, &slot]).await.unwrap().get(0)).await;
    assert_eq!(capture.stop().code, Some(0));
    writer.batch_execute("ROLLBACK").await.unwrap();
    let arguments = ["handover", "--to-debezium", "--connect", &pair.connect, "--connector", ours.to_str().unwrap()];
    let finished = pair.world.run(&arguments);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("incremental snapshot"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_snapshots_are_written_as_live_debezium_writes_them() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    compare(&stack, "inc_parity", &[]).await;
    let overrides = [
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        ("incremental.snapshot.watermarking.strategy", "insert_delete"),
    ];
    compare(&stack, "inc_delete", &overrides).await;
    compare_read_only(&stack).await;
}

/// Signals come by the topic, and neither side writes to a table.
async fn compare_read_only(stack: &OwnStack) {
    let world = World::on_stack("inc_only", stack).await;
    let sql = world.sql().await;
    sql.batch_execute(TABLES).await.unwrap();
    let connect = stack.variables()["CONNECT_URL"].clone();
    let overrides = vec![("read.only", "true"), ("signal.enabled.channels", "kafka")];
    let pair = Pair { world: &world, sql, connect, overrides, shown: RefCell::default() };
    let (theirs, ours) = (pair.file("theirs"), pair.file("ours"));
    let (topic, key) = (format!("{}-signal", world.name()), Some(world.name().into()));
    let signal = async |value: &str| {
        let record = NewRecord { key: key.clone(), value: Some(value.to_owned().into()), ..NewRecord::default() };
        produce(&world, &topic, &[record]).await;
    };
    signal(r#"{"id":"first","type":"log","data":{"message":"m"}}"#).await;
    connector(&world, "deploy", &pair.connect, &theirs);
    let mut capture = world.start(&["capture", "--connector", ours.to_str().unwrap()]);
    capture.event("streaming_started").await;
    eventually("Debezium has begun as evp has", async || pair.is_level()).await;
    let collections = json!(["inc.composite", "inc.empty", "inc.types", "inc.none"]);
    let asked = json!({"id": "topic", "type": "execute-snapshot", "data": {"data-collections": collections}});
    signal(&asked.to_string()).await;
    eventually("evp has taken its snapshot", async || capture.events("incremental_snapshot_completed").len() == 1)
        .await;
    // Debezium looks at a chunk again when something comes by its stream.
    let number = std::cell::Cell::new(0);
    eventually("Debezium has written as much as evp", async || {
        number.set(number.get() + 1);
        let insert = format!("INSERT INTO inc.keyless VALUES ('{}')", number.get());
        pair.sql.batch_execute(&insert).await.unwrap();
        eventually("evp has the row", async || pair.ends("ours")[1] == 2 + number.get()).await;
        let [ours, theirs] = ["ours", "theirs"].map(|side| pair.ends(side)[3]);
        ours == theirs
    })
    .await;
    eventually("both have all rows", async || pair.is_level()).await;
    connector(&world, "remove", &pair.connect, &theirs);
    // There are no marks by which the places of both could be told to be the same.
    let sequence = Regex::new(r#""sequence":(?:0|"\[[^]]*\]")"#).unwrap();
    for table in ["composite", "types", "keyless", "Odd_Name"] {
        let masked = |side| {
            let records = pair.comparable(side, table).into_iter();
            records.map(|text| sequence.replace_all(&text, "").into_owned()).collect::<Vec<_>>()
        };
        let [ours, theirs] = ["ours", "theirs"].map(masked);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{table}");
        }
        assert_eq!(ours.len(), theirs.len(), "{table}");
    }
    assert_eq!(capture.stop().code, Some(0));
}
