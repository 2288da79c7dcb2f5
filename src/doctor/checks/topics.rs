//! The topics: that they are there, have leaders and replicas, keep what they have to, and take the widest row.

use super::{Fix, Link};
use crate::dead_letters::dead_letter_topic;
use crate::facts::{KafkaFacts, PostgresFacts, TopicFacts};
use crate::init::InitPlan;
use crate::terminal::counted;

const HOUR_MS: i64 = 3_600_000;
/// What process has not applied when its records expire is lost to it.
const RETENTION_MS_MIN: i64 = 24 * HOUR_MS;
/// An envelope repeats the names of columns and holds the schema of its source; text inside of JSON is escaped.
const ENVELOPE_FACTOR: i64 = 2;
const ENVELOPE_BYTES: i64 = 2_048;

const RETENTION: &str = "retention.ms";
const BYTES_MAX: &str = "max.message.bytes";

pub(super) fn check(facts: &KafkaFacts, source: Option<&PostgresFacts>, plan: &InitPlan, link: &mut Link) {
    link.good("servers", format!("{} answer", facts.servers));
    let is_missing = |topic: &String| facts.missing_topics.contains(topic);
    for topic in &facts.missing_topics {
        let is_of_events = plan.event_topics.contains(topic);
        if is_of_events {
            link.problem("topic", format!("{topic} does not exist"), "evp init --partitions N");
        } else if wanted(plan).contains(topic) {
            link.problem("topic", format!("{topic} does not exist"), "evp init");
            if !plan.event_topics.iter().any(is_missing) {
                link.fixed_by(Fix::Topics);
            }
        }
    }
    if !plan.event_topics.contains(&facts.topic) {
        let written = match plan.event_topics.as_slice() {
            [] => "topics that rows name".to_owned(),
            topics => topics.join(", "),
        };
        let what = format!("process reads {}, and capture writes {written}", facts.topic);
        let wanted = plan.event_topics.first().map_or("", String::as_str);
        link.warning("topic", what, format!("set KAFKA_TOPIC={wanted}, or topic.prefix of the connector"));
    }
    for (name, topic) in &facts.topics {
        partitions(facts, name, topic, link);
    }
    for name in plan.event_topics.iter().chain((!plan.event_topics.contains(&facts.topic)).then_some(&facts.topic)) {
        if let Some(topic) = facts.topics.get(name) {
            events(facts, (name, topic), source, link);
            if let Some(letters) = facts.topics.get(&dead_letter_topic(name)) {
                dead_letters(facts, (&dead_letter_topic(name), letters), topic, link);
            }
        }
    }
    if let Some(position) = facts.topics.get(&plan.position_topic) {
        let policy = position.settings.get("cleanup.policy");
        if policy.is_some_and(|policy| policy != "compact") {
            let name = &plan.position_topic;
            let what = format!("{name} forgets capture's position (cleanup.policy is not compact)");
            link.problem("topic", what, alter(facts, name, "cleanup.policy=compact"));
        }
    }
    let count = facts.topics.get(&facts.topic).map_or(0, |topic| topic.partitions.len());
    link.otherwise_good("topic", format!("{}, {}, all with leaders", facts.topic, counted(count, "partition")));
}

/// What `evp init` makes besides the topics of events.
fn wanted(plan: &InitPlan) -> Vec<String> {
    let letters = plan.event_topics.iter().map(|topic| dead_letter_topic(topic));
    letters.chain([plan.heartbeat_topic.clone(), plan.position_topic.clone()]).collect()
}

/// The command that changes a topic's setting.
fn alter(facts: &KafkaFacts, topic: &str, setting: &str) -> String {
    let servers = &facts.servers;
    format!(
        "kafka-configs --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} --add-config {setting}"
    )
}

fn partitions(facts: &KafkaFacts, name: &str, topic: &TopicFacts, link: &mut Link) {
    let describe = || format!("kafka-topics --bootstrap-server {} --describe --topic {name}", facts.servers);
    let numbers = |wanted: &dyn Fn(&crate::kafka::look::PartitionLook) -> bool| -> Vec<String> {
        topic.partitions.iter().filter(|look| wanted(look)).map(|look| look.id.to_string()).collect()
    };
    let leaderless = numbers(&|look| !look.has_leader);
    if !leaderless.is_empty() {
        let what = format!("{name}: partitions {} have no leader", leaderless.join(", "));
        link.problem("topic", what, format!("start the brokers that hold them: {}", describe()));
    }
    let behind = numbers(&|look| look.has_leader && look.in_sync < look.replicas);
    if !behind.is_empty() {
        let what = format!("{name}: replicas of partitions {} are not in sync", behind.join(", "));
        link.warning("topic", what, describe());
    }
    let wanted = topic.number("min.insync.replicas").and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    let refused = numbers(&|look| look.has_leader && look.in_sync < wanted);
    if !refused.is_empty() {
        let what = format!(
            "{name}: partitions {} take no writes, because min.insync.replicas is {wanted}",
            refused.join(", ")
        );
        link.problem("topic", what, describe());
    }
}

fn events(facts: &KafkaFacts, (name, topic): (&str, &TopicFacts), source: Option<&PostgresFacts>, link: &mut Link) {
    if topic.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        let what = format!("{name} is compacted, which removes all but the last event of an aggregate");
        link.problem("cleanup.policy", what, alter(facts, name, "cleanup.policy=delete"));
    }
    match topic.number(RETENTION) {
        Some(kept) if (0..RETENTION_MS_MIN).contains(&kept) => {
            let what = format!(
                "{name} keeps records for {} hours; what process has not applied by then is lost to it",
                kept / HOUR_MS
            );
            link.warning(RETENTION, what, alter(facts, name, "retention.ms=604800000"));
        }
        Some(kept) if kept >= 0 => link.good(RETENTION, format!("{name} keeps records for {} hours", kept / HOUR_MS)),
        Some(_) => link.good(RETENTION, format!("{name} keeps records for ever")),
        None => link.note(RETENTION, format!("the brokers do not tell the settings of {name}")),
    }
    let widest = source.into_iter().flat_map(|source| &source.tables).filter_map(|table| table.widest_row_bytes).max();
    if let (Some(limit), Some(widest)) = (topic.number(BYTES_MAX), widest) {
        let needed = widest.saturating_mul(ENVELOPE_FACTOR).saturating_add(ENVELOPE_BYTES);
        if needed > limit {
            let what = format!(
                "{name} takes records of {limit} bytes, and a row of {widest} bytes can become one of {needed}"
            );
            link.warning(
                BYTES_MAX,
                what,
                alter(facts, name, &format!("max.message.bytes={}", needed.saturating_mul(2))),
            );
        } else {
            link.good(BYTES_MAX, format!("{limit}; the widest row has {widest} bytes"));
        }
    }
}

fn dead_letters(facts: &KafkaFacts, (name, topic): (&str, &TopicFacts), events: &TopicFacts, link: &mut Link) {
    if let Some(kept) = topic.number(RETENTION).filter(|kept| *kept >= 0) {
        let what = format!("{name} forgets dead letters after {} hours", kept / HOUR_MS);
        link.warning(RETENTION, what, alter(facts, name, "retention.ms=-1"));
        link.fixed_by(Fix::KeepDeadLetters);
    }
    if let (Some(limit), Some(wanted)) = (topic.number(BYTES_MAX), events.number(BYTES_MAX))
        && limit < wanted
    {
        let what = format!(
            "{name} takes smaller records than its events' topic ({limit} and {wanted} bytes), and process would wait"
        );
        link.warning(BYTES_MAX, what, alter(facts, name, &format!("max.message.bytes={}", wanted.saturating_mul(2))));
    }
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use super::super::server::tests::healthy as healthy_source;
    use super::super::slot::tests::plan;
    use super::*;
    use crate::doctor::checks::Grade;
    use crate::kafka::look::{GroupLook, PartitionLook};

    const TOPIC: &str = "postgres.activity.event_outbox";

    /// A cluster with which nothing is wrong.
    pub(in crate::doctor) fn healthy() -> KafkaFacts {
        let partition = |id| PartitionLook { id, has_leader: true, replicas: 3, in_sync: 3 };
        let settings = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let topic = |count, pairs: &[(&str, &str)]| TopicFacts {
            partitions: (0..count).map(partition).collect(),
            settings: settings(pairs),
        };
        let events = [
            ("cleanup.policy", "delete"),
            (RETENTION, "604800000"),
            (BYTES_MAX, "1048588"),
            ("min.insync.replicas", "2"),
        ];
        KafkaFacts {
            servers: "localhost:9092".to_owned(),
            topic: TOPIC.to_owned(),
            topics: [
                (TOPIC.to_owned(), topic(2, &events)),
                (dead_letter_topic(TOPIC), topic(1, &[(RETENTION, "-1"), (BYTES_MAX, "2097176")])),
                (plan().position_topic, topic(1, &[("cleanup.policy", "compact")])),
            ]
            .into(),
            missing_topics: Vec::new(),
            bounds: [(0, (0, 10)), (1, (0, 20))].into(),
            user: None,
            missing_rights: Some(Vec::new()),
            group_name: "event-processor-group".to_owned(),
            committed: [(0, 10), (1, 20)].into(),
            group: Some(GroupLook { state: "Stable".to_owned(), members: vec![("evp".to_owned(), "host".to_owned())] }),
        }
    }

    fn findings(change: impl Fn(&mut KafkaFacts)) -> Vec<(&'static str, String)> {
        let (mut facts, mut link) = (healthy(), Link::new("kafka"));
        change(&mut facts);
        check(&facts, Some(&healthy_source()), &plan(), &mut link);
        let findings = link.checks.into_iter().filter(|check| check.grade >= Grade::Warning);
        findings.map(|check| (check.name, check.what)).collect()
    }

    fn topic(change: impl Fn(&mut TopicFacts)) -> Vec<(&'static str, String)> {
        findings(|facts| change(facts.topics.get_mut(TOPIC).unwrap()))
    }

    fn set(name: &'static str, value: &'static str) -> impl Fn(&mut TopicFacts) {
        move |topic| {
            topic.settings.insert(name.to_owned(), value.to_owned());
        }
    }

    #[test]
    fn each_fault_of_the_topics_is_named_and_healthy_ones_have_none() {
        assert!(findings(|_| {}).is_empty());
        let is = |found: Vec<(&'static str, String)>, name: &str, part: &str| {
            assert!(found.len() == 1 && found[0].0 == name && found[0].1.contains(part), "{part}: {found:?}");
        };
        is(findings(|facts| facts.missing_topics.push(dead_letter_topic(TOPIC))), "topic", ".dlq does not exist");
        is(topic(|topic| topic.partitions[1].has_leader = false), "topic", "partitions 1 have no leader");
        is(topic(|topic| topic.partitions[0].in_sync = 2), "topic", "not in sync");
        assert_eq!(topic(|topic| topic.partitions[0].in_sync = 1).len(), 2, "it takes no writes either");
        is(topic(set("cleanup.policy", "compact,delete")), "cleanup.policy", "compacted");
        is(topic(set(RETENTION, "3600000")), RETENTION, "1 hours");
        is(topic(set(BYTES_MAX, "2000")), BYTES_MAX, "2000 bytes");
        let letters = |name, value| {
            findings(move |facts| set(name, value)(facts.topics.get_mut(&dead_letter_topic(TOPIC)).unwrap()))
        };
        is(letters(RETENTION, "604800000"), RETENTION, "forgets dead letters");
        is(letters(BYTES_MAX, "1000"), BYTES_MAX, "smaller records");
        let position = |facts: &mut KafkaFacts| {
            set("cleanup.policy", "delete")(facts.topics.get_mut(&plan().position_topic).unwrap())
        };
        is(findings(position), "topic", "forgets capture's position");
    }

    #[test]
    fn a_topic_that_capture_does_not_write_is_told() {
        let found = findings(|facts| facts.topic = "another".to_owned());
        assert!(found.len() == 1 && found[0].1.contains("process reads another"), "{found:?}");
    }
}
