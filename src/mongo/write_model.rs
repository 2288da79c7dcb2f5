//! What a handler wants done in MongoDB, as data.
//!
//! Collections and paths are `&'static str`, so that nothing of a payload can become an operator or a path.

use bson::{Bson, DateTime, Document};

use crate::error::{Error, Result};

/// The field that holds evp's own bookkeeping in every document it changes.
pub const BOOKKEEPING_FIELD: &str = "_evp";

/// One effect on one document.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteModel {
    /// Insert a document; if its id is taken, the first one stays.
    Create(Create),
    /// Change a document, step by step.
    Change(Change),
}

/// See [`WriteModel::create`].
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    pub(crate) collection: &'static str,
    pub(crate) id: String,
    pub(crate) document: Document,
}

/// See [`WriteModel::update`] and [`WriteModel::upsert`].
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub(crate) collection: &'static str,
    pub(crate) id: String,
    pub(crate) absent: Absent,
    pub(crate) steps: Vec<Step>,
}

/// What a change does when its document does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It waits for the event that creates the document.
    Wait,
    /// It creates the document.
    Create,
}

/// One step of a [`Change`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Last writer wins; fields of one step are won or lost together.
    Set { fields: Vec<(&'static str, Bson)> },
    /// `target` becomes the texts of `sources`, after all sets, joined with blanks and trimmed.
    Join { target: &'static str, sources: &'static [&'static str] },
    /// A list of documents with one entry per key.
    AddOnce(AddOnce),
    /// A list of values without repetition.
    AddValue { path: &'static str, value: Bson },
    /// A counter.
    Increment { path: &'static str, by: i64 },
    /// The latest date ever given.
    Latest { path: &'static str, date: DateTime },
}

/// Adds an entry to a list once per key; of several entries with one key the earliest stays.
#[derive(Debug, Clone, PartialEq)]
pub struct AddOnce {
    /// Path of the list.
    pub list: &'static str,
    /// The entry's field that tells entries apart.
    pub key: &'static str,
    /// The entry's field, a date, by which the earliest is found.
    pub order: &'static str,
    /// Path of a number that always is the list's length.
    pub count: Option<&'static str>,
    /// What is added; it has the two fields above.
    pub entry: Document,
}

impl WriteModel {
    /// Inserts `document` as `id` unless a document with that id exists.
    pub fn create(collection: &'static str, id: impl Into<String>, document: Document) -> Self {
        Self::Create(Create { collection, id: id.into(), document })
    }

    /// Changes document `id`, which an earlier event must have created; without it the event waits.
    pub fn update(collection: &'static str, id: impl Into<String>) -> Change {
        Change { collection, id: id.into(), absent: Absent::Wait, steps: Vec::new() }
    }

    /// Changes document `id`, creating it if need be.
    pub fn upsert(collection: &'static str, id: impl Into<String>) -> Change {
        Change { collection, id: id.into(), absent: Absent::Create, steps: Vec::new() }
    }

    /// The collection that is written.
    pub fn collection(&self) -> &'static str {
        match self {
            Self::Create(create) => create.collection,
            Self::Change(change) => change.collection,
        }
    }

    /// The `_id` of the document that is written.
    pub fn id(&self) -> &str {
        match self {
            Self::Create(create) => &create.id,
            Self::Change(change) => &change.id,
        }
    }

    /// Refuses what a handler must not write: ids, evp's bookkeeping, operators.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Create(create) => match create.document.get("_id") {
                Some(id) if id.as_str() != Some(create.id.as_str()) => {
                    Err(Error::data("a created document's _id differs from the id of its write model"))
                }
                _ if create.document.contains_key(BOOKKEEPING_FIELD) => {
                    Err(Error::data(format!("a created document sets {BOOKKEEPING_FIELD}, which is reserved")))
                }
                _ => Ok(()),
            },
            Self::Change(change) => change.steps.iter().flat_map(Step::paths).try_for_each(check_path),
        }
    }
}

impl Change {
    /// Sets a field. Across partitions the event that was committed later wins.
    #[must_use]
    pub fn set(self, path: &'static str, value: impl Into<Bson>) -> Self {
        self.step(Step::Set { fields: vec![(path, value.into())] })
    }

    /// Sets fields that always change together, such as a date and the event it came from.
    #[must_use]
    pub fn set_together(self, fields: Vec<(&'static str, Bson)>) -> Self {
        if fields.is_empty() { self } else { self.step(Step::Set { fields }) }
    }

    /// Recomputes `target` from the resulting `sources`: their texts joined with blanks, trimmed.
    #[must_use]
    pub fn join(self, target: &'static str, sources: &'static [&'static str]) -> Self {
        self.step(Step::Join { target, sources })
    }

    /// Adds an entry to a list once per key.
    #[must_use]
    pub fn add_once(self, entry: AddOnce) -> Self {
        self.step(Step::AddOnce(entry))
    }

    /// Adds a value to a list unless it is there.
    #[must_use]
    pub fn add_value(self, path: &'static str, value: impl Into<Bson>) -> Self {
        self.step(Step::AddValue { path, value: value.into() })
    }

    /// Adds to a counter, exactly once per event.
    #[must_use]
    pub fn increment(self, path: &'static str, by: i64) -> Self {
        self.step(Step::Increment { path, by })
    }

    /// Sets a date to the later of what it is and `date`.
    #[must_use]
    pub fn latest(self, path: &'static str, date: DateTime) -> Self {
        self.step(Step::Latest { path, date })
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl From<Change> for WriteModel {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

impl Step {
    fn paths(&self) -> Vec<&'static str> {
        match self {
            Self::Set { fields } => fields.iter().map(|(path, _)| *path).collect(),
            Self::Join { target, sources } => sources.iter().copied().chain([*target]).collect(),
            Self::AddOnce(add) => [add.list, add.key, add.order].into_iter().chain(add.count).collect(),
            Self::AddValue { path, .. } | Self::Increment { path, .. } | Self::Latest { path, .. } => vec![*path],
        }
    }
}

fn check_path(path: &'static str) -> Result<()> {
    let mut segments = path.split('.');
    let root = segments.next().unwrap_or_default();
    let reserved = root == "_id" || root == BOOKKEEPING_FIELD;
    let malformed = path.split('.').any(|name| name.is_empty() || name.starts_with('$') || name.contains(['\0', '/']));
    if reserved || malformed {
        return Err(Error::data(format!("a handler writes the path `{path}`, which is reserved or malformed")));
    }
    Ok(())
}

/// What [`Change::join`] computes: the texts joined with blanks, without white space at either end.
pub fn joined_text(texts: &[Option<&str>]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| text.unwrap_or_default()).collect();
    texts.join(" ").trim_matches(JOIN_TRIM).to_owned()
}

/// What counts as white space at the ends of a joined text, here and in MongoDB's `$trim`.
pub(crate) const JOIN_TRIM: &[char] = &[' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn a_name_is_joined_from_what_is_there() {
        assert_eq!(joined_text(&[Some("Ada"), Some("Lovelace")]), "Ada Lovelace");
        assert_eq!(joined_text(&[None, Some("Lovelace")]), "Lovelace");
        assert_eq!(joined_text(&[Some(" Ada\t"), None]), "Ada");
        assert_eq!(joined_text(&[None, None]), "");
    }

    #[test]
    fn reserved_and_malformed_paths_are_refused() {
        for path in ["_id", "_evp.wm", "$set", "a..b", "a.$b", "", "a/b"] {
            assert!(WriteModel::from(WriteModel::update("users", "1").set(path, 1)).check().is_err(), "{path}");
        }
        assert!(WriteModel::from(WriteModel::update("users", "1").set("a.b_c", 1)).check().is_ok());
    }

    #[test]
    fn a_document_cannot_bring_its_own_bookkeeping_or_another_id() {
        assert!(WriteModel::create("users", "1", doc! { "_evp": {} }).check().is_err());
        assert!(WriteModel::create("users", "1", doc! { "_id": "2" }).check().is_err());
        assert!(WriteModel::create("users", "1", doc! { "_id": "1", "email": null }).check().is_ok());
    }
}
