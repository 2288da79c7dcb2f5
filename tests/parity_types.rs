//! Every type as live Debezium writes it: one database, two slots, and each row of both compared byte for byte.
//!
//! The cases are those of `tests/types`, of which the golden file was recorded as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{OwnStack, World, connector_failure, eventually, records, topic_end};

/// The cases of `tests/types`, by type: values, whether there is a filler, and expressions of defaults.
#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) values: Vec<(&'static str, Vec<&'static str>)>,
    fillers: Vec<&'static str>,
    defaults: Vec<(&'static str, &'static str)>,
}

pub(crate) fn cases() -> Cases {
    let mut cases = Cases::default();
    for line in include_str!("types/cases.txt").lines() {
        let Some((column_type, case)) = line.split_once(" | ").filter(|_| !line.starts_with('#')) else { continue };
        if let Some(expression) = case.strip_prefix("default ") {
            cases.defaults.push((column_type, expression));
        } else if case == "filler" {
            cases.fillers.push(column_type);
        } else {
            match cases.values.iter_mut().find(|(known, _)| *known == column_type) {
                Some((_, values)) => values.push(case),
                None => cases.values.push((column_type, vec![case])),
            }
        }
    }
    cases
}

/// Three tables with a column for each type, or for each default.
pub(crate) fn create(cases: &Cases) -> String {
    let table = |name: &str, columns: Vec<String>| {
        let columns: String = columns.iter().enumerate().map(|(at, column)| format!(", c{at} {column}")).collect();
        format!("CREATE TABLE types.{name} (id int PRIMARY KEY{columns});\n")
    };
    "CREATE SCHEMA types;\n".to_owned()
        + &table("written", cases.values.iter().map(|(column_type, _)| (*column_type).to_owned()).collect())
        + &table("filled", cases.fillers.iter().map(|column_type| format!("{column_type} NOT NULL")).collect())
        + &table(
            "defaulted",
            cases.defaults.iter().map(|(of, expression)| format!("{of} DEFAULT {expression}")).collect(),
        )
        + "CREATE PUBLICATION types FOR TABLES IN SCHEMA types"
}

/// The statements, and how many records they make.
pub(crate) fn fill(cases: &Cases) -> (String, i64) {
    let row = |table: &str, id: usize, values: Vec<&str>| {
        format!("INSERT INTO types.{table} VALUES ({id}, {});\n", values.join(", "))
    };
    let rows = cases.values.iter().map(|(_, values)| values.len()).max().unwrap();
    let nth = |at| cases.values.iter().map(move |(_, values)| values.get(at).copied().unwrap_or("NULL")).collect();
    let mut sql: String = (0..rows).map(|at| row("written", at, nth(at))).collect();
    let first = |wanted: &&str| {
        let (_, values) = cases.values.iter().find(|(column_type, _)| column_type == wanted).unwrap();
        *values.iter().find(|value| **value != "NULL").unwrap()
    };
    sql += &row("filled", 0, cases.fillers.iter().map(first).collect());
    sql += "DELETE FROM types.filled;\n";
    sql += &row("defaulted", 0, vec!["NULL"; cases.defaults.len()]);
    (sql, i64::try_from(rows).unwrap() + 3)
}

fn deploy(world: &World, connect: &str, file: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("debezium/connector"));
    for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
        command.env(name, world.variable(name));
    }
    let output = command.args(["deploy", "--connect", connect, "--yes", "--file"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Before and after of each record, by table, operation and key.
fn rows(world: &World, topic: &str) -> BTreeMap<String, String> {
    let of_record = |value: Vec<u8>| {
        let text = String::from_utf8(value).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let row = if json["after"].is_null() { &json["before"] } else { &json["after"] };
        let name = format!("{} {} {}", json["source"]["table"], json["op"], row["id"]);
        (name, text.split_once(",\"source\":{\"version\"").unwrap().0.to_owned() + "}")
    };
    records(world, topic).into_iter().filter_map(|record| record.value).map(of_record).collect()
}

/// The columns in which two rows differ.
pub(crate) fn difference(ours: &str, theirs: &str) -> String {
    let [ours, theirs]: [Value; 2] = [ours, theirs].map(|row| serde_json::from_str(row).unwrap());
    let mut found = String::new();
    for member in ["before", "after"] {
        let columns = |row: &Value| row[member].as_object().cloned().unwrap_or_default();
        let (ours, theirs) = (columns(&ours), columns(&theirs));
        for name in ours.keys().chain(theirs.keys()).filter(|name| ours.get(*name) != theirs.get(*name)) {
            found += &format!("\n  {member}.{name}: {:?} is {:?}", ours.get(name), theirs.get(name));
        }
    }
    found
}

/// Of a connector with a slot that writes the tables of all types to one topic.
pub(crate) fn settings_of_types<'a>(world: &'a World, slot: &'a str, topic: &'a str) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([
        ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
        ("plugin.name", "pgoutput"),
        ("database.hostname", world.variable("POSTGRES_HOST")),
        ("publication.name", "types"),
        ("publication.autocreate.mode", "disabled"),
        ("table.include.list", "types.*"),
        ("topic.prefix", "types"),
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("transforms", "one"),
        ("transforms.one.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.one.regex", ".*"),
        ("transforms.one.replacement", topic),
        ("slot.name", slot),
    ])
}

async fn compare(test: &str, overrides: &[(&str, &str)]) {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let world = World::on_stack(test, &stack).await;
    let sql = world.sql().await;
    for statement in include_str!("types/schema.sql").lines() {
        sql.batch_execute(statement).await.unwrap();
    }
    let cases = cases();
    sql.batch_execute(&create(&cases)).await.unwrap();
    let theirs = format!("{}_debezium", world.name());
    let slots = "SELECT pg_create_logical_replication_slot(name, 'pgoutput') FROM unnest($1::text[]) AS name";
    sql.execute(slots, &[&vec![world.name(), theirs.as_str()]]).await.unwrap();

    // Both write all tables to one topic each.
    let settings = |slot: &str, topic: &str| {
        let mut settings = settings_of_types(&world, slot, topic);
        settings.extend([
            ("snapshot.mode", "no_data"),
            ("tombstones.on.delete", "false"),
            ("key.converter.schemas.enable", "false"),
            ("value.converter.schemas.enable", "false"),
        ]);
        settings.extend(overrides.iter().copied());
        serde_json::json!({"name": slot, "config": settings}).to_string()
    };
    let ours = format!("{}_evp", world.name());
    let [our_file, their_file] = ["evp.json", "debezium.json"].map(|name| world.directory().join(name));
    std::fs::write(&our_file, settings(world.name(), &ours)).unwrap();
    std::fs::write(&their_file, settings(&theirs, &theirs)).unwrap();
    deploy(&world, &stack.variables()["CONNECT_URL"], &their_file);
    let (statements, count) = fill(&cases);
    sql.batch_execute(&statements).await.unwrap();
    let finished = world.run(&["capture", "--until", "caught-up", "--connector", our_file.to_str().unwrap()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    eventually("Debezium has written every row", async || {
        let failure = connector_failure(&stack.variables()["CONNECT_URL"], &theirs).await;
        assert!(failure.is_none(), "Debezium itself ended:\n{}", failure.unwrap_or_default());
        topic_end(&world, &theirs) == Some(count)
    })
    .await;

    let (ours, theirs) = (rows(&world, &ours), rows(&world, &theirs));
    assert_eq!(ours.len(), theirs.len());
    let differs = theirs.iter().filter(|(name, row)| ours.get(*name) != Some(row));
    let faults: Vec<_> = differs.map(|(name, row)| format!("{name}:{}", difference(&ours[name], row))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn every_type_is_written_as_live_debezium_writes_it() {
    compare("parity_types", &[]).await;
}

#[tokio::test]
async fn every_type_is_written_as_live_debezium_writes_it_in_other_modes() {
    let modes = [
        ("decimal.handling.mode", "string"),
        ("time.precision.mode", "isostring"),
        ("interval.handling.mode", "string"),
        ("hstore.handling.mode", "map"),
        ("binary.handling.mode", "hex"),
        ("include.unknown.datatypes", "true"),
    ];
    compare("parity_modes", &modes).await;
}
