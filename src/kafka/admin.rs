//! Making topics, and their settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The setting of a topic that says how long its records are kept, and its value for ever.
pub(crate) const KEPT: (&str, &str) = ("retention.ms", "-1");
/// The setting of a topic of which only the latest record of a key is ever asked for.
pub(crate) const COMPACTED: (&str, &str) = ("cleanup.policy", "compact");

/// A topic to be made; -1 partitions and -1 replicas ask for the broker's own default.
#[derive(Debug)]
pub(crate) struct TopicPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    pub(crate) replicas: i32,
    pub(crate) settings: Vec<(&'a str, &'a str)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    Created,
    Exists,
    /// There are fewer brokers than replicas.
    TooFewBrokers,
}

/// Asks the brokers for topics and settings.
pub(crate) struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
    config: KafkaConfig,
}

impl Admin {
    /// Connects in the background.
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self> {
        let mut client = client_config(config, "evp-admin");
        with_user_properties(&mut client, config);
        let client = client.create().map_err(|error| client_error("creating a client", config, error))?;
        Ok(Self { client: Arc::new(client), config: config.clone() })
    }

    /// Creates a topic, unless it exists; `how` tells people more of it if that fails.
    pub(crate) async fn create(&self, topic: &TopicPlan<'_>, how: &str) -> Result<Creation> {
        let TopicPlan { name, partitions, replicas, settings } = topic;
        let new = NewTopic::new(name, *partitions, TopicReplication::Fixed(*replicas));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().request_timeout(Some(CREATE_TIMEOUT)).operation_timeout(Some(CREATE_TIMEOUT));
        // A broker that is just starting, or whose controller changes, is waited for; one that refuses is not.
        let failed = |error| client_error(&format!("creating topic {name}{how}"), &self.config, error);
        let outcomes = self.client.create_topics([&new], &options).await.map_err(failed)?;
        match outcomes.into_iter().next() {
            None | Some(Ok(_)) => Ok(Creation::Created),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Creation::Exists),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) if *replicas > 0 => Ok(Creation::TooFewBrokers),
            Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
        }
    }

    /// Deletes topics; those that are not there are none.
    pub(crate) async fn delete(&self, topics: &[&str]) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let failed = |error| client_error("deleting topics", &self.config, error);
        for outcome in self.client.delete_topics(topics, &self.options()).await.map_err(failed)? {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((topic, code)) => {
                    let what = format!("deleting topic {topic}");
                    return Err(client_error(&what, &self.config, KafkaError::AdminOp(code)));
                }
            }
        }
        Ok(())
    }

    /// How many partitions each topic has. All topics at once: asking for one by name can create it, with wrong settings.
    pub(crate) async fn partition_counts(&self) -> Result<HashMap<String, i32>> {
        let (client, config) = (Arc::clone(&self.client), self.config.clone());
        super::look::blocking("reading the topics", move || {
            let metadata = client.inner().fetch_metadata(None, REQUEST_TIMEOUT);
            let metadata = metadata.map_err(|error| client_error("reading the topics", &config, error))?;
            let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
            let topics = metadata.topics().iter();
            Ok(topics.map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
        })
        .await
    }

    /// The settings of topics, in their order; none of one whose settings a broker keeps to itself.
    pub(crate) async fn settings(&self, topics: &[&str]) -> Result<Vec<BTreeMap<String, String>>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error| client_error("reading the topics' settings", &self.config, error);
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described = self.client.describe_configs(&resources, &self.options()).await.map_err(failed)?;
        let settings = described.into_iter().map(|described| {
            let entries = described.map(|settings| settings.entries).unwrap_or_default();
            entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
        });
        Ok(settings.collect())
    }

    /// Changes one setting of a topic. The brokers forget every own setting that a change does not name, so it names all.
    pub(crate) async fn set(&self, topic: &str, (name, value): (&str, &str)) -> Result<()> {
        let failed = |error| client_error(&format!("changing topic {topic}"), &self.config, error);
        let resource = ResourceSpecifier::Topic(topic);
        let described = self.client.describe_configs([&resource], &self.options()).await.map_err(failed)?;
        let Some(described) = described.into_iter().next() else { return Ok(()) };
        let described = described.map_err(|code| failed(KafkaError::AdminOp(code)))?;
        let own = described.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let own = own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let all = own.filter(|(own, _)| *own != name).chain([(name, value)]);
        let change = all.fold(AlterConfig::new(resource), |change, (name, value)| change.set(name, value));
        for outcome in self.client.alter_configs([&change], &self.options()).await.map_err(failed)? {
            outcome.map_err(|(_, code)| failed(KafkaError::AdminOp(code)))?;
        }
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT))
    }
}

/// Creates a topic of one partition that keeps the last record of each key, and that a broker has just left out of what there
/// is. If it is there nevertheless, that broker did not know yet, and nothing that it has said can be relied on.
pub(crate) async fn create_first_compacted_topic(config: &KafkaConfig, topic: &str) -> Result<()> {
    match create_topic(config, topic, COMPACTED).await? {
        Creation::Exists => Err(Error::unavailable(format!(
            "topic {topic} is there, although a broker did not name it a moment ago, as one that starts; try again in a moment"
        ))),
        Creation::Created | Creation::TooFewBrokers => Ok(()),
    }
}

/// Creates a topic of one partition that keeps its records for ever, unless it exists.
pub(crate) async fn create_kept_topic(config: &KafkaConfig, topic: &str) -> Result<()> {
    create_topic(config, topic, KEPT).await.map(drop)
}

/// Creates a topic, unless it exists; -1 partitions and -1 replicas ask for the broker's own default.
pub(crate) async fn create_routed_topic(
    config: &KafkaConfig,
    topic: &str,
    (partitions, replicas): (i32, i32),
    settings: &[(String, String)],
) -> Result<()> {
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let plan = TopicPlan { name: topic, partitions, replicas, settings };
    match Admin::new(config)?.create(&plan, "").await? {
        Creation::Created | Creation::Exists => Ok(()),
        Creation::TooFewBrokers => Err(Error::configuration(format!(
            "topic {topic}: Kafka has fewer brokers than its replication.factor of topic.creation, which is {replicas}"
        ))),
    }
}

async fn create_topic(config: &KafkaConfig, topic: &str, setting: (&str, &str)) -> Result<Creation> {
    let how = format!(" with {}={}, which `evp init` does as well", setting.0, setting.1);
    let plan = TopicPlan { name: topic, partitions: 1, replicas: -1, settings: vec![setting] };
    Admin::new(config)?.create(&plan, &how).await
}
