//! Kafka Connect's transforms of keys, from `ValueToKey` on, and Debezium's `ByLogicalTableRouter`, which gives topics and keys.

use super::{FieldAction, FieldEdit, Outcome, TopicRoute, ValueForm};
use crate::connect::{Adjustment, Named, Nulls};

/// A transform of keys.
#[derive(Debug, Clone)]
pub enum KeyTransform {
    /// `ValueToKey`: fields of the value are the key.
    FromValue {
        /// Their names.
        fields: Vec<String>,
        /// What it makes of nulls in fields that have a default.
        nulls: Nulls,
    },
    /// What a transform of values and their fields does, done to the key: `ExtractField$Key`, `ReplaceField$Key` and others.
    Fields(FieldEdit),
    /// `ByLogicalTableRouter`.
    Logical(Box<LogicalTable>),
}

/// Debezium's `ByLogicalTableRouter`.
#[derive(Debug, Clone)]
pub struct LogicalTable {
    /// What topics it changes, and how.
    pub route: TopicRoute,
    /// The field that it adds to keys.
    pub identifier: Option<TableIdentifier>,
    /// What becomes of the names of schemas.
    pub names: Adjustment,
}

/// A field that says which table a record is of.
#[derive(Debug, Clone)]
pub struct TableIdentifier {
    /// Its name.
    pub field: String,
    /// What is made of the topic that the record had; without it, the topic itself.
    pub route: Option<TopicRoute>,
}

/// What becomes of a key, with what the record was by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEdit {
    /// Fields of the value are the key.
    FromValue {
        /// Their names.
        fields: Vec<String>,
        /// What is made of nulls in fields that have a default.
        nulls: Nulls,
        /// The value.
        value: SeenValue,
    },
    /// It changes, or its fields do.
    Fields(FieldEdit),
    /// It is of a logical table.
    Logical {
        /// The name of its schema.
        schema_name: String,
        /// A further field and its text.
        field: Option<(String, String)>,
    },
}

/// A value as a transform sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenValue {
    /// What it is.
    pub form: ValueForm,
    /// What was done to its fields.
    pub edits: Vec<FieldEdit>,
}

impl SeenValue {
    pub(super) fn of(record: &Outcome) -> Self {
        Self { form: record.value.clone(), edits: record.edits.clone() }
    }
}

impl KeyEdit {
    /// Whether it leaves a key of records that are of no table one of its own kind.
    pub fn fits_all_keys(&self) -> bool {
        match self {
            Self::FromValue { .. } => false,
            Self::Fields(edit) => !matches!(edit.action, FieldAction::Extract(_) | FieldAction::Hoist(_)),
            Self::Logical { .. } => true,
        }
    }
}

impl KeyTransform {
    /// Applies it to a record; whether the record is another one then.
    pub(super) fn apply(&self, record: &mut Outcome) -> bool {
        let edit = match self {
            Self::FromValue { .. } if matches!(record.value, ValueForm::NullRow | ValueForm::Tombstone) => {
                record.fail(
                    "ValueToKey takes fields of a value that is null: give it the predicate RecordIsTombstone, negated",
                );
                return true;
            }
            Self::FromValue { fields, nulls } => {
                record.keys.clear();
                KeyEdit::FromValue { fields: fields.clone(), nulls: *nulls, value: SeenValue::of(record) }
            }
            Self::Fields(edit) => KeyEdit::Fields(edit.in_topic(&record.topic)),
            Self::Logical(table) => match table.edit(record) {
                Some(edit) => edit,
                None => return false,
            },
        };
        record.keys.push(edit);
        true
    }
}

impl LogicalTable {
    /// Gives the record its topic; what that means for its key.
    fn edit(&self, record: &mut Outcome) -> Option<KeyEdit> {
        let topic = self.route.apply(&record.topic).filter(|topic| !topic.is_empty())?;
        let before = std::mem::replace(&mut record.topic, topic);
        let base = self.names.applied(&record.topic, Named::Schema);
        let field = self.identifier.as_ref().map(|identifier| {
            let named = identifier.route.as_ref().and_then(|route| route.apply(&before));
            (identifier.field.clone(), named.unwrap_or(before))
        });
        let schema_name = format!("{base}.Key");
        if record.value == ValueForm::Envelope {
            record.schema_base = Some(base);
        }
        Some(KeyEdit::Logical { schema_name, field })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, DeleteHandling, Predicate, RecordKind, Step, Transform, Transforms, Unwrap};
    use super::*;

    fn step(transform: KeyTransform) -> Step {
        Step { transform: Transform::Key(transform), condition: None }
    }

    fn from_value() -> KeyTransform {
        KeyTransform::FromValue { fields: vec!["id".to_owned()], nulls: Nulls::Replaced }
    }

    fn unwrap(deletes: DeleteHandling) -> Step {
        Step { transform: Transform::Unwrap(Unwrap { deletes, ..Unwrap::default() }), condition: None }
    }

    #[test]
    fn a_key_of_the_value_sees_what_the_value_is_by_then() {
        let transforms = Transforms::new(vec![unwrap(DeleteHandling::Rewrite), step(from_value())]);
        for (kind, is_before) in [(RecordKind::Row, false), (RecordKind::Delete, true)] {
            let outcome = transforms.outcome("t", kind).unwrap();
            let [KeyEdit::FromValue { value: SeenValue { form: ValueForm::Row(row), .. }, .. }] = &*outcome.keys else {
                panic!("{outcome:?}")
            };
            assert_eq!((row.is_before, outcome.failure), (is_before, None));
        }
        let outcome = Transforms::new(vec![step(from_value())]).outcome("t", RecordKind::Row).unwrap();
        assert!(matches!(&*outcome.keys, [KeyEdit::FromValue { value, .. }] if value.form == ValueForm::Envelope));
    }

    #[test]
    fn a_null_value_fails_unless_a_predicate_keeps_it_off() {
        let failure = |steps: Vec<Step>, kind| Transforms::new(steps).outcome("t", kind).unwrap().failure;
        for kind in [RecordKind::Tombstone, RecordKind::OldKeyTombstone] {
            assert!(failure(vec![step(from_value())], kind).unwrap().contains("RecordIsTombstone"), "{kind:?}");
        }
        assert!(failure(vec![unwrap(DeleteHandling::Tombstone), step(from_value())], RecordKind::Delete).is_some());
        let condition = Condition { predicate: Predicate::RecordIsTombstone, is_negated: true };
        let guarded = Step { condition: Some(condition), ..step(from_value()) };
        let outcome = Transforms::new(vec![guarded]).outcome("t", RecordKind::Tombstone).unwrap();
        assert_eq!((outcome.failure, outcome.keys.len()), (None, 0));
    }

    #[test]
    fn a_logical_table_has_one_topic_and_its_keys_say_the_table() {
        let logical = |identifier| {
            let route = TopicRoute::new("(.*)_\\d+", "$1_all").unwrap();
            step(KeyTransform::Logical(Box::new(LogicalTable { route, identifier, names: Adjustment::Underscore })))
        };
        let named = |route: Option<(&str, &str)>| {
            let route = route.map(|(regex, replacement)| TopicRoute::new(regex, replacement).unwrap());
            logical(Some(TableIdentifier { field: "of".to_owned(), route }))
        };
        let outcome = |step: Step, topic| Transforms::new(vec![step]).outcome(topic, RecordKind::Row).unwrap();
        let routed = outcome(named(None), "p.s-1.t_7");
        assert_eq!((routed.topic.as_str(), routed.schema_base.as_deref()), ("p.s-1.t_all", Some("p.s_1.t_all")));
        let key = |schema_name: &str, field: Option<(&str, &str)>| {
            let field = field.map(|(name, text)| (name.to_owned(), text.to_owned()));
            vec![KeyEdit::Logical { schema_name: schema_name.to_owned(), field }]
        };
        assert_eq!(routed.keys, key("p.s_1.t_all.Key", Some(("of", "p.s-1.t_7"))));
        let part = outcome(named(Some((".*_(.*)", "part $1"))), "t_7");
        assert_eq!(part.keys, key("t_all.Key", Some(("of", "part 7"))));
        let unmatched = outcome(named(Some(("x", "y"))), "t_7");
        assert_eq!(unmatched.keys, key("t_all.Key", Some(("of", "t_7"))));
        assert_eq!(outcome(logical(None), "t_7").keys, key("t_all.Key", None));
        let other = outcome(named(None), "other");
        assert_eq!((other.topic.as_str(), other.keys.len(), other.schema_base), ("other", 0, None));
        let unwrapped = Transforms::new(vec![unwrap(DeleteHandling::Drop), logical(None)]);
        assert_eq!(unwrapped.outcome("t_7", RecordKind::Row).unwrap().schema_base, None);
        assert_eq!(unwrapped.topic_of_others("t_7"), "t_all");
    }
}
