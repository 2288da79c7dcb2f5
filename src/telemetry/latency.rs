//! Latency of one hop: exact percentiles for the closing summary, buckets for Prometheus.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Longest latency told apart; what took longer counts as this.
const MICROSECONDS_MAX: u64 = 3_600_000_000;

/// Records the latencies of one hop, from any thread.
pub struct LatencyRecorder {
    histogram: Mutex<Histogram<u64>>,
    exported: metrics::Histogram,
}

impl fmt::Debug for LatencyRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LatencyRecorder").field(&self.summary()).finish()
    }
}

/// What a [`LatencyRecorder`] has seen, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct LatencySummary {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl LatencyRecorder {
    /// A recorder that also feeds the Prometheus histogram `metric_name`, in seconds.
    pub fn new(metric_name: &'static str) -> Self {
        // Bounds and digits are constants that the library accepts; the fallback keeps this total.
        let histogram = Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3)
            .or_else(|_| Histogram::new(3))
            .unwrap_or_else(|_| unreachable!("three significant digits are valid"));
        Self { histogram: Mutex::new(histogram), exported: metrics::histogram!(metric_name) }
    }

    /// Records one latency.
    pub fn record(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(MICROSECONDS_MAX);
        self.histogram.lock().saturating_record(microseconds.max(1));
        self.exported.record(latency.as_secs_f64());
    }

    /// Records the time from `epoch_us`, microseconds since 1970 by the clock of the database host, to now.
    ///
    /// Clocks that disagree can make this negative; that counts as zero.
    pub fn record_since_epoch_us(&self, epoch_us: i64) -> Duration {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let then_us = u128::try_from(epoch_us).unwrap_or(0);
        let elapsed_us = u64::try_from(now_us.saturating_sub(then_us)).unwrap_or(MICROSECONDS_MAX);
        let elapsed = Duration::from_micros(elapsed_us);
        self.record(elapsed);
        elapsed
    }

    /// The percentiles so far.
    pub fn summary(&self) -> LatencySummary {
        let histogram = self.histogram.lock();
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
