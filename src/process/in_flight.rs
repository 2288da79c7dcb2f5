//! An event on its way from the topic into the read models.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::frontier::MissingSince;
use super::handler::{AfterFailure, Handler};
use crate::envelope::decode::OutboxColumns;
use crate::error::Error;
use crate::kafka::chunk::Chunk;
use crate::kafka::offsets::Assignment;
use crate::mongo::{Claim, FailedAt, Position, WriteModel};

/// A record that is not done with.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) partition: i32,
    pub(crate) assignment: Assignment,
    pub(crate) position: Position,
    /// None where the record is no event, or one that nothing can be applied of.
    pub(crate) claim: Option<Claim>,
    /// The election term in which the claim was written.
    pub(crate) claim_term: Option<i64>,
    /// The handlers whose dead letters of an earlier record it takes over; empty if there were none.
    pub(crate) taken_over: Vec<String>,
    /// Some of its handlers are not this record's to call: they are done, or have failed.
    pub(crate) is_part: bool,
    pub(crate) source_ts_us: Option<i64>,
    /// The aggregate, if a handler that parks serves the event.
    pub(crate) ordered_aggregate: Option<Arc<str>>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    record: KeptRecord,
    /// Effects that are neither applied nor given up.
    open: usize,
    applied: bool,
    failures: Vec<Failure>,
    /// Whether later events of its aggregate follow it into the dead letters.
    parks: bool,
    /// Whether Kafka has refused its dead letters before.
    refused: bool,
}

/// The record as it was read, for a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct KeptRecord {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) index: usize,
    /// How its row is read.
    pub(crate) columns: Arc<OutboxColumns>,
}

/// Why a handler, or all of evp, gave an event up.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The handler, if it came to one.
    pub(crate) handler: Option<String>,
    pub(crate) stage: Stage,
    pub(crate) attempts: u32,
    pub(crate) error: Error,
    /// The document that it waited for in vain, or that takes no more.
    pub(crate) document: Option<Blamed>,
    /// Whether later events of the aggregate follow.
    pub(crate) parks: bool,
}

/// A document on which an event failed. Its dead letter names it; a log does not.
#[derive(Debug)]
pub(crate) struct Blamed {
    pub(crate) id: String,
    pub(crate) is_missing: bool,
    /// The dead letter that may hold its creation.
    pub(crate) creation: Option<FailedAt>,
}

impl std::fmt::Display for Blamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "; its id is {}", self.id)?;
        let Some(FailedAt { event_id, partition, offset }) = self.creation else { return Ok(()) };
        write!(f, "; it waits for event {event_id}, the dead letter of partition {partition}, offset {offset}")
    }
}

impl Failure {
    /// Of the event as a whole, at the first attempt.
    pub(crate) fn of_all(stage: Stage, error: Error) -> Self {
        Self { handler: None, stage, attempts: 1, error, document: None, parks: false }
    }

    /// The reason as a dead letter gives it.
    pub(crate) fn message(&self) -> String {
        let document = self.document.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}{document}", self.error)
    }
}

/// How far an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From bytes to an event.
    Parse,
    /// From an event to write models.
    Handle,
    /// Behind a dead letter of its aggregate.
    Park,
    /// From write models to MongoDB.
    Apply,
}

impl Stage {
    /// Kafka Connect's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parse => "VALUE_CONVERTER",
            Self::Handle => "TRANSFORMATION",
            Self::Park | Self::Apply => "TASK_PUT",
        }
    }
}

/// One effect of one handler on one document.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) event: Arc<InFlight>,
    pub(crate) handler: HandlerName,
    pub(crate) model: WriteModel,
    /// How often it was tried, as far as that counts.
    pub(crate) attempts: u32,
    /// It was refused among many in a row, and held back.
    pub(crate) was_held: bool,
    /// Since when its document has been missing.
    pub(crate) missing_since: Option<Instant>,
    /// The election term in which its document was created, if that was done while its event was claimed.
    pub(crate) created_term: Option<i64>,
}

/// A handler, for its name, and its generation, whose watermarks guard its effects.
#[derive(Clone)]
pub(crate) struct HandlerName(pub(crate) Arc<dyn Handler>, pub(crate) i32);

impl HandlerName {
    /// Whether it keeps the order of an aggregate behind a failure.
    pub(crate) fn parks(&self) -> bool {
        self.0.after_failure() == AfterFailure::Park
    }
}

impl std::fmt::Debug for HandlerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Effect {
    /// What it waits for, if its document was missing.
    pub(super) fn missing_since(&self) -> Option<MissingSince> {
        let KeptRecord { chunk, index, .. } = self.event.record();
        let written_ms = chunk.record(index).and_then(|record| record.timestamp_ms());
        Some(MissingSince { partition: self.event.partition, since: self.missing_since?, written_ms })
    }
}

#[cfg(test)]
impl Effect {
    /// An effect of the event at `offset`, for tests.
    pub(crate) fn of(offset: i64, model: WriteModel) -> Self {
        let handler = HandlerName(Arc::clone(&crate::activity::registry().handlers("UserUpdated")[0]), 0);
        Self {
            event: Arc::new(InFlight::of(offset)),
            handler,
            model,
            attempts: 0,
            was_held: false,
            missing_since: None,
            created_term: None,
        }
    }
}

impl InFlight {
    pub(crate) fn new(partition: i32, assignment: Assignment, position: Position, record: KeptRecord) -> Self {
        Self {
            partition,
            assignment,
            position,
            claim: None,
            claim_term: None,
            taken_over: Vec::new(),
            is_part: false,
            source_ts_us: None,
            ordered_aggregate: None,
            progress: Mutex::new(Progress {
                record,
                open: 0,
                applied: false,
                failures: Vec::new(),
                parks: false,
                refused: false,
            }),
        }
    }

    /// The event at `offset` of partition 0, for tests.
    #[cfg(test)]
    pub(crate) fn of(offset: i64) -> Self {
        let chunk = Arc::new(Chunk::of(&[(0, offset, b"x")]));
        let record = KeptRecord { chunk, index: 0, columns: Arc::default() };
        let position = Position { offset, order: crate::mongo::EventOrder::Sequence(offset), is_replay: false };
        Self::new(0, Assignment::default(), position, record)
    }

    pub(crate) fn set_open(&self, effects: usize) {
        self.progress.lock().open = effects;
    }

    pub(crate) fn fail(&self, failure: Failure) {
        let mut progress = self.progress.lock();
        progress.parks |= failure.parks;
        if !progress.failures.iter().any(|known| known.handler == failure.handler) {
            progress.failures.push(failure);
        }
    }

    /// Notes that an effect is applied; true if it was the last open one.
    pub(crate) fn effect_applied(&self) -> bool {
        let mut progress = self.progress.lock();
        progress.applied = true;
        progress.open = progress.open.saturating_sub(1);
        progress.open == 0
    }

    /// Notes that an effect is given up; true if it was the last open one.
    pub(crate) fn effect_failed(&self, failure: Failure) -> bool {
        self.fail(failure);
        let mut progress = self.progress.lock();
        progress.open = progress.open.saturating_sub(1);
        progress.open == 0
    }

    /// Whether it failed in a handler that parks.
    pub(crate) fn parks(&self) -> bool {
        self.progress.lock().parks
    }

    pub(crate) fn has_failures(&self) -> bool {
        !self.progress.lock().failures.is_empty()
    }

    /// Why a handler has refused it, if it has.
    pub(crate) fn refusal_of(&self, handler: &str) -> Option<String> {
        let progress = self.progress.lock();
        let mut refusals = progress.failures.iter().filter(|failure| failure.stage == Stage::Handle);
        refusals.find(|failure| failure.handler.as_deref() == Some(handler)).map(|failure| failure.error.to_string())
    }

    /// Whether it could not be read as an event.
    pub(crate) fn is_no_event(&self) -> bool {
        self.progress.lock().failures.iter().any(|failure| failure.stage == Stage::Parse)
    }

    /// Forgets the failures of handlers that are not this record's to call.
    pub(crate) fn retain_failures(&self, is_ours: impl Fn(&str) -> bool) {
        let mut progress = self.progress.lock();
        progress.failures.retain(|failure| failure.handler.as_deref().is_none_or(&is_ours));
        progress.parks = progress.failures.iter().any(|failure| failure.parks);
    }

    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.progress.lock().failures)
    }

    /// Whether Kafka has refused its dead letters before.
    pub(crate) fn was_refused(&self) -> bool {
        self.progress.lock().refused
    }

    /// Notes that Kafka has refused its dead letters; true if it did so for the first time.
    pub(crate) fn dead_letter_refused(&self) -> bool {
        !std::mem::replace(&mut self.progress.lock().refused, true)
    }

    pub(crate) fn record(&self) -> KeptRecord {
        self.progress.lock().record.clone()
    }

    /// How many bytes its record keeps in memory, once it is detached.
    pub(crate) fn record_bytes(&self) -> usize {
        self.progress.lock().record.chunk.bytes()
    }

    /// Copies the record out of its chunk, which may be a thousand times larger.
    pub(crate) fn detach_record(&self) {
        let mut progress = self.progress.lock();
        if progress.record.chunk.len() > 1 {
            let alone = progress.record.chunk.only(progress.record.index);
            let columns = Arc::clone(&progress.record.columns);
            progress.record = KeptRecord { chunk: Arc::new(alone), index: 0, columns };
        }
    }
}
