//! Kafka Connect's converters, as far as evp has them: how a key or a value becomes bytes.

use super::Schema;

/// What is written where a value with a default is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nulls {
    /// The default, as in Java's own reading of a field.
    #[default]
    Replaced,
    /// Null (`replace.null.with.default=false`).
    Kept,
}

/// A converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// `JsonConverter`.
    Json {
        /// The schema stands beside what it is of.
        with_schema: bool,
        /// What null is written as.
        nulls: Nulls,
    },
    /// `StringConverter`: Java's text of a value.
    Text,
    /// `ByteArrayConverter`: bytes as they are.
    Bytes,
}

impl Default for Converter {
    fn default() -> Self {
        Self::Json { with_schema: false, nulls: Nulls::Replaced }
    }
}

impl Converter {
    /// The schema, where it is shown.
    pub(crate) fn shown(self, schema: &Schema) -> Option<&Schema> {
        self.shows_schemas().then_some(schema)
    }

    /// Whether it writes schemas.
    pub(crate) fn shows_schemas(self) -> bool {
        matches!(self, Self::Json { with_schema: true, .. })
    }

    /// What it writes where a value with a default is null.
    pub(crate) fn nulls(self) -> Nulls {
        match self {
            Self::Json { nulls, .. } => nulls,
            Self::Text | Self::Bytes => Nulls::Replaced,
        }
    }

    /// Whether it writes JSON.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json { .. })
    }
}

/// The text of a value out of its JSON, as `StringConverter` and `SimpleHeaderConverter` write it: a text bare, a number
/// in digits, nothing for null.
pub(crate) fn text_of(json: &[u8]) -> Option<Vec<u8>> {
    match json {
        b"null" => None,
        [b'"', ..] => Some(serde_json::from_slice::<String>(json).unwrap_or_default().into_bytes()),
        _ => Some(json.to_vec()),
    }
}
