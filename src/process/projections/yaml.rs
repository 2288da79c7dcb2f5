//! A YAML file as a tree that knows its lines, and the mistakes that are found in it.

use std::fmt::Display;

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};
use saphyr_parser::{Event, Parser};

use crate::error::{Error, Result};

/// A larger file is none of projections.
const BYTES_MAX: usize = 1_000_000;
/// Nobody writes deeper by hand, and trees are built and walked by recursion.
const DEPTH_MAX: usize = 32;

/// A value and the line that it begins at.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: Node,
}

impl Node {
    /// Reads a file's only document; what is no YAML is one mistake.
    pub(super) fn parse(text: &str, mistakes: &mut Mistakes) -> Option<Self> {
        if text.len() > BYTES_MAX {
            mistakes.at(1, format!("the file is larger than {BYTES_MAX} bytes"));
            return None;
        }
        if let Some(line) = too_deep_at(text) {
            mistakes.at(line, "this is nested too deeply");
            return None;
        }
        let documents = match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents,
            Err(error) => {
                mistakes.at(error.marker().line(), format!("this is no YAML: {}", error.info()));
                return None;
            }
        };
        match documents.as_slice() {
            [document] => Self::of(document, mistakes),
            [] => {
                mistakes.at(1, "the file is empty; it begins with `handlers:`");
                None
            }
            [_, second, ..] => {
                mistakes.at(second.span.start.line(), "the file has a second document; one file is one document");
                None
            }
        }
    }

    fn of(yaml: &MarkedYaml<'_>, mistakes: &mut Mistakes) -> Option<Self> {
        let line = yaml.span.start.line();
        let content = match &yaml.data {
            YamlData::Value(Scalar::Null) => Content::Null,
            YamlData::Value(Scalar::Boolean(value)) => Content::Boolean(*value),
            YamlData::Value(Scalar::Integer(value)) => Content::Integer(*value),
            YamlData::Value(Scalar::FloatingPoint(value)) => Content::Number(value.into_inner()),
            YamlData::Value(Scalar::String(value)) => Content::Text(value.as_ref().to_owned()),
            YamlData::Sequence(items) => {
                Content::List(items.iter().filter_map(|item| Self::of(item, mistakes)).collect())
            }
            YamlData::Mapping(pairs) => {
                let mut entries = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let line = key.span.start.line();
                    let YamlData::Value(Scalar::String(name)) = &key.data else {
                        mistakes.at(line, "a key has to be a text; put it into quotes");
                        continue;
                    };
                    let value = Self::of(value, mistakes);
                    entries.extend(value.map(|value| Entry { line, name: name.as_ref().to_owned(), value }));
                }
                Content::Map(entries)
            }
            _ => {
                mistakes.at(line, "tags and aliases that cannot be resolved are not understood here");
                return None;
            }
        };
        Some(Self { line, content })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text that must be one.
    pub(super) fn expect_text(&self, what: &str, mistakes: &mut Mistakes) -> Option<&str> {
        let text = self.text().filter(|text| !text.is_empty());
        if text.is_none() {
            mistakes.at(self.line, format!("{what} has to be a text"));
        }
        text
    }

    pub(super) fn expect_boolean(&self, what: &str, mistakes: &mut Mistakes) -> Option<bool> {
        match self.content {
            Content::Boolean(value) => Some(value),
            _ => {
                mistakes.at(self.line, format!("{what} has to be true or false"));
                None
            }
        }
    }

    /// A text, or a list of texts, each with its line.
    pub(super) fn expect_texts<'a>(&'a self, what: &str, mistakes: &mut Mistakes) -> Vec<(usize, &'a str)> {
        let items = match &self.content {
            Content::List(items) if !items.is_empty() => items.as_slice(),
            _ => std::slice::from_ref(self),
        };
        let read = |item: &'a Node| Some((item.line, item.text().filter(|text| !text.is_empty())?));
        let texts: Option<Vec<_>> = items.iter().map(read).collect();
        texts.unwrap_or_else(|| {
            mistakes.at(self.line, format!("{what} has to be a text, or a list of texts"));
            Vec::new()
        })
    }

    pub(super) fn expect_map(&self, what: &str, mistakes: &mut Mistakes) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => {
                mistakes.at(self.line, format!("{what} has to be a map, `name: value` line by line"));
                &[]
            }
        }
    }

    pub(super) fn expect_list(&self, what: &str, mistakes: &mut Mistakes) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => {
                mistakes.at(self.line, format!("{what} has to be a list, with `- ` before each of its entries"));
                &[]
            }
        }
    }
}

/// The line at which the text is nested too deeply, read event by event, without recursion. What is no YAML is left to the loader.
fn too_deep_at(text: &str) -> Option<usize> {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0_usize;
    while let Some(Ok((event, span))) = parser.next_event() {
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth = depth.saturating_add(1),
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(span.start.line());
        }
    }
    None
}

/// The entry of that name.
pub(super) fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.name == name)
}

/// Notes every entry whose name is not known, with the nearest one that is.
pub(super) fn check_names(entries: &[Entry], what: &str, known: &[&str], mistakes: &mut Mistakes) {
    for Entry { line, name, .. } in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
        let scored = known.iter().map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
        let nearest = scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0));
        let remedy = match nearest {
            Some((_, nearest)) => format!("did you mean `{nearest}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        mistakes.at(*line, format!("{what} has no `{name}`: {remedy}"));
    }
}

/// What is wrong with a file, line by line.
#[derive(Debug)]
pub(super) struct Mistakes {
    file: String,
    found: Vec<(usize, String)>,
}

impl Mistakes {
    pub(super) fn of(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    pub(super) fn at(&mut self, line: usize, what: impl Display) {
        self.found.push((line, what.to_string()));
    }

    /// Notes what is wrong, if it is.
    pub(super) fn check<T>(&mut self, line: usize, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.at(line, error.message());
                None
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// All of them as one error, in the order of the lines.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(line, _)| *line);
        let lines: Vec<String> =
            self.found.iter().map(|(line, what)| format!("{}:{line}: {what}", self.file)).collect();
        Err(Error::configuration(lines.join("\n")))
    }
}
