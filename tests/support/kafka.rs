//! Looking at topics from outside.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{DEADLINE, World};

const TIMEOUT: Duration = Duration::from_secs(10);

/// One record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

fn consumer(world: &World) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", world.variable("KAFKA_BOOTSTRAP_SERVERS"))
        .set("group.id", format!("{}-look", world.name()))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer can be made")
}

/// The first and the next offset of each partition; empty if the topic does not exist.
fn watermarks(consumer: &BaseConsumer, topic: &str) -> KafkaResult<HashMap<i32, (i64, i64)>> {
    // All topics at once, because asking for one by name can create it.
    let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
    let found = metadata.topics().iter().find(|known| known.name() == topic);
    let partitions = found.map(|topic| topic.partitions()).unwrap_or_default();
    let marks = |id: i32| Ok((id, consumer.fetch_watermarks(topic, id, TIMEOUT)?));
    partitions.iter().map(|partition| marks(partition.id())).collect()
}

/// How many records were ever written to a topic; nothing if it does not exist, or Kafka does not say.
pub(crate) fn topic_end(world: &World, topic: &str) -> Option<i64> {
    let marks = watermarks(&consumer(world), topic).ok()?;
    (!marks.is_empty()).then(|| marks.values().map(|(_, high)| high).sum())
}

/// How many records were ever written to each topic of this world.
pub(crate) fn topic_ends(world: &World) -> BTreeMap<String, i64> {
    let consumer = consumer(world);
    let Ok(metadata) = consumer.fetch_metadata(None, TIMEOUT) else { return BTreeMap::new() };
    let ours = metadata.topics().iter().filter(|topic| topic.name().contains(world.name()));
    let end = |topic: &str, id: i32| consumer.fetch_watermarks(topic, id, TIMEOUT).map_or(0, |(_, high)| high);
    let of_topic = |topic: &MetadataTopic| topic.partitions().iter().map(|part| end(topic.name(), part.id())).sum();
    ours.map(|topic| (topic.name().to_owned(), of_topic(topic))).collect()
}

/// The partition counts of all topics that begin with the world's name or end with it.
pub(crate) fn topics(world: &World) -> HashMap<String, usize> {
    let metadata = consumer(world).fetch_metadata(None, TIMEOUT).expect("Kafka answers");
    let ours = metadata.topics().iter().filter(|topic| topic.name().contains(world.name()));
    ours.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
}

/// The settings that a topic has of its own.
pub(crate) async fn topic_settings(world: &World, topic: &str) -> BTreeMap<String, String> {
    let servers = world.variable("KAFKA_BOOTSTRAP_SERVERS");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let described = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await.unwrap();
    let entries = described.into_iter().next().unwrap().unwrap().entries.into_iter();
    let own = entries.filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

/// The names of all topics.
pub(crate) fn all_topics(world: &World) -> Vec<String> {
    let metadata = consumer(world).fetch_metadata(None, TIMEOUT).expect("Kafka answers");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// Every record of a topic up to its end as it is now, partition by partition.
pub(crate) fn records(world: &World, topic: &str) -> Vec<Record> {
    let consumer = consumer(world);
    let mut ends: HashMap<i32, i64> = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for (partition, (low, high)) in watermarks(&consumer, topic).expect("Kafka answers") {
        if high > low {
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
            ends.insert(partition, high);
        }
    }
    consumer.assign(&assignment).unwrap();
    let (mut found, started) = (Vec::new(), Instant::now());
    while !ends.is_empty() {
        assert!(started.elapsed() < DEADLINE, "topic {topic} does not deliver its records");
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record.expect("a record");
        if ends.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
            ends.remove(&record.partition());
        }
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        found.push(Record {
            partition: record.partition(),
            offset: record.offset(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        });
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}
