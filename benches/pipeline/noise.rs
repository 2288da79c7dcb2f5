//! How quiet the machine was: a fixed piece of work before and after, and the time that other machines stole.

use std::fs::read_to_string;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

/// About half a second of work.
const SPIN_ROUNDS: u64 = 400_000_000;
/// Two spins that differ by more say that the machine changed under the measurement.
pub(crate) const SPIN_CHANGE_PERCENT_MAX: f64 = 10.0;

/// Begins to watch.
pub(crate) struct NoiseWatch {
    spin: Duration,
    times: CpuTimes,
}

/// What disturbed a measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Noise {
    /// The fixed work before the measurement.
    pub(crate) spin_before_ms: f64,
    /// The same after it.
    pub(crate) spin_after_ms: f64,
    /// Share of all processor time that the hypervisor gave to others.
    pub(crate) steal_percent: f64,
    /// Share of all processor time in which nothing ran.
    pub(crate) idle_percent: f64,
}

impl NoiseWatch {
    /// Does the fixed work once and notes the times.
    pub(crate) fn start() -> Self {
        Self { spin: spin(), times: CpuTimes::now() }
    }

    /// Compares.
    pub(crate) fn finish(self) -> Noise {
        let now = CpuTimes::now();
        let total = (now.total - self.times.total).max(1.0);
        Noise {
            spin_before_ms: self.spin.as_secs_f64() * 1e3,
            spin_after_ms: spin().as_secs_f64() * 1e3,
            steal_percent: (now.steal - self.times.steal) / total * 100.0,
            idle_percent: (now.idle - self.times.idle) / total * 100.0,
        }
    }
}

impl Noise {
    /// How far apart the two spins are.
    pub(crate) fn spin_change_percent(&self) -> f64 {
        (self.spin_after_ms / self.spin_before_ms - 1.0).abs() * 100.0
    }
}

fn spin() -> Duration {
    let started = Instant::now();
    let mut state = 1_u64;
    for _ in 0..SPIN_ROUNDS {
        // Opaque in every round, or the compiler finds a shorter way to the end.
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    started.elapsed()
}

#[derive(Default)]
struct CpuTimes {
    total: f64,
    idle: f64,
    steal: f64,
}

impl CpuTimes {
    /// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal.
    fn now() -> Self {
        let text = read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).take(8).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or_default();
        Self { total: ticks.iter().sum(), idle: at(3) + at(4), steal: at(7) }
    }
}
