//! Events from a handler's refusals in a row on, not claimed yet. Nothing that comes behind them is applied, so that a
//! handler which is deployed anew finds its events and their documents as the broken one did.

use std::collections::VecDeque;
use std::time::Instant;

use super::breaker::{Breaker, Refused};
use super::in_flight::InFlight;
use super::prepare::{Preparation, PreparedEvent};
use super::told::Facts;

/// So many are looked at for one that the handler does not refuse.
const EVENTS_MAX: usize = 5_000;
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Events that are held back before they are claimed, in order.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    events: VecDeque<PreparedEvent>,
    bytes: usize,
    /// The place behind the event that was tried last.
    tried: usize,
}

/// Judges the handlers by a batch; says from which of its events on they are to be held back.
pub(super) fn judge(breaker: &mut Breaker, events: &[PreparedEvent], now: Instant) -> Option<usize> {
    let was_holding = breaker.holds_events();
    let mut firsts: Vec<(Refused<'_>, usize)> = Vec::new();
    for (place, PreparedEvent { event, handlers, .. }) in events.iter().enumerate() {
        if !event.has_failures() && breaker.has_only_successes() {
            continue;
        }
        for handler in handlers.iter() {
            let asked = Refused::by(&**handler);
            match event.refusal_of(handler.name()) {
                None => {
                    breaker.succeeded(asked);
                    firsts.retain(|(refused, _)| *refused != asked);
                }
                // What is told again has been judged when it was told first.
                Some(_) if event.position.is_replay => {}
                Some(reason) => {
                    let aggregate = || Facts::of(event).aggregate_id.unwrap_or_default();
                    breaker.refused(asked, aggregate, &reason, now);
                    if firsts.iter().all(|(refused, _)| *refused != asked) {
                        firsts.push((asked, place));
                    }
                }
            }
        }
    }
    let first = firsts.into_iter().filter(|(refused, _)| breaker.is_open(*refused)).map(|(_, place)| place).min();
    breaker.holds_events().then(|| if was_holding { 0 } else { first.unwrap_or_default() })
}

impl Withheld {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.events.len() < EVENTS_MAX && self.bytes < BYTES_MAX
    }

    pub(super) fn extend(&mut self, events: Vec<PreparedEvent>) {
        events.iter().for_each(|event| event.event.detach_record());
        self.events.extend(events);
        self.recount();
    }

    /// Takes events that may be applied now; their handlers are asked anew.
    pub(super) fn take(&mut self, count: usize, preparation: &Preparation) -> Vec<PreparedEvent> {
        let count = count.min(self.events.len());
        let taken = self.events.drain(..count).map(|event| preparation.ask_again(event)).collect();
        self.tried = 0;
        self.recount();
        taken
    }

    /// Asks the handler once more about one of the events that it has refused; whether it takes it, if there is one.
    pub(super) fn probe(&mut self, refused: Refused<'_>, preparation: &Preparation) -> Option<bool> {
        let is_refused = |event: &PreparedEvent| {
            refused.is_one_of(&event.handlers) && event.event.refusal_of(refused.handler).is_some()
        };
        let place = (self.tried..self.events.len())
            .chain(0..self.tried)
            .find(|place| self.events.get(*place).is_some_and(is_refused))?;
        self.tried = place.saturating_add(1);
        let again = preparation.ask_again(self.events.remove(place)?);
        let is_taken = again.event.refusal_of(refused.handler).is_none();
        self.events.insert(place, again);
        Some(is_taken)
    }

    /// Whether an event is held back that the handler has refused.
    pub(super) fn has(&self, refused: Refused<'_>) -> bool {
        let is_refused = |event: &PreparedEvent| {
            refused.is_one_of(&event.handlers) && event.event.refusal_of(refused.handler).is_some()
        };
        self.events.iter().any(is_refused)
    }

    /// Forgets events, such as those of a partition that somebody else reads now.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        self.events.retain(|event| keep(&event.event));
        self.tried = 0;
        self.recount();
    }

    fn recount(&mut self) {
        self.bytes = self.events.iter().map(|event| event.event.record_bytes()).sum();
    }
}
