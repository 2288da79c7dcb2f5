//! What the brokers let this user do, asked by requests that change nothing.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::look::REQUEST_TIMEOUT;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::Result;

/// Brokers have 0, 1 and -1. They look at the right to write before they refuse another number.
const NO_ACKNOWLEDGEMENTS: &str = "2";
/// Offsets are committed for topics that exist; the right to the group is looked at before.
const NO_TOPIC: &str = "evp-doctor-no-such-topic";
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether something is allowed; `None` where the brokers did not say.
pub(crate) type Allowed = Option<bool>;

/// Asks as one user.
pub(crate) struct Rights {
    config: KafkaConfig,
}

impl Rights {
    pub(crate) fn of(config: &KafkaConfig) -> Self {
        Self { config: config.clone() }
    }

    fn client(&self, settings: &[(&str, &str)]) -> rdkafka::ClientConfig {
        let mut client = client_config(&self.config, "evp-rights");
        with_user_properties(&mut client, &self.config);
        settings.iter().for_each(|(name, value)| {
            client.set(*name, *value);
        });
        client
    }

    /// Whether records may be written to a topic that exists. None is: should a broker take it, it is a null without a key.
    pub(crate) async fn write(&self, topics: &[String]) -> Result<Vec<Allowed>> {
        let timeout = REQUEST_TIMEOUT.as_millis().to_string();
        let client = self.client(&[
            ("enable.idempotence", "false"),
            ("acks", NO_ACKNOWLEDGEMENTS),
            ("message.timeout.ms", &timeout),
            ("linger.ms", "0"),
        ]);
        let producer: FutureProducer =
            client.create().map_err(|error| client_error("creating a producer", &self.config, error))?;
        let sent = topics.iter().map(|topic| {
            let record = FutureRecord::<[u8], [u8]>::to(topic).partition(0);
            producer.send(record, REQUEST_TIMEOUT)
        });
        let outcomes = futures_util::future::join_all(sent).await;
        Ok(outcomes.into_iter().map(|outcome| allowed(outcome.err().map(|(error, _)| error))).collect())
    }

    /// Whether records of a topic may be read, by its first partition. Blocks.
    pub(crate) fn read(&self, topic: &str) -> Result<Allowed> {
        let consumer = self.consumer(&[("enable.partition.eof", "true"), ("fetch.wait.max.ms", "50")])?;
        let failed = |error| client_error(&format!("reading topic {topic}"), &self.config, error);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::End).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let started = Instant::now();
        while started.elapsed() < READ_TIMEOUT {
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(Some(true)),
                Some(Err(error)) if is_denied(&error) => return Ok(Some(false)),
                Some(Err(_)) => {}
            }
        }
        Ok(None)
    }

    /// Whether offsets of the group may be committed. Blocks.
    pub(crate) fn commit(&self) -> Result<Allowed> {
        let consumer = self.consumer(&[])?;
        let failed = |error| client_error("asking for the group", &self.config, error);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(NO_TOPIC, 0, Offset::Offset(0)).map_err(failed)?;
        // Without the right to see the group its coordinator is not found, and a commit would wait for that.
        if let Err(error) = consumer.committed_offsets(list.clone(), REQUEST_TIMEOUT) {
            return Ok(if is_denied(&error) { Some(false) } else { None });
        }
        Ok(allowed(consumer.commit(&list, CommitMode::Sync).err()))
    }

    /// Whether this user is told of a topic that is not among those that it sees. Blocks.
    pub(crate) fn see(&self, topic: &str) -> Result<Allowed> {
        let consumer = self.consumer(&[])?;
        let Ok(metadata) = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT) else { return Ok(None) };
        let error = metadata.topics().first().and_then(|topic| topic.error());
        Ok(allowed(error.map(|error| KafkaError::MetadataFetch(Code::from(error)))))
    }

    /// Whether topics that are not there may be made. None is.
    pub(crate) async fn create(&self, topics: &[String]) -> Result<Vec<Allowed>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error| client_error("asking for new topics", &self.config, error);
        let client: AdminClient<DefaultClientContext> = self.client(&[]).create().map_err(failed)?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).validate_only(true);
        let new: Vec<_> = topics.iter().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(-1))).collect();
        let outcomes = client.create_topics(&new, &options).await.map_err(failed)?;
        let judged =
            outcomes.into_iter().map(|outcome| allowed(outcome.err().map(|(_, code)| KafkaError::AdminOp(code))));
        Ok(judged.collect())
    }

    fn consumer(&self, settings: &[(&str, &str)]) -> Result<BaseConsumer> {
        let mut client = self.client(settings);
        client
            .set("group.id", &self.config.group_id)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .remove("group.instance.id");
        client.create().map_err(|error| client_error("creating a consumer", &self.config, error))
    }
}

fn is_denied(error: &KafkaError) -> bool {
    let denied = [Code::TopicAuthorizationFailed, Code::GroupAuthorizationFailed, Code::ClusterAuthorizationFailed];
    error.rdkafka_error_code().is_some_and(|code| denied.contains(&code))
}

/// What an answer says of the right; a broker that is away says nothing.
fn allowed(error: Option<KafkaError>) -> Allowed {
    let Some(error) = error else { return Some(true) };
    if is_denied(&error) {
        return Some(false);
    }
    let spoken = [
        Code::InvalidRequiredAcks,
        Code::UnknownTopicOrPartition,
        Code::TopicAlreadyExists,
        Code::IllegalGeneration,
        Code::UnknownMemberId,
        Code::PolicyViolation,
        Code::InvalidReplicationFactor,
    ];
    error.rdkafka_error_code().filter(|code| spoken.contains(code)).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_something_else_means_that_the_right_was_there() {
        let of = |code| allowed(Some(KafkaError::MessageProduction(code)));
        assert_eq!((of(Code::TopicAuthorizationFailed), of(Code::InvalidRequiredAcks)), (Some(false), Some(true)));
        assert_eq!((of(Code::MessageTimedOut), allowed(None)), (None, Some(true)));
    }
}
