//! `evp process` as a library, with handlers of one's own: one that panics, and one that is added later.

use std::sync::Arc;

use bson::Document;
use evp::config::{KafkaConfig, MongoConfig, ProcessConfig, Variables};
use evp::error::Result;
use evp::process::{
    Event, Handler, HandlerRegistry, OutboxColumns, ProcessOptions, ProcessSummary, UnknownEvents, WriteModel, run,
};
use evp::shutdown::Until;
use evp::telemetry::Health;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::envelopes::{NewRecord, committed, event, id, produce, world_with};
use crate::support::{World, document, read_models, records};

/// Panics at one user.
struct Brittle;

impl Handler for Brittle {
    fn name(&self) -> &str {
        "brittle"
    }

    fn event_type(&self) -> &str {
        "UserCreated"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        assert_ne!(event.text("username")?, Some("boom"), "nobody has that name");
        Ok(Vec::new())
    }
}

/// What became of [`Brittle`].
struct Repaired;

impl Handler for Repaired {
    fn name(&self) -> &str {
        "brittle"
    }

    fn event_type(&self) -> &str {
        "UserCreated"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let name = event.text("username")?.unwrap_or_default();
        Ok(vec![WriteModel::upsert("names", name).increment("users", 1).into()])
    }
}

/// Counts activities in a document that other handlers change as well.
struct TotalActivities;

impl Handler for TotalActivities {
    fn name(&self) -> &str {
        "total_activities"
    }

    fn event_type(&self) -> &str {
        "ActivityCreated"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let title = event.text("title")?.unwrap_or_default().to_owned();
        Ok(vec![
            WriteModel::upsert("statistics", "global_stats").increment("total_activities", 1).into(),
            WriteModel::update("activities", event.aggregate_id.to_string()).set("shown_as", title).into(),
        ])
    }
}

/// Applies the topic up to its end.
async fn apply(world: &World, registry: HandlerRegistry, group: &str) -> ProcessSummary {
    let names = ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "MONGODB_URI", "MONGODB_DATABASE"];
    let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, world.variable(name))).collect();
    pairs.extend([("KAFKA_GROUP_ID", group), ("RETRY_DELAY_SECONDS", "0.2")]);
    let mut variables = Variables::of(&pairs);
    let options = ProcessOptions {
        kafka: KafkaConfig::from_variables(&mut variables, &[]),
        mongo: MongoConfig::from_variables(&mut variables),
        process: ProcessConfig::from_variables(&mut variables),
        operations: ProcessOptions::default_operations(),
        unknown_events: UnknownEvents::DeadLetter,
        columns: OutboxColumns::default(),
        until: Until::CaughtUp,
        accept_new_topic: false,
        accept_shape: false,
    };
    variables.finish().unwrap();
    run(options, registry, Arc::new(Health::default()), CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_event_and_nothing_else() {
    let user = |offset: u128, name: &str| event(0, offset, 1_000 + offset, "UserCreated", &json!({ "username": name }));
    let world = world_with("handlers_panic", 1, &[user(0, "ada"), user(1, "boom"), user(2, "eve")]).await;
    let group = world.variable("KAFKA_GROUP_ID");
    let done = apply(&world, HandlerRegistry::builtin().register(Brittle), group).await;
    assert_eq!((done.processed, done.dead_lettered), (2, 1), "{done:?}");
    let letters = records(&world, &format!("{}.dlq", world.topic()));
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    let header = |name: &str| {
        let value = letter.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
        String::from_utf8(value.unwrap()).unwrap()
    };
    assert_eq!(header("evp.handler"), "brittle");
    let said = header("__connect.errors.exception.message");
    assert!(said.contains("panicked") && said.contains("nobody has that name"), "{said}");
    // Other handlers of the event have done their part.
    let database = world.mongo().await;
    assert!(document(&database, "users", &id(1_001)).await.is_some());
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").unwrap(), 3);
    assert_eq!(committed(&world, 1), [(0, 3)].into());

    // Published again it needs a handler of that name, and then runs no other.
    produce(&world, world.topic(), &[user(1, "boom")]).await;
    let done = apply(&world, HandlerRegistry::builtin(), group).await;
    assert_eq!((done.processed, done.dead_lettered), (0, 1), "{done:?}");
    produce(&world, world.topic(), &[user(1, "boom")]).await;
    let done = apply(&world, HandlerRegistry::builtin().register(Repaired), group).await;
    assert_eq!((done.processed, done.dead_lettered), (1, 0), "{done:?}");
    assert!(document(&database, "names", "boom").await.is_some());
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").unwrap(), 3);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 2);
}

/// Users and activities with changes and participants, on two partitions.
fn history() -> Vec<NewRecord> {
    let about = |number: u128| {
        let partition = i32::from(number.is_multiple_of(3));
        let (user, activity) = (1_000 + number, 5_000 + number);
        [
            event(partition, 10 * number, user, "UserCreated", &json!({ "first_name": "Ada" })),
            event(partition, 10 * number + 1, user, "UserUpdated", &json!({ "bio": number.to_string() })),
            event(partition, 10 * number + 2, activity, "ActivityCreated", &json!({ "title": format!("T{number}") })),
            event(partition, 10 * number + 3, activity, "ActivityUpdated", &json!({ "title": "renamed" })),
            event(partition, 10 * number + 4, activity, "ParticipantJoined", &json!({ "user_id": id(user) })),
        ]
    };
    (1..=40).flat_map(about).collect()
}

fn activities(models: &[(String, Vec<Document>)]) -> usize {
    models.iter().find(|(name, _)| name == "activities").unwrap().1.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_added_has_exactly_its_effects_when_the_topic_is_read_again() {
    let world = world_with("handlers_added", 2, &history()).await;
    let database = world.mongo().await;
    let first = apply(&world, HandlerRegistry::builtin(), "first").await;
    assert_eq!((first.processed, first.dead_lettered), (200, 0), "{first:?}");
    let before = read_models(&database, true).await;
    assert_eq!(activities(&before), 40);
    for group in ["second", "third"] {
        apply(&world, HandlerRegistry::builtin(), group).await;
        assert!(read_models(&database, true).await == before, "a replay has changed a document");
    }

    let more = || HandlerRegistry::builtin().register(TotalActivities);
    let added = apply(&world, more(), "fourth").await;
    assert_eq!(added.dead_lettered, 0);
    let with_it = read_models(&database, true).await;
    let mut without_its_effects = read_models(&database, false).await;
    for (name, documents) in &mut without_its_effects {
        for document in documents {
            match name.as_str() {
                "statistics" => assert_eq!(document.remove("total_activities").unwrap().as_i64(), Some(40)),
                "activities" => {
                    let shown = document.remove("shown_as").unwrap();
                    assert!(shown.as_str().unwrap().starts_with('T'), "{shown}");
                }
                _ => {}
            }
        }
    }
    let mut plain = before;
    plain.iter_mut().flat_map(|(_, documents)| documents).for_each(|document| {
        document.remove("_evp");
    });
    assert_eq!(without_its_effects, plain, "another handler has had an effect");
    for registry in [more(), HandlerRegistry::builtin(), more()] {
        let group = format!("again-{}", uuid::Uuid::new_v4());
        apply(&world, registry, &group).await;
        assert!(read_models(&database, true).await == with_it, "a replay has changed a document");
    }
}
