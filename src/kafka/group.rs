//! Membership in the consumer group: where partitions are read from, and how they are given back.

mod statistics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::mpsc;

use super::client_error;
use super::commits::Commits;
use super::consumer::Delivery;
use super::identity::{Identity, check_end};
use super::known::{KnownPartition, KnownTopic};
use crate::config::{KafkaConfig, OffsetReset};
use crate::error::{Error, ErrorKind, Reaction, Result, TRIES_MAX};
use crate::telemetry::Health;

/// How long a rebalance waits for events in flight.
const REVOKE_WAIT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often an assignment waits for the leader of every partition; the other partitions wait as long.
const CHECKS_MAX: u32 = 3;
/// How long an answer that evp does not know may come again and again.
const UNKNOWN_MAX: Duration = Duration::from_secs(60);
const LAST_CHECK_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) type GroupConsumer = BaseConsumer<GroupContext>;

/// Rebalances, and what librdkafka says of itself.
pub(crate) struct GroupContext {
    config: KafkaConfig,
    deliveries: mpsc::UnboundedSender<Delivery>,
    stop: Arc<AtomicBool>,
    known: Arc<Mutex<KnownTopic>>,
    identity: Arc<Identity>,
    commits: Commits,
    /// Partitions that were revoked since the reader last looked.
    revoked: Mutex<Vec<i32>>,
    /// Whether partitions were assigned since the reader last looked; a pause may be left from when they were here before.
    assigned: AtomicBool,
    /// Whether Kafka was reported to be out of reach, which is done once.
    unreachable: AtomicBool,
    /// Whether a partition is known to have no leader.
    leaderless: AtomicBool,
    /// Whether this member has no partition, and that was said.
    idle: AtomicBool,
    /// Since when the group's coordinator has not answered, and whether that was told.
    uncoordinated: Mutex<Option<(Instant, bool)>>,
    /// Since when the client has known no broker.
    lost_since: Mutex<Option<Instant>>,
    /// Since when Kafka answers with an error that evp does not know.
    unknown_since: Mutex<Option<Instant>>,
    has_unknown: AtomicBool,
    health: Arc<Health>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }

    fn stats(&self, statistics: Statistics) {
        self.observe(&statistics);
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
            other => {
                tracing::warn!(event = "kafka_unavailable", error = ?other, "the group could not be balanced; it tries again");
                consumer.unassign().map_err(|error| client_error("leaving partitions", &self.config, error))
            }
        };
        if let Err(error) = done {
            let _ = self.deliveries.send(Delivery::Failed(error));
        }
    }
}

/// An outage for as long as it takes, an answer that evp does not know a few times, and as often one that does not know
/// the partitions that the group has just been given: brokers that start, or follow another controller, say so.
fn is_waited_out(error: &Error, tries: u32) -> bool {
    match error.kind().reaction() {
        Reaction::Retry => true,
        Reaction::RetryBriefly => tries < TRIES_MAX,
        Reaction::Halt | Reaction::DeadLetter => error.kind() == ErrorKind::Missing && tries < TRIES_MAX,
    }
}

impl GroupContext {
    pub(crate) fn new(
        config: &KafkaConfig,
        deliveries: mpsc::UnboundedSender<Delivery>,
        stop: Arc<AtomicBool>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            commits: Commits::new(&config.group_id, Arc::clone(&health)),
            health,
            config: config.clone(),
            deliveries,
            stop,
            known: Arc::default(),
            identity: Arc::new(Identity::new(config)),
            revoked: Mutex::new(Vec::new()),
            assigned: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            leaderless: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            uncoordinated: Mutex::new(None),
            lost_since: Mutex::new(None),
            unknown_since: Mutex::new(None),
            has_unknown: AtomicBool::new(false),
        }
    }

    /// Reports an error that librdkafka heals by itself, unless one has been reported since Kafka last answered.
    ///
    /// One that evp does not know is given back once it has lasted too long.
    pub(crate) fn interrupted(&self, error: KafkaError) -> Result<()> {
        let error = client_error("reading events", &self.config, error);
        if error.kind() == ErrorKind::Unknown {
            self.has_unknown.store(true, Ordering::Relaxed);
            let since = *self.unknown_since.lock().get_or_insert_with(Instant::now);
            if since.elapsed() >= UNKNOWN_MAX {
                return Err(error);
            }
        }
        if self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::debug!(event = "kafka_unavailable", %error, "reading is still interrupted");
            return Ok(());
        }
        self.health.set_kafka_obstacle(Some(error.to_string()));
        tracing::warn!(event = "kafka_unavailable", %error, "reading is interrupted and resumes by itself");
        Ok(())
    }

    /// A record has come.
    pub(crate) fn received(&self) {
        if self.has_unknown.load(Ordering::Relaxed) {
            *self.unknown_since.lock() = None;
            self.has_unknown.store(false, Ordering::Relaxed);
        }
        self.answered();
    }

    /// Kafka answers.
    pub(crate) fn answered(&self) {
        if self.unreachable.load(Ordering::Relaxed) && self.unreachable.swap(false, Ordering::Relaxed) {
            self.health.set_kafka_obstacle(None);
            tracing::info!(event = "kafka_available", "Kafka answers again");
        }
    }

    /// What is known of the topic; the group is not joined before it is filled in.
    pub(crate) fn known(&self) -> &Arc<Mutex<KnownTopic>> {
        &self.known
    }

    /// Looks whether the topic is the one that is known.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Whether Kafka does not answer, as far as is known.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// What becomes of commits.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// The partitions that were revoked since this was last asked.
    pub(crate) fn take_revoked(&self) -> Vec<i32> {
        std::mem::take(&mut *self.revoked.lock())
    }

    /// Whether partitions were assigned since this was last asked.
    pub(crate) fn take_assigned(&self) -> bool {
        self.assigned.swap(false, Ordering::Relaxed)
    }

    fn assign(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList, cooperative: bool) -> Result<()> {
        let mut tries = 0_u32;
        let start = loop {
            match self.start_positions(consumer, partitions, tries < CHECKS_MAX) {
                Ok(start) => break start,
                Err(error) if is_waited_out(&error, tries) && !self.stop.load(Ordering::Relaxed) => {
                    if tries == 0 {
                        tracing::warn!(event = "kafka_unavailable", %error, "waiting for the group's offsets");
                    }
                    tries = tries.saturating_add(1);
                    std::thread::sleep(RETRY_INTERVAL);
                }
                Err(error) => {
                    let _ = if cooperative { Ok(()) } else { consumer.unassign() };
                    return Err(error);
                }
            }
        };
        let numbers: Vec<i32> = start.elements().iter().map(|element| element.partition()).collect();
        // From now on a partition that has no offset was added to the topic, and is read from its beginning.
        self.known.lock().was_read |= !numbers.is_empty();
        let _ = self.deliveries.send(Delivery::Assigned(numbers));
        let assigned = if cooperative { consumer.incremental_assign(&start) } else { consumer.assign(&start) };
        self.assigned.store(true, Ordering::Relaxed);
        self.idle.store(false, Ordering::Relaxed);
        assigned.map_err(|error| client_error("taking partitions", &self.config, error))
    }

    /// Where each partition is read from: the committed offset, if it still is in the topic.
    ///
    /// Unless all `must_be_checked`, one whose leader does not answer is left to librdkafka, which waits for the leader
    /// and reports an offset that is not there, so that it does not keep the others from being read.
    fn start_positions(
        &self,
        consumer: &GroupConsumer,
        partitions: &TopicPartitionList,
        must_be_checked: bool,
    ) -> Result<TopicPartitionList> {
        let failed = |error| client_error("reading the group's offsets", &self.config, error);
        let mut start = TopicPartitionList::with_capacity(partitions.count());
        let mut unchecked = Vec::new();
        if partitions.count() == 0 {
            return Ok(start);
        }
        let committed = consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT).map_err(failed)?;
        for element in committed.elements() {
            element.error().map_err(failed)?;
            let (topic, partition) = (element.topic(), element.partition());
            let timeout = if must_be_checked { REQUEST_TIMEOUT } else { LAST_CHECK_TIMEOUT };
            let bounds = consumer.fetch_watermarks(topic, partition, timeout).map_err(failed);
            let known = self.known.lock().partition(partition).cloned().unwrap_or_default();
            let offset = match (element.offset(), bounds) {
                (Offset::Offset(offset), Err(error)) if !must_be_checked => {
                    tracing::warn!(event = "kafka_unavailable", partition, %error, "its offset is not checked");
                    unchecked.push(partition);
                    Offset::Offset(offset)
                }
                (Offset::Offset(offset), bounds) => self.checked(partition, &known, offset, bounds?)?,
                (_, Err(error)) if !must_be_checked => {
                    tracing::warn!(event = "kafka_unavailable", partition, %error, "its beginning is not checked");
                    unchecked.push(partition);
                    unchecked_start(known.committed, self.skips())
                }
                (_, bounds) => self.uncommitted(partition, &known, bounds?)?,
            };
            let offset = self.lowered(partition, offset);
            start.add_partition_offset(topic, partition, offset).map_err(failed)?;
        }
        let mut numbers: Vec<i32> = start.elements().iter().map(|element| element.partition()).collect();
        numbers.retain(|partition| !unchecked.contains(partition));
        let expected = self.known.lock().expected(&numbers);
        match self.identity.check(&expected) {
            Err(error) if error.kind() == ErrorKind::Unavailable && !must_be_checked => {
                tracing::warn!(event = "kafka_unavailable", %error, "the topic is not compared with what was applied");
            }
            checked => checked?,
        }
        Ok(start)
    }

    fn checked(&self, partition: i32, known: &KnownPartition, offset: i64, bounds: (i64, i64)) -> Result<Offset> {
        check_end(&self.config, partition, known.applied.unwrap_or_default(), bounds)?;
        check_committed(&self.config, partition, offset, bounds)?;
        Ok(Offset::Offset(offset))
    }

    /// Where the partition is read again from, if that lies before `offset`. What was deleted from there is found missing by
    /// reading it.
    fn lowered(&self, partition: i32, offset: Offset) -> Offset {
        match (offset, self.known.lock().floors.get(&partition)) {
            (Offset::Offset(committed), Some(floor)) if *floor < committed => {
                tracing::info!(
                    event = "partition_read_again",
                    partition,
                    from = floor,
                    committed,
                    "for a rebuilt collection"
                );
                let _ = self.deliveries.send(Delivery::BeginsAt { partition, offset: *floor });
                Offset::Offset(*floor)
            }
            (offset, _) => offset,
        }
    }

    /// Whether the group leaves out what is in the topic already.
    fn skips(&self) -> bool {
        self.config.offset_reset == OffsetReset::Latest && !self.known.lock().was_read
    }

    /// Where a partition begins of which the group has no offset: it is new, or the broker has forgotten it.
    ///
    /// What is forgotten and was deleted since is a gap; only a group that has never read the topic skips anything.
    /// A place that is not the beginning is taken as a number, because it will be another one at the next assignment.
    fn uncommitted(&self, partition: i32, known: &KnownPartition, (low, high): (i64, i64)) -> Result<Offset> {
        check_end(&self.config, partition, known.applied.unwrap_or_default(), (low, high))?;
        let is_latest = self.config.offset_reset == OffsetReset::Latest;
        let (offset, start) = match known.committed {
            Some(committed) if committed < low => return Err(deleted(&self.config, partition, committed, low)),
            Some(committed) if is_latest => (committed, Offset::Offset(committed)),
            None if self.skips() => (high, Offset::Offset(high)),
            _ => (low, Offset::Beginning),
        };
        let _ = self.deliveries.send(Delivery::BeginsAt { partition, offset });
        Ok(start)
    }

    /// Waits for events in flight and commits what they make committable.
    fn revoke(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        let numbers: Vec<i32> = partitions.elements().iter().map(|element| element.partition()).collect();
        self.revoked.lock().extend_from_slice(&numbers);
        self.commits.forget_refusals();
        for partition in &numbers {
            self.lag(*partition).set(0.0);
        }
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

/// Where a partition begins whose leader does not say what is in it; an offset that is not there is reported later.
fn unchecked_start(committed: Option<i64>, skips: bool) -> Offset {
    match committed {
        Some(committed) => Offset::Offset(committed),
        None if skips => Offset::End,
        None => Offset::Beginning,
    }
}

/// Refuses to start where records are missing or where offsets mean other records than they did.
fn check_committed(config: &KafkaConfig, partition: i32, committed: i64, (low, high): (i64, i64)) -> Result<()> {
    check_end(config, partition, committed, (low, high))?;
    if committed < low {
        return Err(deleted(config, partition, committed, low));
    }
    Ok(())
}

fn deleted(config: &KafkaConfig, partition: i32, committed: i64, low: i64) -> Error {
    let (topic, group, last) = (&config.topic, &config.group_id, low.saturating_sub(1));
    Error::refused(format!(
        "offsets {committed} to {last} of {topic}[{partition}] were deleted by retention before group `{group}` applied them. \
         Repair the read models from the source (`evp verify` names what differs), raise the topic's retention.ms, then run \
         kafka-consumer-groups --group {group} --topic {topic} --reset-offsets --to-earliest --execute"
    ))
}

pub(crate) fn partition_list(topic: &str, offsets: &[(i32, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    fn config() -> KafkaConfig {
        KafkaConfig::from_variables(&mut Variables::of(&[]), &[])
    }

    #[test]
    fn a_partition_without_a_leader_and_an_offset_keeps_no_other_from_being_read() {
        assert_eq!(unchecked_start(Some(7), true), Offset::Offset(7));
        assert_eq!(unchecked_start(None, false), Offset::Beginning);
        assert_eq!(unchecked_start(None, true), Offset::End);
    }

    #[test]
    fn an_offset_outside_the_topic_is_refused_with_the_range() {
        assert!(check_committed(&config(), 0, 10, (10, 10)).is_ok());
        assert!(check_committed(&config(), 0, 0, (0, 0)).is_ok());
        assert!(check_committed(&config(), 3, 11, (0, 10)).is_err());
        let deleted = check_committed(&config(), 0, 4, (10, 20)).unwrap_err();
        assert!(deleted.to_string().contains("offsets 4 to 9"), "{deleted}");
    }
}
