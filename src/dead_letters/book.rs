//! All letters of a topic, and which of them still wait for somebody.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use uuid::Uuid;

use super::format::LETTER;
use super::letter::{Letter, LetterName, RawRecord};
use crate::mongo::KnownEvent;

/// Letters that are held in memory; each takes about half a kilobyte.
const LETTERS_MAX: usize = 500_000;

/// The header of a mark that tells what was done with the letter.
const MARKED_AS: &str = "evp.letter.state";
/// The header of a mark that tells where the letter was replayed to.
const REPLAYED_TO: &str = "evp.letter.to";

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It waits for somebody.
    Waiting,
    /// Its record was published again.
    Replayed,
    /// Somebody has decided that it is not needed.
    Discarded,
    /// Its event has been applied since, as after its row was corrected.
    Applied,
    /// A later letter tells of the same failure.
    Superseded,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Applied => "applied",
            Self::Superseded => "superseded",
        }
    }
}

/// A letter and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) letter: Letter,
    pub(crate) state: State,
    /// What is remembered of its event, once that was asked for.
    pub(crate) known: Option<KnownEvent>,
}

/// What is done with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) letter: LetterName,
    /// Where its record was published again; none if it was discarded.
    pub(crate) replayed_to: Option<LetterName>,
}

impl Mark {
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let state = if self.replayed_to.is_some() { State::Replayed } else { State::Discarded };
        let mut headers = vec![(LETTER, self.letter.to_string()), (MARKED_AS, state.name().to_owned())];
        headers.extend(self.replayed_to.map(|place| (REPLAYED_TO, place.to_string())));
        headers
    }

    /// A mark has no value, and every letter has one: process passes over records without.
    fn read(record: &RawRecord) -> Option<(LetterName, State)> {
        let text = |name| std::str::from_utf8(record.header(name)?).ok();
        let letter = text(LETTER)?.parse().ok()?;
        match text(MARKED_AS)? {
            state if state == State::Replayed.name() => Some((letter, State::Replayed)),
            state if state == State::Discarded.name() => Some((letter, State::Discarded)),
            _ => None,
        }
    }
}

/// Letters that stand for the same failure of the same event.
type Sameness = (Option<Uuid>, Option<(i32, i64)>, Option<String>, Option<String>);

/// All letters, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<LetterName, Entry>,
    marks: HashMap<LetterName, State>,
    /// Letters beyond what is held in memory.
    pub(crate) beyond: u64,
}

impl Book {
    /// Takes a record of the dead-letter topic.
    pub(crate) fn add(&mut self, record: &RawRecord) {
        if record.value.is_none() {
            self.marks.extend(Mark::read(record));
        } else if self.entries.len() < LETTERS_MAX {
            let entry = Entry { letter: Letter::read(record), state: State::Waiting, known: None };
            self.entries.insert(record.name(), entry);
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Settles what marks and later letters tell, once all records are there.
    pub(crate) fn finish(mut self) -> Self {
        for (name, state) in self.marks.drain() {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.state = state;
            }
        }
        let mut last: HashMap<Sameness, LetterName> = HashMap::new();
        let mut names: Vec<_> =
            self.entries.values().map(|entry| (entry.letter.written_ms, entry.letter.name)).collect();
        names.sort_unstable();
        for (_, name) in names {
            let Some(same) = self.entries.get(&name).and_then(|entry| sameness(&entry.letter)) else { continue };
            let Some(earlier) = last.insert(same, name) else { continue };
            if let Some(entry) = self.entries.get_mut(&earlier).filter(|entry| entry.state == State::Waiting) {
                entry.state = State::Superseded;
            }
        }
        self
    }

    /// Events of letters that wait, in no order.
    pub(crate) fn waiting_events(&self) -> Vec<Uuid> {
        let mut ids: Vec<_> = self.waiting().filter_map(|entry| entry.letter.event_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Settles what has been applied since; `group` is the one that remembers.
    pub(crate) fn remember(&mut self, known: &HashMap<Uuid, KnownEvent>, group: &str) {
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Waiting) {
            if entry.letter.cause.group.as_deref().is_some_and(|name| name != group) {
                continue;
            }
            let Some(known) = entry.letter.event_id().and_then(|event_id| known.get(&event_id)) else { continue };
            if !known.has_failed(entry.letter.cause.handler.as_deref()) {
                entry.state = State::Applied;
            }
            entry.known = Some(known.clone());
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.state == State::Waiting)
    }

    pub(crate) fn get(&self, name: LetterName) -> Option<&Entry> {
        self.entries.get(&name)
    }
}

/// None of a letter that tells neither its event nor its record.
fn sameness(letter: &Letter) -> Option<Sameness> {
    let cause = &letter.cause;
    let place = cause.partition.zip(cause.offset);
    let (event, place) = match letter.event_id() {
        Some(event_id) => (Some(event_id), None),
        None => (None, Some(place?)),
    };
    Some((event, place, cause.handler.clone(), cause.group.clone()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dead_letters::format::Cause;

    /// A letter about event `event` of aggregate `aggregate`, from the same offset of the topic as its own.
    pub(crate) fn letter(offset: i64, event: u128, aggregate: u128, handler: Option<&str>, message: &str) -> RawRecord {
        let cause = Cause {
            topic: "t".to_owned(),
            partition: Some(0),
            offset: Some(offset),
            group: Some("g".to_owned()),
            handler: handler.map(str::to_owned),
            message: message.to_owned(),
            kind: "data".to_owned(),
            ..Cause::default()
        };
        let (event, aggregate) = (Uuid::from_u128(event), Uuid::from_u128(aggregate));
        let value = format!(
            r#"{{"op":"c","after":{{"event_id":"{event}","aggregate_id":"{aggregate}","event_type":"UserUpdated","sequence_id":{offset}}}}}"#
        );
        RawRecord {
            offset,
            timestamp_ms: Some(1_000 + offset),
            value: Some(value.into_bytes()),
            headers: bytes(cause.to_headers()),
            ..RawRecord::default()
        }
    }

    pub(crate) fn mark(offset: i64, letter: i64, replayed_to: Option<i64>) -> RawRecord {
        let name = |offset| LetterName { partition: 0, offset };
        let mark = Mark { letter: name(letter), replayed_to: replayed_to.map(name) };
        RawRecord { offset, headers: bytes(mark.headers()), ..RawRecord::default() }
    }

    fn bytes(headers: Vec<(&'static str, String)>) -> Vec<(String, Option<Vec<u8>>)> {
        headers.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))).collect()
    }

    pub(crate) fn book(records: &[RawRecord]) -> Book {
        let mut book = Book::default();
        records.iter().for_each(|record| book.add(record));
        book.finish()
    }

    fn states(book: &Book) -> Vec<State> {
        book.entries().map(|entry| entry.state).collect()
    }

    #[test]
    fn marks_settle_their_letters_and_are_none_themselves() {
        use State::{Discarded, Replayed, Waiting};
        let book = book(&[
            letter(0, 1, 1, None, "x"),
            letter(1, 2, 1, None, "x"),
            letter(2, 3, 1, None, "x"),
            mark(3, 0, Some(9)),
            mark(4, 2, None),
            RawRecord { offset: 5, ..RawRecord::default() },
        ]);
        assert_eq!(states(&book), [Replayed, Waiting, Discarded]);
        assert_eq!(book.waiting_events(), [Uuid::from_u128(2)]);
    }

    #[test]
    fn a_later_letter_of_the_same_handler_stands_for_the_earlier_one() {
        use State::{Superseded, Waiting};
        let nameless = |offset| RawRecord { value: Some(b"x".to_vec()), ..letter(offset, 0, 0, None, "x") };
        let mut twice = nameless(5);
        twice.headers.clone_from(&nameless(4).headers);
        let book = book(&[
            letter(0, 1, 1, Some("a"), "x"),
            letter(1, 1, 1, Some("b"), "x"),
            letter(2, 1, 1, Some("a"), "x"),
            nameless(4),
            twice,
        ]);
        assert_eq!(states(&book), [Superseded, Waiting, Waiting, Superseded, Waiting]);
    }

    #[test]
    fn what_is_applied_since_does_not_wait_and_what_another_group_gave_up_does() {
        use State::{Applied, Waiting};
        let letters =
            [letter(0, 1, 1, Some("a"), "x"), letter(1, 2, 1, Some("a"), "x"), letter(2, 3, 1, Some("a"), "x")];
        let known = HashMap::from([
            (Uuid::from_u128(1), KnownEvent::with_failed(&[])),
            (Uuid::from_u128(2), KnownEvent::with_failed(&["a"])),
        ]);
        let mut own = book(&letters);
        own.remember(&known, "g");
        assert_eq!(states(&own), [Applied, Waiting, Waiting]);
        let mut foreign = book(&letters);
        foreign.remember(&known, "other");
        assert_eq!(states(&foreign), [Waiting; 3]);
        let every = KnownEvent::with_failed(&["*"]);
        assert!(
            every.has_failed(None) && every.has_failed(Some("a")) && !KnownEvent::with_failed(&["a"]).has_failed(None)
        );
    }
}
