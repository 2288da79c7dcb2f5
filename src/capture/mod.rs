//! PostgreSQL to Kafka: assembly of a session, its restart after a failure, and its end.
//!
//! A session takes the slot and inspects both sides ([`preparation`]), refuses gaps ([`gap`], [`published`]), takes a
//! [`snapshot`] where one is due, and runs the [`pipeline`] from frames to records, into which signals bring the rows of
//! [`incremental`] snapshots. Beside it the [`confirmation`] follows acknowledgements, [`feedback`] tells PostgreSQL,
//! [`stall`] looks after the producers and [`catalog_watch`] after slot and publications. Whatever can heal ends the
//! session and begins another.

mod acknowledged_ends;
mod acknowledgements;
mod adoption;
mod catalog_watch;
mod companions;
mod confirmation;
mod feedback;
mod first_flights;
mod gap;
mod heartbeat_query;
mod incremental;
mod lane;
mod lineage;
mod meter;
mod missing_topics;
mod options;
mod pipeline;
mod preparation;
mod producers;
mod progress;
mod published;
mod refused_rows;
mod relations;
mod resend;
mod session;
mod snapshot;
mod source;
mod stall;
mod stopping;
mod tails;
mod topic_ends;
mod transaction;
mod types;

pub(crate) use adoption::{Standing, table_topics};
pub use confirmation::position_topic;
pub use options::{CaptureChoices, CaptureOptions, CaptureSummary};
pub use refused_rows::RefusedRows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Reaction, Result, TRIES_MAX};
use crate::telemetry::Health;
use pipeline::Ending;
use session::Capture;

/// The wait before a new session: first, and at the most.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// After a session that lasted so long, what ended it is a new trouble.
const SESSION_SOUND: Duration = Duration::from_secs(60);
/// Credentials that were good are refused for a while when they are exchanged, or a server has not read them yet.
const DENIED_FOR: Duration = Duration::from_secs(60);

/// Streams until `shutdown` is cancelled or, if asked for, the end is reached.
pub async fn run(options: CaptureOptions, health: Arc<Health>, shutdown: CancellationToken) -> Result<CaptureSummary> {
    let started = Instant::now();
    options.log_start();
    let stopping = options.stopping.begun(shutdown.clone());
    let options = CaptureOptions { stopping, ..options };
    let mut capture = Capture::new(options.clone(), Arc::clone(&health));
    let mut trouble = Trouble::default();
    loop {
        let began = Instant::now();
        let outcome = Box::pin(capture.run_session(&shutdown)).await;
        capture.meter.connected.set(0.0);
        trouble.progressed(capture.acknowledged_rows(), began.elapsed());
        match outcome {
            Ok(ending) => {
                let summary = capture.summary(started.elapsed(), ending != Ending::Stopped);
                summary.log();
                return Ok(summary);
            }
            Err(error) => {
                let error = resend::explained(error, &options).await;
                let Some(wait) = trouble.wait_after(&error, Instant::now()) else {
                    return Err(resend::advised(error, &options).await);
                };
                health.set_not_ready(error.to_string());
                capture.meter.reconnects.increment(1);
                if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    let summary = capture.summary(started.elapsed(), false);
                    summary.log();
                    return Ok(summary);
                }
            }
        }
    }
}

/// What keeps sessions from going on: said once, and again only when it changes.
#[derive(Debug, Default)]
struct Trouble {
    told: Option<String>,
    tries: u32,
    acknowledged: u64,
    denied_since: Option<Instant>,
}

impl Trouble {
    /// Notes how many rows Kafka has acknowledged in this run, and how long the session lasted: a session that only began
    /// ends no trouble.
    fn progressed(&mut self, acknowledged: u64, lasted: Duration) {
        if acknowledged > self.acknowledged || lasted >= SESSION_SOUND {
            *self = Self { acknowledged, ..Self::default() };
        }
    }

    /// The wait before the next session, or nothing if there is to be none.
    fn wait_after(&mut self, error: &Error, now: Instant) -> Option<Duration> {
        let goes_on = match error.kind().reaction() {
            Reaction::Retry => true,
            Reaction::RetryBriefly => self.tries < TRIES_MAX,
            Reaction::Halt | Reaction::DeadLetter => {
                let since = *self.denied_since.get_or_insert(now);
                let was_good = self.acknowledged > 0;
                error.kind() == ErrorKind::Denied && was_good && now.saturating_duration_since(since) < DENIED_FOR
            }
        };
        if !goes_on {
            return None;
        }
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            tracing::debug!(event = "capture_waiting", error = text, tries = self.tries, "still waiting");
        } else {
            tracing::warn!(event = "capture_waiting", error = text, "waiting; capture goes on by itself");
            self.told = Some(text);
        }
        let wait = BACKOFF_MIN.saturating_mul(1 << self.tries.min(6)).min(BACKOFF_MAX);
        self.tries = self.tries.saturating_add(1);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_answer_is_tried_again_a_few_times_and_a_known_outage_for_ever() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let outage = Error::unavailable("away");
        assert!((0..100).all(|_| trouble.wait_after(&outage, now).is_some_and(|wait| wait <= BACKOFF_MAX)));
        let mut trouble = Trouble::default();
        let unknown = Error::new(ErrorKind::Unknown, "code 999");
        let waits = (0..).map_while(|_| trouble.wait_after(&unknown, now)).count();
        assert_eq!(waits, TRIES_MAX as usize);
        trouble.progressed(1, Duration::ZERO);
        assert!(trouble.wait_after(&unknown, now).is_some(), "records have gone through since");
    }

    #[test]
    fn credentials_that_were_never_good_end_capture_and_others_after_a_while() {
        let denied = Error::new(ErrorKind::Denied, "no");
        let now = Instant::now();
        assert_eq!(Trouble::default().wait_after(&denied, now), None);
        let mut trouble = Trouble::default();
        trouble.progressed(5, Duration::ZERO);
        assert!(trouble.wait_after(&denied, now).is_some());
        assert_eq!(trouble.wait_after(&denied, now + DENIED_FOR), None);
    }
}
