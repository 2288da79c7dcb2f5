//! From claimed effects to writes on their way, and what became of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::error::Result;
use crate::mongo::WriteModel;
use crate::process::apply::Applied;
use crate::process::in_flight::{Effect, InFlight};
use crate::process::settle::{RetryPolicy, settle};
use crate::process::tally::End;
use crate::process::tasks::write_effects;
use crate::process::waiting::{DocumentKey, Held};

/// Writes on their way at once: the server works on both, and nothing waits behind another's wait for the majority.
const WRITES_MAX: usize = 3;

/// What a write of few effects usually takes; half of them took 3 to 4 ms at 1 000 events a second on two processors.
const USUAL_WRITE: Duration = Duration::from_millis(6);

impl Dispatcher {
    /// Whether another write may begin.
    pub(super) fn may_write(&self) -> bool {
        self.writes.len() < WRITES_MAX
    }

    pub(super) fn start_writing(&mut self) {
        if !self.may_write() {
            return;
        }
        let now = Instant::now();
        let probes = self.probe(now);
        let is_due = self.next_document_due().is_some_and(|due| due <= now);
        // What is claimed waits while much stands behind few documents.
        let claimed = self.claimed.take_if(|_| self.busy.behind() < self.parts.process.batch_records_max);
        // What has its turn shares a write with the batch that is about to come.
        let has_turns = self.busy.has_released() && (self.claiming.is_none() || self.writes.is_empty());
        let has_more = has_turns || self.parking.has_released();
        if claimed.is_none() && !is_due && probes.is_empty() && !has_more {
            return;
        }
        self.write(claimed.unwrap_or_default(), probes, now);
    }

    /// Begins to write what has its turn, before partitions go to somebody else: what stands behind it is applied already
    /// and would not be committed.
    pub(super) fn write_released(&mut self) {
        if self.busy.has_released() {
            self.write(Vec::new(), Vec::new(), Instant::now());
        }
    }

    fn write(&mut self, claimed: Vec<Effect>, probes: Vec<DocumentKey>, now: Instant) {
        let (effects, given_up) = self.parking.enter(claimed, |event| self.progress.waits(event));
        self.give_up(given_up);
        // What was released has passed the parking before.
        let mut admitted = self.busy.take_released();
        admitted.extend(effects);
        let (breaker, progress, busy) = (&self.breaker, &mut self.progress, &self.busy);
        let holds = |effect: &Effect| breaker.holds(effect);
        let held: Held<'_> = if breaker.is_holding() { Some(&holds) } else { None };
        let is_busy = |model: &WriteModel| busy.has(model);
        let admitted = self.waiting.admit(admitted, now, probes, held, is_busy, |event| progress.waits(event));
        let effects = self.busy.enter(admitted);
        if !effects.is_empty() {
            let (store, claims) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.claims));
            self.overlaps_from = now.checked_add(USUAL_WRITE);
            self.writes.spawn(write_effects(store, claims, self.parts.source.number(), effects));
        }
    }

    /// Notes what became of a batch.
    pub(super) fn settle(&mut self, applied: Applied) -> Result<()> {
        self.busy.leave(applied.effects.iter().map(|effect| &effect.model));
        if self.writes.is_empty() {
            self.overlaps_from = None;
        }
        let is_current = |event: &InFlight| self.progress.is_current(event);
        let process = &self.parts.process;
        let is_suspended = self.parts.health.is_kafka_away() || self.breaker.is_holding();
        let policy = RetryPolicy { retries_max: process.retries_max, delay: process.retry_delay, is_suspended };
        let now = Instant::now();
        // What is read no further cannot bring what is missing.
        let is_stuck = self.postponed.is_some() || self.is_full();
        let has_passed = |missing| is_stuck || self.frontier.has_passed(missing);
        let settled = settle(applied, is_current, policy, has_passed, &mut self.breaker, now)?;
        for event in settled.applied {
            if let Some(latency) = self.tally.in_mongodb(&event) {
                self.pace.note(latency);
            }
            self.end(&event, End::Applied);
        }
        settled.parked.iter().for_each(|(effect, _)| self.progress.waits(&effect.event));
        self.waiting.park_ahead(settled.parked);
        for (document, event) in settled.held {
            self.waiting.hold(document, event, now);
        }
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("evp_process_waiting_events").set(self.waiting.len() as f64);
        self.give_up(settled.given_up);
        Ok(())
    }
}
