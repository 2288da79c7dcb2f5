//! Structs as Connect's `SimpleHeaderConverter` writes them: like JSON, but with each value's text in Java.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use num_bigint::{BigInt, Sign};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::connect::{Schema, SchemaType};
use crate::typemap::Date;
use crate::typemap::java_decimal::write_decimal;

const DAY_MS: i64 = 86_400_000;

/// The text of a struct that `JsonConverter` writes as `json`. Most are the same in both.
pub(crate) fn header_text<'a>(json: &'a [u8], schema: &Schema) -> Cow<'a, [u8]> {
    if has_same_text(schema) && !json.contains(&b'\\') {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len());
    match serde_json::from_slice::<&RawValue>(json).map(|json| write(&mut out, json, schema)) {
        Ok(Some(())) => Cow::Owned(out),
        _ => Cow::Borrowed(json),
    }
}

/// Whether only escapes can make a difference.
fn has_same_text(schema: &Schema) -> bool {
    let is_of_connect = schema.name.as_deref().is_some_and(|name| name.starts_with("org.apache.kafka.connect.data."));
    match &schema.schema_type {
        SchemaType::Float | SchemaType::Double | SchemaType::Map(..) => false,
        SchemaType::Array(items) => has_same_text(items),
        SchemaType::Struct(fields) => fields.iter().all(|field| has_same_text(&field.schema)),
        _ => !is_of_connect,
    }
}

/// `None` where the JSON is not of the schema.
fn write(out: &mut Vec<u8>, json: &RawValue, schema: &Schema) -> Option<()> {
    let text = json.get();
    if text == "null" {
        out.extend_from_slice(b"null");
        return Some(());
    }
    match &schema.schema_type {
        SchemaType::Struct(fields) => {
            let members: Members<'_> = serde_json::from_str(text).ok()?;
            let members = members.0.iter().zip(fields);
            write_all(out, (b'{', b'}'), members, |out, ((name, value), field)| {
                write_quoted(out, name);
                out.push(b':');
                write(out, value, &field.schema)
            })
        }
        SchemaType::Array(items) => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            write_all(out, (b'[', b']'), elements.into_iter(), |out, element| write(out, element, items))
        }
        SchemaType::Map(keys, values) if text.starts_with('[') => {
            let pairs: Vec<(&RawValue, &RawValue)> = serde_json::from_str(text).ok()?;
            write_all(out, (b'{', b'}'), pairs.into_iter(), |out, (key, value)| {
                write(out, key, keys)?;
                out.push(b':');
                write(out, value, values)
            })
        }
        SchemaType::Map(_, values) => {
            let members: Members<'_> = serde_json::from_str(text).ok()?;
            write_all(out, (b'{', b'}'), members.0.iter(), |out, (name, value)| {
                write_quoted(out, name);
                out.push(b':');
                write(out, value, values)
            })
        }
        _ => write_scalar(out, text, schema),
    }
}

fn write_all<I>(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    items: impl Iterator<Item = I>,
    write: impl Fn(&mut Vec<u8>, I) -> Option<()>,
) -> Option<()> {
    out.push(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(close);
    Some(())
}

fn write_scalar(out: &mut Vec<u8>, json: &str, schema: &Schema) -> Option<()> {
    let string = || serde_json::from_str::<String>(json).ok();
    match (schema.name.as_deref().and_then(|name| name.strip_prefix("org.apache.kafka.connect.data.")), json.as_bytes())
    {
        // A number, where the converter of values writes these.
        (Some("Decimal"), [b'"', ..]) => {
            let unscaled = base64::engine::general_purpose::STANDARD.decode(string()?).ok()?;
            let scale = schema.parameters.iter().find(|(name, _)| name == "scale")?.1.parse().ok()?;
            let unscaled = BigInt::from_signed_bytes_be(&unscaled);
            let (is_negative, digits) = (unscaled.sign() == Sign::Minus, unscaled.magnitude().to_string());
            write_decimal(out, is_negative, &digits, scale);
        }
        (Some("Date"), _) => out.extend_from_slice(instant(json.parse::<i64>().ok()?.checked_mul(DAY_MS)?).as_bytes()),
        (Some("Time" | "Timestamp"), _) => out.extend_from_slice(instant(json.parse().ok()?).as_bytes()),
        // Of numbers these are NaN and the infinities.
        (_, [b'"', ..]) if matches!(schema.schema_type, SchemaType::Float | SchemaType::Double) => {
            out.extend_from_slice(string()?.as_bytes());
        }
        (_, [b'"', ..]) => write_quoted(out, &string()?),
        _ => out.extend_from_slice(json.as_bytes()),
    }
    Some(())
}

/// Only quotes and backslashes are escaped.
fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// As Connect formats Java's dates: what is before the second day of 1970 as a time of day, a midnight as a date.
pub(super) fn instant(ms: i64) -> String {
    let (day, of_day) = (Date::of_epoch_day(ms.div_euclid(DAY_MS)), ms.rem_euclid(DAY_MS));
    let (minutes, seconds) = (of_day / 60_000, of_day / 1_000 % 60);
    let time = format!("{:02}:{:02}:{seconds:02}.{:03}Z", minutes / 60, minutes % 60, of_day % 1_000);
    let date = format!("{:04}-{:02}-{:02}", day.year, day.month, day.day);
    match (ms < DAY_MS, of_day) {
        (true, _) => time,
        (false, 0) => date,
        (false, _) => format!("{date}T{time}"),
    }
}

/// The members of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str, schema: Schema) -> String {
        let schema = Schema::of_fields([("k", schema)]);
        String::from_utf8(header_text(format!("{{\"k\":{json}}}").as_bytes(), &schema).into_owned()).unwrap()
    }

    fn of_connect(schema_type: SchemaType, name: &'static str) -> Schema {
        Schema::new(schema_type).named(format!("org.apache.kafka.connect.data.{name}"))
    }

    #[test]
    fn only_quotes_and_backslashes_are_escaped() {
        let string = Schema::new(SchemaType::String);
        assert_eq!(text(r#""\u000B\t\uD83D\uDE00ž\"\\""#, string.clone()), "{\"k\":\"\u{b}\t😀ž\\\"\\\\\"}");
        assert_eq!(text(r#"["\n",null]"#, Schema::array(string)), "{\"k\":[\"\n\",null]}");
    }

    #[test]
    fn numbers_are_javas() {
        assert_eq!(text("\"NaN\"", Schema::new(SchemaType::Double)), "{\"k\":NaN}");
        assert_eq!(text("1.0E10", Schema::new(SchemaType::Float)), "{\"k\":1.0E10}");
        let decimal = |scale: &str| of_connect(SchemaType::Bytes, "Decimal").parameter("scale", scale);
        for (unscaled, scale, expected) in [
            (110, "2", "1.10"),
            (-5, "1", "-0.5"),
            (1, "7", "1E-7"),
            (0, "2", "0.00"),
            (12, "0", "12"),
            (-123, "10", "-1.23E-8"),
            (1, "6", "0.000001"),
            (0, "10", "0E-10"),
        ] {
            let bytes = BigInt::from(unscaled).to_signed_bytes_be();
            let json = format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes));
            assert_eq!(text(&json, decimal(scale)), format!("{{\"k\":{expected}}}"));
        }
        let vector = Schema::map(Schema::new(SchemaType::Int16), Schema::new(SchemaType::Double));
        assert_eq!(text("[[1,2.0],[3,\"NaN\"]]", vector), "{\"k\":{1:2.0,3:NaN}}");
    }

    #[test]
    fn dates_are_formatted_by_what_they_look_like() {
        for (ms, expected) in [
            (0, "00:00:00.000Z"),
            (-1, "23:59:59.999Z"),
            (DAY_MS, "1970-01-02"),
            (DAY_MS + 1_001, "1970-01-02T00:00:01.001Z"),
        ] {
            let schema = of_connect(SchemaType::Int64, "Timestamp");
            assert_eq!(text(&ms.to_string(), schema), format!("{{\"k\":{expected}}}"));
        }
        assert_eq!(text("20000", of_connect(SchemaType::Int32, "Date")), "{\"k\":2024-10-04}");
        assert_eq!(text("8000000", of_connect(SchemaType::Int32, "Date")), "{\"k\":23873-04-04}");
    }
}
