//! Reading the topic on a thread of its own, which never waits for MongoDB.
//!
//! The thread polls, copies records into chunks and hands them over. What is handed over and not yet taken
//! is bounded; beyond the bound the thread pauses the partitions and keeps polling, so that the group never
//! takes this member for dead. Rebalances become deliveries too, and wait for their answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::mpsc;

use super::chunk::Chunk;
use super::{client_config, client_error, with_user_properties};
use crate::config::{KafkaConfig, OffsetReset};
use crate::error::{Error, ErrorKind, Result};

/// Bytes handed over and not yet taken.
const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records of one chunk; smaller ones reach an idle dispatcher sooner.
const CHUNK_RECORDS_MAX: usize = 500;
const CHUNK_BYTES_MAX: usize = 512 * 1024;
/// How often the thread looks up while no record comes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A full backlog usually clears within this time. Pausing at once would throw away what librdkafka has fetched.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// How long a rebalance waits for events in flight.
const REVOKE_WAIT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the thread hands over.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Records.
    Chunk(Chunk),
    /// All records of a partition, as it is now, have been handed over.
    EndOfPartition(i32),
    /// Partitions that are read from now on.
    Assigned(Vec<i32>),
    /// Partitions that another member will read; the answer says what may be committed for them.
    Revoked { partitions: Vec<i32>, answer: std::sync::mpsc::SyncSender<Vec<(i32, i64)>> },
    /// The thread has ended.
    Failed(Error),
}

/// Bounds what is handed over and not yet taken.
#[derive(Debug)]
pub(crate) struct Backlog {
    records_max: usize,
    size: Mutex<(usize, usize)>,
    taken: Condvar,
}

impl Backlog {
    fn new(records_max: usize) -> Self {
        Self { records_max, size: Mutex::new((0, 0)), taken: Condvar::new() }
    }

    fn is_full(&self, size: (usize, usize)) -> bool {
        size.0 >= self.records_max || size.1 >= BACKLOG_BYTES_MAX
    }

    fn add(&self, chunk: &Chunk) {
        let mut size = self.size.lock();
        *size = (size.0.saturating_add(chunk.len()), size.1.saturating_add(chunk.bytes()));
    }

    /// Notes that a chunk was taken.
    pub(crate) fn take(&self, chunk: &Chunk) {
        let mut size = self.size.lock();
        *size = (size.0.saturating_sub(chunk.len()), size.1.saturating_sub(chunk.bytes()));
        self.taken.notify_one();
    }

    /// Waits until there is room, at the most for `timeout`; says whether there is.
    fn wait(&self, timeout: Duration) -> bool {
        let mut size = self.size.lock();
        if self.is_full(*size) {
            self.taken.wait_while_for(&mut size, |size| self.is_full(*size), timeout);
        }
        !self.is_full(*size)
    }
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
    topic: String,
}

type GroupConsumer = BaseConsumer<GroupContext>;

/// The consumer, and a flag that ends its thread.
struct TopicConsumer {
    group: GroupConsumer,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for TopicConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicConsumer").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// Joins the group and starts the thread. `backlog_records_max` bounds what waits to be taken.
pub(crate) fn start(config: &KafkaConfig, backlog_records_max: usize, end: EndOfPartition) -> Result<ConsumerHandle> {
    let (sender, deliveries) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let context = GroupContext {
        config: config.clone(),
        deliveries: sender.clone(),
        stop: Arc::clone(&stop),
        failed_commits: AtomicU64::new(0),
        revoked: Mutex::new(Vec::new()),
    };
    let group: GroupConsumer = consumer_config(config, end)
        .create_with_context(context)
        .map_err(|error| client_error("creating the consumer", config, error))?;
    group.subscribe(&[&config.topic]).map_err(|error| client_error("subscribing", config, error))?;
    let consumer = Arc::new(TopicConsumer { group, stop });
    let backlog = Arc::new(Backlog::new(backlog_records_max));
    let reader = Reader {
        consumer: Arc::clone(&consumer),
        deliveries: sender,
        backlog: Arc::clone(&backlog),
        config: config.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("kafka-consumer".to_owned())
        .spawn(move || reader.run())
        .map_err(|error| Error::with_source(ErrorKind::System, "cannot start the consumer thread", error))?;
    Ok(ConsumerHandle { consumer, deliveries, backlog, thread: Some(thread), topic: config.topic.clone() })
}

fn consumer_config(config: &KafkaConfig, end: EndOfPartition) -> rdkafka::ClientConfig {
    let mut client = client_config(config, "evp-process");
    client
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where to start is decided at assignment; an offset out of range later is an error, never a silent jump.
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "range")
        // What a killed member had is read again after this time; the default of 45 s is a long standstill.
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
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
        .set("statistics.interval.ms", "5000")
        .set("allow.auto.create.topics", "false");
    with_user_properties(&mut client, config);
    client
}

impl ConsumerHandle {
    /// Commits without waiting for the answer.
    pub(crate) fn commit(&self, offsets: &[(i32, i64)]) -> Result<()> {
        self.commit_in(offsets, CommitMode::Async)
    }

    /// Commits and waits for the answer, off the runtime's threads.
    pub(crate) async fn commit_now(&self, offsets: Vec<(i32, i64)>) -> Result<()> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let committed = tokio::task::spawn_blocking(move || {
            consumer.group.commit(&partition_list(&topic, &offsets)?, CommitMode::Sync)
        });
        let failed = |error| Error::with_source(ErrorKind::Unavailable, "the last offsets were not committed", error);
        committed
            .await
            .map_err(|error| Error::with_source(ErrorKind::System, "committing panicked", error))?
            .map_err(failed)
    }

    fn commit_in(&self, offsets: &[(i32, i64)], mode: CommitMode) -> Result<()> {
        partition_list(&self.topic, offsets)
            .and_then(|list| self.consumer.group.commit(&list, mode))
            .map_err(|error| Error::with_source(ErrorKind::Unavailable, "committing offsets", error))
    }

    /// How many commits the broker has refused or not answered.
    pub(crate) fn failed_commits(&self) -> u64 {
        self.consumer.group.context().failed_commits.load(Ordering::Relaxed)
    }

    /// The id of the cluster; waits for a broker.
    pub(crate) async fn cluster_id(&self) -> Result<String> {
        let consumer = Arc::clone(&self.consumer);
        let fetched = tokio::task::spawn_blocking(move || consumer.group.client().fetch_cluster_id(REQUEST_TIMEOUT));
        let id =
            fetched.await.map_err(|error| Error::with_source(ErrorKind::System, "asking Kafka panicked", error))?;
        id.ok_or_else(|| Error::unavailable("Kafka does not answer"))
    }

    /// Leaves the group and ends the thread.
    pub(crate) async fn stop(mut self) {
        self.consumer.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        // A rebalance must not wait for an answer that nobody will give.
        self.deliveries.close();
        drop(self);
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::warn!(event = "kafka_consumer_failed", "the consumer thread panicked");
            }
        }
    }
}

fn partition_list(topic: &str, offsets: &[(i32, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    Ok(list)
}

/// The thread.
struct Reader {
    consumer: Arc<TopicConsumer>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    backlog: Arc<Backlog>,
    config: KafkaConfig,
}

impl Reader {
    fn run(self) {
        let mut paused = false;
        while !self.consumer.stop.load(Ordering::Relaxed) && !self.deliveries.is_closed() {
            let has_room = self.backlog.wait(if paused { Duration::ZERO } else { PAUSE_AFTER });
            if has_room == paused {
                paused = !has_room;
                self.set_paused(paused);
            }
            let mut chunk = Chunk::default();
            let mut timeout = POLL_INTERVAL;
            while chunk.len() < CHUNK_RECORDS_MAX && chunk.bytes() < CHUNK_BYTES_MAX {
                let polled = self.consumer.group.poll(timeout);
                // The rebalance that took a partition away was delivered inside the poll, before this chunk.
                chunk.drop_partitions(&std::mem::take(&mut *self.consumer.group.context().revoked.lock()));
                match polled {
                    Some(Ok(message)) => chunk.push(&message),
                    Some(Err(error)) => {
                        self.hand_over(std::mem::take(&mut chunk));
                        if let Err(error) = self.report(error) {
                            let _ = self.deliveries.send(Delivery::Failed(error));
                            return;
                        }
                    }
                    None => break,
                }
                timeout = Duration::ZERO;
            }
            self.hand_over(chunk);
        }
    }

    fn hand_over(&self, chunk: Chunk) {
        if chunk.len() > 0 {
            self.backlog.add(&chunk);
            let _ = self.deliveries.send(Delivery::Chunk(chunk));
        }
    }

    fn set_paused(&self, paused: bool) {
        let group = &self.consumer.group;
        let changed = group.assignment().and_then(|all| if paused { group.pause(&all) } else { group.resume(&all) });
        match changed {
            Ok(()) => tracing::debug!(event = "kafka_consumer_flow", paused, "the backlog is full or has room again"),
            Err(error) => {
                tracing::warn!(event = "kafka_consumer_flow", %error, "partitions could not be paused or resumed")
            }
        }
    }

    /// Tells errors that librdkafka heals by itself from those that end the work.
    fn report(&self, error: KafkaError) -> Result<()> {
        let topic = &self.config.topic;
        if let KafkaError::PartitionEOF(partition) = error {
            let _ = self.deliveries.send(Delivery::EndOfPartition(partition));
            return Ok(());
        }
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Err(Error::with_source(
                ErrorKind::Refused,
                format!(
                    "records of topic `{topic}` that were next to be applied are no longer there: it was truncated, re-created, \
                     or its retention is too short. Find out what is missing, then set the offsets of group `{}` by hand \
                     (kafka-consumer-groups --reset-offsets)",
                    self.config.group_id
                ),
                error,
            )),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication,
            ) => Err(client_error(&format!("reading topic `{topic}`"), &self.config, error)),
            _ if fatal => Err(client_error(&format!("reading topic `{topic}`"), &self.config, error)),
            _ => {
                tracing::warn!(event = "kafka_unavailable", %error, "reading is interrupted and resumes by itself");
                Ok(())
            }
        }
    }
}

/// Rebalances, and what librdkafka says of itself.
struct GroupContext {
    config: KafkaConfig,
    deliveries: mpsc::UnboundedSender<Delivery>,
    stop: Arc<AtomicBool>,
    failed_commits: AtomicU64,
    /// Partitions that were revoked since the reader last looked.
    revoked: Mutex<Vec<i32>>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }

    fn stats(&self, statistics: Statistics) {
        for (partition, state) in
            statistics.topics.get(&self.config.topic).into_iter().flat_map(|topic| &topic.partitions)
        {
            if *partition >= 0 && state.consumer_lag >= 0 {
                #[allow(clippy::cast_precision_loss)]
                metrics::gauge!("evp_process_lag_records", "partition" => partition.to_string())
                    .set(state.consumer_lag as f64);
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &GroupConsumer, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions, cooperative),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.revoke(consumer, partitions);
                let left = if cooperative { consumer.incremental_unassign(partitions) } else { consumer.unassign() };
                left.map_err(|error| client_error("leaving partitions", &self.config, error))
            }
            other => Err(Error::unavailable(format!("the group could not be balanced: {other:?}"))),
        };
        if let Err(error) = done {
            let _ = self.deliveries.send(Delivery::Failed(error));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // An empty commit has nothing to say; the others are repeated by whoever asks for the count.
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::debug!(event = "kafka_commit_failed", %error, "offsets will be committed again");
            self.failed_commits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl GroupContext {
    fn assign(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList, cooperative: bool) -> Result<()> {
        let mut told = false;
        let start = loop {
            match self.start_positions(consumer, partitions) {
                Ok(start) => break start,
                Err(error) if error.kind() == ErrorKind::Unavailable && !self.stop.load(Ordering::Relaxed) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(event = "kafka_unavailable", %error, "waiting for the group's offsets");
                    }
                    std::thread::sleep(PAUSE_AFTER);
                }
                Err(error) => {
                    let _ = if cooperative { Ok(()) } else { consumer.unassign() };
                    return Err(error);
                }
            }
        };
        let numbers = start.elements().iter().map(|element| element.partition()).collect();
        let _ = self.deliveries.send(Delivery::Assigned(numbers));
        let assigned = if cooperative { consumer.incremental_assign(&start) } else { consumer.assign(&start) };
        assigned.map_err(|error| client_error("taking partitions", &self.config, error))
    }

    /// Where each partition is read from: the committed offset, if it still is in the topic.
    fn start_positions(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Result<TopicPartitionList> {
        let failed = |error| client_error("reading the group's offsets", &self.config, error);
        let mut start = TopicPartitionList::with_capacity(partitions.count());
        if partitions.count() == 0 {
            return Ok(start);
        }
        let committed = consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT).map_err(failed)?;
        for element in committed.elements() {
            element.error().map_err(failed)?;
            let (topic, partition) = (element.topic(), element.partition());
            let offset = match element.offset() {
                Offset::Offset(offset) => {
                    let bounds = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
                    check_committed(&self.config, partition, offset, bounds)?;
                    Offset::Offset(offset)
                }
                _ if self.config.offset_reset == OffsetReset::Latest => Offset::End,
                _ => Offset::Beginning,
            };
            start.add_partition_offset(topic, partition, offset).map_err(failed)?;
        }
        Ok(start)
    }

    /// Waits for events in flight and commits what they make committable.
    fn revoke(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        let numbers: Vec<i32> = partitions.elements().iter().map(|element| element.partition()).collect();
        self.revoked.lock().extend_from_slice(&numbers);
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        if self.deliveries.send(Delivery::Revoked { partitions: numbers, answer }).is_err() {
            return;
        }
        let offsets = answered.recv_timeout(REVOKE_WAIT).unwrap_or_default();
        if offsets.is_empty() || consumer.assignment_lost() {
            return;
        }
        let committed =
            partition_list(&self.config.topic, &offsets).and_then(|list| consumer.commit(&list, CommitMode::Sync));
        if let Err(error) = committed {
            tracing::warn!(event = "kafka_commit_failed", %error, "the next owner applies these events again, without effect");
        }
    }
}

/// Refuses to start where records are missing or where offsets mean other records than they did.
fn check_committed(config: &KafkaConfig, partition: i32, committed: i64, (low, high): (i64, i64)) -> Result<()> {
    let (topic, group) = (&config.topic, &config.group_id);
    if committed > high {
        return Err(Error::refused(format!(
            "group `{group}` has applied {topic}[{partition}] up to offset {committed}, but the topic ends at {high}: it was \
             re-created or truncated, and offsets {low} to {high} may be other events. If the topic is the right one, run \
             kafka-consumer-groups --group {group} --topic {topic} --reset-offsets --to-earliest --execute; events \
             applied before have no second effect"
        )));
    }
    if committed < low {
        return Err(Error::refused(format!(
            "offsets {committed} to {} of {topic}[{partition}] were deleted by retention before group `{group}` applied them. \
             Repair the read models from the source (`evp verify` names what differs), raise the topic's retention.ms, then run \
             kafka-consumer-groups --group {group} --topic {topic} --reset-offsets --to-earliest --execute",
            low.saturating_sub(1)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    fn config() -> KafkaConfig {
        KafkaConfig::from_variables(&mut Variables::of(&[]), &[])
    }

    #[test]
    fn an_offset_outside_the_topic_is_refused_with_the_range() {
        assert!(check_committed(&config(), 0, 10, (10, 10)).is_ok());
        assert!(check_committed(&config(), 0, 0, (0, 0)).is_ok());
        let beyond = check_committed(&config(), 3, 11, (0, 10)).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::Refused);
        assert!(beyond.to_string().contains("up to offset 11") && beyond.to_string().contains("[3]"), "{beyond}");
        let deleted = check_committed(&config(), 0, 4, (10, 20)).unwrap_err();
        assert!(deleted.to_string().contains("offsets 4 to 9"), "{deleted}");
    }

    #[test]
    fn a_full_backlog_waits_until_something_is_taken() {
        let backlog = Backlog::new(1);
        let chunk = Chunk::of(&[(0, 1, b"x")]);
        assert!(backlog.wait(Duration::ZERO));
        backlog.add(&chunk);
        assert!(!backlog.wait(Duration::from_millis(1)));
        backlog.take(&chunk);
        assert!(backlog.wait(Duration::ZERO));
    }
}
