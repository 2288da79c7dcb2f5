//! The documents of one aggregate against what its events make them. Pure.

use bson::{Bson, Document};

use super::compare::differences;
use super::dead_letters::DeadLetters;
use super::fold::{Fold, Refusal};
use super::history::Event;
use super::report::{CollectionCount, FindingKind, VerifyReport};
use super::totals::Totals;

/// Collections whose documents are those of aggregates.
pub(super) const COLLECTIONS: [&str; 2] = ["users", "activities"];

/// What the documents of an aggregate are held against.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) dead_letters: DeadLetters,
    /// Every event that ever was is known.
    pub(super) is_topic_whole: bool,
    pub(super) totals: Totals,
    pub(super) report: VerifyReport,
}

impl Judge {
    /// Reports what is wrong with the documents of an aggregate.
    pub(super) fn judge(&mut self, id: &str, events: Vec<Event>, actual: &[Option<Document>; 2]) {
        let mut fold = Fold::new(id);
        let mut is_uncertain = self.dead_letters.aggregates.contains(id);
        let mut refusals = Vec::new();
        let exists = actual.iter().any(Option::is_some);
        for event in &events {
            if self.dead_letters.event_ids.contains(&event.id) {
                is_uncertain = true;
                self.totals.set_aside(event);
            } else if event.is_snapshot && !exists {
                // Not applied, unless process is told to.
            } else if let Err(refusal) = fold.apply(event) {
                refusals.push((event, refusal));
            }
        }
        self.totals.add(&fold);
        self.report.unknown_events = self.report.unknown_events.saturating_add(fold.unknown_events);
        let is_beginning_gone = actual.iter().flatten().any(|document| self.is_beginning_gone(document, &events));
        for (event, refusal) in refusals {
            let reason = match refusal {
                Refusal::NoCreation(_) if is_beginning_gone => continue,
                Refusal::NoCreation(reason) | Refusal::Content(reason) => reason,
            };
            is_uncertain = true;
            let detail = format!("{reason}, and it is not among the dead letters");
            self.report.add(FindingKind::LostEvent, event.id, detail);
        }
        for ((collection, expected), actual) in COLLECTIONS.into_iter().zip(fold.into_documents()).zip(actual) {
            self.judge_document(id, collection, expected, actual.as_ref(), &events, is_uncertain);
        }
    }

    /// Says of the documents of an aggregate only that they are there.
    pub(super) fn pass_over(&mut self, actual: &[Option<Document>; 2]) {
        for (collection, document) in COLLECTIONS.into_iter().zip(actual) {
            if document.is_some() {
                let count = self.count(collection);
                count.actual = count.actual.saturating_add(1);
                self.not_compared(collection);
            }
        }
        self.totals.uncertain = self.totals.uncertain.saturating_add(i64::from(actual.iter().any(Option::is_some)));
        self.report.too_long = self.report.too_long.saturating_add(1);
    }

    fn judge_document(
        &mut self,
        id: &str,
        collection: &'static str,
        expected: Option<Document>,
        actual: Option<&Document>,
        events: &[Event],
        is_uncertain: bool,
    ) {
        let count = self.count(collection);
        count.expected = count.expected.saturating_add(usize::from(expected.is_some()));
        count.actual = count.actual.saturating_add(usize::from(actual.is_some()));
        if let Some(problem) = actual.filter(|_| collection == "activities").and_then(miscounted) {
            self.report.add(FindingKind::Count, id, problem);
        }
        if is_uncertain {
            if actual.is_some() {
                self.not_compared(collection);
            }
            return;
        }
        let Some((kind, detail)) = difference(collection, expected.as_ref(), actual) else { return };
        if let Some(actual) = actual.filter(|actual| self.is_history_gone(id, actual, events)) {
            self.not_compared(collection);
            self.report.not_judged = self.report.not_judged.saturating_add(1);
            if collection == "users" && self.is_beginning_gone(actual, events) {
                self.totals.gone = self.totals.gone.saturating_add(1);
            }
            return;
        }
        if kind == FindingKind::Missing && collection == "users" {
            self.totals.miss(id);
        }
        self.report.add(kind, id, detail);
    }

    /// Whether an event that made this document may be one of which neither a row nor a record is left.
    ///
    /// Rows and records are deleted in the order of their age. So what a document names last, and first, decides.
    fn is_history_gone(&self, id: &str, document: &Document, events: &[Event]) -> bool {
        let is_aggregate = uuid::Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id);
        let names_nothing = named_event(document, "source_event_id").is_none();
        let is_last_gone = named_event(document, "last_event_id").is_some_and(|id| !is_known(id, events));
        !self.is_topic_whole
            && is_aggregate
            && (names_nothing || is_last_gone || self.is_beginning_gone(document, events))
    }

    fn is_beginning_gone(&self, document: &Document, events: &[Event]) -> bool {
        let is_unknown = |id: &str| !is_known(id, events);
        !self.is_topic_whole && named_event(document, "source_event_id").is_none_or(is_unknown)
    }

    fn count(&mut self, collection: &'static str) -> &mut CollectionCount {
        self.report.collections.entry(collection).or_default()
    }

    fn not_compared(&mut self, collection: &'static str) {
        let count = self.count(collection);
        count.not_compared = count.not_compared.saturating_add(1);
    }
}

fn named_event<'a>(document: &'a Document, field: &str) -> Option<&'a str> {
    document.get_document("metadata").ok()?.get_str(field).ok()
}

fn is_known(id: &str, events: &[Event]) -> bool {
    uuid::Uuid::try_parse(id).is_ok_and(|id| events.iter().any(|event| event.id == id))
}

fn difference(
    collection: &str,
    expected: Option<&Document>,
    actual: Option<&Document>,
) -> Option<(FindingKind, String)> {
    match (expected, actual) {
        (None, None) => None,
        (Some(_), None) => Some((FindingKind::Missing, format!("{collection}: the document does not exist"))),
        (None, Some(_)) => Some((FindingKind::Unexpected, format!("{collection}: no event creates this document"))),
        (Some(expected), Some(actual)) => {
            let found = differences(expected, actual);
            let differs = || (FindingKind::Different, format!("{collection}: {}", found.join(", ")));
            (!found.is_empty()).then(differs)
        }
    }
}

/// What must hold in every activity, whatever its events were.
fn miscounted(activity: &Document) -> Option<String> {
    let participants = activity.get_document("participants").ok()?;
    let length = participants.get_array("list").map_or(0, Vec::len);
    let count = participants.get("current_count").and_then(|count| match count {
        Bson::Int32(count) => usize::try_from(*count).ok(),
        Bson::Int64(count) => usize::try_from(*count).ok(),
        _ => None,
    });
    if count == Some(length) {
        return None;
    }
    let count = count.map_or_else(|| "not a number".to_owned(), |count| count.to_string());
    Some(format!("current_count is {count}, but the list has {length} participants"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::tests::events;
    use bson::doc;

    const ID: &str = "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491";

    fn judge(is_topic_whole: bool) -> Judge {
        let (dead_letters, totals, report) = Default::default();
        Judge { dead_letters, is_topic_whole, totals, report }
    }

    /// The findings for a user whose events are these, and how many documents were not judged.
    fn found(is_whole: bool, events: Vec<Event>, user: Option<Document>) -> (Vec<(FindingKind, u64)>, u64) {
        let mut judge = judge(is_whole);
        judge.judge(ID, events, &[user, None]);
        (judge.report.finding_counts.into_iter().collect(), judge.report.not_judged)
    }

    /// The document of these events.
    fn user(told: &[(&str, &str)]) -> Document {
        let mut fold = Fold::new(ID);
        events(told).iter().for_each(|event| fold.apply(event).unwrap());
        let [user, _] = fold.into_documents();
        user.unwrap()
    }

    const CREATED: (&str, &str) = ("UserCreated", r#"{"email":"a@b"}"#);
    const UPDATED: (&str, &str) = ("UserUpdated", r#"{"email":"c@d"}"#);

    #[test]
    fn a_document_is_missing_unexpected_different_or_fine() {
        let right = || Some(user(&[CREATED]));
        let mut wrong = user(&[CREATED]);
        wrong.insert("email", "x");
        for is_whole in [true, false] {
            let created = || events(&[CREATED]);
            assert_eq!(found(is_whole, created(), right()), (vec![], 0));
            assert_eq!(found(is_whole, created(), Some(wrong.clone())), (vec![(FindingKind::Different, 1)], 0));
            assert_eq!(found(is_whole, created(), None), (vec![(FindingKind::Missing, 1)], 0));
        }
        assert_eq!(found(true, vec![], right()), (vec![(FindingKind::Unexpected, 1)], 0));
        assert_eq!(found(false, vec![], right()), (vec![], 1), "its events may be gone");
    }

    #[test]
    fn an_aggregate_whose_beginning_may_be_gone_is_not_judged_by_its_end() {
        let document = || Some(user(&[CREATED, UPDATED]));
        let late = || events(&[CREATED, UPDATED]).split_off(1);
        assert_eq!(found(false, late(), document()), (vec![], 1));
        assert_eq!(found(true, late(), document()), (vec![(FindingKind::LostEvent, 1)], 0));
        assert_eq!(found(false, late(), None), (vec![(FindingKind::LostEvent, 1)], 0), "nothing shows its effect");
        let early = || events(&[CREATED]);
        assert_eq!(found(false, early(), document()), (vec![], 1), "the last event may be gone");
        assert_eq!(found(true, early(), document()), (vec![(FindingKind::Different, 1)], 0));
    }

    #[test]
    fn an_aggregate_with_a_dead_letter_is_counted_and_not_judged() {
        let mut judge = judge(true);
        let told = events(&[CREATED]);
        judge.dead_letters.event_ids.insert(told[0].id);
        judge.judge(ID, told, &[Some(doc! {}), None]);
        assert!(judge.report.is_clean());
        assert_eq!((judge.report.collections["users"].not_compared, judge.totals.uncertain), (1, 1));
    }

    #[test]
    fn a_count_is_the_length_of_its_list() {
        let activity = |count: i32| doc! { "participants": { "current_count": count, "list": [{ "user_id": "u" }] } };
        assert_eq!(miscounted(&activity(1)), None);
        assert!(miscounted(&activity(2)).is_some());
    }
}
