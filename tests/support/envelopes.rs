//! Envelopes made by hand, and the topics they are put on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{DEADLINE, Finished, POLL_INTERVAL, World, eventually};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A record to be put on a topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewRecord {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

/// The same id for the same number.
pub(crate) fn id(number: u128) -> String {
    Uuid::from_u128(0xe0e0_0000_0000_4000_8000_0000_0000_0000 + number).to_string()
}

/// An outbox row; its event id, sequence and second are `number`, its aggregate is `id(aggregate)`.
pub(crate) fn row(number: u128, aggregate: u128, event_type: &str, payload: &Value) -> Value {
    json!({
        "event_id": id(number), "sequence_id": number, "aggregate_id": id(aggregate),
        "aggregate_type": "Aggregate", "event_type": event_type, "payload": payload.to_string(),
        "status": "pending", "retry_count": 0, "last_error": null, "lock_id": null,
        "created_at": format!("2026-01-01T00:{:02}:{:02}.250750Z", number / 60 % 60, number % 60), "published_at": null,
    })
}

/// The envelope that inserts a row.
pub(crate) fn envelope(row: &Value) -> Value {
    json!({ "before": null, "after": row, "source": { "ts_ms": 1_767_225_600_000_i64 }, "op": "c", "ts_ms": 1_767_225_600_001_i64 })
}

/// A record that holds [`row`] in its [`envelope`].
pub(crate) fn event(partition: i32, number: u128, aggregate: u128, event_type: &str, payload: &Value) -> NewRecord {
    let value = envelope(&row(number, aggregate, event_type, payload)).to_string();
    NewRecord {
        partition,
        key: Some(id(aggregate).into_bytes()),
        value: Some(value.into_bytes()),
        ..NewRecord::default()
    }
}

fn client(world: &World) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.variable("KAFKA_BOOTSTRAP_SERVERS"));
    client.set("message.max.bytes", "20000000");
    client
}

/// Puts records on a topic, in order.
pub(crate) async fn produce(world: &World, topic: &str, records: &[NewRecord]) {
    produce_compressed(world, topic, records, "none").await;
}

/// The same, in batches that `codec` compresses.
pub(crate) async fn produce_compressed(world: &World, topic: &str, records: &[NewRecord], codec: &str) {
    let mut client = client(world);
    client.set("enable.idempotence", "true").set("compression.type", codec);
    let producer: FutureProducer = client.create().unwrap();
    let mut sent = Vec::new();
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let mut new = FutureRecord::<[u8], [u8]>::to(topic).partition(record.partition).headers(headers);
        new.key = record.key.as_deref();
        new.payload = record.value.as_deref();
        sent.push(producer.send_result(new).map_err(|(error, _)| error).unwrap());
    }
    for delivery in sent {
        delivery.await.unwrap().unwrap();
    }
}

/// Puts records on a topic by a client that is for them alone; whether Kafka took all of them in time.
pub(crate) async fn try_produce(world: &World, topic: &str, records: &[NewRecord], limit: Duration) -> bool {
    let mut client = client(world);
    client.set("linger.ms", "1").set("message.timeout.ms", limit.as_millis().to_string());
    let producer: FutureProducer = client.create().unwrap();
    let sent = records.iter().map(|record| {
        let mut new = FutureRecord::<[u8], [u8]>::to(topic).partition(record.partition);
        new.key = record.key.as_deref();
        new.payload = record.value.as_deref();
        producer.send(new, limit)
    });
    futures_util::future::join_all(sent).await.iter().all(Result::is_ok)
}

/// What tests change of topics.
pub(crate) struct Topics(AdminClient<DefaultClientContext>);

impl Topics {
    pub(crate) fn new(world: &World) -> Self {
        Self(client(world).create().unwrap())
    }

    /// Adds partitions, up to so many.
    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results = self.0.create_partitions([&new], &AdminOptions::new()).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{topic} cannot grow");
    }

    /// Lets the broker forget the world's group, as it does when that was away for long.
    pub(crate) async fn delete_group(&self, world: &World) {
        let group = world.variable("KAFKA_GROUP_ID");
        let results = self.0.delete_groups(&[group], &AdminOptions::new()).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{group} cannot be deleted");
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let results = self.0.create_topics([&new], &AdminOptions::new().operation_timeout(Some(TIMEOUT))).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{topic} cannot be created");
    }

    /// With one partition on each of these brokers.
    pub(crate) async fn create_at(&self, topic: &str, brokers: &[i32]) {
        let placed: Vec<&[i32]> = brokers.chunks(1).collect();
        let count = i32::try_from(brokers.len()).unwrap();
        let new = NewTopic::new(topic, count, TopicReplication::Variable(&placed));
        let results = self.0.create_topics([&new], &AdminOptions::new().operation_timeout(Some(TIMEOUT))).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{topic} cannot be created");
    }

    pub(crate) async fn delete(&self, topic: &str) {
        let results = self.0.delete_topics(&[topic], &AdminOptions::new().operation_timeout(Some(TIMEOUT))).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{topic} cannot be deleted");
    }

    pub(crate) async fn set(&self, topic: &str, name: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let results = self.0.alter_configs([&change], &AdminOptions::new()).await;
        assert!(results.unwrap().iter().all(Result::is_ok), "{topic} cannot be changed");
    }

    pub(crate) async fn setting(&self, topic: &str, name: &str) -> Option<String> {
        let described =
            self.0.describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await.unwrap();
        described.into_iter().next()?.unwrap().get(name)?.value.clone()
    }

    /// Deletes the records of partition 0 before `offset`.
    pub(crate) async fn delete_records_before(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        self.0.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }
}

/// Deletes the world's topic and makes it anew, empty.
pub(crate) async fn topic_is_made_anew(world: &World, partitions: i32) {
    let topics = Topics::new(world);
    topics.delete(world.topic()).await;
    eventually("the topic is gone", async || !super::topics(world).contains_key(world.topic())).await;
    topics.create(world.topic(), partitions, &[]).await;
}

fn group_member(world: &World) -> BaseConsumer {
    client(world).set("group.id", world.variable("KAFKA_GROUP_ID")).set("enable.auto.commit", "false").create().unwrap()
}

/// Another member of the group, which reads nothing until it is polled.
pub(crate) fn join_group(world: &World) -> BaseConsumer {
    let member = group_member(world);
    member.subscribe(&[world.topic()]).unwrap();
    member
}

/// The committed offset of each of the topic's partitions that has one.
pub(crate) fn committed(world: &World, partitions: i32) -> HashMap<i32, i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(world.topic(), 0, partitions - 1);
    let (member, started) = (group_member(world), Instant::now());
    let committed = loop {
        match member.committed_offsets(list.clone(), TIMEOUT) {
            Ok(committed) => break committed,
            Err(error) => assert!(is_electing(&error) && started.elapsed() < DEADLINE, "{error}"),
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let offsets = committed.elements();
    offsets
        .iter()
        .filter_map(|element| Some((element.partition(), element.offset().to_raw().filter(|at| *at >= 0)?)))
        .collect()
}

/// A broker's first group makes the topic of the offsets, which has no leader for a moment.
fn is_electing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let code = error.rdkafka_error_code();
    matches!(code, Some(NotCoordinator | CoordinatorNotAvailable | CoordinatorLoadInProgress))
}

/// Sets the committed offset of partition 0 while no member is there.
pub(crate) fn reset_offset(world: &World, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(world.topic(), 0, Offset::Offset(offset)).unwrap();
    group_member(world).commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
}

/// A world whose topic has so many partitions and holds `records`.
pub(crate) async fn world_with(test: &str, partitions: i32, new: &[NewRecord]) -> World {
    let mut world = World::new(test).await;
    world.set("RETRY_DELAY_SECONDS", "0.2");
    Topics::new(&world).create(world.topic(), partitions, &[]).await;
    produce(&world, world.topic(), new).await;
    world
}

/// Runs `evp process` to the end of the topic.
pub(crate) fn process(world: &World) -> Finished {
    let finished = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}
