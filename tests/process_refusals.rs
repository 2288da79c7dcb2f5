//! `evp process` where one event after the other is refused: by MongoDB, or by a handler as it was deployed.

use bson::{Document, doc};
use evp::error::{Error, Result};
use evp::process::{AfterFailure, Event, Handler, ProcessSummary, WriteModel};
use serde_json::json;

use crate::support::envelopes::{NewRecord, committed, event, id, produce, world_with};
use crate::support::library::try_apply_topic;
use crate::support::{Running, World, claim_count, document, eventually, http_get, records};

const GOOD: &str = "good@example.org";
const BAD: &str = "bad@example.org";

/// Users with an address, each with a change behind it.
fn users(numbers: std::ops::Range<u128>, email: &str) -> Vec<NewRecord> {
    let user = |number: u128| {
        [
            event(0, 2 * number, number, "UserCreated", &json!({ "email": email })),
            event(0, 2 * number + 1, number, "UserUpdated", &json!({ "bio": "changed" })),
        ]
    };
    numbers.flat_map(user).collect()
}

/// Lets the collection of users refuse whoever does not match.
async fn rule(world: &World, validator: Document) {
    let database = world.mongo().await;
    let command = doc! { "collMod": "users", "validator": validator.clone() };
    if database.run_command(command).await.is_err() {
        database.run_command(doc! { "create": "users", "validator": validator }).await.unwrap();
    }
}

async fn count(world: &World, collection: &str, filter: Document) -> usize {
    let found = world.mongo().await.collection::<Document>(collection).count_documents(filter).await.unwrap();
    usize::try_from(found).unwrap()
}

fn letters(world: &World) -> usize {
    records(world, &format!("{}.dlq", world.topic())).len()
}

async fn started(world: &World) -> (Running, String) {
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    process.event("partitions_assigned").await;
    (process, address)
}

async fn is_told(address: &str, what: &str) -> bool {
    matches!(http_get(address, "/readyz").await, Some((503, why)) if why.contains(what))
}

async fn is_ready(address: &str) {
    eventually("it is ready", async || matches!(http_get(address, "/readyz").await, Some((200, _)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_refuses_every_event_is_waited_for_and_told_and_other_collections_go_on() {
    let world = world_with("refusals_rule", 1, &[]).await;
    rule(&world, doc! { "never": { "$exists": true } }).await;
    let (mut process, address) = started(&world).await;
    produce(&world, world.topic(), &users(1_000..1_200, GOOD)).await;
    eventually("it is told", async || is_told(&address, "code 121").await).await;
    let activities: Vec<NewRecord> =
        (0..100).map(|number| event(0, 9_000 + number, 9_000 + number, "ActivityCreated", &json!({}))).collect();
    produce(&world, world.topic(), &activities).await;
    eventually("activities are created", async || count(&world, "activities", doc! {}).await == 100).await;
    // Some more, of which none is tried but one now and then.
    produce(&world, world.topic(), &users(1_200..1_300, GOOD)).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(is_told(&address, "`users`").await && !process.has_ended());
    let metrics = http_get(&address, "/metrics").await.unwrap().1;
    assert!(metrics.lines().any(|line| line == "evp_process_refused_handlers 1"), "{metrics}");
    let lost = letters(&world);
    assert!(lost < 20, "{lost} dead letters");
    assert_eq!(process.events("refusals_in_a_row").len(), 1, "it is logged once");

    rule(&world, doc! {}).await;
    eventually("all others are created", async || count(&world, "users", doc! {}).await == 300 - lost).await;
    eventually("and changed", async || count(&world, "users", doc! { "profile.bio": "changed" }).await == 300 - lost)
        .await;
    is_ready(&address).await;
    eventually("all is committed", async || committed(&world, 1) == [(0, 700)].into()).await;
    let statistics = document(&world.mongo().await, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").unwrap(), 300);
    assert_eq!(process.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_among_healthy_events_becomes_a_dead_letter_also_many_in_a_row() {
    let world = world_with("refusals_poison", 1, &[]).await;
    rule(&world, doc! { "email": { "$ne": BAD } }).await;
    let (process, address) = started(&world).await;
    let created = |numbers: std::ops::Range<u128>, email: &str| -> Vec<NewRecord> {
        numbers.map(|number| event(0, number, number, "UserCreated", &json!({ "email": email }))).collect()
    };
    let mixed: Vec<NewRecord> = (1_000..1_300)
        .flat_map(|number| created(number..number + 1, if number % 3 == 0 { BAD } else { GOOD }))
        .collect();
    produce(&world, world.topic(), &mixed).await;
    eventually("one in three is a dead letter", async || letters(&world) == 100).await;
    assert_eq!(process.events("refusals_in_a_row").len(), 0);
    // Nothing but bad ones, as of a careless import, and then healthy ones.
    produce(&world, world.topic(), &created(2_000..2_030, BAD)).await;
    eventually("it is told", async || is_told(&address, "`users`").await).await;
    produce(&world, world.topic(), &created(3_000..3_010, GOOD)).await;
    eventually("the bad ones are dead letters", async || letters(&world) == 130).await;
    eventually("the good ones are created", async || count(&world, "users", doc! {}).await == 210).await;
    is_ready(&address).await;
    eventually("all is committed", async || committed(&world, 1) == [(0, 340)].into()).await;
    assert_eq!(process.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_fails_with_the_reason_and_goes_on_where_it_was_once_the_index_is_gone() {
    let same = |number: u128| event(0, number, number, "UserCreated", &json!({ "email": GOOD }));
    let mut world = world_with("refusals_end", 1, &(1_000..1_060).map(same).collect::<Vec<_>>()).await;
    let database = world.mongo().await;
    database.create_collection("users").await.unwrap();
    database.collection::<Document>("users").insert_one(doc! { "_id": "theirs", "email": GOOD }).await.unwrap();
    let unique =
        doc! { "createIndexes": "users", "indexes": [{ "name": "theirs", "key": { "email": 1 }, "unique": true }] };
    database.run_command(unique).await.unwrap();
    let finished = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains("unique index on email") && failure.contains("MAX_REFUSALS_IN_A_ROW"), "{failure}");
    assert_eq!(letters(&world), 0);
    database.collection::<Document>("users").drop_index("theirs").await.unwrap();
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!((count(&world, "users", doc! {}).await, letters(&world)), (61, 0));

    rule(&world, doc! { "never": { "$exists": true } }).await;
    produce(&world, world.topic(), &(2_000..2_060).map(same).collect::<Vec<_>>()).await;
    world.set("MAX_REFUSALS_IN_A_ROW", "0");
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(letters(&world), 60, "without a limit all are dead letters");
}

/// Notes each user in a document that other handlers change as well; refuses what its version does not like.
struct Noted {
    refuses: fn(&Event) -> bool,
    panics: bool,
}

impl Handler for Noted {
    fn name(&self) -> &str {
        "noted"
    }

    fn event_type(&self) -> &str {
        "UserUpdated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let is_refused = (self.refuses)(event);
        assert!(!(is_refused && self.panics), "broken");
        if is_refused {
            return Err(Error::data("the handler was deployed broken"));
        }
        Ok(vec![WriteModel::update("users", event.aggregate_id.clone()).set("noted", true).into()])
    }
}

async fn apply(world: &World, noted: Noted) -> Result<ProcessSummary> {
    let registry = evp::activity::registry().register(noted);
    let group = world.variable("KAFKA_GROUP_ID");
    try_apply_topic(world, registry, &[("KAFKA_GROUP_ID", group), ("RETRY_DELAY_SECONDS", "0.2")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_refuses_every_event_holds_its_events_back_for_the_one_that_replaces_it() {
    let world = world_with("refusals_handler", 1, &users(1_000..1_060, GOOD)).await;
    for panics in [false, true] {
        let failed = apply(&world, Noted { refuses: |_| true, panics }).await.unwrap_err().to_string();
        assert!(failed.contains("`noted`") && failed.contains("`UserUpdated`"), "{failed}");
        assert_eq!(letters(&world), 0);
    }
    let done = apply(&world, Noted { refuses: |_| false, panics: false }).await.unwrap();
    assert_eq!(done.dead_lettered, 0, "{done:?}");
    assert_eq!(count(&world, "users", doc! { "noted": true, "profile.bio": "changed" }).await, 60);
    assert_eq!((claim_count(&world.mongo().await).await, committed(&world, 1)), (120, [(0, 120)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_handler_refuses_become_dead_letters_once_it_takes_another() {
    let world = world_with("refusals_burst", 1, &users(1_000..1_060, GOOD)).await;
    let taken = event(0, 8_000, 1_001, "UserUpdated", &json!({ "bio": "taken" }));
    produce(&world, world.topic(), &[taken]).await;
    let picky = Noted { refuses: |event| event.text("bio").unwrap() != Some("taken"), panics: false };
    let done = apply(&world, picky).await.unwrap();
    assert_eq!((done.processed, done.dead_lettered), (61, 60), "{done:?}");
    assert_eq!(letters(&world), 60);
    let user = document(&world.mongo().await, "users", &id(1_001)).await.unwrap();
    assert!(user.get_bool("noted").unwrap());
    assert_eq!(count(&world, "users", doc! { "profile.bio": "changed" }).await, 59);
}
