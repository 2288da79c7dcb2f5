//! `evp process` on a topic that is not the one that was applied, that lost its beginning or end, or that grew partitions.

use bson::doc;
use serde_json::json;

use crate::support::envelopes::{
    NewRecord, Topics, committed, event, id, process, produce, reset_offset, topic_is_made_anew, world_with,
};
use crate::support::{DEADLINE, World, claim_count, document, eventually};

const ACTIVITY: u128 = 900_000;

/// So many events: users, an activity, and for three of five events a join of it.
fn events(from: u128, count: u128) -> Vec<NewRecord> {
    let one = |number: u128| match number % 5 {
        _ if number == from => event(0, number, ACTIVITY, "ActivityCreated", &json!({})),
        0 | 1 => event(0, number, number, "UserCreated", &json!({})),
        _ => event(0, number, ACTIVITY, "ParticipantJoined", &json!({ "user_id": id(number) })),
    };
    (from..from + count).map(one).collect()
}

/// Users and participants in the read models.
async fn counts(world: &World) -> (i64, i32) {
    let database = world.mongo().await;
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    let activity = document(&database, "activities", &id(ACTIVITY)).await.unwrap();
    let joined = activity.get_document("participants").unwrap().get_i32("current_count").unwrap();
    (statistics.get_i64("total_users").unwrap(), joined)
}

/// What `events` are to make.
fn expected(events: &[NewRecord]) -> (i64, i32) {
    let of = |kind: &str| {
        let is_of = |event: &&NewRecord| String::from_utf8_lossy(event.value.as_ref().unwrap()).contains(kind);
        events.iter().filter(is_of).count()
    };
    (i64::try_from(of("UserCreated")).unwrap(), i32::try_from(of("ParticipantJoined")).unwrap())
}

async fn source(world: &World) -> bson::Document {
    let sources = world.mongo().await.collection::<bson::Document>("evp_sources");
    sources.find_one(doc! { "_id": { "$ne": null } }).await.unwrap().unwrap()
}

fn refused(world: &World) -> String {
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    refused.failure()
}

fn accepted(world: &World) {
    let accepted = world.run(&["process", "--until", "caught-up", "--accept-new-topic"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
}

#[tokio::test]
async fn a_topic_made_anew_that_has_grown_past_the_old_offset_is_refused_and_accepted_without_loss() {
    let old = events(0, 50);
    let world = world_with("topic_grown", 1, &old).await;
    process(&world);
    assert_eq!(counts(&world).await, expected(&old));
    topic_is_made_anew(&world, 1).await;
    // Some events again and others that are new, in another order, well past the old offset.
    let mut anew = events(1_000, 20);
    anew.remove(0);
    anew.extend(events(0, 50));
    anew.extend(events(2_000, 30).into_iter().skip(1));
    produce(&world, world.topic(), &anew).await;
    let number = source(&world).await.get_i32("s").unwrap();
    let failure = refused(&world);
    for part in [world.topic(), "[0]", "offset 4", "--to-earliest", "--accept-new-topic", "30 days"] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    refused(&world);
    assert_eq!(counts(&world).await, expected(&old));
    assert_eq!(source(&world).await.get_i32("s").unwrap(), number, "the watermarks were voided");
    // As an older broker, which keeps the group's offset, and as the remedy says.
    reset_offset(&world, 50);
    refused(&world);
    reset_offset(&world, 0);
    refused(&world);
    accepted(&world);
    assert_eq!(counts(&world).await, expected(&anew));
    assert_eq!(claim_count(&world.mongo().await).await, 98);
    // The flag is for one start, and does nothing where there is nothing to accept.
    let number = source(&world).await.get_i32("s").unwrap();
    process(&world);
    accepted(&world);
    assert_eq!(source(&world).await.get_i32("s").unwrap(), number);
}

#[tokio::test]
async fn a_topic_made_anew_while_it_is_read_that_has_grown_past_where_it_was_is_refused() {
    let world = world_with("topic_running", 1, &events(0, 10)).await;
    let process = world.start(&["process"]);
    eventually("all is applied", async || committed(&world, 1) == [(0, 10)].into()).await;
    // Between two of its fetches.
    process.pause();
    topic_is_made_anew(&world, 1).await;
    produce(&world, world.topic(), &events(100, 40)).await;
    process.resume();
    let halted = process.wait(DEADLINE);
    assert_eq!(halted.code, Some(2), "{halted:?}");
    let failure = halted.failure();
    assert!(failure.contains("is another record") && failure.contains("--accept-new-topic"), "{failure}");
    refused(&world);
    reset_offset(&world, 0);
    accepted(&world);
    let all: Vec<NewRecord> = events(0, 10).into_iter().chain(events(100, 40)).collect();
    assert_eq!(counts(&world).await, expected(&all));
}

#[tokio::test]
async fn another_group_on_the_database_is_not_misled_by_a_topic_made_anew_either() {
    let mut world = world_with("topic_groups", 1, &events(0, 10)).await;
    let first = world.variable("KAFKA_GROUP_ID").to_owned();
    process(&world);
    world.set("KAFKA_GROUP_ID", format!("{first}.second$"));
    process(&world);
    topic_is_made_anew(&world, 1).await;
    produce(&world, world.topic(), &events(100, 40)).await;
    world.set("KAFKA_GROUP_ID", format!("{first}-third"));
    refused(&world);
    accepted(&world);
    // The others have applied the former topic, which is for each of them to be decided, and the number stays.
    let number = source(&world).await.get_i32("s").unwrap();
    for group in [first.clone(), format!("{first}.second$")] {
        world.set("KAFKA_GROUP_ID", group);
        refused(&world);
        accepted(&world);
        process(&world);
    }
    assert_eq!(source(&world).await.get_i32("s").unwrap(), number);
    let all: Vec<NewRecord> = events(0, 10).into_iter().chain(events(100, 40)).collect();
    assert_eq!(counts(&world).await, expected(&all));
}

#[tokio::test]
async fn offsets_and_records_that_both_expired_are_a_gap_and_not_a_new_beginning() {
    let user = |number| event(0, number, number, "UserCreated", &json!({}));
    let mut world = world_with("topic_expired", 1, &(0..10).map(user).collect::<Vec<_>>()).await;
    process(&world);
    let topics = Topics::new(&world);
    produce(&world, world.topic(), &(10..30).map(user).collect::<Vec<_>>()).await;
    topics.delete_group(&world).await;
    for reset in ["earliest", "latest"] {
        world.set("KAFKA_AUTO_OFFSET_RESET", reset);
        topics.delete_records_before(world.topic(), 15).await;
        assert!(refused(&world).contains("offsets 10 to 14"), "{reset}");
    }
    // The remedy, after which the records that are left are applied.
    reset_offset(&world, 15);
    process(&world);
    assert_eq!(claim_count(&world.mongo().await).await, 25);
}

#[tokio::test]
async fn latest_skips_nothing_of_a_topic_that_the_group_has_read() {
    let user = |partition, number| event(partition, number, number, "UserCreated", &json!({}));
    let mut world = world_with("topic_latest", 1, &[user(0, 1)]).await;
    world.set("KAFKA_AUTO_OFFSET_RESET", "latest");
    let mut process = world.start(&["process"]);
    process.event("partitions_assigned").await;
    produce(&world, world.topic(), &[user(0, 2)]).await;
    eventually("it is committed", async || committed(&world, 1) == [(0, 2)].into()).await;
    assert_eq!(process.stop().code, Some(0));
    // The broker forgets the group, and the topic gets another partition.
    let topics = Topics::new(&world);
    topics.delete_group(&world).await;
    topics.grow(world.topic(), 2).await;
    produce(&world, world.topic(), &[user(0, 3), user(1, 4)]).await;
    crate::support::envelopes::process(&world);
    assert_eq!(claim_count(&world.mongo().await).await, 3, "the first, from before the group, stays skipped");
}

#[tokio::test]
async fn a_partition_that_is_added_while_the_end_is_read_is_read_from_its_beginning() {
    let user = |partition, number| event(partition, number, number, "UserCreated", &json!({}));
    let mut world = world_with("topic_added", 1, &[user(0, 1)]).await;
    world.set("KAFKA_AUTO_OFFSET_RESET", "latest");
    let mut process = world.start(&["process", "--kafka", "topic.metadata.refresh.interval.ms=2000"]);
    process.event("partitions_assigned").await;
    let topics = Topics::new(&world);
    topics.grow(world.topic(), 2).await;
    produce(&world, world.topic(), &[user(1, 2), user(1, 3)]).await;
    eventually("the added partition is read", async || committed(&world, 2).get(&1) == Some(&2)).await;
    assert_eq!(process.stop().code, Some(0));
    assert_eq!(claim_count(&world.mongo().await).await, 2);
}

/// Retention and compaction remove the records that were kept in mind, and a quiet life goes on.
#[tokio::test]
async fn witnesses_that_retention_or_compaction_has_removed_say_nothing() {
    let user = |number| event(0, number, number, "UserCreated", &json!({}));
    let world = world_with("topic_retention", 1, &[user(1), user(2), user(3)]).await;
    process(&world);
    let topics = Topics::new(&world);
    topics.delete_records_before(world.topic(), 3).await;
    process(&world);
    produce(&world, world.topic(), &[user(4), user(5)]).await;
    process(&world);
    // A replay from the earliest record there is.
    reset_offset(&world, 3);
    process(&world);
    assert_eq!(claim_count(&world.mongo().await).await, 5);
}

#[tokio::test]
async fn every_partition_is_compared_at_a_start() {
    let user = |partition, number| event(partition, number, number, "UserCreated", &json!({}));
    let world = world_with("topic_each", 3, &[user(0, 1), user(1, 2), user(2, 3)]).await;
    for number in 10..13 {
        let finished = process(&world);
        assert!(!finished.stderr.contains("kafka_unavailable"), "{}", finished.stderr);
        produce(&world, world.topic(), &[user(0, number), user(2, number + 10)]).await;
    }
    topic_is_made_anew(&world, 3).await;
    // Only the last partition has grown past what was applied.
    let grown: Vec<NewRecord> = (100..120).map(|number| user(2, number)).collect();
    produce(&world, world.topic(), &[user(0, 200), user(0, 201), user(0, 202), user(1, 203)]).await;
    produce(&world, world.topic(), &grown).await;
    refused(&world);
    accepted(&world);
    assert_eq!(claim_count(&world.mongo().await).await, 3 + 4 + 24);
}
