//! `evp status`: where the chain stands, in one look.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::facts::{self, Depth, Facts, KafkaFacts, Look, PostgresFacts};
use crate::init::{self, InitPlan};
use crate::terminal::{bytes, print};

/// Partitions that are listed one by one.
const PARTITIONS_MAX: usize = 10;
/// Puts the cursor of a terminal to the top and clears what is there.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// How often to look.
#[derive(Debug, Clone, Copy)]
pub struct StatusOptions {
    /// Between two looks; one look only if none is given.
    pub watch: Option<Duration>,
    /// For programs: one object a look.
    pub is_json: bool,
}

/// Looks and prints, once or until told to stop.
pub async fn run(plan: &InitPlan, options: StatusOptions, token: &CancellationToken) -> Result<()> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let Some(plan) = token.run_until_cancelled(Box::pin(init::resolved_if_reachable(plan))).await else {
        return Ok(());
    };
    let plan = &plan;
    loop {
        let look = Box::pin(facts::look(plan, None, Depth::Glance, token));
        let Some(facts) = token.run_until_cancelled(look).await else { return Ok(()) };
        if options.is_json {
            print(serde_json::to_value(&facts).unwrap_or_default());
        } else {
            let clear = if options.watch.is_some() && is_terminal { CLEAR } else { "" };
            print(format!("{clear}{}", text(&facts).trim_end()));
        }
        let Some(interval) = options.watch else { return Ok(()) };
        if token.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            return Ok(());
        }
        if !options.is_json && !is_terminal {
            print("");
        }
    }
}

fn text(facts: &Facts) -> String {
    let mut text = String::new();
    match &facts.postgres {
        Look::Seen(postgres) => postgres_lines(&mut text, postgres),
        Look::Failed { error } => line(&mut text, "postgres", error),
    }
    match &facts.kafka {
        Look::Seen(kafka) => kafka_lines(&mut text, kafka),
        Look::Failed { error } => line(&mut text, "kafka", error),
    }
    match &facts.dead_letters {
        Look::Seen(letters) if letters.waiting > 0 => {
            line(&mut text, "dead letters", format!("{} wait: evp dlq list", letters.waiting));
        }
        Look::Seen(letters) => line(&mut text, "dead letters", format!("none wait, {} are settled", letters.settled)),
        Look::Failed { error } => line(&mut text, "dead letters", error),
    }
    match &facts.mongo {
        Look::Seen(mongo) => {
            let server = mongo.replica_set.as_ref().map_or_else(String::new, |name| format!(", replica set {name}"));
            line(&mut text, "mongodb", format!("{} on {}{server}", mongo.database, mongo.version));
            let counts: Vec<_> = mongo.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let total = mongo.total_users.map(|total| format!("total_users {total}"));
            line(&mut text, "  models", counts.into_iter().chain(total).collect::<Vec<_>>().join(", "));
        }
        Look::Failed { error } => line(&mut text, "mongodb", error),
    }
    text
}

fn line(text: &mut String, name: &str, what: impl std::fmt::Display) {
    text.push_str(&format!("{name:<14}{what}\n"));
}

fn postgres_lines(text: &mut String, postgres: &PostgresFacts) {
    let standby = if postgres.server.is_in_recovery { ", a standby" } else { "" };
    line(text, "postgres", format!("{} on {}{standby}", postgres.address, postgres.server.version));
    let name = &postgres.slot_name;
    let Some(slot) = &postgres.slot else {
        line(text, "  slot", format!("{name} does not exist: evp init"));
        return;
    };
    let reader = match (slot.active_pid, &slot.application) {
        (Some(pid), Some(application)) => format!("read by {application}, process {pid}"),
        (Some(pid), None) => format!("read by process {pid}"),
        (None, _) => "nobody reads it".to_owned(),
    };
    line(text, "  slot", format!("{name}, {reader}"));
    let size =
        |count: Option<i64>| count.map_or_else(|| "unknown".to_owned(), |count| bytes(count.max(0).unsigned_abs()));
    let status = slot.wal_status.as_deref().unwrap_or("unknown");
    let mut wal = format!("lag {}, retained {}, {status}", size(slot.lag_bytes), size(slot.retained_bytes));
    if let Some(safe) = slot.safe_wal_bytes {
        wal.push_str(&format!(", lost after {} more", bytes(safe.max(0).unsigned_abs())));
    }
    line(text, "  wal", wal);
}

fn kafka_lines(text: &mut String, kafka: &KafkaFacts) {
    line(text, "kafka", &kafka.servers);
    let Some(topic) = kafka.topics.get(&kafka.topic) else {
        line(text, "  topic", format!("{} does not exist: evp init", kafka.topic));
        return;
    };
    let (partitions, end) = (topic.partitions.len(), kafka.bounds.values().map(|(_, high)| high).sum::<i64>());
    let leaderless = topic.partitions.iter().filter(|partition| !partition.has_leader).count();
    let leaderless = if leaderless > 0 { format!(", {leaderless} without a leader") } else { String::new() };
    line(text, "  topic", format!("{}, partitions {partitions}, records {end}{leaderless}", kafka.topic));
    let lags: Vec<_> = kafka.lags().collect();
    let lag: i64 = lags.iter().map(|(_, lag)| lag).sum();
    let (state, members) = kafka.group.as_ref().map_or(("unknown", 0), |group| (&group.state, group.members.len()));
    line(text, "  group", format!("{}, {state}, members {members}, lag {lag}", kafka.group_name));
    for (partition, lag) in lags.iter().filter(|(_, lag)| *lag > 0).take(PARTITIONS_MAX) {
        line(text, "", format!("partition {partition}: lag {lag}"));
    }
    for (client, host) in kafka.group.iter().flat_map(|group| &group.members).take(PARTITIONS_MAX) {
        line(text, "", format!("member {client} on {host}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_answer_is_one_line() {
        fn failed<T>(error: &str) -> Look<T> {
            Look::Failed { error: error.to_owned() }
        }
        let facts = Facts {
            postgres: failed("PostgreSQL is away"),
            kafka: failed("Kafka is away"),
            dead_letters: failed("Kafka is away"),
            mongo: failed("MongoDB is away"),
            connect: None,
            at_ms: 0,
        };
        let text = text(&facts);
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
