//! `evp trace`: where an event is, at each step of its way.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::envelopes::{id, process};
use crate::support::{DEADLINE, Running, World};

/// Runs `evp trace`; what it printed for programs.
fn trace(world: &World, event: u128) -> Value {
    let finished = world.run(&["trace", &id(event), "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[track_caller]
fn assert_verdict(story: &Value, part: &str) {
    assert!(story["verdict"].as_str().unwrap().contains(part), "{part}: {story}");
}

async fn add(world: &World, event: u128, aggregate: u128, event_type: &str, payload: Value) {
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  VALUES ($1, $2, 'User', $3, $4)";
    let ids = [event, aggregate].map(|number| id(number).parse::<Uuid>().unwrap());
    world.sql().await.execute(insert, &[&ids[0], &ids[1], &event_type, &payload]).await.unwrap();
}

#[tokio::test]
async fn an_event_is_found_in_the_outbox_on_kafka_in_mongodb_and_among_the_dead_letters() {
    let world = World::new("trace").await;
    world.init(1);
    add(&world, 1, 1, "UserCreated", json!({ "email": "a@example.org" })).await;
    assert_verdict(&trace(&world, 1), "not on the topic; nobody reads slot");
    add(&world, 2, 2, "UserCreated", json!({ "email": 7 })).await;
    let captured = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(captured.code, Some(0), "{captured:?}");
    let story = trace(&world, 2);
    assert_verdict(&story, "has not begun");
    assert_eq!((&story["records"][0]["partition"], &story["records"][0]["offset"]), (&json!(0), &json!(1)));
    assert!(story["records"][0]["lsn"].is_string() && story["records"][0]["committed_at_ms"].is_i64(), "{story}");
    process(&world);

    let story = trace(&world, 1);
    assert_verdict(&story, "done with");
    assert_eq!(story["documents"][0]["is_created_by_it"], json!(true), "{story}");
    assert!(story["handlers"].as_object().unwrap().values().all(|outcome| outcome == "applied"), "{story}");
    let story = trace(&world, 2);
    assert_verdict(&story, "evp dlq show 0:0");
    assert!(story["handlers"]["user_created"].as_str().unwrap().starts_with("failed, letter 0:0: "), "{story}");
    assert_eq!(story["handlers"]["user_count"], json!("applied"), "{story}");
    let finished = world.run(&["trace", &id(2)]);
    assert!(
        finished.stdout.lines().any(|line| line.starts_with("letter") && line.contains("not a text")),
        "{finished:?}"
    );
    let finished = world.run(&["trace", &id(9)]);
    assert!(finished.code == Some(3) && finished.stdout.contains("nothing is known"), "{finished:?}");
    assert_eq!(world.run(&["trace", "x"]).code, Some(64));
    // What could not be looked for is not said to be nowhere.
    let mut command = world.command(&["trace", &id(9)]);
    command.env("POSTGRES_PASSWORD", "wrong");
    let finished = Running::spawn(command).wait(DEADLINE);
    assert!(finished.code == Some(1) && finished.failure().contains("POSTGRES_PASSWORD"), "{finished:?}");
    assert!(finished.stdout.contains("not everything could be looked at"), "{finished:?}");
}
