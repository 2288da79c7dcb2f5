//! `evp process` while a server stands still instead of being gone: it answers nothing and refuses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::envelopes::{NewRecord, Topics, event, id, try_produce};
use crate::support::{DEADLINE, OwnStack, Running, World, claim_count, document, eventually, http_get, records};

const ACTIVITY: u128 = 900_000;
/// One would be full before the last of twenty pauses.
const ACTIVITIES: u128 = 20;
const PARTITIONS: i32 = 3;
/// Events of one burst, ten of which are written a second.
const BURST: usize = 25;
const BURST_INTERVAL: Duration = Duration::from_millis(100);
/// How soon it must be at work after the server is.
const RECOVERY: Duration = Duration::from_secs(15);
/// How soon readiness must tell that a server does not answer.
const NOTICE: Duration = Duration::from_secs(10);

/// A user, or a join of one of the activities, which all are on one partition.
fn numbered(number: usize) -> NewRecord {
    let partition = i32::try_from(number).unwrap() % PARTITIONS;
    let number = number as u128 + 1;
    match number % 2 {
        0 => event(partition, number, number, "UserCreated", &json!({})),
        _ => {
            let activity = ACTIVITY + number / 2 % ACTIVITIES;
            event(0, number, activity, "ParticipantJoined", &json!({ "user_id": id(number) }))
        }
    }
}

/// Writes bursts until told to stop; one that Kafka does not take in time is written again by a client of its own.
struct Feeder {
    stop: Arc<AtomicBool>,
    bursts: Arc<AtomicUsize>,
    task: JoinHandle<usize>,
}

impl Feeder {
    fn start(world: Arc<World>) -> Self {
        let (stop, bursts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bursts));
        let task = tokio::spawn(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let burst: Vec<NewRecord> = (written..written + BURST).map(numbered).collect();
                if try_produce(&world, world.topic(), &burst, Duration::from_secs(3)).await {
                    written += BURST;
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(BURST_INTERVAL).await;
            }
            written
        });
        Self { stop, bursts, task }
    }

    fn bursts(&self) -> usize {
        self.bursts.load(Ordering::Relaxed)
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Everything of a test with servers that are paused.
struct Scene {
    stack: OwnStack,
    world: Arc<World>,
    process: Running,
    address: String,
    feeder: Feeder,
}

impl Scene {
    async fn new(test: &str) -> Self {
        let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
        let world = Arc::new(World::on_stack(test, &stack).await);
        Topics::new(&world).create(world.topic(), PARTITIONS, &[]).await;
        let created = |number| event(0, 10_000_000 + number, ACTIVITY + number, "ActivityCreated", &json!({}));
        let created: Vec<NewRecord> = (0..ACTIVITIES).map(created).collect();
        assert!(try_produce(&world, world.topic(), &created, DEADLINE).await);
        let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
        let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
        let feeder = Feeder::start(Arc::clone(&world));
        let scene = Self { stack, world, process, address, feeder };
        scene.applied_more().await;
        scene
    }

    /// Waits until more is claimed than now; how long that took.
    async fn applied_more(&self) -> Duration {
        let (started, database) = (Instant::now(), self.world.mongo().await);
        let before = claim_count(&database).await;
        eventually("more events are applied", async || claim_count(&database).await > before).await;
        started.elapsed()
    }

    /// Freezes a server for that long; how soon that is told, and how long after it is back events are applied.
    async fn pause(&self, server: &str, told: &str, length: Duration) -> (Duration, Duration) {
        self.stack.pause(&[server]);
        let paused = Instant::now();
        eventually(
            "readiness tells of it",
            async || matches!(http_get(&self.address, "/readyz").await, Some((503, reason)) if reason.contains(told)),
        )
        .await;
        let noticed = paused.elapsed();
        tokio::time::sleep(length.saturating_sub(noticed)).await;
        self.stack.resume(&[server]);
        let resumed = Instant::now();
        let bursts = self.feeder.bursts();
        eventually("Kafka takes events", async || self.feeder.bursts() > bursts).await;
        let fed = resumed.elapsed();
        self.applied_more().await;
        eventually("it is ready", async || matches!(http_get(&self.address, "/readyz").await, Some((200, _)))).await;
        let recovered = resumed.elapsed();
        println!("{server}: told after {noticed:.1?}; back: fed after {fed:.1?}, at work after {recovered:.1?}");
        assert!(noticed < NOTICE && recovered < RECOVERY, "{server}: told {noticed:?}, at work {recovered:?}");
        (noticed, recovered)
    }

    /// Nothing is lost, and nothing counted twice.
    async fn finish(self) {
        let written = self.feeder.finish().await;
        let database = self.world.mongo().await;
        let all = u64::try_from(written).unwrap() + u64::try_from(ACTIVITIES).unwrap();
        eventually("all are applied", async || claim_count(&database).await == all).await;
        assert_eq!(self.process.stop().code, Some(0));
        let users = (0..written).filter(|number| number % 2 == 1).count();
        let statistics = document(&database, "statistics", "global_stats").await.unwrap();
        assert_eq!(statistics.get_i64("total_users").unwrap(), i64::try_from(users).unwrap());
        let mut joined = 0;
        for number in 0..ACTIVITIES {
            let activity = document(&database, "activities", &id(ACTIVITY + number)).await.unwrap();
            let participants = activity.get_document("participants").unwrap();
            joined += participants.get_array("list").unwrap().len();
        }
        assert_eq!(joined, written - users);
        assert_eq!(records(&self.world, &format!("{}.dlq", self.world.topic())), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_and_a_mongodb_that_stand_still_for_a_while_are_told_of_and_work_goes_on_soon() {
    let scene = Scene::new("paused").await;
    let length = Duration::from_secs(15);
    scene.pause("mongo", "MongoDB", length).await;
    scene.pause("kafka", "Kafka", length).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twenty minutes and more"]
async fn a_kafka_that_stands_still_for_forty_seconds_twenty_times() {
    let scene = Scene::new("paused_kafka").await;
    for _ in 0..soak_rounds() {
        scene.pause("kafka", "Kafka", Duration::from_secs(40)).await;
    }
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fifteen minutes and more"]
async fn a_mongodb_that_stands_still_for_forty_seconds_twenty_times() {
    let scene = Scene::new("paused_mongo").await;
    for _ in 0..soak_rounds() {
        scene.pause("mongo", "MongoDB", Duration::from_secs(40)).await;
    }
    scene.finish().await;
}

/// Twenty, or what `EVP_SOAK_ROUNDS` says.
fn soak_rounds() -> u32 {
    std::env::var("EVP_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

/// Passes bytes on to MongoDB, and lets those of the connections so far vanish when told to, as a firewall does.
struct Passage {
    address: String,
    generation: Arc<AtomicUsize>,
}

impl Passage {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let generation = Arc::new(AtomicUsize::new(0));
        let current = Arc::clone(&generation);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, current) = (TcpStream::connect(&server).await.unwrap(), Arc::clone(&current));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, Arc::clone(&current)));
                tokio::spawn(pass(from_server, to_client, current));
            }
        });
        Self { address, generation }
    }

    fn forget_connections(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, current: Arc<AtomicUsize>) {
    let (born, mut buffer) = (current.load(Ordering::Relaxed), vec![0; 64 * 1024]);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if current.load(Ordering::Relaxed) == born && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_mongodb_that_died_without_a_word_are_replaced() {
    let mut world = World::new("paused_dead").await;
    Topics::new(&world).create(world.topic(), PARTITIONS, &[]).await;
    let host = world.variable("MONGODB_URI").split('/').nth(2).unwrap().to_owned();
    let passage = Passage::to(host).await;
    let database = world.mongo().await;
    world.set("MONGODB_URI", format!("mongodb://{}/?directConnection=true", passage.address));
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    process.event("partitions_assigned").await;
    assert!(try_produce(&world, world.topic(), &(0..BURST).map(numbered).collect::<Vec<_>>(), DEADLINE).await);
    let users = async |count| {
        let users = database.collection::<bson::Document>("users");
        users.count_documents(bson::doc! {}).await.unwrap() == count
    };
    eventually("the first are applied", async || users(12).await).await;
    passage.forget_connections();
    let died = Instant::now();
    let more: Vec<NewRecord> = (BURST..2 * BURST).map(numbered).collect();
    assert!(try_produce(&world, world.topic(), &more, DEADLINE).await);
    process.event("mongodb_unavailable").await;
    let told = died.elapsed();
    eventually("the others are applied", async || users(25).await).await;
    println!("dead connections: told after {told:.1?}, at work after {:.1?}", died.elapsed());
    assert!(told < NOTICE, "{told:?}");
    assert_eq!(process.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_obeyed_in_time_while_kafka_or_mongodb_stands_still() {
    let mut scene = Scene::new("paused_term").await;
    for server in ["kafka", "mongo"] {
        let mut command = scene.world.command(&["process"]);
        command.env("SHUTDOWN_TIMEOUT_SECONDS", "6");
        let again = Running::spawn(command);
        let before = std::mem::replace(&mut scene.process, again);
        assert_eq!(before.stop().code, Some(0));
        scene.process.event("partitions_assigned").await;
        scene.applied_more().await;
        scene.stack.pause(&[server]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stopping = Instant::now();
        let again = Running::spawn(scene.world.command(&["process"]));
        let stopped = std::mem::replace(&mut scene.process, again).stop();
        let took = stopping.elapsed();
        scene.stack.resume(&[server]);
        println!("{server}: stopped after {took:.1?}");
        assert_eq!(stopped.code, Some(0), "{server}: {stopped:?}");
        assert!(took < Duration::from_millis(6_500), "{server}: {took:?}");
    }
    scene.finish().await;
}
