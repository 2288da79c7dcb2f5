//! Kafka from outside: topics, their ends, and a reader that stamps what arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Result;
use crate::arrivals::{Sightings, id_behind};
use crate::servers::Servers;

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

fn client(servers: &Servers) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers.variable("KAFKA_BOOTSTRAP_SERVERS"));
    client
}

fn consumer(servers: &Servers) -> Result<BaseConsumer> {
    let mut client = client(servers);
    // The broker answers as soon as there is a byte; the wait only bounds how long it may hold an idle request.
    client.set("group.id", "evp-bench").set("enable.auto.commit", "false");
    client.set("fetch.min.bytes", "1").set("fetch.wait.max.ms", "500").set("check.crcs", "false");
    Ok(client.create()?)
}

/// Creates a topic.
pub(crate) async fn create_topic(servers: &Servers, topic: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(servers).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for outcome in admin.create_topics([&new], &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| format!("topic {topic} cannot be created: {code}"))?;
    }
    Ok(())
}

/// Deletes a topic, so that the disk holds one run at a time.
pub(crate) async fn delete_topic(servers: &Servers, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(servers).create()?;
    admin.delete_topics(&[topic], &AdminOptions::new()).await?;
    Ok(())
}

/// Deletes every topic that a world has left: events, dead letters, heartbeats, positions.
pub(crate) async fn delete_topics_of(servers: &Servers, world: &str) -> Result<()> {
    let topics: Vec<String> = {
        let consumer = consumer(servers)?;
        let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
        metadata.topics().iter().map(|topic| topic.name().to_owned()).filter(|name| name.contains(world)).collect()
    };
    if topics.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let admin: AdminClient<DefaultClientContext> = client(servers).create()?;
    admin.delete_topics(&names, &AdminOptions::new()).await?;
    Ok(())
}

/// Watches how many records a topic holds.
pub(crate) struct TopicEnd {
    consumer: BaseConsumer,
    topic: String,
    partitions: Vec<i32>,
}

impl TopicEnd {
    /// Of a topic that exists.
    pub(crate) fn of(servers: &Servers, topic: &str) -> Result<Self> {
        let consumer = consumer(servers)?;
        let partitions = partitions(&consumer, topic)?;
        Ok(Self { consumer, topic: topic.to_owned(), partitions })
    }

    /// Records ever acknowledged; blocks for one or two round trips.
    pub(crate) fn count(&self) -> Result<u64> {
        let mut count = 0;
        for partition in &self.partitions {
            let (_, high) = self.consumer.fetch_watermarks(&self.topic, *partition, TIMEOUT)?;
            count += u64::try_from(high)?;
        }
        Ok(count)
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    // All topics at once, because asking for one by name can create it.
    let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
    let found = metadata.topics().iter().find(|known| known.name() == topic);
    let partitions = found.ok_or_else(|| format!("there is no topic {topic}"))?.partitions();
    Ok(partitions.iter().map(|partition| partition.id()).collect())
}

/// A consumer of its own that notes when each event can be read.
pub(crate) struct TopicReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) seen: Sightings,
}

impl TopicReader {
    /// Reads from the end as it is now.
    pub(crate) fn start(servers: &Servers, topic: &str) -> Result<Self> {
        let consumer = consumer(servers)?;
        let mut assignment = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            let (_, high) = consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
            assignment.add_partition_offset(topic, partition, Offset::Offset(high))?;
        }
        consumer.assign(&assignment)?;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Sightings::default());
        let (is_over, sightings) = (Arc::clone(&stop), seen.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let Some(Ok(record)) = consumer.poll(POLL_TIMEOUT) else { continue };
                let at = Instant::now();
                if let Some(id) = record.payload().and_then(|value| id_behind(b"\"event_id\":\"", value)) {
                    sightings.note(id, at);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread), seen })
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
