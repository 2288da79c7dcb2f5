//! `evp dlq`: letters are listed, explained, replayed and discarded, and what is replayed has its effect once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::doc;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::envelopes::{NewRecord, event, id, process, produce, world_with};
use crate::support::{Record, Running, World, document, eventually, records};

const USER: u128 = 1_001;

/// Runs `evp dlq` with `--json`; what it printed.
fn dlq(world: &World, arguments: &[&str]) -> Value {
    dlq_exits(world, arguments, 0)
}

fn dlq_exits(world: &World, arguments: &[&str], code: i32) -> Value {
    let finished = world.run(&[&["dlq"], arguments, &["--json"]].concat());
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn waiting(world: &World) -> u64 {
    dlq(world, &["list"])["waiting"].as_u64().unwrap()
}

fn letters(world: &World) -> String {
    format!("{}.dlq", world.topic())
}

async fn refuse_usernames(world: &World, pattern: &str) {
    let validator = doc! { "username": { "$not": { "$regex": pattern } } };
    world.mongo().await.run_command(doc! { "collMod": "users", "validator": validator }).await.unwrap();
}

async fn total_users(world: &World) -> i64 {
    let statistics = document(&world.mongo().await, "statistics", "global_stats").await;
    statistics.map_or(0, |statistics| statistics.get_i64("total_users").unwrap())
}

#[tokio::test]
async fn a_replay_is_the_record_byte_for_byte_and_runs_only_the_handler_that_failed() {
    let other = event(1, 1, 4_000, "UserCreated", &json!({}));
    let world = world_with("dlq_once", 2, &[other]).await;
    process(&world);
    refuse_usernames(&world, "^refused").await;
    let mut refused = event(1, 2, USER, "UserCreated", &json!({ "username": "refused" }));
    refused.key = Some(b"key \xff of it".to_vec());
    refused.headers = vec![("trace", "abc"), ("trace", "def"), ("evp.position", "7:500:3")];
    let follower = event(1, 3, USER, "UserUpdated", &json!({ "bio": "later" }));
    produce(&world, world.topic(), &[refused, follower]).await;
    process(&world);
    assert_eq!(total_users(&world).await, 2, "the handler that counts is not the one that failed");

    let list = dlq(&world, &["list"]);
    let [first, second] = list["letters"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&first["event_id"], &first["event_type"]), (&json!(id(2)), &json!("UserCreated")));
    assert!(first["error"].as_str().unwrap().contains("validation rule"), "{first}");
    assert!(second["error"].as_str().unwrap().starts_with("predecessor missing"), "{second}");
    let name = first["letter"].as_str().unwrap();
    let shown = dlq(&world, &["show", name]);
    assert_eq!(shown["value"]["after"]["payload"]["username"], "refused");
    assert_eq!(shown["waiting_behind"][0]["event_id"], json!(id(3)));
    assert_eq!(shown["headers"].as_array().unwrap().len(), 3, "{shown}");

    refuse_usernames(&world, "^nobody").await;
    let running = world.start(&["process"]);
    let replayed = dlq(&world, &["replay", name]);
    assert_eq!((&replayed["events"], &replayed["dealt_with"]), (&json!(2), &json!(2)), "{replayed}");
    assert_eq!(
        (&replayed["published"][0]["released"], &replayed["published"][1]["released"]),
        (&json!(false), &json!(true))
    );
    let user = document(&world.mongo().await, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "later");
    assert_eq!(total_users(&world).await, 2, "the handler that had not failed has run again");

    let all = records(&world, world.topic());
    let of_event = |number: u128| -> Vec<&Record> {
        let is_it = |record: &&Record| String::from_utf8_lossy(record.value.as_deref().unwrap()).contains(&id(number));
        all.iter().filter(is_it).collect()
    };
    let [original, again] = of_event(2)[..] else { panic!("published once") };
    assert_eq!((&original.key, &original.value, original.partition), (&again.key, &again.value, again.partition));
    let added = again.headers.strip_prefix(original.headers.as_slice()).unwrap();
    let added: Vec<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(added, ["__connect.errors.topic", "evp.letter"]);

    let again = dlq(&world, &["replay", name]);
    assert_eq!((&again["events"], &again["left"][0]["why"]), (&json!(0), &json!("was replayed before")));
    assert_eq!((waiting(&world), records(&world, &letters(&world)).len()), (0, 4), "two letters and their marks");
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test]
async fn what_fails_again_comes_back_and_what_is_corrected_in_its_row_is_settled() {
    let update = |number, email: Value| event(0, number, USER, "UserUpdated", &json!({ "email": email }));
    let created = event(0, 1, USER, "UserCreated", &json!({}));
    let world = world_with("dlq_back", 1, &[created, update(2, json!(7)), update(3, json!(8))]).await;
    process(&world);
    let running = world.start(&["process"]);
    let replayed = dlq_exits(&world, &["replay", "--error", "IS NOT A TEXT"], 3);
    assert_eq!(
        (&replayed["events"], &replayed["failed_again"].as_array().unwrap().len()),
        (&json!(2), &2),
        "{replayed}"
    );
    assert_eq!(waiting(&world), 2);
    let back = dlq(&world, &["list"])["letters"][0]["letter"].as_str().unwrap().to_owned();
    assert_eq!(back, "0:4", "two letters, two marks, and those that came back");
    let mut row = crate::support::envelopes::envelope(&crate::support::envelopes::row(
        2,
        USER,
        "UserUpdated",
        &json!({ "email": "b@example.org" }),
    ));
    row["op"] = json!("u");
    produce(&world, world.topic(), &[NewRecord { value: Some(row.to_string().into_bytes()), ..NewRecord::default() }])
        .await;
    eventually("the corrected row is applied", async || waiting(&world) == 1).await;
    let user = document(&world.mongo().await, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "b@example.org");
    let settled = dlq(&world, &["list", "--settled"]);
    let states: BTreeMap<&str, &str> = settled["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["letter"].as_str().unwrap(), letter["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("0:0", "replayed"), ("0:1", "replayed"), ("0:4", "applied"), ("0:5", "waiting")].into());
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test]
async fn a_letter_is_discarded_only_with_consent_and_for_good() {
    let poison =
        |number: u128| NewRecord { value: Some(format!("poison {number}").into_bytes()), ..NewRecord::default() };
    let new = [event(0, 1, USER, "UserCreated", &json!({})), poison(1), poison(2)];
    let world = world_with("dlq_discard", 1, &new).await;
    process(&world);
    for (arguments, part) in
        [(&["discard"][..], "--all"), (&["discard", "--all"], "--yes"), (&["discard", "0-1"], "0-1")]
    {
        let finished = world.run(&[&["dlq"], arguments].concat());
        assert_eq!(finished.code, Some(64), "{finished:?}");
        assert!(finished.stderr.contains(part), "{finished:?}");
    }
    assert_eq!(waiting(&world), 2);
    assert_eq!(dlq(&world, &["discard", "0:1", "--yes"])["discarded"], json!(["0:1"]));
    let list = dlq(&world, &["list"]);
    assert_eq!((&list["waiting"], &list["letters"][0]["letter"]), (&json!(1), &json!("0:0")));
    for command in [&["replay", "0:17"][..], &["discard", "0:17", "--yes"], &["show", "0:17"]] {
        let absent = world.run(&[&["dlq"], command].concat());
        assert!(absent.code == Some(1) && absent.failure().contains("no dead letter 0:17"), "{command:?}: {absent:?}");
    }
    let replayed = dlq(&world, &["replay", "0:1"]);
    assert_eq!((&replayed["events"], &replayed["left"][0]["why"]), (&json!(0), &json!("was discarded")));
    let finished = world.run(&["dlq", "list"]);
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].contains("LETTER") && lines[1].contains("the value is not JSON"), "{finished:?}");
    assert!(finished.stdout.contains("1 wait, 1 are settled"), "{finished:?}");
    let finished = world.run(&["dlq", "show", "0:7"]);
    assert!(finished.code == Some(1) && finished.failure().contains("no dead letter 0:7"), "{finished:?}");
}

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      VALUES ($1, $2, 'User', $3, $4)";

/// Writes rows of the outbox, each in a transaction of its own.
struct Outbox {
    client: tokio_postgres::Client,
}

impl Outbox {
    async fn add(&self, event: u128, aggregate: u128, event_type: &str, payload: Value) {
        let ids = [event, aggregate].map(|number| id(number).parse::<Uuid>().unwrap());
        self.client.execute(INSERT, &[&ids[0], &ids[1], &event_type, &payload]).await.unwrap();
    }

    async fn correct(&self, event: u128, payload: Value) {
        let statement = "UPDATE activity.event_outbox SET payload = $2 WHERE event_id = $1";
        let event: Uuid = id(event).parse().unwrap();
        assert_eq!(self.client.execute(statement, &[&event, &payload]).await.unwrap(), 1);
    }
}

/// Users 0 to 19 are created and get updates that MongoDB or a handler refuses; 20 to 29 get what stays refused; the
/// creation of 30 to 39 is refused, and that of 40 to 49 missing.
async fn write_events(outbox: &Outbox) {
    let mut number = 10_000;
    for aggregate in 0..40 {
        let email = if aggregate < 30 { json!("a@example.org") } else { json!(7) };
        outbox.add(aggregate + 1, aggregate, "UserCreated", json!({ "email": email, "username": "u" })).await;
    }
    for round in 0..10 {
        for aggregate in 0..50 {
            let (event_type, payload) = match aggregate {
                0..20 if round % 2 == 0 => ("UserUpdated", json!({ "username": format!("refused {number}") })),
                0..15 if round < 6 => ("UserUpdated", json!({ "email": 7, "last_name": number.to_string() })),
                20..30 => match (aggregate + round) % 3 {
                    0 => ("UserVanished", json!({})),
                    1 => ("UserUpdated", json!([1])),
                    _ => ("UserUpdated", json!({ "email": 7 })),
                },
                30.. => ("UserUpdated", json!({ "bio": number.to_string() })),
                _ => continue,
            };
            outbox.add(number, aggregate, event_type, payload).await;
            number += 1;
        }
    }
    // As many as five hundred.
    for extra in 0..45 {
        outbox.add(number + extra, 20 + extra % 10, "UserVanished", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_letters_are_repaired_by_half_and_replayed_twice_while_events_flow() {
    let mut world = World::new("dlq_many").await;
    world.set("RETRY_DELAY_SECONDS", "0.2");
    world.set("MAX_RETRIES", "2");
    // Each of the five hundred is meant.
    world.set("MAX_REFUSALS_IN_A_ROW", "0");
    world.init(3);
    refuse_usernames(&world, "^refused").await;
    let capture = world.start(&["capture"]);
    let running = world.start(&["process"]);
    let outbox = Outbox { client: world.sql().await };
    write_events(&outbox).await;
    eventually("all dead letters are there", async || crate::support::topic_end(&world, &letters(&world)) >= Some(500))
        .await;
    assert_eq!(waiting(&world), 500);

    // What is repaired: the rule, the refused rows of users 0 to 14 and 30 to 39, the creation of users 40 to 44.
    refuse_usernames(&world, "^nobody").await;
    let corrected = "SELECT event_id::text, payload FROM activity.event_outbox \
                     WHERE payload @> '{\"email\": 7}' AND aggregate_id NOT IN (SELECT aggregate_id FROM activity.event_outbox \
                                                                             WHERE event_type = 'UserVanished')";
    let rows = outbox.client.query(corrected, &[]).await.unwrap();
    assert_eq!(rows.len(), 55);
    for row in rows {
        let (event, mut payload) = (row.get::<_, String>(0).parse::<Uuid>().unwrap(), row.get::<_, Value>(1));
        payload["email"] = json!("corrected@example.org");
        outbox.correct(event.as_u128() - id(0).parse::<Uuid>().unwrap().as_u128(), payload).await;
    }
    for aggregate in 40..45 {
        outbox.add(aggregate + 1, aggregate, "UserCreated", json!({ "email": "late@example.org" })).await;
    }
    eventually("the corrected rows are applied", async || waiting(&world) == 445).await;

    let (is_over, flowing) = (Arc::new(AtomicBool::new(false)), Outbox { client: world.sql().await });
    let over = Arc::clone(&is_over);
    let flow = tokio::spawn(async move {
        let mut number = 100_000;
        while !over.load(Ordering::Relaxed) {
            flowing.add(number, number, "UserCreated", json!({ "email": "new@example.org" })).await;
            flowing.add(number + 1, number % 40, "UserUpdated", json!({ "bio": number.to_string() })).await;
            number += 2;
        }
        (number - 100_000) / 2
    });
    let first = dlq_exits(&world, &["replay", "--all", "--wait", "120"], 3);
    assert_eq!((&first["letters"], &first["pending"]), (&json!(445), &json!(0)));
    let left = first["failed_again"].as_array().unwrap().len();
    assert_eq!(left, 195, "what is not repaired comes back");
    let second = dlq_exits(&world, &["replay", "--all", "--wait", "120"], 3);
    assert_eq!((&second["letters"], second["failed_again"].as_array().unwrap().len()), (&json!(195), 195));
    is_over.store(true, Ordering::Relaxed);
    let new_users = flow.await.unwrap();

    assert_eq!(capture.stop().code, Some(0));
    let drained = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert_eq!(running.stop().code, Some(0));
    process(&world);
    assert_eq!(total_users(&world).await, 45 + i64::try_from(new_users).unwrap(), "each user is counted once");
    let verified = Running::spawn(world.command(&["verify", "--json"])).wait(crate::support::DEADLINE);
    assert_eq!(verified.code, Some(3), "{verified:?}");
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["finding_counts"], json!({ "dead_letter": 195 }), "{report}");
    assert_eq!(report["collections"]["users"]["not_compared"], 10, "{report}");
    let by_type = |event_type: &str| dlq(&world, &["list", "--event-type", event_type])["accepted"].as_u64().unwrap();
    assert_eq!(by_type("UserVanished") + by_type("UserUpdated"), 195);
    assert_eq!(waiting(&world), 195);
}
