//! When to read in larger pieces.
//!
//! A walsender sends each row by itself. Under load a system call for each costs more than all the rest of a
//! row's way, so reading waits a moment for more to arrive, while at low rates each row is read at once.

use std::time::{Duration, Instant};

/// How long reading waits, and at the most what that adds to a latency.
pub(super) const PACE_WAIT: Duration = Duration::from_millis(1);

/// Above this many bytes a second, some 500 rows, waiting saves more than it costs, here and at the broker.
const BUSY_BYTES_PER_SECOND: f64 = 300_000.0;
/// A read of this size needs no waiting: its system call is spread over a hundred rows.
const LARGE_READ_BYTES: usize = 64 * 1024;
/// How far back the rate looks.
const MEMORY: Duration = Duration::from_millis(20);

/// The rate at which bytes come in, with recent ones counting more.
#[derive(Debug)]
pub(super) struct Pace {
    last_read: Instant,
    bytes_per_second: f64,
    last_bytes: usize,
}

impl Pace {
    pub(super) fn starting_at(now: Instant) -> Self {
        Self { last_read: now, bytes_per_second: 0.0, last_bytes: 0 }
    }

    /// Notes a read.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn read(&mut self, bytes: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last_read).as_secs_f64();
        self.last_read = now;
        self.last_bytes = bytes;
        // What is remembered fades exponentially; each byte raises the rate by its share of the memory.
        let kept = (-elapsed / MEMORY.as_secs_f64()).exp();
        self.bytes_per_second = self.bytes_per_second * kept + bytes as f64 / MEMORY.as_secs_f64();
    }

    /// Whether the next read should wait a moment.
    pub(super) fn is_worth_waiting(&self) -> bool {
        self.bytes_per_second > BUSY_BYTES_PER_SECOND && self.last_bytes < LARGE_READ_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW_BYTES: usize = 600;

    /// The state after a second of rows at a steady rate, each read by itself.
    fn after_a_second_of(rows_per_second: u32) -> Pace {
        let start = Instant::now();
        let mut pace = Pace::starting_at(start);
        for row in 1..=rows_per_second {
            pace.read(ROW_BYTES, start + Duration::from_secs(1) * row / rows_per_second);
        }
        pace
    }

    #[test]
    fn a_busy_stream_is_read_in_larger_pieces_and_a_calm_one_at_once() {
        assert!(!after_a_second_of(100).is_worth_waiting());
        assert!(!after_a_second_of(300).is_worth_waiting());
        assert!(after_a_second_of(1_000).is_worth_waiting());
    }

    #[test]
    fn a_piece_that_is_large_already_is_followed_at_once() {
        let mut pace = after_a_second_of(1_000);
        pace.read(LARGE_READ_BYTES, pace.last_read);
        assert!(!pace.is_worth_waiting());
    }

    #[test]
    fn a_single_large_row_does_not_slow_the_next() {
        let start = Instant::now();
        let mut pace = Pace::starting_at(start);
        pace.read(60_000, start + Duration::from_secs(1));
        pace.read(ROW_BYTES, start + Duration::from_millis(1_100));
        assert!(!pace.is_worth_waiting());
    }
}
