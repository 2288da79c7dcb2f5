//! From records to effects: parsing and handlers. Pure, so that it is tested and measured without servers.

use std::collections::HashSet;
use std::sync::Arc;

use super::handler::{Handler, HandlerRegistry};
use super::in_flight::{Effect, Failure, HandlerName, InFlight, KeptRecord, Stage};
use super::order::{Placed, placed};
use super::{Event, UnknownEvents};
use crate::envelope::POSITION_HEADER;
use crate::envelope::decode::{EnvelopeOp, decode};
use crate::error::{Error, Result};
use crate::kafka::chunk::{Chunk, Record};
use crate::kafka::headers::DEAD_LETTER_OF;
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::{Claim, EventOrder, Position, WriteModel};

/// What is processed and what is passed over.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) registry: HandlerRegistry,
    pub(crate) operations: HashSet<EnvelopeOp>,
    pub(crate) unknown_events: UnknownEvents,
}

/// A batch of records, sorted by what is to happen to them.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Events with effects, in order.
    pub(crate) events: Vec<PreparedEvent>,
    /// Records with nothing to do.
    pub(crate) skipped: Vec<Arc<InFlight>>,
    /// Events whose handlers want nothing done.
    pub(crate) without_effect: Vec<Arc<InFlight>>,
    /// Records that can only be set aside.
    pub(crate) failed: Vec<Arc<InFlight>>,
    pub(crate) records: usize,
}

/// An event and what its handlers want.
#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub(crate) event: InFlight,
    pub(crate) claim: Claim,
    /// The cluster it comes from, if its record names one.
    pub(crate) system: Option<u64>,
    pub(crate) parts: Vec<(HandlerName, Vec<WriteModel>)>,
}

impl PreparedEvent {
    /// Leaves the event to some of its handlers; what the others want, or refuse, is another record's.
    pub(crate) fn retain_handlers(&mut self, is_ours: impl Fn(&str) -> bool) {
        self.parts.retain(|(handler, _)| is_ours(handler.0.name()));
        self.event.retain_failures(is_ours);
    }

    /// The effects, each on its own way from here; `created_term` knows the documents that were created early.
    pub(crate) fn into_effects(self, created_term: impl Fn(&WriteModel) -> Option<i64>, effects: &mut Vec<Effect>) {
        let count = self.parts.iter().map(|(_, models)| models.len()).sum();
        self.event.set_open(count);
        let event = Arc::new(self.event);
        for (handler, models) in self.parts {
            effects.extend(models.into_iter().map(|model| Effect {
                event: Arc::clone(&event),
                handler: handler.clone(),
                created_term: created_term(&model),
                model,
                attempts: 0,
            }));
        }
    }
}

enum Parsed {
    Event(Box<Told>),
    Skip(&'static str),
}

/// An event and how its record tells of it.
struct Told {
    event: Event,
    op: EnvelopeOp,
    placed: Option<Placed>,
}

impl Preparation {
    /// Parses the records of `chunks` and asks the handlers.
    pub(crate) fn prepare(&self, chunks: Vec<Chunk>, tracker: &mut OffsetTracker) -> Prepared {
        let mut prepared = Prepared::default();
        for chunk in chunks {
            let chunk = Arc::new(chunk);
            for (index, record) in chunk.records().enumerate() {
                let Some(assignment) = tracker.received(record.partition(), record.offset()) else { continue };
                let is_replay = record.headers().any(|(name, _)| name == DEAD_LETTER_OF);
                let position = Position { offset: record.offset(), order: EventOrder::Sequence(0), is_replay };
                let kept = KeptRecord { chunk: Arc::clone(&chunk), index };
                let event = InFlight::new(record.partition(), assignment, position, kept);
                self.prepare_record(&record, event, &mut prepared);
                prepared.records = prepared.records.saturating_add(1);
            }
        }
        prepared
    }

    fn prepare_record(&self, record: &Record<'_>, mut flight: InFlight, prepared: &mut Prepared) {
        let Told { event, op, placed } = match self.parse(record) {
            Ok(Parsed::Event(told)) => *told,
            Ok(Parsed::Skip(reason)) => {
                tracing::debug!(
                    event = "message_skipped",
                    partition = record.partition(),
                    offset = record.offset(),
                    reason
                );
                prepared.skipped.push(Arc::new(flight));
                return;
            }
            Err(error) => {
                flight.fail(Failure { handler: None, stage: Stage::Parse, attempts: 1, error });
                prepared.failed.push(Arc::new(flight));
                return;
            }
        };
        tracing::debug!(event = "processing_event", event_id = %event.event_id, event_type = event.event_type, offset = record.offset());
        let handlers = self.registry.handlers(&event.event_type);
        if handlers.is_empty() {
            tracing::debug!(event = "no_handlers_found", event_type = event.event_type, event_id = %event.event_id);
            if self.unknown_events == UnknownEvents::Skip {
                prepared.skipped.push(Arc::new(flight));
                return;
            }
            let known = self.registry.event_types().join(", ");
            let error = Error::data(format!("no handler serves the event's type; there are handlers for {known}"));
            flight.fail(Failure { handler: None, stage: Stage::Handle, attempts: 1, error });
            prepared.failed.push(Arc::new(flight));
            return;
        }
        flight.source_ts_us = event.source_ts_us;
        // An update of the row, or a snapshot of it, tells of the event once more, long after it had its turn.
        let is_told_again = op != EnvelopeOp::Create;
        let happened_us = event.created_at.timestamp_millis().saturating_mul(1_000);
        let time_us = if is_told_again { Some(happened_us) } else { event.source_ts_us };
        let system = placed.and_then(|placed| placed.system);
        flight.position.is_replay |= is_told_again;
        flight.position.order = match placed.filter(|_| !is_told_again) {
            Some(placed) => placed.order,
            None => EventOrder::Sequence(event.sequence_id.or(time_us).unwrap_or(0)),
        };
        let (parts, failed) = run_handlers(handlers, &event, &flight);
        if parts.is_empty() {
            let list = if failed { &mut prepared.failed } else { &mut prepared.without_effect };
            list.push(Arc::new(flight));
            return;
        }
        let claim = Claim { event_id: event.event_id, partition: record.partition(), offset: record.offset() };
        flight.claim = Some(claim);
        prepared.events.push(PreparedEvent { event: flight, claim, system, parts });
    }

    fn parse(&self, record: &Record<'_>) -> Result<Parsed> {
        let Some(value) = record.value() else { return Ok(Parsed::Skip("tombstone")) };
        let envelope = decode(value)?;
        if !self.operations.contains(&envelope.op) {
            return Ok(Parsed::Skip("operation"));
        }
        let row = envelope.after.ok_or_else(|| Error::data("the envelope has no `after`"))?;
        let event = Event::from_row(&row, envelope.source_ts_us)?;
        let header = record.headers().find(|(name, _)| *name == POSITION_HEADER).and_then(|(_, value)| value);
        let placed = placed(header, &envelope.source, event.sequence_id.unwrap_or(0));
        Ok(Parsed::Event(Box::new(Told { event, op: envelope.op, placed })))
    }
}

/// Asks each handler; one that fails does not keep the others from being asked.
fn run_handlers(
    handlers: &[Arc<dyn Handler>],
    event: &Event,
    flight: &InFlight,
) -> (Vec<(HandlerName, Vec<WriteModel>)>, bool) {
    let mut parts = Vec::with_capacity(handlers.len());
    let mut failed = false;
    for handler in handlers {
        let models = handler.validate(event).and_then(|()| handler.handle(event)).and_then(|models| {
            models.iter().try_for_each(WriteModel::check)?;
            Ok(models)
        });
        match models {
            Ok(models) if models.is_empty() => {}
            Ok(models) => parts.push((HandlerName(Arc::clone(handler)), models)),
            Err(error) => {
                failed = true;
                let handler = Some(handler.name().to_owned());
                flight.fail(Failure { handler, stage: Stage::Handle, attempts: 1, error });
            }
        }
    }
    (parts, failed)
}
