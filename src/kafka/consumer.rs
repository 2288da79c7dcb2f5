//! Reading the topic on a thread of its own, which never waits for MongoDB.
//!
//! The thread polls, copies records into chunks and hands them over. What is handed over and not yet taken
//! is bounded; beyond the bound the thread pauses the partitions and keeps polling, so that the group never
//! takes this member for dead. Rebalances become deliveries too, and wait for their answer.

mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{CommitMode, Consumer};
use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::chunk::Chunk;
use super::ends::{PartitionEnds, partition_ends};
use super::group::{GroupConsumer, GroupContext, partition_list};
use super::identity::Identity;
use super::known::KnownTopic;
use super::look::Looker;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::Health;
use reader::{Deliveries, Reader};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What leaving the group gets, however late it is.
const STOP_TIMEOUT_MIN: Duration = Duration::from_millis(500);

/// What the thread hands over.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Records.
    Chunk(Chunk),
    /// All records of a partition, as it is now, have been handed over.
    EndOfPartition(i32),
    /// Partitions that are read from now on.
    Assigned(Vec<i32>),
    /// The group has no partition for this member.
    Idle,
    /// Partitions that another member will read; the answer says what may be committed for them.
    Revoked { partitions: Vec<i32>, answer: std::sync::mpsc::SyncSender<Vec<(i32, i64)>> },
    /// Where a partition is read from of which the group has no offset.
    BeginsAt { partition: i32, offset: i64 },
    /// The thread has ended.
    Failed(Error),
}

/// Whether the end of each partition is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfPartition {
    Report,
    Ignore,
}

/// The running consumer.
#[derive(Debug)]
pub(crate) struct ConsumerHandle {
    consumer: Arc<TopicConsumer>,
    /// What the thread hands over, in order.
    pub(crate) deliveries: mpsc::UnboundedReceiver<Delivery>,
    pub(crate) backlog: Arc<Backlog>,
    thread: Option<JoinHandle<()>>,
    config: KafkaConfig,
}

/// The consumer, and a flag that ends its thread.
struct TopicConsumer {
    group: GroupConsumer,
    stop: Arc<AtomicBool>,
    /// Made with the first question.
    looker: Mutex<Option<Arc<Looker>>>,
}

impl TopicConsumer {
    fn looker(&self, config: &KafkaConfig) -> Result<Arc<Looker>> {
        let mut looker = self.looker.lock();
        match &*looker {
            Some(looker) => Ok(Arc::clone(looker)),
            None => Ok(Arc::clone(looker.insert(Arc::new(Looker::new(config)?)))),
        }
    }
}

impl std::fmt::Debug for TopicConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicConsumer").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// Starts the thread; the group is joined later. `backlog_records_max` bounds what waits to be taken.
pub(crate) fn start(
    config: &KafkaConfig,
    backlog_records_max: usize,
    end: EndOfPartition,
    health: Arc<Health>,
) -> Result<ConsumerHandle> {
    let (sender, deliveries) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let context = GroupContext::new(config, sender.clone(), Arc::clone(&stop), health);
    let group: GroupConsumer = consumer_config(config, end)
        .create_with_context(context)
        .map_err(|error| client_error("creating the consumer", config, error))?;
    let consumer = Arc::new(TopicConsumer { group, stop, looker: Mutex::new(None) });
    let backlog = Arc::new(Backlog::new(backlog_records_max));
    let reader = Reader {
        consumer: Arc::clone(&consumer),
        deliveries: Deliveries(sender),
        backlog: Arc::clone(&backlog),
        config: config.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("kafka-consumer".to_owned())
        .spawn(move || reader.run())
        .map_err(|error| Error::with_source(ErrorKind::System, "cannot start the consumer thread", error))?;
    Ok(ConsumerHandle { consumer, deliveries, backlog, thread: Some(thread), config: config.clone() })
}

fn consumer_config(config: &KafkaConfig, end: EndOfPartition) -> rdkafka::ClientConfig {
    let mut client = client_config(config, "evp-process");
    client
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where to start is decided at assignment; an offset out of range later is an error, never a silent jump.
        .set("auto.offset.reset", "error")
        // librdkafka gives partitions back only once no commit is open, so a lost answer holds up a rebalance this long;
        // as in Kafka's own clients, instead of a minute.
        .set("socket.timeout.ms", "30000")
        .set("enable.partition.eof", if end == EndOfPartition::Report { "true" } else { "false" })
        .set("check.crcs", "true")
        // A record is handed over at once; only an idle broker holds the request for half a second.
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.error.backoff.ms", "100")
        // The default of one second leaves the reader idle each time its queue was full.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "16384")
        .set("statistics.interval.ms", "2000")
        // How soon partitions are read that were added; librdkafka's default is five minutes.
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("allow.auto.create.topics", "false");
    // With the newer protocol the broker decides these three, and librdkafka refuses to be told.
    if config.property(&["group.protocol"]).is_none_or(|protocol| protocol.expose() != "consumer") {
        client
            .set("partition.assignment.strategy", "range")
            // What a killed member had is read again after this time; the default of 45 s is a long standstill.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000");
    }
    with_user_properties(&mut client, config);
    client
}

impl ConsumerHandle {
    /// Commits in the background, one after the other.
    ///
    /// To a commit that nobody waits for librdkafka gives no answer, since the client sets no callback but asks for events
    /// (`rd_kafka_cgrp_propagate_commit_result`, 2.12).
    pub(crate) fn commit(&self, offsets: Vec<(i32, i64)>) {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.config.topic.clone());
        consumer.group.context().commits().sent();
        tokio::task::spawn_blocking(move || {
            let list = partition_list(&topic, &offsets);
            let answer = list.and_then(|list| consumer.group.commit(&list, CommitMode::Sync));
            consumer.group.context().commits().answered(answer);
        });
    }

    /// Whether the answer to a commit is still to come.
    pub(crate) fn is_committing(&self) -> bool {
        self.consumer.group.context().commits().are_open()
    }

    /// Commits and waits for the answer, off the runtime's threads.
    pub(crate) async fn commit_now(&self, offsets: Vec<(i32, i64)>) -> Result<()> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.config.topic.clone());
        let committed = tokio::task::spawn_blocking(move || {
            consumer.group.commit(&partition_list(&topic, &offsets)?, CommitMode::Sync)
        });
        let failed = |error| Error::with_source(ErrorKind::Unavailable, "the last offsets were not committed", error);
        committed
            .await
            .map_err(|error| Error::with_source(ErrorKind::System, "committing panicked", error))?
            .map_err(failed)
    }

    /// Joins the group, as one that knows this of the topic.
    pub(crate) fn join(&self, known: KnownTopic) -> Result<()> {
        let mut held = self.known().lock();
        let floors = std::mem::take(&mut held.floors);
        *held = known;
        held.floors = floors;
        drop(held);
        let joined = self.consumer.group.subscribe(&[&self.config.topic]);
        joined.map_err(|error| client_error("subscribing", &self.config, error))
    }

    /// What is known of the topic.
    pub(crate) fn known(&self) -> &Arc<Mutex<KnownTopic>> {
        self.consumer.group.context().known()
    }

    /// Looks whether the topic is the one that is known.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        self.consumer.group.context().identity()
    }

    /// Whether Kafka does not answer, as far as is known.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.consumer.group.context().is_unreachable()
    }

    /// How many commits the broker has refused or not answered.
    pub(crate) fn failed_commits(&self) -> u64 {
        self.consumer.group.context().commits().failed()
    }

    /// Where the topic's partitions end and how far the group is, asked off the runtime's threads.
    pub(crate) fn ask_for_ends(&self) -> tokio::task::JoinHandle<Result<Vec<PartitionEnds>>> {
        let (consumer, config) = (Arc::clone(&self.consumer), self.config.clone());
        tokio::task::spawn_blocking(move || consumer.looker(&config).and_then(|looker| partition_ends(&looker)))
    }

    /// The id of the cluster; waits for a broker, unless the thread has found out why there will be none.
    pub(crate) async fn cluster_id(&mut self) -> Result<String> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.config.topic.clone());
        let fetched = tokio::task::spawn_blocking(move || {
            // Before something is requested librdkafka does not connect, and a consumer's first own request comes
            // after a second (`rd_kafka_cgrp_coord_query`, 2.12); waiting for the id requests nothing.
            let metadata = consumer.group.fetch_metadata(Some(&topic), REQUEST_TIMEOUT);
            metadata.ok().and_then(|_| consumer.group.client().fetch_cluster_id(REQUEST_TIMEOUT))
        });
        let id =
            fetched.await.map_err(|error| Error::with_source(ErrorKind::System, "asking Kafka panicked", error))?;
        let Some(id) = id else {
            return Err(self.failure().unwrap_or_else(|| Error::unavailable("Kafka does not answer")));
        };
        Ok(id)
    }

    /// Why the thread has ended, if it has; what else it has handed over is of no use then.
    fn failure(&mut self) -> Option<Error> {
        if !self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return None;
        }
        let delivered = std::iter::from_fn(|| self.deliveries.try_recv().ok());
        let mut failures = delivered.filter_map(|delivery| match delivery {
            Delivery::Failed(error) => Some(error),
            _ => None,
        });
        failures.next()
    }

    /// Leaves the group and ends the thread; one that waits for a broker that is away is left behind.
    pub(crate) async fn stop(mut self, deadline: tokio::time::Instant) {
        self.consumer.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        // A rebalance must not wait for an answer that nobody will give.
        self.deliveries.close();
        let ended = tokio::task::spawn_blocking(move || {
            let joined = thread.is_none_or(|thread| thread.join().is_ok());
            // The last one to hold the client waits until the group is left.
            drop(self);
            joined
        });
        let at_least = tokio::time::Instant::now() + STOP_TIMEOUT_MIN;
        match tokio::time::timeout_at(deadline.max(at_least), ended).await {
            Ok(Ok(true)) => {}
            Ok(_) => tracing::warn!(event = "kafka_consumer_failed", "the consumer thread panicked"),
            Err(_elapsed) => tracing::warn!(
                event = "kafka_consumer_left",
                "Kafka does not answer; the group finds out that this member is gone after session.timeout.ms"
            ),
        }
    }
}
