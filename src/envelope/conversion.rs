//! What transforms make of single values that have been written as JSON: another form of a time, another type, a member.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::cast::{Number, cast};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};
use crate::transform::{CastType, TimeEdit, TimeForm};

const DAY_MS: i64 = 86_400_000;
const OF_CONNECT: &str = "org.apache.kafka.connect.data.";

/// What becomes of a value that is not null.
#[derive(Debug, Clone)]
pub(super) enum Conversion {
    /// It is the same for all.
    Constant(Vec<u8>),
    /// A time gets another form.
    Time(TimeForm, TimeEdit),
    /// It gets another type than that of the schema.
    Cast(Box<Schema>, CastType),
    /// The member of an object takes its place.
    Member(String),
}

impl Conversion {
    fn apply(&self, json: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Constant(constant) => Some(constant.clone()),
            Self::Time(form, edit) => time_json(edit, time_ms(json, *form, edit)?),
            Self::Cast(schema, to) => cast(Number::read(json, schema)?, *to),
            Self::Member(name) => {
                let members: HashMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
                members.get(name).map(|member| member.get().as_bytes().to_vec())
            }
        }
    }
}

/// A value behind all of these, of which a null ends the row; `None` where Kafka Connect would end.
pub(super) fn converted<'j>(json: &'j [u8], conversions: &[Conversion]) -> Option<Cow<'j, [u8]>> {
    let mut json = Cow::Borrowed(json);
    for conversion in conversions {
        if json.as_ref() == b"null" {
            break;
        }
        json = Cow::Owned(conversion.apply(&json)?);
    }
    Some(json)
}

/// The form of the times that a schema is of; `None` where Kafka Connect takes it for none.
pub(super) fn time_form(schema: &Schema) -> Option<TimeForm> {
    let name = schema.name.as_deref().and_then(|name| name.strip_prefix(OF_CONNECT));
    match (name, &schema.schema_type) {
        (Some("Timestamp"), _) => Some(TimeForm::Timestamp),
        (Some("Date"), _) => Some(TimeForm::Date),
        (Some("Time"), _) => Some(TimeForm::Time),
        (_, SchemaType::String) => Some(TimeForm::Text),
        (_, SchemaType::Int64) => Some(TimeForm::Unix),
        _ => None,
    }
}

/// The schema of times of a form.
pub(super) fn time_schema(form: TimeForm, is_optional: bool) -> Schema {
    let (schema_type, name) = match form {
        TimeForm::Text => (SchemaType::String, None),
        TimeForm::Unix => (SchemaType::Int64, None),
        TimeForm::Date => (SchemaType::Int32, Some("Date")),
        TimeForm::Time => (SchemaType::Int32, Some("Time")),
        TimeForm::Timestamp => (SchemaType::Int64, Some("Timestamp")),
    };
    let schema = Schema { is_optional, ..Schema::new(schema_type) };
    match name {
        Some(name) => schema.named(format!("{OF_CONNECT}{name}")).version(1),
        None => schema,
    }
}

/// The schema of what is cast.
pub(super) fn cast_schema(to: CastType, is_optional: bool) -> Schema {
    let schema_type = match to {
        CastType::Int8 => SchemaType::Int8,
        CastType::Int16 => SchemaType::Int16,
        CastType::Int32 => SchemaType::Int32,
        CastType::Int64 => SchemaType::Int64,
        CastType::Float32 => SchemaType::Float,
        CastType::Float64 => SchemaType::Double,
        CastType::Boolean => SchemaType::Boolean,
        CastType::String => SchemaType::String,
    };
    Schema { is_optional, ..Schema::new(schema_type) }
}

/// Whether Kafka Connect casts values of a schema to a type.
pub(super) fn is_cast(from: &Schema, to: CastType) -> bool {
    match from.schema_type {
        SchemaType::Struct(_) | SchemaType::Array(_) | SchemaType::Map(..) => false,
        SchemaType::Bytes => from.is_decimal() || to == CastType::String,
        _ => true,
    }
}

fn time_ms(json: &[u8], form: TimeForm, edit: &TimeEdit) -> Option<i64> {
    if form == TimeForm::Text {
        return edit.format.as_ref()?.read(&serde_json::from_slice::<String>(json).ok()?);
    }
    let number: i64 = serde_json::from_slice(json).ok()?;
    match form {
        TimeForm::Unix => Some(edit.precision.to_ms(number)),
        TimeForm::Date => number.checked_mul(DAY_MS),
        TimeForm::Text | TimeForm::Time | TimeForm::Timestamp => Some(number),
    }
}

fn time_json(edit: &TimeEdit, ms: i64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match edit.target {
        TimeForm::Text => write_string(&mut out, &edit.format.as_ref()?.write(ms)),
        TimeForm::Unix => out.extend_from_slice(edit.precision.of_ms(ms).to_string().as_bytes()),
        TimeForm::Date => out.extend_from_slice(i32::try_from(ms.div_euclid(DAY_MS)).ok()?.to_string().as_bytes()),
        TimeForm::Time => out.extend_from_slice(ms.rem_euclid(DAY_MS).to_string().as_bytes()),
        TimeForm::Timestamp => out.extend_from_slice(ms.to_string().as_bytes()),
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{DateFormat, UnixPrecision};

    fn shown(json: &str, from: &Schema, target: TimeForm, format: &str, precision: UnixPrecision) -> Option<String> {
        let format = DateFormat::new(format).ok();
        let edit = TimeEdit { field: "f".to_owned(), target, format, precision };
        let conversion = Conversion::Time(time_form(from)?, edit);
        converted(json.as_bytes(), &[conversion]).map(|json| String::from_utf8(json.into_owned()).unwrap())
    }

    #[test]
    fn times_get_other_forms() {
        let (unix, text) = (Schema::new(SchemaType::Int64), Schema::new(SchemaType::String));
        let of = |form| time_schema(form, true);
        let (micros, format) = (UnixPrecision::Microseconds, "yyyy-MM-dd HH:mm:ss.SSS");
        for (json, from, target, expected) in [
            ("1529501823123456", unix.clone(), TimeForm::Text, Some("\"2018-06-20 13:37:03.123\"")),
            ("-1", unix.clone(), TimeForm::Timestamp, Some("0")),
            ("1529501823123", of(TimeForm::Timestamp), TimeForm::Date, Some("17702")),
            ("-1", of(TimeForm::Timestamp), TimeForm::Date, Some("-1")),
            ("-1", of(TimeForm::Timestamp), TimeForm::Time, Some("86399999")),
            ("17702", of(TimeForm::Date), TimeForm::Unix, Some("1529452800000000")),
            ("\"2018-06-20 13:37:03.5Z\"", text.clone(), TimeForm::Timestamp, Some("1529501823005")),
            ("\"x\"", text, TimeForm::Timestamp, None),
            ("null", unix, TimeForm::Text, Some("null")),
        ] {
            assert_eq!(shown(json, &from, target, format, micros).as_deref(), expected, "{json} to {target:?}");
        }
        assert_eq!(time_form(&Schema::new(SchemaType::Int32).named("io.debezium.time.Date")), None);
    }

    #[test]
    fn a_member_takes_the_place_of_its_object_and_a_null_that_of_all() {
        let member = |name: &str| Conversion::Member(name.to_owned());
        let shown = |json: &str, conversions: &[Conversion]| {
            converted(json.as_bytes(), conversions).map(|json| String::from_utf8(json.into_owned()).unwrap())
        };
        assert_eq!(shown(r#"{"a":{"b":[1, 2]}}"#, &[member("a"), member("b")]).as_deref(), Some("[1, 2]"));
        assert_eq!(shown(r#"{"a":null}"#, &[member("a"), member("b")]).as_deref(), Some("null"));
        assert_eq!(shown(r#"{"a":1}"#, &[member("b")]), None);
    }
}
