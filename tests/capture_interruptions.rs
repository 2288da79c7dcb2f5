//! `evp capture` and what administrators do to a server that it reads: stops, cancelled sessions, lost rights, other tables,
//! and log that is given up.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::support::{
    DEADLINE, Load, Oracle, OwnStack, Running, World, assert_topic_equals_commits, eventually, http_get, topic_end,
};

const PUBLICATION: &str = "debezium_publication";
/// What a server may take to stop whose log is read to the end, and a little.
const STOP_MAX: Duration = Duration::from_secs(12);

async fn insert(sql: &Client, rows: u32) {
    let statement = format!(
        "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
         SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', jsonb_build_object('bio', repeat('x', 200)) \
         FROM generate_series(1, {rows})"
    );
    sql.batch_execute(&statement).await.unwrap();
}

/// Waits until Kafka holds every committed change, and compares.
async fn everything_is_written_once(world: &World, oracle: &Oracle) {
    let committed = i64::try_from(oracle.committed(&world.sql().await).await.len()).unwrap();
    eventually("everything is in Kafka", async || topic_end(world, world.topic()) >= Some(committed)).await;
    assert_topic_equals_commits(world, oracle).await;
}

/// PostgreSQL stops once its log is read to the end and confirmed, which nobody can do while Kafka stands still, too.
#[tokio::test]
async fn a_server_that_stands_still_stops_or_gives_its_log_up_is_left_in_time_and_gone_on_with_or_refused() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let mut world = World::on_stack("stopped_server", &stack).await;
    world.set("SHUTDOWN_TIMEOUT_SECONDS", "4");
    world.init(2);
    let oracle = Oracle::watch(&world.sql().await, world.name(), PUBLICATION).await;
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;

    stack.pause(&["postgres"]);
    let mut beginner = world.start(&["capture"]);
    beginner.event("application_starting").await;
    for capture in [capture, beginner] {
        let stopping = Instant::now();
        assert_eq!(capture.stop().code, Some(0));
        println!("stopped after {:.1?}", stopping.elapsed());
        assert!(stopping.elapsed() < Duration::from_millis(4_500), "{:.1?}", stopping.elapsed());
    }
    stack.resume(&["postgres"]);
    let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains("Kafka"));
    capture.event("streaming_started").await;

    let load = Load::paced(&world, 200, Duration::from_secs(2)).await;
    eventually("the load has begun", async || load.written() > 50).await;
    stack.pause(&["kafka"]);
    load.finish().await;
    eventually("readiness tells of Kafka", is_told).await;
    let stopping = Instant::now();
    stack.stop(&["postgres"]);
    let took = stopping.elapsed();
    println!("PostgreSQL stopped after {took:.1?}");
    assert!(took < STOP_MAX, "{took:.1?}");
    stack.start(&["postgres"]);
    stack.resume(&["kafka"]);
    insert(&world.sql().await, 5).await;
    everything_is_written_once(&world, &oracle).await;

    let sql = world.sql().await;
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&format!("{}_oracle", world.name())]).await.unwrap();
    sql.batch_execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'").await.unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    stack.pause(&["kafka"]);
    insert(&sql, 500).await;
    eventually("readiness tells of Kafka", is_told).await;
    for _ in 0..4 {
        insert(&sql, 20).await;
        sql.batch_execute("SELECT pg_switch_wal()").await.unwrap();
        sql.batch_execute("CHECKPOINT").await.unwrap();
    }
    let slot = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1";
    eventually("the slot is lost", async || {
        sql.query_one(slot, &[&world.name()]).await.unwrap().get::<_, Option<String>>(0).as_deref() == Some("lost")
    })
    .await;
    stack.resume(&["kafka"]);
    let refused = capture.wait(DEADLINE);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.failure().contains("max_slot_wal_keep_size"), "{}", refused.failure());
}

/// The slot's reader is cancelled and ended, its role loses and gets rights, the table changes, and capture is killed.
#[tokio::test]
async fn sessions_rights_and_columns_that_come_and_go_cost_no_event() {
    let world = World::new("interruptions").await;
    world.init(2);
    let sql = world.sql().await;
    let role = format!("{}_role", world.name());
    sql.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'known'; GRANT USAGE ON SCHEMA activity TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA activity TO {role}; \
         ALTER DATABASE {} SET wal_sender_timeout = '4s'",
        world.name()
    ))
    .await
    .unwrap();
    let start = || {
        let mut command = world.command(&["capture"]);
        command.env("POSTGRES_USER", &role).env("POSTGRES_PASSWORD", "known");
        Running::spawn(command)
    };
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let starts = |capture: &Running| capture.events("streaming_started").len();
    let mut capture = start();
    let load = Load::start(&world, 1, 1_000_000).await;
    let interruptions = [
        ("pg_cancel_backend", String::new(), String::new()),
        (
            "pg_terminate_backend",
            "ALTER TABLE activity.event_outbox ADD COLUMN more numeric(9, 2) DEFAULT 1.5".to_owned(),
            "ALTER TABLE activity.event_outbox ALTER COLUMN more TYPE text".to_owned(),
        ),
        ("pg_terminate_backend", format!("ALTER ROLE {role} NOREPLICATION"), format!("ALTER ROLE {role} REPLICATION")),
        (
            "pg_terminate_backend",
            format!("ALTER ROLE {role} PASSWORD 'other'"),
            format!("ALTER ROLE {role} PASSWORD 'known'; ALTER TABLE activity.event_outbox DROP COLUMN more"),
        ),
    ];
    for (interrupt, before, after) in &interruptions {
        capture.event("streaming_started").await;
        let written = topic_end(&world, world.topic());
        eventually("rows are written", async || topic_end(&world, world.topic()) > written.max(Some(0))).await;
        let seen = (starts(&capture), capture.events("capture_waiting").len());
        sql.batch_execute(before).await.unwrap();
        let reader = format!("SELECT {interrupt}(active_pid) FROM pg_replication_slots WHERE slot_name = $1");
        sql.execute(&reader, &[&world.name()]).await.unwrap();
        eventually(&format!("the end of the stream is noticed: {interrupt} {before}"), async || {
            capture.events("capture_waiting").len() > seen.1
        })
        .await;
        sql.batch_execute(after).await.unwrap();
        eventually(&format!("it streams again: {interrupt} {before}"), async || starts(&capture) > seen.0).await;
        let written = load.written();
        eventually("the load goes on", async || load.written() > written + 50).await;
        capture.kill();
        capture = start();
    }
    capture.event("streaming_started").await;
    // Longer than the server has patience for.
    capture.pause();
    let gone = "SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = $1";
    eventually("the server has given its reader up", async || {
        sql.query_one(gone, &[&world.name()]).await.unwrap().get(0)
    })
    .await;
    capture.resume();
    eventually("it streams again", async || starts(&capture) > 1).await;
    load.stop().await;
    everything_is_written_once(&world, &oracle).await;
    assert_eq!(capture.stop().code, Some(0));
    sql.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// What PostgreSQL decodes through files, and what it decodes long after it was written, while all that is killed.
#[tokio::test]
async fn large_transactions_with_undone_parts_and_prepared_ones_arrive_once_though_everything_is_killed() {
    let settings = "max_prepared_transactions = 4\nlogical_decoding_work_mem = '64kB'";
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[("EVP_POSTGRES_SETTINGS", settings)]);
    let world = World::on_stack("large_transactions", &stack).await;
    world.init(3);
    let oracle = Oracle::watch(&world.sql().await, world.name(), PUBLICATION).await;
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let mut sql = world.sql().await;
    for round in 0..4 {
        sql.batch_execute("BEGIN").await.unwrap();
        insert(&sql, 100).await;
        sql.batch_execute(&format!("PREPARE TRANSACTION '{}_{round}'", world.name())).await.unwrap();
        sql.batch_execute("BEGIN").await.unwrap();
        for part in 0..40 {
            sql.batch_execute("SAVEPOINT outer_one").await.unwrap();
            insert(&sql, 100).await;
            sql.batch_execute("SAVEPOINT inner_one").await.unwrap();
            let status = "UPDATE activity.event_outbox SET status = 'processed' \
                          WHERE sequence_id > (SELECT max(sequence_id) - 50 FROM activity.event_outbox)";
            sql.batch_execute(status).await.unwrap();
            let end = ["ROLLBACK TO inner_one", "ROLLBACK TO outer_one", "RELEASE outer_one", "RELEASE inner_one"];
            sql.batch_execute(end[part % 4]).await.unwrap();
        }
        let written = topic_end(&world, world.topic());
        sql.batch_execute("COMMIT").await.unwrap();
        eventually("some of it is written", async || topic_end(&world, world.topic()) > written).await;
        if round % 2 == 0 {
            capture.kill();
            sql.batch_execute(&format!("COMMIT PREPARED '{}_{round}'", world.name())).await.unwrap();
        } else {
            stack.kill(&[if round == 1 { "postgres" } else { "kafka" }]);
            stack.start(&[if round == 1 { "postgres" } else { "kafka" }]);
            sql = world.sql().await;
            let end = if round == 1 { "COMMIT" } else { "ROLLBACK" };
            sql.batch_execute(&format!("{end} PREPARED '{}_{round}'", world.name())).await.unwrap();
            capture.kill();
        }
        capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
    }
    everything_is_written_once(&world, &oracle).await;
    assert_eq!(capture.stop().code, Some(0));
}
