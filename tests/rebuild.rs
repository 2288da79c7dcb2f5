//! `evp rebuild`: a collection is made anew while members write it and readers read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use mongodb::Database;
use mongodb::options::ReadConcern;
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, event, id, process, produce, reset_offset, world_with};
use crate::support::{DEADLINE, Finished, Running, World, claim_count, document, eventually, read_models};

const PARTITIONS: i32 = 2;

fn user(number: u128) -> NewRecord {
    let payload =
        json!({ "email": format!("{number}@example.org"), "first_name": "Ada", "last_name": format!("N{number}") });
    event((number % 2) as i32, number, number, "UserCreated", &payload)
}

/// A change of the user `of`.
fn change(number: u128, of: u128) -> NewRecord {
    event((of % 2) as i32, number, of, "UserUpdated", &json!({ "last_name": format!("L{number}") }))
}

fn users(numbers: std::ops::Range<u128>) -> Vec<NewRecord> {
    numbers.map(user).collect()
}

/// The result of a rebuild that has to be done.
fn rebuilt(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap()
}

fn rebuild(world: &World, flags: &[&str]) -> Finished {
    world.run(&[&["rebuild", "users", "--json"], flags].concat())
}

/// The read models that another group makes of the topic in another database.
async fn fresh_fold(world: &World) -> Vec<(String, Vec<Document>)> {
    let name = format!("{}_fresh", world.name());
    let mut command = world.command(&["process", "--until", "caught-up"]);
    command.env("MONGODB_DATABASE", &name).env("KAFKA_GROUP_ID", &name);
    let finished = Running::spawn(command).wait(DEADLINE);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let database = world.mongo().await.client().database(&name);
    let models = read_models(&database, false).await;
    database.drop().await.unwrap();
    models
}

async fn names(database: &Database, part: &str) -> Vec<String> {
    let mut names = database.list_collection_names().await.unwrap();
    names.retain(|name| name.contains(part));
    names
}

async fn applied(database: &Database, events: u64) {
    eventually(&format!("{events} events are applied"), async || claim_count(database).await == events).await;
}

/// Waits until all of the topic is committed.
async fn all_committed(world: &World, events: i64) {
    eventually(&format!("{events} events are committed"), async || {
        committed(world, PARTITIONS).values().sum::<i64>() == events
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_documents_are_right_again_and_the_old_ones_are_kept_until_told() {
    let mut records = users(0..40);
    records.extend((0..40).map(|number| change(100 + number, number)));
    let world = world_with("rebuild_damage", PARTITIONS, &records).await;
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    let collection = database.collection::<Document>("users");
    let before = read_models(&database, true).await;
    collection.update_one(doc! { "_id": id(3) }, doc! { "$set": { "email": "damaged" } }).await.unwrap();
    collection.delete_one(doc! { "_id": id(4) }).await.unwrap();
    let damaged = collection.count_documents(doc! {}).await.unwrap();

    let looked = rebuilt(&rebuild(&world, &["--dry-run"]));
    assert_eq!(
        (&looked["changed"], &looked["added"], &looked["replaced"]),
        (&1.into(), &1.into(), &false.into()),
        "{looked}"
    );
    assert_eq!(looked["changed_examples"][0], json!({ "id": id(3), "fields": ["email"] }));
    assert_eq!(document(&database, "users", &id(4)).await, None, "a dry run replaces nothing");

    let done = rebuilt(&rebuild(&world, &[]));
    assert_eq!(read_models(&database, true).await, before, "{done}");
    let kept = done["kept"].as_str().unwrap().to_owned();
    let old = database.collection::<Document>(&kept);
    assert_eq!(old.count_documents(doc! {}).await.unwrap(), damaged);
    assert_eq!(old.find_one(doc! { "_id": id(3) }).await.unwrap().unwrap().get_str("email").unwrap(), "damaged");
    assert_eq!(names(&database, "rebuild_").await, Vec::<String>::new());
    let indexes = collection.list_index_names().await.unwrap();
    assert!(indexes.iter().any(|name| name.contains("email")), "{indexes:?}");

    let unasked = world.run(&["rebuild", "users", "--drop-old"]);
    assert_eq!(unasked.code, Some(64), "{unasked:?}");
    assert_eq!(names(&database, "before_").await, [kept]);
    assert_eq!(world.run(&["rebuild", "users", "--drop-old", "--yes"]).code, Some(0));
    assert_eq!(names(&database, "before_").await, Vec::<String>::new());

    // What comes later is applied to the new one.
    produce(&world, world.topic(), &[change(300, 3), user(301)]).await;
    process(&world);
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_less_while_members_write() {
    let world = Arc::new(world_with("rebuild_live", PARTITIONS, &users(0..3_000)).await);
    world.init(1);
    let mut members = [world.start(&["process"]), world.start(&["process"])];
    for member in &mut members {
        member.event("partitions_assigned").await;
    }
    let database = world.mongo().await;
    applied(&database, 3_000).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
        async move {
            let mut next = 3_000_u128;
            while !is_over.load(Ordering::Relaxed) {
                let new: Vec<NewRecord> =
                    (next..next + 20).flat_map(|number| [user(number), change(100_000 + number, number)]).collect();
                produce(&world, world.topic(), &new).await;
                next += 20;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            next
        }
    });
    let reader = tokio::spawn({
        let (database, is_over) = (database.clone(), Arc::clone(&is_over));
        async move {
            let (mut most, mut reads) = (0, 0_u32);
            let users = database.collection::<Document>("users");
            while !is_over.load(Ordering::Relaxed) {
                let counted = users.count_documents(doc! {}).read_concern(ReadConcern::majority()).await;
                // A look that the exchange interrupts is told so, and shows nothing.
                let Ok(counted) = counted else { continue };
                assert!(counted >= most, "{counted} documents after {most}");
                (most, reads) = (counted, reads + 1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            reads
        }
    });
    for _ in 0..2 {
        let done = rebuilt(&Running::spawn(world.command(&["rebuild", "users", "--json"])).wait(DEADLINE));
        assert_eq!(
            (&done["replaced"], &done["changed"], &done["removed"]),
            (&true.into(), &0.into(), &0.into()),
            "{done}"
        );
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    assert!(reader.await.unwrap() > 100);
    let events = u64::try_from(2 * last - 3_000).unwrap();
    applied(&database, events).await;
    all_committed(&world, i64::try_from(events).unwrap()).await;
    for member in members {
        assert_eq!(member.events("kafka_client_replaced").len(), 0, "who has stopped goes on at once");
        assert_eq!(member.events("collection_replaced").len(), 2);
        assert_eq!(member.stop().code, Some(0));
    }
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_slept_across_the_swap_writes_nothing_to_the_new_collection_and_loses_nothing() {
    let world = world_with("rebuild_sleeper", PARTITIONS, &users(0..200)).await;
    world.init(1);
    let mut members = [world.start(&["process"]), world.start(&["process"])];
    for member in &mut members {
        member.event("partitions_assigned").await;
    }
    let database = world.mongo().await;
    all_committed(&world, 200).await;
    // Records are on their way into the sleeper when it falls asleep.
    produce(&world, world.topic(), &users(200..4_000)).await;
    members[0].pause();
    let done = rebuilt(&rebuild(&world, &[]));
    assert_eq!(done["replaced"], true, "{done}");
    produce(&world, world.topic(), &users(4_000..4_200)).await;
    members[0].resume();
    applied(&database, 4_200).await;
    all_committed(&world, 4_200).await;
    // It goes on with the new collection, also if it is the only one.
    let [sleeper, other] = members;
    assert_eq!(other.stop().code, Some(0));
    produce(&world, world.topic(), &users(4_200..4_300)).await;
    applied(&database, 4_300).await;
    all_committed(&world, 4_300).await;
    assert_eq!(sleeper.stop().code, Some(0));
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_meant_for_the_old_collection_is_refused() {
    let world = world_with("rebuild_zombie", PARTITIONS, &users(0..100)).await;
    world.init(1);
    let mut member = world.start(&["process"]);
    member.event("partitions_assigned").await;
    all_committed(&world, 100).await;
    member.pause();
    let database = world.mongo().await;
    // Nobody is in the group once its session is over.
    let done = rebuilt(&rebuild(&world, &[]));
    assert_eq!(done["replaced"], true, "{done}");
    produce(&world, world.topic(), &users(100..300)).await;
    member.resume();
    applied(&database, 300).await;
    all_committed(&world, 300).await;
    assert_eq!(member.events("kafka_client_replaced").len(), 1, "{:?}", member.log());
    assert_eq!(member.stop().code, Some(0));
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
}

/// What a member has applied to the old collection, and commits after the swap, is read again for the new one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_behind_the_end_of_the_new_collection_is_read_again_once() {
    let numbers: Vec<NewRecord> = (0..50).map(|number| user(2 * number)).collect();
    let world = world_with("rebuild_floor", PARTITIONS, &numbers).await;
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    reset_offset(&world, 30);
    let refused = rebuild(&world, &[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.failure().contains("20 documents"), "{refused:?}");
    rebuilt(&rebuild(&world, &["--accept-loss"]));
    assert_eq!(database.collection::<Document>("users").count_documents(doc! {}).await.unwrap(), 30);
    reset_offset(&world, 50);
    let first = process(&world);
    assert!(first.stderr.contains("partition_read_again"), "{first:?}");
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
    eventually("its offset is committed again", async || committed(&world, 1) == [(0, 50)].into()).await;
    let second = process(&world);
    assert!(!second.stderr.contains("partition_read_again"), "once: {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rebuild_leaves_nothing_that_the_next_one_does_not_remove() {
    let world = world_with("rebuild_killed", PARTITIONS, &users(0..4_000)).await;
    world.init(1);
    let mut member = world.start(&["process"]);
    member.event("partitions_assigned").await;
    let database = world.mongo().await;
    all_committed(&world, 4_000).await;
    let mut next = 4_000;
    for stage in ["reading", "gate"] {
        let running = world.start(&["rebuild", "users", "--json"]);
        eventually(&format!("it is {stage}"), async || match stage {
            "reading" => !names(&database, "rebuild_").await.is_empty(),
            _ => {
                let gates = database.collection::<Document>("evp_rebuilds");
                gates.count_documents(doc! { "gate": { "$exists": true } }).await.unwrap() > 0
            }
        })
        .await;
        running.kill();
        produce(&world, world.topic(), &users(next..next + 50)).await;
        next += 50;
        applied(&database, u64::try_from(next).unwrap()).await;
    }
    let mut running = world.start(&["rebuild", "users", "--json"]);
    running.event("rebuild_started").await;
    let stopped = running.stop();
    assert!(stopped.code == Some(1) && stopped.failure().contains("nothing was changed"), "{stopped:?}");
    assert_eq!(names(&database, "rebuild_").await, Vec::<String>::new(), "who is told to stop cleans up");
    rebuilt(&rebuild(&world, &[]));
    assert_eq!(names(&database, "rebuild_").await, Vec::<String>::new());
    assert_eq!(names(&database, "before_").await.len(), 1, "a killed one keeps no copy beside it");
    all_committed(&world, i64::try_from(next).unwrap()).await;
    assert_eq!(member.stop().code, Some(0));
    assert_eq!(read_models(&database, false).await, fresh_fold(&world).await);
}

/// An event that is a dead letter, one that was repaired, and one that is told of again.
#[tokio::test(flavor = "multi_thread")]
async fn what_processing_has_decided_is_decided_so_in_the_rebuild() {
    let bad = |number, of: u128| event((of % 2) as i32, number, of, "UserUpdated", &json!({ "email": 7 }));
    let again = NewRecord { partition: 1, ..user(2) };
    let records = [user(2), user(4), bad(10, 2), change(11, 4), again, change(12, 6), bad(13, 4)];
    let mut world = world_with("rebuild_decided", PARTITIONS, &records).await;
    world.set("MAX_RETRIES", "0");
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    // The row behind one of them is corrected.
    let mut corrected = change(10, 2);
    let text = String::from_utf8(corrected.value.clone().unwrap()).unwrap();
    corrected.value = Some(text.replace(r#""op":"c""#, r#""op":"u""#).into_bytes());
    produce(&world, world.topic(), &[corrected]).await;
    process(&world);
    let before = read_models(&database, true).await;
    assert_eq!(before[0].1[0].get_str("last_name").unwrap(), "L10", "it was repaired");
    let done = rebuilt(&rebuild(&world, &[]));
    assert_eq!((&done["left_out"], &done["changed"]), (&0.into(), &0.into()), "{done}");
    assert_eq!(read_models(&database, true).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_hold_everything_is_refused() {
    let world = world_with("rebuild_truncated", 1, &(0..20).map(|number| user(2 * number)).collect::<Vec<_>>()).await;
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    let before = read_models(&database, true).await;
    let topics = Topics::new(&world);
    topics.delete_records_before(world.topic(), 5).await;
    let refused = rebuild(&world, &[]);
    assert!(refused.code == Some(2) && refused.failure().contains("offset 5"), "{refused:?}");
    topics.set(world.topic(), "cleanup.policy", "compact").await;
    eventually("the topic is compacted", async || {
        topics.setting(world.topic(), "cleanup.policy").await.as_deref() == Some("compact")
    })
    .await;
    let refused = rebuild(&world, &[]);
    assert!(refused.code == Some(2) && refused.failure().contains("compacted"), "{refused:?}");
    assert_eq!(read_models(&database, true).await, before);
    let unknown = world.run(&["rebuild", "usres"]);
    assert!(unknown.code == Some(64) && unknown.failure().contains("activities, statistics, users"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_slept_while_another_was_done_changes_nothing() {
    let world = world_with("rebuild_two", PARTITIONS, &users(0..3_000)).await;
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    let before = read_models(&database, true).await;
    let mut sleeper = world.start(&["rebuild", "users", "--json"]);
    sleeper.event("rebuild_started").await;
    sleeper.pause();
    rebuilt(&rebuild(&world, &[]));
    sleeper.resume();
    let ended = sleeper.wait(DEADLINE);
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    assert_eq!(read_models(&database, true).await, before);
    assert_eq!(names(&database, "rebuild_").await, Vec::<String>::new());
    assert_eq!(names(&database, "before_").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_any_more_is_left_out_only_if_that_is_accepted() {
    let world = world_with("rebuild_loss", PARTITIONS, &users(0..10)).await;
    world.init(1);
    process(&world);
    let database = world.mongo().await;
    let rule = doc! { "collMod": "users", "validator": { "email": { "$ne": "5@example.org" } } };
    database.run_command(rule).await.unwrap();
    let refused = rebuild(&world, &[]);
    let told = refused.failure();
    assert!(refused.code == Some(2) && told.contains("1 effects") && told.contains(&id(5)), "{refused:?}");
    assert!(document(&database, "users", &id(5)).await.is_some());
    let done = rebuilt(&rebuild(&world, &["--accept-loss", "--sample", "5"]));
    assert_eq!(done["left_out"], 1, "{done}");
    assert!(document(&database, "users", &id(5)).await.is_none());
    assert_eq!(database.collection::<Document>("users").count_documents(doc! {}).await.unwrap(), 9);
}
