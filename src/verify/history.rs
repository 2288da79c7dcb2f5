//! The events of one aggregate, from its rows and records together, in the order in which they count.
//!
//! `sequence_id` is drawn before the commit, and it is the commit that counts. A row may be rewritten, or deleted, after its
//! event was applied; then the record tells what it was. And a record may be gone when the row is still there.

use std::collections::HashMap;

use uuid::Uuid;

use super::record::{Content, Record, Said, Telling};
use crate::mongo::EventOrder;

/// Content of one aggregate that is held at most.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// What an event takes beside its content, about.
const EVENT_BYTES: usize = 256;

/// An event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: Uuid,
    /// What is told of it, the first telling first. A later one counts only if handlers refuse those before it.
    pub(super) contents: Vec<Content>,
    /// Why what was told cannot be read.
    pub(super) unreadable: Option<String>,
    /// Only a snapshot tells of it.
    pub(super) is_snapshot: bool,
    /// It has the place of its insert.
    is_inserted: bool,
    /// How many of the contents are those of inserts.
    inserts: usize,
    place: Option<Place>,
}

/// Where an event stands; the first of two places counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    order: EventOrder,
    partition: i32,
    offset: i64,
}

/// Rows and records of one aggregate.
#[derive(Debug, Default)]
pub(super) struct History {
    events: Vec<Event>,
    places: HashMap<Uuid, usize>,
    /// The highest order so far by partition: whatever the positions say, a partition is applied as it stands.
    highest: HashMap<i32, EventOrder>,
    bytes: usize,
}

impl History {
    /// Adds a record; those of one partition in their order.
    pub(super) fn add_record(&mut self, record: Record) {
        let Record { partition, offset, telling, .. } = record;
        let order = match telling {
            Telling::Insert => {
                let highest = self.highest.entry(partition).or_insert(record.order);
                *highest = record.order.max(*highest);
                Some(*highest)
            }
            Telling::Republished => Some(record.order),
            Telling::Update | Telling::Snapshot => None,
        };
        let Some(event) = self.event(record.event_id) else { return };
        event.is_snapshot &= telling == Telling::Snapshot;
        let is_insert = telling == Telling::Insert;
        if let Some(order) = order
            && (event.place.is_none() || (is_insert && !event.is_inserted))
        {
            event.place = Some(Place { order, partition, offset });
        }
        event.is_inserted |= is_insert;
        self.say(record.event_id, record.said, is_insert);
    }

    /// Adds a row; rows in the order of `sequence_id`, and after the records.
    pub(super) fn add_row(&mut self, event_id: Uuid, said: Said) {
        let Some(event) = self.event(event_id) else { return };
        event.is_snapshot = false;
        self.say(event_id, said, false);
    }

    /// The events in their order; `None` if they are more than memory should hold.
    ///
    /// What has no record comes first: the topic begins later. What creates a document comes before what changes it, as
    /// changes wait for it.
    pub(super) fn into_events(mut self) -> Option<Vec<Event>> {
        if self.is_full() {
            return None;
        }
        self.events.sort_by_key(|event| (!event.creates(), event.place.is_some(), event.place));
        Some(self.events)
    }

    fn is_full(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    fn event(&mut self, id: Uuid) -> Option<&mut Event> {
        if self.is_full() {
            self.events = Vec::new();
            return None;
        }
        let next = self.events.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.bytes = self.bytes.saturating_add(EVENT_BYTES);
            self.events.push(Event {
                id,
                contents: Vec::new(),
                unreadable: None,
                is_snapshot: true,
                is_inserted: false,
                inserts: 0,
                place: None,
            });
        }
        self.events.get_mut(place)
    }

    fn say(&mut self, id: Uuid, said: Said, is_insert: bool) {
        let Some(event) = self.event(id) else { return };
        match said {
            Ok(content) if event.contents.contains(&content) => {}
            Ok(content) => {
                let bytes = content.payload.len();
                let at = if is_insert { event.inserts } else { event.contents.len() };
                event.contents.insert(at, content);
                event.inserts = event.inserts.saturating_add(usize::from(is_insert));
                self.bytes = self.bytes.saturating_add(bytes);
            }
            Err(reason) => {
                event.unreadable.get_or_insert(reason);
            }
        }
    }
}

impl Event {
    /// Of which type it is, if that can be read.
    pub(super) fn event_type(&self) -> Option<&str> {
        self.contents.first().map(|content| content.event_type.as_str())
    }

    fn creates(&self) -> bool {
        matches!(self.event_type(), Some("UserCreated" | "ActivityCreated"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::mongo::CommitOrder;

    fn content(event_type: &str, payload: &str) -> Content {
        Content { event_type: event_type.to_owned(), created_at_ms: 1_000, payload: payload.to_owned() }
    }

    fn commit(commit: u64) -> EventOrder {
        EventOrder::Commit(CommitOrder { epoch: 0, commit, within: 0, sequence: 0 })
    }

    fn id(number: u8) -> Uuid {
        Uuid::from_bytes([number; 16])
    }

    fn record(
        number: u8,
        telling: Telling,
        (partition, offset): (i32, i64),
        order: EventOrder,
        payload: &str,
    ) -> Record {
        let said = Ok(content("UserUpdated", payload));
        Record { aggregate_id: id(100), partition, offset, event_id: id(number), telling, order, said }
    }

    fn numbers(history: History) -> Vec<u8> {
        history.into_events().unwrap().iter().map(|event| event.id.into_bytes()[0]).collect()
    }

    /// Events of these types and payloads, in this order.
    pub(crate) fn events(told: &[(&str, &str)]) -> Vec<Event> {
        let mut history = History::default();
        for (number, (event_type, payload)) in (1..).zip(told) {
            let said = Ok(Content { created_at_ms: i64::from(number) * 1_000, ..content(event_type, payload) });
            history.add_row(id(number), said);
        }
        history.events
    }

    #[test]
    fn commits_decide_across_partitions_and_offsets_within_one() {
        let mut history = History::default();
        for (number, place, order) in [
            (1, (0, 1), commit(30)),
            (2, (0, 2), EventOrder::Sequence(5)),
            (3, (1, 1), commit(20)),
            (4, (1, 2), commit(40)),
        ] {
            history.add_record(record(number, Telling::Insert, place, order, "{}"));
        }
        // The rows come in the order of another number, and one has no record.
        [9, 4, 3, 2, 1].into_iter().for_each(|number| history.add_row(id(number), Ok(content("UserUpdated", "{}"))));
        assert_eq!(numbers(history), [9, 3, 1, 2, 4]);
    }

    #[test]
    fn what_creates_a_document_comes_before_what_changes_it() {
        let mut history = History::default();
        history.add_record(record(1, Telling::Insert, (0, 1), commit(10), "{}"));
        let said = Ok(content("UserCreated", "{}"));
        history.add_record(Record { said, ..record(2, Telling::Insert, (1, 1), commit(20), "{}") });
        assert_eq!(numbers(history), [2, 1]);
    }

    #[test]
    fn the_first_telling_comes_first_and_a_dead_letter_keeps_its_place() {
        let mut history = History::default();
        history.add_record(record(1, Telling::Insert, (0, 1), commit(10), "first"));
        history.add_record(record(2, Telling::Insert, (0, 2), commit(20), "other"));
        history.add_record(record(1, Telling::Update, (0, 3), commit(90), "corrected"));
        history.add_record(record(1, Telling::Republished, (0, 4), commit(10), "first"));
        history.add_row(id(1), Ok(content("UserUpdated", "rewritten")));
        history.add_record(record(3, Telling::Republished, (1, 1), commit(15), "only again"));
        history.add_record(record(4, Telling::Snapshot, (1, 2), commit(99), "snapshot"));
        let events = history.into_events().unwrap();
        let of = |number: u8| events.iter().find(|event| event.id == id(number)).unwrap();
        let told: Vec<_> = of(1).contents.iter().map(|content| content.payload.as_str()).collect();
        assert_eq!(told, ["first", "corrected", "rewritten"]);
        assert_eq!(events.iter().map(|event| event.id.into_bytes()[0]).collect::<Vec<_>>(), [4, 1, 3, 2]);
        assert!(of(4).is_snapshot && !of(1).is_snapshot);
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_the_reason() {
        let mut history = History::default();
        history.add_record(Record {
            said: Err("no JSON".to_owned()),
            ..record(1, Telling::Insert, (0, 1), commit(1), "")
        });
        history.add_record(record(1, Telling::Update, (0, 2), commit(2), "corrected"));
        let events = history.into_events().unwrap();
        assert_eq!((events[0].contents.len(), events[0].unreadable.as_deref()), (1, Some("no JSON")));
    }
}
