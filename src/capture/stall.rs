//! A producer that stands still although Kafka answers.
//!
//! librdkafka can lose a partition: where a broker is fenced while requests to it are open, the partition moves to an
//! internal broker with its queue and may never come back, while other producers of the process go on. What is sent and
//! not acknowledged is therefore watched, and if Kafka answers, nothing is on its way, and still nothing moves, the
//! session ends, so that another one goes on with new producers at the exact next record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::acknowledgements::Acknowledgements;
use super::producers::Producers;
use crate::config::KafkaConfig;
use crate::error::Error;
use crate::kafka::producer::Requests;
use crate::kafka::tail::{Isolation, TailReader};

const INTERVAL: Duration = Duration::from_millis(500);
/// A pause that people are told of.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// A pause after which Kafka is asked whether it answers.
const PROBED_AFTER: Duration = Duration::from_secs(3);
/// How long Kafka has to have answered, and nothing to have been sent, until a producer counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// Records of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Sent and not acknowledged.
    pub(super) open: usize,
    /// Ever acknowledged.
    pub(super) acknowledged: u64,
}

/// Since when nothing was acknowledged that is open.
#[derive(Debug)]
struct Watch<const KINDS: usize> {
    kinds: [(u64, Option<Instant>); KINDS],
}

impl<const KINDS: usize> Watch<KINDS> {
    fn new() -> Self {
        Self { kinds: [(0, None); KINDS] }
    }

    /// For how long one of the kinds has stood still.
    fn observe(&mut self, standing: [Standing; KINDS], now: Instant) -> Option<Duration> {
        for ((acknowledged, since), standing) in self.kinds.iter_mut().zip(standing) {
            if standing.open == 0 {
                *since = None;
            } else if since.is_none() || standing.acknowledged != *acknowledged {
                *since = Some(now);
            }
            *acknowledged = standing.acknowledged;
        }
        let longest = self.kinds.iter().filter_map(|(_, since)| *since).min();
        longest.map(|since| now.saturating_duration_since(since))
    }
}

/// Since when Kafka answers without anything being on its way.
#[derive(Debug, Default)]
struct Silence {
    since: Option<(Instant, u64)>,
}

impl Silence {
    /// Whether it has lasted long enough. `requests` are those of all producers, unless they are not known yet.
    fn is_stuck(&mut self, is_answered: bool, requests: Option<Requests>, now: Instant) -> bool {
        let Some(requests) = requests.filter(|requests| is_answered && requests.open_records == 0) else {
            self.since = None;
            return false;
        };
        match self.since {
            Some((since, sent)) if sent == requests.sent => now.saturating_duration_since(since) >= STUCK_AFTER,
            _ => {
                self.since = Some((now, requests.sent));
                false
            }
        }
    }
}

/// Watches until a producer is stuck, and says so; meanwhile readiness and log say what stands.
pub(super) async fn watch(
    acknowledgements: Arc<Acknowledgements>,
    producers: Producers,
    config: KafkaConfig,
    partitions: Vec<(String, i32)>,
) -> Error {
    let partitions = Arc::new(partitions);
    let mut ticker = tokio::time::interval(INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut watch, mut silence, mut is_told) = (Watch::new(), Silence::default(), false);
    loop {
        ticker.tick().await;
        let standing = acknowledgements.standing();
        let stands_for = watch.observe(standing, Instant::now()).unwrap_or_default();
        if stands_for < TOLD_AFTER {
            if std::mem::take(&mut is_told) {
                acknowledgements.health().set_delivery_obstacle(None);
                producers.watch_requests(false);
                silence = Silence::default();
                tracing::info!(event = "kafka_acknowledges", "Kafka acknowledges records again");
            }
            continue;
        }
        let open: usize = standing.iter().map(|standing| standing.open).sum();
        let seconds = stands_for.as_secs();
        let problem = format!("Kafka has not acknowledged {open} records for {seconds} s");
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(event = "kafka_silent", records = open, "{problem}; nothing is lost, capture waits");
            producers.watch_requests(true);
        }
        acknowledgements.health().set_delivery_obstacle(Some(problem));
        if stands_for >= PROBED_AFTER {
            let is_answered = is_answered(&config, &partitions).await;
            if silence.is_stuck(is_answered, producers.requests(), Instant::now()) {
                acknowledgements.set_stuck();
                return Error::unavailable(format!(
                    "Kafka answers, but {open} records are neither sent nor acknowledged for {seconds} s; the producer is \
                     replaced"
                ));
            }
        }
    }
}

/// Asks over new connections, as those of a producer that is stuck tell nothing.
async fn is_answered(config: &KafkaConfig, partitions: &Arc<Vec<(String, i32)>>) -> bool {
    let (config, partitions) = (config.clone(), Arc::clone(partitions));
    let asked = tokio::task::spawn_blocking(move || {
        TailReader::new(&config, Isolation::Uncommitted).is_ok_and(|reader| reader.is_answered(&partitions))
    });
    asked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_acknowledged_or_not_open_does_not_stand() {
        let (mut watch, start) = (Watch::<2>::new(), Instant::now());
        let row = |open, acknowledged| Standing { open, acknowledged };
        assert_eq!(watch.observe([row(5, 10), row(0, 3)], start), Some(Duration::ZERO));
        assert_eq!(watch.observe([row(5, 11), row(0, 3)], at(start, 2)), Some(Duration::ZERO));
        assert_eq!(watch.observe([row(5, 11), row(1, 3)], at(start, 4)), Some(Duration::from_secs(2)));
        assert_eq!(watch.observe([row(0, 16), row(1, 3)], at(start, 5)), Some(Duration::from_secs(1)));
        assert_eq!(watch.observe([row(0, 16), row(0, 4)], at(start, 6)), None);
    }

    #[test]
    fn a_producer_is_stuck_only_if_kafka_answers_and_nothing_is_sent_meanwhile() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let requests = |open_records, sent| Some(Requests { open_records, sent });
        assert!(!silence.is_stuck(true, requests(0, 7), start));
        assert!(!silence.is_stuck(true, requests(0, 8), at(start, 3)), "it tries again and again");
        assert!(!silence.is_stuck(true, requests(1, 8), at(start, 6)), "an answer is waited for");
        assert!(!silence.is_stuck(true, requests(0, 8), at(start, 7)));
        assert!(!silence.is_stuck(false, requests(0, 8), at(start, 12)), "Kafka itself is away");
        assert!(!silence.is_stuck(true, None, at(start, 13)));
        assert!(!silence.is_stuck(true, requests(0, 8), at(start, 14)));
        assert!(silence.is_stuck(true, requests(0, 8), at(start, 16)));
    }
}
