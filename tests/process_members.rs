//! `evp process` and its group: commits that are refused or without an answer, and members without partitions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, event, produce, try_produce, world_with};
use crate::support::{
    Asked, DEADLINE, Forgetful, Running, World, claim_count, distant_broker, document, eventually, first_broker,
    http_get, second_broker,
};

/// By what offsets are committed.
const COMMITS: Asked = Asked { kind: 8, client: "evp-process" };
/// What a process is given that is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

fn users(numbers: std::ops::Range<u128>) -> Vec<NewRecord> {
    numbers.map(|number| event(0, number, number, "UserCreated", &json!({}))).collect()
}

async fn address_of(process: &mut Running) -> String {
    process.event("http_listening").await["address"].as_str().unwrap().to_owned()
}

async fn applied(world: &World, all: u64) {
    let database = world.mongo().await;
    eventually(&format!("{all} events are applied"), async || claim_count(&database).await == all).await;
}

async fn is_ready(address: &str) -> bool {
    matches!(http_get(address, "/readyz").await, Some((200, _)))
}

/// The first broker keeps the groups' offsets, the second one the topic.
#[tokio::test(flavor = "multi_thread")]
async fn commits_without_an_answer_are_told_while_events_are_applied() {
    let (first, controller) = first_broker();
    let mut world = World::on_stack("members_commits", &first).await;
    assert_eq!(committed(&world, 1).len(), 0);
    let second = second_broker(&controller);
    Topics::new(&world).create_at(world.topic(), &[2]).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = address_of(&mut process).await;
    let is_told = async |what: &str| {
        let told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains(what));
        eventually(&format!("readiness tells of {what}"), told).await;
    };
    produce(&world, world.topic(), &users(0..20)).await;
    eventually("offsets are committed", async || committed(&world, 1) == [(0, 20)].into()).await;

    world.set("KAFKA_BOOTSTRAP_SERVERS", second.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    first.pause(&["kafka"]);
    // An idempotent producer would need the first.
    assert!(try_produce(&world, world.topic(), &users(20..40), DEADLINE).await);
    applied(&world, 40).await;
    is_told("coordinator").await;
    let metrics = http_get(&address, "/metrics").await.unwrap().1;
    let waited = metrics.lines().find_map(|line| line.strip_prefix("evp_process_commit_wait_seconds ")).unwrap();
    assert!(waited.parse::<f64>().unwrap() > 1.0, "{waited}");
    first.resume(&["kafka"]);
    eventually("it is ready", async || is_ready(&address).await).await;
    produce(&world, world.topic(), &users(40..60)).await;
    applied(&world, 60).await;
    eventually("offsets are committed", async || committed(&world, 1) == [(0, 60)].into()).await;
    assert_eq!(process.stop().code, Some(0));
}

/// The coordinator answers, and for a while it does not know the topic of which it is told.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_the_coordinator_refuses_are_told_and_made_good_later() {
    let (_stack, broker, relayed) = distant_broker();
    let mut world = World::new("members_refused").await;
    let way = Forgetful::between(&relayed, &broker, COMMITS, world.topic()).await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", relayed);
    world.set("SHUTDOWN_TIMEOUT_SECONDS", STOP_WITHIN.as_secs().to_string());
    Topics::new(&world).create(world.topic(), 1, &[]).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = address_of(&mut process).await;
    produce(&world, world.topic(), &users(0..20)).await;
    eventually("offsets are committed", async || committed(&world, 1) == [(0, 20)].into()).await;

    way.forget(u32::MAX);
    produce(&world, world.topic(), &users(20..40)).await;
    applied(&world, 40).await;
    let is_told =
        async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains("refused all commits"));
    eventually("readiness tells of it", is_told).await;
    process.event("kafka_commits_refused").await;
    let metrics = http_get(&address, "/metrics").await.unwrap().1;
    let failed = metrics.lines().find_map(|line| line.strip_prefix("evp_process_commits_failed_total "));
    assert!(failed.is_some_and(|failed| failed.parse::<u32>().unwrap() > 1), "{failed:?}");
    assert_eq!(committed(&world, 1), [(0, 20)].into());
    way.forget(0);
    eventually("it is ready", async || is_ready(&address).await).await;
    eventually("offsets are committed", async || committed(&world, 1) == [(0, 40)].into()).await;

    way.forget(u32::MAX);
    produce(&world, world.topic(), &users(40..60)).await;
    applied(&world, 60).await;
    eventually("readiness tells of it", is_told).await;
    let stopping = Instant::now();
    let stopped = process.stop();
    println!("stopped after {:.1?}", stopping.elapsed());
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(stopping.elapsed() < STOP_WITHIN + Duration::from_secs(1), "{:?}", stopping.elapsed());
    way.forget(0);
    assert_eq!(world.run(&["process", "--until", "caught-up"]).code, Some(0));
    assert_eq!(committed(&world, 1), [(0, 60)].into());
    let statistics = document(&world.mongo().await, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").ok(), Some(60), "what was not committed is counted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_partitions_is_ready_and_takes_over() {
    let mut world = world_with("members_idle", 1, &[]).await;
    let settings = [
        "partition.assignment.strategy=range",
        "partition.assignment.strategy=cooperative-sticky",
        "group.protocol=consumer",
    ];
    for (round, setting) in (0_u64..).zip(settings) {
        world.set("KAFKA_GROUP_ID", format!("{}-{round}", world.name()));
        let start = || world.start(&["process", "--http", "127.0.0.1:0", "--kafka", setting]);
        let first = 100 * u128::from(round);
        let mut members = [start(), start()];
        for member in &mut members {
            let address = address_of(member).await;
            eventually(&format!("each is ready with {setting}"), async || is_ready(&address).await).await;
        }
        produce(&world, world.topic(), &users(first..first + 20)).await;
        applied(&world, 20 * (2 * round + 1)).await;
        // The second that joins may get it from the first.
        let has_partition = |member: &Running| {
            let lines = member.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            let events = ["partitions_assigned", "partitions_revoked"];
            let mut of_it = lines.filter(|line| {
                let is_of_group = events.iter().any(|event| line["event"] == *event);
                is_of_group && line["partitions"].to_string().contains('0')
            });
            of_it.next_back().is_some_and(|line| line["event"] == "partitions_assigned")
        };
        eventually(&format!("one of two reads the partition with {setting}"), async || {
            members.iter().filter(|member| has_partition(member)).count() == 1
        })
        .await;
        let [one, other] = members;
        let (active, idle) = if has_partition(&one) { (one, other) } else { (other, one) };
        assert_eq!(active.stop().code, Some(0));
        produce(&world, world.topic(), &users(first + 20..first + 40)).await;
        applied(&world, 20 * (2 * round + 2)).await;
        assert_eq!(idle.stop().code, Some(0));
    }
}
