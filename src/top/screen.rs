//! What is to be seen: one look at the chain, and what has changed since the one before.

use super::exposition::Exposition;
use crate::facts::{Facts, KafkaFacts, Look, MongoFacts, PostgresFacts};

/// Everything that was seen at one time.
#[derive(Debug, Clone)]
pub(super) struct ChainLook {
    pub(super) facts: Facts,
    pub(super) capture: Option<HalfLook>,
    pub(super) processes: Vec<HalfLook>,
}

/// A running half, asked over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HalfLook {
    pub(super) address: String,
    /// Why it does not work, and its metrics; or why it does not answer.
    pub(super) answer: Result<(Option<String>, Exposition), String>,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    pub(super) at_ms: i64,
    pub(super) postgres: Look<PostgresFacts>,
    pub(super) capture: Option<Half<CaptureNumbers>>,
    pub(super) kafka: Result<KafkaNumbers, String>,
    pub(super) processes: Vec<Half<ProcessNumbers>>,
    pub(super) mongo: Look<MongoFacts>,
    /// Dead letters that wait, by handler, most first.
    pub(super) letters: Result<Vec<(String, usize)>, String>,
}

/// A half with its numbers.
#[derive(Debug, Clone)]
pub(super) struct Half<N> {
    pub(super) address: String,
    /// `None` while it works.
    pub(super) obstacle: Option<String>,
    pub(super) numbers: Option<N>,
}

/// What capture does.
#[derive(Debug, Clone, Default)]
pub(super) struct CaptureNumbers {
    pub(super) events: Option<f64>,
    pub(super) transactions: Option<f64>,
    pub(super) in_flight: f64,
    pub(super) reconnects: f64,
    pub(super) dead_letters: f64,
    /// From commit to acknowledged, seconds: p50, p90, p99.
    pub(super) latency: Option<[f64; 3]>,
}

/// What process does.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessNumbers {
    pub(super) events: Option<f64>,
    pub(super) waiting: f64,
    pub(super) dead_letters: f64,
    /// From commit to applied, seconds: p50, p90, p99.
    pub(super) latency: Option<[f64; 3]>,
    /// One round of writes to MongoDB, seconds: p99.
    pub(super) write: Option<[f64; 1]>,
}

/// What stands on Kafka.
#[derive(Debug, Clone, Default)]
pub(super) struct KafkaNumbers {
    pub(super) topic: String,
    /// The topic is there.
    pub(super) is_there: bool,
    pub(super) leaderless: usize,
    pub(super) group: String,
    pub(super) group_state: String,
    pub(super) members: usize,
    pub(super) partitions: Vec<PartitionNumbers>,
}

/// A partition.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionNumbers {
    pub(super) id: i32,
    pub(super) end: i64,
    pub(super) lag: i64,
    /// Records written to it, a second.
    pub(super) written: Option<f64>,
    /// Records of it that the group is done with, a second.
    pub(super) done: Option<f64>,
}

impl Screen {
    /// From a look, and the one before if there was one.
    pub(super) fn of(now: &ChainLook, before: Option<&ChainLook>) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let seconds =
            before.map_or(0.0, |before| (now.facts.at_ms.saturating_sub(before.facts.at_ms)) as f64 / 1_000.0);
        let earlier = |half: &HalfLook| {
            let halves = before.into_iter().flat_map(|before| before.capture.iter().chain(&before.processes));
            let same = halves.filter(|before| before.address == half.address);
            same.filter_map(|before| before.answer.as_ref().ok()).map(|(_, metrics)| metrics).next()
        };
        Self {
            at_ms: now.facts.at_ms,
            postgres: now.facts.postgres.clone(),
            capture: now.capture.as_ref().map(|half| {
                let of = |metrics: &Exposition| capture_numbers(metrics, earlier(half), seconds);
                half_of(half, of)
            }),
            kafka: match &now.facts.kafka {
                Look::Seen(kafka) => {
                    Ok(kafka_numbers(kafka, before.and_then(|before| before.facts.kafka.seen()), seconds))
                }
                Look::Failed { error } => Err(error.clone()),
            },
            processes: now
                .processes
                .iter()
                .map(|half| half_of(half, |metrics| process_numbers(metrics, earlier(half), seconds)))
                .collect(),
            mongo: now.facts.mongo.clone(),
            letters: match &now.facts.dead_letters {
                Look::Seen(letters) => {
                    let counts = letters.waiting_by_handler.iter().map(|(handler, count)| (handler.clone(), *count));
                    let mut counts: Vec<_> = counts.collect();
                    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                    Ok(counts)
                }
                Look::Failed { error } => Err(error.clone()),
            },
        }
    }
}

fn half_of<N>(half: &HalfLook, numbers: impl Fn(&Exposition) -> N) -> Half<N> {
    let address = half.address.clone();
    match &half.answer {
        Ok((obstacle, metrics)) => Half { address, obstacle: obstacle.clone(), numbers: Some(numbers(metrics)) },
        Err(error) => Half { address, obstacle: Some(error.clone()), numbers: None },
    }
}

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

fn capture_numbers(now: &Exposition, before: Option<&Exposition>, seconds: f64) -> CaptureNumbers {
    let sum = |name: &str| now.sum(name).unwrap_or(0.0);
    CaptureNumbers {
        events: now.rate("evp_capture_events_total", before, seconds),
        transactions: now.rate("evp_capture_transactions_total", before, seconds),
        in_flight: sum("evp_capture_in_flight_records"),
        reconnects: sum("evp_capture_reconnects_total"),
        dead_letters: sum("evp_capture_dead_letters_total"),
        latency: now.quantiles("evp_capture_ack_latency_seconds", before, QUANTILES),
    }
}

fn process_numbers(now: &Exposition, before: Option<&Exposition>, seconds: f64) -> ProcessNumbers {
    let sum = |name: &str| now.sum(name).unwrap_or(0.0);
    ProcessNumbers {
        events: now.rate("evp_process_events_total", before, seconds),
        waiting: sum("evp_process_waiting_events"),
        dead_letters: sum("evp_process_dead_letters_total"),
        latency: now.quantiles("evp_process_applied_latency_seconds", before, QUANTILES),
        write: now.quantiles("evp_process_write_seconds", before, [0.99]),
    }
}

fn kafka_numbers(now: &KafkaFacts, before: Option<&KafkaFacts>, seconds: f64) -> KafkaNumbers {
    let topic = now.topics.get(&now.topic);
    #[allow(clippy::cast_precision_loss)]
    let rate = |now: Option<&i64>, before: Option<&i64>| {
        let grown = now?.saturating_sub(*before?).max(0);
        (seconds > 0.0).then(|| grown as f64 / seconds)
    };
    let partition = |(id, lag): (i32, i64)| {
        let end = now.bounds.get(&id).map(|(_, high)| *high);
        let before_end = before.and_then(|before| before.bounds.get(&id)).map(|(_, high)| *high);
        PartitionNumbers {
            id,
            end: end.unwrap_or(0),
            lag,
            written: rate(end.as_ref(), before_end.as_ref()),
            done: rate(now.committed.get(&id), before.and_then(|before| before.committed.get(&id))),
        }
    };
    KafkaNumbers {
        topic: now.topic.clone(),
        is_there: topic.is_some(),
        leaderless: topic.map_or(0, |topic| topic.partitions.iter().filter(|partition| !partition.has_leader).count()),
        group: now.group_name.clone(),
        group_state: now.group.as_ref().map_or_else(|| "unknown".to_owned(), |group| group.state.clone()),
        members: now.group.as_ref().map_or(0, |group| group.members.len()),
        partitions: now.lags().map(partition).collect(),
    }
}
