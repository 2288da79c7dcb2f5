//! `evp process` while MongoDB refuses what is written for reasons that are no event's fault.

use std::time::Duration;

use bson::doc;
use serde_json::json;

use crate::support::envelopes::{NewRecord, Topics, event, produce};
use crate::support::{OwnStack, World, claim_count, eventually, http_get, records};

/// Lets MongoDB refuse write commands.
async fn refuse(world: &World, mode: impl Into<bson::Bson>, code: i32) {
    let mut command = doc! { "configureFailPoint": "failCommand", "mode": mode };
    command.insert("data", doc! { "errorCode": code, "failCommands": ["insert", "update"] });
    world.mongo().await.client().database("admin").run_command(command).await.unwrap();
}

/// Users, each with a change.
fn users(first: u128) -> Vec<NewRecord> {
    let user = |number: u128| {
        [
            event(0, 2 * number, number, "UserCreated", &json!({})),
            event(0, 2 * number + 1, number, "UserUpdated", &json!({ "first_name": "Ada" })),
        ]
    };
    (first..first + 25).flat_map(user).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_everything_is_an_outage_that_is_told_and_no_event_becomes_a_dead_letter() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[("EVP_MONGO_TEST_COMMANDS", "1")]);
    let mut world = World::on_stack("refusals", &stack).await;
    world.set("RETRY_DELAY_SECONDS", "0.2");
    Topics::new(&world).create(world.topic(), 1, &[]).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    let database = world.mongo().await;
    let applied = async |count: u64| {
        eventually(&format!("{count} events are applied"), async || claim_count(&database).await == count).await;
    };
    produce(&world, world.topic(), &users(1_000)).await;
    applied(50).await;
    // UnknownError, NoSuchKey, Unauthorized, AtlasError (over a quota), BadValue, an assertion, and one that nobody has.
    for (round, code) in (1_u64..).zip([8, 4, 13, 8_000, 2, 16_500, 999]) {
        refuse(&world, "alwaysOn", code).await;
        let first = 2_000 + 100 * u128::from(round);
        produce(&world, world.topic(), &users(first)).await;
        let number = code.to_string();
        let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains(&number));
        eventually(&format!("code {code} is told"), is_told).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(is_told().await, "code {code} is told as long as it lasts");
        refuse(&world, "off", code).await;
        applied(51 * round + 49).await;
        let is_ready = async || matches!(http_get(&address, "/readyz").await, Some((200, _)));
        eventually(&format!("it is ready after code {code}"), is_ready).await;
        // Once, for a single event.
        refuse(&world, doc! { "times": 1 }, code).await;
        produce(&world, world.topic(), &[event(0, 2 * first + 99, first + 50, "UserCreated", &json!({}))]).await;
        applied(51 * round + 50).await;
    }
    assert!(!process.has_ended());
    assert_eq!(process.stop().code, Some(0));
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())), []);
}
