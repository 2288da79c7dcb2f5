//! `evp process` while servers and other members come and go.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use serde_json::json;

use crate::support::envelopes::{NewRecord, Topics, committed, event, join_group, produce};
use crate::support::{
    OwnStack, ReplicaSet, Running, World, claim_count, eventually, http_get, records, sasl_broker, topic_end,
};

/// Events of each test, written at [`RATE`].
const EVENTS: u64 = 6_000;
const RATE: u64 = 1_000;

/// A generator and a capture at work, and the world they write to.
struct Load {
    generator: Running,
    capture: Running,
}

impl Load {
    async fn start(world: &World, partitions: u32) -> Self {
        world.init(partitions);
        let mut capture = world.start(&["capture"]);
        capture.event("streaming_started").await;
        let (rate, count) = (RATE.to_string(), EVENTS.to_string());
        let generator = world.start(&["generate", "--rate", &rate, "--count", &count, "--seed", "3"]);
        Self { generator, capture }
    }

    /// Waits until every event is on Kafka.
    async fn finish(mut self, world: &World) {
        eventually("all events are written", async || self.generator.has_ended()).await;
        let all = i64::try_from(EVENTS).unwrap();
        eventually("all events are on Kafka", async || topic_end(world, world.topic()) == Some(all)).await;
        assert_eq!(self.capture.stop().code, Some(0));
    }
}

async fn claimed(world: &World, at_least: u64) {
    let database = world.mongo().await;
    eventually("some events are claimed", async || claim_count(&database).await >= at_least).await;
}

async fn committed_all(world: &World, partitions: i32) {
    let all = i64::try_from(EVENTS).unwrap();
    eventually("all events are committed", async || committed(world, partitions).values().sum::<i64>() == all).await;
}

fn verify(world: &World) {
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    assert_eq!(records(world, &format!("{}.dlq", world.topic())), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_and_kafka_may_stop_and_come_back_during_load() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack("faults_servers", &stack).await;
    let load = Load::start(&world, 3).await;
    // Where the group is not joined again or its offsets stay behind, the log tells what librdkafka waits for.
    let level = "evp=info,librdkafka=debug";
    let arguments = ["process", "--log-level", level, "--kafka", "debug=cgrp", "--http", "127.0.0.1:0"];
    let mut process = world.start(&arguments);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    claimed(&world, 500).await;
    stack.stop(&["mongo"]);
    process.event("mongodb_unavailable").await;
    stack.start(&["mongo"]);
    process.event("mongodb_available").await;
    claimed(&world, 1_500).await;
    stack.stop(&["kafka"]);
    process.event("kafka_unavailable").await;
    assert!(matches!(http_get(&address, "/readyz").await, Some((503, reason)) if reason.contains("Kafka")));
    stack.start(&["kafka"]);
    load.finish(&world).await;
    committed_all(&world, 3).await;
    eventually("it is ready", async || http_get(&address, "/readyz").await.unwrap().0 == 200).await;
    assert_eq!(process.stop().code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_election_undoes_is_written_again_and_counted_once() {
    let set = ReplicaSet::up().await;
    let mut world = World::on_stack("faults_election", &set.first).await;
    world.set("MONGODB_URI", set.uri());
    let load = Load::start(&world, 2).await;
    let mut process = world.start(&["process"]);
    claimed(&world, 500).await;
    set.leave_the_first_alone().await;
    set.elect_another().await;
    process.event("claims_reasserted").await;
    load.finish(&world).await;
    committed_all(&world, 2).await;
    assert_eq!(process.stop().code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_obeyed_in_time_while_mongodb_is_away() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let mut world = World::on_stack("faults_away", &stack).await;
    world.set("SHUTDOWN_TIMEOUT_SECONDS", "2");
    let load = Load::start(&world, 1).await;
    let mut process = world.start(&["process"]);
    claimed(&world, 500).await;
    stack.kill(&["mongo"]);
    process.event("mongodb_unavailable").await;
    let stopped = Instant::now();
    assert_eq!(process.stop().code, Some(0));
    assert!(stopped.elapsed() < Duration::from_secs(6), "{:?}", stopped.elapsed());
    stack.start(&["mongo"]);
    load.finish(&world).await;
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_is_replaced_within_the_session_timeout() {
    let world = World::new("faults_kill").await;
    let load = Load::start(&world, 3).await;
    let process = world.start(&["process"]);
    claimed(&world, 500).await;
    process.kill();
    let killed = Instant::now();
    let mut process = world.start(&["process"]);
    process.event("partitions_assigned").await;
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    load.finish(&world).await;
    committed_all(&world, 3).await;
    assert_eq!(process.stop().code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_mongodb_may_be_killed_together_with_process() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[("EVP_MONGO_REPLSET", "0")]);
    let world = World::on_stack("faults_standalone", &stack).await;
    let load = Load::start(&world, 2).await;
    let known_member = ["process", "--kafka", "group.instance.id=one"];
    for at_least in [500, 1_500, 2_500] {
        let process = world.start(&known_member);
        claimed(&world, at_least).await;
        process.kill();
        stack.kill(&["mongo"]);
        stack.start(&["mongo"]);
    }
    let process = world.start(&known_member);
    load.finish(&world).await;
    committed_all(&world, 2).await;
    assert_eq!(process.stop().code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_a_stopped_one_hands_them_over() {
    let world = World::new("faults_share").await;
    let load = Load::start(&world, 4).await;
    let mut first = world.start(&["process"]);
    first.event("partitions_assigned").await;
    let mut second = world.start(&["process"]);
    let assigned = second.event("partitions_assigned").await;
    assert!(!assigned["partitions"].as_str().unwrap_or_default().contains("0, 1, 2, 3"), "{assigned}");
    claimed(&world, 1_500).await;
    let stopping = Instant::now();
    let stopped = first.stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    // What the first has applied it has also committed, so that nothing is applied again.
    let at_stop: i64 = committed(&world, 4).values().sum();
    assert!(at_stop > 0);
    load.finish(&world).await;
    committed_all(&world, 4).await;
    let finished = second.stop();
    assert_eq!(finished.code, Some(0));
    let duplicates: Vec<_> = [&stopped, &finished].iter().map(|finished| summary(&finished.stderr)).collect();
    assert_eq!(duplicates.iter().map(|(_, duplicates)| duplicates).sum::<u64>(), 0, "{duplicates:?}");
    assert_eq!(duplicates.iter().map(|(processed, _)| processed).sum::<u64>(), EVENTS, "{duplicates:?}");
    verify(&world);
}

/// Events processed and duplicates, as the last line of a run tells them.
fn summary(log: &str) -> (u64, u64) {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut summaries = lines.filter(|line| line["event"] == "kafka_consumer_stopped");
    let summary = summaries.next().expect("a summary");
    (summary["total_processed"].as_u64().unwrap(), summary["duplicates"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_load_drains_and_commits_what_was_applied() {
    let world = World::new("faults_term").await;
    let load = Load::start(&world, 2).await;
    let mut processed = 0;
    for at_least in [300, 1_200, 2_400] {
        let mut process = world.start(&["process"]);
        process.event("partitions_assigned").await;
        claimed(&world, at_least).await;
        let stopping = Instant::now();
        let stopped = process.stop();
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
        processed += summary(&stopped.stderr).0;
        let committed: i64 = committed(&world, 2).values().sum();
        assert_eq!(committed, i64::try_from(processed).unwrap());
        assert_eq!(claim_count(&world.mongo().await).await, processed, "an event is claimed and not applied");
    }
    load.finish(&world).await;
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    verify(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_a_member_keeps_in_a_rebalance_while_mongodb_stalls_are_read_on() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let mut world = World::on_stack("faults_paused", &stack).await;
    world.set("KAFKA_MAX_POLL_RECORDS", "10");
    world.set("LOG_LEVEL", "debug");
    let topics = Topics::new(&world);
    topics.create(world.topic(), 2, &[]).await;
    let mut process = world.start(&["process"]);
    process.event("partitions_assigned").await;
    stack.pause(&["mongo"]);
    let created = |number: u128| event(i32::from(number % 2 == 1), number, number, "UserCreated", &json!({}));
    produce(&world, world.topic(), &(0..2_000).map(created).collect::<Vec<NewRecord>>()).await;
    let is_paused = || process.events("kafka_consumer_flow").last().is_some_and(|flow| flow["paused"] == true);
    eventually("the backlog is full", async || is_paused()).await;
    let other = join_group(&world);
    eventually("another member has partitions", async || {
        let _ = other.poll(Duration::from_millis(50));
        other.assignment().is_ok_and(|assignment| assignment.count() > 0)
    })
    .await;
    drop(other);
    stack.resume(&["mongo"]);
    eventually("everything is committed", async || committed(&world, 2) == [(0, 1_000), (1, 1_000)].into()).await;
    assert_eq!(process.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_for_kafka_end_both_halves_with_the_remedy() {
    let (_stack, sasl) = sasl_broker();
    let mut world = World::new("faults_denied").await;
    world.init(1);
    world.set("KAFKA_BOOTSTRAP_SERVERS", sasl);
    world.set("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext");
    world.set("KAFKA_SASL_MECHANISM", "PLAIN");
    world.set("KAFKA_SASL_USERNAME", "evp");
    world.set("KAFKA_SASL_PASSWORD", "wrong");
    for half in ["capture", "process"] {
        let denied = world.run(&[half]);
        assert_eq!(denied.code, Some(1), "{half}: {denied:?}");
        assert!(denied.failure().contains("check KAFKA_SASL_USERNAME"), "{half}: {}", denied.failure());
    }
}
