//! What evp says of itself: logs, metrics, health.

mod health;
mod latency;
mod logs;
pub mod metrics;
mod systemd;

pub use health::{Health, serve};
pub use latency::{LatencyRecorder, LatencySummary};
pub(crate) use systemd::keep_told;

pub use logs::{LogFormat, init as init_logs, parse_level};
