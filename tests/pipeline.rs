//! Both halves together, on real servers, killed at random; and Debezium in the place of capture.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{OwnStack, Record, World, eventually, read_models, records, topic_end};

/// Events of the crash test; raise it for a longer one.
fn event_count() -> u64 {
    std::env::var("EVP_TEST_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000)
}

/// Marks rows as processed while they are written, so that each event is on the topic more than once.
fn mark_processed(sql: Client, is_over: Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let statement = "UPDATE activity.event_outbox SET status = 'processed', published_at = now() \
                         WHERE event_id IN (SELECT event_id FROM activity.event_outbox WHERE status = 'pending' LIMIT 500)";
        let mut marked = 0;
        while !is_over.load(Ordering::Relaxed) {
            marked += sql.execute(statement, &[]).await.unwrap();
            let rolled_back = "BEGIN; UPDATE activity.event_outbox SET status = 'failed'; ROLLBACK";
            sql.batch_execute(rolled_back).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        marked
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_halves_may_be_killed_at_any_time_and_a_replay_changes_nothing() {
    let mut world = World::new("pipeline_kill").await;
    world.init(4);
    let count = event_count().to_string();
    let is_over = Arc::new(AtomicBool::new(false));
    let marking = mark_processed(world.sql().await, Arc::clone(&is_over));
    let mut generator = world.start(&["generate", "--rate", "1000", "--count", &count, "--seed", "7"]);
    // A member known by name takes its place again at once, where others wait for the session's time limit.
    let process_command = ["process", "--kafka", "group.instance.id=one"];
    for round in 0..20_u64 {
        let mut capture = world.start(&["capture"]);
        let mut process = world.start(&process_command);
        capture.event("streaming_started").await;
        process.event("starting_event_consumption").await;
        tokio::time::sleep(Duration::from_millis(300 + round * 97 % 500)).await;
        if round % 2 == 0 {
            capture.kill()
        } else {
            process.kill()
        };
    }
    eventually("all events are written", async || generator.has_ended()).await;
    is_over.store(true, Ordering::Relaxed);
    assert!(marking.await.unwrap() > 0, "no row was marked");

    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    let finished = world.run(&["process", "--until", "caught-up", "--kafka", "group.instance.id=one"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    let before = read_models(&world.mongo().await, true).await;
    assert!(before.iter().all(|(name, documents)| !documents.is_empty() || name == "statistics"));
    let group = format!("{}-replay", world.name());
    world.set("KAFKA_GROUP_ID", group);
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(read_models(&world.mongo().await, true).await, before, "a replay of the topic changed a document");
}

/// Runs `debezium/connector` against the world's servers; returns what it said.
fn connector(world: &World, connect: &str, arguments: &[&str]) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("debezium/connector"));
    for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
        command.env(name, world.variable(name));
    }
    let output = command.args(arguments).args(["--connect", connect, "--yes"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn debezium_in_the_place_of_capture_gives_the_same_read_models() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let mut world = World::on_stack("pipeline_debezium", &stack).await;
    world.init(2);
    let connect = stack.variables()["CONNECT_URL"].clone();
    let debezium = format!("{}_debezium", world.name());
    let sql = world.sql().await;
    sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&debezium]).await.unwrap();
    let (slot, prefix) = (format!("slot.name={debezium}"), format!("topic.prefix={debezium}"));
    connector(&world, &connect, &["deploy", "--set", &slot, "--set", &prefix]);

    let generated = world.run(&["generate", "--rate", "2000", "--count", "3000", "--seed", "11"]);
    assert_eq!(generated.code, Some(0), "{generated:?}");
    let marked = sql.execute("UPDATE activity.event_outbox SET status = 'processed' WHERE sequence_id % 3 = 0", &[]);
    let records = 3_000 + i64::try_from(marked.await.unwrap()).unwrap();
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(records));
    let topic = format!("{debezium}.activity.event_outbox");
    eventually("Debezium has written the same", async || topic_end(&world, &topic) == Some(records)).await;
    connector(&world, &connect, &["remove"]);

    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    let ours = read_models(&world.mongo().await, false).await;
    assert_eq!(world.run(&["verify"]).code, Some(0));
    let database = world.mongo().await.client().database(&debezium);
    world.set("KAFKA_TOPIC", topic);
    world.set("KAFKA_GROUP_ID", debezium.as_str());
    world.set("MONGODB_DATABASE", debezium.as_str());
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(read_models(&database, false).await, ours);
    assert!(ours.iter().all(|(_, documents)| !documents.is_empty()));
}

/// Debezium wrote first, then evp goes on in the same topic from the same slot; and once more.
#[tokio::test]
async fn capture_goes_on_in_debeziums_topic_without_loss_or_repetition() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo", "connect"], &[]);
    let world = World::on_stack("pipeline_takeover", &stack).await;
    world.init(3);
    let connect = stack.variables()["CONNECT_URL"].clone();
    let (slot, prefix) = (format!("slot.name={}", world.name()), format!("topic.prefix={}", world.name()));
    connector(&world, &connect, &["deploy", "--set", &slot, "--set", &prefix]);
    let generate = |seed: &'static str| world.run(&["generate", "--rate", "0", "--count", "500", "--seed", seed]);
    assert_eq!(generate("1").code, Some(0));
    eventually("Debezium has written the first part", async || topic_end(&world, world.topic()) == Some(500)).await;
    connector(&world, &connect, &["remove"]);
    assert_eq!(generate("2").code, Some(0));
    let capture = || {
        let finished = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };
    capture();
    assert_eq!(topic_end(&world, world.topic()), Some(1_000));

    // Connect has kept an offset that Debezium would refuse, since the slot has moved on; nothing of the slot's backlog is skipped.
    assert_eq!(generate("3").code, Some(0));
    let said = connector(&world, &connect, &["deploy", "--set", &slot, "--set", &prefix]);
    assert!(said.contains("behind the slot: deleted"), "{said}");
    eventually("Debezium has written the third part", async || topic_end(&world, world.topic()) == Some(1_500)).await;
    // Debezium stays for longer than it has rows, and its heartbeats move the slot to the end of the last transaction.
    let lsn = |record: &Record| {
        let value: Option<serde_json::Value> = serde_json::from_slice(record.value.as_deref()?).ok();
        value?["source"]["lsn"].as_i64()
    };
    let last_row = records(&world, world.topic()).iter().filter_map(lsn).max().unwrap();
    let sql = world.sql().await;
    let statement = "SELECT confirmed_flush_lsn - '0/0' > $2::bigint FROM pg_replication_slots WHERE slot_name = $1";
    eventually("the slot has passed Debezium's last record", async || {
        sql.query_one(statement, &[&world.name(), &last_row]).await.unwrap().get(0)
    })
    .await;
    connector(&world, &connect, &["remove"]);
    assert_eq!(generate("4").code, Some(0));
    capture();
    assert_eq!(topic_end(&world, world.topic()), Some(2_000));
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(world.run(&["verify"]).code, Some(0));
}
