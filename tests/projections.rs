//! `--projections`: handlers of a file give the documents of those in Rust, and the file may change meanwhile.

use std::path::Path;

use mongodb::Database;
use serde_json::json;

use crate::support::envelopes::{event, id, process, produce, world_with};
use crate::support::{World, document, eventually, read_models};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/activity.yaml");

async fn index_names(database: &Database, collection: &str) -> Vec<String> {
    let mut names = database.collection::<bson::Document>(collection).list_index_names().await.unwrap();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_file_gives_the_documents_and_indexes_of_the_handlers_in_rust() {
    let mut world = World::new("projections").await;
    world.init(3);
    let generated = world.run(&["generate", "--to", "kafka", "--rate", "100000", "--count", "3000", "--seed", "5"]);
    assert_eq!(generated.code, Some(0), "{generated:?}");
    process(&world);
    let by_rust = world.mongo().await;
    let other = format!("{}_f", world.name());
    world.set("MONGODB_DATABASE", other.clone());
    world.set("KAFKA_GROUP_ID", other.clone());
    let made = world.run(&["init", "--partitions", "3", "--projections", SHIPPED]);
    assert_eq!(made.code, Some(0), "{made:?}");
    world.set("PROJECTIONS", SHIPPED);
    process(&world);
    let by_file = by_rust.client().database(&other);
    let [expected, found] = [read_models(&by_rust, true).await, read_models(&by_file, true).await];
    assert!(expected.iter().all(|(_, documents)| !documents.is_empty()));
    // The number that stands for the topic is the first in both databases, so that the bookkeeping is the same as well.
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        assert_eq!(expected.len(), found.len(), "{name}");
        expected.iter().zip(found).for_each(|(expected, found)| assert_eq!(expected, found));
    }
    for collection in ["users", "activities"] {
        assert_eq!(index_names(&by_rust, collection).await, index_names(&by_file, collection).await);
    }
    let planned = world.run(&["process", "--plan"]);
    assert!(planned.code == Some(0) && planned.stdout.contains("user_created: "), "{:?}", planned.code);
    by_file.drop().await.unwrap();
}

fn greetings(path: &Path, greeting: &str) {
    let file = format!("handlers:\n  - name: greet\n    event: UserCreated\n    create: greetings\n{greeting}");
    std::fs::write(path, file).unwrap();
}

async fn greeting(world: &World, user: u128) -> Option<String> {
    let found = document(&world.mongo().await, "greetings", &id(user)).await?;
    Some(found.get_str("text").unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_between_batches_and_an_invalid_one_is_refused() {
    let world = world_with("projections_reload", 1, &[event(0, 1, 11, "UserCreated", &json!({}))]).await;
    let path = world.directory().join("greetings.yaml");
    greetings(&path, "    fields: { text: { value: hello } }\n");
    let mut process = world.start(&["process", "--projections", path.to_str().unwrap()]);
    eventually("the first is greeted", async || greeting(&world, 11).await.as_deref() == Some("hello")).await;

    greetings(&path, "    fields: { text: { vlaue: bye } }\n");
    let refused = process.event("projections_refused").await;
    assert!(refused["error"].as_str().unwrap().contains("greetings.yaml:5: `text` has no `vlaue`"), "{refused}");
    produce(&world, world.topic(), &[event(0, 2, 12, "UserCreated", &json!({}))]).await;
    eventually("the old handlers go on", async || greeting(&world, 12).await.as_deref() == Some("hello")).await;

    greetings(
        &path,
        "    fields: { text: { value: bye } }\n  - { name: new, event: Other, upsert: others, set: { a: { value: 1 } } }\n",
    );
    process.event("handlers_replaced").await;
    let more = [event(0, 3, 13, "UserCreated", &json!({})), event(0, 4, 14, "Other", &json!({}))];
    produce(&world, world.topic(), &more).await;
    eventually("the new handlers are asked", async || greeting(&world, 13).await.as_deref() == Some("bye")).await;
    eventually("so is the one that was added", async || {
        document(&world.mongo().await, "others", &id(14)).await.is_some()
    })
    .await;
    assert_eq!(greeting(&world, 11).await.as_deref(), Some("hello"), "what was applied stays");
    assert_eq!(process.stop().code, Some(0));
}

#[tokio::test]
async fn every_mistake_of_a_file_is_told_before_anything_starts() {
    let world = World::new("projections_wrong").await;
    let path = world.directory().join("wrong.yaml");
    greetings(&path, "    feilds: { text: { value: 1 } }\n");
    for command in [&["process"][..], &["init"], &["doctor"]] {
        let finished = world.run(&[command, &["--projections", path.to_str().unwrap()]].concat());
        assert_eq!(finished.code, Some(64), "{finished:?}");
        let told = [
            "wrong.yaml:5: a handler has no `feilds`: did you mean `fields`?",
            "wrong.yaml:4: `create` needs `fields`",
        ];
        assert!(told.iter().all(|part| finished.stderr.contains(part)), "{}", finished.stderr);
    }
}
