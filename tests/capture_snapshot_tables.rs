//! Which tables, columns and rows snapshots read, beside live Debezium: partitions, lists, keys and statements.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::capture_snapshot_parity::{connector, drop_slots, masked};
use crate::support::{OwnStack, World, connector_failure, eventually, records, topic_end, topic_settings, topics};

/// `aa` and `zz` have the first and the last row of all, whatever lies between them.
const TABLES: &str = "
CREATE SCHEMA p;
CREATE TABLE p.aa (id int PRIMARY KEY);
CREATE TABLE p.root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p.root_1 PARTITION OF p.root FOR VALUES FROM (0) TO (10);
CREATE TABLE p.root_2 PARTITION OF p.root FOR VALUES FROM (10) TO (20);
CREATE TABLE p.zz (id int PRIMARY KEY);
INSERT INTO p.aa VALUES (1);
INSERT INTO p.root VALUES (1, 'a'), (2, 'b'), (11, 'c');
INSERT INTO p.zz VALUES (1), (2);
CREATE PUBLICATION leaves FOR TABLE p.aa, p.root, p.zz;
CREATE PUBLICATION roots FOR TABLE p.aa, p.root, p.zz WITH (publish_via_partition_root = true);
CREATE SCHEMA k;
CREATE TABLE k.t (id int, b int NOT NULL, c text DEFAULT 'x', d text, PRIMARY KEY (id, b));
CREATE TABLE k.u (id int PRIMARY KEY, v text);
CREATE TABLE k.w (a int, b int);
INSERT INTO k.t SELECT n, n * 10, NULL, 'd' || n FROM generate_series(1, 5) n;
INSERT INTO k.u SELECT n, 'v' || n FROM generate_series(1, 4) n;
INSERT INTO k.w VALUES (1, 1), (2, 2);
CREATE PUBLICATION keys FOR TABLES IN SCHEMA k
";

/// One database, and pairs of connectors that take a snapshot of it.
struct Beside<'a> {
    world: &'a World,
    connect: &'a str,
}

impl Beside<'_> {
    fn file(&self, name: &str, overrides: &[(&str, &str)]) -> PathBuf {
        let mut settings = BTreeMap::from([
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("plugin.name", "pgoutput"),
            ("database.hostname", self.world.variable("POSTGRES_HOST")),
            ("publication.autocreate.mode", "disabled"),
            ("topic.prefix", self.world.name()),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("key.converter.schemas.enable", "false"),
            ("value.converter.schemas.enable", "false"),
            ("transforms", "one"),
            ("transforms.one.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.one.regex", ".*"),
            ("transforms.one.replacement", name),
            ("slot.name", name),
        ]);
        settings.extend(overrides.iter().copied());
        let path = self.world.directory().join(name).with_extension("json");
        std::fs::write(&path, serde_json::json!({"name": name, "config": settings}).to_string()).unwrap();
        path
    }

    /// The records of both, in their order: evp's, and Debezium's, which has so many.
    async fn records(&self, name: &str, overrides: &[(&str, &str)], rows: i64) -> [Vec<String>; 2] {
        let [ours, theirs] = ["ours", "theirs"].map(|side| format!("{}_{name}_{side}", self.world.name()));
        let file = self.file(&theirs, overrides);
        connector(self.world, "deploy", self.connect, &file);
        let our_file = self.file(&ours, overrides);
        let slot = format!("slot.name={ours}");
        let arguments = ["capture", "--until", "caught-up", "--connector", our_file.to_str().unwrap()];
        let mut command = self.world.command(&arguments);
        let finished = command.args(["--set", &slot]).output().unwrap();
        assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
        eventually("Debezium has read every row", async || {
            let failure = connector_failure(self.connect, &theirs).await;
            assert!(failure.is_none(), "Debezium itself ended:\n{}", failure.unwrap_or_default());
            topic_end(self.world, &theirs) == Some(rows)
        })
        .await;
        connector(self.world, "remove", self.connect, &file);
        drop_slots(self.world).await;
        [ours, theirs].map(|topic| records(self.world, &topic).iter().map(masked).collect())
    }

    /// Both are the same, but for the rows that Debezium has under these names beside those that the stream tells.
    async fn same_without(&self, name: &str, tables: &[&str], overrides: &[(&str, &str)], rows: i64) {
        let [ours, mut theirs] = self.records(name, overrides, rows).await;
        theirs.retain(|record| !tables.iter().any(|table| record.contains(&format!("\"table\":\"{table}\""))));
        assert_eq!(ours, theirs, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_columns_and_statements_are_those_of_live_debezium() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let world = World::on_stack("snap_tables", &stack).await;
    world.sql().await.batch_execute(TABLES).await.unwrap();
    let beside = Beside { world: &world, connect: &stack.variables()["CONNECT_URL"] };
    let leaves = |list| [("publication.name", "leaves"), ("table.include.list", list)];
    let roots = |list| [("publication.name", "roots"), ("table.include.list", list)];
    beside.same_without("leaf", &[], &leaves(r"p\.aa,p\.root_1,p\.zz"), 1 + 2 + 2).await;
    beside.same_without("leaves", &["root"], &leaves(r"p\..*"), 1 + 3 + 3 + 2).await;
    beside.same_without("of_leaf", &["root"], &leaves(r"p\.aa,p\.root,p\.zz"), 1 + 3 + 2).await;
    beside.same_without("root", &[], &roots(r"p\.aa,p\.root,p\.zz"), 1 + 3 + 2).await;
    beside.same_without("roots", &["root_1", "root_2"], &roots(r"p\..*"), 1 + 3 + 3 + 2).await;
    beside.same_without("of_root", &["root_1"], &roots(r"p\.aa,p\.root_1,p\.zz"), 1 + 2 + 2).await;

    let of_keys = |others: &[(&'static str, &'static str)]| {
        [&[("publication.name", "keys"), ("table.include.list", r"k\..*")][..], others].concat()
    };
    let keys = of_keys(&[("message.key.columns", "k.t:d,c;k.w:b"), ("column.exclude.list", "k.u.v")]);
    beside.same_without("keys", &[], &keys, 5 + 4 + 2).await;
    let statements = of_keys(&[
        ("snapshot.select.statement.overrides", "k.t,k.u"),
        ("snapshot.select.statement.overrides.k.t", "SELECT * FROM k.t WHERE id > 2 ORDER BY id DESC"),
        ("snapshot.select.statement.overrides.k.u", "SELECT id, upper(v) AS v FROM k.u"),
    ]);
    beside.same_without("statements", &[], &statements, 3 + 4 + 2).await;
    let included = of_keys(&[("snapshot.include.collection.list", r"k\.u,k\.t")]);
    beside.same_without("included", &[], &included, 5 + 4).await;
    let ordered = [("publication.name", "keys"), ("table.include.list", r"k\.w,k\.u,k\.t")];
    beside.same_without("ordered", &[], &ordered, 5 + 4 + 2).await;

    let made = of_keys(&[
        ("topic.creation.default.partitions", "3"),
        ("topic.creation.default.replication.factor", "1"),
        ("topic.creation.default.cleanup.policy", "compact"),
        // Rows without a key are spread by each in its own way.
        ("snapshot.include.collection.list", r"k\.u,k\.t"),
    ]);
    beside.same_without("made", &[], &made, 5 + 4).await;
    topics_are_alike(&world, "made").await;

    // Debezium does not read a column that is left out, and has the same filler in the keys of all rows.
    let without = of_keys(&[("column.exclude.list", r"k\.t\.b,k\.u\.id")]);
    let [ours, theirs] = beside.records("without", &without, 5 + 4 + 2).await;
    let without_key = |records: &[String]| -> Vec<String> {
        records.iter().map(|record| record[record.find("{\"before").unwrap()..].to_owned()).collect()
    };
    assert_eq!(without_key(&ours), without_key(&theirs));
    let keys_of = |records: &[String], key: &str| records.iter().filter(|record| record.contains(key)).count();
    assert_eq!((keys_of(&theirs, r#"\"b\":0"#), keys_of(&ours, r#"\"b\":0"#)), (5, 0), "{theirs:?}");
    assert_eq!((keys_of(&ours, r#"\"id\":3,\"b\":30"#), keys_of(&ours, r#"{\"id\":4}"#)), (1, 1), "{ours:?}");
}

/// Topics that Kafka Connect has made for the one, and evp for the other.
async fn topics_are_alike(world: &World, name: &str) {
    let [ours, theirs] = ["ours", "theirs"].map(|side| format!("{}_{name}_{side}", world.name()));
    let counts = topics(world);
    assert_eq!((counts[&ours], counts[&theirs]), (3, 3));
    let [ours, theirs] = [topic_settings(world, &ours).await, topic_settings(world, &theirs).await];
    assert_eq!((ours.get("cleanup.policy").map(String::as_str), &ours), (Some("compact"), &theirs));
}
