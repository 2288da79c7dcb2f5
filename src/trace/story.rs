//! What is known of an event, put together: where it is, and what that means.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::find::{Found, Row, Touched};
use crate::dead_letters::{Entry, State};
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::mongo::KnownEvent;
use crate::terminal::{bytes, instant};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) event_id: Uuid,
    pub(super) row: Option<Row>,
    pub(super) records: Vec<Found>,
    pub(super) letters: Vec<Entry>,
    pub(super) remembered: Option<KnownEvent>,
    pub(super) documents: Vec<Touched>,
    /// The handlers that serve its type.
    pub(super) handlers: Vec<String>,
    /// Up to where the group has come, by partition.
    committed: BTreeMap<i32, i64>,
    /// What capture has to catch up, if that is known.
    capture: Option<String>,
    /// What could not be looked at.
    notes: Vec<String>,
    failure: Option<Error>,
}

impl Story {
    pub(super) fn of(event_id: Uuid) -> Self {
        Self { event_id, ..Self::default() }
    }

    /// What was seen, or a note of why it was not.
    pub(super) fn seen<T>(&mut self, look: Result<T>) -> Option<T> {
        look.map_err(|error| {
            self.notes.push(error.to_string());
            self.failure.get_or_insert(error);
        })
        .ok()
    }

    pub(super) fn take_facts(&mut self, facts: &Facts) {
        if let Some(kafka) = facts.kafka.seen() {
            self.committed.clone_from(&kafka.committed);
        }
        self.capture = facts.postgres.seen().map(|postgres| match &postgres.slot {
            None => format!("slot {} does not exist: evp doctor", postgres.slot_name),
            Some(slot) if slot.active_pid.is_none() => format!("nobody reads slot {}: evp capture", postgres.slot_name),
            Some(slot) => {
                let lag = bytes(slot.lag_bytes.unwrap_or(0).max(0).unsigned_abs());
                format!("capture has {lag} of log to confirm")
            }
        });
    }

    pub(super) fn aggregate_id(&self) -> Option<String> {
        let row = self.row.as_ref().map(|row| row.aggregate_id.clone());
        row.or_else(|| self.records.iter().find_map(|record| record.aggregate_id.clone()))
            .or_else(|| self.letters.iter().find_map(|entry| entry.letter.aggregate_id().map(str::to_owned)))
    }

    pub(super) fn event_type(&self) -> Option<String> {
        let row = self.row.as_ref().map(|row| row.event_type.clone());
        row.or_else(|| self.records.iter().find_map(|record| record.event_type.clone()))
            .or_else(|| self.letters.iter().find_map(|entry| entry.letter.event_type().map(str::to_owned)))
    }

    /// Why nothing is known of it, if that is for want of a look.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take().filter(|_| !self.is_known())
    }

    pub(super) fn is_known(&self) -> bool {
        self.row.is_some() || !self.records.is_empty() || !self.letters.is_empty() || self.remembered.is_some()
    }

    fn waiting_letter(&self, handler: &str) -> Option<&Entry> {
        let is_of = |entry: &&Entry| entry.letter.cause.handler.as_deref().is_none_or(|name| name == handler);
        self.letters.iter().filter(|entry| entry.state == State::Waiting).find(is_of)
    }

    /// Whether the group has passed the record that applies the event.
    fn is_passed(&self) -> bool {
        let place = self.remembered.as_ref().map(|known| (known.partition, known.offset));
        let place = place.or_else(|| self.records.last().map(|record| (record.partition, record.offset)));
        place.is_some_and(|(partition, offset)| self.committed.get(&partition).is_some_and(|at| *at > offset))
    }

    /// What became of it by one handler.
    fn outcome(&self, handler: &str) -> String {
        let fails = self.remembered.as_ref().is_some_and(|known| known.has_failed(Some(handler)));
        match self.waiting_letter(handler) {
            Some(entry) if fails || self.remembered.is_none() => {
                format!("failed, letter {}: {}", entry.letter.name, entry.letter.cause.message)
            }
            _ if fails => "failed".to_owned(),
            _ if self.remembered.is_some() && self.is_passed() => "applied".to_owned(),
            _ if self.remembered.is_some() => "in the works, or waiting for its document".to_owned(),
            _ if self.is_passed() => "passed; it is not remembered any more, or its operation is skipped".to_owned(),
            _ => "not yet".to_owned(),
        }
    }

    /// Where it is, in a sentence.
    fn verdict(&self) -> String {
        if !self.is_known() && self.failure.is_some() {
            return "nothing is known of it, and not everything could be looked at".to_owned();
        }
        if !self.is_known() {
            return "nothing is known of it: no row, no record, no dead letter".to_owned();
        }
        if let Some(entry) = self.letters.iter().find(|entry| entry.state == State::Waiting) {
            let still_fails = |known: &KnownEvent| known.has_failed(entry.letter.cause.handler.as_deref());
            if self.remembered.as_ref().is_none_or(still_fails) {
                return format!("it waits in the dead letters: evp dlq show {}", entry.letter.name);
            }
        }
        let Some(record) = self.records.last() else {
            return match (&self.row, &self.capture) {
                (Some(_), Some(capture)) => format!("it is not on the topic; {capture}"),
                (Some(_), None) => "it is not on the topic".to_owned(),
                (None, _) => "its row and its records are gone".to_owned(),
            };
        };
        if self.is_passed() {
            return "it is done with".to_owned();
        }
        match self.committed.get(&record.partition) {
            Some(at) => {
                let before = record.offset.saturating_sub(*at).max(0);
                format!("evp process has not finished it; {before} records of its partition are before it")
            }
            None => "evp process has not begun with its partition: evp status".to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let outcomes: BTreeMap<&str, String> =
            self.handlers.iter().map(|handler| (handler.as_str(), self.outcome(handler))).collect();
        let letters: Vec<_> = self
            .letters
            .iter()
            .map(|entry| {
                let cause = &entry.letter.cause;
                json!({ "letter": entry.letter.name.to_string(), "state": entry.state, "handler": cause.handler, "error": cause.message })
            })
            .collect();
        json!({
            "event_id": self.event_id.to_string(), "event_type": self.event_type(), "aggregate_id": self.aggregate_id(),
            "row": self.row, "records": self.records, "handlers": outcomes, "dead_letters": letters,
            "documents": self.documents, "verdict": self.verdict(), "notes": self.notes,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: String| text.push_str(&format!("{name:<12}{what}\n"));
        let [event_type, aggregate_id] = [self.event_type(), self.aggregate_id()].map(Option::unwrap_or_default);
        line("event", format!("{} {event_type}", self.event_id));
        line("aggregate", aggregate_id);
        let at = |time: Option<i64>| time.map(instant).unwrap_or_default();
        match &self.row {
            Some(row) => line("row", format!("{} in {}", at(row.created_at_ms), row.table)),
            None => line("row", "none".to_owned()),
        }
        for record in &self.records {
            let lsn = record.lsn.as_deref().unwrap_or("unknown");
            let again = record
                .republished_from
                .as_ref()
                .map_or_else(String::new, |from| format!(", again, from letter {from}"));
            line("committed", format!("{} at {lsn}, {}{again}", at(record.committed_at_ms), record.operation));
            line(
                "on kafka",
                format!("{} in partition {}, offset {}", at(record.written_at_ms), record.partition, record.offset),
            );
        }
        for handler in &self.handlers {
            line("handler", format!("{handler}: {}", self.outcome(handler)));
        }
        for entry in &self.letters {
            let cause = &entry.letter.cause;
            line(
                "letter",
                format!(
                    "{} in {}, {}: {}",
                    at(entry.letter.written_ms),
                    entry.letter.name,
                    entry.state.name(),
                    cause.message
                ),
            );
        }
        for document in &self.documents {
            let role = match (document.is_created_by_it, document.is_last_changed_by_it) {
                (true, true) => "created and last changed by it",
                (true, false) => "created by it",
                (false, true) => "last changed by it",
                (false, false) => "of its aggregate",
            };
            line("document", format!("{} {}, {role}", document.collection, document.id));
        }
        line("so", self.verdict());
        for note in &self.notes {
            line("note", note.clone());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Found {
        Found {
            partition: 0,
            offset,
            operation: "insert",
            aggregate_id: Some("a".to_owned()),
            event_type: Some("UserCreated".to_owned()),
            lsn: None,
            committed_at_ms: None,
            written_at_ms: None,
            republished_from: None,
        }
    }

    fn story(records: Vec<Found>, committed: i64, remembered: Option<KnownEvent>) -> Story {
        Story {
            records,
            committed: [(0, committed)].into(),
            remembered,
            handlers: vec!["h".to_owned()],
            ..Story::default()
        }
    }

    #[test]
    fn where_an_event_is_follows_from_what_is_found() {
        let of = |story: &Story| (story.verdict(), story.outcome("h"));
        let says = |(verdict, outcome): (String, String), parts: (&str, &str)| {
            assert!(verdict.contains(parts.0) && outcome.contains(parts.1), "{verdict} / {outcome}");
        };
        says(of(&Story::default()), ("nothing is known", "not yet"));
        says(of(&story(vec![record(7)], 4, None)), ("3 records of its partition", "not yet"));
        let known = |failed: &[&str]| {
            let mut known = KnownEvent::with_failed(failed);
            known.offset = 7;
            Some(known)
        };
        says(of(&story(vec![record(7)], 8, known(&[]))), ("done with", "applied"));
        says(of(&story(vec![record(7)], 7, known(&[]))), ("0 records", "in the works"));
        says(of(&story(vec![record(7)], 8, known(&["h"]))), ("done with", "failed"));
        says(of(&story(vec![record(7)], 8, None)), ("done with", "not remembered"));
        let row =
            Row { table: "t".to_owned(), aggregate_id: String::new(), event_type: String::new(), created_at_ms: None };
        let not_captured =
            Story { row: Some(row), capture: Some("nobody reads the slot".to_owned()), ..Story::default() };
        says(of(&not_captured), ("not on the topic; nobody reads the slot", "not yet"));
    }
}
