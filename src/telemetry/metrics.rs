//! Every metric: name, kind, unit and help in one table. A new metric is one line here and one call where it happens.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{Error, ErrorKind, Result};

/// How a metric's values are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Many observations, counted in the given buckets.
    Histogram(&'static [f64]),
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The Prometheus name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// What is counted.
    pub unit: Unit,
    /// One line for people.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// From half a millisecond, where a healthy pipeline is, to ten seconds, where it is broken.
const LATENCY_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const BATCH_RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0, 20000.0];

const LATENCY: MetricKind = MetricKind::Histogram(LATENCY_SECONDS);
const BATCH: MetricKind = MetricKind::Histogram(BATCH_RECORDS);

const fn metric(name: &'static str, kind: MetricKind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, unit, help, labels: &[] }
}

impl Metric {
    const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }
}

use MetricKind::{Counter, Gauge};

/// All metrics.
pub const METRICS: &[Metric] = &[
    metric("evp_build_info", Gauge, Unit::Count, "1; the version is the label").by(&["version"]),
    metric("evp_ready", Gauge, Unit::Count, "1 while the work is done, 0 while anything of `evp_waits` is missing"),
    metric("evp_waits", Gauge, Unit::Count, "1 while the work waits for this: a server, or something that it refuses")
        .by(&["needed"]),
    metric("evp_capture_events_total", Counter, Unit::Count, "Changes handed to the Kafka client, by op").by(&["op"]),
    metric("evp_capture_transactions_total", Counter, Unit::Count, "Transactions received whole, empty ones included"),
    metric("evp_capture_ack_latency_seconds", LATENCY, Unit::Seconds, "From commit to Kafka's acknowledgement"),
    metric("evp_capture_received_lsn", Gauge, Unit::Bytes, "Position received from the slot"),
    metric("evp_capture_flushed_lsn", Gauge, Unit::Bytes, "Position confirmed to the slot"),
    metric("evp_capture_lag_bytes", Gauge, Unit::Bytes, "Log written since the position that the slot has confirmed"),
    metric("evp_capture_retained_bytes", Gauge, Unit::Bytes, "Log that PostgreSQL keeps on its disk for the slot"),
    metric(
        "evp_capture_wal_status",
        Gauge,
        Unit::Count,
        "1 for the slot's wal_status: reserved, extended, unreserved or lost",
    )
    .by(&["status"]),
    metric(
        "evp_capture_safe_bytes",
        Gauge,
        Unit::Bytes,
        "Log that may still be written before the slot is lost; absent without max_slot_wal_keep_size",
    ),
    metric("evp_capture_in_flight_records", Gauge, Unit::Count, "Records sent and not yet acknowledged"),
    metric(
        "evp_capture_reconnects_total",
        Counter,
        Unit::Count,
        "Sessions that ended with an error, or could not begin, and are tried again",
    ),
    metric("evp_capture_connected", Gauge, Unit::Count, "1 while the replication stream is open"),
    metric(
        "evp_capture_dropped_duplicates_total",
        Counter,
        Unit::Count,
        "Changes not sent because the topic had them, by its tail or by a snapshot",
    ),
    metric("evp_capture_snapshot_running", Gauge, Unit::Count, "1 while the tables are read"),
    metric("evp_capture_snapshot_rows", Gauge, Unit::Count, "Rows of the last snapshot that Kafka has"),
    metric(
        "evp_capture_snapshot_estimated_rows",
        Gauge,
        Unit::Count,
        "Rows of all tables of the last snapshot, by the server's own count",
    ),
    metric("evp_capture_snapshot_tables", Gauge, Unit::Count, "Tables of the last snapshot"),
    metric("evp_capture_snapshot_tables_remaining", Gauge, Unit::Count, "Those of them that are not wholly in Kafka"),
    metric(
        "evp_capture_incremental_running",
        Gauge,
        Unit::Count,
        "1 while tables that a signal names are read beside the stream",
    ),
    metric("evp_capture_incremental_rows", Gauge, Unit::Count, "Rows of the last incremental snapshot that are sent"),
    metric(
        "evp_capture_incremental_tables_remaining",
        Gauge,
        Unit::Count,
        "Tables of the incremental snapshot that are not wholly read",
    ),
    metric(
        "evp_capture_blocking_running",
        Gauge,
        Unit::Count,
        "1 while the stream waits for tables that a signal names",
    ),
    metric("evp_capture_blocking_rows", Gauge, Unit::Count, "Rows of the last blocking snapshot that are sent"),
    metric(
        "evp_capture_dead_letters_total",
        Counter,
        Unit::Count,
        "Rows that the topic does not take and that are dead letters instead",
    ),
    metric(
        "evp_capture_last_event_timestamp_seconds",
        Gauge,
        Unit::Seconds,
        "Commit time of the last change received, since 1970",
    ),
    metric(
        "evp_process_events_total",
        Counter,
        Unit::Count,
        "Events done with, by outcome: applied, duplicate, skipped, dead_lettered",
    )
    .by(&["outcome"]),
    metric("evp_process_batch_records", BATCH, Unit::Count, "Records applied in one round"),
    metric("evp_process_claim_seconds", LATENCY, Unit::Seconds, "One round's claims on its events, with early creates"),
    metric("evp_process_write_seconds", LATENCY, Unit::Seconds, "One round's effects, until a majority has them"),
    metric(
        "evp_process_gather_seconds",
        Gauge,
        Unit::Seconds,
        "How long records gather before they are claimed, with --target-p99",
    )
    .by(&["topic"]),
    metric(
        "evp_process_target_missed",
        Gauge,
        Unit::Count,
        "1 if the latency of --target-p99 is not met, though nothing is waited for",
    )
    .by(&["topic"]),
    metric("evp_process_lag_records", Gauge, Unit::Count, "Records behind the topic's end, by topic and partition")
        .by(&["topic", "partition"]),
    metric("evp_process_applied_latency_seconds", LATENCY, Unit::Seconds, "From commit to applied in MongoDB"),
    metric("evp_process_waiting_events", Gauge, Unit::Count, "Events held until their predecessor arrives"),
    metric(
        "evp_process_commits_failed_total",
        Counter,
        Unit::Count,
        "Commits of offsets that Kafka refused or did not answer; they are repeated",
    ),
    metric(
        "evp_process_commit_wait_seconds",
        Gauge,
        Unit::Seconds,
        "How long the group's coordinator has owed the answer to a commit",
    ),
    metric(
        "evp_process_largest_document_bytes",
        Gauge,
        Unit::Bytes,
        "The largest of the documents whose lists have grown most lately; MongoDB's limit is 16 MB",
    ),
    metric(
        "evp_process_refused_handlers",
        Gauge,
        Unit::Count,
        "Handlers whose events are refused one after the other and held back; above 0 evp is not ready",
    ),
    metric("evp_process_dead_letters_total", Counter, Unit::Count, "Dead letters written, by error kind").by(&["kind"]),
    metric(
        "evp_process_dead_letters_refused_total",
        Counter,
        Unit::Count,
        "Attempts at dead letters that Kafka refused",
    ),
];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts recording; without it metrics cost nothing and are kept nowhere.
pub fn install() -> Result<PrometheusHandle> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let failed = |error| Error::with_source(ErrorKind::System, "cannot set up the metrics", error);
    let recorder = builder().map_err(failed)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|error| Error::new(ErrorKind::System, format!("cannot set up the metrics: {error}")))?;
    describe();
    metrics::gauge!("evp_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(RECORDER.get_or_init(|| handle).clone())
}

fn builder() -> std::result::Result<PrometheusBuilder, BuildError> {
    METRICS.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        MetricKind::Histogram(buckets) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
        }
        MetricKind::Counter | MetricKind::Gauge => Ok(builder),
    })
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram(_) => describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice in the table");
        for metric in METRICS {
            assert_eq!(metric.kind == Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Seconds, metric.name.ends_with("_seconds"), "{}", metric.name);
        }
    }

    #[test]
    fn every_bucket_list_is_accepted() {
        assert!(builder().is_ok());
    }
}
