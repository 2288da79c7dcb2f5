//! Random tables, values and transactions beside live Debezium: one database, two slots, all topics compared record by
//! record. A seed decides everything, so that what differs once differs again:
//!
//! ```text
//! EVP_RANDOM_SEEDS=7 EVP_RANDOM_OPERATIONS=300 cargo test -- --ignored many_seeds
//! ```
//!
//! takes the beginning of what seed 7 does with more operations. The statements are left in a file, each behind the place
//! in the log at which it began.

mod compare;
mod dice;
mod properties;
mod statements;
mod tables;
mod types;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::time::Instant;

use futures_util::{FutureExt, SinkExt, TryStreamExt};
use tokio_postgres::Client;

use crate::support::{DEADLINE, OwnStack, Running, World, connector_failure, records, topic_end, topics};
pub(crate) use compare::of_values;
use compare::{Difference, differences};
use dice::Dice;
use properties::Choice;
use tables::{Maker, SCHEMA, Statement, Table};
use types::ColumnType;

/// So many statements are read by both before the tables change again: both ask the catalog what the log does not tell,
/// and find there what it is by then.
const PHASE: usize = 80;
const DIFFERENCES_SHOWN: usize = 12;

/// What a statement does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Rows,
    Change,
    NewTable,
}

/// One seed on servers that it shares with others.
struct Seed<'a> {
    number: u64,
    dice: Dice,
    types: Vec<ColumnType>,
    choice: Choice,
    world: &'a World,
    connect: &'a str,
    sql: Client,
    tables: Vec<Table>,
    given: usize,
    /// Statements with the place in the log before them.
    log: Vec<(u64, String)>,
    markers: usize,
}

impl<'a> Seed<'a> {
    async fn new(number: u64, choice: Option<Choice>, world: &'a World, connect: &'a str) -> Self {
        let mut dice = Dice::new(number);
        let choice = choice.unwrap_or_else(|| Choice::new(&mut dice));
        let sql = world.sql().await;
        // A commit that is flushed later shows before it is sent. Else Debezium may ask the catalog about a table before its
        // transaction shows, and chance decides what it finds there.
        sql.batch_execute("SET synchronous_commit = off").await.unwrap();
        for statement in include_str!("types/schema.sql").lines() {
            sql.batch_execute(statement).await.unwrap();
        }
        let is_root = choice.is_root_published;
        sql.batch_execute(&format!(
            "CREATE SCHEMA {SCHEMA}; CREATE SCHEMA {SCHEMA}_marker; CREATE TABLE {SCHEMA}_marker.marker (id int PRIMARY KEY);
             CREATE PUBLICATION random FOR TABLES IN SCHEMA {SCHEMA}, {SCHEMA}_marker WITH (publish_via_partition_root = {is_root})"
        ))
        .await
        .unwrap();
        let (types, tables, log) = (types::all(), Vec::new(), Vec::new());
        Self { number, dice, types, choice, world, connect, sql, tables, given: 0, log, markers: 0 }
    }

    async fn create_tables(&mut self) {
        for _ in 0..3 + self.dice.below(3) {
            self.transaction(&[Turn::NewTable], false).await;
        }
        assert!(!self.tables.is_empty(), "seed {}: PostgreSQL refuses all tables:\n{:?}", self.number, self.log);
    }

    /// A statement of the kind whose turn it is, for the tables as they are by then.
    fn statement(&mut self, turn: Turn) -> Statement {
        let mut maker = Maker { types: &self.types, limits: self.choice.limits, given: self.given };
        let statement = match turn {
            Turn::Rows => {
                let Choice { limits, has_messages, .. } = self.choice;
                statements::statement(&mut self.dice, &self.tables, limits, has_messages)
            }
            Turn::Change => maker.change(&mut self.dice, &self.tables),
            Turn::NewTable => maker.new_table(&mut self.dice, &self.tables),
        };
        self.given = maker.given;
        statement
    }

    async fn transaction(&mut self, turns: &[Turn], is_undone: bool) {
        let before = self.tables.clone();
        self.sql.batch_execute("BEGIN").await.unwrap();
        for turn in turns {
            let statement = self.statement(*turn);
            // A savepoint is as well what a part of a transaction is undone to.
            let is_rolled_back = *turn != Turn::NewTable && self.dice.one_in(12);
            self.run(&statement, is_rolled_back).await;
        }
        self.sql.batch_execute(if is_undone { "ROLLBACK" } else { "COMMIT" }).await.unwrap();
        if is_undone {
            self.tables = before;
        }
    }

    /// Runs a statement behind a savepoint, as PostgreSQL may refuse it.
    async fn run(&mut self, statement: &Statement, is_rolled_back: bool) {
        let place = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let lsn: i64 = self.sql.query_one(place, &[]).await.unwrap().get(0);
        self.sql.batch_execute("SAVEPOINT one").await.unwrap();
        let outcome = match &statement.copied {
            Some(rows) => copy(&self.sql, rows, &statement.sql).await,
            None => self.sql.batch_execute(&statement.sql).await,
        };
        let undo = if is_rolled_back || outcome.is_err() { "ROLLBACK TO one" } else { "RELEASE one" };
        self.sql.batch_execute(undo).await.unwrap();
        let rows = statement.copied.as_ref().map(|rows| format!(" <- {rows}")).unwrap_or_default();
        let end = outcome.as_ref().err().map(refusal).unwrap_or_default();
        let undone = if is_rolled_back { " -- rolled back" } else { "" };
        self.log.push((u64::try_from(lsn).unwrap(), format!("{}{rows};{undone}{end}", statement.sql)));
        if let (Ok(()), false, Some(after)) = (&outcome, is_rolled_back, &statement.becomes) {
            self.tables.clone_from(after);
        }
    }

    /// Statements in transactions of 1 to 50, of which some are undone.
    async fn operate(&mut self, operations: usize) {
        let mut left = operations;
        while left > 0 {
            let count = if self.dice.one_in(5) { 1 + self.dice.below(50) } else { 1 + self.dice.below(5) };
            let count = count.min(left);
            let is_undone = self.dice.one_in(12);
            self.transaction(&vec![Turn::Rows; count], is_undone).await;
            left -= count;
        }
    }

    /// Changes tables in one transaction that changes rows behind that: what either side asks the catalog, it asks behind it.
    ///
    /// Whether PostgreSQL describes a table again to rows in front of its change depends on how far its sender lags.
    async fn change_tables(&mut self) {
        let changes = vec![Turn::Change; 1 + self.dice.below(4)];
        let rows = vec![Turn::Rows; self.dice.below(6)];
        let is_undone = self.dice.one_in(10);
        self.transaction(&[changes, rows].concat(), is_undone).await;
    }

    fn file(&self, side: &str) -> PathBuf {
        let (name, world) = (format!("{}_{side}", self.world.name()), self.world);
        let mut properties = serde_json::json!({
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "plugin.name": "pgoutput",
            "database.hostname": world.variable("POSTGRES_HOST"),
            "slot.name": name,
            "publication.name": "random",
            "publication.autocreate.mode": "disabled",
            "topic.prefix": world.name(),
            "poll.interval.ms": "50",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "transforms.side.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "transforms.side.regex": "(.*)",
            "transforms.side.replacement": format!("{side}.$1"),
        });
        let all = properties.as_object_mut().unwrap();
        all.extend(self.choice.properties.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        let path = world.directory().join(side).with_extension("json");
        std::fs::write(&path, serde_json::json!({"name": name, "config": properties}).to_string()).unwrap();
        path
    }

    /// Writes a row for both and waits until it has come out on either side.
    async fn meet(&mut self, ours: &mut Running) {
        self.markers += 1;
        self.sql.batch_execute(&statements::marker(self.markers)).await.unwrap();
        let started = Instant::now();
        for side in ["ours", "theirs"] {
            let topic = self.marker_topic(side);
            let wanted = i64::try_from(self.markers).unwrap();
            while topic_end(self.world, &topic).is_none_or(|end| end < wanted) {
                self.assert_alive(ours).await;
                assert!(started.elapsed() < DEADLINE, "{}: {side} does not come to its end", self.told(&[]));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }

    fn marker_topic(&self, side: &str) -> String {
        let delimiter = self.choice.properties.get("topic.delimiter").map_or(".", String::as_str);
        let names = [self.world.name(), &format!("{SCHEMA}_marker"), "marker"];
        format!("{side}.{}", names.join(delimiter))
    }

    async fn assert_alive(&self, ours: &mut Running) {
        assert!(!ours.has_ended(), "{}: evp ended:\n{}", self.told(&[]), ours.log().join("\n"));
        if let Some(trace) = connector_failure(self.connect, &format!("{}_theirs", self.world.name())).await {
            panic!("{}: Debezium itself ended:\n{trace}", self.told(&[]));
        }
    }

    fn deploy(&self, verb: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("debezium/connector"));
        for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
            command.env(name, self.world.variable(name));
        }
        command.args([verb, "--connect", self.connect, "--yes", "--file"]).arg(self.file("theirs"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", self.told(&[]), String::from_utf8_lossy(&output.stderr));
    }

    /// Starts both, and waits until both read the log.
    async fn start(&mut self) -> Running {
        if !self.choice.has_snapshot {
            let slot = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
            self.sql.execute(slot, &[&self.world.name()]).await.unwrap();
        }
        self.deploy("deploy");
        let file = self.file("ours");
        let mut ours = self.world.start(&["capture", "--connector", file.to_str().unwrap()]);
        // The rows that follow are streamed by both.
        ours.event("streaming_started").await;
        let readers = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active";
        let started = Instant::now();
        while self.sql.query_one(readers, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            self.assert_alive(&mut ours).await;
            assert!(started.elapsed() < DEADLINE, "{}: there are no two readers", self.told(&[]));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.meet(&mut ours).await;
        ours
    }

    /// Stops both and compares what they wrote; what differs, told.
    fn finish(&self, ours: Running) -> Option<String> {
        let finished = ours.stop();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        self.deploy("remove");
        let differences = self.compare();
        (!differences.is_empty()).then(|| self.told(&differences))
    }

    /// All that differs, by topic.
    fn compare(&self) -> Vec<(String, Difference)> {
        let names: BTreeSet<String> = topics(self.world)
            .into_keys()
            .filter_map(|topic| topic.strip_prefix("ours.").or(topic.strip_prefix("theirs.")).map(str::to_owned))
            .collect();
        assert!(!names.is_empty());
        let side = |side: &str, name: &str| {
            let topic = format!("{side}.{name}");
            if topic_end(self.world, &topic).is_some() { records(self.world, &topic) } else { Vec::new() }
        };
        let of_topic = |name: &String| {
            let found = differences(&side("ours", name), &side("theirs", name));
            found.into_iter().map(|difference| (name.clone(), difference)).collect::<Vec<_>>()
        };
        names.iter().flat_map(of_topic).collect()
    }

    /// The seed, its properties and the differences with the statements behind them; everything is in a file.
    fn told(&self, differences: &[(String, Difference)]) -> String {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random-{}.sql", self.number));
        let all: String = self.log.iter().map(|(lsn, sql)| format!("/* {lsn} */ {sql}\n")).collect();
        std::fs::write(&path, all).unwrap();
        let mut told = format!("seed {} ({})\n{:?}\n", self.number, path.display(), self.choice);
        for (topic, Difference { what, lsn }) in differences.iter().take(DIFFERENCES_SHOWN) {
            writeln!(told, "--- {topic}, {what}").unwrap();
            let behind = lsn.map_or(0, |lsn| self.log.partition_point(|(before, _)| *before <= lsn));
            for (lsn, sql) in &self.log[behind.saturating_sub(1)..behind] {
                writeln!(told, "    /* {lsn} */ {}", sql.chars().take(600).collect::<String>()).unwrap();
            }
        }
        if differences.len() > DIFFERENCES_SHOWN {
            writeln!(told, "and {} more", differences.len() - DIFFERENCES_SHOWN).unwrap();
        }
        told
    }
}

fn refusal(error: &tokio_postgres::Error) -> String {
    let told = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    format!(" -- {}", told.replace('\n', " "))
}

/// Copies the rows of one `COPY … TO STDOUT` into another's table.
async fn copy(sql: &Client, from: &str, into: &str) -> Result<(), tokio_postgres::Error> {
    let rows: Vec<_> = sql.copy_out(from).await?.try_collect().await?;
    let mut sink = pin!(sql.copy_in::<_, bytes::Bytes>(into).await?);
    for row in rows {
        sink.send(row).await?;
    }
    sink.finish().await.map(|_| ())
}

/// What a seed writes differently, told; nothing if both are alike.
async fn run(number: u64, operations: usize, stack: &OwnStack) -> Option<String> {
    let world = World::on_stack("random", stack).await;
    let mut seed = Seed::new(number, None, &world, &stack.variables()["CONNECT_URL"]).await;
    seed.create_tables().await;
    if seed.choice.has_snapshot {
        seed.operate(operations / 5).await;
    }
    let mut ours = seed.start().await;
    let mut left = operations;
    while left > 0 {
        if seed.dice.one_in(2) {
            seed.change_tables().await;
        }
        let count = left.min(PHASE);
        seed.operate(count).await;
        seed.meet(&mut ours).await;
        left -= count;
    }
    seed.finish(ours)
}

/// What is written differently of the statements that once were, told.
async fn run_kept(properties: &[(&str, &str)], stack: &OwnStack) -> Option<String> {
    let world = World::on_stack("random_kept", stack).await;
    let mut seed = Seed::new(0, Some(Choice::of(properties)), &world, &stack.variables()["CONNECT_URL"]).await;
    let mut ours = seed.start().await;
    let statements = include_str!("random/kept.sql").lines().filter(|line| !line.starts_with("--"));
    let (tables, rows): (Vec<&str>, Vec<&str>) = statements.partition(|line| line.starts_with("CREATE"));
    seed.sql.batch_execute(&tables.join("\n")).await.unwrap();
    for line in rows {
        seed.sql.batch_execute("BEGIN").await.unwrap();
        for sql in line.split_terminator(';') {
            seed.run(&Statement::plain(sql.trim().to_owned()), false).await;
        }
        seed.sql.batch_execute("COMMIT").await.unwrap();
    }
    seed.meet(&mut ours).await;
    seed.finish(ours)
}

/// Servers whose topics have several partitions.
fn servers() -> OwnStack {
    OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[("EVP_KAFKA_SETTINGS", "num.partitions=3")])
}

async fn run_all(seeds: &[u64], operations: usize, stack: &OwnStack) {
    let mut failed = Vec::new();
    for &seed in seeds {
        let started = Instant::now();
        // A seed that ends early keeps the others from nothing.
        let told = AssertUnwindSafe(run(seed, operations, stack)).catch_unwind().await;
        let told = told.unwrap_or_else(|_| Some("it ended early".to_owned()));
        println!("seed {seed}: {} after {:?}", if told.is_some() { "differs" } else { "alike" }, started.elapsed());
        if let Some(told) = told {
            println!("{told}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "these seeds differ: {failed:?}");
}

#[tokio::test]
async fn random_tables_and_transactions_are_written_as_live_debezium_writes_them() {
    let stack = servers();
    let of_connect = [
        ("time.precision.mode", "connect"),
        ("column.exclude.list", ".*\\.left_out"),
        ("skip.messages.without.change", "true"),
    ];
    let masked = [
        ("decimal.handling.mode", "string"),
        ("unavailable.value.placeholder", "hex:00ff10"),
        ("column.truncate.to.3.chars", ".*\\.cut_.*"),
        ("column.mask.hash.v2.SHA-256.with.salt.s4lt", ".*\\.cut_name"),
    ];
    for properties in [&of_connect[..], &masked[..]] {
        let told = run_kept(properties, &stack).await;
        assert!(told.is_none(), "{}", told.unwrap_or_default());
    }
    run_all(&[1, 4], 120, &stack).await;
}

/// The seeds and operations of `EVP_RANDOM_SEEDS` (numbers, or a range such as 1-20) and `EVP_RANDOM_OPERATIONS`.
#[tokio::test]
#[ignore = "takes about half a minute for each seed"]
async fn many_seeds_are_written_as_live_debezium_writes_them() {
    let seeds = std::env::var("EVP_RANDOM_SEEDS").unwrap_or_else(|_| "1-20".to_owned());
    let of_entry = |entry: &str| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        first.parse::<u64>().unwrap()..=last.parse::<u64>().unwrap()
    };
    let seeds: Vec<u64> = seeds.split(',').flat_map(of_entry).collect();
    let operations = std::env::var("EVP_RANDOM_OPERATIONS").ok().map_or(2_000, |count| count.parse().unwrap());
    run_all(&seeds, operations, &servers()).await;
}
