//! Every type as the snapshots of live Debezium read it: one database, two connectors, and schemas and rows compared.
//!
//! The cases are those of `tests/types`, as for the stream.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::capture_snapshot_parity::{connector, drop_slots};
use crate::parity_types::{cases, create, difference, fill, settings_of_types};
use crate::support::{OwnStack, World, connector_failure, eventually, records, topic_end};

/// Properties that say what types become, so that each way of each is there once.
const MODES: [&[(&str, &str)]; 6] = [
    &[],
    &[
        ("decimal.handling.mode", "string"),
        ("time.precision.mode", "isostring"),
        ("interval.handling.mode", "string"),
        ("hstore.handling.mode", "map"),
        ("binary.handling.mode", "hex"),
        ("include.unknown.datatypes", "true"),
    ],
    &[("decimal.handling.mode", "double"), ("time.precision.mode", "connect"), ("binary.handling.mode", "base64")],
    &[
        ("time.precision.mode", "microseconds"),
        ("binary.handling.mode", "base64-url-safe"),
        ("money.fraction.digits", "3"),
        ("value.converter.decimal.format", "NUMERIC"),
    ],
    &[("time.precision.mode", "adaptive_time_microseconds")],
    &[("time.precision.mode", "nanoseconds")],
];

/// One side's connector, whose records all go to one topic.
struct Side {
    name: String,
    file: PathBuf,
}

fn side(world: &World, name: &str, mode: usize) -> Side {
    let name = format!("{}_{name}_{mode}", world.name());
    let mut settings = settings_of_types(world, &name, &name);
    settings.insert("snapshot.mode", "initial");
    settings.extend(MODES[mode].iter().copied());
    let file = world.directory().join(&name).with_extension("json");
    std::fs::write(&file, serde_json::json!({"name": name, "config": settings}).to_string()).unwrap();
    Side { name, file }
}

/// The schema and the row of each record as texts, by table and key.
fn read(world: &World, topic: &str) -> BTreeMap<String, (String, String)> {
    let of_record = |value: Vec<u8>| {
        let text = String::from_utf8(value).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let payload = &json["payload"];
        assert_eq!(payload["op"], "r", "{payload}");
        let name = format!("{} {}", payload["source"]["table"], payload["after"]["id"]);
        let (schema, payload) = text.split_once(",\"payload\":").unwrap();
        let row = payload.split_once(",\"source\":{\"version\"").unwrap().0;
        (name, (format!("{schema}}}"), format!("{row}}}")))
    };
    records(world, topic).into_iter().filter_map(|record| record.value).map(of_record).collect()
}

/// What the schemas of two rows do not have in common.
fn of_schemas(ours: &str, theirs: &str) -> String {
    let fields = |schema: &str| -> BTreeMap<String, Value> {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let fields = schema["schema"]["fields"][1]["fields"].as_array().cloned().unwrap_or_default();
        fields.into_iter().map(|field| (field["field"].as_str().unwrap_or_default().to_owned(), field)).collect()
    };
    let (ours, theirs) = (fields(ours), fields(theirs));
    let names = ours.keys().chain(theirs.keys()).filter(|name| ours.get(*name) != theirs.get(*name));
    names.map(|name| format!("\n  schema of {name}: {:?} is {:?}", ours.get(name), theirs.get(name))).collect()
}

async fn compare(stack: &OwnStack, world: &World, mode: usize, rows: i64) -> Vec<String> {
    let connect = &stack.variables()["CONNECT_URL"];
    let (ours, theirs) = (side(world, "evp", mode), side(world, "debezium", mode));
    connector(world, "deploy", connect, &theirs.file);
    let mut capture = world.command(&["capture", "--until", "caught-up", "--connector", ours.file.to_str().unwrap()]);
    let slot = format!("slot.name={}", ours.name);
    let finished = capture.args(["--set", "topic.prefix=types", "--set", &slot]).output().unwrap();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    eventually("Debezium has read every row", async || {
        let failure = connector_failure(connect, &theirs.name).await;
        assert!(failure.is_none(), "Debezium itself ended:\n{}", failure.unwrap_or_default());
        topic_end(world, &theirs.name) == Some(rows)
    })
    .await;
    connector(world, "remove", connect, &theirs.file);
    drop_slots(world).await;
    let (ours, theirs) = (read(world, &ours.name), read(world, &theirs.name));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    let faults = theirs.iter().filter(|(name, row)| ours[*name] != **row).map(|(name, (schema, row))| {
        let (our_schema, our_row) = &ours[name];
        format!("mode {mode}, {name}:{}{}", of_schemas(our_schema, schema), difference(our_row, row))
    });
    faults.collect()
}

#[tokio::test]
async fn every_type_is_read_as_the_snapshots_of_live_debezium_read_it() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let world = World::on_stack("types_read", &stack).await;
    let sql = world.sql().await;
    for statement in include_str!("types/schema.sql").lines() {
        sql.batch_execute(statement).await.unwrap();
    }
    let mut cases = cases();
    // Debezium's driver asks for the rows of the cursor that the text names, and its snapshot ends there.
    cases.values.retain(|(column_type, _)| *column_type != "refcursor");
    sql.batch_execute(&create(&cases)).await.unwrap();
    let (statements, count) = fill(&cases);
    // What is deleted cannot be read.
    let kept: String =
        statements.lines().filter(|line| !line.starts_with("DELETE")).map(|line| format!("{line}\n")).collect();
    sql.batch_execute(&kept).await.unwrap();
    let mut faults = Vec::new();
    for mode in 0..MODES.len() {
        faults.extend(compare(&stack, &world, mode, count - 1).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
