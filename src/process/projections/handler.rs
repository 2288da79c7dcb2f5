//! A handler of a projection file.

use std::sync::Arc;

use super::payload::Candidates;
use super::steps::{self, Step};
use super::value::{Source, document};
use super::yaml::{Content, Entry, Mistakes, Node, check_names, find};
use crate::error::{Error, Result};
use crate::mongo::{Change, Collection, CollectionSpec, WriteModel};
use crate::process::{AfterFailure, Event, Handler};

/// What may be done to a document.
const VERBS: [&str; 4] = ["create", "update", "upsert", "delete"];
/// The keys of a handler beside its verb and its steps.
const NAMES: [&str; 7] = ["name", "event", "key", "after_failure", "require", "if_present", "fields"];

/// A handler as the file has it, whatever types of events it serves.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) line: usize,
    pub(super) name: String,
    /// With their lines.
    pub(super) event_types: Vec<(usize, String)>,
    pub(super) collection: Collection,
    pub(super) spec: CollectionSpec,
    key: Source,
    after_failure: AfterFailure,
    /// Texts that must be there.
    required: Vec<Candidates>,
    /// Does nothing if none of these is there.
    if_present: Option<Candidates>,
    verb: Verb,
}

#[derive(Debug)]
enum Verb {
    Create(Source),
    Update(Vec<Step>),
    Upsert(Vec<Step>),
    Delete,
}

impl Declared {
    pub(super) fn parse(node: &Node, mistakes: &mut Mistakes) -> Option<Self> {
        let entries = node.expect_map("a handler", mistakes);
        let known: Vec<&str> = [&NAMES[..], &VERBS, &steps::NAMES].concat();
        check_names(entries, "a handler", &known, mistakes);
        let mut needed = |name: &str| {
            let found = find(entries, name);
            if found.is_none() {
                mistakes.at(node.line, format!("a handler needs `{name}`"));
            }
            found
        };
        let (name, event) = (needed("name"), needed("event"));
        let name = name.and_then(|entry| entry.value.expect_text("`name`", mistakes));
        let event_types = event.map(|entry| entry.value.expect_texts("`event`", mistakes)).unwrap_or_default();
        let (verb_entry, collection) = collection_of(entries, node.line, mistakes)?;
        let key = find(entries, "key").map(|entry| Source::parse(&entry.value, "`key`", mistakes));
        let declared = Self {
            line: node.line,
            name: name?.to_owned(),
            event_types: event_types.into_iter().map(|(line, kind)| (line, kind.to_owned())).collect(),
            spec: CollectionSpec::new(collection.clone()),
            collection,
            key: key.unwrap_or_else(|| Some(Source::aggregate_id()))?,
            after_failure: after_failure(entries, mistakes),
            required: required(entries, mistakes),
            if_present: find(entries, "if_present")
                .map(|entry| Candidates::parse(&entry.value, "`if_present`", mistakes)),
            verb: verb(verb_entry, entries, mistakes)?,
        };
        Some(declared)
    }

    /// What it writes, whatever the event, for its paths.
    pub(super) fn outline(&self) -> Option<WriteModel> {
        let (steps, change) = match &self.verb {
            Verb::Update(steps) => (steps, WriteModel::update(self.collection.clone(), "")),
            Verb::Upsert(steps) => (steps, WriteModel::upsert(self.collection.clone(), "")),
            Verb::Create(_) | Verb::Delete => return None,
        };
        Some(steps.iter().fold(change, |change, step| step.outline(change)).into())
    }

    fn models(&self, event: &Event) -> Result<Vec<WriteModel>> {
        if self.if_present.as_ref().is_some_and(|wanted| !wanted.is_any_present(event)) {
            return Ok(Vec::new());
        }
        let id = self.key.read_name(event, "the key of the document")?;
        let collection = self.collection.clone();
        let changed = |change: Change, steps: &[Step]| {
            steps.iter().try_fold(change, |change, step| step.apply(change, event)).map(WriteModel::from)
        };
        let model = match &self.verb {
            Verb::Create(fields) => {
                let bson::Bson::Document(fields) = fields.read(event)? else {
                    return Err(Error::data("the fields are no document"));
                };
                let mut document = bson::doc! { "_id": id.as_str() };
                document.extend(fields);
                WriteModel::create(collection, id, document)
            }
            Verb::Update(steps) => changed(WriteModel::update(collection, id), steps)?,
            Verb::Upsert(steps) => changed(WriteModel::upsert(collection, id), steps)?,
            Verb::Delete => WriteModel::delete(collection, id),
        };
        Ok(vec![model])
    }
}

/// The one entry that says what is done, and the collection that it names.
fn collection_of<'a>(entries: &'a [Entry], line: usize, mistakes: &mut Mistakes) -> Option<(&'a Entry, Collection)> {
    let mut verbs = entries.iter().filter(|entry| VERBS.contains(&entry.name.as_str()));
    let Some(entry) = verbs.next() else {
        mistakes.at(
            line,
            "a handler says what it does to which collection: `create: users`, or `update`, `upsert`, `delete`",
        );
        return None;
    };
    for other in verbs {
        mistakes.at(
            other.line,
            format!("a handler does one thing: `{}` or `{}`; make two handlers", entry.name, other.name),
        );
    }
    let name = entry.value.expect_text("a collection", mistakes)?;
    let collection = mistakes.check(entry.value.line, Collection::parse(name))?;
    Some((entry, collection))
}

fn after_failure(entries: &[Entry], mistakes: &mut Mistakes) -> AfterFailure {
    let Some(entry) = find(entries, "after_failure") else { return AfterFailure::Park };
    match entry.value.text() {
        Some("park") => AfterFailure::Park,
        Some("go_on") => AfterFailure::GoOn,
        _ => {
            mistakes.at(
                entry.line,
                "`after_failure` is park (later events of the aggregate wait behind a dead letter) or go_on",
            );
            AfterFailure::Park
        }
    }
}

fn required(entries: &[Entry], mistakes: &mut Mistakes) -> Vec<Candidates> {
    let Some(entry) = find(entries, "require") else { return Vec::new() };
    let nodes = match &entry.value.content {
        Content::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    nodes.iter().map(|node| Candidates::parse(node, "a path of `require`", mistakes)).collect()
}

fn verb(verb: &Entry, entries: &[Entry], mistakes: &mut Mistakes) -> Option<Verb> {
    let is_step = |entry: &&Entry| steps::NAMES.contains(&entry.name.as_str());
    let name = verb.name.as_str();
    let fields = find(entries, "fields");
    if matches!(name, "create" | "delete") {
        for entry in entries.iter().filter(is_step) {
            mistakes.at(entry.line, format!("`{}` goes with `update` or `upsert`, not with `{name}`", entry.name));
        }
    }
    if let (Some(fields), true) = (fields, name != "create") {
        mistakes.at(fields.line, format!("`fields` goes with `create`; with `{name}` there are `set` and other steps"));
    }
    match name {
        "create" => match fields {
            Some(fields) => Some(Verb::Create(document(&fields.value, "`fields`", mistakes))),
            None => {
                mistakes.at(verb.line, "`create` needs `fields`: those of the document, by their paths");
                None
            }
        },
        "delete" => Some(Verb::Delete),
        _ => {
            let found: Vec<(usize, Step)> =
                entries.iter().filter(is_step).flat_map(|entry| steps::parse(entry, mistakes)).collect();
            check_overlaps(&found, mistakes);
            if !entries.iter().any(|entry| is_step(&entry)) {
                mistakes.at(verb.line, format!("`{name}` needs steps, of {}", steps::NAMES.join(", ")));
            }
            let steps = found.into_iter().map(|(_, step)| step).collect();
            Some(if name == "update" { Verb::Update(steps) } else { Verb::Upsert(steps) })
        }
    }
}

/// Two steps of one event do not write the same field, or one inside of the other's.
fn check_overlaps(steps: &[(usize, Step)], mistakes: &mut Mistakes) {
    let mut written: Vec<String> = Vec::new();
    for (line, step) in steps {
        let outline = step.outline(WriteModel::update("outline", ""));
        for (path, _) in outline.steps.iter().flat_map(crate::mongo::Step::written) {
            let path = path.as_str();
            let is_inside =
                |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
            let overlaps = |known: &&String| *known == path || is_inside(path, known) || is_inside(known, path);
            if let Some(known) = written.iter().find(overlaps) {
                mistakes.at(
                    *line,
                    format!("`{path}` and `{known}` of one handler would undo each other; write each field once"),
                );
            }
            written.push(path.to_owned());
        }
    }
}

/// A declared handler, for one type of events.
#[derive(Debug, Clone)]
pub(super) struct FileHandler {
    pub(super) declared: Arc<Declared>,
    pub(super) event_type: String,
}

impl Handler for FileHandler {
    fn name(&self) -> &str {
        &self.declared.name
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn validate(&self, event: &Event) -> Result<()> {
        self.declared.required.iter().try_for_each(|required| required.check_required(event))
    }

    fn after_failure(&self) -> AfterFailure {
        self.declared.after_failure
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        self.declared.models(event)
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        vec![self.declared.spec.clone()]
    }
}
