//! `evp process` in a group that never rests: members join, leave, are killed, and sleep beyond their session.

use std::time::{Duration, Instant};

use crate::support::envelopes::committed;
use crate::support::{OwnStack, Running, World, eventually, records, topic_end};

const EVENTS: i64 = 14_000;
const RATE: u64 = 500;
const PARTITIONS: i32 = 6;

/// What a broker needs so that a sleeping member is given up within seconds, by either protocol.
const SHORT_SESSIONS: &str = "group.min.session.timeout.ms=1000\n\
                              group.consumer.min.session.timeout.ms=1000\n\
                              group.consumer.session.timeout.ms=4000\n\
                              group.consumer.min.heartbeat.interval.ms=200\n\
                              group.consumer.heartbeat.interval.ms=500";

/// The ways in which members of a group agree.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Cooperative,
    /// KIP-848: the broker assigns.
    Broker,
    Static,
}

impl Protocol {
    fn settings(self, member: &str) -> Vec<String> {
        let settings = match self {
            Self::Cooperative => vec!["partition.assignment.strategy=cooperative-sticky".to_owned()],
            Self::Broker => vec!["group.protocol=consumer".to_owned()],
            Self::Static => vec![format!("group.instance.id={member}")],
        };
        let session = ["session.timeout.ms=4000".to_owned(), "heartbeat.interval.ms=500".to_owned()];
        settings.into_iter().chain(session.into_iter().filter(|_| self != Self::Broker)).collect()
    }

    fn start(self, world: &World, member: &str) -> Running {
        let settings = self.settings(member);
        let flags = settings.iter().flat_map(|setting| ["--kafka", setting.as_str()]);
        world.start(&["process"].into_iter().chain(flags).collect::<Vec<_>>())
    }
}

async fn storm(test: &str, protocol: Protocol) {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[("EVP_KAFKA_SETTINGS", SHORT_SESSIONS)]);
    let world = World::on_stack(test, &stack).await;
    world.init(u32::try_from(PARTITIONS).unwrap());
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let (rate, count) = (RATE.to_string(), EVENTS.to_string());
    let mut generator = world.start(&["generate", "--rate", &rate, "--count", &count, "--seed", "8"]);

    let (mut first, mut second) = (protocol.start(&world, "first"), protocol.start(&world, "second"));
    passed(&world, 1_000).await;
    let mut third = protocol.start(&world, "third");
    third.event("partitions_assigned").await;
    passed(&world, 2_500).await;
    // One dies, and comes back under its name.
    second.kill();
    second = protocol.start(&world, "second");
    // One sleeps beyond its session, while the others go on with its partitions, and wakes among them.
    first.pause();
    let asleep = committed(&world, PARTITIONS);
    eventually("every partition goes on without the sleeper", async || {
        let now = committed(&world, PARTITIONS);
        (0..PARTITIONS).all(|partition| now.get(&partition) > asleep.get(&partition))
    })
    .await;
    first.resume();
    second.event("partitions_assigned").await;
    passed(&world, 7_000).await;
    let stopping = Instant::now();
    assert_eq!(third.stop().code, Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(30), "{:?}", stopping.elapsed());
    third = protocol.start(&world, "third");
    passed(&world, 9_000).await;
    third.kill();
    second.pause();
    third = protocol.start(&world, "third");
    third.event("partitions_assigned").await;
    passed(&world, 10_500).await;
    second.resume();

    eventually("all events are written", async || generator.has_ended()).await;
    eventually("all events are on Kafka", async || topic_end(&world, world.topic()) == Some(EVENTS)).await;
    passed(&world, EVENTS).await;
    assert!(!first.has_ended() && !second.has_ended(), "who has slept is a member again");
    for member in [first, second, third, capture] {
        let stopped = member.stop();
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
    }
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())), []);
}

/// Waits until so many events are committed.
async fn passed(world: &World, events: i64) {
    let what = format!("{events} events are committed");
    eventually(&what, async || committed(world, PARTITIONS).values().sum::<i64>() >= events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_share_out_cooperatively_come_through_a_storm() {
    storm("storm_cooperative", Protocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_the_broker_assigns_come_through_a_storm() {
    storm("storm_broker", Protocol::Broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_with_names_of_their_own_come_through_a_storm() {
    storm("storm_static", Protocol::Static).await;
}
