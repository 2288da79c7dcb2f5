//! `Cast`: values of one type as another one, with Java's ideas of what fits.

use base64::Engine as _;
use num_bigint::{BigInt, Sign};

use super::header_text::instant;
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};
use crate::transform::CastType;
use crate::typemap::java_decimal::write_decimal;
use crate::typemap::{write_double, write_float};

const DAY_MS: i64 = 86_400_000;

/// A value that is cast.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    /// Whole where it counts, and with a text of its own: milliseconds since 1970.
    Time(i64, i64),
    Float(f32),
    Double(f64),
    /// An unscaled number, and how many of its digits stand behind the point.
    Decimal(BigInt, i64),
    Boolean(bool),
    Text(String),
    /// In base64.
    Bytes(String),
}

impl Number {
    /// A value out of its JSON; `None` where it is not of the schema.
    pub(super) fn read(json: &[u8], schema: &Schema) -> Option<Self> {
        let name = schema.name.as_deref().and_then(|name| name.strip_prefix("org.apache.kafka.connect.data."));
        let whole = || serde_json::from_slice::<i64>(json).ok();
        let text = || serde_json::from_slice::<String>(json).ok();
        Some(match (name, &schema.schema_type) {
            (Some("Decimal"), _) => match json {
                [b'"', ..] => Self::Decimal(unscaled(&text()?)?, scale(schema)?),
                _ => decimal(std::str::from_utf8(json).ok()?)?,
            },
            (Some("Date"), _) => Self::Time(whole()?, whole()?.checked_mul(DAY_MS)?),
            (Some("Time" | "Timestamp"), _) => Self::Time(whole()?, whole()?),
            (_, SchemaType::Int8 | SchemaType::Int16 | SchemaType::Int32 | SchemaType::Int64) => Self::Whole(whole()?),
            (_, SchemaType::Float) => Self::Float(bare(json)?.parse().ok()?),
            (_, SchemaType::Double) => Self::Double(bare(json)?.parse().ok()?),
            (_, SchemaType::Boolean) => Self::Boolean(json == b"true"),
            (_, SchemaType::String) => Self::Text(text()?),
            (_, SchemaType::Bytes) => Self::Bytes(text()?),
            (_, SchemaType::Array(_) | SchemaType::Map(..) | SchemaType::Struct(_)) => return None,
        })
    }

    /// As Java's `longValue` has it; of a text what its whole number is.
    fn whole(&self) -> Option<i64> {
        Some(match self {
            Self::Whole(number) | Self::Time(number, _) => *number,
            Self::Float(number) => saturated(f64::from(*number)),
            Self::Double(number) => saturated(*number),
            Self::Decimal(unscaled, scale) => low_bits(&whole_part(unscaled, *scale)?),
            Self::Boolean(is_true) => i64::from(*is_true),
            Self::Text(text) => text.parse().ok()?,
            Self::Bytes(_) => return None,
        })
    }

    /// As `intValue` has it, which is no part of `longValue` for what has a fraction.
    fn int(&self) -> Option<i32> {
        Some(match self {
            Self::Float(number) => saturated_int(f64::from(*number)),
            Self::Double(number) => saturated_int(*number),
            other => low_int(other.whole()?),
        })
    }

    /// The number of a type that a text has to fit, and anything else is cut to.
    fn narrow(&self, bits: u32) -> Option<i64> {
        if let Self::Text(_) = self {
            let number = self.whole()?;
            let unused = i64::BITS.saturating_sub(bits);
            return ((number << unused) >> unused == number).then_some(number);
        }
        let number = if bits == i64::BITS { self.whole()? } else { i64::from(self.int()?) };
        let unused = i64::BITS.saturating_sub(bits);
        Some((number << unused) >> unused)
    }

    fn double(&self) -> Option<f64> {
        Some(match self {
            Self::Float(number) => f64::from(*number),
            Self::Double(number) => *number,
            Self::Text(text) => java_number(text)?.parse().ok()?,
            other => other.plain_text()?.parse().ok()?,
        })
    }

    fn float(&self) -> Option<f32> {
        Some(match self {
            Self::Float(number) => *number,
            Self::Double(number) => narrow_float(*number),
            Self::Text(text) => java_number(text)?.parse().ok()?,
            other => other.plain_text()?.parse().ok()?,
        })
    }

    fn boolean(&self) -> Option<bool> {
        match self {
            Self::Text(text) => Some(text.eq_ignore_ascii_case("true")),
            other => Some(other.whole()? != 0),
        }
    }

    /// Digits of what is one of them.
    fn plain_text(&self) -> Option<String> {
        match self {
            Self::Boolean(is_true) => Some(u8::from(*is_true).to_string()),
            Self::Decimal(..) => String::from_utf8(self.text()?).ok(),
            other => other.whole().map(|number| number.to_string()),
        }
    }

    /// As Java's `toString` has it.
    fn text(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Whole(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Time(_, ms) => out.extend_from_slice(instant(*ms).as_bytes()),
            Self::Float(number) => write_float(&mut out, *number),
            Self::Double(number) => write_double(&mut out, *number),
            Self::Decimal(unscaled, scale) => {
                let digits = unscaled.magnitude().to_string();
                write_decimal(&mut out, unscaled.sign() == Sign::Minus, &digits, *scale);
            }
            Self::Boolean(is_true) => out.extend_from_slice(is_true.to_string().as_bytes()),
            Self::Text(text) | Self::Bytes(text) => out.extend_from_slice(text.as_bytes()),
        }
        out.retain(|byte| *byte != b'"' || matches!(self, Self::Text(_)));
        Some(out)
    }
}

/// The JSON of a value as another type; `None` where Java has none.
pub(super) fn cast(number: Number, to: CastType) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match to {
        CastType::Int8 => out.extend_from_slice(number.narrow(8)?.to_string().as_bytes()),
        CastType::Int16 => out.extend_from_slice(number.narrow(16)?.to_string().as_bytes()),
        CastType::Int32 => out.extend_from_slice(number.narrow(32)?.to_string().as_bytes()),
        CastType::Int64 => out.extend_from_slice(number.narrow(64)?.to_string().as_bytes()),
        CastType::Float32 => write_float(&mut out, number.float()?),
        CastType::Float64 => write_double(&mut out, number.double()?),
        CastType::Boolean => out.extend_from_slice(number.boolean()?.to_string().as_bytes()),
        CastType::String => write_string(&mut out, &String::from_utf8(number.text()?).ok()?),
    }
    Some(out)
}

/// A number without the quotes of what is none.
fn bare(json: &[u8]) -> Option<&str> {
    std::str::from_utf8(json).ok().map(|text| text.trim_matches('"'))
}

fn scale(schema: &Schema) -> Option<i64> {
    schema.parameters.iter().find(|(name, _)| name == "scale")?.1.parse().ok()
}

fn unscaled(base64: &str) -> Option<BigInt> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).ok()?;
    Some(BigInt::from_signed_bytes_be(&bytes))
}

/// A decimal that is written in digits.
fn decimal(text: &str) -> Option<Number> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent.parse().ok()?)?;
    Some(Number::Decimal(format!("{whole}{fraction}").parse().ok()?, scale))
}

/// Without what is behind the point.
fn whole_part(unscaled: &BigInt, scale: i64) -> Option<BigInt> {
    let power = BigInt::from(10).pow(u32::try_from(scale.unsigned_abs()).ok().filter(|power| *power < 100_000)?);
    Some(if scale < 0 { unscaled * power } else { unscaled / power })
}

fn low_bits(number: &BigInt) -> i64 {
    let low = number.iter_u64_digits().next().unwrap_or_default().cast_signed();
    if number.sign() == Sign::Minus { low.wrapping_neg() } else { low }
}

fn low_int(number: i64) -> i32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// The nearest of the range, as Java narrows what has a fraction; of what is no number zero.
#[allow(clippy::cast_possible_truncation, reason = "Rust's cast is Java's")]
fn saturated(number: f64) -> i64 {
    number as i64
}

#[allow(clippy::cast_possible_truncation, reason = "Rust's cast is Java's")]
fn saturated_int(number: f64) -> i32 {
    number as i32
}

#[allow(clippy::cast_possible_truncation, reason = "Rust's cast is Java's")]
fn narrow_float(number: f64) -> f32 {
    number as f32
}

/// A text that `Double.parseDouble` takes, as Rust would have it; none of those in hexadecimal.
fn java_number(text: &str) -> Option<&str> {
    let text = text.trim_matches(|letter: char| letter <= ' ');
    if matches!(text.trim_start_matches(['+', '-']), "NaN" | "Infinity") {
        return Some(text);
    }
    let text = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str, schema: Schema, to: CastType) -> Option<String> {
        cast(Number::read(json.as_bytes(), &schema)?, to).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn numbers_are_cut_as_java_cuts_them() {
        use CastType::{Boolean, Float32, Float64, Int8, Int16, Int32, Int64, String as Text};
        let of = Schema::new;
        let decimal = || of(SchemaType::Bytes).named(Schema::DECIMAL).parameter("scale", "2");
        for (json, schema, to, expected) in [
            ("300", of(SchemaType::Int16), Int8, "44"),
            ("9223372036854775807", of(SchemaType::Int64), Int32, "-1"),
            ("-1.9", of(SchemaType::Double), Int32, "-1"),
            ("1.0E300", of(SchemaType::Double), Int8, "-1"),
            ("-300.7", of(SchemaType::Double), Int8, "-44"),
            ("\"NaN\"", of(SchemaType::Double), Int64, "0"),
            ("\"Infinity\"", of(SchemaType::Float), Int64, "9223372036854775807"),
            ("16777217", of(SchemaType::Int64), Float32, "1.6777216E7"),
            ("1.0E40", of(SchemaType::Double), Float32, "\"Infinity\""),
            ("1.1", of(SchemaType::Float), Float64, "1.100000023841858"),
            ("1.1", of(SchemaType::Float), Text, "\"1.1\""),
            ("\"-Infinity\"", of(SchemaType::Float), Text, "\"-Infinity\""),
            ("true", of(SchemaType::Boolean), Int8, "1"),
            ("true", of(SchemaType::Boolean), Text, "\"true\""),
            ("0", of(SchemaType::Int32), Boolean, "false"),
            ("0.9", of(SchemaType::Double), Boolean, "false"),
            ("\"TRUE\"", of(SchemaType::String), Boolean, "true"),
            ("\" 1.5f \"", of(SchemaType::String), Float32, "1.5"),
            ("\"+17\"", of(SchemaType::String), Int8, "17"),
            ("\"q\\\"\"", of(SchemaType::String), Text, "\"q\\\"\""),
            ("\"3q2+7w==\"", of(SchemaType::Bytes), Text, "\"3q2+7w==\""),
            ("\"Ag==\"", decimal(), Text, "\"0.02\""),
            ("\"/zg=\"", decimal(), Int32, "-2"),
            ("-1.999", decimal(), Float64, "-1.999"),
            ("20000", of(SchemaType::Int32).named("org.apache.kafka.connect.data.Date"), Text, "\"2024-10-04\""),
            ("20000", of(SchemaType::Int32).named("org.apache.kafka.connect.data.Date"), Int16, "20000"),
        ] {
            assert_eq!(shown(json, schema, to).as_deref(), Some(expected), "{json} to {to:?}");
        }
    }

    #[test]
    fn texts_have_to_fit() {
        for (text, to) in [
            ("\"128\"", CastType::Int8),
            ("\" 1\"", CastType::Int64),
            ("\"1.0\"", CastType::Int32),
            ("\"inf\"", CastType::Float64),
            ("\"\"", CastType::Float32),
        ] {
            assert_eq!(shown(text, Schema::new(SchemaType::String), to), None, "{text}");
        }
    }
}
