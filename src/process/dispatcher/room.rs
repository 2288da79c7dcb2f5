//! What may be taken while much waits, and how far the topic has come meanwhile.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Dispatcher;
use crate::error::Result;
use crate::kafka::ends::PartitionEnds;

/// Effects that may wait for their documents before no new events are taken but those of the hindmost partition.
const WAITING_EFFECTS_MAX: usize = 20_000;
/// Events that may wait for their dead letters before no new ones are taken.
const GIVEN_UP_MAX: usize = 1_000;
/// What waits may keep so much in memory before nothing new is taken, but of the hindmost partition.
const KEPT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Records that may be received and not committable before no new ones are taken, but of the hindmost partition.
const OUTSTANDING_RECORDS_MAX: usize = 500_000;
/// The hindmost partition may fill twice the room.
const HINDMOST_QUARTERS: usize = 8;

/// A look at the ends of the topic, and when it began.
pub(super) type Looking = (Instant, JoinHandle<Result<Vec<PartitionEnds>>>);

/// Which new events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Those of all partitions.
    Free,
    /// Those of one partition, which may hold what the others wait for.
    Hindmost(i32),
    /// None.
    Full,
}

impl Dispatcher {
    /// Whether new events are taken. While too many wait for documents, only the partition is read that is behind the
    /// others: whatever creates the documents is there, and would never come if nothing were read.
    pub(super) fn makes_room(&mut self) -> bool {
        match self.room() {
            Room::Free => self.gathered.restrict(None),
            Room::Hindmost(partition) => self.gathered.restrict(Some(partition)),
            Room::Full => return false,
        }
        true
    }

    /// Whether nothing is read because too much waits.
    pub(super) fn is_full(&self) -> bool {
        self.room() == Room::Full && self.given_up.len() < GIVEN_UP_MAX
    }

    fn room(&self) -> Room {
        let kept_bytes = self.waiting.bytes().saturating_add(self.given_up.bytes());
        let fits = |quarters: usize| {
            let share = |of: usize| (of / 4).saturating_mul(quarters);
            self.waiting.len().saturating_add(self.parking.len()) < share(WAITING_EFFECTS_MAX)
                && kept_bytes < share(KEPT_BYTES_MAX)
                && self.progress.tracker.outstanding() < share(OUTSTANDING_RECORDS_MAX)
        };
        if self.given_up.len() >= GIVEN_UP_MAX || !fits(HINDMOST_QUARTERS) {
            return Room::Full;
        }
        // Partitions that are paused and resumed again and again for a moment are slow.
        let is_free = fits(if self.gathered.is_restricted() { 3 } else { 4 });
        match self.frontier.hindmost(&self.progress.tracker) {
            _ if is_free => Room::Free,
            Some(partition) => Room::Hindmost(partition),
            None => Room::Full,
        }
    }

    /// Looks at the ends of the topic now and then, as long as something waits.
    pub(super) fn look_at_topic(&mut self) {
        if !self.waiting.has_effects() {
            self.frontier.forget();
            return;
        }
        if let Some((began, looking)) = self.looking.take_if(|(_, looking)| looking.is_finished()) {
            match futures_util::FutureExt::now_or_never(looking) {
                Some(Ok(Ok(ends))) => self.looked(began, &ends),
                looked => {
                    tracing::debug!(event = "topic_not_seen", ?looked, "what waits goes on waiting");
                }
            }
        }
        let now = Instant::now();
        if self.looking.is_none() && self.frontier.is_due(now) && !self.consumer.is_unreachable() {
            self.looking = Some((now, self.consumer.ask_for_ends()));
        }
    }

    fn looked(&mut self, began: Instant, ends: &[PartitionEnds]) {
        let process = &self.parts.process;
        let still: Duration = process.retry_delay.saturating_mul(process.retries_max.saturating_add(1));
        let is_all_taken = self.gathered.is_empty() && !self.gathered.is_restricted();
        let tracker = &self.progress.tracker;
        self.frontier.looked(began, ends, tracker, |partition| {
            let is_own = tracker.partitions().any(|own| own == partition);
            (is_all_taken || !is_own).then_some(still)
        });
    }
}
