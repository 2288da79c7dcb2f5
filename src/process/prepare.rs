//! From records to effects: parsing and handlers. Pure, so that it is tested and measured without servers.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::context::EventContext;
use super::handler::{AfterFailure, Handler, HandlerRegistry};
use super::in_flight::{Effect, Failure, HandlerName, InFlight, KeptRecord, Stage};
use super::parking::parked_behind;
use super::told::{self, Told, ToldEvent};
use super::write_paths::{Wanted, WritePaths};
use super::{Event, ProcessOptions, UnknownEvents};
use crate::envelope::decode::OutboxColumns;
use crate::error::{Error, Result};
use crate::kafka::chunk::{Chunk, Record};
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::{Claim, Collection, EVERY_HANDLER, EventOrder, FailedAt, Generations, Position, Share, WriteModel};
use crate::row::Operation;

/// What is processed and what is passed over.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) registry: HandlerRegistry,
    pub(crate) generations: Generations,
    pub(crate) operations: HashSet<Operation>,
    pub(crate) unknown_events: UnknownEvents,
    pub(crate) topic: Arc<str>,
    pub(crate) columns: Arc<OutboxColumns>,
    /// What handlers have written so far.
    pub(super) paths: Mutex<WritePaths>,
}

/// A batch of records, sorted by what is to happen to them.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Events, in order.
    pub(crate) events: Vec<PreparedEvent>,
    /// Records with nothing to do.
    pub(crate) skipped: Vec<Arc<InFlight>>,
    /// Records that tell of no event and can only be set aside.
    pub(crate) failed: Vec<Arc<InFlight>>,
    pub(crate) records: usize,
    /// Two handlers that must not be registered together.
    pub(crate) conflict: Option<Error>,
}

/// An event and what its handlers want.
pub(crate) struct PreparedEvent {
    pub(crate) event: InFlight,
    pub(crate) claim: Claim,
    /// The cluster it comes from, if its record names one.
    pub(crate) system: Option<u64>,
    pub(crate) parts: Vec<(HandlerName, Vec<WriteModel>)>,
    /// The handlers that were asked.
    pub(super) handlers: Arc<Vec<Arc<dyn Handler>>>,
}

impl std::fmt::Debug for PreparedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedEvent").field("event", &self.event).field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl PreparedEvent {
    /// Leaves to others what they do of the event; what handlers of theirs want, or refuse, is another record's.
    pub(crate) fn take(&mut self, share: Share) {
        self.parts.retain(|(handler, _)| share.has(handler.0.name()));
        self.event.retain_failures(|handler| share.has(handler));
        self.miss_handlers(&share);
        // It comes behind the place that the event had by its first record.
        self.event.position.is_replay |= !share.taken_over.is_empty();
        if let Some(order @ EventOrder::Commit(_)) = share.order {
            self.event.position.order = order;
        }
        self.event.is_part = !share.is_whole();
        self.event.taken_over = share.taken_over;
    }

    /// A dead letter of a handler that was renamed or removed since has nobody to take it, and stays one.
    fn miss_handlers(&self, share: &Share) {
        // None was asked, which is a failure by itself.
        if self.handlers.is_empty() {
            return;
        }
        let is_there = |name: &str| name == EVERY_HANDLER || self.handlers.iter().any(|handler| handler.name() == name);
        for name in share.taken_over.iter().filter(|name| share.has(name) && !is_there(name)) {
            let error = Error::data(format!(
                "no handler named `{name}` serves the event any more; register one of that name, or leave the dead letter"
            ));
            self.event.fail(Failure { handler: Some(name.clone()), ..Failure::of_all(Stage::Handle, error) });
        }
    }

    /// The handlers of a collection that refuse it.
    pub(crate) fn refused_for(&self, collection: &Collection) -> Vec<String> {
        if !self.event.has_failures() {
            return Vec::new();
        }
        let writes = |handler: &&Arc<dyn Handler>| handler.collections().iter().any(|spec| spec.is_of(collection));
        let names = self.handlers.iter().filter(writes).map(|handler| handler.name());
        names.filter(|name| self.event.refusal_of(name).is_some()).map(str::to_owned).collect()
    }

    /// It stands behind a dead letter of its aggregate, so that handlers which park do not apply it.
    pub(crate) fn park_behind(&mut self, failed: FailedAt) {
        self.parts.retain(|(handler, _)| {
            if handler.parks() {
                self.event.fail(parked_behind(handler.0.name(), failed));
            }
            !handler.parks()
        });
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
                was_held: false,
                missing_since: None,
            }));
        }
    }
}

impl Preparation {
    /// Of the one topic of `options`.
    pub(crate) fn new(options: &ProcessOptions, registry: HandlerRegistry, generations: Generations) -> Self {
        Self {
            registry,
            generations,
            operations: options.operations.clone(),
            unknown_events: options.unknown_events,
            topic: options.kafka.topic.as_str().into(),
            columns: Arc::new(options.columns.clone()),
            paths: Mutex::default(),
        }
    }

    /// Asks other handlers from now on.
    pub(super) fn replace(&mut self, registry: HandlerRegistry, generations: Generations) {
        tracing::info!(event = "handlers_replaced", handlers = registry.len(), event_types = ?registry.event_types());
        (self.registry, self.generations) = (registry, generations);
        // Those before them may have written fields in other ways.
        *self.paths.get_mut() = WritePaths::default();
    }

    /// Parses the records of `chunks` and asks the handlers.
    pub(crate) fn prepare(&self, chunks: Vec<Chunk>, tracker: &mut OffsetTracker) -> Prepared {
        let mut prepared = Prepared::default();
        for chunk in chunks {
            let chunk = Arc::new(chunk);
            for (index, record) in chunk.records().enumerate() {
                let Some(assignment) = tracker.received(record.partition(), record.offset()) else { continue };
                // Until it is known what the record tells.
                let position = Position { offset: record.offset(), order: EventOrder::Sequence(0), is_replay: false };
                let kept = KeptRecord { chunk: Arc::clone(&chunk), index, columns: Arc::clone(&self.columns) };
                let event = InFlight::new(record.partition(), assignment, position, kept);
                self.prepare_record(&record, event, &mut prepared);
                prepared.records = prepared.records.saturating_add(1);
            }
        }
        prepared
    }

    /// Asks the handlers of an event once more.
    pub(super) fn ask_again(&self, asked: PreparedEvent) -> PreparedEvent {
        let (kept, mut prepared) = (asked.event.record(), Prepared::default());
        let InFlight { partition, assignment, position, .. } = asked.event;
        let flight = InFlight::new(partition, assignment, position, kept.clone());
        if let Some(record) = kept.chunk.record(kept.index) {
            self.prepare_record(&record, flight, &mut prepared);
        }
        prepared.events.pop().unwrap_or(asked)
    }

    fn prepare_record(&self, record: &Record<'_>, mut flight: InFlight, prepared: &mut Prepared) {
        let (partition, offset) = (record.partition(), record.offset());
        let told = match told::read(record, &self.operations, &self.columns) {
            Told::Event(told) => *told,
            Told::Nothing(reason) => {
                tracing::debug!(event = "message_skipped", partition, offset, reason);
                prepared.skipped.push(Arc::new(flight));
                return;
            }
            Told::Unreadable(error) => {
                flight.fail(Failure::of_all(Stage::Parse, error));
                prepared.failed.push(Arc::new(flight));
                return;
            }
        };
        let ToldEvent { event_id, order, is_replay, takes_over, system, .. } = told;
        if self.unknown_events == UnknownEvents::Skip
            && told.event_type.as_ref().is_some_and(|kind| self.registry.handlers(kind).is_empty())
        {
            tracing::debug!(event = "no_handlers_found", event_type = told.event_type, %event_id);
            prepared.skipped.push(Arc::new(flight));
            return;
        }
        let claim = Claim { event_id, partition, offset, takes_over };
        flight.claim = Some(claim);
        flight.source_ts_us = told.source_ts_us;
        flight.position = Position { offset, order, is_replay };
        let mut handlers = Arc::default();
        // Also of an event that fails: whether it gets a dead letter depends on what is known of it.
        let parts = match told.event {
            Ok(mut event) => {
                let KeptRecord { chunk, index, .. } = flight.record();
                event.context = EventContext::new(Arc::clone(&self.topic), told.operation, chunk, index);
                handlers = self.registry.serving(&event.event_type);
                flight.ordered_aggregate = handlers.iter().any(parks).then(|| Arc::from(event.aggregate_id.as_str()));
                let parts = self.ask_handlers(&event, &flight);
                let wanted: Vec<Wanted<'_>> =
                    parts.iter().map(|(handler, models)| (handler.0.name(), models.as_slice())).collect();
                if let Err(conflict) = self.paths.lock().check(&event.event_type, &wanted) {
                    prepared.conflict.get_or_insert(conflict);
                }
                parts
            }
            Err(error) => {
                let parks = told.event_type.is_some_and(|kind| self.registry.handlers(&kind).iter().any(parks));
                flight.ordered_aggregate = told.aggregate_id.filter(|_| parks).map(Arc::from);
                flight.fail(Failure { parks, ..Failure::of_all(Stage::Parse, error) });
                Vec::new()
            }
        };
        prepared.events.push(PreparedEvent { event: flight, claim, system, parts, handlers });
    }

    fn ask_handlers(&self, event: &Event, flight: &InFlight) -> Vec<(HandlerName, Vec<WriteModel>)> {
        tracing::debug!(event = "processing_event", event_id = %event.event_id, event_type = event.event_type, offset = flight.position.offset);
        let handlers = self.registry.handlers(&event.event_type);
        if handlers.is_empty() {
            tracing::debug!(event = "no_handlers_found", event_type = event.event_type, event_id = %event.event_id);
            let known = self.registry.event_types().join(", ");
            let error = Error::data(format!("no handler serves the event's type; there are handlers for {known}"));
            flight.fail(Failure::of_all(Stage::Handle, error));
        }
        run_handlers(handlers, &self.generations, event, flight)
    }
}

/// What a handler wants. Its panic is a refusal of this event; unwinding further would end the process, and the next one
/// that is given the partition.
pub(super) fn asked(handler: &dyn Handler, event: &Event) -> Result<Vec<WriteModel>> {
    let ask = || {
        handler.validate(event)?;
        let models = handler.handle(event)?;
        models.iter().try_for_each(WriteModel::check)?;
        Ok(models)
    };
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::data(format!("the handler panicked: {}", said.unwrap_or("without a message"))))
    })
}

fn parks(handler: &Arc<dyn Handler>) -> bool {
    handler.after_failure() == AfterFailure::Park
}

/// Asks each handler; one that fails does not keep the others from being asked.
fn run_handlers(
    handlers: &[Arc<dyn Handler>],
    generations: &Generations,
    event: &Event,
    flight: &InFlight,
) -> Vec<(HandlerName, Vec<WriteModel>)> {
    let mut parts = Vec::with_capacity(handlers.len());
    for handler in handlers {
        let generation = generations.of(&event.event_type, handler.name());
        match asked(handler.as_ref(), event) {
            Ok(models) if models.is_empty() => {}
            Ok(models) => parts.push((HandlerName(Arc::clone(handler), generation), models)),
            Err(error) => {
                let (parks, handler) = (parks(handler), Some(handler.name().to_owned()));
                flight.fail(Failure { handler, parks, ..Failure::of_all(Stage::Handle, error) });
            }
        }
    }
    parts
}
