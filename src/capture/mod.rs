//! PostgreSQL to Kafka: assembly of a session, its restart after a failure, and its end.
//!
//! A session inspects both sides ([`preparation`]), refuses gaps ([`resume`]), and runs three tasks:
//! the [`pipeline`] from frames to records, the [`confirmation`] that follows acknowledgements, and the
//! [`feedback`] that tells PostgreSQL. Whatever can heal ends the session and begins another.

mod acknowledgements;
mod confirmation;
mod feedback;
mod lane;
mod lineage;
mod meter;
mod options;
mod pipeline;
mod preparation;
mod producers;
mod progress;
mod relations;
mod resume;
mod session;
mod slot_watch;
mod source;
mod topic_ends;
mod transaction;

pub use confirmation::position_topic;
pub use options::{CaptureChoices, CaptureOptions, CaptureSummary};

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Reaction, Result};
use crate::telemetry::Health;
use pipeline::Ending;
use session::Capture;

/// The wait before a new session: first, and at the most.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Streams until `shutdown` is cancelled or, if asked for, the end is reached.
pub async fn run(options: CaptureOptions, health: Arc<Health>, shutdown: CancellationToken) -> Result<CaptureSummary> {
    let started = Instant::now();
    options.log_start();
    let mut capture = Capture::new(options, Arc::clone(&health));
    let mut obstacle = Obstacle::default();
    loop {
        let outcome = Box::pin(capture.run_session(&shutdown, &mut obstacle)).await;
        capture.meter.connected.set(0.0);
        match outcome {
            Ok(ending) => {
                let summary = capture.summary(started.elapsed(), ending == Ending::CaughtUp);
                summary.log();
                return Ok(summary);
            }
            Err(error) if error.kind().reaction() == Reaction::Retry => {
                health.set_not_ready(error.to_string());
                let wait = obstacle.met(&error);
                capture.meter.reconnects.increment(1);
                if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    let summary = capture.summary(started.elapsed(), false);
                    summary.log();
                    return Ok(summary);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// What keeps sessions from starting: said once, and again only when it changes.
#[derive(Default)]
pub(crate) struct Obstacle {
    told: Option<String>,
    tries: u32,
}

impl Obstacle {
    /// Notes a failure and gives the wait before the next try.
    fn met(&mut self, error: &Error) -> Duration {
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            tracing::debug!(event = "capture_waiting", error = text, tries = self.tries, "still waiting");
        } else {
            tracing::warn!(event = "capture_waiting", error = text, "waiting; capture goes on by itself");
            self.told = Some(text);
        }
        let wait = BACKOFF_MIN.saturating_mul(1 << self.tries.min(6)).min(BACKOFF_MAX);
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// Notes that it is gone.
    pub(crate) fn gone(&mut self) {
        self.told = None;
        self.tries = 0;
    }
}
