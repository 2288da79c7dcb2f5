//! The topics that capture and process use, each with the settings that its use asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::{InitPlan, Report, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{client_config, client_error, with_user_properties};
use crate::process::dead_letter_topic;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// Only the latest record of a key is ever asked for.
const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];
/// A dead letter waits for a person, however long that takes.
const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];

const BYTES_MAX: &str = "max.message.bytes";

/// A topic as it would be made.
#[derive(Debug, PartialEq, Eq)]
struct WantedTopic {
    name: String,
    partitions: i32,
    settings: &'static [(&'static str, &'static str)],
    /// The topic whose dead letters it holds, if it is for these.
    letters_of: Option<String>,
}

/// Makes the topics that do not exist; one with another partition count is reported and kept.
pub(super) async fn ensure(plan: &InitPlan, report: &mut Report) -> Result<()> {
    let failed = |error| client_error("setting up the topics", &plan.kafka, error);
    let mut config = client_config(&plan.kafka, "evp-init");
    with_user_properties(&mut config, &plan.kafka);
    let admin: Arc<AdminClient<DefaultClientContext>> = Arc::new(config.create().map_err(failed)?);
    let existing = partition_counts(plan, Arc::clone(&admin)).await?;
    for topic in wanted(plan) {
        match existing.get(&topic.name) {
            Some(count) if *count == topic.partitions => {
                report.step(Step::Exists, format_args!("topic {}", topic.name));
            }
            Some(count) => report.step(
                Step::Exists,
                format_args!(
                    "topic {} with {count} partitions, not {}; kept, because a key's order would break at a change",
                    topic.name, topic.partitions
                ),
            ),
            None => create(plan, &admin, &topic, report).await?,
        }
    }
    Ok(())
}

fn wanted(plan: &InitPlan) -> Vec<WantedTopic> {
    let mut topics = Vec::new();
    for name in &plan.event_topics {
        let (partitions, letters) = (plan.partitions, dead_letter_topic(name));
        topics.push(WantedTopic { name: name.clone(), partitions, settings: &[], letters_of: None });
        topics.push(WantedTopic { name: letters, partitions: 1, settings: KEPT, letters_of: Some(name.clone()) });
    }
    for name in [&plan.heartbeat_topic, &plan.position_topic] {
        topics.push(WantedTopic { name: name.clone(), partitions: 1, settings: COMPACTED, letters_of: None });
    }
    topics
}

/// All topics at once: asking for one by name can create it, with the wrong settings.
async fn partition_counts(
    plan: &InitPlan,
    admin: Arc<AdminClient<DefaultClientContext>>,
) -> Result<HashMap<String, i32>> {
    let fetched = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, METADATA_TIMEOUT))
        .await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the topics was interrupted", error))?;
    let metadata = fetched.map_err(|error| client_error("reading the topics", &plan.kafka, error))?;
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
}

async fn create(
    plan: &InitPlan,
    admin: &AdminClient<DefaultClientContext>,
    topic: &WantedTopic,
    report: &mut Report,
) -> Result<()> {
    let what = format!("topic {} ({} partition{})", topic.name, topic.partitions, plural(topic.partitions));
    if plan.is_dry_run {
        report.step(Step::Created, what);
        return Ok(());
    }
    let replication = TopicReplication::Fixed(plan.replication_factor);
    let bytes_max = match &topic.letters_of {
        Some(events) => dead_letter_bytes_max(admin, events).await,
        None => None,
    };
    let settings = topic.settings.iter().copied().chain(bytes_max.as_deref().map(|bytes| (BYTES_MAX, bytes)));
    let new = NewTopic::new(&topic.name, topic.partitions, replication);
    let new = settings.fold(new, |new, (name, value)| new.set(name, value));
    let options = AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
    let outcomes = admin
        .create_topics([&new], &options)
        .await
        .map_err(|error| client_error("creating the topics", &plan.kafka, error))?;
    match outcomes.into_iter().next() {
        Some(Err((name, RDKafkaErrorCode::TopicAlreadyExists))) => {
            report.step(Step::Exists, format_args!("topic {name}"));
        }
        Some(Err((name, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            let factor = plan.replication_factor;
            return Err(Error::configuration(format!(
                "topic {name}: Kafka has fewer brokers than --replication-factor {factor}"
            )));
        }
        Some(Err((name, code))) => {
            let error = rdkafka::error::KafkaError::AdminOp(code);
            return Err(client_error(&format!("creating topic {name}"), &plan.kafka, error));
        }
        Some(Ok(_)) | None => report.step(Step::Created, what),
    }
    Ok(())
}

/// Twice what `topic` takes, so that each of its records fits together with the reason; nothing if it does not say.
async fn dead_letter_bytes_max(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Option<String> {
    let options = AdminOptions::new().request_timeout(Some(CREATE_TIMEOUT));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await.ok()?;
    let settings = described.into_iter().next()?.ok()?;
    let bytes: i32 = settings.get(BYTES_MAX)?.value.as_ref()?.parse().ok()?;
    Some(bytes.saturating_mul(2).to_string())
}

fn plural(count: i32) -> &'static str {
    if count == 1 { "" } else { "s" }
}
