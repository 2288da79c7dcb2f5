//! The topics that capture and process use, each with the settings that its use asks for.

use super::{InitPlan, Report, Step};
use crate::error::{Error, Result};
use crate::kafka::admin::{Admin, COMPACTED, Creation, KEPT, TopicPlan};
use crate::process::dead_letter_topic;
use crate::terminal::counted;

const BYTES_MAX: &str = "max.message.bytes";

/// A topic as it would be made.
#[derive(Debug, PartialEq, Eq)]
struct WantedTopic {
    name: String,
    partitions: i32,
    replicas: i32,
    settings: Vec<(String, String)>,
    /// The topic whose dead letters it holds, if it is for these.
    letters_of: Option<String>,
}

/// Makes the topics that do not exist; one with another partition count is reported and kept.
pub(super) async fn ensure(plan: &InitPlan, report: &mut Report) -> Result<()> {
    let admin = Admin::new(&plan.kafka)?;
    let existing = admin.partition_counts().await?;
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
    let replicas = plan.replication_factor.unwrap_or(plan.topic_creation.default_rule().replicas);
    let own = |name, (setting, value): (&str, &str), letters_of| {
        let settings = vec![(setting.to_owned(), value.to_owned())];
        WantedTopic { name, partitions: 1, replicas, settings, letters_of }
    };
    let mut topics = Vec::new();
    for name in &plan.event_topics {
        let rule = plan.topic_creation.of(name);
        topics.push(WantedTopic {
            name: name.clone(),
            partitions: plan.partitions.unwrap_or(rule.partitions.max(1)),
            replicas: plan.replication_factor.unwrap_or(rule.replicas),
            settings: rule.settings.clone(),
            letters_of: None,
        });
        topics.push(own(dead_letter_topic(name), KEPT, Some(name.clone())));
    }
    topics.extend([&plan.heartbeat_topic, &plan.position_topic].map(|name| own(name.clone(), COMPACTED, None)));
    topics
}

async fn create(plan: &InitPlan, admin: &Admin, topic: &WantedTopic, report: &mut Report) -> Result<()> {
    let what = format!("topic {} ({})", topic.name, counted(topic.partitions, "partition"));
    if plan.is_dry_run {
        report.step(Step::Created, what);
        return Ok(());
    }
    let bytes_max = match &topic.letters_of {
        Some(events) => dead_letter_bytes_max(admin, events).await,
        None => None,
    };
    let own = topic.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = own.chain(bytes_max.as_deref().map(|bytes| (BYTES_MAX, bytes))).collect();
    let (name, partitions, replicas) = (topic.name.as_str(), topic.partitions, topic.replicas);
    match admin.create(&TopicPlan { name, partitions, replicas, settings }, "").await? {
        Creation::Created => report.step(Step::Created, what),
        Creation::Exists => report.step(Step::Exists, format_args!("topic {name}")),
        Creation::TooFewBrokers => {
            return Err(Error::configuration(format!(
                "topic {name}: Kafka has fewer brokers than --replication-factor {replicas}"
            )));
        }
    }
    Ok(())
}

/// Twice what `topic` takes, so that each of its records fits together with the reason; nothing if it does not say.
async fn dead_letter_bytes_max(admin: &Admin, topic: &str) -> Option<String> {
    let settings = admin.settings(&[topic]).await.ok()?;
    let bytes: i32 = settings.first()?.get(BYTES_MAX)?.parse().ok()?;
    Some(bytes.saturating_mul(2).to_string())
}
