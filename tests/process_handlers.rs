//! `evp process` as a library, with handlers of one's own: one that panics, and one that is added later.

use bson::Document;
use evp::error::Result;
use evp::process::{Event, Handler, HandlerRegistry, ProcessSummary, WriteModel};
use serde_json::json;

use crate::support::envelopes::{NewRecord, committed, event, id, produce, world_with};
use crate::support::library::{apply_topic, try_apply_topic};
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

/// Keeps the balance of an account, and notes the account in a vault, which has to exist. What failed holds back what follows.
struct Deposited {
    /// Takes an amount that is no number for nothing.
    is_repaired: bool,
}

impl Handler for Deposited {
    fn name(&self) -> &str {
        "deposited"
    }

    fn event_type(&self) -> &str {
        "Deposited"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let amount =
            event.integer("amount").or_else(|error| if self.is_repaired { Ok(Some(0)) } else { Err(error) })?;
        let balance =
            WriteModel::upsert("accounts", event.aggregate_id.clone()).set("balance", amount.unwrap_or_default());
        let vault =
            event.text("vault")?.map(|vault| WriteModel::update("vaults", vault).set("last", event.sequence_id).into());
        Ok([balance.into()].into_iter().chain(vault).collect())
    }
}

/// Applies the topic up to its end.
async fn apply(world: &World, registry: HandlerRegistry, group: &str) -> ProcessSummary {
    apply_topic(world, registry, &[("KAFKA_GROUP_ID", group), ("RETRY_DELAY_SECONDS", "0.2")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_event_and_nothing_else() {
    let user = |offset: u128, name: &str| event(0, offset, 1_000 + offset, "UserCreated", &json!({ "username": name }));
    let world = world_with("handlers_panic", 1, &[user(0, "ada"), user(1, "boom"), user(2, "eve")]).await;
    let group = world.variable("KAFKA_GROUP_ID");
    let done = apply(&world, evp::activity::registry().register(Brittle), group).await;
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
    let done = apply(&world, evp::activity::registry(), group).await;
    assert_eq!((done.processed, done.dead_lettered), (0, 1), "{done:?}");
    produce(&world, world.topic(), &[user(1, "boom")]).await;
    let done = apply(&world, evp::activity::registry().register(Repaired), group).await;
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
    let first = apply(&world, evp::activity::registry(), "first").await;
    assert_eq!((first.processed, first.dead_lettered), (200, 0), "{first:?}");
    let before = read_models(&database, true).await;
    assert_eq!(activities(&before), 40);
    for group in ["second", "third"] {
        apply(&world, evp::activity::registry(), group).await;
        assert!(read_models(&database, true).await == before, "a replay has changed a document");
    }

    let more = || evp::activity::registry().register(TotalActivities);
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
    for registry in [more(), evp::activity::registry(), more()] {
        let group = format!("again-{}", uuid::Uuid::new_v4());
        apply(&world, registry, &group).await;
        assert!(read_models(&database, true).await == with_it, "a replay has changed a document");
    }
}

fn deposited(number: u128, account: u128, amount: &serde_json::Value) -> NewRecord {
    event(0, number, account, "Deposited", &json!({ "amount": amount }))
}

fn deposits(is_repaired: bool) -> HandlerRegistry {
    HandlerRegistry::new().register(Deposited { is_repaired })
}

async fn balance(world: &World, account: u128) -> Option<i64> {
    document(&world.mongo().await, "accounts", &id(account)).await.map(|account| account.get_i64("balance").unwrap())
}

/// The event ids of the dead letters, in order.
fn letters(world: &World) -> Vec<String> {
    let letters = records(world, &format!("{}.dlq", world.topic()));
    let event_id = |value: Vec<u8>| {
        let envelope: serde_json::Value = serde_json::from_slice(&value).unwrap();
        envelope["after"]["event_id"].as_str().unwrap().to_owned()
    };
    letters.into_iter().map(|letter| event_id(letter.value.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_dead_letter_is_parked_and_applied_in_order_once_it_is_published_again() {
    const ACCOUNT: u128 = 1_000;
    let (bad, other) = (json!("much"), 2_000);
    let event = |number: u128| deposited(number, ACCOUNT, &if number == 2 { bad.clone() } else { json!(number) });
    let first = [event(1), event(2), event(3), deposited(10, other, &json!(10)), event(4)];
    let world = world_with("handlers_park", 1, &first).await;
    let group = world.variable("KAFKA_GROUP_ID");
    let done = apply(&world, deposits(false), group).await;
    assert_eq!((done.processed, done.dead_lettered), (2, 3), "{done:?}");
    assert_eq!(letters(&world), [id(2), id(3), id(4)]);
    assert_eq!((balance(&world, ACCOUNT).await, balance(&world, other).await), (Some(1), Some(10)));

    // What comes later follows, and so does what is published again too early.
    produce(&world, world.topic(), &[event(5), deposited(11, other, &json!(11)), event(4)]).await;
    let done = apply(&world, deposits(true), group).await;
    assert_eq!((done.processed, done.dead_lettered), (1, 2), "{done:?}");
    assert_eq!((balance(&world, ACCOUNT).await, balance(&world, other).await), (Some(1), Some(11)));

    // Published again with the repaired handler they are applied, and nothing holds back what is new.
    produce(&world, world.topic(), &[event(2), event(3)]).await;
    let done = apply(&world, deposits(true), group).await;
    assert_eq!((done.processed, done.dead_lettered), (2, 0), "{done:?}");
    assert_eq!(balance(&world, ACCOUNT).await, Some(3));
    produce(&world, world.topic(), &[event(4), event(5), event(6)]).await;
    let done = apply(&world, deposits(true), group).await;
    assert_eq!((done.processed, done.dead_lettered), (3, 0), "{done:?}");
    assert_eq!(balance(&world, ACCOUNT).await, Some(6));
    assert_eq!(letters(&world).len(), 5);
}

/// The event that fails does so in MongoDB, long after later ones were read, which are about another document.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_overtakes_one_of_its_aggregate_that_waits_for_another_document() {
    let into = |number: u128, account: u128, vault: &str| {
        event(0, number, account, "Deposited", &json!({ "amount": number, "vault": vault }))
    };
    let history = [
        into(1, 1_000, "missing"),
        deposited(2, 1_000, &json!(2)),
        deposited(3, 2_000, &json!(3)),
        into(4, 1_000, "v"),
    ];
    let world = world_with("handlers_order", 1, &history).await;
    world.mongo().await.collection::<Document>("vaults").insert_one(bson::doc! { "_id": "v" }).await.unwrap();
    let group = world.variable("KAFKA_GROUP_ID");
    let done = apply(&world, deposits(false), group).await;
    assert_eq!((done.processed, done.dead_lettered), (1, 3), "{done:?}");
    assert_eq!(letters(&world), [id(1), id(2), id(4)]);
    assert_eq!((balance(&world, 1_000).await, balance(&world, 2_000).await), (Some(1), Some(3)));
    let vault = document(&world.mongo().await, "vaults", "v").await.unwrap();
    assert!(!vault.contains_key("last"), "{vault}");
}

/// Writes a whole profile, of which another handler writes a part.
struct WholeProfile;

impl Handler for WholeProfile {
    fn name(&self) -> &str {
        "whole_profile"
    }

    fn event_type(&self) -> &str {
        "ProfileReplaced"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let bio = event.text("bio")?.unwrap_or_default();
        Ok(vec![
            WriteModel::update("users", event.aggregate_id.clone()).set("profile", bson::doc! { "bio": bio }).into(),
        ])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_of_which_one_would_undo_the_other_are_refused_by_name() {
    let told = [
        event(0, 1, 1_000, "UserCreated", &json!({})),
        event(0, 2, 1_000, "UserUpdated", &json!({ "bio": "a part" })),
        event(0, 3, 1_000, "ProfileReplaced", &json!({ "bio": "the whole" })),
    ];
    let world = world_with("handlers_undo", 1, &told).await;
    let both = evp::activity::registry().register(WholeProfile);
    let refused = try_apply_topic(&world, both, &[("KAFKA_GROUP_ID", "both")]).await.unwrap_err();
    assert_eq!(refused.kind().exit_code(), 64);
    let said = refused.to_string();
    for part in ["`whole_profile`", "`user_updated`", "`profile`", "`profile.bio`", "`users`"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())), []);
}
