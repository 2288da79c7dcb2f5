//! What a run has done so far.

use std::time::{Duration, Instant};

use super::ProcessSummary;
use super::in_flight::InFlight;
use crate::telemetry::LatencyRecorder;

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Applied,
    Duplicate,
    Skipped,
    DeadLettered,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Skipped => "skipped",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// Counts and latencies, for the summary and the metrics.
pub(super) struct Tally {
    started: Instant,
    latency: LatencyRecorder,
    processed: u64,
    duplicates: u64,
    skipped: u64,
    dead_lettered: u64,
}

impl Tally {
    pub(super) fn new(started: Instant) -> Self {
        let latency = LatencyRecorder::new("evp_process_applied_latency_seconds");
        Self { started, latency, processed: 0, duplicates: 0, skipped: 0, dead_lettered: 0 }
    }

    /// Notes that an event's last effect is in MongoDB, and how long that took from its commit, if it tells of that.
    pub(super) fn in_mongodb(&mut self, event: &InFlight) -> Option<Duration> {
        event.source_ts_us.map(|commit_us| self.latency.record_since_epoch_us(commit_us))
    }

    pub(super) fn ended(&mut self, event: &InFlight, end: End) {
        let count = match end {
            End::Applied => &mut self.processed,
            End::Duplicate => &mut self.duplicates,
            End::Skipped => &mut self.skipped,
            End::DeadLettered => &mut self.dead_lettered,
        };
        *count = count.saturating_add(1);
        let outcome = end.name();
        metrics::counter!("evp_process_events_total", "outcome" => outcome).increment(1);
        let (partition, offset) = (event.partition, event.position.offset);
        tracing::debug!(event = "event_processed", outcome, partition, offset);
    }

    pub(super) fn summary(&self) -> ProcessSummary {
        ProcessSummary {
            processed: self.processed,
            duplicates: self.duplicates,
            skipped: self.skipped,
            dead_lettered: self.dead_lettered,
            uptime: self.started.elapsed(),
            latency: self.latency.summary(),
        }
    }
}
