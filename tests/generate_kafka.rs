//! `evp generate --to kafka`: the same events without PostgreSQL and without capture.

use std::collections::BTreeMap;

use bson::Document;
use evp::generate::{EventSource, OutboxEvent};
use serde_json::{Value, json};

use crate::support::envelopes::Topics;
use crate::support::{Record, World, document, free_address, read_models, records, topic_end};

const SEED: u64 = 7;

fn generate(world: &World, flags: &[&str]) -> Value {
    let seed = SEED.to_string();
    let command = ["generate", "--to", "kafka", "--seed", &seed, "--connections", "1", "--json"];
    let finished = world.run(&[&command, flags].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The documents that events lead to, with the fields that no clock is in; written anew here, and not by evp.
fn folded(events: &[OutboxEvent]) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
    let (mut users, mut activities) = (BTreeMap::new(), BTreeMap::new());
    for OutboxEvent { aggregate_id, event_type, payload, .. } in events {
        let (id, field) = (aggregate_id.to_string(), |name: &str| payload[name].clone());
        match *event_type {
            "UserCreated" => {
                users.insert(id, payload.clone());
            }
            "ActivityCreated" => {
                let activity = json!({ "title": field("title"), "description": field("description"), "status": "active",
                                       "place": field("location_name"), "participants": [] });
                activities.insert(id, activity);
            }
            "UserUpdated" => {
                let user = users.get_mut(&id).unwrap().as_object_mut().unwrap();
                user.extend(payload.as_object().unwrap().clone());
            }
            "ActivityUpdated" => {
                let activity = activities.get_mut(&id).unwrap();
                for (from, to) in [
                    ("title", "title"),
                    ("description", "description"),
                    ("status", "status"),
                    ("location_name", "place"),
                ] {
                    if !payload[from].is_null() {
                        activity[to] = field(from);
                    }
                }
            }
            "ParticipantJoined" => {
                let list = activities.get_mut(&id).unwrap()["participants"].as_array_mut().unwrap();
                if !list.contains(&payload["user_id"]) {
                    list.push(field("user_id"));
                }
            }
            other => panic!("{other}"),
        }
    }
    (users, activities)
}

/// The same fields of the documents that are there.
fn seen(models: &[(String, Vec<Document>)]) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
    let json = |document: &Document| serde_json::to_value(document).unwrap();
    let of =
        |name: &str| models.iter().find(|(found, _)| found == name).unwrap().1.iter().map(json).collect::<Vec<_>>();
    let id = |document: &Value| document["_id"].as_str().unwrap().to_owned();
    let user = |user: &Value| {
        let (first, last) = (user["first_name"].as_str().unwrap(), user["last_name"].as_str().unwrap());
        assert_eq!(user["name"], format!("{first} {last}"));
        json!({ "email": user["email"], "username": user["username"], "first_name": first, "last_name": last,
                "bio": user["profile"]["bio"], "avatar_url": user["profile"]["avatar_url"] })
    };
    let activity = |activity: &Value| {
        let list = activity["participants"]["list"].as_array().unwrap();
        assert_eq!(activity["participants"]["current_count"], list.len());
        let participants: Vec<_> = list.iter().map(|participant| participant["user_id"].clone()).collect();
        json!({ "title": activity["title"], "description": activity["description"], "status": activity["status"],
                "place": activity["location"]["name"], "participants": participants })
    };
    let users = of("users").iter().map(|document| (id(document), user(document))).collect();
    (users, of("activities").iter().map(|document| (id(document), activity(document))).collect())
}

#[tokio::test]
async fn events_written_straight_to_the_topic_become_the_read_models_of_their_fold() {
    let mut world = World::new("straight").await;
    world.init(4);
    let port = world.variable("POSTGRES_PORT").to_owned();
    // Neither needs PostgreSQL.
    world.set("POSTGRES_PORT", free_address().split_once(':').unwrap().1);
    let summary = generate(&world, &["--count", "2000", "--rate", "0"]);
    assert_eq!((&summary["events"], &summary["failed"]), (&2_000.into(), &0.into()), "{summary}");
    assert_eq!((summary["committed"]["count"].as_u64(), topic_end(&world, world.topic())), (Some(2_000), Some(2_000)));
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));

    let mut source = EventSource::new(SEED);
    let events: Vec<_> = (0..2_000).map(|_| source.next_event()).collect();
    let database = world.mongo().await;
    let models = read_models(&database, false).await;
    assert_eq!(seen(&models), folded(&events));
    let users = events.iter().filter(|event| event.event_type == "UserCreated").count();
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").unwrap(), i64::try_from(users).unwrap());

    // The same seed is the same events, which are known.
    generate(&world, &["--count", "2000", "--rate", "0", "--batch", "50"]);
    assert_eq!(topic_end(&world, world.topic()), Some(4_000));
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(read_models(&database, false).await, models);
    world.set("POSTGRES_PORT", port);
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn new_documents_are_watched_for_and_the_mixture_is_as_asked() {
    let mut world = World::new("straight_watch").await;
    world.init(2);
    let port = world.variable("POSTGRES_PORT").to_owned();
    world.set("POSTGRES_PORT", free_address().split_once(':').unwrap().1);
    let mut process = world.start(&["process"]);
    process.event("starting_event_consumption").await;
    let mix = ["--mix", "users=1,activities=3", "--count", "200", "--rate", "200", "--watch"];
    let summary = generate(&world, &mix);
    let count = |name: &str| summary["events_by_type"][name].as_u64().unwrap_or(0);
    assert_eq!(count("ParticipantJoined"), 0, "{summary}");
    assert!(count("ActivityCreated") > 2 * count("UserCreated"), "{summary}");
    assert_eq!(summary["visible"]["latency"]["count"], count("UserCreated") + count("ActivityCreated"), "{summary}");
    assert_eq!(process.stop().code, Some(0));
    world.set("POSTGRES_PORT", port);
}

/// Names of fields in the order in which they stand; a payload's own are escaped, and none of them.
fn field_names(value: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(value).unwrap();
    let ends = text.match_indices("\":").map(|(at, _)| &text[..at]);
    let names = ends.filter_map(|before| before.rsplit('"').next());
    names.filter(|name| !name.ends_with('\\')).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_record_is_the_one_that_capture_writes_for_the_row() {
    let mut world = World::new("straight_bytes").await;
    world.init(1);
    let seed = SEED.to_string();
    let rows = world.run(&["generate", "--count", "60", "--rate", "0", "--seed", &seed, "--connections", "1"]);
    assert_eq!(rows.code, Some(0), "{rows:?}");
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    let captured = records(&world, world.topic());
    let topic = format!("{}.straight", world.name());
    Topics::new(&world).create(&topic, 1, &[]).await;
    world.set("KAFKA_TOPIC", &topic);
    generate(&world, &["--count", "60", "--rate", "0"]);
    let straight = records(&world, &topic);
    assert_eq!((captured.len(), straight.len()), (60, 60));
    let headers = |record: &Record| record.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let row = |record: &Record| {
        let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let mut row = value["after"].clone();
        // The database's own, like the clock.
        for column in ["sequence_id", "created_at"] {
            assert_eq!(row.as_object_mut().unwrap().remove(column).map(|value| value.is_null()), Some(false));
        }
        let payload: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
        row["payload"] = payload;
        row
    };
    for (captured, straight) in captured.iter().zip(&straight) {
        assert_eq!(captured.key, straight.key);
        assert_eq!(headers(captured), headers(straight));
        assert_eq!(row(captured), row(straight));
        let [captured, straight] = [captured, straight].map(|record| field_names(record.value.as_ref().unwrap()));
        assert!(captured.contains(&"lsn".to_owned()), "{captured:?}");
        assert_eq!(captured, straight);
    }
}

#[tokio::test]
async fn records_that_the_topic_does_not_take_are_counted() {
    let world = World::new("straight_refused").await;
    world.init(1);
    Topics::new(&world).set(world.topic(), "max.message.bytes", "600").await;
    let finished = world.run(&["generate", "--to", "kafka", "--count", "40", "--rate", "0", "--json"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let summary: Value = serde_json::from_str(&finished.stdout).unwrap();
    let failed = summary["failed"].as_u64().unwrap();
    assert!(failed > 0 && failed + summary["events"].as_u64().unwrap() <= 40, "{summary}");
    let failure = finished.failure();
    assert!(failure.contains(&format!("{failed} events")) && failure.contains("max.message.bytes"), "{failure}");
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_asked_for_and_not_made() {
    let world = World::new("straight_none").await;
    let finished = world.run(&["generate", "--to", "kafka", "--count", "1"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains(world.topic()) && failure.contains("evp init"), "{failure}");
    assert_eq!(topic_end(&world, world.topic()), None);
}

#[tokio::test]
async fn capture_refuses_a_topic_that_holds_them() {
    let world = World::new("straight_capture").await;
    world.init(1);
    generate(&world, &["--count", "10", "--rate", "0"]);
    let rows = world.run(&["generate", "--count", "10", "--rate", "0"]);
    assert_eq!(rows.code, Some(0), "{rows:?}");
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("cluster 1,"), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(10), "nothing is written behind them");
}
