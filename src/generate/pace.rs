//! The thread that sends each event when it is due.
//!
//! A thread of its own, because the runtime's timer ticks in milliseconds and its workers may be busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::counters::Transaction;
use super::{EventSource, Length, Mix, Observer, Watch};

/// Time for the connections to be idle before the first event is due.
const LEAD_TIME: Duration = Duration::from_millis(50);
/// A long wait is cut into such pieces, so that cancelling ends it.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Spreads the seeds of the connections over the whole range.
const SEED_STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// What is due when.
pub(super) struct Schedule {
    pub(super) rate: f64,
    pub(super) length: Length,
    pub(super) batch_rows: u32,
    pub(super) seed: u64,
    pub(super) mix: Mix,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) watch: Option<Arc<Watch>>,
}

impl Schedule {
    /// When event `index` is due; nothing if it is never.
    fn due(&self, started: Instant, index: u64) -> Option<Instant> {
        #[allow(clippy::cast_precision_loss)]
        let offset = if self.rate > 0.0 {
            Duration::try_from_secs_f64(index as f64 / self.rate).ok()?
        } else {
            started.elapsed()
        };
        match self.length {
            Length::Events(count) if index >= count => None,
            Length::Time(time) if offset >= time => None,
            _ => started.checked_add(offset),
        }
    }

    /// Rows of the transaction that starts with event `index`.
    fn rows(&self, index: u64) -> u64 {
        let rows = u64::from(self.batch_rows);
        match self.length {
            Length::Events(count) => rows.min(count.saturating_sub(index)),
            Length::Time(_) => rows,
        }
    }
}

/// Sends everything and returns when the first event was due; connections take transactions in turn.
pub(super) fn run(schedule: &Schedule, senders: &[Sender<Transaction>], token: &CancellationToken) -> Instant {
    let started = Instant::now().checked_add(LEAD_TIME).unwrap_or_else(Instant::now);
    let mut lanes: Vec<(&Sender<Transaction>, EventSource)> = senders
        .iter()
        .zip(0_u64..)
        .map(|(sender, lane)| {
            (sender, EventSource::with_mix(schedule.seed ^ lane.wrapping_mul(SEED_STRIDE), schedule.mix))
        })
        .collect();
    let mut index = 0_u64;
    loop {
        for (sender, source) in &mut lanes {
            let rows = schedule.rows(index);
            let events: Vec<_> = (0..rows).map(|_| source.next_event()).collect();
            let Some(due) = schedule.due(started, index) else { return started };
            for event in &events {
                if let Some(observer) = &schedule.observer {
                    observer.scheduled(event, due);
                }
                if let Some(watch) = schedule.watch.as_ref().filter(|_| event.is_create()) {
                    watch.expect(event.aggregate_id, due);
                }
            }
            if !sleep_until(due, token) || sender.blocking_send(Transaction { events, due }).is_err() {
                return started;
            }
            index = index.saturating_add(rows);
        }
    }
}

/// Returns whether `due` was reached without being cancelled.
fn sleep_until(due: Instant, token: &CancellationToken) -> bool {
    loop {
        if token.is_cancelled() {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(SLEEP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, length: Length, batch_rows: u32) -> Schedule {
        Schedule { rate, length, batch_rows, seed: 1, mix: Mix::default(), observer: None, watch: None }
    }

    #[test]
    fn event_i_is_due_at_i_over_rate() {
        let started = Instant::now();
        let at_thousand = schedule(1_000.0, Length::Events(10), 1);
        assert_eq!(at_thousand.due(started, 3), started.checked_add(Duration::from_millis(3)));
        assert_eq!(at_thousand.due(started, 10), None);
        let for_a_second = schedule(10.0, Length::Time(Duration::from_secs(1)), 1);
        assert!(for_a_second.due(started, 9).is_some());
        assert_eq!(for_a_second.due(started, 10), None);
    }

    #[test]
    fn the_last_transaction_is_cut_to_the_count() {
        let schedule = schedule(0.0, Length::Events(25), 10);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
        run(&schedule, &[sender], &CancellationToken::new());
        let sizes: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).map(|sent| sent.events.len()).collect();
        assert_eq!(sizes, [10, 10, 5]);
    }

    #[test]
    fn cancelling_ends_a_long_wait() {
        let token = CancellationToken::new();
        token.cancel();
        let far = Instant::now().checked_add(Duration::from_secs(3_600)).unwrap();
        assert!(!sleep_until(far, &token));
    }
}
