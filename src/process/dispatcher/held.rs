//! What is held back because it is refused one event after the other, and what of it is tried now and then.

use std::time::Instant;

use super::Dispatcher;
use crate::error::Result;
use crate::process::breaker::Refused;
use crate::process::create::EarlyCreates;
use crate::process::in_flight::Effect;
use crate::process::prepare::Prepared;
use crate::process::waiting::{DocumentKey, Held};
use crate::process::withheld;
use crate::shutdown::Until;

impl Dispatcher {
    /// When something that waits is to be tried.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next_document_due().into_iter().chain(self.breaker.next_try()).min()
    }

    /// When a document is to be tried that is not held back.
    pub(super) fn next_document_due(&self) -> Option<Instant> {
        let holds = |effect: &Effect| self.breaker.holds(effect);
        let held: Held<'_> = if self.breaker.is_holding() { Some(&holds) } else { None };
        self.waiting.next_due(held)
    }

    /// Asks handlers that refuse their events once more, and gives the documents to be tried of those that are held back.
    pub(super) fn probe(&mut self, now: Instant) -> Vec<DocumentKey> {
        let mut documents = Vec::new();
        if self.breaker.next_try().is_none_or(|next| now < next) {
            return documents;
        }
        let (waiting, withheld, preparation) = (&self.waiting, &mut self.withheld, &self.parts.preparation);
        let mut healed = Vec::new();
        self.breaker.try_due(now, |refused| match refused.collection {
            Some(_) => {
                let probe = waiting.probe(|effect| Refused::of(effect) == refused);
                documents.extend(probe.clone());
                probe.is_some()
            }
            None => {
                let taken = withheld.probe(refused, preparation);
                if taken == Some(true) {
                    healed.push((refused.event_type.to_owned(), refused.handler.to_owned()));
                }
                taken.is_some()
            }
        });
        for (event_type, handler) in &healed {
            self.breaker.succeeded(Refused { event_type, handler, collection: None });
        }
        documents
    }

    /// Holds back the events of a batch from a handler's refusals in a row on.
    pub(super) fn withhold(&mut self, prepared: &mut Prepared) {
        let from = withheld::judge(&mut self.breaker, &prepared.events, Instant::now());
        // What comes behind events that are held back, or were until now, is applied behind them.
        let from = if self.withheld.is_empty() { from } else { Some(0) };
        if let Some(from) = from {
            self.withheld.extend(prepared.events.split_off(from.min(prepared.events.len())));
        }
    }

    /// Claims what was held back, if it may go on; whether it did.
    pub(super) fn release_withheld(&mut self) -> bool {
        if self.withheld.is_empty() || self.breaker.holds_events() {
            return false;
        }
        let events = self.withheld.take(self.parts.process.batch_records_max, &self.parts.preparation);
        self.claim(Prepared { records: events.len(), events, ..Prepared::default() }, EarlyCreates::default());
        true
    }

    /// Forgets refusals of which nothing is held back any more.
    pub(super) fn forget_refusals(&mut self) {
        let (waiting, withheld) = (&self.waiting, &self.withheld);
        self.breaker.retain(|refused| match refused.collection {
            Some(_) => waiting.probe(|effect| Refused::of(effect) == refused).is_some(),
            None => withheld.has(refused),
        });
    }

    /// A run that is to end at the topic's end does not wait for what was tried often enough in vain.
    pub(super) fn check_hopeless(&self) -> Result<()> {
        if self.parts.until != Until::CaughtUp || !self.writes.is_empty() {
            return Ok(());
        }
        self.breaker.exhausted(self.parts.process.retries_max).map_or(Ok(()), Err)
    }
}
