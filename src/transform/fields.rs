//! Kafka Connect's transforms of the fields of a value: `ReplaceField$Value`, `InsertField$Value` and `MaskField$Value`.

use crate::connect::Nulls;

/// What one of them does to a value that is not null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// What it does.
    pub action: FieldAction,
    /// What it makes of nulls in fields that have a default.
    pub nulls: Nulls,
}

/// What becomes of the fields.
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
