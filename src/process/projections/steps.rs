//! The steps of an update, as a projection file has them.

use std::collections::BTreeSet;

use bson::{Bson, Document};
use parking_lot::Mutex;

use super::payload::Candidates;
use super::value::{Source, document};
use super::yaml::{Content, Entry, Mistakes, Node, check_names, find};
use crate::error::{Error, Result};
use crate::mongo::{AddOnce, Change, EntryList, Path};
use crate::process::Event;

/// The keys of a handler that name steps.
pub(super) const NAMES: [&str; 13] = [
    "set",
    "set_if_present",
    "set_together",
    "unset",
    "join",
    "increment",
    "latest",
    "add_once",
    "add_value",
    "put_entry",
    "remove_entry",
    "put_value",
    "remove_value",
];

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Set(Path, Source),
    SetIfPresent(Path, Source, Candidates),
    SetTogether(Vec<(Path, Source)>),
    Unset(Path),
    Join { target: Path, sources: Vec<Path>, if_present: Option<Candidates> },
    Increment(Path, Source),
    Latest(Path, Source),
    AddOnce { list: Path, key: Path, order: Path, count: Option<Path>, entry: Source },
    AddValue(Path, Source),
    PutEntry(EntryList, Source),
    RemoveEntry(EntryList, Source),
    PutValue(Path, Source),
    RemoveValue(Path, Source),
}

/// Names of files live as long as the process, as literals do, so that events need no copies of them. Each is kept once, so that
/// a file that is read again takes no more memory.
fn interned(name: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock();
    if let Some(known) = kept.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    kept.insert(name);
    name
}

fn path(line: usize, name: &str, mistakes: &mut Mistakes) -> Option<Path> {
    mistakes.check(line, Path::parse(name)).map(|_| Path::new(interned(name)))
}

fn path_of(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Path> {
    let name = node.expect_text(what, mistakes)?;
    path(node.line, name, mistakes)
}

/// The steps that one key of a handler brings, each with its line.
pub(super) fn parse(entry: &Entry, mistakes: &mut Mistakes) -> Vec<(usize, Step)> {
    let Entry { line, name, value } = entry;
    let what = format!("`{name}`");
    match name.as_str() {
        "unset" => {
            let names = value.expect_texts(&what, mistakes).into_iter();
            names.filter_map(|(line, name)| Some((line, Step::Unset(path(line, name, mistakes)?)))).collect()
        }
        "set_together" => {
            let fields: Vec<_> = each(value, &what, mistakes, |path, node, mistakes| {
                Some((path, Source::parse(node, "a field of `set_together`", mistakes)?))
            });
            vec![(*line, Step::SetTogether(fields.into_iter().map(|(_, field)| field).collect()))]
        }
        _ => each(value, &what, mistakes, |path, node, mistakes| step(name, path, node, mistakes)),
    }
}

/// Reads a map of paths.
fn each<T>(
    node: &Node,
    what: &str,
    mistakes: &mut Mistakes,
    read: impl Fn(Path, &Node, &mut Mistakes) -> Option<T>,
) -> Vec<(usize, T)> {
    let mut found = Vec::new();
    for Entry { line, name, value } in node.expect_map(what, mistakes) {
        if let Some(path) = path(*line, name, mistakes) {
            found.extend(read(path, value, mistakes).map(|read| (*line, read)));
        }
    }
    found
}

fn step(name: &str, path: Path, node: &Node, mistakes: &mut Mistakes) -> Option<Step> {
    let what = format!("`{path}`");
    let mut source = || Source::parse(node, &what, mistakes);
    Some(match name {
        "set" => Step::Set(path, source()?),
        "add_value" => Step::AddValue(path, source()?),
        "put_value" => Step::PutValue(path, source()?),
        "remove_value" => Step::RemoveValue(path, source()?),
        "set_if_present" => {
            let source = source()?;
            let Some(candidates) = source.candidates().cloned() else {
                mistakes.at(node.line, "only what is read from the payload can be there or not: give { text: … } or one of its like, or use `set`");
                return None;
            };
            Step::SetIfPresent(path, source, candidates)
        }
        "increment" => match node.content {
            Content::Integer(by) => Step::Increment(path, Source::Constant(Bson::Int64(by))),
            _ => Step::Increment(path, source()?),
        },
        "latest" => {
            let source = source()?;
            if !source.is_date() {
                mistakes.at(node.line, "`latest` takes a date: { event: created_at } or { date: … }");
            }
            Step::Latest(path, source)
        }
        "join" => join(path, node, mistakes)?,
        "add_once" => add_once(path, node, mistakes)?,
        "put_entry" | "remove_entry" => entry(name, path, node, mistakes)?,
        _ => return None,
    })
}

/// `[first_name, last_name]`, or `{ of: […], if_present: […] }`.
fn join(target: Path, node: &Node, mistakes: &mut Mistakes) -> Option<Step> {
    let (of, if_present) = match &node.content {
        Content::Map(entries) => {
            check_names(entries, "`join`", &["of", "if_present"], mistakes);
            let if_present = find(entries, "if_present");
            let if_present = if_present.map(|entry| Candidates::parse(&entry.value, "`if_present`", mistakes));
            let Some(of) = find(entries, "of") else {
                mistakes.at(node.line, "`join` needs `of`: the fields of the document that are joined");
                return None;
            };
            (&of.value, if_present)
        }
        _ => (node, None),
    };
    let names = of.expect_texts("`join`", mistakes).into_iter();
    let sources = names.filter_map(|(line, name)| path(line, name, mistakes)).collect();
    Some(Step::Join { target, sources, if_present })
}

fn required<'a>(
    entries: &'a [Entry],
    name: &str,
    step: &str,
    line: usize,
    mistakes: &mut Mistakes,
) -> Option<&'a Node> {
    let found = find(entries, name).map(|entry| &entry.value);
    if found.is_none() {
        mistakes.at(line, format!("`{step}` needs `{name}`"));
    }
    found
}

fn count(entries: &[Entry], mistakes: &mut Mistakes) -> Option<Path> {
    find(entries, "count").and_then(|entry| path_of(&entry.value, "`count`", mistakes))
}

/// The fields of an entry, of which some must be among them.
fn entry_fields(node: &Node, needed: &[&Path], mistakes: &mut Mistakes) -> Source {
    let entry = document(node, "`entry`", mistakes);
    if let Source::Document(fields) = &entry {
        for path in needed.iter().filter(|path| !fields.iter().any(|(name, _)| name == path.as_str())) {
            mistakes.at(node.line, format!("the entry has no field `{path}`"));
        }
    }
    entry
}

fn add_once(list: Path, node: &Node, mistakes: &mut Mistakes) -> Option<Step> {
    let entries = node.expect_map("a list of `add_once`", mistakes);
    check_names(entries, "a list of `add_once`", &["key", "order", "count", "entry"], mistakes);
    let key = required(entries, "key", "add_once", node.line, mistakes);
    let order = required(entries, "order", "add_once", node.line, mistakes);
    let entry = required(entries, "entry", "add_once", node.line, mistakes);
    let key = key.and_then(|node| path_of(node, "`key`", mistakes));
    let order = order.and_then(|node| path_of(node, "`order`", mistakes));
    let count = count(entries, mistakes);
    let (key, order) = (key?, order?);
    let line = entry?.line;
    let entry = entry_fields(entry?, &[&key, &order], mistakes);
    if let Source::Document(fields) = &entry
        && fields.iter().any(|(name, source)| name == order.as_str() && !source.is_date())
    {
        mistakes.at(
            line,
            format!("`{order}` orders the entries, so it has to be a date: {{ event: created_at }} or {{ date: … }}"),
        );
    }
    Some(Step::AddOnce { list, key, order, count, entry })
}

fn entry(name: &str, list: Path, node: &Node, mistakes: &mut Mistakes) -> Option<Step> {
    let what = format!("a list of `{name}`");
    let entries = node.expect_map(&what, mistakes);
    let given = if name == "put_entry" { "entry" } else { "value" };
    check_names(entries, &what, &["key", "count", given], mistakes);
    let key = required(entries, "key", name, node.line, mistakes);
    let key = key.and_then(|node| path_of(node, "`key`", mistakes));
    let given = required(entries, given, name, node.line, mistakes);
    let list = EntryList { list, key: key?, count: count(entries, mistakes) };
    Some(match name {
        "put_entry" => {
            let entry = entry_fields(given?, &[&list.key], mistakes);
            Step::PutEntry(list, entry)
        }
        _ => Step::RemoveEntry(list, Source::parse(given?, "`value`", mistakes)?),
    })
}

impl Step {
    /// Adds the step, as far as the event asks for it.
    pub(super) fn apply(&self, change: Change, event: &Event) -> Result<Change> {
        Ok(match self {
            Self::Set(path, source) => change.set(path, source.read(event)?),
            Self::SetIfPresent(path, source, candidates) => match candidates.is_present(event)? {
                true => change.set(path, source.read(event)?),
                false => change,
            },
            Self::SetTogether(fields) => {
                let read = fields.iter().map(|(path, source)| Ok((path, source.read(event)?)));
                change.set_together(read.collect::<Result<Vec<_>>>()?)
            }
            Self::Unset(path) => change.unset(path),
            Self::Join { target, sources, if_present } => {
                if if_present.as_ref().is_none_or(|wanted| wanted.is_any_present(event)) {
                    change.join(target.clone(), sources)
                } else {
                    change
                }
            }
            Self::Increment(path, source) => match source.read(event)? {
                Bson::Int64(by) => change.increment(path, by),
                Bson::Int32(by) => change.increment(path, by.into()),
                _ => {
                    return Err(Error::data(format!("what `{path}` is incremented by is missing, or no whole number")));
                }
            },
            Self::Latest(path, source) => match source.read_date(event)? {
                Some(date) => change.latest(path, date),
                None => change,
            },
            Self::AddOnce { list, key, order, count, entry } => {
                let entry = entry_of(entry, list, event)?;
                if !matches!(entry.get(order.as_str()), Some(Bson::DateTime(_))) {
                    return Err(Error::data(format!("the entry of `{list}` has no date in `{order}`")));
                }
                if matches!(entry.get(key.as_str()), None | Some(Bson::Null)) {
                    return Err(Error::data(format!("the entry of `{list}` has nothing in `{key}`")));
                }
                let (list, key, order) = (list.clone(), key.clone(), order.clone());
                change.add_once(AddOnce { list, key, order, count: count.clone(), entry })
            }
            Self::AddValue(path, source) => match source.read(event)? {
                Bson::Null => change,
                value => change.add_value(path, value),
            },
            Self::PutEntry(list, entry) => change.put_entry(list, entry_of(entry, &list.list, event)?),
            Self::RemoveEntry(list, source) => {
                change.remove_entry(list, source.read_name(event, "the key of an entry")?)
            }
            Self::PutValue(path, source) => change.put_value(path, source.read_name(event, "a text of a list")?),
            Self::RemoveValue(path, source) => change.remove_value(path, source.read_name(event, "a text of a list")?),
        })
    }

    /// Adds the step as it is for any event, for its paths.
    pub(super) fn outline(&self, change: Change) -> Change {
        match self {
            Self::Set(path, _) | Self::SetIfPresent(path, ..) => change.set(path, Bson::Null),
            Self::SetTogether(fields) => {
                change.set_together(fields.iter().map(|(path, _)| (path, Bson::Null)).collect())
            }
            Self::Unset(path) => change.unset(path),
            Self::Join { target, sources, .. } => change.join(target, sources),
            Self::Increment(path, _) => change.increment(path, 0),
            Self::Latest(path, _) => change.latest(path, bson::DateTime::from_millis(0)),
            Self::AddOnce { list, key, order, count, .. } => {
                let (list, key, order) = (list.clone(), key.clone(), order.clone());
                change.add_once(AddOnce { list, key, order, count: count.clone(), entry: Document::new() })
            }
            Self::AddValue(path, _) => change.add_value(path, Bson::Null),
            Self::PutEntry(list, _) | Self::RemoveEntry(list, _) => change.remove_entry(list, "key"),
            Self::PutValue(path, _) | Self::RemoveValue(path, _) => change.remove_value(path, "text"),
        }
    }
}

fn entry_of(entry: &Source, list: &Path, event: &Event) -> Result<Document> {
    match entry.read(event)? {
        Bson::Document(entry) => Ok(entry),
        _ => Err(Error::data(format!("the entry of `{list}` is no document"))),
    }
}
