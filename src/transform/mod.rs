//! Kafka Connect's single message transforms: what becomes of the records of a table, before any of its rows comes.
//!
//! A chain is worked out once for each kind of record that a table can have ([`RecordKind`]), so that writing a row
//! costs what it would cost without. What has to look at a value of the row is left for then: filters stand in the
//! outcome, and an outbox's events end it ([`EventForm`]).

mod beside;
mod conversions;
mod date_format;
mod date_reading;
mod fields;
mod filter;
mod groovy;
mod headers;
mod keys;
mod outbox;
mod predicate;
mod route;
mod tokens;
mod unwrap;

use std::sync::Arc;

pub use beside::Beside;
pub use conversions::{CastType, TimeEdit, TimeForm, UnixPrecision};
pub use date_format::DateFormat;
pub use fields::{FieldAction, FieldEdit, Inserted, InsertedField, ReplacedFields};
use filter::Judged;
pub use filter::{Filter, Guard, NullHandling};
pub use groovy::{Comparison, Expression, Literal, Operand, Path};
pub use headers::{FieldHeader, FieldHeaders, HeaderOf, HeaderTransform};
pub use keys::{KeyEdit, KeyTransform, LogicalTable, SeenValue, TableIdentifier};
pub use outbox::{Additional, EventForm, EventRouter, NullFields, Placement, UpdateHandling};
pub use predicate::{Condition, Predicate};
pub use route::TopicRoute;
pub use unwrap::{DeleteHandling, FieldParent, FieldReference, Unwrap};

/// The records of a table, as far as transforms tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A row was created, read or updated.
    Row,
    /// A row was deleted.
    Delete,
    /// What follows it.
    Tombstone,
    /// A row's key was changed: its old key is deleted.
    OldKeyDelete,
    /// What follows that.
    OldKeyTombstone,
    /// The row under its new key.
    NewKeyRow,
    /// A table was emptied.
    Truncate,
}

impl RecordKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Row,
        Self::Delete,
        Self::Tombstone,
        Self::OldKeyDelete,
        Self::OldKeyTombstone,
        Self::NewKeyRow,
        Self::Truncate,
    ];

    /// Whether it is a null that follows a delete.
    pub fn is_tombstone(self) -> bool {
        matches!(self, Self::Tombstone | Self::OldKeyTombstone)
    }

    /// Whether it tells of a row that is there behind the change.
    pub fn has_row_after(self) -> bool {
        matches!(self, Self::Row | Self::NewKeyRow)
    }

    fn is_delete(self) -> bool {
        matches!(self, Self::Delete | Self::OldKeyDelete)
    }

    /// The delete that a tombstone follows.
    fn delete_before(self) -> Option<Self> {
        match self {
            Self::Tombstone => Some(Self::Delete),
            Self::OldKeyTombstone => Some(Self::OldKeyDelete),
            Self::Row | Self::Delete | Self::OldKeyDelete | Self::NewKeyRow | Self::Truncate => None,
        }
    }

    fn header(self) -> Option<&'static str> {
        match self {
            Self::Row | Self::Delete | Self::Tombstone | Self::Truncate => None,
            Self::OldKeyDelete | Self::OldKeyTombstone => Some("__debezium.newkey"),
            Self::NewKeyRow => Some("__debezium.oldkey"),
        }
    }
}

/// What the value of a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueForm {
    /// The envelope.
    Envelope,
    /// The row alone.
    Row(RowForm),
    /// Null that still has the schema of a row, which the converter writes as JSON.
    NullRow,
    /// Nothing.
    Tombstone,
    /// The event that the row holds.
    Event(EventForm),
}

/// A row without its envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowForm {
    /// It is the row before the change.
    pub is_before: bool,
    /// The text of `__deleted`, where the row has it.
    pub deleted: Option<&'static str>,
    /// Fields of the envelope that stand behind the columns.
    pub fields: Vec<FieldReference>,
    /// Defaults have taken the place of nulls, whatever the converter is told.
    pub replaces_nulls: bool,
}

/// A header that a transform adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddedHeader {
    /// A field of the envelope.
    Field(FieldReference),
    /// A name and a text.
    Text(String, &'static str),
    /// A name and what the configuration says, or null.
    Literal(String, Option<String>),
    /// A field of the value or the key.
    OfRecord(Box<FieldHeader>),
}

impl AddedHeader {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Field(reference) => &reference.new_name,
            Self::Text(name, _) | Self::Literal(name, _) => name,
            Self::OfRecord(header) => &header.name,
        }
    }
}

/// A kind of record behind the transforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Topic.
    pub topic: String,
    /// Value.
    pub value: ValueForm,
    /// Headers in the order in which they were added.
    pub headers: Vec<AddedHeader>,
    /// Filters that its rows have to pass.
    pub guards: Vec<Guard>,
    /// Headers of Debezium's that it does not have.
    pub dropped: Vec<String>,
    /// What is done to the key, in order.
    pub keys: Vec<KeyEdit>,
    /// What is done to the fields of the value, in order.
    pub edits: Vec<FieldEdit>,
    /// What the names of the value's schemas begin with, if not with the topic of the table.
    pub schema_base: Option<String>,
    /// Why Kafka Connect ends at such a record.
    pub failure: Option<&'static str>,
}

impl Outcome {
    fn new(topic: String, value: ValueForm) -> Self {
        let (headers, guards, dropped, keys, edits) = Default::default();
        Self { topic, value, headers, guards, dropped, keys, edits, schema_base: None, failure: None }
    }

    /// Of several reasons the first counts.
    fn fail(&mut self, why: &'static str) {
        self.failure.get_or_insert(why);
    }

    /// Whether more than its topic is another than that of a record without transforms.
    pub fn is_changed(&self) -> bool {
        let is_same = self.keys.is_empty() && self.edits.is_empty() && self.dropped.is_empty();
        !is_same || !self.headers.is_empty() || self.failure.is_some()
    }
}

/// What a transform does.
#[derive(Debug, Clone)]
pub enum Transform {
    /// One of Kafka Connect's transforms of values and their fields.
    EditFields(FieldEdit),
    /// A transform of keys.
    Key(KeyTransform),
    /// A transform of headers.
    Header(HeaderTransform),
    /// Debezium's `Filter`.
    Filter(Arc<Filter>),
    /// Debezium's outbox `EventRouter`.
    Outbox(Arc<EventRouter>),
    /// Kafka Connect's `RegexRouter`.
    Route(TopicRoute),
    /// Debezium's `ExtractNewRecordState`.
    Unwrap(Unwrap),
}

/// A transform, and when it is applied.
#[derive(Debug, Clone)]
pub struct Step {
    /// The transform.
    pub transform: Transform,
    /// Always, if there is none.
    pub condition: Option<Condition>,
}

/// The transforms of a connector, in order.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    steps: Vec<Step>,
    /// Headers that every record of a table has.
    context_headers: &'static [&'static str],
}

impl Transforms {
    /// Transforms in order.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps, context_headers: &[] }
    }

    /// The same, where all records of tables have headers of these names.
    #[must_use]
    pub fn with_context_headers(self, context_headers: &'static [&'static str]) -> Self {
        Self { context_headers, ..self }
    }

    /// Whether one of them takes rows out of their envelopes.
    pub fn has_unwrap(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.transform, Transform::Unwrap(_)))
    }

    /// What becomes of a kind of record of a topic; `None` if it is not written.
    pub fn outcome(&self, topic: &str, kind: RecordKind) -> Option<Outcome> {
        // Debezium gives a delete and its tombstone one set of headers, so that what is added to the one is on the other.
        let mut shared = Vec::new();
        if let Some(delete) = kind.delete_before() {
            self.apply(start(topic, delete, Vec::new()), delete, &self.headers(delete), &mut shared);
        }
        self.apply(start(topic, kind, shared), kind, &self.headers(kind), &mut Vec::new())
    }

    /// The names of the headers that a record has before the first transform.
    fn headers(&self, kind: RecordKind) -> Vec<&'static str> {
        self.context_headers.iter().copied().chain(kind.header()).collect()
    }

    /// Whether one of them looks at rows.
    pub fn has_filter(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.transform, Transform::Filter(_)))
    }

    /// Fields of envelopes under the names that `ExtractNewRecordState` gives them, and whether each is a header then.
    pub fn shown_fields(&self) -> impl Iterator<Item = (bool, &FieldReference)> {
        let unwraps = self.steps.iter().filter_map(|step| match &step.transform {
            Transform::Unwrap(unwrap) => Some(unwrap),
            _ => None,
        });
        unwraps.flat_map(|unwrap| {
            let of = |is_header: bool| move |field| (is_header, field);
            unwrap.fields.iter().map(of(false)).chain(unwrap.headers.iter().map(of(true)))
        })
    }

    /// Whether rows of some table say the topics of their records.
    pub fn has_outbox(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.transform, Transform::Outbox(_)))
    }

    /// The topic of a table's rows; `None` where each row says its own.
    pub fn topic_of_rows(&self, topic: &str) -> Option<String> {
        match self.outcome(topic, RecordKind::Row) {
            Some(Outcome { value: ValueForm::Event(_), .. }) => None,
            Some(outcome) => Some(outcome.topic),
            None => Some(topic.to_owned()),
        }
    }

    /// Notes in `shared` the headers that are added to the record itself: a transform that changes more makes a copy.
    fn apply(
        &self,
        mut outcome: Outcome,
        kind: RecordKind,
        headers: &[&str],
        shared: &mut Vec<AddedHeader>,
    ) -> Option<Outcome> {
        let mut is_copy = false;
        for (at, step) in self.steps.iter().enumerate() {
            if step.condition.as_ref().is_some_and(|condition| !condition.holds(&outcome, headers)) {
                continue;
            }
            match &step.transform {
                Transform::EditFields(edit) => {
                    if edit.is_for(&outcome.value) {
                        outcome.edits.push(edit.in_topic(&outcome.topic));
                        is_copy = true;
                    }
                }
                Transform::Key(transform) => is_copy |= transform.apply(&mut outcome),
                Transform::Header(transform) => {
                    transform.apply(&mut outcome, headers);
                    is_copy = true;
                }
                Transform::Route(route) => {
                    if let Some(topic) = route.apply(&outcome.topic) {
                        outcome.topic = topic;
                        is_copy = true;
                    }
                }
                Transform::Filter(filter) => match filter.judge(&outcome.topic, &outcome.value) {
                    Judged::Passes => {}
                    Judged::Dropped => return None,
                    Judged::Guarded(guard) => outcome.guards.push(guard),
                },
                Transform::Outbox(router) => match outcome.value {
                    // Debezium ends at a truncate, which is no event.
                    ValueForm::Envelope if kind.is_delete() || kind == RecordKind::Truncate => return None,
                    ValueForm::Envelope => {
                        let later = Self::new(self.steps.get(at.saturating_add(1)..).unwrap_or_default().to_vec());
                        let added = outcome.headers.iter().map(AddedHeader::name);
                        let event = EventForm::new(router, later, headers.iter().copied().chain(added));
                        outcome.value = ValueForm::Event(event);
                        return Some(outcome);
                    }
                    ValueForm::NullRow | ValueForm::Tombstone => return None,
                    ValueForm::Row(_) | ValueForm::Event(_) => {}
                },
                Transform::Unwrap(unwrap) => {
                    if !is_copy && outcome.value == ValueForm::Envelope {
                        shared.extend(unwrap.headers.iter().cloned().map(AddedHeader::Field));
                    }
                    outcome = unwrap.apply(outcome, kind)?;
                    is_copy = true;
                }
            }
        }
        Some(outcome)
    }
}

fn start(topic: &str, kind: RecordKind, headers: Vec<AddedHeader>) -> Outcome {
    let value = if kind.is_tombstone() { ValueForm::Tombstone } else { ValueForm::Envelope };
    Outcome { headers, ..Outcome::new(topic.to_owned(), value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(condition: Option<Condition>) -> Step {
        Step { transform: Transform::Route(TopicRoute::new("(.*)", "x.$1").unwrap()), condition }
    }

    fn unwrap(deletes: DeleteHandling, condition: Option<Condition>) -> Step {
        let headers = vec![FieldReference::parse("__", "op").unwrap()];
        Step { transform: Transform::Unwrap(Unwrap { deletes, headers, ..Unwrap::default() }), condition }
    }

    fn when(predicate: Predicate, is_negated: bool) -> Option<Condition> {
        Some(Condition { predicate, is_negated })
    }

    fn value(transforms: &Transforms, kind: RecordKind) -> Option<ValueForm> {
        transforms.outcome("t", kind).map(|outcome| outcome.value)
    }

    #[test]
    fn without_transforms_everything_stays_as_it_is() {
        let none = Transforms::default();
        for kind in RecordKind::ALL {
            let outcome = none.outcome("t", kind).unwrap();
            assert_eq!(outcome.value == ValueForm::Tombstone, kind.is_tombstone());
            assert_eq!((outcome.topic.as_str(), outcome.headers.len()), ("t", 0));
        }
    }

    #[test]
    fn deletes_and_tombstones_follow_the_mode() {
        use DeleteHandling::{DeleteToTombstone, Drop, Rewrite, RewriteWithTombstone, Tombstone};
        let form = RowForm { is_before: true, deleted: Some("true"), fields: Vec::new(), replaces_nulls: true };
        let deleted = ValueForm::Row(form);
        for (mode, delete, tombstone) in [
            (Drop, None, None),
            (Tombstone, Some(ValueForm::NullRow), None),
            (Rewrite, Some(deleted.clone()), None),
            (RewriteWithTombstone, Some(deleted), Some(ValueForm::Tombstone)),
            (DeleteToTombstone, Some(ValueForm::Tombstone), None),
        ] {
            let transforms = Transforms::new(vec![unwrap(mode, None)]);
            assert_eq!(value(&transforms, RecordKind::Delete), delete, "{mode:?}");
            assert_eq!(value(&transforms, RecordKind::OldKeyTombstone), tombstone, "{mode:?}");
        }
    }

    #[test]
    fn a_condition_sees_what_the_transforms_before_it_have_made() {
        let tombstone = || when(Predicate::RecordIsTombstone, false);
        let steps = vec![unwrap(DeleteHandling::Tombstone, None), route(tombstone())];
        let transforms = Transforms::new(steps);
        let topic = |kind| transforms.outcome("t", kind).map(|outcome| outcome.topic);
        assert_eq!(topic(RecordKind::Row).as_deref(), Some("t"));
        assert_eq!(topic(RecordKind::Delete).as_deref(), Some("x.t"));
        assert_eq!(topic(RecordKind::Tombstone), None);
        let added = || when(Predicate::HasHeaderKey("__op".to_owned()), false);
        let steps = vec![unwrap(DeleteHandling::Drop, None), route(added())];
        assert_eq!(Transforms::new(steps).topic_of_rows("t").as_deref(), Some("x.t"));
        assert_eq!(Transforms::new(vec![route(added())]).topic_of_rows("t").as_deref(), Some("t"));
    }

    #[test]
    fn a_tombstone_has_what_was_added_to_its_delete_unless_that_was_copied_before() {
        let count = |steps| {
            let outcome = Transforms::new(steps).outcome("t", RecordKind::Tombstone).unwrap();
            outcome.headers.len()
        };
        assert_eq!(count(vec![unwrap(DeleteHandling::RewriteWithTombstone, None)]), 2);
        assert_eq!(count(vec![route(None), unwrap(DeleteHandling::RewriteWithTombstone, None)]), 1);
    }

    #[test]
    fn what_is_unwrapped_is_not_unwrapped_again_but_its_tombstones_are_dropped() {
        let twice = vec![unwrap(DeleteHandling::DeleteToTombstone, None), unwrap(DeleteHandling::Drop, None)];
        let transforms = Transforms::new(twice);
        let outcome = transforms.outcome("t", RecordKind::Row).unwrap();
        assert!(matches!(outcome.value, ValueForm::Row(_)) && outcome.headers.len() == 1, "{outcome:?}");
        assert_eq!(transforms.outcome("t", RecordKind::Delete), None);
    }

    #[test]
    fn conditions_look_at_topic_and_headers_and_can_be_negated() {
        let pattern = || Predicate::TopicNameMatches(crate::pattern::Pattern::whole("t").unwrap());
        let routed = |condition| Transforms::new(vec![route(condition)]).with_context_headers(&["context"]);
        assert_eq!(routed(when(pattern(), false)).topic_of_rows("t").as_deref(), Some("x.t"));
        assert_eq!(routed(when(pattern(), true)).topic_of_rows("t").as_deref(), Some("t"));
        assert_eq!(routed(when(pattern(), true)).topic_of_others("tt"), "x.tt");
        let has = |name: &str| when(Predicate::HasHeaderKey(name.to_owned()), false);
        assert_eq!(routed(has("context")).topic_of_rows("t").as_deref(), Some("x.t"));
        assert_eq!(routed(has("context")).topic_of_others("t"), "t");
        let old_key = routed(has("__debezium.oldkey"));
        assert_eq!(old_key.topic_of_rows("t").as_deref(), Some("t"));
        assert_eq!(old_key.outcome("t", RecordKind::NewKeyRow).unwrap().topic, "x.t");
    }
}
