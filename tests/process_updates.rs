//! `evp process`: updates of outbox rows, which tell of an event again, of applied ones and of dead letters.

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, envelope, event, id, process, produce, row, world_with};
use crate::support::{Record, Running, World, document, records};

const USER: u128 = 1_001;
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// The record of a row that was inserted, `c`, or updated, `u`.
fn record(op: &str, row: &Value) -> NewRecord {
    let mut envelope = envelope(row);
    envelope["op"] = json!(op);
    NewRecord { value: Some(envelope.to_string().into_bytes()), ..NewRecord::default() }
}

fn with(mut row: Value, column: &str, value: Value) -> Value {
    row[column] = value;
    row
}

fn processed(row: &Value) -> NewRecord {
    record("u", &with(row.clone(), "status", json!("processed")))
}

/// The event ids of the dead letters, in their order.
fn letters(world: &World) -> Vec<String> {
    let event_id = |letter: &Record| {
        let envelope: Value = serde_json::from_slice(letter.value.as_deref().unwrap()).unwrap();
        envelope["after"]["event_id"].as_str().unwrap().to_owned()
    };
    records(world, &format!("{}.dlq", world.topic())).iter().map(event_id).collect()
}

fn messages(world: &World) -> Vec<String> {
    let letters = records(world, &format!("{}.dlq", world.topic()));
    let headers = letters.into_iter().flat_map(|letter| letter.headers);
    let reasons = headers.filter(|(name, _)| name == "__connect.errors.exception.message");
    reasons.map(|(_, reason)| String::from_utf8(reason.unwrap()).unwrap()).collect()
}

/// Rows whose events fail in every way that leaves their id readable, each with what corrects it.
fn failures() -> Vec<(Value, Value)> {
    let user = |number, kind, payload: Value| row(number, 5_000 + number, kind, &payload);
    vec![
        (with(user(1, "UserCreated", json!({})), "created_at", json!("yesterday")), user(1, "UserCreated", json!({}))),
        (
            with(user(2, "UserCreated", json!({})), "payload", json!("[1]")),
            user(2, "UserCreated", json!({ "bio": "x" })),
        ),
        (user(3, "UserVanished", json!({})), user(3, "UserCreated", json!({}))),
        // One of its two handlers refuses, and the other one has counted the user.
        (user(4, "UserCreated", json!({ "email": 7 })), user(4, "UserCreated", json!({ "email": "a@example.org" }))),
        (user(5, "ActivityCreated", json!({ "title": 7 })), user(5, "ActivityCreated", json!({ "title": "x" }))),
    ]
}

async fn documents(world: &World) -> (u64, u64, i64) {
    let database = world.mongo().await;
    let count = async |name| database.collection::<Document>(name).count_documents(doc! {}).await.unwrap();
    let statistics = document(&database, "statistics", "global_stats").await;
    let total = statistics.map_or(0, |statistics| statistics.get_i64("total_users").unwrap());
    (count("users").await, count("activities").await, total)
}

#[tokio::test]
async fn an_update_of_a_row_that_failed_is_judged_the_same_in_one_batch_and_later() {
    for (test, in_one_batch) in [("updates_batch", true), ("updates_later", false)] {
        let mut steps = Vec::new();
        for (number, (failing, _)) in failures().iter().enumerate() {
            steps.extend([record("c", failing), processed(failing), processed(failing)]);
            // Something that stands behind it.
            steps.push(event(0, 100 + number as u128, 6_000 + number as u128, "UserCreated", &json!({})));
        }
        let world = world_with(test, 1, &[]).await;
        let deliver = async |records: &[NewRecord]| {
            for step in if in_one_batch { vec![records] } else { records.chunks(1).collect() } {
                produce(&world, world.topic(), step).await;
                process(&world);
            }
        };
        deliver(&steps).await;
        let failed: Vec<String> = (1..=5).map(id).collect();
        assert_eq!(sorted(letters(&world)), failed, "{test}");
        assert_eq!(documents(&world).await, (5, 0, 6), "{test}: one handler has counted its user");

        let corrections: Vec<_> = failures().iter().map(|(_, corrected)| record("u", corrected)).collect();
        deliver(&corrections).await;
        let again: Vec<_> = failures().iter().map(|(_, corrected)| processed(corrected)).collect();
        deliver(&again).await;
        assert_eq!(sorted(letters(&world)), failed, "{test}: a correction made a dead letter");
        assert_eq!(documents(&world).await, (9, 1, 9), "{test}: what had failed is applied, and nothing else");
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// The row is corrected before its event had its turn.
#[tokio::test]
async fn a_correction_in_the_same_batch_is_applied_by_the_handlers_that_failed_and_by_no_other() {
    let mut new = Vec::new();
    for (failing, corrected) in &failures() {
        new.extend([record("c", failing), record("u", corrected), processed(corrected)]);
    }
    let fine = row(50, 5_050, "UserCreated", &json!({ "email": "first@example.org" }));
    let changed = row(50, 5_050, "UserCreated", &json!({ "email": "second@example.org" }));
    new.extend([record("c", &fine), record("u", &changed), event(0, 51, 5_050, "UserUpdated", &json!({ "bio": "x" }))]);
    let world = world_with("updates_corrected", 1, &new).await;
    process(&world);
    assert_eq!(sorted(letters(&world)), (1..=5).map(id).collect::<Vec<_>>());
    assert_eq!(documents(&world).await, (5, 1, 5));
    let user = document(&world.mongo().await, "users", &id(5_050)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "first@example.org", "an applied event is not applied again");
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "x");
    assert_eq!(committed(&world, 1), [(0, 18)].into());
}

#[tokio::test]
async fn an_update_without_its_payload_is_a_dead_letter_only_once_and_only_if_its_event_was_never_seen() {
    let user = |number: u128| row(number, 5_000 + number, "UserCreated", &json!({ "email": "a@example.org" }));
    let without = |number, placeholder: &str| with(user(number), "payload", json!(placeholder));
    let unknown = row(9, 9, "UserVanished", &json!({}));
    let new = [
        record("c", &user(1)),
        record("u", &without(1, UNAVAILABLE)),
        record("u", &without(1, "not sent")),
        // Never seen: the rest of its life is no dead letter any more.
        record("u", &without(2, UNAVAILABLE)),
        processed(&without(2, UNAVAILABLE)),
        record("u", &without(3, "not sent")),
        // A payload that really is this text.
        record("c", &without(4, UNAVAILABLE)),
        record("u", &without(4, UNAVAILABLE)),
        record("c", &unknown),
        record("u", &with(unknown, "payload", json!(UNAVAILABLE))),
    ];
    let world = world_with("updates_toast", 1, &new).await;
    process(&world);
    let failed: Vec<String> = [2, 3, 4, 9].map(id).into();
    assert_eq!(letters(&world), failed);
    let again = [1, 2, 3, 4].map(|number| processed(&without(number, UNAVAILABLE)));
    produce(&world, world.topic(), &again).await;
    process(&world);
    assert_eq!(letters(&world), failed);
    // All of the row comes at last.
    produce(&world, world.topic(), &[2, 3, 4].map(|number| processed(&user(number)))).await;
    process(&world);
    assert_eq!((letters(&world), documents(&world).await), (failed, (4, 0, 4)));
}

#[tokio::test]
async fn event_types_that_are_skipped_are_skipped_without_their_payload_too() {
    let unknown = with(row(9, 9, "UserVanished", &json!({})), "payload", json!(UNAVAILABLE));
    let world = world_with("updates_skipped", 1, &[record("u", &unknown)]).await;
    let finished = world.run(&["process", "--until", "caught-up", "--unknown-events", "skip"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(letters(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_correction_stands_where_its_event_stood() {
    let update = |number, payload: &Value| row(number, USER, "UserUpdated", payload);
    let place = |record: NewRecord, position| NewRecord { headers: vec![("evp.position", position)], ..record };
    let failing = update(9, &json!({ "email": 7, "bio": "kept" }));
    let corrected = update(9, &json!({ "email": "older@example.org", "bio": "kept" }));
    let new = [
        place(event(0, 1, USER, "UserCreated", &json!({})), "7:100:0"),
        place(record("c", &failing), "7:200:0"),
        place(record("c", &update(2, &json!({ "email": "newer@example.org" }))), "7:300:0"),
        place(record("u", &corrected), "7:400:0"),
    ];
    let world = world_with("updates_place", 1, &new).await;
    process(&world);
    let user = document(&world.mongo().await, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "newer@example.org");
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "kept");
    assert_eq!(letters(&world), [id(9)]);
}

/// Until the dead letter is safe nobody may know that the event has failed: a kill would lose the letter.
#[tokio::test]
async fn a_correction_waits_for_the_dead_letter_of_its_event_also_across_a_kill() {
    // Nothing that compression makes small enough.
    let noise: String = (0..250).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let failing = row(1, USER, "UserCreated", &json!({ "email": 7, "bio": noise }));
    let corrected = row(1, USER, "UserCreated", &json!({ "email": "a@example.org" }));
    let world = world_with("updates_waiting", 1, &[]).await;
    let (topics, dead) = (Topics::new(&world), format!("{}.dlq", world.topic()));
    topics.create(&dead, 1, &[("max.message.bytes", "2000")]).await;
    let mut process = world.start(&["process"]);
    produce(&world, world.topic(), &[record("c", &failing)]).await;
    process.event("dead_letter_refused").await;
    let behind = event(0, 2, USER, "UserUpdated", &json!({ "bio": "behind" }));
    produce(&world, world.topic(), &[record("u", &corrected), behind]).await;
    assert_eq!(process.kill().code, None);
    // What was sent is read, and waits; a stop does not.
    let mut again = world.command(&["process"]);
    again.env("SHUTDOWN_TIMEOUT_SECONDS", "1");
    let mut process = Running::spawn(again);
    process.event("dead_letter_refused").await;
    assert_eq!(process.stop().code, Some(0));
    assert_eq!(documents(&world).await, (0, 0, 1));
    topics.set(&dead, "max.message.bytes", "1000000").await;
    crate::support::envelopes::process(&world);
    assert_eq!((letters(&world), documents(&world).await), (vec![id(1)], (1, 0, 1)));
    let user = document(&world.mongo().await, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "a@example.org");
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "behind");
    assert_eq!(committed(&world, 1), [(0, 3)].into());
}

#[tokio::test]
async fn the_dead_letter_of_a_join_names_the_document_and_the_event_that_it_waited_for() {
    let activity = 2_001;
    let join = |number| event(0, number, activity, "ParticipantJoined", &json!({ "user_id": id(USER) }));
    let created = event(0, 1, activity, "ActivityCreated", &json!({ "title": 7 }));
    let orphan = event(0, 4, 2_002, "ParticipantJoined", &json!({ "user_id": id(USER) }));
    let world = world_with("updates_names", 1, &[created, join(2), join(3), orphan]).await;
    let said = process(&world).stderr;
    let mut messages: Vec<String> = messages(&world);
    messages.retain(|message| message.contains("predecessor missing"));
    let cause = format!("it waits for event {}, the dead letter of partition 0, offset 0", id(1));
    let named = messages.iter().filter(|message| message.contains(&id(activity)) && message.contains(&cause)).count();
    assert_eq!((messages.len(), named), (3, 2), "{messages:?}");
    assert!(messages.iter().any(|message| message.ends_with(&format!("its id is {}", id(2_002)))), "{messages:?}");
    assert!(!said.contains(&id(activity)), "{said}");
}

#[tokio::test]
async fn a_whole_number_may_be_written_like_a_fraction() {
    let activity = |number: u128, limit: &str| {
        let row = row(number, 2_000 + number, "ActivityCreated", &json!({}));
        with(row, "payload", json!(format!("{{\"max_participants\": {limit}}}")))
    };
    let limits = ["8.0", "1e2", "1.0E+1", "9007199254740993.0", "1.5", "1e300"];
    let rows: Vec<_> = (1..).zip(limits).map(|(number, limit)| record("c", &activity(number, limit))).collect();
    let world = world_with("updates_numbers", 1, &rows).await;
    process(&world);
    let database = world.mongo().await;
    let mut found = Vec::new();
    for number in 1..=4 {
        let activity = document(&database, "activities", &id(2_000 + number)).await.unwrap();
        found.push(activity.get_document("participants").unwrap().get_i64("max_count").unwrap());
    }
    assert_eq!(found, [8, 100, 10, 9_007_199_254_740_993]);
    assert_eq!(letters(&world), [id(5), id(6)]);
}

/// What every outbox does: each row is marked as processed, some of them in the transaction that writes them.
#[tokio::test]
async fn two_thousand_rows_of_which_a_third_is_large_are_marked_as_processed_without_a_dead_letter() {
    let world = World::new("updates_marked").await;
    world.init(4);
    let sql = world.sql().await;
    // Random hexadecimal text is not made smaller than a page, so that it is kept out of line.
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  SELECT gen_random_uuid(), ('e0e00000-0000-4000-8000-' || lpad((n / 4)::text, 12, '0'))::uuid, 'User', \
                         CASE n % 4 WHEN 0 THEN 'UserCreated' ELSE 'UserUpdated' END, \
                         jsonb_build_object('email', n || '@example.org', 'bio', CASE n % 3 WHEN 0 THEN \
                             (SELECT string_agg(md5(random()::text || i || n), '') \
                              FROM generate_series(1, CASE n % 100 WHEN 0 THEN 6000 ELSE 100 + n % 500 END) AS i) \
                         ELSE 'short' END) \
                  FROM generate_series($1::int, $2::int) AS n";
    let mark = "UPDATE activity.event_outbox SET status = 'processed', published_at = now() WHERE status = 'pending'";
    let mut marked = 0;
    for (part, first) in (0..2_000).step_by(200).enumerate() {
        sql.batch_execute("BEGIN").await.unwrap();
        sql.execute(insert, &[&first, &(first + 199)]).await.unwrap();
        if part % 2 == 0 {
            marked += sql.execute(mark, &[]).await.unwrap();
        }
        sql.batch_execute("COMMIT").await.unwrap();
    }
    marked += sql.execute(mark, &[]).await.unwrap();
    let toasted = "SELECT count(*) FROM activity.event_outbox WHERE pg_column_size(payload) > 3000";
    let toasted: i64 = sql.query_one(toasted, &[]).await.unwrap().get(0);
    assert_eq!((marked, toasted), (2_000, 667));
    for _ in 0..2 {
        let capture = world.run(&["capture", "--until", "caught-up"]);
        assert_eq!(capture.code, Some(0), "{capture:?}");
        process(&world);
        assert_eq!(letters(&world), Vec::<String>::new());
        let verified = world.run(&["verify"]);
        assert_eq!(verified.code, Some(0), "{}", verified.stdout);
        // Once more, long after.
        sql.batch_execute("UPDATE activity.event_outbox SET retry_count = retry_count + 1").await.unwrap();
    }
    let without_payload = records(&world, world.topic()).into_iter().filter(|record| {
        record.value.as_ref().is_some_and(|value| String::from_utf8_lossy(value).contains(UNAVAILABLE))
    });
    assert_eq!(without_payload.count(), 2 * 667);
}
