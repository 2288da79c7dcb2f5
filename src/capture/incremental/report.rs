//! How an incremental snapshot gets on, for people and for metrics.

use std::time::Instant;

use metrics::Gauge;

use super::progress::IncrementalProgress;
use crate::capture::snapshot::number;
use crate::lsn::Lsn;

/// The gauges, and when to say that a snapshot begins and ends.
pub(super) struct Report {
    running: Gauge,
    rows: Gauge,
    remaining: Gauge,
    started: Option<Instant>,
    /// It is complete once this commit is confirmed.
    completes_at: Option<Lsn>,
}

impl Report {
    /// Of the state that the last session has left.
    pub(super) fn new(state: &IncrementalProgress) -> Self {
        let mut report = Self {
            running: metrics::gauge!("evp_capture_incremental_running"),
            rows: metrics::gauge!("evp_capture_incremental_rows"),
            remaining: metrics::gauge!("evp_capture_incremental_tables_remaining"),
            started: None,
            completes_at: None,
        };
        if !state.tables.is_empty() {
            report.started = Some(Instant::now());
            tracing::info!(
                event = "incremental_snapshot_resumed",
                rows_done = state.rows,
                tables = state.tables.len(),
                is_paused = state.is_paused,
                "the incremental snapshot goes on behind its last chunk on record"
            );
        }
        report.set(state);
        report
    }

    fn set(&self, state: &IncrementalProgress) {
        self.running.set(if state.is_running() { 1.0 } else { 0.0 });
        self.rows.set(number(state.rows));
        self.remaining.set(number(state.tables.len() as u64));
    }

    /// The state has changed by what commits at `commit_lsn`.
    pub(super) fn show(&mut self, state: &IncrementalProgress, commit_lsn: Lsn) {
        self.set(state);
        if !state.tables.is_empty() {
            self.started.get_or_insert_with(Instant::now);
            self.completes_at = None;
        } else if self.started.is_some() {
            self.completes_at.get_or_insert(commit_lsn);
        }
    }

    /// It ends before all is read.
    pub(super) fn ended(&mut self) {
        (self.started, self.completes_at) = (None, None);
    }

    /// Whether all rows of a snapshot are sent, and not all of them are with Kafka.
    pub(super) fn is_completing(&self) -> bool {
        self.completes_at.is_some()
    }

    /// Everything before `flushed` is with Kafka.
    pub(super) fn passed(&mut self, flushed: Lsn, state: &IncrementalProgress) {
        if self.completes_at.take_if(|commit_lsn| *commit_lsn < flushed).is_some()
            && let Some(started) = self.started.take()
        {
            tracing::info!(
                event = "incremental_snapshot_completed",
                rows = state.rows,
                seconds = started.elapsed().as_secs_f64(),
                "Kafka has all rows of the incremental snapshot"
            );
        }
    }
}
