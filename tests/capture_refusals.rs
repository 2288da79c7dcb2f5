//! Rows that the topic does not take: found by name, never skipped, and nothing is written behind them.

use tokio_postgres::Client;

use crate::support::envelopes::Topics;
use crate::support::{DEADLINE, Oracle, OwnStack, World, assert_topic_equals_commits, eventually, records, topic_end};

const PUBLICATION: &str = "debezium_publication";
/// By then a producer that was just made is used.
const PRODUCER_READY: std::time::Duration = std::time::Duration::from_secs(2);

/// Rows whose payloads are that long and not compressible.
async fn insert_sized(client: &Client, rows: i32, bytes: i32) {
    let statement = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                     SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', \
                            jsonb_build_object('text', (SELECT string_agg(md5(random()::text || n || part), '') \
                                                        FROM generate_series(1, $2::int / 32 + 1) AS part)) \
                     FROM generate_series(1, $1::int) AS n";
    client.execute(statement, &[&rows, &bytes]).await.unwrap();
}

async fn set_topic(world: &World, topic: &str, name: &str, value: &str) {
    Topics::new(world).set(topic, name, value).await;
}

/// Runs capture again and again, as a supervisor would; the last exit code.
fn restarted(world: &World, times: u32) -> Option<i32> {
    let mut code = None;
    for _ in 0..times {
        code = world.run(&["capture", "--until", "caught-up"]).code;
        if code == Some(0) {
            break;
        }
    }
    code
}

/// A backlog with a wide row in its middle, under a restart loop, and then with a higher limit of the topic.
async fn survives_a_wide_row(test: &str, partitions: u32, limit: i32, row_bytes: i32, backlog: i32) {
    let world = World::new(test).await;
    world.init(partitions);
    set_topic(&world, world.topic(), "max.message.bytes", &limit.to_string()).await;
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    insert_sized(&sql, backlog, 400).await;
    insert_sized(&sql, 1, row_bytes).await;
    insert_sized(&sql, backlog, 400).await;
    if row_bytes > limit {
        assert_eq!(restarted(&world, 3), Some(2), "nothing is written behind the row, however often it is tried");
        let written = topic_end(&world, world.topic()).unwrap_or(0);
        assert!(written <= i64::from(backlog), "{written} records, of which some stand behind the row");
    }
    set_topic(&world, world.topic(), "max.message.bytes", "8000000").await;
    assert_eq!(restarted(&world, 2), Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test]
async fn a_row_that_its_topic_refuses_is_written_once_the_limit_is_raised_and_nothing_before_it() {
    survives_a_wide_row("refused_wide", 1, 1_048_588, 1_500_000, 4_000).await;
    survives_a_wide_row("refused_wide4", 4, 1_048_588, 1_150_000, 4_000).await;
}

#[tokio::test]
async fn a_topic_that_takes_smaller_batches_than_usual_gets_them() {
    survives_a_wide_row("refused_64k", 1, 64_000, 50_000, 10_000).await;
    survives_a_wide_row("refused_300k", 4, 300_000, 310_000, 2_000).await;
}

/// `cargo test … -- --ignored restart_loop`
#[tokio::test]
#[ignore = "takes a quarter of an hour"]
async fn a_restart_loop_loses_and_repeats_nothing_whatever_the_sizes_limits_backlogs_and_partitions() {
    let mut number = 0;
    for limit in [64_000, 300_000, 1_048_588] {
        for row_bytes in [900_000, 1_150_000, 1_500_000, 3_000_000] {
            for backlog in [1_000, 25_000] {
                for partitions in [1, 4] {
                    number += 1;
                    eprintln!(
                        "{number}: limit {limit}, row {row_bytes}, backlog 2 x {backlog}, {partitions} partitions"
                    );
                    survives_a_wide_row(&format!("refused_{number}"), partitions, limit, row_bytes, backlog).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_refused_row_is_named_with_table_key_commit_and_transaction() {
    let world = World::new("refused_name").await;
    world.init(1);
    set_topic(&world, world.topic(), "max.message.bytes", "64000").await;
    let sql = world.sql().await;
    insert_sized(&sql, 3, 100).await;
    insert_sized(&sql, 1, 70_000).await;
    let row = "SELECT aggregate_id::text, xmin::text FROM activity.event_outbox ORDER BY sequence_id DESC LIMIT 1";
    let row = sql.query_one(row, &[]).await.unwrap();
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let failure = finished.failure();
    let parts =
        ["activity.event_outbox", row.get::<_, &str>(0), row.get::<_, &str>(1), "commit 0/", "max.message.bytes"];
    for part in parts {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
    assert_eq!(topic_end(&world, world.topic()), Some(3));
}

/// A limit that the brokers lower while capture runs is met by their answers, batch by batch.
#[tokio::test]
async fn a_limit_that_is_lowered_while_capture_streams_leaves_no_hole() {
    let world = World::new("refused_lower").await;
    world.init(1);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    insert_sized(&sql, 10, 400).await;
    eventually("the first rows are there", async || topic_end(&world, world.topic()) == Some(10)).await;
    set_topic(&world, world.topic(), "max.message.bytes", "30000").await;
    // As one transaction, so that batches are as large as they can be.
    insert_sized(&sql, 5_000, 400).await;
    eventually("all rows are there", async || topic_end(&world, world.topic()) == Some(5_010)).await;
    insert_sized(&sql, 1, 40_000).await;
    insert_sized(&sql, 500, 400).await;
    let finished = capture.wait(DEADLINE);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(5_010));
    set_topic(&world, world.topic(), "max.message.bytes", "1000000").await;
    assert_eq!(restarted(&world, 2), Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

/// A broker that has no batch of a producer yet takes any sequence number, so that it would take the second batch of a
/// partition where it has refused the first: here for its want of a key, in a compacted topic that two tables share.
#[tokio::test]
async fn nothing_is_written_behind_the_first_batch_of_a_producer_that_is_refused() {
    let world = World::new("refused_first").await;
    let sql = world.sql().await;
    let tables = "CREATE TABLE keyless (v text); CREATE TABLE keyed (id serial PRIMARY KEY, v text); \
                  CREATE PUBLICATION two FOR TABLE keyless, keyed";
    sql.batch_execute(tables).await.unwrap();
    sql.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&world.name()]).await.unwrap();
    let topic = format!("{}.one", world.name());
    let settings = serde_json::json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "topic.prefix": world.name(),
        "table.include.list": "public.keyless,public.keyed",
        "publication.name": "two",
        "publication.autocreate.mode": "disabled",
        "slot.name": world.name(),
        "snapshot.mode": "no_data",
        "transforms": "one",
        "transforms.one.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.one.regex": ".*",
        "transforms.one.replacement": topic,
    });
    let file = world.directory().join("two.json");
    std::fs::write(&file, serde_json::json!({ "name": "two", "config": settings }).to_string()).unwrap();
    Topics::new(&world).create(&topic, 1, &[("cleanup.policy", "compact")]).await;
    let arguments = ["capture", "--connector", file.to_str().unwrap()];
    let mut capture = world.start(&arguments);
    capture.event("streaming_started").await;
    // The producer of backlogs is made for these, and not yet used.
    sql.execute("INSERT INTO keyed (v) SELECT repeat('x', 200000) FROM generate_series(1, 3)", &[]).await.unwrap();
    eventually("the first rows are there", async || topic_end(&world, &topic) == Some(3)).await;
    tokio::time::sleep(PRODUCER_READY).await;
    // A batch each, of which two are on their way at once.
    let refused = "INSERT INTO keyless VALUES (repeat('y', 900000))";
    let behind = "INSERT INTO keyed (v) SELECT repeat('z', 900000) FROM generate_series(1, 2)";
    sql.batch_execute(&format!("BEGIN; {refused}; {behind}; COMMIT")).await.unwrap();
    let finished = capture.wait(DEADLINE);
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert!(finished.failure().contains("public.keyless"), "{finished:?}");
    assert_eq!(topic_end(&world, &topic), Some(3), "a row stands behind the refused one");
    set_topic(&world, &topic, "cleanup.policy", "delete").await;
    let finished = world.run(&[&arguments[..], &["--until", "caught-up"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, &topic), Some(6));
}

/// As where the clocks of the two machines differ.
#[tokio::test]
async fn a_row_that_brokers_refuse_for_another_reason_ends_capture_with_their_word() {
    let world = World::new("refused_time").await;
    world.init(1);
    set_topic(&world, world.topic(), "message.timestamp.before.max.ms", "1").await;
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    insert_sized(&sql, 3_000, 400).await;
    // Each record waits until it is too old.
    let finished = world.run(&["capture", "--until", "caught-up", "--kafka", "linger.ms=30"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains("time") && failure.contains("activity.event_outbox"), "{failure}");
    set_topic(&world, world.topic(), "message.timestamp.before.max.ms", "9223372036854775807").await;
    assert_eq!(restarted(&world, 2), Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test]
async fn a_refused_row_becomes_a_pointer_among_the_dead_letters_if_asked_for() {
    let world = World::new("refused_letter").await;
    world.init(1);
    set_topic(&world, world.topic(), "max.message.bytes", "64000").await;
    let sql = world.sql().await;
    insert_sized(&sql, 3, 100).await;
    insert_sized(&sql, 1, 70_000).await;
    let wide = "SELECT event_id::text FROM activity.event_outbox ORDER BY sequence_id DESC LIMIT 1";
    let wide: String = sql.query_one(wide, &[]).await.unwrap().get(0);
    insert_sized(&sql, 3, 100).await;
    let aside = ["capture", "--until", "caught-up", "--refused-rows", "dead-letter"];
    for _ in 0..2 {
        let finished = world.run(&aside);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(topic_end(&world, world.topic()), Some(6), "all but the wide one, once");
    }
    let letters = records(&world, &format!("{}.dlq", world.topic()));
    assert_eq!(letters.len(), 1);
    let value = String::from_utf8(letters[0].value.clone().unwrap()).unwrap();
    assert!(value.contains(&wide) && value.len() < 1_000, "{value}");
    let names: Vec<&str> = letters[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"__connect.errors.exception.message") && names.contains(&"evp.position"), "{names:?}");
}

/// A database without an encoding takes any bytes, of which a JSON text can say nothing.
#[tokio::test]
async fn a_value_that_no_record_can_hold_is_named_with_its_row_and_goes_aside_if_asked_for() {
    let world = World::new("refused_bytes").await;
    world.without_encoding().await;
    world.init(1);
    let sql = world.sql().await;
    insert_sized(&sql, 3, 100).await;
    let change = "UPDATE activity.event_outbox SET aggregate_type = E'Us\\xff' WHERE sequence_id = 2 \
               RETURNING event_id::text, xmin::text";
    let row = sql.query_one(change, &[]).await.unwrap();
    insert_sized(&sql, 2, 100).await;
    for _ in 0..2 {
        let finished = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        let failure = finished.failure();
        for part in
            ["activity.event_outbox", "aggregate_type", row.get::<_, &str>(0), row.get::<_, &str>(1), "commit 0/"]
        {
            assert!(failure.contains(part), "{part} is not in: {failure}");
        }
        assert_eq!(topic_end(&world, world.topic()), Some(3), "nothing is written behind it");
    }
    let finished = world.run(&["capture", "--until", "caught-up", "--refused-rows", "dead-letter"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(5));
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 1);
}

/// Beyond this size a broker closes the connection instead of answering.
#[tokio::test]
async fn a_row_above_the_brokers_request_size_does_not_loop() {
    let stack = OwnStack::up(
        &["postgres", "kafka", "mongo"],
        &[("EVP_KAFKA_SETTINGS", "socket.request.max.bytes=2000000\nmessage.max.bytes=8000000")],
    );
    let world = World::on_stack("refused_request", &stack).await;
    world.init(1);
    let sql = world.sql().await;
    insert_sized(&sql, 100, 400).await;
    insert_sized(&sql, 1, 2_500_000).await;
    insert_sized(&sql, 100, 400).await;
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("socket.request.max.bytes"), "{}", finished.failure());
    assert_eq!(topic_end(&world, world.topic()), Some(100));
}
