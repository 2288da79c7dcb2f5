//! `evp handover` between live Debezium and evp: every committed change is on the topic once, in order, or it is refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, produce};
use crate::support::{Oracle, OwnStack, World, assert_topic_equals_commits, connect, eventually, topic_end};

const CONNECTOR: &str = "postgres-event-outbox-connector";
const SERVICES: [&str; 4] = ["postgres", "kafka", "mongo", "connect"];

/// The world and the servers on which it has a Kafka Connect.
async fn with_connect(test: &str, stack: &OwnStack, partitions: u32) -> World {
    let mut world = World::on_stack(test, stack).await;
    world.set("CONNECT_URL", stack.variables()["CONNECT_URL"].clone());
    world.init(partitions);
    world
}

fn end(world: &World) -> i64 {
    topic_end(world, world.topic()).unwrap_or(0)
}

/// What `evp handover` says of itself, having ended well.
fn hand_over(world: &World, arguments: &[&str]) -> Value {
    let arguments = [&["handover", "--json"], arguments].concat();
    let finished = world.run(&arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The sentence by which it is refused, with exit code 2.
fn refusal(world: &World, arguments: &[&str]) -> String {
    let finished = world.run(&[&["handover"], arguments].concat());
    assert_eq!(finished.code, Some(2), "{finished:?}");
    finished.failure()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_changes_hands_four_times_under_load_and_every_change_is_there_once() {
    let stack = OwnStack::up(&SERVICES, &[]);
    let world = with_connect("handover", &stack, 3).await;
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), "debezium_publication").await;
    let mut generator = world.start(&["generate", "--rate", "150", "--duration", "600", "--batch", "3"]);
    let grown = async |by: i64| {
        let from = end(&world);
        eventually("the topic grows", async || end(&world) >= from + by).await;
    };
    for _ in 0..2 {
        let mut capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
        grown(300).await;
        assert_eq!(capture.stop().code, Some(0));
        let handed = hand_over(&world, &["--to-debezium", "--start"]);
        assert_eq!(handed["next"], format!("connector {CONNECTOR} runs"), "{handed}");
        grown(300).await;
        let handed = hand_over(&world, &["--from-debezium", "--stop"]);
        assert_eq!(handed["to"], "evp capture", "{handed}");
    }
    generator.terminate();
    eventually("no more is written", async || generator.has_ended()).await;
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_that_would_lose_or_repeat_is_refused_with_the_reason() {
    let stack = OwnStack::up(&SERVICES, &[]);
    let world = with_connect("handover_no", &stack, 1).await;
    let sql = world.sql().await;
    let generate = |count: &str| {
        let finished = world.run(&["generate", "--rate", "0", "--count", count]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };

    let finished = world.run(&["handover", "--to-debezium"]);
    assert_eq!(finished.code, Some(1), "evp has read nothing: {finished:?}");
    generate("50");
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let said = refusal(&world, &["--to-debezium"]);
    assert!(said.contains("is read by process"), "{said}");

    // After a kill the slot is behind the topic, unless the second in which it is confirmed had just passed.
    let mut written = 50;
    let said = loop {
        generate("100");
        written += 100;
        eventually("the events are written", async || end(&world) == written).await;
        capture.kill();
        let finished = world.run(&["handover", "--to-debezium"]);
        if finished.code == Some(2) {
            break finished.failure();
        }
        assert!(written < 2_000, "the slot is never behind the topic: {finished:?}");
        capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
    };
    assert!(said.contains("already") && said.contains("--until caught-up"), "{said}");
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    hand_over(&world, &["--to-debezium", "--start"]);

    let said = refusal(&world, &["--from-debezium"]);
    assert!(said.contains("is not stopped"), "{said}");
    let said = refusal(&world, &["--from-debezium", "--set", "publication.name=another"]);
    assert!(said.contains("another pipeline") && said.contains("publication.name"), "{said}");
    generate("20");
    eventually("Debezium writes", async || end(&world) == written + 20).await;
    // Its heartbeats alone move the slot from here on.
    tokio::time::timeout(Duration::from_secs(60), async {
        let statement = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
        let position = async || sql.query_one(statement, &[&world.name()]).await.unwrap().get::<_, String>(0);
        let before = position().await;
        eventually("the slot moves", async || position().await != before).await;
    })
    .await
    .unwrap();
    hand_over(&world, &["--from-debezium", "--stop"]);

    let kept = connect(&world, "GET", &format!("/connectors/{CONNECTOR}/offsets"), None);
    let with = |change: Value| {
        let mut offsets = json!({ "offsets": kept["offsets"].clone() });
        let offset = offsets["offsets"][0]["offset"].as_object_mut().unwrap();
        offset.extend(change.as_object().unwrap().clone());
        connect(&world, "PATCH", &format!("/connectors/{CONNECTOR}/offsets"), Some(&offsets));
    };
    with(json!({ "snapshot": "INITIAL", "snapshot_completed": false }));
    let said = refusal(&world, &["--from-debezium"]);
    assert!(said.contains("within a snapshot"), "{said}");
    with(json!({ "snapshot": null, "snapshot_completed": null, "lsn_proc": 1, "lsn_commit": 1, "lsn": 1 }));
    let said = refusal(&world, &["--from-debezium"]);
    assert!(said.contains("beyond 0/1"), "{said}");

    // Nothing of all that has taken or repeated a row.
    generate("5");
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_eq!(end(&world), written + 25);
    generate("5");
    let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())";
    sql.execute(advance, &[&world.name()]).await.unwrap();
    let said = refusal(&world, &["--to-debezium"]);
    assert!(said.contains("beyond") && said.contains("evp left it"), "{said}");

    // Whatever is on record for this slot was written from another server.
    let text = |value: Value| Some(value.to_string().into_bytes());
    let key = text(json!({ "slot": world.name() }));
    let value = text(json!({ "system_identifier": "7", "confirmed_lsn": "0/1" }));
    let foreign = NewRecord { partition: 0, key, value, headers: Vec::new() };
    produce(&world, &format!("__evp-position.{}", world.name()), &[foreign]).await;
    for direction in ["--from-debezium", "--to-debezium"] {
        let said = refusal(&world, &[direction]);
        assert!(said.contains("written from cluster 7"), "{said}");
    }
}
