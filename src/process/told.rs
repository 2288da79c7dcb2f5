//! What a record tells: of which event, in which way, and whether all of it is there.
//!
//! Ids are read first. An update of a large row comes without its payload, and must still be known for a repetition.

use std::collections::HashSet;

use sha2::Digest as _;
use uuid::Uuid;

use super::Event;
use super::in_flight::{InFlight, KeptRecord};
use super::order::placed;
use crate::dead_letters::DEAD_LETTER_OF;
use crate::envelope::POSITION_HEADER;
use crate::envelope::decode::{Column, DecodedEnvelope, OutboxColumns, OutboxRow, decode_row};
use crate::error::{Error, Result};
use crate::kafka::chunk::Record;
use crate::mongo::{Digest, EventOrder, TakesOver};
use crate::row::Operation;

/// What a record tells.
pub(super) enum Told {
    /// Nothing that is to be processed.
    Nothing(&'static str),
    /// Of no event that could be named.
    Unreadable(Error),
    /// Of an event.
    Event(Box<ToldEvent>),
}

/// An event as its record tells of it.
pub(super) struct ToldEvent {
    pub(super) event_id: Uuid,
    /// Known also of events that cannot be read otherwise.
    pub(super) event_type: Option<String>,
    pub(super) event: Result<Event>,
    /// Of an event that cannot be read otherwise.
    pub(super) aggregate_id: Option<String>,
    pub(super) order: EventOrder,
    /// The cluster that the order is of, if the record names one.
    pub(super) system: Option<u64>,
    /// It tells of the event once more, behind the event's place.
    pub(super) is_replay: bool,
    pub(super) takes_over: TakesOver,
    pub(super) source_ts_us: Option<i64>,
    pub(super) operation: Operation,
}

/// Reads a record.
pub(super) fn read(record: &Record<'_>, operations: &HashSet<Operation>, columns: &OutboxColumns) -> Told {
    let Some(value) = record.value() else { return Told::Nothing("tombstone") };
    let envelope = match decode_row(value, columns) {
        Ok(envelope) if operations.contains(&envelope.op) => envelope,
        Ok(_) => return Told::Nothing("operation"),
        Err(error) => return Told::Unreadable(error),
    };
    match read_row(record, &envelope) {
        Ok(told) => Told::Event(Box::new(told)),
        Err(error) => Told::Unreadable(error),
    }
}

fn read_row(record: &Record<'_>, envelope: &DecodedEnvelope<'_>) -> Result<ToldEvent> {
    let row = envelope.after.as_ref().ok_or_else(|| Error::data("the envelope has no `after`"))?;
    let event_id = Event::id_of(row)?;
    let is_published_again = record.headers().any(|(name, _)| name == DEAD_LETTER_OF);
    // An update of the row, or a snapshot of it, tells of the event once more, long after it had its turn.
    let is_told_again = envelope.op != Operation::Create;
    let event = Event::from_row(row, envelope.source_ts_us);
    let sequence = row.sequence_id().unwrap_or_default();
    let header = record.headers().find(|(name, _)| *name == POSITION_HEADER).and_then(|(_, value)| value);
    let placed = placed(header, &envelope.source, sequence.unwrap_or(0)).filter(|_| !is_told_again);
    let happened_us = event.as_ref().ok().map(|event| event.created_at.timestamp_millis().saturating_mul(1_000));
    let time_us = if is_told_again { happened_us } else { envelope.source_ts_us };
    // Only what tells of the event again is compared; a digest of each event would cost a tenth of evp's time.
    let takes_over = match is_told_again && !is_published_again {
        true => digest(row).map_or(TakesOver::Never, TakesOver::IfChanged),
        false => TakesOver::Always,
    };
    let unplaced = || EventOrder::Sequence(sequence.or(time_us).unwrap_or(0));
    Ok(ToldEvent {
        event_id,
        event_type: row.text(Column::EventType).unwrap_or_default().map(std::borrow::Cow::into_owned),
        aggregate_id: event.is_err().then(|| Event::aggregate_id_of(row).ok()).flatten(),
        event,
        order: placed.map_or_else(unplaced, |placed| placed.order),
        system: placed.and_then(|placed| placed.system),
        is_replay: is_told_again || is_published_again,
        takes_over,
        source_ts_us: envelope.source_ts_us,
        operation: envelope.op,
    })
}

/// What is remembered of an event that became a dead letter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) digest: Option<Digest>,
    pub(super) aggregate_id: Option<String>,
}

impl Facts {
    /// Reads the record of an event once more.
    pub(super) fn of(event: &InFlight) -> Self {
        let kept = event.record();
        let record = kept.chunk.record(kept.index);
        let envelope = record.and_then(|record| decode_row(record.value()?, &kept.columns).ok());
        let Some(row) = envelope.and_then(|envelope| envelope.after) else { return Self::default() };
        Self { digest: digest(&row), aggregate_id: Event::aggregate_id_of(&row).ok() }
    }
}

/// Whether two records tell the same of one event; one that comes without the payload adds nothing to the other.
pub(super) fn is_same(owner: &InFlight, repetition: &InFlight, takes_over: TakesOver) -> bool {
    match takes_over {
        TakesOver::Never => true,
        TakesOver::IfChanged(digest) => Facts::of(owner).digest == Some(digest),
        TakesOver::Always => {
            let kept = [owner.record(), repetition.record()];
            let [owner, repetition] = kept.each_ref().map(|kept| kept.chunk.record(kept.index)?.value());
            let [content, other] = kept.each_ref().map(content);
            owner == repetition || content.is_some_and(|content| other == Some(content))
        }
    }
}

fn content(kept: &KeptRecord) -> Option<Digest> {
    let record = kept.chunk.record(kept.index)?;
    digest(&decode_row(record.value()?, &kept.columns).ok()?.after?)
}

/// Tells contents of rows apart, as far as handlers see them; `None` if the payload is not there.
fn digest(row: &OutboxRow<'_>) -> Option<Digest> {
    let mut hash = sha2::Sha256::new();
    for column in row.content()? {
        hash.update(column.as_bytes());
        hash.update([0]);
    }
    hash.finalize().first_chunk().copied()
}
