//! `evp process`: what it writes and what it refuses.

use bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, envelope, event, id, produce, reset_offset, row};
use crate::support::envelopes::{process, produce_compressed, world_with};
use crate::support::{DEADLINE, Running, World, document, eventually, read_models, records};

const USER: u128 = 1_001;
const ACTIVITY: u128 = 2_001;

/// When the row with that number was created, as documents hold it.
fn at(number: i64) -> DateTime {
    DateTime::from_millis(1_767_225_600_250 + number * 1_000)
}

/// Rows for each of the six handlers.
fn rows_of_every_type() -> Vec<(u128, &'static str, Value)> {
    vec![
        (
            USER,
            "UserCreated",
            json!({ "email": "ada@example.org", "username": "ada", "first_name": "Ada",
            "last_name": "Byron", "bio": "$set", "avatar_url": null }),
        ),
        (
            ACTIVITY,
            "ActivityCreated",
            json!({ "title": "Chess", "description": "a.b", "creator_user_id": id(USER).to_uppercase(),
            "activity_type": "game", "location_name": "Park", "location_address": "1 Road",
            "location_coordinates": { "latitude": 52.5, "longitude": 13.4 }, "start_date": "2026-12-01T10:00:00Z",
            "end_date": "2026-12-01T12:00:00Z", "timezone": "Europe/Berlin", "max_participants": 8 }),
        ),
        (USER, "UserUpdated", json!({ "last_name": "Lovelace", "bio": "first programmer" })),
        (ACTIVITY, "ActivityUpdated", json!({ "title": "Blitz", "location_name": "Hall", "description": null })),
        (ACTIVITY, "ParticipantJoined", json!({ "user_id": id(USER) })),
        (ACTIVITY, "ParticipantJoined", json!({ "user_id": id(USER) })),
        (ACTIVITY, "ParticipantJoined", json!({ "user_id": id(7) })),
    ]
}

fn events_of_every_type() -> Vec<NewRecord> {
    let rows = rows_of_every_type();
    (1..).zip(&rows).map(|(number, (aggregate, kind, payload))| event(0, number, *aggregate, kind, payload)).collect()
}

fn expected_models() -> Vec<(String, Vec<Document>)> {
    let user = doc! {
        "_id": id(USER), "email": "ada@example.org", "username": "ada", "name": "Ada Lovelace",
        "first_name": "Ada", "last_name": "Lovelace", "profile": { "bio": "first programmer", "avatar_url": null },
        "metadata": { "created_at": at(1), "updated_at": at(3), "source_event_id": id(1), "last_event_id": id(3) },
        "allowed_users": [id(USER)],
    };
    let joined = |user: u128, number| doc! { "user_id": id(user), "joined_at": at(number), "status": "confirmed" };
    let activity = doc! {
        "_id": id(ACTIVITY), "title": "Blitz", "description": null, "creator_id": id(USER), "type": "game",
        "location": { "name": "Hall", "address": "1 Road",
            "coordinates": { "type": "Point", "coordinates": [13.4, 52.5] } },
        "schedule": { "start_date": "2026-12-01T10:00:00Z", "end_date": "2026-12-01T12:00:00Z", "timezone": "Europe/Berlin" },
        "participants": { "current_count": 2, "max_count": 8_i64, "list": [joined(USER, 5), joined(7, 7)] },
        "status": "active",
        "metadata": { "created_at": at(2), "updated_at": at(7), "source_event_id": id(2), "last_event_id": id(7) },
        "allowed_users": [id(USER), id(7)],
    };
    let statistics = doc! { "_id": "global_stats", "total_users": 1_i64, "last_updated": at(1) };
    let models = [("users", user), ("activities", activity), ("statistics", statistics)];
    models.map(|(name, document)| (name.to_owned(), vec![document])).into()
}

#[tokio::test]
async fn each_handler_writes_its_documents_and_a_replay_by_another_group_changes_nothing() {
    let mut world = world_with("proc_docs", 1, &events_of_every_type()).await;
    process(&world);
    assert_eq!(read_models(&world.mongo().await, false).await, expected_models());

    let before = read_models(&world.mongo().await, true).await;
    let group = format!("{}-replay", world.name());
    world.set("KAFKA_GROUP_ID", group);
    process(&world);
    assert_eq!(read_models(&world.mongo().await, true).await, before);
}

#[tokio::test]
async fn every_accepted_form_of_an_envelope_gives_the_same_documents() {
    type Form = fn(u128, u128, &str, &Value) -> Value;
    let payload_as_object: Form = |number, aggregate, kind, payload| {
        let mut row = row(number, aggregate, kind, payload);
        row["payload"] = payload.clone();
        envelope(&row)
    };
    let with_schema: Form = |number, aggregate, kind, payload| {
        let payload = envelope(&row(number, aggregate, kind, payload));
        json!({ "schema": { "type": "struct", "fields": [] }, "payload": payload })
    };
    let with_numbers: Form = |number, aggregate, kind, payload| {
        let mut row = row(number, aggregate, kind, payload);
        row["created_at"] = json!(1_767_225_600_250_750_u64 + u64::try_from(number).unwrap() * 1_000_000);
        row["event_id"] = json!(id(number).to_uppercase());
        json!({ "schema": {}, "payload": { "op": "u", "before": null, "after": row } })
    };
    let with_milliseconds: Form = |number, aggregate, kind, payload| {
        let mut row = row(number, aggregate, kind, payload);
        row["created_at"] = json!(1_767_225_600_250_u64 + u64::try_from(number).unwrap() * 1_000);
        row["sequence_id"] = json!(number.to_string());
        envelope(&row)
    };
    let mut world = World::new("proc_forms").await;
    for (number, form) in [payload_as_object, with_schema, with_numbers, with_milliseconds].into_iter().enumerate() {
        world.mongo().await.drop().await.unwrap();
        let topic = format!("{}.form{number}", world.name());
        Topics::new(&world).create(&topic, 1, &[]).await;
        let rows = rows_of_every_type();
        let value = |number, (aggregate, kind, payload): &(u128, &str, Value)| form(number, *aggregate, kind, payload);
        let values = (1..).zip(&rows).map(|(number, row)| value(number, row).to_string().into_bytes());
        let new: Vec<_> = values.map(|value| NewRecord { value: Some(value), ..NewRecord::default() }).collect();
        produce(&world, &topic, &new).await;
        world.set("KAFKA_TOPIC", topic);
        process(&world);
        assert_eq!(read_models(&world.mongo().await, false).await, expected_models(), "form {number}");
    }
}

async fn counts(world: &World) -> (i64, i32) {
    let database = world.mongo().await;
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    let activity = document(&database, "activities", &id(ACTIVITY)).await.unwrap();
    let participants = activity.get_document("participants").unwrap();
    assert_eq!(participants.get_array("list").unwrap().len(), 20);
    (statistics.get_i64("total_users").unwrap(), participants.get_i32("current_count").unwrap())
}

#[tokio::test]
async fn an_event_that_is_on_several_partitions_or_twice_in_a_batch_counts_once() {
    let mut events = vec![event(0, 500, ACTIVITY, "ActivityCreated", &json!({}))];
    for number in 0..40 {
        let (kind, aggregate, payload) = match number % 2 {
            0 => ("UserCreated", 3_000 + number, json!({})),
            _ => ("ParticipantJoined", ACTIVITY, json!({ "user_id": id(3_000 + number) })),
        };
        for partition in [0, 1, 0, 2, 2] {
            events.push(event(partition, number, aggregate, kind, &payload));
        }
    }
    let world = world_with("proc_twice", 3, &events).await;
    process(&world);
    assert_eq!(counts(&world).await, (20, 20));
    produce(&world, world.topic(), &events).await;
    // Verdicts are read where they are written, whatever the connection string prefers.
    let mut command = world.command(&["process", "--until", "caught-up"]);
    command.env("MONGODB_URI", format!("{}&readPreference=secondary", world.variable("MONGODB_URI")));
    assert_eq!(Running::spawn(command).wait(DEADLINE).code, Some(0));
    assert_eq!(counts(&world).await, (20, 20));
}

/// A run that was killed between claim and effect had read the partitions in another order.
#[tokio::test]
async fn an_event_claimed_by_its_repetition_is_applied_by_the_repetition() {
    let updates: Vec<_> = ["first", "last"].into_iter().zip(3..).collect();
    let mut events = vec![event(0, 1, USER, "UserCreated", &json!({}))];
    events.push(event(0, 2, USER, "UserUpdated", &json!({ "bio": "claimed" })));
    events.push(event(0, 2, USER, "UserUpdated", &json!({ "bio": "claimed" })));
    events.extend(
        updates.iter().map(|(bio, number)| event(0, *number, USER, "UserUpdated", &json!({ "username": bio }))),
    );
    let world = world_with("proc_claimed", 1, &events).await;
    let event_id = bson::Uuid::parse_str(id(2)).unwrap();
    let claim = doc! { "_id": event_id, "s": 1, "p": 0, "o": 2_i64, "at": DateTime::now() };
    world.mongo().await.collection::<Document>("evp_applied_events").insert_one(claim).await.unwrap();
    process(&world);
    let user = document(&world.mongo().await, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "claimed");
    assert_eq!(user.get_str("username").unwrap(), "last");
}

#[tokio::test]
async fn events_keyed_by_row_over_four_partitions_give_the_fold_of_the_rows() {
    let mut world = World::new("proc_shuffled").await;
    world.init(1);
    assert_eq!(world.run(&["generate", "--rate", "0", "--count", "6000", "--seed", "5"]).code, Some(0));
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    let topic = format!("{}.shuffled", world.name());
    Topics::new(&world).create(&topic, 4, &[]).await;
    let mut random = 12_345_u32;
    let mut new = Vec::new();
    for record in records(&world, world.topic()) {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let partition = i32::try_from(random >> 30).unwrap();
        new.push(NewRecord { partition, value: record.value, ..NewRecord::default() });
    }
    produce(&world, &topic, &new).await;
    world.set("KAFKA_TOPIC", topic);
    process(&world);
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())), []);
}

#[tokio::test]
async fn offsets_outside_the_topic_are_refused_and_the_remedy_heals_without_loss() {
    let users =
        |from: u128, count| (from..from + count).map(|n| event(0, n, n, "UserCreated", &json!({}))).collect::<Vec<_>>();
    let world = world_with("proc_gone", 1, &users(1, 10)).await;
    process(&world);
    let topics = Topics::new(&world);
    topics.delete(world.topic()).await;
    eventually("the topic is gone", async || !crate::support::topics(&world).contains_key(world.topic())).await;
    topics.create(world.topic(), 1, &[]).await;
    // Some of the offsets that were applied, with other events.
    produce(&world, world.topic(), &users(5, 8)).await;
    let total = async || {
        let statistics = document(&world.mongo().await, "statistics", "global_stats").await.unwrap();
        statistics.get_i64("total_users").unwrap()
    };
    // Some brokers forget a group's offsets together with the topic, some keep them.
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.failure().contains("--reset-offsets --to-earliest"), "{}", refused.failure());
    assert_eq!(total().await, 10);
    reset_offset(&world, 10);
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    reset_offset(&world, 0);
    let accepted = world.run(&["process", "--until", "caught-up", "--accept-new-topic"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert_eq!(total().await, 12);

    produce(&world, world.topic(), &users(20, 4)).await;
    topics.delete_records_before(world.topic(), 10).await;
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.failure().contains("offsets 8 to 9"), "{}", refused.failure());
    assert_eq!(committed(&world, 1), [(0, 8)].into());
}

#[tokio::test]
async fn a_topic_that_is_made_anew_while_it_is_read_is_refused() {
    let users = |count| (1..=count).map(|n| event(0, n, n, "UserCreated", &json!({}))).collect::<Vec<_>>();
    let world = world_with("proc_anew", 1, &users(10)).await;
    let process = world.start(&["process"]);
    eventually("all is applied", async || committed(&world, 1) == [(0, 10)].into()).await;
    let topics = Topics::new(&world);
    topics.delete(world.topic()).await;
    eventually("the topic is gone", async || !crate::support::topics(&world).contains_key(world.topic())).await;
    topics.create(world.topic(), 1, &[]).await;
    produce(&world, world.topic(), &users(8)).await;
    let halted = process.wait(DEADLINE);
    assert_eq!(halted.code, Some(2), "{halted:?}");
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.failure().contains("--reset-offsets --to-earliest"), "{}", refused.failure());
}

#[tokio::test]
async fn records_are_read_however_they_are_compressed() {
    let world = world_with("proc_codecs", 1, &[]).await;
    for (number, codec) in (1..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let user = event(0, number, number, "UserCreated", &json!({ "bio": "x".repeat(10_000) }));
        produce_compressed(&world, world.topic(), &[user], codec).await;
    }
    process(&world);
    assert_eq!(world.mongo().await.collection::<Document>("users").count_documents(doc! {}).await.unwrap(), 5);
}

#[tokio::test]
async fn a_group_that_starts_at_the_end_begins_there_the_next_time_too() {
    let user = |partition, number| event(partition, number, number, "UserCreated", &json!({}));
    let mut world = world_with("proc_latest", 2, &[user(0, 1), user(0, 2), user(1, 3)]).await;
    world.set("KAFKA_AUTO_OFFSET_RESET", "latest");
    let mut process = world.start(&["process"]);
    process.event("partitions_assigned").await;
    eventually("the ends are committed", async || committed(&world, 2) == [(0, 2), (1, 1)].into()).await;
    assert_eq!(process.stop().code, Some(0));
    produce(&world, world.topic(), &[user(1, 4)]).await;
    crate::support::envelopes::process(&world);
    let users = &read_models(&world.mongo().await, false).await[0].1;
    assert_eq!(users.iter().map(|user| user.get_str("_id").unwrap()).collect::<Vec<_>>(), [id(4)]);
}
