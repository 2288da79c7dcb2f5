//! Debezium's outbox `EventRouter`: a row of an outbox becomes the event that it holds, in the topic that it names.

use std::sync::Arc;

use super::{Outcome, RecordKind, RowForm, TopicRoute, Transforms, ValueForm};

/// The transform; what is named are columns of the outbox.
#[derive(Debug, Clone)]
pub struct EventRouter {
    /// Becomes the header `id`.
    pub id: String,
    /// Becomes the key.
    pub key: String,
    /// Becomes the value.
    pub payload: String,
    /// Becomes the record's time, which is the clock's where there is none.
    pub timestamp: Option<String>,
    /// Becomes the version of the value's schema.
    pub schema_version: Option<String>,
    /// Other columns that go along.
    pub additional: Vec<Additional>,
    /// An additional column may be missing.
    pub ignores_missing: bool,
    /// What topics are made of.
    pub route_by: String,
    /// How.
    pub route: TopicRoute,
    /// What becomes of updates, which an outbox should not have.
    pub updates: UpdateHandling,
    /// An event without a payload is a tombstone.
    pub with_tombstones: bool,
    /// A payload that is the text of a JSON object becomes that object; what of its fields that are null.
    pub expansion: Option<NullFields>,
}

/// A column of the outbox that goes along with the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Additional {
    /// Column.
    pub field: String,
    /// Where it goes.
    pub placement: Placement,
    /// Its name there.
    pub name: String,
}

/// Where a column goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// To the headers.
    Header,
    /// Beside the payload.
    Envelope,
    /// It is the number of the partition.
    Partition,
}

/// `table.op.invalid.behavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateHandling {
    /// Skipped, with a warning.
    #[default]
    Warn,
    /// Skipped, with an error in the log.
    Error,
    /// Capture ends.
    Fatal,
}

/// `table.json.payload.null.behavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullFields {
    /// They are left out.
    #[default]
    Ignore,
    /// They are null, of a schema of bytes.
    OptionalBytes,
}

impl Additional {
    /// From an entry of `table.fields.additional.placement`: `column:placement` or `column:placement:name`.
    ///
    /// The error says why it is refused.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let parts: Vec<&str> = entry.split(':').map(str::trim).collect();
        let (field, placement, name) = match parts.as_slice() {
            [field, placement] => (field, placement, field),
            [field, placement, name] => (field, placement, name),
            _ => return Err(format!("`{entry}` is not of the form column:placement or column:placement:name")),
        };
        let placement = match placement.to_ascii_lowercase().as_str() {
            "header" => Placement::Header,
            "envelope" => Placement::Envelope,
            "partition" => Placement::Partition,
            _ => return Err(format!("`{entry}` is placed in none of header, envelope and partition")),
        };
        Ok(Self { field: (*field).to_owned(), placement, name: (*name).to_owned() })
    }
}

impl UpdateHandling {
    /// From Debezium's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            "fatal" => Some(Self::Fatal),
            _ => None,
        }
    }
}

impl NullFields {
    /// From Debezium's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "ignore" => Some(Self::Ignore),
            "optional_bytes" => Some(Self::OptionalBytes),
            _ => None,
        }
    }
}

/// The events of an outbox, of which each row says the topic.
#[derive(Debug, Clone)]
pub struct EventForm {
    /// What makes them.
    pub router: Arc<EventRouter>,
    /// What stands behind it.
    later: Transforms,
    /// The names of the headers that an event has by then.
    headers: Vec<String>,
}

/// Two are the same if one router has made them.
impl PartialEq for EventForm {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.router, &other.router)
    }
}

impl Eq for EventForm {}

impl EventForm {
    /// The events of records that have these headers, with what stands behind the router.
    pub(super) fn new<'a>(
        router: &'a Arc<EventRouter>,
        later: Transforms,
        headers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let placed = router.additional.iter().filter(|additional| additional.placement == Placement::Header);
        let own = ["id"].into_iter().chain(placed.map(|additional| additional.name.as_str()));
        let headers = headers.into_iter().chain(own).map(str::to_owned).collect();
        Self { router: Arc::clone(router), later, headers }
    }

    /// What becomes of an event by the text that chooses its topic; `None` if it is not written.
    pub fn outcome(&self, routed_by: &str, is_null: bool) -> Option<Outcome> {
        let topic = self.router.route.apply(routed_by).unwrap_or_else(|| routed_by.to_owned());
        let value = if is_null { ValueForm::Tombstone } else { ValueForm::Row(RowForm::default()) };
        let headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        self.later.apply(Outcome::new(topic, value), RecordKind::Row, &headers, &mut Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, DeleteHandling, Predicate, Step, Transform, Unwrap};
    use super::*;

    pub(crate) fn router(additional: &str) -> Arc<EventRouter> {
        let additional = additional.split(',').filter(|entry| !entry.is_empty());
        Arc::new(EventRouter {
            id: "id".to_owned(),
            key: "aggregateid".to_owned(),
            payload: "payload".to_owned(),
            timestamp: None,
            schema_version: None,
            additional: additional.map(|entry| Additional::parse(entry).unwrap()).collect(),
            ignores_missing: false,
            route_by: "aggregatetype".to_owned(),
            route: TopicRoute::new("(?<routedByValue>.*)", "outbox.event.${routedByValue}").unwrap(),
            updates: UpdateHandling::Warn,
            with_tombstones: true,
            expansion: None,
        })
    }

    fn step(transform: Transform, condition: Option<Condition>) -> Step {
        Step { transform, condition }
    }

    fn event(transforms: &Transforms, kind: RecordKind) -> Option<EventForm> {
        match transforms.outcome("p.s.outbox", kind)?.value {
            ValueForm::Event(event) => Some(event),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_that_are_created_become_events_and_deletes_are_dropped() {
        let transforms = Transforms::new(vec![step(Transform::Outbox(router("")), None)]);
        let outcome = event(&transforms, RecordKind::Row).unwrap().outcome("Order", false).unwrap();
        assert_eq!(outcome.topic, "outbox.event.Order");
        assert!(event(&transforms, RecordKind::NewKeyRow).is_some());
        for kind in [RecordKind::Delete, RecordKind::Tombstone, RecordKind::OldKeyDelete, RecordKind::OldKeyTombstone] {
            assert_eq!(event(&transforms, kind), None, "{kind:?}");
        }
    }

    #[test]
    fn what_stands_behind_the_router_sees_the_topic_and_headers_of_the_event() {
        let route = |text| Transform::Route(TopicRoute::new("(.*)", text).unwrap());
        let has = |name: &str| Some(Condition { predicate: Predicate::HasHeaderKey(name.into()), is_negated: false });
        let unwrap = Unwrap { deletes: DeleteHandling::Drop, ..Unwrap::default() };
        let transforms = Transforms::new(vec![
            step(Transform::Outbox(router("type:header:eventType")), None),
            step(route("a.$1"), has("eventType")),
            step(route("b.$1"), has("nosuch")),
            step(Transform::Unwrap(unwrap), None),
        ]);
        let event = event(&transforms, RecordKind::Row).unwrap();
        assert_eq!(event.outcome("Order", false).unwrap().topic, "a.outbox.event.Order");
        assert_eq!(event.outcome("Order", true), None, "the last of them drops tombstones");
    }

    #[test]
    fn entries_that_place_nothing_are_refused() {
        let placed = Additional::parse("type : Header : eventType").unwrap();
        assert_eq!((placed.placement, placed.name.as_str()), (Placement::Header, "eventType"));
        assert_eq!(Additional::parse("type:envelope").unwrap().name, "type");
        for entry in ["type", "type:body", "a:header:b:c", ""] {
            assert!(Additional::parse(entry).is_err(), "{entry}");
        }
    }
}
