//! The rights on the brokers that capture and process need and this user lacks.

use std::time::Duration;

use serde::Serialize;

use super::kafka::{KafkaFacts, TopicFacts};
use crate::dead_letters::dead_letter_topic;
use crate::error::Result;
use crate::init::InitPlan;
use crate::kafka::look::blocking;
use crate::kafka::rights::{Allowed, Rights};

/// Bound of all questions.
const ASKED_FOR: Duration = Duration::from_secs(7);
/// Each topic is read by a request of its own.
const READ_MAX: usize = 8;

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MissingRight {
    /// Kafka's word for what may not be done.
    pub(crate) operation: &'static str,
    /// The right that is needed besides, where nothing could be asked without the first.
    pub(crate) besides: Option<&'static str>,
    /// `topic` or `group`.
    pub(crate) resource: &'static str,
    pub(crate) name: String,
    /// The half that needs it.
    pub(crate) for_what: &'static str,
}

/// Which halves write and read a topic.
fn halves(plan: &InitPlan, topic: &str) -> (&'static str, &'static str) {
    let is_captured = plan.event_topics.iter().any(|known| known == topic);
    if is_captured || topic == plan.heartbeat_topic || topic == plan.position_topic {
        ("capture", if topic == plan.kafka.topic { "process" } else { "capture" })
    } else {
        ("process", "process")
    }
}

/// The same in bounded time; none where the brokers did not answer by then, which others find.
pub(super) async fn missing_in_time(plan: &InitPlan, facts: &KafkaFacts) -> Result<Option<Vec<MissingRight>>> {
    tokio::time::timeout(ASKED_FOR, missing(plan, facts)).await.ok().transpose()
}

async fn missing(plan: &InitPlan, facts: &KafkaFacts) -> Result<Vec<MissingRight>> {
    let rights = Rights::of(&plan.kafka);
    // One without a leader would be waited for.
    let is_led = |topic: &TopicFacts| topic.partitions.first().is_some_and(|partition| partition.has_leader);
    let there = facts.topics.iter().filter(|(_, topic)| is_led(topic));
    let there: Vec<String> = there.map(|(name, _)| name.clone()).collect();
    // Nobody of the chain writes the topic that process reads if it is not that of capture.
    let is_foreign = |topic: &String| *topic == facts.topic && !plan.event_topics.contains(topic);
    let written: Vec<String> = there.iter().filter(|topic| !is_foreign(topic)).cloned().collect();
    let read: Vec<String> = [facts.topic.clone(), plan.position_topic.clone(), dead_letter_topic(&facts.topic)]
        .into_iter()
        .chain(plan.event_topics.iter().filter(|topic| **topic != facts.topic).cloned())
        .filter(|topic| there.contains(topic))
        .take(READ_MAX)
        .collect();
    let (writes, creates) = tokio::try_join!(rights.write(&written), rights.create(&facts.missing_topics))?;
    let (asked, missing) = (read.clone(), facts.missing_topics.clone());
    let (reads, sights, commits) = blocking("asking for rights", move || {
        let reads = asked.iter().map(|topic| rights.read(topic)).collect::<Result<Vec<Allowed>>>()?;
        let sights = missing.iter().map(|topic| rights.see(topic)).collect::<Result<Vec<Allowed>>>()?;
        Ok((reads, sights, rights.commit()?))
    })
    .await?;
    let right = |operation, name: &String| {
        let (writer, reader) = halves(plan, name);
        let for_what = if operation == "Read" { reader } else { writer };
        MissingRight { operation, besides: None, resource: "topic", name: name.clone(), for_what }
    };
    let mut lacking = Vec::new();
    for (operation, topics, allowed) in [("Write", &written, writes), ("Read", &read, reads)] {
        let denied = topics.iter().zip(allowed).filter(|(_, allowed)| *allowed == Some(false));
        lacking.extend(denied.map(|(topic, _)| right(operation, topic)));
    }
    for ((topic, create), sight) in facts.missing_topics.iter().zip(creates).zip(sights) {
        match (sight, create) {
            (Some(false), _) => {
                let besides = Some(if is_foreign(topic) { "Read" } else { "Write" });
                lacking.push(MissingRight { besides, ..right("Describe", topic) });
            }
            (_, Some(false)) => lacking.push(right("Create", topic)),
            _ => {}
        }
    }
    if commits == Some(false) {
        let name = facts.group_name.clone();
        lacking.push(MissingRight { operation: "Read", besides: None, resource: "group", name, for_what: "process" });
    }
    Ok(lacking)
}
