//! `evp process --plan`: what the events of the topic would do in MongoDB, without doing it.
//!
//! The topic is read from its beginning to its end as it is at start, beside the group and without MongoDB. What depends on
//! the documents that are there is not known: whether an event was applied before, and whether its document exists.

use std::collections::HashSet;
use std::io::{BufWriter, Stdout, Write as _};
use std::sync::Arc;

use bson::{Bson, Document};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::context::EventContext;
use super::handler::HandlerRegistry;
use super::prepare::asked;
use super::told::{self, Told, ToldEvent};
use super::{OutboxColumns, ProcessOptions, UnknownEvents};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::chunk::Chunk;
use crate::kafka::look::blocking;
use crate::kafka::whole::{Reach, read_to_end};
use crate::mongo::{PartitionPaths, Position, commands_of_event};
use crate::row::Operation;
use crate::terminal;

/// What the records of the topics would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// Events that handlers take.
    pub events: u64,
    /// Commands to MongoDB for them, each event alone.
    pub commands: u64,
    /// Records that would be passed over.
    pub skipped: u64,
    /// Events, or records that are none, that would be dead letters.
    pub dead_letters: u64,
}

/// Prints a line or an object for each record, and at the end what they come to.
pub async fn plan(
    options: &ProcessOptions,
    registry: HandlerRegistry,
    is_json: bool,
    token: &CancellationToken,
) -> Result<PlanSummary> {
    let mut summary = PlanSummary::default();
    for topic in options.kafka.topics() {
        let planner = Planner {
            registry: registry.clone(),
            operations: options.operations.clone(),
            columns: options.columns.clone(),
            unknown_events: options.unknown_events,
            topic: Arc::from(topic),
            is_json,
            out: BufWriter::new(std::io::stdout()),
            reader_left: token.child_token(),
        };
        let config = options.kafka.of_topic(topic);
        summary = blocking("reading the topic", move || planner.read(&config, summary)).await?;
    }
    if !is_json {
        let PlanSummary { events, commands, skipped, dead_letters } = summary;
        terminal::print(format_args!(
            "{events} events, {commands} commands to MongoDB; {skipped} records would be skipped, {dead_letters} would be \
             dead letters"
        ));
    }
    Ok(summary)
}

struct Planner {
    registry: HandlerRegistry,
    operations: HashSet<Operation>,
    columns: OutboxColumns,
    unknown_events: UnknownEvents,
    topic: Arc<str>,
    is_json: bool,
    out: BufWriter<Stdout>,
    /// Nobody reads stdout any more, or a signal has come.
    reader_left: CancellationToken,
}

/// What one record would do.
struct PlannedRecord {
    /// Event, type and aggregate, as far as they are known.
    told: Value,
    /// By handler: its commands, or why it refuses.
    handlers: Vec<(String, Result<Vec<Document>>)>,
    outcome: Outcome,
}

enum Outcome {
    Applied,
    Skipped(String),
    DeadLetter(String),
}

impl Planner {
    /// Reads the topic to its end, or until nobody wants more of it.
    fn read(mut self, config: &KafkaConfig, mut summary: PlanSummary) -> Result<PlanSummary> {
        let stop = self.reader_left.clone();
        let mut is_unread = false;
        let outcome = read_to_end(config, &config.topic, &stop, |record| {
            let mut chunk = Chunk::default();
            chunk.push(record);
            if self.tell(Arc::new(chunk), &mut summary).is_err() {
                is_unread = true;
                stop.cancel();
            }
            Ok(())
        });
        // A reader that went away has no use for the rest.
        let is_unread = self.out.flush().is_err() || is_unread;
        match outcome {
            Err(_) if is_unread => Ok(summary),
            Ok(Reach::Nothing) => {
                let message = format!("topic {} (KAFKA_TOPIC) does not exist: run `evp init`", config.topic);
                Err(Error::new(ErrorKind::Missing, message))
            }
            Ok(Reach::Shortened | Reach::Whole) => Ok(summary),
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self, chunk: Arc<Chunk>, summary: &mut PlanSummary) -> std::io::Result<()> {
        let Some(record) = chunk.record(0) else { return Ok(()) };
        let (partition, offset) = (record.partition(), record.offset());
        let planned = match told::read(&record, &self.operations, &self.columns) {
            Told::Nothing(reason) => planned(Outcome::Skipped(reason.to_owned())),
            Told::Unreadable(error) => planned(Outcome::DeadLetter(error.message().to_owned())),
            Told::Event(told) => self.event(*told, Arc::clone(&chunk), partition, offset),
        };
        let commands: usize = planned.handlers.iter().filter_map(|(_, done)| Some(done.as_ref().ok()?.len())).sum();
        summary.commands = summary.commands.saturating_add(u64::try_from(commands).unwrap_or(u64::MAX));
        let count = match planned.outcome {
            Outcome::Applied => &mut summary.events,
            Outcome::Skipped(_) => &mut summary.skipped,
            Outcome::DeadLetter(_) => &mut summary.dead_letters,
        };
        *count = count.saturating_add(1);
        let place = (&*self.topic, partition, offset);
        let text = if self.is_json { planned.json(place) } else { planned.text(place) };
        self.out.write_all(text.as_bytes())
    }

    fn event(&self, told: ToldEvent, chunk: Arc<Chunk>, partition: i32, offset: i64) -> PlannedRecord {
        let named = json!({
            "event_id": told.event_id, "event_type": told.event_type,
            "aggregate_id": told.event.as_ref().map_or(told.aggregate_id.as_ref(), |event| Some(&event.aggregate_id)),
        });
        let mut event = match told.event {
            Ok(event) => event,
            Err(error) => {
                return PlannedRecord { told: named, ..planned(Outcome::DeadLetter(error.message().to_owned())) };
            }
        };
        event.context = EventContext::new(Arc::clone(&self.topic), told.operation, chunk, 0);
        let handlers = self.registry.handlers(&event.event_type);
        if handlers.is_empty() {
            let reason = "no handler serves the event's type".to_owned();
            let outcome = match self.unknown_events {
                UnknownEvents::Skip => Outcome::Skipped(reason),
                UnknownEvents::DeadLetter => Outcome::DeadLetter(reason),
            };
            return PlannedRecord { told: named, ..planned(outcome) };
        }
        let position = Position { offset, order: told.order, is_replay: told.is_replay };
        // Which number MongoDB has for the topic is not asked.
        let paths = PartitionPaths::new(0, partition, 0);
        let mut outcome = Outcome::Applied;
        let handlers = handlers.iter().map(|handler| {
            let written = asked(handler.as_ref(), &event).and_then(|models| {
                let commands = commands_of_event(&models, position, &paths)?;
                let document = |command: bson::RawDocumentBuf| Document::try_from(command);
                let unreadable = |error| Error::with_source(ErrorKind::Data, "a command is no document", error);
                commands.into_iter().map(document).collect::<Result<_, _>>().map_err(unreadable)
            });
            if let Err(error) = &written {
                outcome = Outcome::DeadLetter(format!("{}: {}", handler.name(), error.message()));
            }
            (handler.name().to_owned(), written)
        });
        let handlers = handlers.collect();
        PlannedRecord { told: named, handlers, outcome }
    }
}

fn planned(outcome: Outcome) -> PlannedRecord {
    PlannedRecord { told: Value::Null, handlers: Vec::new(), outcome }
}

impl PlannedRecord {
    fn json(&self, (topic, partition, offset): (&str, i32, i64)) -> String {
        let handlers = self.handlers.iter().map(|(name, written)| match written {
            Ok(commands) => {
                let commands: Vec<Value> = commands.iter().map(extended).collect();
                json!({ "handler": name, "commands": commands })
            }
            Err(error) => json!({ "handler": name, "error": error.message() }),
        });
        let (outcome, reason) = match &self.outcome {
            Outcome::Applied => ("applied", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
            Outcome::DeadLetter(reason) => ("dead_letter", Some(reason)),
        };
        let object = json!({
            "topic": topic, "partition": partition, "offset": offset, "event": self.told, "outcome": outcome,
            "reason": reason, "handlers": handlers.collect::<Vec<_>>(),
        });
        format!("{object}\n")
    }

    fn text(&self, (topic, partition, offset): (&str, i32, i64)) -> String {
        let word = |name: &str| self.told.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let mut text = format!("{topic} {partition}:{offset}  {} {}", word("event_type"), word("event_id"));
        match &self.outcome {
            Outcome::Applied => text.push('\n'),
            Outcome::Skipped(reason) => text.push_str(&format!("  skipped: {reason}\n")),
            Outcome::DeadLetter(reason) => text.push_str(&format!("  dead letter: {reason}\n")),
        }
        for (handler, commands) in &self.handlers {
            for command in commands.iter().flatten() {
                text.push_str(&format!("  {handler}: {}\n", extended(command)));
            }
        }
        text
    }
}

/// A command as MongoDB's tools write it.
fn extended(command: &Document) -> Value {
    serde_json::to_value(Bson::Document(command.clone())).unwrap_or_default()
}
