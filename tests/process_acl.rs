//! `evp process` without the right to write dead letters, and without that to commit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, event, id, produce};
use crate::support::{DEADLINE, Running, World, as_user, authorizing_broker, document, eventually, http_get, records};

/// How soon readiness must tell of it.
const NOTICE: Duration = Duration::from_secs(10);

fn start(world: &World, sasl: &str) -> Running {
    let mut command = world.command(&["process", "--http", "127.0.0.1:0"]);
    as_user(&mut command, sasl);
    Running::spawn(command)
}

fn user(number: u128, email: Value) -> NewRecord {
    event(0, number, number, "UserCreated", &json!({ "email": email }))
}

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
    let start = || start(&world, &sasl);
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

/// The members of a group may not even say that they are alive without the right to read by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_commit_any_more_ends_process_with_the_remedy_and_loses_nothing() {
    let (stack, sasl) = authorizing_broker();
    let mut world = World::new("acl_group").await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    Topics::new(&world).create(world.topic(), 1, &[]).await;
    let group = world.variable("KAFKA_GROUP_ID").to_owned();
    let deny = |what: &str| {
        stack.acl(&[what, "--deny-principal", "User:evp", "--operation", "Read", "--group", &group]);
    };
    let users = |numbers: std::ops::Range<u128>| numbers.map(|number| user(number, json!("a"))).collect::<Vec<_>>();
    let mut process = start(&world, &sasl);
    process.event("partitions_assigned").await;
    produce(&world, world.topic(), &users(0..10)).await;
    eventually("the first are committed", async || committed(&world, 1) == [(0, 10)].into()).await;
    deny("--add");
    produce(&world, world.topic(), &users(10..20)).await;
    let ended = process.wait(DEADLINE);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.failure().contains("grant the principal its topics and group"), "{}", ended.failure());
    assert_eq!(committed(&world, 1), [(0, 10)].into());
    deny("--remove");
    let mut process = start(&world, &sasl);
    process.event("partitions_assigned").await;
    eventually("everything is committed", async || committed(&world, 1) == [(0, 20)].into()).await;
    assert_eq!(process.stop().code, Some(0));
    let statistics = document(&world.mongo().await, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").ok(), Some(20), "what was not committed is counted once");
}
