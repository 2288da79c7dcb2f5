//! Reading payloads by the paths of a projection file.

use bson::{Bson, DateTime, Document};
use serde_json::Value;

use super::yaml::{Mistakes, Node};
use crate::error::{Error, Result};
use crate::process::Event;
use crate::process::event::{date_from_number, date_from_text};

/// A field of the payload, or of an object inside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PayloadPath(Vec<String>);

/// Fields of which the first counts that is there, be it null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Candidates(Vec<PayloadPath>);

impl PayloadPath {
    pub(super) fn parse(line: usize, text: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            mistakes.at(line, format!("`{text}` is no path of a payload, such as `email` or `profile.bio`"));
            return None;
        }
        Some(Self(names))
    }

    fn name(&self) -> String {
        self.0.join(".")
    }

    /// The value if the field is there.
    fn find<'a>(&self, event: &'a Event) -> Result<Option<&'a Value>> {
        let mut names = self.0.iter();
        let mut found = names.next().and_then(|name| event.payload.get(name));
        for (depth, name) in (1..).zip(names) {
            found = match found {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(object)) => object.get(name),
                Some(_) => {
                    let outer = self.0.iter().take(depth).cloned().collect::<Vec<_>>().join(".");
                    return Err(wrong_type(&outer, "an object"));
                }
            };
        }
        Ok(found)
    }

    /// The value if it can be reached; whatever is in the way counts as absent.
    pub(super) fn look<'a>(&self, event: &'a Event) -> Option<&'a Value> {
        self.find(event).unwrap_or_default()
    }
}

fn wrong_type(name: &str, expected: &str) -> Error {
    Error::data(format!("payload field `{name}` is not {expected}"))
}

/// What a field of the payload is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadType {
    Text,
    /// A text; a UUID becomes lower-case.
    Id,
    Integer,
    Number,
    Boolean,
    /// ISO 8601, or a number since 1970.
    Date,
    /// Whatever JSON it is.
    Any,
}

impl PayloadType {
    pub(super) const NAMES: [(&'static str, Self); 7] = [
        ("text", Self::Text),
        ("id", Self::Id),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("date", Self::Date),
        ("any", Self::Any),
    ];

    fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Id => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Date => "a date",
            Self::Any => "a value that a document may hold: a name in it begins with `$`, or has a dot",
        }
    }
}

impl Candidates {
    /// A path, or a list of them.
    pub(super) fn parse(node: &Node, what: &str, mistakes: &mut Mistakes) -> Self {
        let paths = node.expect_texts(what, mistakes).into_iter();
        Self(paths.filter_map(|(line, path)| PayloadPath::parse(line, path, mistakes)).collect())
    }

    pub(super) fn paths(&self) -> &[PayloadPath] {
        &self.0
    }

    fn first<'a>(&self, event: &'a Event) -> Result<Option<(&PayloadPath, &'a Value)>> {
        for path in &self.0 {
            if let Some(value) = path.find(event)? {
                return Ok(Some((path, value)));
            }
        }
        Ok(None)
    }

    /// Whether one of them is there, be it null.
    pub(super) fn is_present(&self, event: &Event) -> Result<bool> {
        Ok(self.first(event)?.is_some())
    }

    /// Whether any of them is there. What is in the way of one does not hide the others.
    pub(super) fn is_any_present(&self, event: &Event) -> bool {
        self.0.iter().any(|path| path.look(event).is_some())
    }

    /// A text; absent and null are `None`.
    pub(super) fn text<'a>(&self, event: &'a Event) -> Result<Option<&'a str>> {
        match self.first(event)? {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((path, _)) => Err(wrong_type(&path.name(), PayloadType::Text.expected())),
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn check_required(&self, event: &Event) -> Result<()> {
        match self.text(event)? {
            Some(text) if !text.is_empty() => Ok(()),
            _ => {
                let names: Vec<String> = self.0.iter().map(PayloadPath::name).collect();
                Err(Error::data(format!("payload field `{}` is missing", names.join("` or `"))))
            }
        }
    }

    /// The value as BSON; absent and null are null.
    pub(super) fn read(&self, kind: PayloadType, event: &Event) -> Result<Bson> {
        let Some((path, value)) = self.first(event)?.filter(|(_, value)| !value.is_null()) else {
            return Ok(Bson::Null);
        };
        let read = match (kind, value) {
            (PayloadType::Text, Value::String(text)) => Some(Bson::from(text.as_str())),
            (PayloadType::Id, Value::String(text)) => Some(Bson::from(crate::process::event::normal_id(text))),
            (PayloadType::Integer, Value::Number(_)) => integer(path, value, event)?.map(Bson::Int64),
            (PayloadType::Number, value) => value.as_f64().map(Bson::Double),
            (PayloadType::Boolean, value) => value.as_bool().map(Bson::Boolean),
            (PayloadType::Date, value) => date(value).map(Bson::DateTime),
            (PayloadType::Any, value) => stored(value),
            _ => None,
        };
        read.ok_or_else(|| wrong_type(&path.name(), kind.expected()))
    }
}

/// A whole number; in the payload itself also one that is written like a fraction.
fn integer(path: &PayloadPath, value: &Value, event: &Event) -> Result<Option<i64>> {
    match path.0.as_slice() {
        [field] => event.integer(field),
        _ => Ok(value.as_i64()),
    }
}

fn date(value: &Value) -> Option<DateTime> {
    match value {
        Value::String(text) => date_from_text(text),
        value => date_from_number(value.as_i64()?),
    }
}

/// Any JSON, unless a name in it could be read as an operator or a path.
fn stored(value: &Value) -> Option<Bson> {
    Some(match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Bson::Int64(integer),
            None => Bson::Double(number.as_f64()?),
        },
        Value::String(text) => Bson::from(text.as_str()),
        Value::Array(values) => Bson::Array(values.iter().map(stored).collect::<Option<_>>()?),
        Value::Object(object) => {
            let mut document = Document::new();
            for (name, value) in object {
                if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) {
                    return None;
                }
                document.insert(name.as_str(), stored(value)?);
            }
            Bson::Document(document)
        }
    })
}
