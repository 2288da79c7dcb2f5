//! A letter as commands show it.

use serde::Serialize;

use super::book::Entry;
use crate::terminal;

/// A letter for programs.
#[derive(Debug, Serialize)]
pub(super) struct LetterView {
    letter: String,
    state: &'static str,
    written_at: Option<String>,
    event_id: Option<String>,
    event_type: Option<String>,
    aggregate_id: Option<String>,
    handler: Option<String>,
    stage: String,
    attempts: Option<u32>,
    error_kind: String,
    error: String,
    topic: String,
    partition: Option<i32>,
    offset: Option<i64>,
    group: Option<String>,
    bytes: usize,
}

impl LetterView {
    pub(super) fn of(entry: &Entry) -> Self {
        let (letter, cause) = (&entry.letter, &entry.letter.cause);
        Self {
            letter: letter.name.to_string(),
            state: entry.state.name(),
            written_at: letter.written_ms.map(terminal::instant),
            event_id: letter.event_id().map(|event_id| event_id.to_string()),
            event_type: letter.event_type().map(str::to_owned),
            aggregate_id: letter.aggregate_id().map(str::to_owned),
            handler: cause.handler.clone(),
            stage: cause.stage.clone(),
            attempts: cause.attempts,
            error_kind: cause.kind.clone(),
            error: cause.message.clone(),
            topic: cause.topic.clone(),
            partition: cause.partition,
            offset: cause.offset,
            group: cause.group.clone(),
            bytes: letter.bytes,
        }
    }

    /// In a line for people.
    pub(super) fn summary(&self) -> String {
        let [event_type, handler] = [&self.event_type, &self.handler].map(|name| name.as_deref().unwrap_or("-"));
        format!("{} {event_type} {handler}: {}", self.letter, self.error)
    }
}

/// The beginning of an id, which is enough to tell it from others and to filter by.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
