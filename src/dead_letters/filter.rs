//! Which letters a command is about.

use super::book::{Book, Entry, State};
use super::dead_letter_topic;
use super::letter::LetterName;
use crate::error::{Error, ErrorKind, Result};

/// What is asked for; whatever is not given does not matter.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Letters by name.
    pub names: Vec<LetterName>,
    /// The handler that failed.
    pub handler: Option<String>,
    /// Type of the event.
    pub event_type: Option<String>,
    /// A part of the error's text, in any case.
    pub error: Option<String>,
    /// Id of the aggregate, or how it begins.
    pub aggregate: Option<String>,
    /// Written at or after this, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Written before this.
    pub until_ms: Option<i64>,
    /// Also letters that nobody has to do anything about.
    pub with_settled: bool,
}

impl LetterFilter {
    /// Whether all letters are asked for.
    pub fn is_everything(&self) -> bool {
        let Self { names, handler, event_type, error, aggregate, since_ms, until_ms, with_settled: _ } = self;
        let texts = [handler, event_type, error, aggregate];
        names.is_empty() && texts.iter().all(|text| text.is_none()) && since_ms.is_none() && until_ms.is_none()
    }

    /// Refuses names that no letter has.
    pub(super) fn check_names(&self, book: &Book, topic: &str) -> Result<()> {
        let missing = self.names.iter().filter(|name| book.get(**name).is_none()).map(ToString::to_string);
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (topic, names) = (dead_letter_topic(topic), missing.join(", "));
        Err(Error::new(
            ErrorKind::Missing,
            format!("{topic} has no dead letter {names}; `evp dlq list --settled` shows all"),
        ))
    }

    pub(crate) fn accepts(&self, entry: &Entry) -> bool {
        let letter = &entry.letter;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        let written_ms = letter.written_ms.unwrap_or(0);
        let says = |text: &String| letter.cause.message.to_lowercase().contains(&text.to_lowercase());
        // A letter that is named is told of, whatever became of it.
        let is_open = self.with_settled || entry.state == State::Waiting || self.names.contains(&letter.name);
        is_open
            && (self.names.is_empty() || self.names.contains(&letter.name))
            && is(&self.handler, letter.cause.handler.as_deref())
            && is(&self.event_type, letter.event_type())
            && self.aggregate.as_ref().is_none_or(|wanted| letter.aggregate_id().is_some_and(|id| begins(id, wanted)))
            && self.error.as_ref().is_none_or(says)
            && self.since_ms.is_none_or(|since| written_ms >= since)
            && self.until_ms.is_none_or(|until| written_ms < until)
    }
}

fn begins(text: &str, beginning: &str) -> bool {
    text.get(..beginning.len()).is_some_and(|part| part.eq_ignore_ascii_case(beginning))
}

/// A time as people give it: `2026-11-26T04:00:00Z`, or how long ago, as `90s`, `15m`, `2h` or `3d`.
pub fn parse_time(text: &str, now_ms: i64) -> std::result::Result<i64, String> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    let ago = || {
        let unit_ms = match text.chars().last()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        let count: i64 = text.get(..text.len().checked_sub(1)?)?.parse().ok().filter(|count| *count >= 0)?;
        now_ms.checked_sub(count.checked_mul(unit_ms)?)
    };
    ago().ok_or_else(|| {
        format!("`{text}` is no time: give one as 2026-11-26T04:00:00Z, or how long ago as 90s, 15m, 2h or 3d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::book::tests::{book, letter, mark};

    fn names(filter: &LetterFilter) -> Vec<i64> {
        let book = book(&[
            letter(0, 1, 1, Some("CreateUser"), "`email` is not a text"),
            letter(1, 2, 2, Some("UpdateUser"), "a unique index refuses the document"),
            letter(2, 3, 2, None, "no handler serves the event's type"),
            letter(3, 4, 1, None, "not JSON"),
            mark(4, 3, None),
        ]);
        book.entries().filter(|entry| filter.accepts(entry)).map(|entry| entry.letter.name.offset).collect()
    }

    #[test]
    fn each_filter_takes_what_it_names_and_all_must_agree() {
        let text = |text: &str| Some(text.to_owned());
        let any = LetterFilter::default;
        let aggregate = uuid::Uuid::from_u128(2).to_string();
        for (filter, expected) in [
            (any(), &[0, 1, 2][..]),
            (LetterFilter { with_settled: true, ..any() }, &[0, 1, 2, 3]),
            (LetterFilter { names: vec![LetterName { partition: 0, offset: 3 }], ..any() }, &[3]),
            (LetterFilter { handler: text("createuser"), ..any() }, &[0]),
            (LetterFilter { event_type: text("UserUpdated"), ..any() }, &[0, 1, 2]),
            (LetterFilter { event_type: text("UserUp"), ..any() }, &[]),
            (LetterFilter { error: text("Unique INDEX"), ..any() }, &[1]),
            (LetterFilter { aggregate: text(&aggregate), ..any() }, &[1, 2]),
            (LetterFilter { aggregate: text("00000000-0000"), ..any() }, &[0, 1, 2]),
            (LetterFilter { since_ms: Some(1_001), until_ms: Some(1_002), ..any() }, &[1]),
            (LetterFilter { aggregate: text(&aggregate), handler: text("CreateUser"), ..any() }, &[]),
        ] {
            assert_eq!(names(&filter), expected, "{filter:?}");
        }
        assert!(any().is_everything() && !LetterFilter { since_ms: Some(0), ..any() }.is_everything());
    }

    #[test]
    fn times_are_instants_or_ages() {
        let now = 1_000_000_000_000;
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z", now), Ok(1_500));
        assert_eq!((parse_time("2h", now), parse_time("3d", now)), (Ok(now - 7_200_000), Ok(now - 259_200_000)));
        for wrong in ["", "h", "-1h", "yesterday", "1.5h", "99999999999999999d", "1w", "é"] {
            assert!(parse_time(wrong, now).is_err(), "{wrong}");
        }
    }
}
