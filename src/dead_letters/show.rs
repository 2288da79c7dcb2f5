//! `evp dlq show`: one letter, with everything that helps to decide what to do with it.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::DlqOptions;
use super::book::{Book, Entry, State};
use super::filter::LetterFilter;
use super::letter::{LetterName, RawRecord};
use super::read::{read_as_far_as_possible, read_records};
use super::view::LetterView;
use crate::error::{Error, ErrorKind, Result};
use crate::terminal;

pub(super) async fn run(
    options: &DlqOptions,
    name: LetterName,
    is_json: bool,
    token: &CancellationToken,
) -> Result<()> {
    let (book, note) = read_as_far_as_possible(options, token).await?;
    let named = LetterFilter { names: vec![name], ..LetterFilter::default() };
    named.check_names(&book, &options.kafka.topic)?;
    let absent = || Error::new(ErrorKind::Missing, format!("dead letter {name} is gone: retention has removed it"));
    let entry = book.get(name).ok_or_else(absent)?;
    let mut records = read_records(&options.kafka, HashSet::from([name]), token).await?;
    let record = records.remove(&name).ok_or_else(absent)?;
    if is_json {
        let views = |entries: Vec<&Entry>| entries.into_iter().map(LetterView::of).collect::<Vec<_>>();
        terminal::print(json!({
            "letter": LetterView::of(entry),
            "key": record.key.as_deref().map(String::from_utf8_lossy),
            "value": value(&record),
            "headers": original_headers(&record),
            "same_event": views(same_event(&book, entry)),
            "waiting_behind": views(waiting_behind(&book, entry)),
            "still_failed": entry.known.as_ref().map(crate::mongo::KnownEvent::failed),
            "note": note,
        }));
    } else {
        let mut text = text(&book, entry, &record);
        if let Some(note) = note {
            line(&mut text, "note", note);
        }
        terminal::print(text.trim_end());
    }
    Ok(())
}

fn text(book: &Book, entry: &Entry, record: &RawRecord) -> String {
    let (letter, cause) = (&entry.letter, &entry.letter.cause);
    let mut text = String::new();
    let written = letter.written_ms.map(terminal::instant).unwrap_or_default();
    line(&mut text, "letter", format!("{}, {}, written {written}", letter.name, entry.state.name()));
    match &letter.event {
        Some(event) => {
            let event_type = event.event_type.as_deref().unwrap_or("of no type");
            line(&mut text, "event", format!("{event_type} {}", event.event_id));
            line(&mut text, "aggregate", event.aggregate_id.as_deref().unwrap_or("-"));
        }
        None => line(&mut text, "event", "the record does not name one"),
    }
    let number = |number: Option<i64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let (partition, offset) = (number(cause.partition.map(i64::from)), number(cause.offset));
    line(&mut text, "from", format!("{}, partition {partition}, offset {offset}", cause.topic));
    let who = match (&cause.group, &cause.handler) {
        (None, _) => "capture could not write the row".to_owned(),
        (Some(group), None) => format!("group {group}: no handler could be asked"),
        (Some(group), Some(handler)) => format!("group {group}: handler {handler}"),
    };
    let attempts = cause.attempts.map(|attempts| format!(", attempts: {attempts}")).unwrap_or_default();
    line(&mut text, "given up by", format!("{who} ({}, {}{attempts})", cause.stage, cause.kind));
    line(&mut text, "cause", &cause.message);
    for other in same_event(book, entry) {
        let handler = other.letter.cause.handler.as_deref().unwrap_or("-");
        line(&mut text, "also failed", format!("{handler}, letter {}, {}", other.letter.name, other.state.name()));
    }
    let behind = waiting_behind(book, entry);
    if behind.is_empty() {
        line(&mut text, "behind it", "no other letter of its aggregate");
    }
    for other in behind {
        let event_type = other.letter.event_type().unwrap_or("-");
        line(
            &mut text,
            "behind it",
            format!("letter {}, {event_type}: {}", other.letter.name, other.letter.cause.message),
        );
    }
    line(&mut text, "what to do", advice(entry));
    for (name, value) in original_headers(record) {
        line(&mut text, "header", format!("{name}: {}", value.unwrap_or_default()));
    }
    if let Some(key) = &record.key {
        line(&mut text, "key", String::from_utf8_lossy(key));
    }
    let value = value(record);
    let shown = value.pointer("/after/payload").unwrap_or(&value);
    text.push_str(&match shown {
        Value::String(text) => format!("\n{text}\n"),
        other => format!("\n{other:#}\n"),
    });
    text
}

fn line(text: &mut String, name: &str, what: impl std::fmt::Display) {
    text.push_str(&format!("{name:<13}{what}\n"));
}

fn advice(entry: &Entry) -> String {
    let (letter, cause) = (&entry.letter, &entry.letter.cause);
    let name = letter.name;
    match entry.state {
        State::Waiting => {}
        _ => return "nothing".to_owned(),
    }
    let first = if letter.is_pointer() {
        "raise max.message.bytes of the topic or repair the row, then touch the row: its update is applied".to_owned()
    } else if cause.is_missing_predecessor() {
        "replay the letter that creates the document, if there is one; this one comes along".to_owned()
    } else {
        format!("correct the row in the outbox, or what refuses it and then run evp dlq replay {name}")
    };
    format!("{first}; or evp dlq discard {name}")
}

/// Other letters of the same event.
fn same_event<'a>(book: &'a Book, entry: &Entry) -> Vec<&'a Entry> {
    let Some(event_id) = entry.letter.event_id() else { return Vec::new() };
    let is_other = |other: &&Entry| other.letter.event_id() == Some(event_id) && other.letter.name != entry.letter.name;
    book.entries().filter(is_other).collect()
}

/// Later letters of its aggregate, which this one may hold up.
fn waiting_behind<'a>(book: &'a Book, entry: &Entry) -> Vec<&'a Entry> {
    let Some(aggregate) = entry.letter.aggregate_id() else { return Vec::new() };
    let mut behind: Vec<&Entry> = book
        .waiting()
        .filter(|other| other.letter.aggregate_id() == Some(aggregate))
        .filter(|other| other.letter.event_id() != entry.letter.event_id())
        .filter(|other| other.letter.cause.is_missing_predecessor() || other.letter.order > entry.letter.order)
        .collect();
    behind.sort_by_key(|other| (other.letter.order, other.letter.name));
    behind
}

/// The record's value; JSON inside of it is shown as JSON.
fn value(record: &RawRecord) -> Value {
    let bytes = record.value.as_deref().unwrap_or_default();
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return Value::String(String::from_utf8_lossy(bytes).into_owned());
    };
    if let Some(inner) = value.get_mut("payload").filter(|inner| inner.get("after").is_some()) {
        value = inner.take();
    }
    if let Some(payload) = value.pointer_mut("/after/payload")
        && let Some(parsed) = payload.as_str().and_then(|text| serde_json::from_str(text).ok())
    {
        *payload = parsed;
    }
    value
}

fn original_headers(record: &RawRecord) -> Vec<(String, Option<String>)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    record.original_headers().map(|(name, value)| (name.to_owned(), value.map(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::book::tests::{book, letter};

    #[test]
    fn a_letter_is_explained_with_what_stands_behind_it() {
        let records = [
            letter(0, 1, 1, Some("CreateUser"), "a validation rule refuses the document"),
            letter(1, 1, 1, Some("CountUsers"), "x"),
            letter(2, 2, 1, Some("UpdateUser"), "predecessor missing: there is no document"),
            letter(3, 3, 9, Some("UpdateUser"), "of another aggregate"),
        ];
        let book = book(&records);
        let text = text(&book, book.get(records[0].name()).unwrap(), &records[0]);
        for part in ["CreateUser", "validation rule", "CountUsers, letter 0:1", "letter 0:2", "evp dlq replay 0:0"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("0:3"), "{text}");
    }

    #[test]
    fn a_payload_is_shown_as_json_and_a_value_that_is_none_as_it_is() {
        let of = |value: &str| value_of(value.as_bytes());
        let row = r#"{"op":"c","after":{"payload":"{\"email\":7}"}}"#;
        assert_eq!(of(row)["after"]["payload"]["email"], 7);
        assert_eq!(of(&format!(r#"{{"schema":{{}},"payload":{row}}}"#))["after"]["payload"]["email"], 7);
        assert_eq!(of("not json"), "not json");
    }

    fn value_of(bytes: &[u8]) -> Value {
        value(&RawRecord { value: Some(bytes.to_vec()), ..RawRecord::default() })
    }
}
