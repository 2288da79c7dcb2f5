//! From gathered records to claimed events.

use std::sync::Arc;
use std::time::Instant;

use super::Dispatcher;
use crate::error::Result;
use crate::mongo::WriteModel;
use crate::process::claim::{Claimed, claim};
use crate::process::create::EarlyCreates;
use crate::process::pace::Decision;
use crate::process::prepare::Prepared;
use crate::process::tally::End;

/// From so many records on the next batch is claimed while as many writes are on their way as may be.
const CLAIM_AHEAD_RECORDS: usize = 450;

impl Dispatcher {
    /// Starts claiming the next batch, unless too much is waiting already.
    ///
    /// Few records are not claimed while a write is on its way that takes no longer than usual: they would be written hardly
    /// sooner, and until then more of them can share the commands. One that takes long holds them up no further.
    pub(super) fn start_claiming(&mut self) -> Result<()> {
        self.gathers_until = None;
        let has_room = self.makes_room() && self.withheld.has_room();
        let is_worth_it = self.gathered.records() >= CLAIM_AHEAD_RECORDS.min(self.parts.process.batch_records_max)
            || (self.may_write() && self.overlaps_from.is_none_or(|from| from <= Instant::now()));
        let is_busy = self.claiming.is_some() || self.claimed.is_some();
        if let Some(postponed) = self.postponed.take_if(|postponed| !is_busy && !self.open.contains(postponed.until)) {
            self.claim(Prepared { events: postponed.events, ..Prepared::default() }, EarlyCreates::default());
            return Ok(());
        }
        if is_busy || self.postponed.is_some() || self.release_withheld() {
            return Ok(());
        }
        if self.gathered.is_empty() || !has_room || self.parts.swaps.is_stopped() {
            return Ok(());
        }
        if !is_worth_it {
            self.gathers_until = self.overlaps_from.filter(|_| self.may_write());
            return Ok(());
        }
        if self.gathered.records() < self.parts.process.batch_records_max {
            self.gathers_until = self.pace.gathers_until(Instant::now());
            if self.gathers_until.is_some() {
                return Ok(());
            }
        }
        self.pace.taken();
        let chunks = self.gathered.take(self.parts.process.batch_records_max);
        self.parts.source.received(&chunks);
        self.frontier.taken(&chunks);
        let mut prepared = self.parts.preparation.prepare(chunks, &mut self.progress.tracker);
        if let Some(conflict) = prepared.conflict.take() {
            return Err(conflict);
        }
        if self.first_records.judge(&mut prepared, Instant::now())? {
            self.parts.source.found_event();
        }
        self.withhold(&mut prepared);
        #[allow(clippy::cast_precision_loss)]
        metrics::histogram!("evp_process_batch_records").record(prepared.records as f64);
        let is_held = self.waiting.is_holding() || self.breaker.is_holding();
        let is_small = prepared.records < CLAIM_AHEAD_RECORDS && !is_held;
        // Behind a write that is not durable yet, a document could be created that an election then lets come first.
        let waits = |model: &WriteModel| self.waiting.has(model) || self.busy.has(model);
        let creates = match is_small && self.parts.store.tells_terms() {
            true => EarlyCreates::of(&self.parts.store, &prepared.events, waits),
            false => EarlyCreates::default(),
        };
        self.claim(prepared, creates);
        Ok(())
    }

    /// Decides now and then how long records gather.
    pub(super) fn judge_pace(&mut self) {
        if let Some(Decision { gather, is_missed }) = self.pace.judge(Instant::now()) {
            let topic = self.parts.preparation.topic.to_string();
            metrics::gauge!("evp_process_gather_seconds", "topic" => topic.clone()).set(gather.as_secs_f64());
            metrics::gauge!("evp_process_target_missed", "topic" => topic).set(f64::from(u8::from(is_missed)));
        }
    }

    pub(super) fn claim(&mut self, prepared: Prepared, creates: EarlyCreates) {
        let (claims, store) = (Arc::clone(&self.parts.claims), Arc::clone(&self.parts.store));
        let letters = self.parking.next_batch();
        self.claiming = Some(tokio::spawn(claim(claims, store, Arc::clone(&self.open), prepared, creates, letters)));
    }

    pub(super) fn claims_answered(&mut self, mut claimed: Claimed) {
        claimed.effects.retain(|effect| self.progress.is_current(&effect.event));
        claimed.failed.retain(|event| self.progress.is_current(event));
        for event in &claimed.skipped {
            self.end(event, End::Skipped);
        }
        for event in &claimed.duplicates {
            self.end(event, End::Duplicate);
        }
        for event in &claimed.without_effect {
            self.end(event, End::Applied);
        }
        self.parking.batch_claimed();
        self.parking.taken_over(&claimed.taken_over);
        claimed
            .refused
            .iter()
            .filter(|event| self.progress.is_current(event))
            .for_each(|event| self.parking.failed(event));
        self.claimed = Some(claimed.effects);
        self.postponed = claimed.postponed;
        self.keep_current_postponed();
        self.give_up(claimed.failed);
    }

    /// Leaves out what somebody else reads now.
    pub(super) fn keep_current_postponed(&mut self) {
        if let Some(postponed) = &mut self.postponed {
            postponed.events.retain(|event| self.progress.is_current(&event.event));
        }
        self.postponed.take_if(|postponed| postponed.events.is_empty());
    }
}
