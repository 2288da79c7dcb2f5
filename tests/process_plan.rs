//! `evp process --plan`: what events would do, seen before they do it.

use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, committed, event, id, world_with};
use crate::support::{World, free_address, read_models};

/// A user, a change of it, an event that a handler refuses, one without a handler, a tombstone, and no event at all.
async fn world() -> World {
    let user = |number, event_type, payload: Value| event(0, number, 100, event_type, &payload);
    let records = [
        user(1, "UserCreated", json!({ "email": "ada@example.org", "first_name": "Ada" })),
        user(2, "UserUpdated", json!({ "last_name": "Lovelace" })),
        user(3, "UserUpdated", json!({ "email": 7 })),
        user(4, "UserVanished", json!({})),
        NewRecord { key: Some(b"k".to_vec()), ..NewRecord::default() },
        NewRecord { value: Some(b"nonsense".to_vec()), ..NewRecord::default() },
    ];
    world_with("plan", 1, &records).await
}

#[tokio::test]
async fn each_record_is_told_with_its_commands_and_nothing_is_written() {
    let mut world = world().await;
    let database = world.mongo().await;
    // Neither MongoDB nor PostgreSQL is asked.
    let uri = world.variable("MONGODB_URI").to_owned();
    world.set("MONGODB_URI", format!("mongodb://{}", free_address()));
    let finished = world.run(&["process", "--plan", "--json"]);
    assert_eq!(finished.code, Some(3), "some would be dead letters: {finished:?}");
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied", "applied", "dead_letter", "dead_letter", "skipped", "dead_letter"]);
    assert_eq!((&lines[1]["offset"], &lines[0]["event"]["aggregate_id"]), (&1.into(), &id(100).into()));

    let commands = |line: &Value| -> Vec<Value> {
        let handlers = line["handlers"].as_array().unwrap().iter();
        handlers.flat_map(|handler| handler["commands"].as_array().cloned().unwrap_or_default()).collect()
    };
    let created = commands(&lines[0]);
    let inserted = created.iter().find(|command| command["insert"] == "users").unwrap();
    assert_eq!(inserted["documents"][0]["email"], "ada@example.org", "{inserted}");
    assert!(created.iter().any(|command| command["update"] == "statistics"), "{created:?}");
    let changed = commands(&lines[1]);
    assert_eq!((changed.len(), &changed[0]["updates"][0]["q"]["_id"]), (1, &id(100).into()), "{changed:?}");
    assert!(lines[2]["reason"].as_str().unwrap().contains("email"), "{}", lines[2]);
    assert!(lines[3]["reason"].as_str().unwrap().contains("no handler"), "{}", lines[3]);

    let text = world.run(&["process", "--plan", "--unknown-events", "skip"]).stdout;
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("2 events, 3 commands") && last.contains("2 records would be skipped, 2 would be"),
        "{text}"
    );
    assert_eq!(text.lines().filter(|line| line.contains(world.topic())).count(), 6, "{text}");
    assert!(read_models(&database, true).await.iter().all(|(_, documents)| documents.is_empty()));
    assert!(committed(&world, 1).is_empty());
    world.set("MONGODB_URI", uri);
}

#[tokio::test]
async fn a_plan_has_neither_end_nor_acceptances_and_wants_a_topic() {
    let world = World::new("plan_usage").await;
    for flags in [&["--plan", "--until", "caught-up"][..], &["--plan", "--accept-shape"], &["--json"]] {
        assert_eq!(world.run(&[&["process"], flags].concat()).code, Some(64), "{flags:?}");
    }
    let finished = world.run(&["process", "--plan"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("does not exist"), "{finished:?}");
}
