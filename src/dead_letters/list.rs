//! `evp dlq list`.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::DlqOptions;
use super::book::{Book, Entry, State};
use super::filter::LetterFilter;
use super::read::read_as_far_as_possible;
use super::view::{LetterView, short};
use crate::error::Result;
use crate::terminal::{self, Tone, cell};

/// What people are shown unless they ask for more.
const SHOWN_MAX: usize = 100;

pub(super) async fn run(
    options: &DlqOptions,
    filter: &LetterFilter,
    limit: Option<usize>,
    is_json: bool,
    token: &CancellationToken,
) -> Result<()> {
    let (book, note) = read_as_far_as_possible(options, token).await?;
    let accepted: Vec<&Entry> = book.entries().filter(|entry| filter.accepts(entry)).collect();
    if is_json {
        let shown = accepted.iter().take(limit.unwrap_or(usize::MAX)).map(|entry| LetterView::of(entry));
        let letters: Vec<_> = shown.collect();
        let (waiting, accepted) = (book.waiting().count(), accepted.len());
        let (beyond, topic) = (book.beyond, super::dead_letter_topic(&options.kafka.topic));
        terminal::print(json!({
            "topic": topic, "waiting": waiting, "accepted": accepted, "not_read": beyond, "letters": letters, "note": note,
        }));
    } else {
        terminal::print(
            text(&book, &accepted, limit.unwrap_or(SHOWN_MAX), note.as_deref(), terminal::now_ms()).trim_end(),
        );
    }
    Ok(())
}

fn text(book: &Book, accepted: &[&Entry], limit: usize, note: Option<&str>, now_ms: i64) -> String {
    let mut text = String::new();
    if !accepted.is_empty() {
        let mut table = terminal::table(&["LETTER", "AGE", "STATE", "EVENT TYPE", "AGGREGATE", "HANDLER", "ERROR"]);
        for entry in accepted.iter().take(limit) {
            let letter = &entry.letter;
            let tone = if entry.state == State::Waiting { Tone::Bad } else { Tone::Good };
            let age = letter.written_ms.map(|written| terminal::span(now_ms.saturating_sub(written)));
            table.add_row([
                cell(letter.name, Tone::Plain),
                cell(age.unwrap_or_default(), Tone::Plain),
                cell(entry.state.name(), tone),
                cell(letter.event_type().unwrap_or("-"), Tone::Plain),
                cell(letter.aggregate_id().map_or("-", short), Tone::Plain),
                cell(letter.cause.handler.as_deref().unwrap_or("-"), Tone::Plain),
                cell(&letter.cause.message, Tone::Plain),
            ]);
        }
        text.push_str(&terminal::lines(&table));
        text.push('\n');
    }
    let waiting = book.waiting().count();
    let settled = book.entries().count().saturating_sub(waiting);
    text.push_str(&format!("{waiting} wait, {settled} are settled"));
    if accepted.len() != waiting {
        text.push_str(&format!("; {} accepted by the filter", accepted.len()));
    }
    if accepted.len() > limit {
        text.push_str(&format!("; the first {limit} are shown, --limit shows more"));
    }
    text.push('\n');
    if book.beyond > 0 {
        text.push_str(&format!("{} more were not read: replay or discard some first\n", book.beyond));
    }
    if let Some(note) = note {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::book::tests::{book, letter, mark};

    #[test]
    fn people_get_a_line_a_letter_and_the_sums() {
        let book = book(&[letter(0, 1, 1, Some("a"), "it is refused"), letter(1, 2, 1, None, "x"), mark(2, 1, None)]);
        let accepted: Vec<_> = book.entries().filter(|entry| LetterFilter::default().accepts(entry)).collect();
        let text = text(&book, &accepted, 10, Some("a note"), 61_000);
        for part in ["0:0", "60s", "waiting", "UserUpdated", "it is refused", "1 wait, 1 are settled", "note: a note"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("0:1 "), "{text}");
    }
}
