//! What a handler wants done in MongoDB, as data.
//!
//! Collections and paths are types of their own, so that nothing of a payload can become an operator or a path.

use bson::{Bson, DateTime, Document};

use super::path::{Collection, Path};
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
    pub(crate) collection: Collection,
    pub(crate) id: String,
    pub(crate) document: Document,
}

/// See [`WriteModel::update`] and [`WriteModel::upsert`].
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub(crate) collection: Collection,
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
    /// Last writer wins; fields of one step are won or lost together. None removes the field.
    Set { fields: Vec<(Path, Option<Bson>)> },
    /// `target` becomes the texts of `sources`, after all sets, joined with blanks and trimmed.
    Join { target: Path, sources: Vec<Path> },
    /// A list of documents with one entry per key.
    AddOnce(AddOnce),
    /// A list of values without repetition.
    AddValue { path: Path, value: Bson },
    /// A counter.
    Increment { path: Path, by: i64 },
    /// The latest date ever given.
    Latest { path: Path, date: DateTime },
    /// One entry of a list; the last writer of each wins.
    Entry(Entry),
    /// The document is gone for good.
    Delete,
}

/// As what a field is written. Several handlers may write it if it is the same for all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written<'a> {
    /// One of the fields that are won or lost together.
    Fields(&'a [(Path, Option<Bson>)]),
    Join,
    GrowingList,
    GrowingValues,
    List,
    Length,
    Counter,
    Latest,
}

/// An entry that is put into a list, or taken out of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) list: Path,
    /// The field that tells entries apart; without one the entries are texts.
    pub(crate) field: Option<Path>,
    pub(crate) key: String,
    /// What becomes the entry of that key; None takes it out.
    pub(crate) entry: Option<Bson>,
    /// A number that always is the list's length.
    pub(crate) count: Option<Path>,
}

/// A list of documents from which entries can be taken out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryList {
    /// Path of the list.
    pub list: Path,
    /// The entries' field, a text, that tells them apart.
    pub key: Path,
    /// Path of a number that always is the list's length.
    pub count: Option<Path>,
}

/// Adds an entry to a list once per key; of several entries with one key the earliest stays.
#[derive(Debug, Clone, PartialEq)]
pub struct AddOnce {
    /// Path of the list.
    pub list: Path,
    /// The entry's field that tells entries apart.
    pub key: Path,
    /// The entry's field, a date, by which the earliest is found.
    pub order: Path,
    /// Path of a number that always is the list's length.
    pub count: Option<Path>,
    /// What is added; it has the two fields above.
    pub entry: Document,
}

impl WriteModel {
    /// Inserts `document` as `id` unless a document with that id exists, or ever existed and was deleted.
    pub fn create(collection: impl Into<Collection>, id: impl Into<String>, document: Document) -> Self {
        Self::Create(Create { collection: collection.into(), id: id.into(), document })
    }

    /// Changes document `id`, which an earlier event must have created; without it the event waits.
    pub fn update(collection: impl Into<Collection>, id: impl Into<String>) -> Change {
        Change { collection: collection.into(), id: id.into(), absent: Absent::Wait, steps: Vec::new() }
    }

    /// Changes document `id`, creating it if need be.
    pub fn upsert(collection: impl Into<Collection>, id: impl Into<String>) -> Change {
        Change { collection: collection.into(), id: id.into(), absent: Absent::Create, steps: Vec::new() }
    }

    /// Deletes document `id` for good: whatever else is said of that id, before or after, has no effect any more.
    ///
    /// What stays is `{_id, _evp}` with the time of the deletion in `_evp.d`.
    pub fn delete(collection: impl Into<Collection>, id: impl Into<String>) -> Self {
        Self::Change(Self::upsert(collection, id).step(Step::Delete))
    }

    /// The collection that is written.
    pub fn collection(&self) -> &Collection {
        match self {
            Self::Create(create) => &create.collection,
            Self::Change(change) => &change.collection,
        }
    }

    /// The same in another collection.
    #[must_use]
    pub(crate) fn in_collection(mut self, other: &Collection) -> Self {
        match &mut self {
            Self::Create(create) => create.collection = other.clone(),
            Self::Change(change) => change.collection = other.clone(),
        }
        self
    }

    /// The `_id` of the document that is written.
    pub fn id(&self) -> &str {
        match self {
            Self::Create(create) => &create.id,
            Self::Change(change) => &change.id,
        }
    }

    /// Whether it makes the document if it is not there, other than by creating it.
    pub(crate) fn makes_document(&self) -> bool {
        matches!(self, Self::Change(change) if change.absent == Absent::Create)
    }

    /// Whether it adds to a list.
    pub(crate) fn grows(&self) -> bool {
        matches!(self, Self::Change(change) if change.steps.iter().any(Step::grows))
    }

    /// About how much it adds to lists.
    pub(crate) fn added_bytes(&self) -> usize {
        let Self::Change(change) = self else { return 0 };
        let added = |step: &Step| match step {
            Step::AddOnce(add) => Bson::Document(add.entry.clone()),
            Step::AddValue { value, .. } => value.clone(),
            Step::Entry(entry) => entry.entry.clone().unwrap_or(Bson::Null),
            _ => Bson::Null,
        };
        let size = |value: Bson| bson::doc! { "": value }.to_vec().map_or(0, |bytes| bytes.len());
        change.steps.iter().filter(|step| step.grows()).map(|step| size(added(step))).sum()
    }

    /// Refuses what a handler must not write: ids, evp's bookkeeping, operators.
    pub(crate) fn check(&self) -> Result<()> {
        self.collection().check()?;
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
            Self::Change(change) => change.steps.iter().try_for_each(Step::check),
        }
    }
}

impl Change {
    /// Sets a field. Across partitions the event that was committed later wins.
    #[must_use]
    pub fn set(self, path: impl Into<Path>, value: impl Into<Bson>) -> Self {
        self.step(Step::Set { fields: vec![(path.into(), Some(value.into()))] })
    }

    /// Sets fields that always change together, such as a date and the event it came from.
    #[must_use]
    pub fn set_together<P: Into<Path>>(self, fields: Vec<(P, Bson)>) -> Self {
        let fields: Vec<_> = fields.into_iter().map(|(path, value)| (path.into(), Some(value))).collect();
        if fields.is_empty() { self } else { self.step(Step::Set { fields }) }
    }

    /// Removes a field. Against sets of the same field the event that was committed later wins.
    #[must_use]
    pub fn unset(self, path: impl Into<Path>) -> Self {
        self.step(Step::Set { fields: vec![(path.into(), None)] })
    }

    /// Recomputes `target` from the resulting `sources`: their texts joined with blanks, trimmed.
    #[must_use]
    pub fn join<P: Into<Path> + Clone>(self, target: impl Into<Path>, sources: &[P]) -> Self {
        self.step(Step::Join { target: target.into(), sources: sources.iter().cloned().map(Into::into).collect() })
    }

    /// Adds an entry to a list once per key.
    #[must_use]
    pub fn add_once(self, entry: AddOnce) -> Self {
        self.step(Step::AddOnce(entry))
    }

    /// Adds a value to a list unless it is there.
    #[must_use]
    pub fn add_value(self, path: impl Into<Path>, value: impl Into<Bson>) -> Self {
        self.step(Step::AddValue { path: path.into(), value: value.into() })
    }

    /// Puts an entry into a list, in the place of the one with its key if there is one. Of several the one that was
    /// committed last stays. Such a list has no other steps than this and [`Change::remove_entry`].
    #[must_use]
    pub fn put_entry(self, list: &EntryList, entry: Document) -> Self {
        let key = entry.get_str(list.key.as_str()).unwrap_or_default().to_owned();
        self.entry(list, key, Some(Bson::Document(entry)))
    }

    /// Takes the entry with this key out of a list.
    #[must_use]
    pub fn remove_entry(self, list: &EntryList, key: impl Into<String>) -> Self {
        self.entry(list, key.into(), None)
    }

    fn entry(self, list: &EntryList, key: String, entry: Option<Bson>) -> Self {
        let EntryList { list, key: field, count } = list.clone();
        self.step(Step::Entry(Entry { list, field: Some(field), key, entry, count }))
    }

    /// Puts a text into a list unless it is there. Such a list has no other steps than this and
    /// [`Change::remove_value`].
    #[must_use]
    pub fn put_value(self, list: impl Into<Path>, value: impl Into<String>) -> Self {
        let key = value.into();
        let entry = Some(Bson::String(key.clone()));
        self.step(Step::Entry(Entry { list: list.into(), field: None, key, entry, count: None }))
    }

    /// Takes a text out of a list.
    #[must_use]
    pub fn remove_value(self, list: impl Into<Path>, value: impl Into<String>) -> Self {
        let key = value.into();
        self.step(Step::Entry(Entry { list: list.into(), field: None, key, entry: None, count: None }))
    }

    /// Adds to a counter, exactly once per event.
    #[must_use]
    pub fn increment(self, path: impl Into<Path>, by: i64) -> Self {
        self.step(Step::Increment { path: path.into(), by })
    }

    /// Sets a date to the later of what it is and `date`.
    #[must_use]
    pub fn latest(self, path: impl Into<Path>, date: DateTime) -> Self {
        self.step(Step::Latest { path: path.into(), date })
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
    fn check(&self) -> Result<()> {
        if let Self::Entry(Entry { list, key, .. }) = self
            && key.is_empty()
        {
            return Err(Error::data(format!("an entry of the list `{list}` has no text as its key")));
        }
        self.paths().into_iter().try_for_each(Path::check)
    }

    fn grows(&self) -> bool {
        match self {
            Self::AddOnce(_) | Self::AddValue { .. } => true,
            Self::Entry(entry) => entry.entry.is_some(),
            _ => false,
        }
    }

    /// The fields that it writes, and as what.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&Path, Written<'_>)> {
        let (fields, count): (&[(Path, Option<Bson>)], _) = match self {
            Self::Set { fields } => (fields, None),
            Self::AddOnce(AddOnce { count, .. }) | Self::Entry(Entry { count, .. }) => (&[], count.as_ref()),
            _ => (&[], None),
        };
        let one = match self {
            Self::Join { target, .. } => Some((target, Written::Join)),
            Self::AddOnce(add) => Some((&add.list, Written::GrowingList)),
            Self::Entry(entry) => Some((&entry.list, Written::List)),
            Self::AddValue { path, .. } => Some((path, Written::GrowingValues)),
            Self::Increment { path, .. } => Some((path, Written::Counter)),
            Self::Latest { path, .. } => Some((path, Written::Latest)),
            Self::Set { .. } | Self::Delete => None,
        };
        let set = fields.iter().map(move |(path, _)| (path, Written::Fields(fields)));
        set.chain(one).chain(count.map(|count| (count, Written::Length)))
    }

    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Set { fields } => fields.iter().map(|(path, _)| path).collect(),
            Self::Join { target, sources } => sources.iter().chain([target]).collect(),
            Self::AddOnce(add) => [&add.list, &add.key, &add.order].into_iter().chain(&add.count).collect(),
            Self::Entry(entry) => [&entry.list].into_iter().chain(&entry.field).chain(&entry.count).collect(),
            Self::AddValue { path, .. } | Self::Increment { path, .. } | Self::Latest { path, .. } => vec![path],
            Self::Delete => Vec::new(),
        }
    }
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
    fn reserved_names_and_entries_without_a_key_are_refused() {
        let list = EntryList { list: "items".into(), key: "sku".into(), count: None };
        for change in [
            WriteModel::update("users", "1").set("_evp.wm", 1),
            WriteModel::update("evp_sources", "1").set("a", 1),
            WriteModel::update("users", "1").unset("$set"),
            WriteModel::update("users", "1").put_entry(&list, doc! { "sku": 7 }),
        ] {
            assert!(WriteModel::from(change.clone()).check().is_err(), "{change:?}");
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
