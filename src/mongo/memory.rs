//! What guarded writes do to a document, without a server: the steps of one event at a time, as the exact form does them.

use std::collections::{BTreeMap, HashMap};

use bson::{Bson, DateTime, Document};

use super::fold::Position;
use super::order::EventOrder;
use super::path::Path;
use super::write_model::{Absent, AddOnce, Change, Create, Entry, Step, joined_text};
use crate::error::{Error, Result};

/// A document with evp's bookkeeping beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptDocument {
    document: Document,
    is_deleted: bool,
    /// The highest offset applied of each partition.
    watermarks: HashMap<String, i64>,
    /// The last writer of each field and of each entry of a list.
    writers: BTreeMap<String, Writer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Writer {
    order: EventOrder,
    partition: String,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Applied,
    /// There is no document to be changed.
    Missing,
}

impl KeptDocument {
    pub(crate) fn created(create: &Create) -> Self {
        let mut document = bson::doc! { "_id": create.id.as_str() };
        document.extend(create.document.clone());
        Self { document, ..Self::default() }
    }

    /// The document; None once it is deleted.
    pub(crate) fn document(&self) -> Option<&Document> {
        (!self.is_deleted).then_some(&self.document)
    }

    /// Applies what one event of a partition changes in the document, all of it or nothing.
    pub(crate) fn apply(
        known: &mut Option<Self>,
        changes: &[&Change],
        position: Position,
        partition: &str,
    ) -> Result<Done> {
        let is_created = changes.iter().any(|change| change.absent == Absent::Create);
        let mut kept = match (&*known, changes.first()) {
            (Some(kept), _) => kept.clone(),
            (None, Some(change)) if is_created => {
                Self { document: bson::doc! { "_id": change.id.as_str() }, ..Self::default() }
            }
            _ => return Ok(Done::Missing),
        };
        if kept.watermarks.get(partition).is_some_and(|watermark| *watermark >= position.offset) {
            return Ok(Done::Applied);
        }
        let steps = || changes.iter().flat_map(|change| &change.steps);
        for step in steps() {
            kept.step(step, position, partition)?;
        }
        // What is computed sees what all other steps have left.
        for step in steps() {
            kept.compute(step)?;
        }
        kept.watermarks.insert(partition.to_owned(), position.offset);
        if kept.is_deleted {
            kept.writers.clear();
            strip(&mut kept.document);
        }
        *known = Some(kept);
        Ok(Done::Applied)
    }

    fn step(&mut self, step: &Step, position: Position, partition: &str) -> Result<()> {
        match step {
            Step::Set { fields } => {
                let record = fields.first().map(|(path, _)| format!("f.{}", path.flat())).unwrap_or_default();
                let wins = self.wins(record, position, partition);
                for (path, value) in fields {
                    let (parent, name) = parent(&mut self.document, path);
                    match value {
                        _ if !wins => {}
                        Some(value) => {
                            parent.insert(name, value.clone());
                        }
                        None => {
                            parent.remove(name);
                        }
                    }
                }
            }
            Step::AddOnce(add) => add_once(list(&mut self.document, &add.list)?, add),
            Step::AddValue { path, value } => {
                let values = list(&mut self.document, path)?;
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            Step::Entry(entry) => {
                let record = format!("e.{}.{}", entry.list.flat(), entry.key);
                let wins = self.wins(record, position, partition);
                let entries = list(&mut self.document, &entry.list)?;
                if wins {
                    put(entries, entry);
                }
            }
            Step::Increment { path, by } => increment(&mut self.document, path, *by)?,
            Step::Latest { path, date } => latest(&mut self.document, path, *date),
            Step::Delete => self.is_deleted = true,
            Step::Join { .. } => {}
        }
        Ok(())
    }

    fn compute(&mut self, step: &Step) -> Result<()> {
        let counted = match step {
            Step::AddOnce(AddOnce { list, count, .. }) | Step::Entry(Entry { list, count, .. }) => {
                count.as_ref().map(|count| (list, count))
            }
            Step::Join { target, sources } => {
                let texts = sources.iter().map(|source| match value(&self.document, source) {
                    None | Some(Bson::Null) => Ok(None),
                    Some(Bson::String(text)) => Ok(Some(text.as_str())),
                    Some(_) => Err(Error::data(format!("`{source}`, which is joined into `{target}`, is not a text"))),
                });
                let text = joined_text(&texts.collect::<Result<Vec<_>>>()?);
                let (parent, name) = parent(&mut self.document, target);
                parent.insert(name, text);
                None
            }
            _ => None,
        };
        if let Some((path, count)) = counted {
            let length = list(&mut self.document, path)?.len();
            let (parent, name) = parent(&mut self.document, count);
            parent.insert(name, i32::try_from(length).unwrap_or(i32::MAX));
        }
        Ok(())
    }

    /// Whether the event is the last writer of what `record` stands for; it is kept as such.
    fn wins(&mut self, record: String, position: Position, partition: &str) -> bool {
        let Position { order, is_replay, .. } = position;
        let last = self.writers.get(&record);
        let wins = last.is_none_or(|last| (!is_replay && last.partition == partition) || order > last.order);
        if wins {
            let order = last.map_or(order, |last| last.order.max(order));
            self.writers.insert(record, Writer { order, partition: partition.to_owned() });
        }
        wins
    }
}

/// Leaves nothing but the id.
fn strip(document: &mut Document) {
    let id = document.remove("_id");
    document.clear();
    document.extend(id.map(|id| ("_id".to_owned(), id)));
}

/// The value at a path.
fn value<'a>(document: &'a Document, path: &Path) -> Option<&'a Bson> {
    let (parents, name) = path.as_str().rsplit_once('.').unwrap_or(("", path.as_str()));
    let mut parent = document;
    for step in parents.split('.').filter(|step| !step.is_empty()) {
        parent = parent.get_document(step).ok()?;
    }
    parent.get(name)
}

/// The document that holds the field, and the field's name; parents that are missing or no documents are made.
fn parent<'a, 'b>(document: &'a mut Document, path: &'b Path) -> (&'a mut Document, &'b str) {
    let (parents, name) = path.as_str().rsplit_once('.').unwrap_or(("", path.as_str()));
    let mut parent = document;
    for step in parents.split('.').filter(|step| !step.is_empty()) {
        let value = parent.entry(step.to_owned()).or_insert(Bson::Null);
        if !matches!(value, Bson::Document(_)) {
            *value = Bson::Document(Document::new());
        }
        match value {
            Bson::Document(inner) => parent = inner,
            _ => unreachable!("it was just made"),
        }
    }
    (parent, name)
}

/// The list at a path; one that is missing or null is made.
fn list<'a>(document: &'a mut Document, path: &Path) -> Result<&'a mut Vec<Bson>> {
    let (parent, name) = parent(document, path);
    let value = parent.entry(name.to_owned()).or_insert(Bson::Null);
    if matches!(value, Bson::Null) {
        *value = Bson::Array(Vec::new());
    }
    match value {
        Bson::Array(values) => Ok(values),
        _ => Err(Error::data(format!("`{path}` is not a list"))),
    }
}

fn add_once(entries: &mut Vec<Bson>, add: &AddOnce) {
    let field = |entry: &Bson, field: &Path| entry.as_document().and_then(|entry| entry.get(field.as_str()).cloned());
    let new = Bson::Document(add.entry.clone());
    let key = field(&new, &add.key);
    match entries.iter_mut().find(|known| field(known, &add.key) == key) {
        None => entries.push(new),
        Some(known) => {
            let date = |entry: &Bson| field(entry, &add.order).and_then(|date| date.as_datetime().copied());
            if date(&new) < date(known) {
                *known = new;
            }
        }
    }
}

fn put(entries: &mut Vec<Bson>, change: &Entry) {
    let is_same = |known: &Bson| match &change.field {
        Some(field) => {
            let key = known.as_document().and_then(|known| known.get_str(field.as_str()).ok());
            key == Some(change.key.as_str())
        }
        None => known.as_str() == Some(change.key.as_str()),
    };
    match (&change.entry, entries.iter_mut().find(|known| is_same(known))) {
        (Some(entry), Some(known)) => *known = entry.clone(),
        (Some(entry), None) => entries.push(entry.clone()),
        (None, _) => entries.retain(|known| !is_same(known)),
    }
}

fn increment(document: &mut Document, path: &Path, by: i64) -> Result<()> {
    let (parent, name) = parent(document, path);
    #[allow(clippy::cast_precision_loss)]
    let sum = match parent.get(name) {
        None | Some(Bson::Null) => Bson::Int64(by),
        Some(Bson::Int32(number)) => Bson::Int64(i64::from(*number).saturating_add(by)),
        Some(Bson::Int64(number)) => Bson::Int64(number.saturating_add(by)),
        Some(Bson::Double(number)) => Bson::Double(number + by as f64),
        Some(_) => return Err(Error::data(format!("`{path}`, which is counted up, is not a number"))),
    };
    parent.insert(name, sum);
    Ok(())
}

fn latest(document: &mut Document, path: &Path, date: DateTime) {
    let (parent, name) = parent(document, path);
    if !matches!(parent.get(name), Some(Bson::DateTime(known)) if *known >= date) {
        parent.insert(name, date);
    }
}
