//! Creating topics.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::Result;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates a topic of one partition that keeps the last record of each key, unless it exists.
pub(crate) async fn create_compacted_topic(config: &KafkaConfig, topic: &str) -> Result<()> {
    create_topic(config, topic, ("cleanup.policy", "compact")).await
}

/// Creates a topic of one partition that keeps its records for ever, unless it exists.
pub(crate) async fn create_kept_topic(config: &KafkaConfig, topic: &str) -> Result<()> {
    create_topic(config, topic, ("retention.ms", "-1")).await
}

/// Creates a topic, unless it exists; -1 partitions and -1 replicas ask for the broker's own default.
pub(crate) async fn create_routed_topic(
    config: &KafkaConfig,
    topic: &str,
    (partitions, replicas): (i32, i32),
    settings: &[(String, String)],
) -> Result<()> {
    let new_topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
    let new_topic = settings.iter().fold(new_topic, |new_topic, (name, value)| new_topic.set(name, value));
    create(config, new_topic, "").await
}

async fn create_topic(config: &KafkaConfig, topic: &str, (name, value): (&str, &str)) -> Result<()> {
    let new_topic = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set(name, value);
    create(config, new_topic, &format!(" with {name}={value}, which `evp init` does as well")).await
}

async fn create(config: &KafkaConfig, new_topic: NewTopic<'_>, how: &str) -> Result<()> {
    let mut client = client_config(config, "evp-admin");
    with_user_properties(&mut client, config);
    // A broker that is just starting, or whose controller changes, is waited for; one that refuses is not.
    let failed = |error| {
        let what = format!("creating topic {}{how}", new_topic.name);
        client_error(&what, config, error)
    };
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(failed)?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let results = admin.create_topics([&new_topic], &options).await.map_err(failed)?;
    match results.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
    }
}
