//! `evp capture` with brokers that take long to answer.

use std::time::Duration;

use crate::support::{
    DEADLINE, Oracle, World, assert_topic_equals_commits, distant_broker, eventually, relay, topic_end,
};

const PUBLICATION: &str = "debezium_publication";
const ONE_WAY: Duration = Duration::from_millis(50);
const TRANSACTIONS: u32 = 12;
const ROWS: u32 = 1_000;
const PAYLOAD_BYTES: u32 = 10_000;
const PARTITIONS: u32 = 6;
/// Where the broker is near, two are on their way, and a question to it may stand beside them.
const UNANSWERED_MIN: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_keeps_the_way_to_a_broker_that_is_far_away_filled() {
    let (stack, distant, relayed) = distant_broker();
    let unanswered = relay(&relayed, &distant, ONE_WAY).await;
    let mut world = World::new("distant").await;
    let near = stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone();
    world.set("KAFKA_BOOTSTRAP_SERVERS", near.clone());
    world.init(PARTITIONS);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let insert = format!(
        "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
         SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserUpdated', \
                jsonb_build_object('bio', repeat(md5(n::text), {PAYLOAD_BYTES} / 32)) \
         FROM generate_series(1, {ROWS}) AS numbers (n)"
    );
    for _ in 0..TRANSACTIONS {
        sql.batch_execute(&insert).await.unwrap();
    }
    world.set("KAFKA_BOOTSTRAP_SERVERS", relayed);
    let mut capture = world.start(&["capture", "--until", "caught-up"]);
    capture.event("streaming_started").await;
    let finished = capture.wait(DEADLINE);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    world.set("KAFKA_BOOTSTRAP_SERVERS", near);
    eventually("all rows are there", async || topic_end(&world, world.topic()) == Some((TRANSACTIONS * ROWS).into()))
        .await;
    assert_topic_equals_commits(&world, &oracle).await;
    assert!(unanswered.most() >= UNANSWERED_MIN, "{unanswered:?}");
}
