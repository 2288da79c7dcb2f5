//! How long records gather before they are claimed: as long as the latency that was asked for leaves time.
//!
//! Half as many batches are half as many commands, for which MongoDB takes more time than for the events in them. Without a
//! target nothing is waited for.

use std::time::{Duration, Instant};

/// The latencies of so long are judged together.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer tell nothing of a percentile.
const SAMPLES_MIN: usize = 20;
/// Less is not worth a timer.
const GATHER_MIN: Duration = Duration::from_millis(1);

/// Keeps the 99th percentile of latencies below a target.
#[derive(Debug)]
pub(super) struct Pace {
    target: Option<Duration>,
    gather: Duration,
    latencies: Vec<Duration>,
    window_began: Instant,
    /// Since when records are there.
    gathering_since: Option<Instant>,
}

/// What was decided of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// How long records gather from now on.
    pub(super) gather: Duration,
    /// Whether the target was missed, though nothing was waited for.
    pub(super) is_missed: bool,
}

impl Pace {
    pub(super) fn new(target: Option<Duration>, now: Instant) -> Self {
        Self { target, gather: Duration::ZERO, latencies: Vec::new(), window_began: now, gathering_since: None }
    }

    /// Notes how long an event took from its commit to MongoDB.
    pub(super) fn note(&mut self, latency: Duration) {
        if self.target.is_some() {
            self.latencies.push(latency);
        }
    }

    /// Until when the records that are there are to be joined by others, if they are.
    pub(super) fn gathers_until(&mut self, now: Instant) -> Option<Instant> {
        if self.gather < GATHER_MIN {
            return None;
        }
        let until = self.gathering_since.get_or_insert(now).checked_add(self.gather)?;
        (until > now).then_some(until)
    }

    /// The records that were there are taken.
    pub(super) fn taken(&mut self) {
        self.gathering_since = None;
    }

    /// Judges the window, if it is over and enough has happened: far below the target there is time to gather, above it
    /// half of what was waited was too long.
    pub(super) fn judge(&mut self, now: Instant) -> Option<Decision> {
        let target = self.target?;
        if now.saturating_duration_since(self.window_began) < WINDOW {
            return None;
        }
        self.window_began = now;
        let mut latencies = std::mem::take(&mut self.latencies);
        if latencies.len() < SAMPLES_MIN {
            return None;
        }
        let place = (latencies.len() - 1) * 99 / 100;
        let (_, p99, _) = latencies.select_nth_unstable(place);
        let (p99, was_waiting) = (*p99, self.gather >= GATHER_MIN);
        if p99 > target {
            self.gather /= 2;
        } else if p99 < target * 7 / 10 {
            self.gather = (self.gather + target / 20).min(target / 2);
        }
        if self.gather < GATHER_MIN && p99 > target {
            self.gather = Duration::ZERO;
        }
        Some(Decision { gather: self.gather, is_missed: p99 > target && !was_waiting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(100);

    /// The decisions of windows in which every event takes so long.
    fn decisions(pace: &mut Pace, begun: Instant, millis: &[u64]) -> Vec<Decision> {
        let windows = (1..).zip(millis);
        let decide = |(second, millis): (u32, &u64)| {
            (0..SAMPLES_MIN).for_each(|_| pace.note(Duration::from_millis(*millis)));
            pace.judge(begun + WINDOW * second)
        };
        windows.filter_map(decide).collect()
    }

    #[test]
    fn records_gather_while_there_is_time_and_less_once_there_is_none() {
        let begun = Instant::now();
        let mut pace = Pace::new(Some(TARGET), begun);
        let gathered = |decisions: Vec<Decision>| -> Vec<u128> {
            decisions.iter().map(|decision| decision.gather.as_micros()).collect()
        };
        assert_eq!(
            gathered(decisions(&mut pace, begun, &[20, 25, 30, 80, 110])),
            [5_000, 10_000, 15_000, 15_000, 7_500]
        );
        // However fast it is, half of the target is left for the rest.
        let later = begun + WINDOW * 10;
        assert_eq!(gathered(decisions(&mut pace, later, &[20; 20])).last(), Some(&50_000));
    }

    #[test]
    fn a_target_that_cannot_be_met_is_told_and_nothing_is_waited_for() {
        let begun = Instant::now();
        let mut pace = Pace::new(Some(TARGET), begun);
        let decided = decisions(&mut pace, begun, &[50, 400, 400, 400, 400, 90]);
        let is_missed: Vec<bool> = decided.iter().map(|decision| decision.is_missed).collect();
        assert_eq!(is_missed, [false, false, false, false, true, false]);
        assert_eq!(decided.last().map(|decision| decision.gather), Some(Duration::ZERO));
        assert_eq!(pace.gathers_until(begun), None);
    }

    #[test]
    fn what_is_there_waits_from_the_first_record_on() {
        let begun = Instant::now();
        let mut pace = Pace::new(Some(TARGET), begun);
        assert_eq!(pace.gathers_until(begun), None);
        decisions(&mut pace, begun, &[20]);
        let (first, later) = (begun + WINDOW * 2, begun + WINDOW * 2 + Duration::from_millis(3));
        let until = first + Duration::from_millis(5);
        assert_eq!((pace.gathers_until(first), pace.gathers_until(later)), (Some(until), Some(until)));
        assert_eq!(pace.gathers_until(until), None);
        pace.taken();
        assert_eq!(pace.gathers_until(until), Some(until + Duration::from_millis(5)));
    }

    #[test]
    fn without_a_target_or_with_few_events_nothing_is_decided() {
        let begun = Instant::now();
        assert_eq!(decisions(&mut Pace::new(None, begun), begun, &[1, 1]), []);
        let mut pace = Pace::new(Some(TARGET), begun);
        pace.note(TARGET * 9);
        assert_eq!(pace.judge(begun + WINDOW), None);
    }
}
