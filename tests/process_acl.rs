//! `evp process` without the right to write dead letters.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::envelopes::{Topics, committed, event, id, produce};
use crate::support::{Running, World, authorizing_broker, document, eventually, http_get, records};

/// How soon readiness must tell of it.
const NOTICE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_may_not_be_written_is_told_and_nothing_is_committed_past_it_until_it_may() {
    let (stack, sasl) = authorizing_broker();
    let mut world = World::new("acl").await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    world.set("RETRY_DELAY_SECONDS", "0.2");
    let letters = format!("{}.dlq", world.topic());
    let topics = Topics::new(&world);
    topics.create(world.topic(), 1, &[]).await;
    topics.create(&letters, 1, &[]).await;
    let deny = |what: &str| {
        stack.acl(&[what, "--deny-principal", "User:evp", "--operation", "Write", "--topic", &letters]);
    };
    deny("--add");
    let start = || {
        let mut command = world.command(&["process", "--http", "127.0.0.1:0"]);
        command.envs([
            ("KAFKA_BOOTSTRAP_SERVERS", sasl.as_str()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
            ("KAFKA_SASL_MECHANISM", "PLAIN"),
            ("KAFKA_SASL_USERNAME", "evp"),
            ("KAFKA_SASL_PASSWORD", "right"),
        ]);
        Running::spawn(command)
    };
    let user =
        |number: u128, email: serde_json::Value| event(0, number, number, "UserCreated", &json!({ "email": email }));
    let mut process = start();
    process.event("partitions_assigned").await;
    let database = world.mongo().await;
    for round in 0..2_u128 {
        let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
        let first = 1_000 * (round + 1);
        let written = Instant::now();
        produce(
            &world,
            world.topic(),
            &[user(first, json!("a")), user(first + 1, json!(7)), user(first + 2, json!("c"))],
        )
        .await;
        let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains(&letters) && why.contains("rights"));
        eventually("it is told", is_told).await;
        println!("told after {:.1?}", written.elapsed());
        assert!(written.elapsed() < NOTICE, "told after {:?}", written.elapsed());
        eventually("others are applied", async || document(&database, "users", &id(first + 2)).await.is_some()).await;
        assert!(committed(&world, 1).get(&0).is_none_or(|offset| *offset <= 1), "an offset passed the refused event");
        assert_eq!(records(&world, &letters).len(), 0);
        if round == 0 {
            // Another start changes nothing.
            assert_eq!(std::mem::replace(&mut process, start()).stop().code, Some(0));
            process.event("partitions_assigned").await;
        } else {
            deny("--remove");
            eventually("it is ready", async || matches!(http_get(&address, "/readyz").await, Some((200, _)))).await;
        }
    }
    eventually("everything is committed", async || committed(&world, 1) == [(0, 6)].into()).await;
    assert_eq!(records(&world, &letters).len(), 2);
    assert_eq!(process.stop().code, Some(0));
}
