//! An event of the outbox, as handlers see it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bson::DateTime;
use jiff::Timestamp;
use jiff::civil;
use serde_json::{Map, Value};
use sha2::Digest as _;
use uuid::Uuid;

use super::context::EventContext;
use crate::envelope::decode::{Column, Ids, OutboxRow, text_of};
use crate::envelope::number::integer;
use crate::error::{Error, Result};

/// One row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Identity of the event; a second one with the same id has no effect. Of an id that is no UUID it is a digest.
    pub event_id: Uuid,
    /// Order in the source table, if it keeps one.
    pub sequence_id: Option<i64>,
    /// What the event is about: a lower-case UUID, or with ids of any kind the text as it stands.
    pub aggregate_id: String,
    /// The kind of aggregate, such as `User`; empty where the outbox has no such column.
    pub aggregate_type: String,
    /// What happened, such as `UserCreated`; it chooses the handlers.
    pub event_type: String,
    /// The facts.
    pub payload: Map<String, Value>,
    /// When it happened, by the application, or else when it was committed.
    pub created_at: DateTime,
    /// When it was committed, in microseconds since 1970.
    pub source_ts_us: Option<i64>,
    /// The record that told of it.
    pub context: EventContext,
    /// Fields of the payload whose integer is written like a fraction, `8.0` or `1e2`.
    written_integers: BTreeMap<String, i64>,
}

impl Event {
    /// From the columns of a row.
    pub fn from_row(row: &OutboxRow<'_>, source_ts_us: Option<i64>) -> Result<Self> {
        let created_at = created_at(row, source_ts_us)?;
        let payload = row.payload()?;
        let has_fractions = fractions(&payload).next().is_some();
        Ok(Self {
            event_id: Self::id_of(row)?,
            sequence_id: row.sequence_id()?,
            aggregate_id: Self::aggregate_id_of(row)?,
            aggregate_type: match row.columns().has(Column::AggregateType) {
                true => required(row, Column::AggregateType)?.into_owned(),
                false => String::new(),
            },
            event_type: required(row, Column::EventType)?.into_owned(),
            payload,
            created_at,
            source_ts_us,
            context: EventContext::default(),
            written_integers: if has_fractions { row.written_integers() } else { BTreeMap::new() },
        })
    }

    /// The id alone, which tells whether the event is known, whatever else can be read of it.
    pub(crate) fn id_of(row: &OutboxRow<'_>) -> Result<Uuid> {
        match row.columns().ids {
            Ids::Uuid => uuid(row, Column::EventId),
            Ids::Any => any_id(row, Column::EventId).map(|id| id_as_uuid(&id)),
        }
    }

    /// [`Self::event_id`] of an event whose id is this text in the outbox.
    pub fn id_of_text(id: &str) -> Uuid {
        id_as_uuid(id.trim())
    }

    /// The aggregate's id alone.
    pub(crate) fn aggregate_id_of(row: &OutboxRow<'_>) -> Result<String> {
        match row.columns().ids {
            Ids::Uuid => Ok(uuid(row, Column::AggregateId)?.hyphenated().to_string()),
            Ids::Any => any_id(row, Column::AggregateId).map(Cow::into_owned),
        }
    }

    /// An event with `payload`, an object, and made-up ids, committed one second after 1970: for unit tests of handlers.
    pub fn sample(event_type: &str, payload: Value) -> Self {
        let payload = match payload {
            Value::Object(payload) => payload,
            _ => Map::new(),
        };
        Self {
            event_id: Uuid::from_u128(0xfd30_4db0_6e40_4f4d_9c0e_d66c_58fe_5c8e),
            sequence_id: Some(7),
            aggregate_id: "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491".to_owned(),
            aggregate_type: "Sample".to_owned(),
            event_type: event_type.to_owned(),
            written_integers: fractions(&payload)
                .filter_map(|(field, value)| Some((field.clone(), integer(&value.to_string())?)))
                .collect(),
            payload,
            created_at: DateTime::from_millis(1_000),
            source_ts_us: Some(1_000_000),
            context: EventContext::default(),
        }
    }

    /// The same sample about another aggregate.
    #[must_use]
    pub fn about(mut self, aggregate_id: impl Into<String>) -> Self {
        self.aggregate_id = aggregate_id.into();
        self
    }

    /// The same sample with a header on its record.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        self.context = self.context.with_header(name, value);
        self
    }

    /// The id as documents hold it: a lower-case text.
    pub fn event_id_text(&self) -> String {
        self.event_id.hyphenated().to_string()
    }

    /// Whether the payload has the field, be it null.
    pub fn has(&self, field: &str) -> bool {
        self.payload.contains_key(field)
    }

    /// A text of the payload; absent and null are `None`.
    pub fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.payload.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(field, "a text")),
        }
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, field: &str) -> Result<&str> {
        match self.text(field)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Error::data(format!("payload field `{field}` is missing"))),
        }
    }

    /// The id of another aggregate: a UUID becomes lower-case, anything else stays as it is.
    pub fn id(&self, field: &str) -> Result<Option<String>> {
        Ok(self.text(field)?.map(normal_id))
    }

    /// A whole number of the payload, however JSON writes it: `8`, `8.0` or `80e-1`.
    pub fn integer(&self, field: &str) -> Result<Option<i64>> {
        match self.payload.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_i64().or_else(|| self.written_integers.get(field).copied());
                number.map(Some).ok_or_else(|| wrong_type(field, "a whole number"))
            }
        }
    }

    /// A number of the payload.
    pub fn number(&self, field: &str) -> Result<Option<f64>> {
        match self.payload.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| wrong_type(field, "a number")),
        }
    }

    /// An object inside the payload.
    pub fn object(&self, field: &str) -> Result<Option<&Map<String, Value>>> {
        match self.payload.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(wrong_type(field, "an object")),
        }
    }
}

fn created_at(row: &OutboxRow<'_>, source_ts_us: Option<i64>) -> Result<DateTime> {
    let name = row.columns().name(Column::CreatedAt);
    if name.is_empty() {
        let committed_us = source_ts_us.ok_or_else(|| Error::data("`source` does not tell the time of the commit"))?;
        return Ok(DateTime::from_millis(committed_us.div_euclid(1_000)));
    }
    let raw = row.created_at().ok_or_else(|| Error::data(format!("`{name}` is missing")))?;
    let date = match text_of(raw) {
        Some(text) => date_from_text(&text),
        None => integer(raw.get()).and_then(date_from_number),
    };
    date.ok_or_else(|| Error::data(format!("`{name}` is not a date that evp can read")))
}

fn missing(row: &OutboxRow<'_>, column: Column) -> Error {
    Error::data(format!("`{}` is missing", row.columns().name(column)))
}

fn required<'a>(row: &OutboxRow<'a>, column: Column) -> Result<Cow<'a, str>> {
    row.text(column)?.ok_or_else(|| missing(row, column))
}

fn uuid(row: &OutboxRow<'_>, column: Column) -> Result<Uuid> {
    let text = required(row, column)?;
    let wrong = || Error::data(format!("`{}` is not a UUID", row.columns().name(column)));
    Uuid::try_parse(text.trim()).map_err(|_| wrong())
}

/// A text that is not empty, or a whole number as a text.
fn any_id<'a>(row: &OutboxRow<'a>, column: Column) -> Result<Cow<'a, str>> {
    let id = row.text_or_integer(column)?.ok_or_else(|| missing(row, column))?;
    if id.is_empty() { Err(missing(row, column)) } else { Ok(id) }
}

/// A UUID as it is, and what stands for an id that is none.
fn id_as_uuid(id: &str) -> Uuid {
    Uuid::try_parse(id).unwrap_or_else(|_| {
        let digest = sha2::Sha256::digest(id.as_bytes());
        uuid::Builder::from_custom_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
    })
}

/// The fields whose number is written with a point or an exponent.
fn fractions(payload: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    payload.iter().filter(|(_, value)| value.is_f64())
}

fn wrong_type(field: &str, expected: &str) -> Error {
    Error::data(format!("payload field `{field}` is not {expected}"))
}

/// A UUID in lower case with hyphens; another id unchanged.
pub(crate) fn normal_id(text: &str) -> String {
    match Uuid::try_parse(text.trim()) {
        Ok(id) => id.hyphenated().to_string(),
        Err(_) => text.to_owned(),
    }
}

/// ISO 8601 with or without an offset; without one it is UTC.
pub(super) fn date_from_text(text: &str) -> Option<DateTime> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(DateTime::from_millis(floor_millis(timestamp)));
    }
    let local = text.parse::<civil::DateTime>().ok()?;
    let timestamp = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(DateTime::from_millis(floor_millis(timestamp)))
}

fn floor_millis(timestamp: Timestamp) -> i64 {
    timestamp.as_microsecond().div_euclid(1_000)
}

/// Milliseconds, microseconds or nanoseconds since 1970, told apart by their size.
///
/// The bounds are the year 5138 in the finer unit and March 1973 in the coarser one.
pub(super) fn date_from_number(number: i64) -> Option<DateTime> {
    const MICROSECONDS_FROM: u64 = 100_000_000_000_000;
    const NANOSECONDS_FROM: u64 = 100_000_000_000_000_000;
    let millis = match number.unsigned_abs() {
        0..MICROSECONDS_FROM => number,
        MICROSECONDS_FROM..NANOSECONDS_FROM => number.div_euclid(1_000),
        _ => number.div_euclid(1_000_000),
    };
    Some(DateTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::decode::{OutboxColumns, decode, decode_row};

    fn event(after: &str) -> Result<Event> {
        let json = format!(r#"{{"op":"c","after":{after}}}"#);
        Event::from_row(&decode(json.as_bytes()).unwrap().after.unwrap(), None)
    }

    fn with_created_at(created_at: &str) -> Result<Event> {
        event(&format!(
            r#"{{"event_id":"FD304DB0-6E40-4F4D-9C0E-D66C58FE5C8E","aggregate_id":"D8DCA3D4-A667-4B57-82EB-0F8FCD2C6491",
                "aggregate_type":"User","event_type":"UserCreated","payload":{{"n":1,"s":"x","z":null}},"created_at":{created_at}}}"#
        ))
    }

    #[test]
    fn every_form_of_a_date_is_the_same_instant() {
        let expected = DateTime::from_millis(1_795_252_418_709);
        for form in [
            "\"2026-11-21T09:13:38.709461Z\"",
            "\"2026-11-21T10:13:38.709461+01:00\"",
            "\"2026-11-21T09:13:38.709461\"",
            "\"2026-11-21 09:13:38.709461+00\"",
            "1795252418709",
            "1795252418709461",
            "1795252418709461000",
            "1795252418709.0",
            "1.795252418709461e15",
        ] {
            assert_eq!(with_created_at(form).unwrap().created_at, expected, "{form}");
        }
        for form in ["\"yesterday\"", "1.5", "{}", "null", "true", "99999999999999999999"] {
            assert!(with_created_at(form).is_err(), "{form}");
        }
    }

    #[test]
    fn ids_are_lower_case() {
        let event = with_created_at("1").unwrap();
        assert_eq!(event.event_id_text(), "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e");
        assert_eq!(event.aggregate_id, "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491");
        assert_eq!(normal_id("Not-A-Uuid"), "Not-A-Uuid");
    }

    #[test]
    fn fields_are_read_by_type() {
        let event = with_created_at("1").unwrap();
        assert_eq!(event.integer("n").unwrap(), Some(1));
        assert_eq!(event.text("z").unwrap(), None);
        assert_eq!(event.text("absent").unwrap(), None);
        assert!(event.text("n").is_err() && event.integer("s").is_err() && event.object("s").is_err());
        assert!(event.required_text("z").is_err());
    }

    #[test]
    fn an_integer_may_be_written_like_a_fraction() {
        let event = |payload: &str| {
            let (id, payload) = (Uuid::nil(), serde_json::to_string(payload).unwrap());
            event(&format!(
                r#"{{"event_id":"{id}","aggregate_id":"{id}","aggregate_type":"User","event_type":"UserCreated",
                    "payload":{payload},"created_at":1,"sequence_id":3.0}}"#
            ))
            .unwrap()
        };
        let integers = r#"{"n":8.0,"e":1e2,"x":1.0E+1,"large":9007199254740993.0,"\u006e2":-2.00}"#;
        let found = event(integers);
        let read = |field: &str| found.integer(field).unwrap().unwrap();
        assert_eq!(["n", "e", "x", "large", "n2"].map(read), [8, 100, 10, 9_007_199_254_740_993, -2]);
        assert_eq!((found.sequence_id, found.number("n").unwrap()), (Some(3), Some(8.0)));
        let fractions = event(r#"{"half":1.5,"vast":1e300,"near":4503599627370497.4}"#);
        assert!(["half", "vast", "near"].iter().all(|field| fractions.integer(field).is_err()));
        let sample = Event::sample("UserCreated", serde_json::json!({ "n": 8.0, "half": 0.5 }));
        assert!(sample.integer("n").unwrap() == Some(8) && sample.integer("half").is_err());
    }

    #[test]
    fn ids_of_any_kind_stand_as_they_are_and_an_event_without_a_time_has_that_of_its_commit() {
        let json = br#"{"op":"c","source":{"ts_us":1500999},"after":{"id":42,"aggregateid":"A/1","type":"Placed",
            "aggregatetype":"Order","payload":{}}}"#;
        let columns = OutboxColumns::debezium();
        let envelope = decode_row(json, &columns).unwrap();
        let event = Event::from_row(&envelope.after.unwrap(), envelope.source_ts_us).unwrap();
        assert_eq!((event.aggregate_id.as_str(), event.created_at), ("A/1", DateTime::from_millis(1_500)));
        assert_eq!(event.event_id, id_as_uuid("42"));
        assert_ne!(event.event_id, id_as_uuid("43"));
        let id = "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e";
        assert_eq!(id_as_uuid(id).to_string(), id);
        let read = |json: &str| Event::from_row(&decode_row(json.as_bytes(), &columns).unwrap().after.unwrap(), None);
        let error = read(r#"{"op":"c","after":{"id":"","aggregateid":1}}"#).unwrap_err().to_string();
        assert!(error.contains("commit"), "{error}");
    }

    #[test]
    fn a_missing_or_malformed_column_is_named() {
        let error = event(r#"{"aggregate_id":"x"}"#).unwrap_err().to_string();
        assert!(error.contains("event_id") || error.contains("created_at"), "{error}");
    }
}
