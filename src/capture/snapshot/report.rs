//! How a snapshot gets on, for people, for orchestrators and for metrics.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use metrics::Gauge;

use super::progress::SnapshotProgress;
use crate::postgres::SnapshotTable;
use crate::telemetry::Health;

/// Between two updates of what is shown.
const INTERVAL: Duration = Duration::from_millis(200);
/// The clock is not read for every row.
const LOOK_ROWS: u64 = 256;

/// Draws on a terminal, says in readiness why nothing is streamed yet, and keeps the gauges; all of it ends with it.
pub(super) struct Report {
    health: Health,
    bar: ProgressBar,
    started: Instant,
    shown: Instant,
    rows: u64,
    estimated_rows: u64,
    table_count: usize,
    done_count: usize,
    table: String,
    gauges: Gauges,
}

struct Gauges {
    running: Gauge,
    rows: Gauge,
    remaining: Gauge,
}

impl Report {
    pub(super) fn start(health: &Health, known: &[SnapshotTable], progress: &SnapshotProgress) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(INTERVAL);
        let is_read = |table: &&SnapshotTable| progress.tables().iter().any(|read| read.oid == table.oid);
        let estimated = known.iter().filter(is_read).map(|table| table.estimated_rows);
        let report = Self {
            health: health.clone(),
            bar,
            started: Instant::now(),
            shown: Instant::now(),
            rows: progress.rows(),
            estimated_rows: estimated.fold(0, u64::saturating_add),
            table_count: progress.tables().len(),
            done_count: progress.tables().iter().filter(|table| table.is_done).count(),
            table: String::new(),
            gauges: Gauges {
                running: metrics::gauge!("evp_capture_snapshot_running"),
                rows: metrics::gauge!("evp_capture_snapshot_rows"),
                remaining: metrics::gauge!("evp_capture_snapshot_tables_remaining"),
            },
        };
        report.gauges.running.set(1.0);
        metrics::gauge!("evp_capture_snapshot_tables").set(number(report.table_count as u64));
        metrics::gauge!("evp_capture_snapshot_estimated_rows").set(number(report.estimated_rows));
        report.show();
        report
    }

    /// A table begins.
    pub(super) fn table(&mut self, name: String) {
        self.table = name;
        self.show();
    }

    /// A row is sent.
    pub(super) fn row(&mut self) {
        self.rows = self.rows.saturating_add(1);
        if self.rows.is_multiple_of(LOOK_ROWS) && self.shown.elapsed() >= INTERVAL {
            self.shown = Instant::now();
            self.show();
        }
    }

    /// A table ends.
    pub(super) fn finished(&mut self) {
        self.done_count = self.done_count.saturating_add(1);
        self.show();
    }

    /// Kafka has everything.
    pub(super) fn completed(&self, rows: u64) {
        self.gauges.rows.set(number(rows));
        tracing::info!(
            event = "snapshot_completed",
            rows,
            tables = self.table_count,
            seconds = self.started.elapsed().as_secs_f64(),
            "all tables are read"
        );
    }

    fn show(&self) {
        let rows = match self.estimated_rows {
            0 => format!("{} rows", self.rows),
            estimated => format!("{} of about {} rows", self.rows, estimated.max(self.rows)),
        };
        let text =
            format!("reading the tables: {} of {} done, {rows}, {}", self.done_count, self.table_count, self.table);
        self.gauges.rows.set(number(self.rows));
        self.gauges.remaining.set(number(self.table_count.saturating_sub(self.done_count) as u64));
        self.health.set_snapshot_obstacle(Some(format!("{text}; the stream follows")));
        self.bar.set_message(text);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.gauges.running.set(0.0);
        self.health.set_snapshot_obstacle(None);
    }
}

#[allow(clippy::cast_precision_loss)]
pub(in crate::capture) fn number(count: u64) -> f64 {
    count as f64
}
