//! Creating topics.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates a topic of one partition that keeps the last record of each key, unless it exists.
pub(crate) async fn create_compacted_topic(config: &KafkaConfig, topic: &str) -> Result<()> {
    let mut client = client_config(config, "evp-admin");
    with_user_properties(&mut client, config);
    let failed = |error| client_error(&format!("creating topic {topic}"), config, error);
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(failed)?;
    // -1 asks for the broker's own default.
    let new_topic = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let results = admin.create_topics([&new_topic], &options).await.map_err(failed)?;
    match results.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "Kafka does not let evp create topic {topic} ({code}); create it with cleanup.policy=compact, or run `evp init`"
            ),
        )),
    }
}
