//! Debezium's `ExtractNewRecordState`: the row alone instead of its envelope.

use super::{AddedHeader, Outcome, RecordKind, RowForm, ValueForm};
use crate::connect::Nulls;

/// `delete.tombstone.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteHandling {
    /// Neither delete nor tombstone is written.
    Drop,
    /// The delete becomes a null, the tombstone is not written.
    #[default]
    Tombstone,
    /// The delete becomes the row before it with `__deleted`, the tombstone is not written.
    Rewrite,
    /// The same with the tombstone.
    RewriteWithTombstone,
    /// The delete becomes a tombstone, the one behind it is not written.
    DeleteToTombstone,
}

impl DeleteHandling {
    /// From Debezium's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "drop" => Some(Self::Drop),
            "tombstone" => Some(Self::Tombstone),
            "rewrite" => Some(Self::Rewrite),
            "rewrite-with-tombstone" => Some(Self::RewriteWithTombstone),
            "delete-to-tombstone" => Some(Self::DeleteToTombstone),
            _ => None,
        }
    }

    fn marks_deleted(self) -> bool {
        matches!(self, Self::Rewrite | Self::RewriteWithTombstone)
    }
}

/// The part of an envelope that holds a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldParent {
    /// The envelope itself.
    Envelope,
    /// `source`.
    Source,
    /// `transaction`.
    Transaction,
    /// The row before the change.
    Before,
    /// The row behind it.
    After,
}

/// A field of an envelope that becomes a field of the row, or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldReference {
    /// Where it is looked for first; then in the envelope itself.
    pub parent: FieldParent,
    /// Its name there.
    pub field: String,
    /// Its name in the row, or of the header.
    pub new_name: String,
}

impl FieldReference {
    /// From an entry of `add.fields` or `add.headers`: `field`, `parent.field`, either with `:name`.
    ///
    /// The error says why it is refused.
    pub fn parse(prefix: &str, entry: &str) -> Result<Self, String> {
        let mut parts = entry.split(':');
        let (path, mapped, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let mut names = path.split('.');
        let (first, second, third) = (names.next().unwrap_or_default(), names.next(), names.next());
        let is_empty = first.is_empty() || second.is_some_and(str::is_empty) || mapped.is_some_and(str::is_empty);
        if is_empty || rest.is_some() || third.is_some() {
            return Err(format!("`{entry}` is not of the form field, source.field or either with :name"));
        }
        let (parent, field) = match second {
            Some(field) => (parent_of_name(first), field),
            None => (Some(parent_of_field(first)), first),
        };
        let Some(parent) = parent else {
            return Err(format!("`{entry}` is in none of source, transaction, before and after"));
        };
        let is_column = matches!(parent, FieldParent::Before | FieldParent::After);
        if !is_column && matches!(field, "before" | "after" | "source" | "transaction") {
            return Err(format!("`{entry}` is no single field"));
        }
        let new_name = match (mapped, second) {
            (Some(name), _) => format!("{prefix}{name}"),
            (None, Some(field)) => format!("{prefix}{first}_{field}"),
            (None, None) => format!("{prefix}{first}"),
        };
        Ok(Self { parent, field: field.to_owned(), new_name })
    }
}

fn parent_of_name(name: &str) -> Option<FieldParent> {
    match name {
        "source" => Some(FieldParent::Source),
        "transaction" => Some(FieldParent::Transaction),
        "before" => Some(FieldParent::Before),
        "after" => Some(FieldParent::After),
        _ => None,
    }
}

/// As Debezium guesses it for a field whose parent is not named.
fn parent_of_field(field: &str) -> FieldParent {
    match field {
        "id" | "data_collection_order" | "total_order" => FieldParent::Transaction,
        "op" | "ts_ms" | "ts_us" | "ts_ns" => FieldParent::Envelope,
        _ => FieldParent::Source,
    }
}

/// The transform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unwrap {
    /// `delete.tombstone.handling.mode`.
    pub deletes: DeleteHandling,
    /// `add.fields`.
    pub fields: Vec<FieldReference>,
    /// `add.headers`.
    pub headers: Vec<FieldReference>,
    /// What it makes of nulls in columns that have a default, where it adds `__deleted`.
    pub nulls: Nulls,
}

impl Unwrap {
    /// What becomes of a record; `None` if it is dropped.
    pub(super) fn apply(&self, mut record: Outcome, kind: RecordKind) -> Option<Outcome> {
        match record.value {
            // Not of a kind that Debezium takes for its own.
            ValueForm::Row(_) | ValueForm::Event(_) => return Some(record),
            ValueForm::NullRow | ValueForm::Tombstone => {
                let ops = self.headers.iter().filter(|header| header.field == "op");
                record.headers.extend(ops.map(|header| AddedHeader::Text(header.new_name.clone(), "d")));
                return (self.deletes == DeleteHandling::RewriteWithTombstone).then_some(record);
            }
            ValueForm::Envelope => {}
        }
        if kind == RecordKind::Truncate {
            return None;
        }
        record.headers.extend(self.headers.iter().cloned().map(AddedHeader::Field));
        record.value = match (kind.is_delete(), self.deletes) {
            (true, DeleteHandling::Drop) => return None,
            (true, DeleteHandling::Tombstone) => ValueForm::NullRow,
            (true, DeleteHandling::DeleteToTombstone) => ValueForm::Tombstone,
            (is_before, mode) => {
                let word = if is_before { "true" } else { "false" };
                let deleted = mode.marks_deleted().then_some(word);
                let replaces_nulls = deleted.is_some() && self.nulls == Nulls::Replaced;
                ValueForm::Row(RowForm { is_before, deleted, fields: self.fields.clone(), replaces_nulls })
            }
        };
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_debezium_names_them() {
        let parsed = |entry: &str| {
            let reference = FieldReference::parse("__", entry).unwrap();
            (reference.parent, reference.field, reference.new_name)
        };
        let named = |parent, field: &str, name: &str| (parent, field.to_owned(), name.to_owned());
        assert_eq!(parsed("op"), named(FieldParent::Envelope, "op", "__op"));
        assert_eq!(parsed("lsn"), named(FieldParent::Source, "lsn", "__lsn"));
        assert_eq!(parsed("source.ts_ms"), named(FieldParent::Source, "ts_ms", "__source_ts_ms"));
        assert_eq!(parsed("id"), named(FieldParent::Transaction, "id", "__id"));
        assert_eq!(parsed("source.txId:tx"), named(FieldParent::Source, "txId", "__tx"));
        assert_eq!(parsed("before.source"), named(FieldParent::Before, "source", "__before_source"));
    }

    #[test]
    fn what_is_no_single_field_of_every_envelope_is_refused() {
        for entry in ["", "a.b.c", "a:b:c", "after", "source", "source.", "op:", "other.x"] {
            assert!(FieldReference::parse("__", entry).is_err(), "{entry}");
        }
    }
}
