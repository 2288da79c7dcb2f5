//! Events that are given up: those that follow them, their dead letters, and the documents that these hold back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Dispatcher;
use crate::process::in_flight::{Effect, InFlight};
use crate::process::tally::End;
use crate::process::tasks::{DeadLettered, write_dead_letters};

impl Dispatcher {
    /// Begins to write the dead letters that are due, unless some are being written.
    pub(super) fn start_giving_up(&mut self) {
        if self.giving_up.is_some() {
            return;
        }
        let events = self.given_up.take(Instant::now());
        if !events.is_empty() {
            let (dead_letters, claims) = (Arc::clone(&self.parts.dead_letters), Arc::clone(&self.parts.claims));
            self.giving_up = Some(tokio::spawn(write_dead_letters(dead_letters, claims, events)));
        }
    }

    /// Lets events wait for their dead letters, and behind them those that follow.
    pub(super) fn give_up(&mut self, events: Vec<Arc<InFlight>>) {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            self.progress.waits(&event);
            self.parking.failed(&event);
            if event.parks() {
                let mut waiting = self.waiting.extract(|effect| follows(effect, &event));
                waiting.extend(self.busy.extract(|effect| follows(effect, &event)));
                waiting.sort_by_key(|effect| effect.event.position.order);
                events.extend(self.parking.fail_behind(&event, waiting));
            }
            self.given_up.extend(vec![event]);
        }
    }

    /// Notes which dead letters are safe, and keeps the others.
    pub(super) fn dead_lettered(&mut self, outcome: DeadLettered) {
        self.parking.told(&outcome.written);
        for event in &outcome.written {
            self.end(event, End::DeadLettered);
        }
        self.waiting.release(&outcome.written);
        let mut refused = outcome.refused;
        refused.retain(|event| self.progress.is_current(event));
        self.given_up.refused(refused, Instant::now());
    }
}

/// Whether an effect is of a later event of the aggregate, by a handler that parks.
fn follows(effect: &Effect, failed: &InFlight) -> bool {
    effect.handler.parks()
        && effect.event.ordered_aggregate == failed.ordered_aggregate
        && effect.event.position.order > failed.position.order
}
