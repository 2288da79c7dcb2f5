//! What a replay publishes, in which order, and what it leaves.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::book::{Book, Entry, State};
use super::filter::LetterFilter;
use super::letter::{Letter, LetterName};
use crate::mongo::EventOrder;

/// What is asked of a replay besides its letters.
#[derive(Debug, Clone, Default)]
pub struct ReplayChoices {
    /// Leave what waits behind the letters.
    pub only: bool,
    /// Also events that are not remembered any more, by all of their handlers.
    pub forgotten: bool,
}

/// One event that is published again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The letter whose record is published.
    pub(crate) letter: LetterName,
    /// All letters of the event, which this settles.
    pub(crate) settles: Vec<LetterName>,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) bytes: usize,
    /// It was not asked for, and waits behind one that was.
    pub(crate) is_released: bool,
    order: (EventOrder, LetterName),
}

/// A letter that is left as it is, with the reason and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) letter: LetterName,
    pub(crate) why: String,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In the order of the events.
    pub(crate) publications: Vec<Publication>,
    pub(crate) left: Vec<Left>,
}

/// Letters of one event; of a record that names none, those of the record.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Event(Uuid),
    Letter(LetterName),
}

fn subject(letter: &Letter) -> Subject {
    letter.event_id().map_or(Subject::Letter(letter.name), Subject::Event)
}

/// Plans the replay of what `filter` accepts, for the group that remembers events.
pub(crate) fn plan(book: &Book, filter: &LetterFilter, choices: &ReplayChoices, group: &str) -> Plan {
    let mut plan = Plan::default();
    let mut wanted: BTreeMap<Subject, bool> = BTreeMap::new();
    for entry in book.entries().filter(|entry| filter.accepts(entry)) {
        match obstacle(entry, choices, group) {
            None => {
                wanted.insert(subject(&entry.letter), false);
            }
            Some(why) => plan.left.push(Left { letter: entry.letter.name, why }),
        }
    }
    if !choices.only {
        release(book, choices, group, &mut wanted);
    }
    let mut publications: BTreeMap<Subject, Publication> = BTreeMap::new();
    // By their names, so that the last letter of an event, which may tell of a corrected row, is the one.
    for entry in book.waiting() {
        let (letter, subject) = (&entry.letter, subject(&entry.letter));
        let Some(is_released) = wanted.get(&subject) else { continue };
        if obstacle(entry, choices, group).is_some() {
            continue;
        }
        let mut settles = publications.remove(&subject).map(|earlier| earlier.settles).unwrap_or_default();
        settles.push(letter.name);
        let publication = Publication {
            letter: letter.name,
            settles,
            event_id: letter.event_id(),
            bytes: letter.bytes,
            is_released: *is_released,
            order: (letter.order, letter.name),
        };
        publications.insert(subject, publication);
    }
    plan.publications = publications.into_values().collect();
    // What waits comes last: events that tell no commit have another kind of order than those that do.
    plan.publications.sort_by_key(|publication| (publication.is_released, publication.order));
    plan
}

/// Adds the events that wait for a document that one of the wanted may create.
fn release(book: &Book, choices: &ReplayChoices, group: &str, wanted: &mut BTreeMap<Subject, bool>) {
    let is_wanted = |entry: &&Entry| wanted.contains_key(&subject(&entry.letter));
    let aggregates: HashSet<&str> =
        book.waiting().filter(is_wanted).filter_map(|entry| entry.letter.aggregate_id()).collect();
    let waits = |entry: &&Entry| {
        entry.letter.cause.is_missing_predecessor()
            && entry.letter.aggregate_id().is_some_and(|aggregate| aggregates.contains(aggregate))
            && obstacle(entry, choices, group).is_none()
    };
    let released: Vec<_> = book.waiting().filter(waits).map(|entry| subject(&entry.letter)).collect();
    for subject in released {
        wanted.entry(subject).or_insert(true);
    }
}

/// Why a letter is left, if it is.
fn obstacle(entry: &Entry, choices: &ReplayChoices, group: &str) -> Option<String> {
    let letter = &entry.letter;
    match entry.state {
        State::Waiting => {}
        State::Replayed => return Some("was replayed before".to_owned()),
        State::Discarded => return Some("was discarded".to_owned()),
        State::Applied => return Some("its event has been applied since".to_owned()),
        State::Superseded => return Some("a later letter tells of the same failure".to_owned()),
    }
    if letter.is_pointer() {
        let event_id = letter.event_id().map(|event_id| event_id.to_string()).unwrap_or_default();
        return Some(format!(
            "only points to a row that the topic did not take: raise the topic's max.message.bytes or repair the row, then touch \
             it with UPDATE activity.event_outbox SET status = status WHERE event_id = '{event_id}', and the update is applied"
        ));
    }
    if letter.cause.topic.is_empty() {
        return Some("does not name the topic that it comes from".to_owned());
    }
    if let Some(other) = letter.cause.group.as_deref().filter(|name| *name != group) {
        return Some(format!("is of group {other}: set KAFKA_GROUP_ID={other} and the MONGODB_DATABASE of that group"));
    }
    if letter.event_id().is_some() && entry.known.is_none() && letter.cause.handler.is_some() && !choices.forgotten {
        return Some(
            "its event is not remembered any more, which ends after REMEMBER_DAYS (30 by default), so that all of its handlers \
             would run again; \
             --forgotten does that"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::dead_letters::book::tests::{book, letter, mark};
    use crate::dead_letters::letter::RawRecord;
    use crate::mongo::KnownEvent;

    const MISSING: &str = "predecessor missing: the document does not exist";

    /// A book in which all events are remembered with the handlers `a` and `b` failed.
    fn remembered(records: &[RawRecord]) -> Book {
        let mut book = book(records);
        let known: HashMap<_, _> =
            book.waiting_events().into_iter().map(|id| (id, KnownEvent::with_failed(&["a", "b", "*"]))).collect();
        book.remember(&known, "g");
        book
    }

    fn named(offsets: &[i64]) -> LetterFilter {
        let names = offsets.iter().map(|offset| LetterName { partition: 0, offset: *offset }).collect();
        LetterFilter { names, ..LetterFilter::default() }
    }

    fn published(plan: &Plan) -> Vec<(i64, bool)> {
        plan.publications.iter().map(|publication| (publication.letter.offset, publication.is_released)).collect()
    }

    #[test]
    fn an_event_is_published_once_for_all_of_its_letters() {
        let book = remembered(&[letter(0, 1, 1, Some("a"), "x"), letter(1, 1, 1, Some("b"), "x")]);
        let plan = plan(&book, &named(&[0]), &ReplayChoices::default(), "g");
        assert_eq!(published(&plan), [(1, false)]);
        assert_eq!(plan.publications[0].settles.len(), 2);
    }

    #[test]
    fn what_waits_for_the_document_comes_along_and_in_the_order_of_the_events() {
        let later_in_the_topic = |offset: i64, letter: RawRecord| RawRecord { offset, ..letter };
        let letters = [
            later_in_the_topic(0, letter(7, 3, 1, Some("a"), MISSING)),
            later_in_the_topic(1, letter(6, 2, 1, Some("a"), MISSING)),
            later_in_the_topic(2, letter(5, 1, 1, Some("a"), "refused")),
            later_in_the_topic(3, letter(8, 4, 2, Some("a"), MISSING)),
        ];
        let book = remembered(&letters);
        let replay = |only| plan(&book, &named(&[2]), &ReplayChoices { only, forgotten: false }, "g");
        assert_eq!(published(&replay(false)), [(2, false), (1, true), (0, true)]);
        assert_eq!(published(&replay(true)), [(2, false)]);
    }

    #[test]
    fn what_cannot_be_replayed_is_left_with_the_reason() {
        let pointer = RawRecord {
            headers: vec![
                ("__connect.errors.topic".to_owned(), Some(b"t".to_vec())),
                ("evp.error.kind".to_owned(), Some(b"refused".to_vec())),
            ],
            ..letter(2, 3, 1, None, "x")
        };
        let letters = [letter(0, 1, 1, Some("a"), "x"), letter(1, 2, 1, None, "x"), pointer, mark(3, 0, Some(9))];
        let remembered = remembered(&letters);
        let replay = |book: &Book, choices: ReplayChoices, group: &str| {
            let plan = plan(book, &named(&[0, 1, 2]), &choices, group);
            let why: Vec<_> = plan.left.iter().map(|left| left.why.clone()).collect();
            (published(&plan).len(), why.join("; "))
        };
        let (count, why) = replay(&remembered, ReplayChoices::default(), "g");
        assert_eq!(count, 1);
        assert!(why.contains("replayed before") && why.contains("UPDATE activity.event_outbox"), "{why}");
        let (count, why) = replay(&remembered, ReplayChoices::default(), "other");
        assert!(count == 0 && why.contains("KAFKA_GROUP_ID=g"), "{why}");
        let forgotten = book(&letters[..1]);
        assert!(replay(&forgotten, ReplayChoices::default(), "g").1.contains("--forgotten"));
        assert_eq!(replay(&forgotten, ReplayChoices { forgotten: true, only: false }, "g").0, 1);
    }
}
