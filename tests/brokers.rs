//! Both halves on a cluster of two brokers, one of which is away: its partitions have no leader.

use std::time::Duration;

use serde_json::json;

use crate::support::envelopes::{NewRecord, Topics, committed, event, id, produce};
use crate::support::{
    Load, Oracle, OwnStack, World, assert_topic_equals_commits, claim_count, document, eventually, first_broker,
    http_get, second_broker, topic_end, topics,
};

const PUBLICATION: &str = "debezium_publication";

/// A cluster whose second broker leads partition 1 of the world's topic, and nothing else.
async fn two_brokers(test: &str, before_the_second: impl FnOnce(&World)) -> (World, OwnStack, OwnStack) {
    let (first, controller) = first_broker();
    let world = World::on_stack(test, &first).await;
    before_the_second(&world);
    // Makes the topic of the groups' offsets.
    assert_eq!(committed(&world, 1).len(), 0);
    let second = second_broker(&controller);
    let admin = Topics::new(&world);
    if topics(&world).contains_key(world.topic()) {
        admin.delete(world.topic()).await;
        eventually("the topic is gone", async || !topics(&world).contains_key(world.topic())).await;
    }
    admin.create_at(world.topic(), &[1, 2]).await;
    (world, first, second)
}

fn users(partition: i32, numbers: std::ops::Range<u128>) -> Vec<NewRecord> {
    numbers.map(|number| event(partition, number, number, "UserCreated", &json!({}))).collect()
}

async fn applied(world: &World, all: u64) {
    let database = world.mongo().await;
    eventually(&format!("{all} events are applied"), async || claim_count(&database).await == all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_broker_that_is_away_keep_process_from_no_other_partition() {
    let (world, _first, second) = two_brokers("brokers_process", |_| {}).await;
    let process = world.start(&["process"]);
    produce(&world, world.topic(), &[users(0, 0..50), users(1, 50..100)].concat()).await;
    applied(&world, 100).await;
    second.stop(&["kafka"]);
    produce(&world, world.topic(), &users(0, 100..150)).await;
    applied(&world, 150).await;
    assert_eq!(process.stop().code, Some(0));

    produce(&world, world.topic(), &users(0, 150..200)).await;
    let mut process = world.start(&["process"]);
    applied(&world, 200).await;
    second.start(&["kafka"]);
    produce(&world, world.topic(), &users(1, 200..250)).await;
    applied(&world, 250).await;
    assert!(!process.has_ended());
    assert_eq!(process.stop().code, Some(0));
    assert_eq!(committed(&world, 2).values().sum::<i64>(), 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_event_of_a_broker_that_is_away_does_not_become_a_dead_letter() {
    let (mut world, _first, second) = two_brokers("brokers_order", |_| {}).await;
    world.set("RETRY_DELAY_SECONDS", "1.5");
    world.set("MAX_RETRIES", "3");
    produce(&world, world.topic(), &users(1, 0..50)).await;
    second.stop(&["kafka"]);
    let changed = |number| event(0, 1_000 + number, number, "UserUpdated", &json!({ "first_name": "changed" }));
    produce(&world, world.topic(), &(0..50).map(changed).collect::<Vec<_>>()).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains("no leader"));
    eventually("readiness tells of it", is_told).await;
    // Several times as long as a predecessor is waited for otherwise.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(is_told().await);
    second.start(&["kafka"]);
    applied(&world, 100).await;
    let database = world.mongo().await;
    for number in 0..50 {
        eventually("all are changed", async || {
            let user = document(&database, "users", &id(number)).await;
            user.is_some_and(|user| user.get_str("first_name").is_ok_and(|name| name == "changed"))
        })
        .await;
    }
    eventually("it is ready", async || matches!(http_get(&address, "/readyz").await, Some((200, _)))).await;
    assert_eq!(process.stop().code, Some(0));
    assert!(!topics(&world).contains_key(&format!("{}.dlq", world.topic())), "an event became a dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_waits_for_a_broker_that_is_away_and_goes_on_exactly() {
    let (world, _first, second) = two_brokers("brokers_capture", |world| world.init(1)).await;
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), PUBLICATION).await;
    let start = async || {
        let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
        let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
        (capture, address)
    };
    let is_told =
        async |address: &str| matches!(http_get(address, "/readyz").await, Some((503, why)) if why.contains("Kafka"));
    let (mut capture, address) = start().await;
    capture.event("streaming_started").await;
    let load = Load::paced(&world, 200, Duration::from_secs(20)).await;
    eventually("rows arrive", async || topic_end(&world, world.topic()) > Some(500)).await;
    second.kill(&["kafka"]);
    eventually("readiness tells of it", async || is_told(&address).await).await;
    assert!(!capture.has_ended());
    assert_eq!(capture.stop().code, Some(0));

    let (mut capture, address) = start().await;
    eventually("a start tells of it, too", async || is_told(&address).await).await;
    assert!(!capture.has_ended());
    second.start(&["kafka"]);
    load.finish().await;
    let written = i64::try_from(oracle.committed(&sql).await.len()).unwrap();
    eventually("all rows are in Kafka", async || topic_end(&world, world.topic()) == Some(written)).await;
    eventually("it is ready", async || matches!(http_get(&address, "/readyz").await, Some((200, _)))).await;
    let finished = capture.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_topic_equals_commits(&world, &oracle).await;
}
