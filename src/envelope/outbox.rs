//! The columns of an outbox table, evp's own or a stranger's, and a row of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::{UNAVAILABLE_VALUE, parse_payload, text_of};
use super::number::integer;
use crate::error::{Error, Result};

/// What evp reads of an outbox row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Identity of the event.
    EventId,
    /// Order in the table.
    SequenceId,
    /// What the event is about.
    AggregateId,
    /// The kind of what it is about.
    AggregateType,
    /// What happened.
    EventType,
    /// The facts.
    Payload,
    /// When it happened.
    CreatedAt,
}

const COLUMNS: [Column; 7] = [
    Column::EventId,
    Column::SequenceId,
    Column::AggregateId,
    Column::AggregateType,
    Column::EventType,
    Column::Payload,
    Column::CreatedAt,
];

impl Column {
    /// The column's name in evp's own table, by which settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::SequenceId => "sequence_id",
            Self::AggregateId => "aggregate_id",
            Self::AggregateType => "aggregate_type",
            Self::EventType => "event_type",
            Self::Payload => "payload",
            Self::CreatedAt => "created_at",
        }
    }

    /// A table may be without it.
    fn is_optional(self) -> bool {
        matches!(self, Self::SequenceId | Self::AggregateType | Self::CreatedAt)
    }
}

/// What ids of events and aggregates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// UUIDs, which documents hold in lower case; anything else is refused.
    Uuid,
    /// Any text, or whole numbers, as they stand.
    Any,
}

/// The names of an outbox's columns; an empty one is of a column that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxColumns {
    names: [Cow<'static, str>; 7],
    /// What its ids are.
    pub ids: Ids,
}

const fn columns(names: [&'static str; 7]) -> OutboxColumns {
    let [id, sequence, aggregate_id, aggregate_type, event_type, payload, created_at] = names;
    let names = [
        Cow::Borrowed(id),
        Cow::Borrowed(sequence),
        Cow::Borrowed(aggregate_id),
        Cow::Borrowed(aggregate_type),
        Cow::Borrowed(event_type),
        Cow::Borrowed(payload),
        Cow::Borrowed(created_at),
    ];
    OutboxColumns { names, ids: Ids::Uuid }
}

static OWN: OutboxColumns =
    columns(["event_id", "sequence_id", "aggregate_id", "aggregate_type", "event_type", "payload", "created_at"]);

impl Default for OutboxColumns {
    fn default() -> Self {
        OWN.clone()
    }
}

impl OutboxColumns {
    /// Those of evp's own table.
    pub fn own() -> &'static Self {
        &OWN
    }

    /// Those that the documentation of Debezium's outbox event router proposes: `id`, `aggregatetype`, `aggregateid`,
    /// `type`, `payload`. An event's time is that of its commit.
    pub fn debezium() -> Self {
        Self { ids: Ids::Any, ..columns(["id", "", "aggregateid", "aggregatetype", "type", "payload", ""]) }
    }

    /// From `debezium`, or from pairs such as `event_id=id,aggregate_id=order_no,created_at=`; what is not named is called
    /// as in evp's own table. The error is a sentence.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("debezium") {
            return Ok(Self::debezium());
        }
        let mut parsed = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (what, name) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form WHAT=COLUMN"))?;
            let (what, name) = (what.trim(), name.trim());
            let known = || COLUMNS.map(Column::name).join(", ");
            let column = COLUMNS.into_iter().find(|column| column.name() == what);
            let column = column.ok_or_else(|| format!("`{what}` is none of {}", known()))?;
            if name.is_empty() && !column.is_optional() {
                return Err(format!("`{what}` needs a column"));
            }
            parsed = parsed.with(column, name.to_owned());
        }
        let mut names: Vec<&str> = parsed.names.iter().map(|name| &**name).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| matches!(pair, [left, right] if left == right)) {
            Some(twice) => Err(format!("the column `{}` stands for two things", twice.first().unwrap_or(&""))),
            None => Ok(parsed),
        }
    }

    /// The same with another name for one column.
    #[must_use]
    pub fn with(mut self, column: Column, name: impl Into<Cow<'static, str>>) -> Self {
        if let Some(place) = self.names.get_mut(column as usize) {
            *place = name.into();
        }
        self
    }

    /// The name of a column.
    pub fn name(&self, column: Column) -> &str {
        self.names.get(column as usize).map(|name| &**name).unwrap_or_default()
    }

    /// Whether the table has the column.
    pub fn has(&self, column: Column) -> bool {
        !self.name(column).is_empty()
    }
}

/// The columns of an outbox row, each still as JSON.
#[derive(Debug)]
pub struct OutboxRow<'a> {
    values: [Option<&'a RawValue>; 7],
    columns: &'a OutboxColumns,
}

impl<'a> OutboxRow<'a> {
    /// A text column.
    pub fn text(&self, column: Column) -> Result<Option<Cow<'a, str>>> {
        match self.raw(column) {
            None => Ok(None),
            Some(raw) => text_of(raw)
                .map(Some)
                .ok_or_else(|| Error::data(format!("`{}` is not a text", self.columns.name(column)))),
        }
    }

    /// A text column, or one of whole numbers as a text.
    pub fn text_or_integer(&self, column: Column) -> Result<Option<Cow<'a, str>>> {
        match self.raw(column) {
            Some(raw) if text_of(raw).is_none() && integer(raw.get()).is_some() => Ok(Some(Cow::Borrowed(raw.get()))),
            _ => self.text(column),
        }
    }

    /// `sequence_id`, a number or a number written as text.
    pub fn sequence_id(&self) -> Result<Option<i64>> {
        let Some(raw) = self.raw(Column::SequenceId) else { return Ok(None) };
        let text = text_of(raw).unwrap_or(Cow::Borrowed(raw.get()));
        let name = self.columns.name(Column::SequenceId);
        integer(&text).map(Some).ok_or_else(|| Error::data(format!("`{name}` is not a whole number")))
    }

    /// When the event happened, as it stands.
    pub fn created_at(&self) -> Option<&'a RawValue> {
        self.raw(Column::CreatedAt)
    }

    /// `payload` as an object: Debezium sends jsonb as text, other producers as the object itself.
    pub fn payload(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let text = self.payload_text().ok_or_else(|| Error::data("`payload` is missing"))?;
        if text == UNAVAILABLE_VALUE {
            return Err(Error::data("`payload` was not sent by PostgreSQL: the row was updated without it"));
        }
        parse_payload(&text)
    }

    /// The fields of `payload` that are integers written with a point or an exponent, which its numbers do not keep exactly.
    pub fn written_integers(&self) -> BTreeMap<String, i64> {
        let text = self.payload_text().unwrap_or_default();
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(&text).unwrap_or_default();
        let is_number = |raw: &RawValue| raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let numbers = fields.into_iter().filter(|(_, raw)| is_number(raw));
        numbers.filter_map(|(field, raw)| Some((field.into_owned(), integer(raw.get())?))).collect()
    }

    /// The columns that make up the event, as they stand; `None` if the payload is not there as an object.
    pub fn content(&self) -> Option<[Cow<'a, str>; 6]> {
        let payload = self.payload_text()?;
        // A placeholder of Debezium's is no object, whichever it is configured to be.
        let is_object = payload.trim_ascii_start().starts_with('{') && payload.trim_ascii_end().ends_with('}');
        let columns =
            [Column::EventType, Column::AggregateId, Column::AggregateType, Column::CreatedAt, Column::SequenceId];
        let [kind, id, aggregate, created_at, sequence] =
            columns.map(|column| Cow::Borrowed(self.value(column).map_or("", RawValue::get)));
        is_object.then_some([kind, id, aggregate, created_at, sequence, payload])
    }

    fn payload_text(&self) -> Option<Cow<'a, str>> {
        let raw = self.raw(Column::Payload)?;
        Some(text_of(raw).unwrap_or(Cow::Borrowed(raw.get())))
    }

    /// The columns that it was read with.
    pub fn columns(&self) -> &'a OutboxColumns {
        self.columns
    }

    fn value(&self, column: Column) -> Option<&'a RawValue> {
        self.values.get(column as usize).copied().flatten()
    }

    fn raw(&self, column: Column) -> Option<&'a RawValue> {
        self.value(column).filter(|raw| raw.get() != "null")
    }
}

/// Reads a row with these columns.
pub(super) struct RowSeed<'a>(pub(super) &'a OutboxColumns);

impl<'a> DeserializeSeed<'a> for RowSeed<'a> {
    type Value = OutboxRow<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for RowSeed<'a> {
    type Value = OutboxRow<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut row = OutboxRow { values: [None; 7], columns: self.0 };
        while let Some(place) = map.next_key_seed(NameSeed(self.0))? {
            match place.and_then(|place| row.values.get_mut(place)) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Some(_)) => return Err(A::Error::custom("a column stands twice")),
                Some(value @ None) => *value = Some(map.next_value()?),
            }
        }
        Ok(row)
    }
}

/// Finds the place of a column by its name, without copying that.
struct NameSeed<'a>(&'a OutboxColumns);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<Self::Value, E> {
        Ok(self.0.names.iter().position(|known| known == name && !name.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::decode::decode_row;

    #[test]
    fn other_columns_are_read_by_their_names() {
        let json = br#"{"op":"c","after":{"id":7,"aggregateid":"A-1","aggregatetype":"Order","type":"OrderPlaced","payload":"{}","event_id":"x","":1}}"#;
        let columns = OutboxColumns::debezium();
        let row = decode_row(json, &columns).unwrap().after.unwrap();
        assert_eq!(row.text(Column::AggregateId).unwrap().as_deref(), Some("A-1"));
        assert_eq!((row.sequence_id().unwrap(), row.created_at().is_none()), (None, true));
        let error = row.text(Column::EventId).unwrap_err().to_string();
        assert!(error.contains("`id`"), "{error}");
    }

    #[test]
    fn a_column_that_stands_twice_is_refused() {
        assert!(decode_row(br#"{"op":"c","after":{"payload":1,"payload":2}}"#, OutboxColumns::own()).is_err());
        assert!(decode_row(br#"{"op":"c","after":{"other":1,"other":2}}"#, OutboxColumns::own()).is_ok());
    }

    #[test]
    fn a_mapping_is_parsed_or_refused_in_a_sentence() {
        let parsed = OutboxColumns::parse("event_id=id, aggregate_id=order_no,created_at=").unwrap();
        assert_eq!(parsed.name(Column::EventId), "id");
        assert_eq!(parsed.name(Column::Payload), "payload");
        assert!(!parsed.has(Column::CreatedAt));
        for wrong in ["id", "colour=red", "payload=", "event_id=payload"] {
            assert!(OutboxColumns::parse(wrong).is_err(), "{wrong}");
        }
    }
}
