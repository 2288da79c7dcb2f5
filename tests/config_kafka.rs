//! What can be told of Kafka's settings before anything is contacted, and settings that work on a real broker.

use serde_json::json;

use crate::support::envelopes::{NewRecord, event, process, world_with};
use crate::support::{OwnStack, World, free_address, topic_end};

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

/// A broker that wants a password on its second listener; its address, and where anybody may enter.
fn sasl_broker() -> (OwnStack, String) {
    let [plain, sasl, controller] = [(); 3].map(|()| free_address());
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let settings = format!(
        "listeners=PLAINTEXT://{plain},SASL://{sasl},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{plain},SASL://{sasl}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_evp=\"right\";"
    );
    let ports = [("EVP_KAFKA_PORT", &*port(&plain)), ("EVP_KAFKA_CONTROLLER_PORT", &*port(&controller))];
    (OwnStack::up(&["kafka"], &[ports[0], ports[1], ("EVP_KAFKA_SETTINGS", &settings)]), sasl)
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
