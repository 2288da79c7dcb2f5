//! `evp process`: an event whose document another partition is still to bring waits for that partition, however late it is.

use std::time::Duration;

use bson::doc;
use serde_json::json;

use crate::support::envelopes::{NewRecord, committed, event, process, produce, world_with};
use crate::support::{World, claim_count, eventually, records};

/// Activities that an update of each waits for.
const ACTIVITIES: u128 = 23_000;

fn created(number: u128) -> NewRecord {
    event(0, 1_000_000 + number, number, "ActivityCreated", &json!({ "title": "a", "creator_user_id": "c" }))
}

fn updated(partition: i32, number: u128) -> NewRecord {
    event(partition, 2_000_000 + number, number, "ActivityUpdated", &json!({ "title": "b" }))
}

fn filler(number: u128) -> NewRecord {
    event(0, 3_000_000 + number, 500_000 + number, "UserCreated", &json!({ "email": "e" }))
}

async fn renamed(world: &World) -> u64 {
    world.mongo().await.collection::<bson::Document>("activities").count_documents(doc! { "title": "b" }).await.unwrap()
}

/// More wait than there is room for, and what they wait for is in the partition that is behind.
#[tokio::test]
async fn a_full_waiting_room_keeps_the_partition_that_is_behind_open() {
    let mut history: Vec<NewRecord> = (0..20_000).map(filler).collect();
    history.extend((0..ACTIVITIES).flat_map(|number| [created(number), updated(1, number)]));
    let mut world = world_with("lagging_room", 2, &history).await;
    world.set("MAX_RETRIES", "0");
    process(&world);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 0);
    assert_eq!(u128::from(renamed(&world).await), ACTIVITIES);
}

/// A member that stands still has the partition with the documents; nobody takes it from there for longer than all attempts last.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_partition_of_a_member_that_stands_still() {
    let mut world = world_with("lagging_member", 2, &[]).await;
    world.set("MAX_RETRIES", "1");
    let mut first = world.start(&["process", "--kafka", "session.timeout.ms=40000"]);
    first.event("partitions_assigned").await;
    let mut second = world.start(&["process", "--kafka", "session.timeout.ms=40000"]);
    second.event("partitions_assigned").await;
    let database = world.mongo().await;
    produce(&world, world.topic(), &[created(1), updated(1, 1)]).await;
    eventually("both partitions are read", async || renamed(&world).await == 1).await;
    // Range assignment: the member with the lower id has partition 0.
    let assigned = second.events("partitions_assigned").last().unwrap()["partitions"].to_string();
    let (slow, quick) = if assigned.contains('0') { (second, first) } else { (first, second) };
    slow.pause();
    produce(
        &world,
        world.topic(),
        &(2..40).flat_map(|number| [created(number), updated(1, number)]).collect::<Vec<_>>(),
    )
    .await;
    eventually("the updates are claimed", async || claim_count(&database).await == 2 + 38).await;
    // Ten times as long as all attempts last.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 0);
    slow.resume();
    eventually("every update is applied", async || renamed(&world).await == 39).await;
    eventually("everything is committed", async || committed(&world, 2).values().sum::<i64>() == 78).await;
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 0);
    assert_eq!((slow.stop().code, quick.stop().code), (Some(0), Some(0)));
}

/// What nobody brings is given up although other partitions exist, and the wait has a bound.
#[tokio::test]
async fn an_event_whose_document_is_nowhere_is_given_up_once_all_partitions_are_read() {
    let world = world_with("lagging_orphans", 3, &[created(1), updated(1, 1), updated(1, 2), updated(2, 3)]).await;
    let finished = process(&world);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 2, "{finished:?}");
    assert_eq!(renamed(&world).await, 1);
}
