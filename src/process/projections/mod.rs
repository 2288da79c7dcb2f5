//! Handlers without Rust: a file that says which events change which documents.
//!
//! Its handlers give the same write models as those in Rust, so everything else is the same for both: guards, batches, dead letters.

mod handler;
mod payload;
mod reload;
mod steps;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::Document;

use super::HandlerRegistry;
use super::write_paths::WritePaths;
use crate::error::{Error, Result};
use crate::mongo::{Collection, CollectionSpec, Path, WriteModel};
use handler::{Declared, FileHandler};
pub use reload::ProjectionFile;
pub(super) use reload::Replacement;
use yaml::{Content, Entry, Mistakes, Node, check_names, find};

impl HandlerRegistry {
    /// The handlers of a projection file, whose name is for mistakes. Those of this registry stay beside them if the file says
    /// `program_handlers: keep`.
    ///
    /// ```
    /// use evp::process::{Event, HandlerRegistry, ReadModels};
    /// use evp::serde_json::json;
    ///
    /// let file = "
    /// handlers:
    ///   - name: order_placed
    ///     event: OrderPlaced
    ///     create: orders
    ///     fields:
    ///       customer: { text: customer.name }
    ///       placed_at: { event: created_at }
    /// ";
    /// let registry = HandlerRegistry::new().with_projections("orders.yaml", file).unwrap();
    /// let mut models = ReadModels::new(registry);
    /// models.apply(&Event::sample("OrderPlaced", json!({ "customer": { "name": "ada" } })).about("A/1")).unwrap();
    /// assert_eq!(models.document("orders", "A/1").unwrap().get_str("customer").unwrap(), "ada");
    /// ```
    pub fn with_projections(&self, name: &str, text: &str) -> Result<Self> {
        let mut mistakes = Mistakes::of(name);
        let declared = Node::parse(text, &mut mistakes).map(|node| file(&node, &mut mistakes));
        mistakes.finish()?;
        let Some((keeps_program, declared)) = declared else { return Ok(self.clone()) };
        let mut registry = if keeps_program { self.clone() } else { Self::new() };
        for declared in declared {
            let declared = Arc::new(declared);
            for (_, event_type) in &declared.event_types {
                registry =
                    registry.register(FileHandler { declared: Arc::clone(&declared), event_type: event_type.clone() });
            }
        }
        Ok(registry)
    }

    /// The same from a file on disk.
    pub fn with_projection_file(&self, path: &std::path::Path) -> Result<Self> {
        self.with_projections(&path.display().to_string(), &text_of(path)?)
    }
}

fn text_of(path: &std::path::Path) -> Result<String> {
    let unreadable = |error: std::io::Error| {
        Error::configuration(format!("{}: the projection file cannot be read: {error}", path.display()))
    };
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Whether the program's handlers stay, and those of the file.
fn file(node: &Node, mistakes: &mut Mistakes) -> (bool, Vec<Declared>) {
    let entries = node.expect_map("a projection file", mistakes);
    check_names(entries, "a projection file", &["program_handlers", "collections", "handlers"], mistakes);
    let keeps_program = find(entries, "program_handlers").is_some_and(|entry| match entry.value.text() {
        Some("keep") => true,
        Some("none") => false,
        _ => {
            mistakes.at(entry.line, "`program_handlers` is keep, or none as by default");
            false
        }
    });
    let Some(handlers) = find(entries, "handlers") else {
        mistakes.at(node.line, "a projection file needs `handlers`");
        return (keeps_program, Vec::new());
    };
    let nodes = handlers.value.expect_list("`handlers`", mistakes);
    let mut declared: Vec<Declared> = nodes.iter().filter_map(|node| Declared::parse(node, mistakes)).collect();
    if nodes.is_empty() {
        mistakes.at(handlers.line, "`handlers` has none, so that every event would become a dead letter");
    }
    check_unique(&declared, mistakes);
    check_paths(&declared, mistakes);
    let specs = find(entries, "collections").map(|entry| collections(&entry.value, mistakes)).unwrap_or_default();
    for (collection, (line, spec)) in specs {
        let mut writers = declared.iter_mut().filter(|declared| declared.collection == collection).peekable();
        if writers.peek().is_none() {
            mistakes.at(line, format!("no handler of the file writes `{collection}`"));
        }
        writers.for_each(|declared| declared.spec = spec.clone());
    }
    (keeps_program, declared)
}

fn check_unique(declared: &[Declared], mistakes: &mut Mistakes) {
    let mut known: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for Declared { line, name, event_types, .. } in declared {
        for (_, event_type) in event_types {
            if let Some(first) = known.insert((event_type, name), *line) {
                mistakes.at(
                    *line,
                    format!(
                        "a handler `{name}` of `{event_type}` stands in line {first} already; names tell handlers apart"
                    ),
                );
            }
        }
    }
}

/// Two handlers that write one field in different ways are refused here instead of by the first event.
fn check_paths(declared: &[Declared], mistakes: &mut Mistakes) {
    let mut paths = WritePaths::default();
    for handler in declared {
        let outline: Vec<WriteModel> = handler.outline().into_iter().collect();
        for (_, event_type) in &handler.event_types {
            if mistakes.check(handler.line, paths.check(event_type, &[(&handler.name, &outline)])).is_none() {
                break;
            }
        }
    }
}

/// The collections with their indexes and lines.
fn collections(node: &Node, mistakes: &mut Mistakes) -> BTreeMap<Collection, (usize, CollectionSpec)> {
    let mut specs = BTreeMap::new();
    for Entry { line, name, value } in node.expect_map("`collections`", mistakes) {
        let Some(collection) = mistakes.check(*line, Collection::parse(name)) else { continue };
        let entries = value.expect_map(&format!("`{name}`"), mistakes);
        check_names(entries, "a collection", &["indexes", "unique", "sparse", "forget_deleted"], mistakes);
        let mut spec = CollectionSpec::new(collection.clone());
        if let Some(indexes) = find(entries, "indexes") {
            let named = |what: &str, mistakes: &mut Mistakes| {
                let entry = find(entries, what);
                entry.map(|entry| entry.value.expect_texts(&format!("`{what}`"), mistakes)).unwrap_or_default()
            };
            let (unique, sparse) = (named("unique", mistakes), named("sparse", mistakes));
            let indexes = indexes.value.expect_map("`indexes`", mistakes);
            for (line, other) in unique.iter().chain(&sparse).filter(|(_, other)| find(indexes, other).is_none()) {
                mistakes.at(*line, format!("there is no index `{other}` of `{name}`"));
            }
            for Entry { line, name, value } in indexes {
                let is = |list: &[(usize, &str)]| list.iter().any(|(_, other)| other == name);
                let keys = index_keys(value, mistakes);
                spec = match (is(&unique), is(&sparse)) {
                    (false, false) => spec.index(name, keys),
                    (false, true) => spec.sparse_index(name, keys),
                    (true, false) => spec.unique_index(name, keys),
                    (true, true) => {
                        mistakes.at(*line, format!("`{name}` is unique or sparse, not both"));
                        spec
                    }
                };
            }
        }
        let forgets = find(entries, "forget_deleted");
        if forgets.is_some_and(|entry| entry.value.expect_boolean("`forget_deleted`", mistakes) == Some(true)) {
            spec = spec.forget_deleted();
        }
        specs.insert(collection, (*line, spec));
    }
    specs
}

fn index_keys(node: &Node, mistakes: &mut Mistakes) -> Document {
    let mut keys = Document::new();
    for Entry { line, name, value } in node.expect_map("an index", mistakes) {
        mistakes.check(*line, Path::parse(name));
        match &value.content {
            Content::Integer(1) => drop(keys.insert(name.as_str(), 1)),
            Content::Integer(-1) => drop(keys.insert(name.as_str(), -1)),
            Content::Text(kind) if ["2dsphere", "2d", "text", "hashed"].contains(&kind.as_str()) => {
                drop(keys.insert(name.as_str(), kind.as_str()));
            }
            _ => mistakes.at(*line, "the key of an index is 1, -1, 2dsphere, 2d, text or hashed"),
        }
    }
    keys
}
