//! Exact percentiles of one kind of waiting.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::telemetry::LatencySummary;

/// Longest latency told apart; what took longer counts as this.
const MICROSECONDS_MAX: u64 = 3_600_000_000;

/// Latencies, recorded from any thread.
#[derive(Debug)]
pub struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3)
            .unwrap_or_else(|_| unreachable!("the bounds are constants that the library accepts"));
        Self(Mutex::new(histogram))
    }
}

impl Latencies {
    /// Records the time from `due` to now.
    pub fn record_since(&self, due: Instant) {
        self.record(due.elapsed());
    }

    /// Records one latency.
    pub fn record(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(MICROSECONDS_MAX);
        self.0.lock().saturating_record(microseconds.max(1));
    }

    /// The percentiles so far.
    pub fn summary(&self) -> LatencySummary {
        let histogram = self.0.lock();
        #[allow(clippy::cast_precision_loss)]
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        LatencySummary {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}
