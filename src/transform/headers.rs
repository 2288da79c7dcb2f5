//! Kafka Connect's transforms of headers: `InsertHeader`, `DropHeaders` and `HeaderFrom`.

use super::keys::{KeyEdit, SeenValue};
use super::{FieldAction, FieldEdit, Outcome, ReplacedFields, ValueForm};
use crate::connect::Nulls;

/// A transform of headers.
#[derive(Debug, Clone)]
pub enum HeaderTransform {
    /// `InsertHeader`: a name and a text, or null.
    Insert(String, Option<String>),
    /// `DropHeaders`: all headers of these names.
    Drop(Vec<String>),
    /// `HeaderFrom$Value` or `HeaderFrom$Key`.
    From(FieldHeaders),
}

/// Headers that are fields of the record.
#[derive(Debug, Clone)]
pub struct FieldHeaders {
    /// The fields are of the key.
    pub is_of_key: bool,
    /// Fields and the names of their headers.
    pub fields: Vec<(String, String)>,
    /// The record keeps no such field.
    pub is_moved: bool,
    /// What is made of nulls in fields that have a default.
    pub nulls: Nulls,
}

/// A header that a transform adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldHeader {
    /// Its name.
    pub name: String,
    /// The field that it is.
    pub field: String,
    /// What is made of null, if the field has a default.
    pub nulls: Nulls,
    /// What the field is of.
    pub of: HeaderOf,
}

/// What a field is of that becomes a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderOf {
    /// The value as it was by then.
    Value(SeenValue),
    /// The key likewise.
    Key(Vec<KeyEdit>),
}

impl HeaderTransform {
    /// Applies it to a record that had these headers before the first transform.
    pub(super) fn apply(&self, record: &mut Outcome, own: &[&str]) {
        match self {
            Self::Insert(name, text) => record.headers.push(super::AddedHeader::Literal(name.clone(), text.clone())),
            Self::Drop(names) => {
                let is_named = |name: &str| names.iter().any(|dropped| dropped == name);
                record.headers.retain(|header| !is_named(header.name()));
                let own =
                    own.iter().filter(|name| is_named(name) && !record.dropped.iter().any(|known| known == *name));
                let own: Vec<String> = own.map(|name| (*name).to_owned()).collect();
                record.dropped.extend(own);
            }
            Self::From(headers) => headers.apply(record),
        }
    }
}

impl FieldHeaders {
    fn apply(&self, record: &mut Outcome) {
        if !self.is_of_key && matches!(record.value, ValueForm::NullRow | ValueForm::Tombstone) {
            return record
                .fail("HeaderFrom$Value takes fields of a value that is null: give it the predicate RecordIsTombstone, negated");
        }
        let of = match self.is_of_key {
            true => HeaderOf::Key(record.keys.clone()),
            false => HeaderOf::Value(SeenValue::of(record)),
        };
        for (field, name) in &self.fields {
            let header = FieldHeader { name: name.clone(), field: field.clone(), nulls: self.nulls, of: of.clone() };
            record.headers.push(super::AddedHeader::OfRecord(Box::new(header)));
        }
        if self.is_moved {
            let excluded = self.fields.iter().map(|(field, _)| field.clone()).collect();
            let action = FieldAction::Replace(ReplacedFields { excluded, ..ReplacedFields::default() });
            let edit = FieldEdit { action, nulls: self.nulls };
            match self.is_of_key {
                true => record.keys.push(KeyEdit::Fields(edit)),
                false => record.edits.push(edit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AddedHeader, Condition, Predicate, RecordKind, Step, Transform, Transforms};
    use super::*;

    fn step(transform: HeaderTransform) -> Step {
        Step { transform: Transform::Header(transform), condition: None }
    }

    fn names(outcome: &Outcome) -> Vec<&str> {
        outcome.headers.iter().map(AddedHeader::name).collect()
    }

    #[test]
    fn headers_come_and_go_in_their_order() {
        let insert = |name: &str| step(HeaderTransform::Insert(name.to_owned(), None));
        let drop = |names: &[&str]| step(HeaderTransform::Drop(names.iter().map(|name| (*name).to_owned()).collect()));
        let has =
            |name: &str| Some(Condition { predicate: Predicate::HasHeaderKey(name.to_owned()), is_negated: false });
        let transforms = Transforms::new(vec![
            insert("a"),
            insert("b"),
            insert("a"),
            drop(&["a", "context", "nosuch"]),
            insert("a"),
            Step { condition: has("context"), ..insert("never") },
        ])
        .with_context_headers(&["context", "kept"]);
        let outcome = transforms.outcome("t", RecordKind::Row).unwrap();
        assert_eq!((names(&outcome), outcome.dropped.as_slice()), (vec!["b", "a"], ["context".to_owned()].as_slice()));
        let beside = transforms.beside_tables("other");
        assert_eq!(beside.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn a_field_that_is_moved_leaves_its_place() {
        let fields = vec![("id".to_owned(), "h".to_owned())];
        let headers = |is_of_key, is_moved| {
            let from = FieldHeaders { is_of_key, fields: fields.clone(), is_moved, nulls: Nulls::Replaced };
            Transforms::new(vec![step(HeaderTransform::From(from))])
        };
        let of = |transforms: &Transforms, kind| transforms.outcome("t", kind).unwrap();
        let copied = of(&headers(false, false), RecordKind::Row);
        assert_eq!((names(&copied), copied.edits.len(), copied.keys.len()), (vec!["h"], 0, 0));
        let moved = of(&headers(false, true), RecordKind::Row);
        assert_eq!((moved.edits.len(), moved.keys.len()), (1, 0));
        let moved = of(&headers(true, true), RecordKind::Tombstone);
        assert_eq!((moved.edits.len(), moved.keys.len(), moved.failure), (0, 1, None));
        assert!(of(&headers(false, false), RecordKind::Tombstone).failure.is_some());
    }
}
