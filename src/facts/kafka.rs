//! What Kafka says of the topics and of the group.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Depth;
use super::kafka_rights::{self, MissingRight};
use crate::config::KafkaConfig;
use crate::dead_letters::dead_letter_topic;
use crate::error::{ErrorKind, Result};
use crate::init::InitPlan;
use crate::kafka::admin::Admin;
use crate::kafka::look::{GroupLook, Looker, PartitionLook, blocking};

/// A topic.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct TopicFacts {
    pub(crate) partitions: Vec<PartitionLook>,
    /// Settings as the brokers tell them; none if they do not, for want of a privilege.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settings: BTreeMap<String, String>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KafkaFacts {
    pub(crate) servers: String,
    /// The topic that process reads.
    pub(crate) topic: String,
    /// Those of the topics that evp uses which exist.
    pub(crate) topics: BTreeMap<String, TopicFacts>,
    /// Topics that evp uses and that do not exist.
    pub(crate) missing_topics: Vec<String>,
    /// By partition of the topic: its first offset, and the one behind its last.
    pub(crate) bounds: BTreeMap<i32, (i64, i64)>,
    /// Who asks, where a password says it.
    pub(crate) user: Option<String>,
    /// What that user lacks of the rights of capture and process; none where it was not asked for.
    pub(crate) missing_rights: Option<Vec<MissingRight>>,
    pub(crate) group_name: String,
    pub(crate) committed: BTreeMap<i32, i64>,
    pub(crate) group: Option<GroupLook>,
}

impl KafkaFacts {
    /// Records behind the end, by partition. Where the group has no offset, all that there are.
    pub(crate) fn lags(&self) -> impl Iterator<Item = (i32, i64)> {
        self.bounds.iter().map(|(partition, (low, high))| {
            let next = self.committed.get(partition).copied().unwrap_or(*low);
            (*partition, high.saturating_sub(next).max(0))
        })
    }
}

pub(super) async fn look(plan: &InitPlan, depth: Depth) -> Result<KafkaFacts> {
    let config = plan.kafka.clone();
    let mut wanted = plan.event_topics.clone();
    wanted.push(config.topic.clone());
    wanted.sort();
    wanted.dedup();
    let letters: Vec<_> = wanted.iter().map(|topic| dead_letter_topic(topic)).collect();
    wanted.extend(letters);
    wanted.extend([plan.heartbeat_topic.clone(), plan.position_topic.clone()]);
    let mut facts = blocking("looking at Kafka", move || look_around(&config, wanted, depth)).await?;
    if depth == Depth::Whole {
        describe(&plan.kafka, &mut facts).await?;
        facts.missing_rights = kafka_rights::missing_in_time(plan, &facts).await?;
    }
    Ok(facts)
}

fn look_around(config: &KafkaConfig, wanted: Vec<String>, depth: Depth) -> Result<KafkaFacts> {
    let looker = Looker::new(config)?;
    let mut there = looker.topics()?;
    let (mut topics, mut missing_topics) = (BTreeMap::new(), Vec::new());
    for name in wanted {
        match there.remove(&name) {
            Some(partitions) => {
                topics.insert(name, TopicFacts { partitions, ..TopicFacts::default() });
            }
            None => missing_topics.push(name),
        }
    }
    let partitions: Vec<i32> = topics.get(&config.topic).into_iter().flat_map(TopicFacts::ids).collect();
    let mut bounds = BTreeMap::new();
    for partition in &partitions {
        if let Some(ends) = unless_denied(looker.bounds(&config.topic, *partition), depth)? {
            bounds.insert(*partition, ends);
        }
    }
    let committed = match partitions.is_empty() {
        true => BTreeMap::new(),
        false => unless_denied(looker.committed(&config.topic, partitions), depth)?.unwrap_or_default(),
    };
    Ok(KafkaFacts {
        servers: config.bootstrap_servers.clone(),
        topic: config.topic.clone(),
        topics,
        missing_topics,
        bounds,
        group_name: config.group_id.clone(),
        committed,
        group: unless_denied(looker.group(), depth)?.flatten(),
        user: config.user().map(str::to_owned),
        missing_rights: None,
    })
}

/// Nothing where this user may not see it, which is a finding of its own where it is looked whole.
fn unless_denied<T>(looked: Result<T>, depth: Depth) -> Result<Option<T>> {
    match looked {
        Err(error) if error.kind() == ErrorKind::Denied && depth == Depth::Whole => Ok(None),
        looked => looked.map(Some),
    }
}

impl TopicFacts {
    /// Partitions that have a leader; the others cannot be asked.
    fn ids(&self) -> impl Iterator<Item = i32> {
        self.partitions.iter().filter(|partition| partition.has_leader).map(|partition| partition.id)
    }

    pub(crate) fn number(&self, setting: &str) -> Option<i64> {
        self.settings.get(setting)?.parse().ok()
    }
}

async fn describe(config: &KafkaConfig, facts: &mut KafkaFacts) -> Result<()> {
    let names: Vec<&str> = facts.topics.keys().map(String::as_str).collect();
    let described = Admin::new(config)?.settings(&names).await?;
    for (topic, settings) in facts.topics.values_mut().zip(described) {
        topic.settings = settings;
        topic.settings.retain(|name, _| KNOWN_SETTINGS.contains(&name.as_str()));
    }
    Ok(())
}

/// The settings that anything is said about.
const KNOWN_SETTINGS: [&str; 5] =
    ["cleanup.policy", "max.message.bytes", "min.insync.replicas", "retention.bytes", "retention.ms"];
