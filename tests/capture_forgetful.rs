//! `evp capture` and brokers that leave its topics out of what they tell: that looks like a first start, and is none.

use crate::support::{Asked, Forgetful, Running, World, distant_broker, eventually, slot_as_it_was, topic_end};

const ROWS: i64 = 20;
/// What is asked about topics at a start.
const LOOKS: Asked = Asked { kind: 3, client: "evp-tail" };
const FOR_EVER: u32 = u32::MAX;

async fn insert(sql: &tokio_postgres::Client) {
    let statement = format!(
        "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
         SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{{}}' FROM generate_series(1, {ROWS})"
    );
    sql.batch_execute(&statement).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_a_broker_leaves_out_are_asked_for_again_and_no_first_start() {
    let (stack, broker, relayed) = distant_broker();
    let mut world = World::new("forgetful").await;
    let way = Forgetful::between(&relayed, &broker, LOOKS, world.name()).await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    world.init(1);
    let sql = world.sql().await;
    insert(&sql).await;
    // PostgreSQL sends the rows again and again, so that only the ends of the topics tell that they are written.
    slot_as_it_was(&world, async || {
        assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    })
    .await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", relayed);

    way.forget(1);
    slot_as_it_was(&world, async || {
        let finished = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!((finished.code, way.told()), (Some(0), 1), "{finished:?}");
        assert!(!finished.stderr.contains("capture_waiting"), "asking again was enough: {finished:?}");
    })
    .await;
    assert_eq!(topic_end(&world, world.topic()), Some(ROWS), "one answer without the topics makes no first start");

    way.forget(FOR_EVER);
    let mut capture = world.start(&["capture"]);
    let has_said = |capture: &Running, event: &str| !capture.events(event).is_empty();
    eventually("it waits or streams", async || {
        has_said(&capture, "capture_waiting") || has_said(&capture, "streaming_started")
    })
    .await;
    assert!(!has_said(&capture, "streaming_started"), "{:?}", capture.log());
    way.forget(0);
    capture.event("streaming_started").await;
    insert(&sql).await;
    eventually("new rows are written", async || topic_end(&world, world.topic()) >= Some(2 * ROWS)).await;
    assert_eq!(topic_end(&world, world.topic()), Some(2 * ROWS), "nothing is written again");

    way.forget(FOR_EVER);
    let slot_reader = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1";
    sql.execute(slot_reader, &[&world.name()]).await.unwrap();
    let waits_for_record =
        async || capture.events("capture_waiting").iter().any(|line| line.to_string().contains("is not found"));
    eventually("it waits for what it has found before", waits_for_record).await;
    way.forget(0);
    insert(&sql).await;
    eventually("new rows are written", async || topic_end(&world, world.topic()) >= Some(3 * ROWS)).await;
    assert_eq!(capture.stop().code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(3 * ROWS), "nothing is written again");
}
