//! Whether Debezium has written what is to be compared.
//!
//! Its server says how much of the log it has received. Heartbeats come behind the records of what it had received before, so
//! that two later ones are a sign that those are in Kafka.

use std::time::Duration;

use crate::lsn::Lsn;

/// The first may have been on its way already.
const HEARTBEATS: i64 = 2;
/// Where no heartbeat comes, or what is received is not told, so long a silence is taken for the end.
const QUIET: Duration = Duration::from_secs(15);
/// A connector of which nothing is seen for so long does not get on.
const STUCK: Duration = Duration::from_secs(120);

/// What is seen of Debezium's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// It reads its slot.
    pub(super) is_reading: bool,
    /// How much of the log it has received.
    pub(super) received: Option<Lsn>,
    /// How many records it has written, without heartbeats.
    pub(super) records: i64,
    pub(super) heartbeats: i64,
    /// Since the beginning.
    pub(super) at: Duration,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    GoOn,
    /// All that was committed before this is written, as far as that is known.
    Written(Lsn),
    Stuck,
}

#[derive(Debug)]
pub(super) struct Progress {
    /// So many records are enough.
    records_max: i64,
    last: Option<Look>,
    moved_at: Duration,
    written_at: Duration,
    /// The heartbeats when the target was seen to be received.
    reached_at: Option<i64>,
}

impl Progress {
    pub(super) fn new(records_max: i64) -> Self {
        Self { records_max, last: None, moved_at: Duration::ZERO, written_at: Duration::ZERO, reached_at: None }
    }

    /// Judges by the newest look; the target may come later.
    pub(super) fn judge(&mut self, look: Look, target: Option<Lsn>) -> Judgement {
        let has_written = self.last.is_none_or(|last| last.records != look.records);
        if has_written || !look.is_reading {
            self.written_at = look.at;
        }
        if has_written || self.last.is_some_and(|last| last.received != look.received) {
            self.moved_at = look.at;
        }
        self.last = Some(look);
        if look.records >= self.records_max {
            return Judgement::Written(Lsn::ZERO);
        }
        let Some(target) = target else { return Judgement::GoOn };
        let is_received = look.received.is_some_and(|received| received >= target);
        if is_received {
            let heartbeats = *self.reached_at.get_or_insert(look.heartbeats);
            if look.heartbeats.saturating_sub(heartbeats) >= HEARTBEATS {
                return Judgement::Written(target);
            }
        }
        let is_quiet = look.at.saturating_sub(self.written_at) >= QUIET;
        if is_quiet && (is_received || look.received.is_none()) {
            return Judgement::Written(Lsn::ZERO);
        }
        if look.at.saturating_sub(self.moved_at) >= STUCK { Judgement::Stuck } else { Judgement::GoOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(received: Option<u64>, records: i64, heartbeats: i64, second: u64) -> Look {
        Look {
            is_reading: true,
            received: received.map(Lsn::new),
            records,
            heartbeats,
            at: Duration::from_secs(second),
        }
    }

    #[test]
    fn what_is_received_is_written_two_heartbeats_later() {
        let (mut progress, target) = (Progress::new(100), Some(Lsn::new(50)));
        assert_eq!(progress.judge(look(Some(40), 1, 7, 1), target), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(50), 2, 8, 2), target), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(60), 3, 9, 3), target), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(60), 4, 10, 4), target), Judgement::Written(Lsn::new(50)));
    }

    #[test]
    fn enough_records_end_it_at_any_place() {
        let mut progress = Progress::new(100);
        assert_eq!(progress.judge(look(Some(4), 99, 0, 1), None), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(5), 100, 0, 2), None), Judgement::Written(Lsn::ZERO));
    }

    #[test]
    fn without_heartbeats_a_silence_ends_it_and_proves_nothing() {
        let (mut progress, target) = (Progress::new(100), Some(Lsn::new(50)));
        assert_eq!(progress.judge(look(Some(50), 1, 0, 1), target), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(50), 1, 0, 16), target), Judgement::Written(Lsn::ZERO));
        let mut unseen = Progress::new(100);
        unseen.judge(look(None, 1, 3, 1), target);
        assert_eq!(unseen.judge(look(None, 1, 30, 16), target), Judgement::Written(Lsn::ZERO));
        let starting = Look { is_reading: false, ..look(None, 1, 0, 50) };
        assert_eq!(Progress::new(100).judge(starting, target), Judgement::GoOn);
    }

    #[test]
    fn what_receives_nothing_for_two_minutes_is_stuck() {
        let (mut progress, target) = (Progress::new(100), Some(Lsn::new(50)));
        progress.judge(look(Some(10), 0, 0, 0), target);
        assert_eq!(progress.judge(look(Some(10), 0, 90, 119), target), Judgement::GoOn);
        assert_eq!(progress.judge(look(Some(10), 0, 91, 120), target), Judgement::Stuck);
        assert_eq!(progress.judge(look(Some(20), 0, 91, 121), target), Judgement::GoOn);
    }
}
