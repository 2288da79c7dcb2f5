//! What can be told of Kafka's settings before anything is contacted, and settings that work on a real broker.

use serde_json::json;

use crate::support::envelopes::{NewRecord, event, process, world_with};
use crate::support::{World, free_address, sasl_broker, topic_end};

#[tokio::test]
async fn security_that_cannot_work_is_told_at_once_with_the_variables() {
    let mut world = World::new("sasl_mistakes").await;
    // Nobody is asked: nothing listens there.
    world.set("KAFKA_BOOTSTRAP_SERVERS", format!("http://{}", free_address()));
    world.set("KAFKA_SECURITY_PROTOCOL", "SASL_SSL");
    world.set("KAFKA_SASL_USERNAME", "evp");
    world.set("KAFKA_SSL_CA_LOCATION", "/nonexistent/ca.pem");
    for command in ["capture", "process", "init", "verify"] {
        let finished = world.run(&[command, "--kafka", "sasl.password=hunter2", "--kafka", "acks=1"]);
        assert_eq!(finished.code, Some(64), "{command}: {finished:?}");
        let failure = finished.failure();
        for name in ["KAFKA_SASL_MECHANISM", "KAFKA_SSL_CA_LOCATION", "KAFKA_BOOTSTRAP_SERVERS", "--kafka acks"] {
            assert!(failure.contains(name), "{command} should name {name}: {failure}");
        }
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_credentials_let_every_command_in() {
    let (stack, sasl) = sasl_broker();
    let mut world = World::new("sasl_right").await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", sasl);
    world.set("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT");
    world.set("KAFKA_SASL_MECHANISM", "PLAIN");
    world.set("KAFKA_SASL_USERNAME", "evp");
    world.set("KAFKA_SASL_PASSWORD", "right");
    world.init(2);
    assert_eq!(world.run(&["generate", "--rate", "0", "--count", "50", "--seed", "3"]).code, Some(0));
    for command in [&["capture", "--until", "caught-up"][..], &["process", "--until", "caught-up"], &["verify"]] {
        let finished = world.run(command);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    assert_eq!(topic_end(&world, world.topic()), Some(50));
}

/// The group protocol of KIP-848, in which the broker decides what a member otherwise asks for.
#[tokio::test(flavor = "multi_thread")]
async fn process_joins_with_the_newer_group_protocol() {
    let created = |number: u128| event(i32::from(number % 2 == 1), number, number, "UserCreated", &json!({}));
    let world = world_with("group_protocol", 2, &(0..200).map(created).collect::<Vec<NewRecord>>()).await;
    let newer = ["process", "--kafka", "group.protocol=consumer"];
    let mut first = world.start(&newer);
    first.event("starting_event_consumption").await;
    crate::support::eventually("everything is committed", async || {
        crate::support::envelopes::committed(&world, 2) == [(0, 100), (1, 100)].into()
    })
    .await;
    // A second member takes a part of it over, and gives it back.
    let mut second = world.start(&newer);
    second.event("starting_event_consumption").await;
    assert_eq!(second.stop().code, Some(0));
    assert_eq!(first.stop().code, Some(0));
    let finished = world.run(&[&newer[..], &["--until", "caught-up"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // And back to the older protocol, in the same group.
    process(&world);
}
