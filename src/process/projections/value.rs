//! Where the value of a field comes from.

use bson::{Bson, DateTime, Document};

use super::payload::{Candidates, PayloadPath, PayloadType};
use super::yaml::{Content, Entry, Mistakes, Node, check_names, find};
use crate::error::{Error, Result};
use crate::mongo::{Path, joined_text};
use crate::process::Event;
use crate::process::coordinates::{coordinates, pair, point_at};

/// Parts of an event beside its payload.
const OF_EVENT: [(&str, OfEvent); 6] = [
    ("id", OfEvent::Id),
    ("aggregate_id", OfEvent::AggregateId),
    ("aggregate_type", OfEvent::AggregateType),
    ("type", OfEvent::Type),
    ("created_at", OfEvent::CreatedAt),
    ("sequence_id", OfEvent::SequenceId),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfEvent {
    Id,
    AggregateId,
    AggregateType,
    Type,
    CreatedAt,
    SequenceId,
}

/// What gives a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Constant(Bson),
    Payload(PayloadType, Candidates),
    Event(OfEvent),
    /// Texts with blanks between them, trimmed.
    Join(Vec<Candidates>),
    /// A GeoJSON point, or null.
    Point {
        at: Candidates,
        /// Objects that have latitude and longitude themselves; none is the payload.
        pairs: Vec<Option<PayloadPath>>,
    },
    /// Without those that are null.
    List(Vec<Source>),
    Document(Vec<(String, Source)>),
}

const NAMES: [&str; 13] =
    ["value", "text", "id", "integer", "number", "boolean", "date", "any", "event", "join", "point", "list", "fields"];

impl Source {
    /// The event's aggregate.
    pub(super) fn aggregate_id() -> Self {
        Self::Event(OfEvent::AggregateId)
    }

    /// One of the forms, such as `{ text: email }`.
    pub(super) fn parse(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let Content::Map(entries) = &node.content else {
            mistakes.at(
                node.line,
                format!("{what} has to say where its value comes from: {{ text: email }} is a field of the payload, {{ value: x }} a constant"),
            );
            return None;
        };
        let before = mistakes.len();
        check_names(entries, what, &NAMES, mistakes);
        let [Entry { name, value, .. }] = entries.as_slice() else {
            mistakes.at(node.line, format!("{what} has to have one source, of {}", NAMES.join(", ")));
            return None;
        };
        if let Some((_, kind)) = PayloadType::NAMES.iter().find(|(known, _)| known == name) {
            return Some(Self::Payload(*kind, Candidates::parse(value, what, mistakes)));
        }
        let source = match name.as_str() {
            "value" => Self::Constant(constant(value, mistakes)?),
            "event" => Self::Event(of_event(value, mistakes)?),
            "join" => {
                let texts = value.expect_list("`join`", mistakes).iter();
                Self::Join(texts.map(|text| Candidates::parse(text, "a text of `join`", mistakes)).collect())
            }
            "point" => point(value, mistakes),
            "list" => {
                let items = value.expect_list("`list`", mistakes).iter();
                Self::List(items.filter_map(|item| Self::parse(item, "an entry of `list`", mistakes)).collect())
            }
            "fields" => document(value, "`fields`", mistakes),
            _ => return None,
        };
        (mistakes.len() == before).then_some(source)
    }

    /// The fields of the payload that it reads as they are, which can be there or not.
    pub(super) fn candidates(&self) -> Option<&Candidates> {
        match self {
            Self::Payload(_, candidates) => Some(candidates),
            _ => None,
        }
    }

    /// Whether it gives a date, or may.
    pub(super) fn is_date(&self) -> bool {
        matches!(self, Self::Event(OfEvent::CreatedAt) | Self::Payload(PayloadType::Date, _))
    }

    /// The value for an event.
    pub(super) fn read(&self, event: &Event) -> Result<Bson> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Payload(kind, candidates) => candidates.read(*kind, event)?,
            Self::Event(part) => part.read(event),
            Self::Join(texts) => {
                let texts: Result<Vec<Option<&str>>> = texts.iter().map(|text| text.text(event)).collect();
                Bson::String(joined_text(&texts?))
            }
            Self::Point { at, pairs } => {
                let found = at.paths().iter().find_map(|path| coordinates(path.look(event)?));
                let of_pair = |place: &Option<PayloadPath>| match place {
                    None => pair(&event.payload),
                    Some(path) => pair(path.look(event)?.as_object()?),
                };
                found.or_else(|| pairs.iter().find_map(of_pair)).map_or(Bson::Null, point_at)
            }
            Self::List(sources) => {
                let mut values = Vec::with_capacity(sources.len());
                for source in sources {
                    values.extend(Some(source.read(event)?).filter(|value| *value != Bson::Null));
                }
                Bson::Array(values)
            }
            Self::Document(fields) => {
                let mut document = Document::new();
                for (name, source) in fields {
                    document.insert(name.as_str(), source.read(event)?);
                }
                Bson::Document(document)
            }
        })
    }

    /// A date; null is `None`.
    pub(super) fn read_date(&self, event: &Event) -> Result<Option<DateTime>> {
        match self.read(event)? {
            Bson::DateTime(date) => Ok(Some(date)),
            Bson::Null => Ok(None),
            _ => Err(Error::data("a date of the projection is none")),
        }
    }

    /// A text that is not empty, such as an id.
    pub(super) fn read_name(&self, event: &Event, what: &str) -> Result<String> {
        match self.read(event)? {
            Bson::String(text) if !text.is_empty() => Ok(text),
            Bson::Int64(number) => Ok(number.to_string()),
            Bson::Int32(number) => Ok(number.to_string()),
            _ => Err(Error::data(format!("{what} is missing, or no text"))),
        }
    }
}

impl OfEvent {
    fn read(self, event: &Event) -> Bson {
        match self {
            Self::Id => Bson::String(event.event_id_text()),
            Self::AggregateId => Bson::from(event.aggregate_id.as_str()),
            Self::AggregateType => Bson::from(event.aggregate_type.as_str()),
            Self::Type => Bson::from(event.event_type.as_str()),
            Self::CreatedAt => Bson::DateTime(event.created_at),
            Self::SequenceId => event.sequence_id.map_or(Bson::Null, Bson::Int64),
        }
    }
}

fn of_event(node: &Node, mistakes: &mut Mistakes) -> Option<OfEvent> {
    let name = node.expect_text("`event`", mistakes)?;
    let found = OF_EVENT.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
    if found.is_none() {
        let names = OF_EVENT.map(|(name, _)| name).join(", ");
        mistakes.at(
            node.line,
            format!("an event has no `{name}`: there are {names}; payload fields are read by {{ text: {name} }}"),
        );
    }
    found
}

/// A constant, which may be a list or a document.
fn constant(node: &Node, mistakes: &mut Mistakes) -> Option<Bson> {
    Some(match &node.content {
        Content::Null => Bson::Null,
        Content::Boolean(value) => Bson::Boolean(*value),
        Content::Integer(value) => i32::try_from(*value).map_or(Bson::Int64(*value), Bson::Int32),
        Content::Number(value) => Bson::Double(*value),
        Content::Text(text) => Bson::from(text.as_str()),
        Content::List(items) => Bson::Array(items.iter().filter_map(|item| constant(item, mistakes)).collect()),
        Content::Map(entries) => {
            let mut document = Document::new();
            for Entry { line, name, value } in entries {
                mistakes.check(*line, Path::parse(name))?;
                document.insert(name.as_str(), constant(value, mistakes)?);
            }
            Bson::Document(document)
        }
    })
}

fn point(node: &Node, mistakes: &mut Mistakes) -> Source {
    let Content::Map(entries) = &node.content else {
        return Source::Point { at: Candidates::parse(node, "`point`", mistakes), pairs: Vec::new() };
    };
    check_names(entries, "`point`", &["at", "pair_in"], mistakes);
    let at = match find(entries, "at") {
        Some(at) => Candidates::parse(&at.value, "`at`", mistakes),
        None => Candidates::default(),
    };
    let places = find(entries, "pair_in").map(|entry| entry.value.expect_texts("`pair_in`", mistakes));
    let pairs = places.unwrap_or_default().into_iter().filter_map(|(line, place)| match place {
        "." => Some(None),
        path => PayloadPath::parse(line, path, mistakes).map(Some),
    });
    Source::Point { at, pairs: pairs.collect() }
}

/// The fields of a document, those of nested ones by their paths.
pub(super) fn document(node: &Node, what: &str, mistakes: &mut Mistakes) -> Source {
    let mut fields = Vec::new();
    for Entry { line, name, value } in node.expect_map(what, mistakes) {
        let path = mistakes.check(*line, Path::parse(name));
        let source = Source::parse(value, &format!("`{name}`"), mistakes);
        if let (Some(_), Some(source)) = (path, source)
            && !insert(&mut fields, name, source)
        {
            mistakes.at(*line, format!("`{name}` stands inside of another field, or has another one inside of it"));
        }
    }
    Source::Document(fields)
}

/// Puts a field into its place; false if another one is in the way.
fn insert(fields: &mut Vec<(String, Source)>, path: &str, source: Source) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let known = fields.iter_mut().find(|(known, _)| known == name);
    match (known, rest) {
        (None, None) => fields.push((name.to_owned(), source)),
        (None, Some(rest)) => {
            let mut nested = Vec::new();
            insert(&mut nested, rest, source);
            fields.push((name.to_owned(), Source::Document(nested)));
        }
        (Some((_, Source::Document(nested))), Some(rest)) => return insert(nested, rest, source),
        (Some(_), _) => return false,
    }
    true
}
