//! Kafka Connect's transforms of a value and of its fields: `ReplaceField$Value`, `InsertField$Value`, `TimestampConverter$Value`
//! and their like.

use super::ValueForm;
use super::conversions::{CastType, TimeEdit};
use crate::connect::Nulls;

/// What one of them does to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// What it does.
    pub action: FieldAction,
    /// What it makes of nulls in fields that have a default.
    pub nulls: Nulls,
}

/// What becomes of the value or its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldAction {
    /// Some are left out, and others get new names.
    Replace(ReplacedFields),
    /// Others come behind them.
    Insert(Vec<InsertedField>),
    /// What is in some of them is hidden.
    Mask {
        /// Their names.
        names: Vec<String>,
        /// Stands for each value; without one, what is zero or empty.
        replacement: Option<String>,
    },
    /// Times in one of them get another form.
    Time(TimeEdit),
    /// Some get other types.
    Cast(Vec<(String, CastType)>),
    /// One takes the place of the value.
    Extract(String),
    /// The value becomes the only field of another one.
    Hoist(String),
    /// Fields of fields become fields, whose names are joined with this.
    Flatten(String),
    /// The schema gets a name or a version.
    Describe {
        /// `schema.name`.
        name: Option<String>,
        /// `schema.version`.
        version: Option<i32>,
    },
}

/// `ReplaceField`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplacedFields {
    /// `exclude`.
    pub excluded: Vec<String>,
    /// `include`; empty for all.
    pub included: Vec<String>,
    /// `renames`: old and new names.
    pub renames: Vec<(String, String)>,
}

/// A field that `InsertField` adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertedField {
    /// Its name.
    pub name: String,
    /// Whether null would be a value of it.
    pub is_optional: bool,
    /// What it holds.
    pub content: Inserted,
}

/// What an added field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// The topic that the record has by then.
    Topic,
    /// A text.
    Text(String),
    /// The number of a partition, which no record of a connector has before it is sent.
    Partition,
    /// The time of a record, which records of rows do not have.
    Timestamp,
}

impl ReplacedFields {
    /// Whether a field is left in.
    pub fn keeps(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|known| known == name);
        !is_in(&self.excluded) && (self.included.is_empty() || is_in(&self.included))
    }

    /// The new name of a field.
    pub fn renamed<'n>(&'n self, name: &'n str) -> &'n str {
        self.renames.iter().find(|(old, _)| old == name).map_or(name, |(_, new)| new)
    }
}

impl FieldAction {
    /// Whether a null gets at least another schema.
    pub fn is_for_null(&self) -> bool {
        match self {
            Self::Time(_) | Self::Extract(_) | Self::Hoist(_) | Self::Describe { .. } => true,
            Self::Replace(_) | Self::Insert(_) | Self::Mask { .. } | Self::Cast(_) | Self::Flatten(_) => false,
        }
    }
}

impl InsertedField {
    /// From `name`, `name?` or `name!`, of which the last cannot be null.
    pub fn new(spec: &str, content: Inserted) -> Self {
        let (name, is_optional) = match (spec.strip_suffix('?'), spec.strip_suffix('!')) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => (spec, true),
        };
        Self { name: name.to_owned(), is_optional, content }
    }
}

impl FieldEdit {
    /// Whether it does anything to such a value: most leave a null and its schema alone.
    pub(super) fn is_for(&self, value: &ValueForm) -> bool {
        match value {
            ValueForm::Tombstone => matches!(self.action, FieldAction::Hoist(_)),
            ValueForm::NullRow => self.action.is_for_null(),
            ValueForm::Envelope | ValueForm::Row(_) | ValueForm::Event(_) => true,
        }
    }

    /// The same for a record that is on its way to this topic.
    pub(super) fn in_topic(&self, topic: &str) -> Self {
        let mut edit = self.clone();
        if let FieldAction::Insert(fields) = &mut edit.action {
            for field in fields.iter_mut().filter(|field| field.content == Inserted::Topic) {
                field.content = Inserted::Text(topic.to_owned());
            }
        }
        edit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kept_and_named_by_their_lists() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let renames = vec![("a".to_owned(), "b".to_owned())];
        let edit = ReplacedFields { excluded: list(&["c"]), included: Vec::new(), renames };
        assert!(edit.keeps("a") && !edit.keeps("c"));
        assert_eq!((edit.renamed("a"), edit.renamed("b")), ("b", "b"));
        let both = ReplacedFields { excluded: list(&["c"]), included: list(&["c", "d"]), ..ReplacedFields::default() };
        assert!(both.keeps("d") && !both.keeps("c") && !both.keeps("e"));
    }

    #[test]
    fn an_added_field_says_whether_it_may_be_null() {
        let read = |spec| InsertedField::new(spec, Inserted::Topic);
        assert_eq!((read("t").name.as_str(), read("t").is_optional), ("t", true));
        assert_eq!((read("t?").name.as_str(), read("t?").is_optional), ("t", true));
        assert_eq!((read("t!").name.as_str(), read("t!").is_optional), ("t", false));
    }
}
