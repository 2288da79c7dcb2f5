//! `evp capture` beside a broker that stands still and comes back.

use std::time::{Duration, Instant};

use crate::support::envelopes::Topics;
use crate::support::{
    DEADLINE, Load, Oracle, OwnStack, World, assert_topic_equals_commits, eventually, http_get, topic_end,
};

const PUBLICATION: &str = "debezium_publication";
/// What a capture is given that is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// Stops the broker's process for so long, while rows come; the seconds after each pause until what was written meanwhile
/// is in Kafka and capture is ready.
async fn paused(test: &str, pauses: u32, pause: Duration) -> Vec<f64> {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack(test, &stack).await;
    world.init(3);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    capture.event("streaming_started").await;
    let mut recoveries = Vec::new();
    for _ in 0..pauses {
        let load = Load::paced(&world, 250, pause + Duration::from_secs(6)).await;
        eventually("the load has begun", async || load.written() > 100).await;
        stack.pause(&["kafka"]);
        let paused = Instant::now();
        eventually(
            "readiness tells of it",
            async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains("Kafka")),
        )
        .await;
        assert!(paused.elapsed() < Duration::from_secs(10), "told after {:?}", paused.elapsed());
        tokio::time::sleep(pause.saturating_sub(paused.elapsed())).await;
        stack.resume(&["kafka"]);
        let resumed = Instant::now();
        let is_there = async |rows: u64| topic_end(&world, world.topic()) >= i64::try_from(rows).ok();
        let written_by_then = u64::try_from(oracle.committed(&sql).await.len()).unwrap();
        eventually("what was written meanwhile is in Kafka", async || is_there(written_by_then).await).await;
        eventually("it is ready", async || matches!(http_get(&address, "/readyz").await, Some((200, _)))).await;
        recoveries.push(resumed.elapsed().as_secs_f64());
        load.finish().await;
        let written = u64::try_from(oracle.committed(&sql).await.len()).unwrap();
        eventually("all rows are in Kafka", async || is_there(written).await).await;
        eventually("and confirmed", async || {
            let statement = "SELECT pg_current_wal_flush_lsn() - confirmed_flush_lsn < 20000 FROM pg_replication_slots \
                             WHERE slot_name = $1";
            sql.query_one(statement, &[&world.name()]).await.unwrap().get(0)
        })
        .await;
    }
    let finished = capture.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_topic_equals_commits(&world, &oracle).await;
    recoveries
}

#[tokio::test]
async fn a_broker_that_stands_still_is_told_and_gone_on_from_exactly() {
    let recoveries = paused("stall", 1, Duration::from_secs(14)).await;
    // Beside a dozen other tests; how fast it is alone is what the long one asserts.
    assert!(recoveries.iter().all(|seconds| *seconds < 40.0), "{recoveries:?}");
}

/// As often and as long as the hang that it answers was seen: `cargo test … -- --ignored paused_twenty_times`.
#[tokio::test]
#[ignore = "takes a quarter of an hour"]
async fn a_broker_may_be_paused_twenty_times() {
    let recoveries = paused("stall_long", 20, Duration::from_secs(40)).await;
    eprintln!("seconds until capture had caught up with the pause: {recoveries:?}");
    assert!(recoveries.iter().all(|seconds| *seconds < 15.0), "{recoveries:?}");
}

/// A topic that is deleted under capture is a gap, also if it is there again at once.
#[tokio::test]
async fn a_topic_that_is_made_anew_under_capture_is_refused() {
    let world = World::new("stall_topic").await;
    world.init(1);
    let sql = world.sql().await;
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}' FROM generate_series(1, 5)";
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    sql.batch_execute(insert).await.unwrap();
    eventually("rows are written", async || topic_end(&world, world.topic()) == Some(5)).await;
    Topics::new(&world).delete(world.topic()).await;
    eventually("the topic is gone", async || topic_end(&world, world.topic()).is_none()).await;
    // The broker makes it anew for the next row, and it ends where the old one did.
    sql.batch_execute(insert).await.unwrap();
    let finished = capture.wait(DEADLINE);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let again = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.failure().contains("made anew"), "{}", again.failure());
    assert_eq!(world.run(&["capture", "--until", "caught-up", "--accept-gap"]).code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
}

/// Told to stop, capture waits for Kafka no longer than it was given, whatever waits to be written, and the next one goes on
/// exactly.
#[tokio::test]
async fn sigterm_is_obeyed_in_time_while_a_large_transaction_waits_for_a_broker_that_stands_still() {
    let stack = OwnStack::up(&["kafka"], &[]);
    let mut world = World::new("stall_term").await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    world.set("SHUTDOWN_TIMEOUT_SECONDS", STOP_WITHIN.as_secs().to_string());
    world.init(3);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let large = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                 SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserUpdated', jsonb_build_object('bio', repeat('x', 300)) \
                 FROM generate_series(1, 50000)";
    let started = async |world: &World| {
        let mut capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
        capture
    };
    let mut took = Vec::new();
    let mut capture = started(&world).await;
    sql.batch_execute(large).await.unwrap();
    eventually("some of it is written", async || topic_end(&world, world.topic()) > Some(0)).await;
    for _ in 0..2 {
        stack.pause(&["kafka"]);
        // The next one has to wait for Kafka from its start on.
        let stopping = Instant::now();
        let stopped = std::mem::replace(&mut capture, world.start(&["capture"])).stop();
        took.push(stopping.elapsed());
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        if took.len() == 1 {
            capture.event("capture_waiting").await;
        }
    }
    stack.resume(&["kafka"]);
    println!("stopped after {took:.1?}");
    assert!(took.iter().all(|took| *took < STOP_WITHIN + Duration::from_millis(1_500)), "{took:.1?}");
    assert_eq!(capture.stop().code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}
