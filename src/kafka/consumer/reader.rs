//! The thread that reads the topic: it polls, copies records into chunks and hands them over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;

use super::{Delivery, TopicConsumer};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::backlog::Backlog;
use crate::kafka::chunk::Chunk;
use crate::kafka::client_error;
use crate::kafka::headers::TopicRecord;
use crate::kafka::presence::is_there;

/// Records of one chunk; smaller ones reach an idle dispatcher sooner.
const CHUNK_RECORDS_MAX: usize = 500;
const CHUNK_BYTES_MAX: usize = 512 * 1024;
/// How often the thread looks up while no record comes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A full backlog usually clears within this time. Pausing at once would throw away what librdkafka has fetched.
const PAUSE_AFTER: Duration = Duration::from_millis(500);

/// The thread's end of the channel. The group's context has one as well, so that a panic would not close it.
pub(super) struct Deliveries(pub(super) mpsc::UnboundedSender<Delivery>);

impl Drop for Deliveries {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error =
                Error::new(ErrorKind::System, "the consumer thread panicked; start again, and report what stderr says");
            let _ = self.0.send(Delivery::Failed(error));
        }
    }
}

/// Which of the assigned partitions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    All,
    Only(i32),
    None,
}

/// The thread.
pub(super) struct Reader {
    pub(super) consumer: Arc<TopicConsumer>,
    pub(super) deliveries: Deliveries,
    pub(super) backlog: Arc<Backlog>,
    pub(super) config: KafkaConfig,
}

impl Reader {
    pub(super) fn run(self) {
        let mut flow = Flow::All;
        while !self.consumer.stop.load(Ordering::Relaxed) && !self.deliveries.0.is_closed() {
            let has_room = self.backlog.wait(if flow == Flow::None { Duration::ZERO } else { PAUSE_AFTER });
            let wanted = match self.backlog.wanted() {
                _ if !has_room => Flow::None,
                Some(partition) => Flow::Only(partition),
                None => Flow::All,
            };
            // Partitions that were just assigned are as they were left: librdkafka remembers a pause across assignments.
            if self.consumer.group.context().take_assigned() || wanted != flow {
                flow = wanted;
                self.set_flow(flow);
            }
            let mut chunk = Chunk::default();
            let mut timeout = POLL_INTERVAL;
            while chunk.len() < CHUNK_RECORDS_MAX && chunk.bytes() < CHUNK_BYTES_MAX {
                let polled = self.consumer.group.poll(timeout);
                // The rebalance that took a partition away was delivered inside the poll, before this chunk.
                chunk.drop_partitions(&self.consumer.group.context().take_revoked());
                match polled {
                    Some(Ok(message)) => {
                        self.consumer.group.context().received();
                        chunk.push(TopicRecord::new(&message));
                    }
                    Some(Err(error)) => {
                        self.hand_over(std::mem::take(&mut chunk));
                        if let Err(error) = self.report(error) {
                            let _ = self.deliveries.0.send(Delivery::Failed(error));
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
            let _ = self.deliveries.0.send(Delivery::Chunk(chunk));
        }
    }

    fn set_flow(&self, flow: Flow) {
        let group = &self.consumer.group;
        let changed = group.assignment().and_then(|all| match flow {
            Flow::All => group.resume(&all),
            Flow::None => group.pause(&all),
            Flow::Only(partition) => {
                let (mut paused, mut read) = (TopicPartitionList::new(), TopicPartitionList::new());
                for element in all.elements() {
                    let list = if element.partition() == partition { &mut read } else { &mut paused };
                    list.add_partition(element.topic(), element.partition());
                }
                group.pause(&paused).and_then(|()| group.resume(&read))
            }
        });
        match changed {
            Ok(()) => tracing::debug!(event = "kafka_consumer_flow", ?flow, "partitions are paused or resumed"),
            Err(error) => {
                tracing::warn!(event = "kafka_consumer_flow", %error, "partitions could not be paused or resumed")
            }
        }
    }

    /// Tells errors that librdkafka heals by itself from those that end the work.
    fn report(&self, error: KafkaError) -> Result<()> {
        let topic = &self.config.topic;
        if let KafkaError::PartitionEOF(partition) = error {
            let _ = self.deliveries.0.send(Delivery::EndOfPartition(partition));
            return Ok(());
        }
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Err(Error::with_source(
                ErrorKind::Refused,
                format!(
                    "records of topic `{topic}` that group `{}` was to apply next are no longer there: it was truncated, \
                     re-created, or its retention is too short. Start again to be told which offsets are missing, and the remedy",
                    self.config.group_id
                ),
                error,
            )),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
                if !fatal && is_there(&self.config, &self.consumer.stop)? =>
            {
                tracing::warn!(event = "kafka_topic_unseen", %error, "a broker did not know the topic, which is there");
                // Asks for the topic now; librdkafka by itself would minutes later.
                let again = self.consumer.group.subscribe(&[topic.as_str()]);
                again.map_err(|error| client_error("subscribing", &self.config, error))
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication,
            ) => Err(client_error(&format!("reading topic `{topic}`"), &self.config, error)),
            // One broker of several, whose partitions others take over. If it is the last, all are reported to be down.
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) if !fatal => {
                tracing::debug!(event = "kafka_broker_lost", %error, "a broker does not answer");
                Ok(())
            }
            _ if fatal => Err(client_error(&format!("reading topic `{topic}`"), &self.config, error)),
            _ => self.consumer.group.context().interrupted(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_thread_is_told_although_the_channel_stays_open() {
        let (sender, mut delivered) = mpsc::unbounded_channel();
        let deliveries = Deliveries(sender.clone());
        let ended = std::thread::spawn(move || {
            let _deliveries = deliveries;
            std::panic::resume_unwind(Box::new("as if it had panicked"));
        });
        assert!(ended.join().is_err());
        assert!(matches!(delivered.try_recv(), Ok(Delivery::Failed(error)) if error.kind() == ErrorKind::System));
        assert!(!sender.is_closed());
    }
}
