//! What librdkafka tells of itself every two seconds: brokers that are silent or forgotten, leaders that are missing, lag.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Statistics;
use rdkafka::statistics::Broker;

use super::GroupContext;
use crate::error::Error;
use crate::kafka::consumer::Delivery;

/// How long a client may know no broker; it is told of every two seconds.
const LOST_MAX: Duration = Duration::from_millis(1_500);
/// How long a group may be without a coordinator before that is told.
const COORDINATOR_WAIT: Duration = Duration::from_secs(5);
/// Milliseconds beside a coordinator after which a member of the newer protocol would have partitions if it got any.
const IDLE_MS: i64 = 3_000;
/// Microseconds after which a broker that has not answered is told of.
const SILENCE_US: i64 = 5_000_000;

impl GroupContext {
    pub(super) fn observe(&self, statistics: &Statistics) {
        // A client that is being closed has nothing to say of the next one.
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        // A broker with a negative number is an address to start from, not a member of the cluster.
        let members = || statistics.brokers.values().filter(|broker| broker.nodeid >= 0 && broker.state == "UP");
        let is_silent = |broker: &Broker| broker.waitresp_cnt > 0 && broker.rxidle >= SILENCE_US;
        if members().any(|broker| !is_silent(broker)) {
            self.answered();
        } else if members().next().is_some() {
            self.silent();
        }
        self.lead(statistics);
        self.commits.look();
        self.coordinate(statistics);
        self.find_lost(statistics);
        for (partition, state) in
            statistics.topics.get(&self.config.topic).into_iter().flat_map(|topic| &topic.partitions)
        {
            if *partition >= 0 && state.consumer_lag >= 0 {
                #[allow(clippy::cast_precision_loss)]
                self.lag(*partition).set(state.consumer_lag as f64);
            }
        }
    }

    /// Gives the client up that knows no broker any more, and so never speaks to one again.
    ///
    /// A broker that was away for longer than its session is not in its own first answer. librdkafka then forgets it, and
    /// asks the bootstrap servers again only after a request to a known broker has failed
    /// (`rd_kafka_metadata_decommission_unavailable_brokers`, 2.10 to 2.12).
    fn find_lost(&self, statistics: &Statistics) {
        let is_known = |broker: &Broker| broker.source == "learned" || broker.source == "configured";
        if statistics.brokers.values().any(is_known) {
            *self.lost_since.lock() = None;
            return;
        }
        let since = *self.lost_since.lock().get_or_insert_with(Instant::now);
        if since.elapsed() >= LOST_MAX {
            let error = Error::unavailable("the Kafka client has forgotten every broker");
            let _ = self.deliveries.send(Delivery::Failed(error));
        }
    }

    /// Tells of partitions of this member that nobody leads.
    fn lead(&self, statistics: &Statistics) {
        let partitions = statistics.topics.get(&self.config.topic).into_iter().flat_map(|topic| &topic.partitions);
        let mut missing: Vec<i32> = partitions
            .filter(|(number, state)| **number >= 0 && state.leader < 0 && state.fetch_state != "none")
            .map(|(number, _)| *number)
            .collect();
        missing.sort_unstable();
        let topic = &self.config.topic;
        let reason = format!("partitions {missing:?} of `{topic}` have no leader: a broker is away");
        let was_missing = self.leaderless.swap(!missing.is_empty(), Ordering::Relaxed);
        if missing.is_empty() {
            self.health.set_leader_obstacle(None);
        } else {
            if !was_missing {
                tracing::warn!(event = "kafka_leader_missing", partitions = ?missing, "waiting for their broker; the others are read");
            }
            self.health.set_leader_obstacle(Some(reason));
        }
    }

    /// Tells of a coordinator that does not answer, whoever else does.
    fn look_for_coordinator(&self, statistics: &Statistics, is_known: bool) {
        let coordinator = statistics.brokers.values().find(|broker| broker.source == "logical");
        let is_silent = |broker: &Broker| broker.waitresp_cnt > 0 && broker.rxidle >= SILENCE_US;
        let mut missing = self.uncoordinated.lock();
        if is_known && coordinator.is_some_and(|broker| broker.state == "UP" && !is_silent(broker)) {
            if missing.take().is_some_and(|(_, is_told)| is_told) {
                tracing::info!(event = "kafka_coordinator_answers", "the group's coordinator answers again");
                self.health.set_coordinator_obstacle(None);
            }
            return;
        }
        let (since, is_told) = missing.get_or_insert((Instant::now(), false));
        let is_long = since.elapsed() >= COORDINATOR_WAIT || coordinator.is_some_and(is_silent);
        if is_long && !std::mem::replace(is_told, true) {
            let name = &self.config.group_id;
            let reason =
                format!("the coordinator of group `{name}` does not answer: it stands still, or waits for members");
            tracing::warn!(event = "kafka_coordinator_silent", "{reason}; partitions may be taken away until it does");
            self.health.set_coordinator_obstacle(Some(reason));
        }
    }

    /// Looks at the group: its coordinator, and whether there is no partition for this member.
    fn coordinate(&self, statistics: &Statistics) {
        let Some(group) = &statistics.cgrp else { return };
        self.look_for_coordinator(statistics, group.state == "up");
        // An assignment of nothing is not told by a member that keeps what it has, nor by the newer protocol.
        let is_newer =
            self.config.property(&["group.protocol"]).is_some_and(|protocol| protocol.expose() == "consumer");
        // That one stays in its first state until it is given something.
        let has_joined = group.join_state == "steady" || (is_newer && group.stateage >= IDLE_MS);
        let is_idle = group.state == "up" && has_joined && group.assignment_size == 0;
        if is_idle && !self.idle.swap(true, Ordering::Relaxed) {
            let _ = self.deliveries.send(Delivery::Idle);
        }
    }

    /// Kafka has requests and a connection, and says nothing: its machine stands still, or the network swallows everything.
    fn silent(&self) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            let servers = &self.config.bootstrap_servers;
            let error = format!("Kafka at {servers} has not answered for {} s", SILENCE_US / 1_000_000);
            tracing::warn!(event = "kafka_unavailable", error, "reading is interrupted and resumes by itself");
            self.health.set_kafka_obstacle(Some(error));
        }
    }

    /// How far a partition is behind its end.
    pub(super) fn lag(&self, partition: i32) -> metrics::Gauge {
        let topic = self.config.topic.clone();
        metrics::gauge!("evp_process_lag_records", "topic" => topic, "partition" => partition.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::ClientContext;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{KafkaConfig, Variables};
    use crate::error::ErrorKind;

    #[test]
    fn a_client_that_knows_no_broker_any_more_is_given_up() {
        let config = KafkaConfig::from_variables(&mut Variables::of(&[]), &[]);
        let (sender, mut delivered) = mpsc::unbounded_channel();
        let context = GroupContext::new(&config, sender, Arc::default(), Arc::default());
        context.stats(Statistics::default());
        assert!(delivered.try_recv().is_err(), "not at once");
        *context.lost_since.lock() = Instant::now().checked_sub(LOST_MAX);
        context.stats(Statistics::default());
        let failed = delivered.try_recv();
        assert!(matches!(failed, Ok(Delivery::Failed(error)) if error.kind() == ErrorKind::Unavailable));
    }
}
