//! `evp capture` against PostgreSQL and Kafka: every committed change once and in order, whatever is killed.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Client;

use crate::support::envelopes::{NewRecord, produce};
use crate::support::{
    DEADLINE, Load, Oracle, OwnStack, Record, World, assert_topic_equals_commits, eventually, http_get, records,
    slot_as_it_was, topic_end,
};

const PUBLICATION: &str = "debezium_publication";

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}' \
                      FROM generate_series(1, $1::int)";

async fn insert(client: &Client, rows: i32) {
    client.execute(INSERT, &[&rows]).await.unwrap();
}

#[tokio::test]
async fn changes_arrive_once_and_in_order_though_capture_is_killed_ten_times() {
    let world = World::new("capture_kill").await;
    world.init(4);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let load = Load::start(&world, 4, 20_000).await;
    for kill in 1..=10_u64 {
        let mut capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
        eventually("the next part of the load is written", async || load.written() >= kill * 1_800).await;
        // Not at the same point of the stream each time.
        tokio::time::sleep(Duration::from_millis(kill * 37 % 100)).await;
        capture.kill();
    }
    load.finish().await;
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test]
async fn a_second_run_to_the_end_adds_nothing() {
    let world = World::new("capture_again").await;
    world.init(1);
    insert(&world.sql().await, 10).await;
    for _ in 0..2 {
        assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
        assert_eq!(topic_end(&world, world.topic()), Some(10));
    }
}

#[tokio::test]
async fn a_stopped_capture_has_confirmed_everything() {
    let world = World::new("capture_stop").await;
    world.init(1);
    let sql = world.sql().await;
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    insert(&sql, 100).await;
    eventually("the rows are in Kafka", async || topic_end(&world, world.topic()) == Some(100)).await;
    let finished = capture.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let statement = "SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', \
                     'publication_names', $2)";
    let left: i64 = sql.query_one(statement, &[&world.name(), &PUBLICATION]).await.unwrap().get(0);
    assert_eq!(left, 0, "the slot would send nothing again");
}

#[tokio::test]
async fn a_slot_that_was_dropped_recreated_or_advanced_is_refused() {
    let world = World::new("capture_gap").await;
    world.init(1);
    let sql = world.sql().await;
    insert(&sql, 3).await;
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));

    insert(&sql, 3).await;
    let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())";
    sql.execute(advance, &[&world.name()]).await.unwrap();
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("--accept-gap"), "{}", finished.failure());

    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("is gone"), "{}", finished.failure());

    let create = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    sql.execute(create, &[&world.name()]).await.unwrap();
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(2));
    assert_eq!(topic_end(&world, world.topic()), Some(3), "nothing was written past the gap");

    insert(&sql, 2).await;
    assert_eq!(world.run(&["capture", "--until", "caught-up", "--accept-gap"]).code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0), "the gap is accepted once and for all");
    assert_eq!(topic_end(&world, world.topic()), Some(5));
}

#[tokio::test]
async fn an_idle_slot_follows_the_log_of_other_tables() {
    let world = World::new("capture_idle").await;
    world.init(1);
    let sql = world.sql().await;
    let mut capture = world.start(&["capture", "--set", "status.update.interval.ms=200"]);
    capture.event("streaming_started").await;
    sql.batch_execute("CREATE TABLE other AS SELECT generate_series(1, 10000) AS n").await.unwrap();
    let end: String = sql.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    eventually("the slot has passed the other table's log", async || {
        let statement = "SELECT confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";
        sql.query_one(statement, &[&world.name(), &end]).await.unwrap().get(0)
    })
    .await;
    assert_eq!(capture.stop().code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0), "what it confirmed is no gap");
}

#[tokio::test]
async fn heartbeats_are_debeziums() {
    let world = World::new("capture_beat").await;
    world.init(1);
    let _capture = world.start(&["capture", "--set", "heartbeat.interval.ms=100"]);
    let topic = format!("__debezium-heartbeat.{}", world.name());
    eventually("two heartbeats are written", async || topic_end(&world, &topic) >= Some(2)).await;
    let heartbeat = records(&world, &topic).swap_remove(0);
    assert_eq!(heartbeat.key.unwrap(), format!("{{\"serverName\":\"{}\"}}", world.name()).as_bytes());
    let value: Value = serde_json::from_slice(&heartbeat.value.unwrap()).unwrap();
    assert!(value["ts_ms"].is_i64() && value.as_object().unwrap().len() == 1);
    assert_eq!((heartbeat.partition, heartbeat.headers), (0, Vec::new()));
}

#[tokio::test]
async fn a_column_of_a_type_that_debezium_does_not_know_is_left_out_as_it_leaves_it_out() {
    let world = World::new("capture_type").await;
    world.init(1);
    let sql = world.sql().await;
    let columns = "CREATE TYPE pair AS (a int, b int); \
                   ALTER TABLE activity.event_outbox ADD COLUMN price numeric(10, 2) DEFAULT 1.5, ADD COLUMN pair pair";
    sql.batch_execute(columns).await.unwrap();
    insert(&sql, 1).await;
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let [record] = records(&world, world.topic()).try_into().unwrap();
    let envelope: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
    assert!(envelope["after"].get("pair").is_none() && envelope["after"]["price"] == 1.5, "{envelope}");
}

#[tokio::test]
async fn a_record_that_the_producer_does_not_take_ends_capture_with_the_reason() {
    let world = World::new("capture_large").await;
    world.init(1);
    let sql = world.sql().await;
    insert(&sql, 3).await;
    let large = INSERT.replace("'{}'", "jsonb_build_object('text', repeat('x', 5000))");
    sql.execute(&large, &[&1]).await.unwrap();
    let finished = world.run(&["capture", "--until", "caught-up", "--kafka", "message.max.bytes=2000"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("is larger than"), "{}", finished.failure());
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(4), "what was taken is not written again");
}

#[tokio::test]
async fn changes_of_a_table_that_is_gone_by_now_still_have_their_key() {
    let world = World::new("capture_gone").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE TABLE activity.short_lived (id int PRIMARY KEY, note text); \
         ALTER PUBLICATION debezium_publication ADD TABLE activity.short_lived; \
         INSERT INTO activity.short_lived VALUES (7, 'still here'); DROP TABLE activity.short_lived",
    )
    .await
    .unwrap();
    insert(&sql, 1).await;
    let all = ["capture", "--until", "caught-up", "--set", "table.include.list=activity.*"];
    let finished = world.run(&all);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let written = records(&world, &format!("{}.activity.short_lived", world.name()));
    let keys: Vec<_> = written.iter().map(|record| record.key.as_deref()).collect();
    assert_eq!(keys, [Some(&br#"{"id":7}"#[..])]);
    assert_eq!(topic_end(&world, world.topic()), Some(1), "and nothing behind them is held up");
}

#[tokio::test]
async fn rows_that_are_left_out_do_not_shift_the_positions_of_others() {
    let world = World::new("capture_skip").await;
    world.init(1);
    let sql = world.sql().await;
    let mixed = format!("{}; UPDATE activity.event_outbox SET status = 'processed'", INSERT.replace("$1::int", "3"));
    sql.batch_execute(&format!("BEGIN; {mixed}; {mixed}; COMMIT")).await.unwrap();
    let run = |skipped| world.run(&["capture", "--until", "caught-up", "--set", skipped]);
    assert_eq!(run("skipped.operations=t,u").code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(6));
    let positions: Vec<String> = records(&world, world.topic()).iter().map(row_and_part).collect();
    // Three rows, three updates, three rows, six updates.
    assert_eq!(positions, ["1:0", "2:0", "3:0", "7:0", "8:0", "9:0"]);
}

#[tokio::test]
async fn rows_of_a_table_that_was_dropped_since_are_not_written_again() {
    let world = World::new("capture_dropped").await;
    world.init(1);
    let (sql, all) = (world.sql().await, ["capture", "--until", "caught-up", "--set", "table.include.list=activity.*"]);
    slot_as_it_was(&world, async || {
        sql.batch_execute(
            "CREATE TABLE activity.short_lived (id int PRIMARY KEY); \
             ALTER PUBLICATION debezium_publication ADD TABLE activity.short_lived; \
             INSERT INTO activity.short_lived VALUES (7)",
        )
        .await
        .unwrap();
        // The second session finds the topic that the first has made.
        assert_eq!((world.run(&all).code, world.run(&all).code), (Some(0), Some(0)));
        sql.batch_execute("DROP TABLE activity.short_lived").await.unwrap();
    })
    .await;
    let finished = world.run(&all);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(records(&world, &format!("{}.activity.short_lived", world.name())).len(), 1);
}

#[tokio::test]
async fn a_dead_letter_that_was_published_again_is_not_the_end_of_the_topic() {
    let world = World::new("capture_again_dlq").await;
    world.init(1);
    slot_as_it_was(&world, async || {
        insert(&world.sql().await, 3).await;
        assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
        let first = records(&world, world.topic()).swap_remove(0);
        let position = String::from_utf8(header(&first, "evp.position")).unwrap();
        let position: &'static str = position.leak();
        let headers = vec![("evp.position", position), ("__connect.errors.topic", "its topic")];
        let again = NewRecord { partition: 0, key: first.key, value: first.value, headers };
        produce(&world, world.topic(), &[again]).await;
    })
    .await;
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(4));
}

fn header(record: &Record, name: &str) -> Vec<u8> {
    let header = record.headers.iter().find(|(known, _)| known == name);
    header.unwrap().1.clone().unwrap()
}

/// The last two parts of the position header.
fn row_and_part(record: &Record) -> String {
    let text = String::from_utf8(header(record, "evp.position")).unwrap();
    let (rest, part) = text.rsplit_once(':').unwrap();
    format!("{}:{part}", rest.rsplit(':').next().unwrap())
}

#[tokio::test]
async fn a_slot_that_somebody_else_reads_is_waited_for_and_its_reader_named() {
    let world = World::new("capture_two").await;
    world.init(1);
    let mut first = world.start(&["capture"]);
    first.event("streaming_started").await;
    let short = ["capture", "--set", "slot.max.retries=2", "--set", "slot.retry.delay.ms=200"];
    let finished = world.run(&short);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("(evp)"), "{}", finished.failure());
    let mut second = world.start(&["capture"]);
    second.event("slot_busy").await;
    insert(&world.sql().await, 5).await;
    eventually("the first has written them", async || topic_end(&world, world.topic()) == Some(5)).await;
    first.kill();
    second.event("streaming_started").await;
}

/// What the next one reads of slot and topics has to be what the one before has left, so it is read under the slot.
#[tokio::test]
async fn captures_that_wait_for_each_others_slot_go_on_exactly_where_the_one_before_was_killed_or_stopped() {
    let world = World::new("capture_relay").await;
    world.init(3);
    let oracle = Oracle::watch(&world.sql().await, world.name(), PUBLICATION).await;
    let load = Load::start(&world, 3, 12_000).await;
    let mut holder = world.start(&["capture"]);
    holder.event("streaming_started").await;
    for round in 1..=8_u64 {
        let mut next = world.start(&["capture", "--set", "slot.max.retries=1000", "--set", "slot.retry.delay.ms=50"]);
        next.event("slot_busy").await;
        eventually("the next part of the load is written", async || load.written() >= round * 1_200).await;
        match round % 2 {
            0 => assert_eq!(holder.stop().code, Some(0)),
            _ => drop(holder.kill()),
        }
        next.event("streaming_started").await;
        holder = next;
    }
    load.finish().await;
    assert_eq!(holder.stop().code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test]
async fn a_gap_is_accepted_at_the_start_and_not_later() {
    let world = World::new("capture_flag").await;
    world.init(1);
    // So that there is nothing to accept at the start, and nothing to write down.
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    let mut capture = world.start(&["capture", "--accept-gap"]);
    capture.event("streaming_started").await;
    let sql = world.sql().await;
    let mut is_moved = false;
    eventually("the slot is moved by other hands", async || {
        insert(&sql, 1).await;
        let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active";
        sql.execute(end, &[&world.name()]).await.unwrap();
        let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())";
        is_moved = is_moved || sql.execute(advance, &[&world.name()]).await.is_ok();
        is_moved
    })
    .await;
    let refused = capture.wait(DEADLINE);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[tokio::test]
async fn columns_that_are_not_published_may_be_of_any_type() {
    let world = World::new("capture_columns").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute(
        "ALTER TABLE activity.event_outbox ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', event_type)) STORED; \
         CREATE TABLE activity.priced (id int PRIMARY KEY, note text, price numeric(10, 2)); \
         ALTER PUBLICATION debezium_publication ADD TABLE activity.priced (id, note); \
         INSERT INTO activity.priced VALUES (1, 'cheap', 2.5)",
    )
    .await
    .unwrap();
    insert(&sql, 1).await;
    let finished = world.run(&["capture", "--until", "caught-up", "--set", "table.include.list=activity.*"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(1));
    let priced = records(&world, &format!("{}.activity.priced", world.name()));
    let value: serde_json::Value = serde_json::from_slice(priced[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(value["after"], serde_json::json!({ "id": 1, "note": "cheap" }));
}

/// Each of the topics is looked for by name, more than once.
#[tokio::test]
async fn two_hundred_tables_that_have_no_topics_yet_delay_the_start_by_seconds_at_the_most() {
    let world = World::new("capture_tables").await;
    let sql = world.sql().await;
    let tables = (1..=200).map(|number| format!("CREATE TABLE public.t{number} (id int PRIMARY KEY);"));
    let publication = format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES;");
    sql.batch_execute(&tables.chain([publication]).collect::<String>()).await.unwrap();
    sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&world.name()]).await.unwrap();
    let started = std::time::Instant::now();
    let lists = ["--set", r"table.include.list=public\.t\d+", "--set", "message.key.columns="];
    let finished = world.run(&[&["capture", "--until", "caught-up"], &lists[..]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn kafka_and_postgres_may_go_and_come_back() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack("capture_servers", &stack).await;
    world.init(2);
    let oracle = Oracle::watch(&world.sql().await, world.name(), PUBLICATION).await;
    let mut capture = world.start(&["capture", "--set", "status.update.interval.ms=500", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    capture.event("streaming_started").await;

    let load = Load::start(&world, 2, 6_000).await;
    eventually("the load has begun", async || load.written() > 500).await;
    stack.kill(&["kafka"]);
    load.finish().await;
    capture.event("kafka_unreachable").await;
    let is_active = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
    let is_active: bool = world.sql().await.query_one(is_active, &[&world.name()]).await.unwrap().get(0);
    assert!(is_active, "a stalled Kafka does not cost the slot's connection");
    let lag = "SELECT (pg_current_wal_flush_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots \
               WHERE slot_name = $1";
    let lag: i64 = world.sql().await.query_one(lag, &[&world.name()]).await.unwrap().get(0);
    assert!(lag > 1_000_000, "the load has written {lag} bytes of log");
    eventually("the slot's log is told", async || {
        let (_, metrics) = http_get(&address, "/metrics").await.unwrap();
        let told = metrics.lines().find_map(|line| line.strip_prefix("evp_capture_lag_bytes "));
        told.is_some_and(|bytes| bytes.parse::<f64>().unwrap() >= lag as f64)
    })
    .await;
    assert!(matches!(http_get(&address, "/readyz").await, Some((503, reason)) if reason.contains("Kafka")));
    stack.start(&["kafka"]);
    capture.event("kafka_reachable").await;
    assert_eq!(http_get(&address, "/readyz").await.unwrap().0, 200);

    let load = Load::start(&world, 2, 3_000).await;
    load.finish().await;
    stack.kill(&["postgres"]);
    capture.event("capture_waiting").await;
    stack.start(&["postgres"]);
    eventually("it streams again", async || capture.events("streaming_started").len() == 2).await;
    insert(&world.sql().await, 5).await;
    let expected = oracle.committed(&world.sql().await).await.len();
    eventually("everything is in Kafka", async || topic_end(&world, world.topic()) >= i64::try_from(expected).ok())
        .await;
    assert_eq!(capture.stop().code, Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}

#[tokio::test]
async fn capture_waits_for_kafka_at_start() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack("capture_wait", &stack).await;
    world.init(1);
    insert(&world.sql().await, 3).await;
    stack.stop(&["kafka"]);
    let mut capture = world.start(&["capture", "--until", "caught-up"]);
    let waiting = capture.event("capture_waiting").await;
    assert!(waiting["error"].as_str().unwrap().contains("KAFKA_BOOTSTRAP_SERVERS"), "{waiting}");
    stack.start(&["kafka"]);
    assert_eq!(capture.wait(DEADLINE).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_as_asked_and_the_password_bound_to_it() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[("EVP_POSTGRES_TLS", "1")]);
    let mut world = World::on_stack("capture_tls", &stack).await;
    world.init(1);
    insert(&world.sql().await, 1).await;
    let root = stack.variables().get("POSTGRES_SSLROOTCERT").expect("the stack names its root").clone();
    for mode in ["require", "verify-ca", "verify-full"] {
        world.set("POSTGRES_SSLMODE", mode);
        world.set("POSTGRES_SSLROOTCERT", root.as_str());
        let finished = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!(finished.code, Some(0), "{mode}: {finished:?}");
    }
    // A server or a pooler that restarts takes connections and lets go of them.
    let there = world.variable("POSTGRES_PORT").to_owned();
    insert(&world.sql().await, 1).await;
    world.set("POSTGRES_SSLMODE", "require");
    world.set("POSTGRES_PORT", handshakes_broken(4, format!("127.0.0.1:{there}")).await.to_string());
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "handshakes that break off: {finished:?}");
    world.set("POSTGRES_PORT", there);
    world.set("POSTGRES_SSLMODE", "verify-full");
    world.set("POSTGRES_SSLROOTCERT", "");
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(1), "a root that does not vouch for the server: {finished:?}");
    assert!(finished.failure().contains("POSTGRES_SSLROOTCERT"), "{}", finished.failure());
    assert_eq!(topic_end(&world, world.topic()), Some(2));
    // The server has TLS, and wants these roles without: `prefer` tries both, as libpq does.
    let sql = world.sql().await;
    let file: String = sql.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    std::fs::write(file, "hostnossl all,replication all 127.0.0.1/32 scram-sha-256\n").unwrap();
    sql.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    insert(&sql, 1).await;
    for (mode, code) in [("require", 1), ("prefer", 0)] {
        world.set("POSTGRES_SSLMODE", mode);
        let finished = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!(finished.code, Some(code), "{mode}: {finished:?}");
    }
    assert_eq!(topic_end(&world, world.topic()), Some(3));
}

/// The port of a way to `server` on which the first handshakes break off, each at another place.
async fn handshakes_broken(times: usize, server: String) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut near, _)) = listener.accept().await else { return };
            if number < times {
                let mut request = [0; 8];
                near.read_exact(&mut request).await.unwrap();
                if number % 2 == 1 {
                    near.write_all(b"S").await.unwrap();
                    near.read_u8().await.unwrap();
                }
                continue;
            }
            let Ok(mut far) = tokio::net::TcpStream::connect(&server).await else { return };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    port
}
