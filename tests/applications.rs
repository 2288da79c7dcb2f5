//! Tables and statements as applications have them, beside live Debezium: each file of `tests/applications` is a case
//! with its connector properties, of which both sides' records are compared byte for byte and in their order.
//!
//! ```text
//! # snapshot.mode = initial            a property; publication and slot are there unless it says otherwise
//! CREATE TABLE …;                      before the connectors start
//! --- while both stream                each such line waits until both have written what is before it
//! INSERT …;
//! ```
//!
//! A statement ends with its line. One behind `/*fails*/` may. `# statements = other` takes those of `other.sql`.
//! `EVP_APPLICATIONS` names another directory of cases to run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;
use tokio_postgres::Client;

use crate::random::of_values;
use crate::support::{DEADLINE, OwnStack, Record, Running, World, connect, connector_failure, records, topic_ends};

const SHOWN: usize = 8;
const SHOWN_CHARACTERS: usize = 900;
/// So many cases share the servers at a time.
const AT_ONCE: usize = 4;
/// Nothing more comes if nothing came for so long after the log was sent.
const QUIET: Duration = Duration::from_millis(1_000);
/// Sides that differ are given so long to come to the same.
const PATIENCE: Duration = Duration::from_secs(8);

/// A file's properties and the blocks of its statements.
struct Case {
    name: String,
    properties: BTreeMap<String, String>,
    blocks: Vec<Vec<String>>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (mut properties, mut blocks, mut statement) = (BTreeMap::new(), vec![Vec::new()], String::new());
        for line in text.lines() {
            if let Some((name, value)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) {
                properties.insert(name.trim().to_owned(), value.trim_end().to_owned());
            } else if line.starts_with("---") {
                blocks.push(Vec::new());
            } else if !line.starts_with("--") {
                statement.push_str(line);
                statement.push('\n');
                if line.ends_with(';') {
                    blocks.last_mut().unwrap().push(std::mem::take(&mut statement));
                }
            }
        }
        assert!(statement.trim().is_empty(), "{}: no end of {statement}", path.display());
        if let Some(other) = properties.remove("statements") {
            assert_eq!(blocks, [Vec::<String>::new()], "{} has statements of its own", path.display());
            blocks = Self::read(&path.with_file_name(format!("{other}.sql"))).blocks;
        }
        Self { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), properties, blocks }
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }
}

/// A case on servers that it shares with others.
struct Run<'a> {
    case: &'a Case,
    world: World,
    connect: String,
    sql: Client,
}

impl Run<'_> {
    fn name(&self, side: &str) -> String {
        format!("{}_{side}", self.world.name())
    }

    /// What the names of a side's topics begin with.
    fn prefix(&self, side: &str) -> String {
        format!("{side}.{}.", self.world.name())
    }

    fn file(&self, side: &str) -> PathBuf {
        let variable = |name: &str| self.world.variable(name).to_owned();
        let mut all = BTreeMap::from([
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector".to_owned()),
            ("plugin.name", "pgoutput".to_owned()),
            ("database.hostname", variable("POSTGRES_HOST")),
            ("database.port", variable("POSTGRES_PORT")),
            ("database.user", variable("POSTGRES_USER")),
            ("database.password", variable("POSTGRES_PASSWORD")),
            ("database.dbname", variable("POSTGRES_DB")),
            ("slot.name", self.name(side)),
            ("snapshot.mode", "no_data".to_owned()),
            ("publication.autocreate.mode", "disabled".to_owned()),
            ("topic.prefix", self.world.name().to_owned()),
            ("poll.interval.ms", "50".to_owned()),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("transforms.side.type", "org.apache.kafka.connect.transforms.RegexRouter".to_owned()),
            ("transforms.side.regex", "(.*)".to_owned()),
            ("transforms.side.replacement", format!("{}$1", self.prefix(side))),
        ]);
        all.extend(self.case.properties.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let own = self.case.property("transforms").map(|names| format!("{names},"));
        all.insert("transforms", own.unwrap_or_default() + "side");
        let path = self.world.directory().join(side).with_extension("json");
        std::fs::write(&path, serde_json::json!({"name": self.name(side), "config": all}).to_string()).unwrap();
        path
    }

    async fn execute(&self, block: &[String]) -> Result<(), String> {
        for statement in block {
            let outcome = self.sql.batch_execute(statement).await;
            if let (Err(error), false) = (outcome, statement.starts_with("/*fails*/")) {
                let told = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                return Err(format!("PostgreSQL refuses {statement}: {told}"));
            }
        }
        Ok(())
    }

    async fn number(&self, query: &str) -> i64 {
        self.sql.query_one(query, &[]).await.unwrap().get(0)
    }

    async fn check(&self, ours: &mut Running) -> Result<(), String> {
        if ours.has_ended() {
            return Err(format!("evp ended: {}", ours.log().last().cloned().unwrap_or_default()));
        }
        match connector_failure(&self.connect, &self.name("theirs")).await {
            Some(trace) => Err(format!("Debezium itself ended: {trace}")),
            None => Ok(()),
        }
    }

    fn count(&self, side: &str) -> i64 {
        let ends = topic_ends(&self.world).into_iter();
        ends.filter(|(topic, _)| topic.starts_with(&self.prefix(side))).map(|(_, end)| end).sum()
    }

    /// Waits until both have been sent the log as it is now and write no more.
    async fn meet(&self, ours: &mut Running) -> Result<(), String> {
        let started = Instant::now();
        let place = self.number("SELECT (pg_current_wal_lsn() - '0/0')::bigint").await;
        let sent = format!(
            "SELECT count(*) FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
             WHERE database = current_database() AND sent_lsn - '0/0' >= {place}"
        );
        while self.number(&sent).await < 2 {
            self.check(ours).await?;
            if started.elapsed() > DEADLINE {
                return Err("the log is not sent to both".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (mut counts, mut since) = ([-1, -1], Instant::now());
        while since.elapsed() < if counts[0] == counts[1] { QUIET } else { PATIENCE } {
            self.check(ours).await?;
            let now = ["ours", "theirs"].map(|side| self.count(side));
            if now != counts {
                (counts, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        Ok(())
    }

    /// Lets Kafka Connect have the connector; another one may be on its way there.
    async fn deploy(&self) -> Result<(), String> {
        let file: Value = serde_json::from_slice(&std::fs::read(self.file("theirs")).unwrap()).unwrap();
        let path = format!("/connectors/{}/config", self.name("theirs"));
        let started = Instant::now();
        loop {
            let answer = connect(&self.world, "PUT", &path, Some(&file["config"]));
            match answer.get("error_code") {
                None => return Ok(()),
                Some(code) if *code == 409 && started.elapsed() < DEADLINE => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Some(code) => return Err(format!("Debezium refuses ({code}): {}", answer["message"])),
            }
        }
    }

    /// What evp and Debezium make of the case's blocks, as far as both come.
    async fn stream(&self, ours: &mut Running) -> Result<(), String> {
        let started = Instant::now();
        let readers = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active";
        while self.number(readers).await < 2 {
            self.check(ours).await?;
            if started.elapsed() > DEADLINE {
                return Err("there are no two readers".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.meet(ours).await?;
        for block in &self.case.blocks[1..] {
            self.execute(block).await?;
            self.meet(ours).await?;
        }
        Ok(())
    }

    async fn compare(&self) -> Result<Vec<String>, String> {
        self.execute(&self.case.blocks[0]).await?;
        if self.number("SELECT count(*) FROM pg_publication WHERE pubname = 'dbz_publication'").await == 0 {
            self.sql.batch_execute("CREATE PUBLICATION dbz_publication FOR ALL TABLES").await.unwrap();
        }
        if self.case.property("snapshot.mode").is_none() {
            let create = "SELECT pg_create_logical_replication_slot(name, 'pgoutput') FROM unnest($1::text[]) AS name";
            let slots = ["ours", "theirs"].map(|side| self.name(side));
            self.sql.execute(create, &[&slots.to_vec()]).await.unwrap();
        }
        self.deploy().await?;
        let mut command = self.world.command(&["capture"]);
        command.arg("--connector").arg(self.file("ours")).args(["--set", &format!("slot.name={}", self.name("ours"))]);
        let mut ours = Running::spawn(command);
        let ended = self.stream(&mut ours).await.err();
        drop(ours.stop());
        connect(&self.world, "DELETE", &format!("/connectors/{}", self.name("theirs")), None);
        Ok(ended.into_iter().chain(self.differences()).collect())
    }

    /// All that differs.
    fn differences(&self) -> Vec<String> {
        let (ours, theirs) = (self.prefix("ours"), self.prefix("theirs"));
        let ends = topic_ends(&self.world);
        let short = |topic: &String| topic.strip_prefix(&ours).or(topic.strip_prefix(&theirs)).map(str::to_owned);
        let topics: BTreeSet<String> = ends.keys().filter_map(short).collect();
        let mut found = Vec::new();
        for topic in topics {
            let [ours, theirs] = [&ours, &theirs].map(|side| {
                let topic = format!("{side}{topic}");
                let all = if ends.contains_key(&topic) { records(&self.world, &topic) } else { Vec::new() };
                all.iter().map(text).collect::<Vec<_>>()
            });
            for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                found.extend(difference(ours, theirs).map(|what| format!("{topic}, record {at}:{what}")));
            }
            if let Some(extra) = ours.get(theirs.len()).or(theirs.get(ours.len())) {
                found.push(format!("{topic}: {} records are {}, the first beyond: {extra}", ours.len(), theirs.len()));
            }
        }
        found
    }
}

/// A record as text, without clocks and what tells one run from another; of a snapshot also without its place.
fn text(record: &Record) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "nothing".to_owned(),
    };
    let without = |pattern: &str, text: &str| Regex::new(pattern).unwrap().replace_all(text, "${1}0").into_owned();
    let mut value = without(r#"("op":".","ts_ms":)\d+(,"ts_us":\d+,"ts_ns":\d+)?"#, &text(&record.value));
    value = without(r#"("__ts_(?:ms|us|ns)":)\d+"#, &value);
    value = without(r"(LogicalDecodingMessageId@)[0-9a-f]+", &value);
    // A message beside transactions has the time at which it is read.
    if value.contains(r#""op":"m""#) && value.contains(r#""txId":null"#) {
        value = without(r#"("ts_(?:ms|us|ns)":)\d+"#, &value);
    }
    if value.contains(r#"op":"r""#) {
        let place = r#"("_*(?:source_)?(?:ts_ms|ts_us|ts_ns|txId|lsn|sequence)":)("(\\.|[^"\\])*"|\d+)"#;
        value = without(place, &value);
    }
    let headers = record.headers.iter().filter(|(name, _)| name != "evp.position");
    let headers = headers.map(|(name, value)| match name.ends_with(".runId") || name.contains("_ts_") {
        true => name.clone(),
        false => format!("{name}={}", text(value)),
    });
    format!("{}\n{value}\n{}", text(&record.key), headers.collect::<Vec<_>>().join(", "))
}

fn difference(ours: &str, theirs: &str) -> Option<String> {
    // The first half is null for as long as a run has seen no commit.
    let sequence = Regex::new(r#""sequence":"\[(null|\\"\d+\\"),"#).unwrap();
    let is_first = [ours, theirs].iter().any(|side| side.contains(r#""sequence":"[null,"#));
    let [ours, theirs] = [ours, theirs].map(|side| match is_first {
        true => sequence.replace_all(side, "\"sequence\":\"[").into_owned(),
        false => side.to_owned(),
    });
    let parts = ours.split('\n').zip(theirs.split('\n')).zip(["key", "value", "headers"]);
    let differing = parts.filter(|((ours, theirs), _)| ours != theirs);
    let told: String =
        differing.map(|((ours, theirs), part)| format!("\n    {part} {}", of_values(ours, theirs))).collect();
    (!told.is_empty()).then_some(told)
}

async fn run(case: &Case, stack: &OwnStack) -> Vec<String> {
    let mut world = World::on_stack("app", stack).await;
    let connect = stack.variables()["CONNECT_URL"].clone();
    world.set("CONNECT_URL", connect.clone());
    let sql = world.sql().await;
    // A commit that is flushed later shows before it is sent, see the random tables.
    let settings = "SET synchronous_commit = off; CREATE SCHEMA app; SET search_path = app, public";
    sql.batch_execute(settings).await.unwrap();
    Run { case, world, connect, sql }.compare().await.unwrap_or_else(|told| vec![told])
}

#[test]
fn tables_of_applications_are_written_as_live_debezium_writes_them() {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/applications");
    let directory = std::env::var_os("EVP_APPLICATIONS").map_or_else(own, PathBuf::from);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let cases: Vec<Case> = paths.iter().map(|path| Case::read(path)).collect();
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let (queue, failed) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let Some(case) = queue.lock().unwrap().next() else { break };
            // A case that ends early keeps the others from nothing.
            let found = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(case, &stack))));
            let found = found.unwrap_or_else(|_| vec!["it ended early".to_owned()]);
            for told in found.iter().take(SHOWN) {
                println!("{}: {}", case.name, told.chars().take(SHOWN_CHARACTERS).collect::<String>());
            }
            if !found.is_empty() {
                failed.lock().unwrap().push(format!("{} ({})", case.name, found.len()));
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these differ: {failed:?}");
}
