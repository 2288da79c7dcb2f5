//! Numbers: integers, floats, decimals and money.

use num_bigint::BigInt;

use super::binary::write_base64;
use super::handling::DecimalMode;
use super::java_decimal::write_decimal;
use super::java_float::{write_double, write_float};
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

/// The type modifier of `numeric` counts from here.
const MODIFIER_BASE: i32 = 4;
const VARIABLE_SCALE: &str = "io.debezium.data.VariableScaleDecimal";
/// Digits that an `i128` certainly holds.
const DIGITS_MAX: usize = 38;

pub(super) fn boolean(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Boolean), write_boolean, "false")
}

pub(super) fn int16(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Int16), write_integer, "0")
}

pub(super) fn int32(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Int32), write_integer, "0")
}

pub(super) fn int64(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Int64), write_integer, "0")
}

pub(super) fn float32(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Float), write_float_text, "0.0")
}

pub(super) fn float64(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::Double), write_double_text, "0.0")
}

/// Of a number without a declared scale.
pub(super) const ANY_SCALE: i32 = -1;

/// `numeric`, with or without a declared scale.
pub(super) fn decimal(declared: &Declared<'_>) -> Mapped {
    let declared_as = declared.modifier.checked_sub(MODIFIER_BASE).filter(|packed| *packed >= 0);
    // Debezium reads eleven bits as a number without a sign, so a scale of -2 is 2046.
    let (precision, scale) = declared_as.map_or((0, 0), |packed| ((packed >> 16) & 0xFFFF, packed & 0x7FF));
    let is_free = precision == 0 && scale == 0;
    let zero = format!("0{}{}", if scale > 0 { "." } else { "" }, "0".repeat(usize::try_from(scale).unwrap_or(0)));
    match declared.handling.decimal {
        DecimalMode::Double => {
            let scale = if is_free { ANY_SCALE } else { scale };
            Mapped::new(Schema::new(SchemaType::Double), write_decimal_as_double, "0.0").with_digits(scale)
        }
        DecimalMode::Text => {
            let write = if is_free { write_decimal_text } else { write_scaled_decimal_text };
            Mapped::new(Schema::new(SchemaType::String), write, format!("\"{zero}\"")).with_digits(scale)
        }
        DecimalMode::Precise if is_free => {
            Mapped::new(variable_scale(), write_free_decimal, r#"{"scale":0,"value":"AA=="}"#)
        }
        DecimalMode::Precise => {
            let schema = decimal_schema(scale).parameter("connect.decimal.precision", precision.to_string());
            match declared.handling.decimals_are_numbers {
                true => Mapped::new(schema, write_scaled_number, zero_number(scale)).with_digits(scale),
                false => Mapped::new(schema, write_scaled_decimal, "\"AA==\"").with_digits(scale),
            }
        }
    }
}

/// pgjdbc reads no array that holds what is no number.
pub(super) fn decimal_element(declared: &Declared<'_>) -> Mapped {
    let mapped = decimal(declared);
    let write = match declared.handling.decimal {
        DecimalMode::Double => write_double_element,
        DecimalMode::Text => write_text_element,
        DecimalMode::Precise if mapped.schema.name.as_deref() == Some(VARIABLE_SCALE) => write_free_element,
        DecimalMode::Precise if declared.handling.decimals_are_numbers => write_scaled_number_element,
        DecimalMode::Precise => write_scaled_element,
    };
    Mapped { write, ..mapped }
}

fn finite(text: &str) -> Result<&str, Unwritten> {
    if is_special(text) { Err(Unwritten::NullArray) } else { Ok(text) }
}

fn write_double_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    write_decimal_as_double(out, finite(text)?, column)
}

fn write_text_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    write_decimal_text(out, finite(text)?, column)
}

fn write_free_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    write_free_decimal(out, finite(text)?, column)
}

fn write_scaled_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    write_scaled_decimal(out, finite(text)?, column)
}

fn write_scaled_number_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    write_scaled_number(out, finite(text)?, column)
}

fn zero_number(scale: i32) -> String {
    let mut zero = Vec::new();
    write_decimal(&mut zero, false, "0", scale.into());
    String::from_utf8_lossy(&zero).into_owned()
}

fn decimal_schema(scale: i32) -> Schema {
    Schema::new(SchemaType::Bytes).named(Schema::DECIMAL).version(1).parameter("scale", scale.to_string())
}

fn variable_scale() -> Schema {
    let fields = [("scale", Schema::new(SchemaType::Int32)), ("value", Schema::new(SchemaType::Bytes))];
    Schema::of_fields(fields).named(VARIABLE_SCALE).version(1).doc("Variable scaled decimal")
}

pub(super) fn money(declared: &Declared<'_>) -> Mapped {
    let digits = i32::from(declared.handling.money_fraction_digits);
    let zeros = "0".repeat(usize::from(declared.handling.money_fraction_digits));
    let zero = if zeros.is_empty() { "\"0\"".to_owned() } else { format!("\"0.{zeros}\"") };
    match declared.handling.decimal {
        DecimalMode::Precise if declared.handling.decimals_are_numbers => {
            Mapped::new(decimal_schema(digits), write_money_number, zero_number(digits)).with_digits(digits)
        }
        DecimalMode::Precise => Mapped::new(decimal_schema(digits), write_money, "\"AA==\"").with_digits(digits),
        DecimalMode::Double => Mapped::new(Schema::new(SchemaType::Double), write_money_as_double, "0.0"),
        DecimalMode::Text => Mapped::new(Schema::new(SchemaType::String), write_money_text, zero),
    }
}

fn write_boolean(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    match text {
        "t" | "true" => out.extend_from_slice(b"true"),
        "f" | "false" => out.extend_from_slice(b"false"),
        _ => return Err(Unwritten::Mismatch),
    }
    Ok(())
}

fn write_integer(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unwritten::Mismatch);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

pub(super) fn write_float_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_float(out, text.parse().map_err(|_| Unwritten::Mismatch)?);
    Ok(())
}

pub(super) fn write_double_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_double(out, text.parse().map_err(|_| Unwritten::Mismatch)?);
    Ok(())
}

/// A decimal in PostgreSQL's plain notation.
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Result<Self, Unwritten> {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = !(whole.is_empty() && fraction.is_empty())
            && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        is_number.then_some(Self { is_negative, whole, fraction }).ok_or(Unwritten::Mismatch)
    }

    /// The digits behind the point at a scale, and how many zeros follow them. A number that would lose a digit is refused,
    /// as Java does.
    fn scaled(&self, scale: usize) -> Result<(&'a str, usize), Unwritten> {
        let kept = self.fraction.get(..scale).unwrap_or(self.fraction);
        if self.fraction.len() > scale && self.fraction.bytes().skip(scale).any(|digit| digit != b'0') {
            return Err(Unwritten::Null);
        }
        Ok((kept, scale.saturating_sub(kept.len())))
    }

    /// The bytes of the number without its point.
    fn write_unscaled(&self, out: &mut Vec<u8>, scale: usize) -> Result<(), Unwritten> {
        let (kept, zeros) = self.scaled(scale)?;
        write_base64_number(out, self.is_negative, self.whole, kept, zeros)
    }

    /// The number as Java prints it.
    fn write_number(&self, out: &mut Vec<u8>, scale: usize) -> Result<(), Unwritten> {
        let (kept, zeros) = self.scaled(scale)?;
        let digits = format!("{}{kept}{}", self.whole, "0".repeat(zeros));
        write_digits(out, self.is_negative, &digits, scale);
        Ok(())
    }
}

/// Appends the two's complement of a whole number, highest byte first and as short as it goes, in base64.
fn write_base64_number(
    out: &mut Vec<u8>,
    is_negative: bool,
    whole: &str,
    fraction: &str,
    zeros: usize,
) -> Result<(), Unwritten> {
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros));
    if whole.len().saturating_add(fraction.len()).saturating_add(zeros) <= DIGITS_MAX {
        let mut number: i128 = 0;
        for digit in digits {
            number = number.saturating_mul(10).saturating_add(i128::from(digit.wrapping_sub(b'0')));
        }
        let number = if is_negative { number.saturating_neg() } else { number };
        let bytes = number.to_be_bytes();
        let sign = if number < 0 { 0xFF } else { 0 };
        let is_needless = |pair: &[u8]| matches!(pair, [high, low] if *high == sign && (low ^ sign) < 0x80);
        let start = bytes.windows(2).take_while(|pair| is_needless(pair)).count();
        write_base64(out, bytes.get(start..).unwrap_or_default());
        return Ok(());
    }
    let mut text: Vec<u8> = if is_negative { vec![b'-'] } else { Vec::new() };
    text.extend(digits);
    let number = BigInt::parse_bytes(&text, 10).ok_or(Unwritten::Mismatch)?;
    write_base64(out, &number.to_signed_bytes_be());
    Ok(())
}

fn write_digits(out: &mut Vec<u8>, is_negative: bool, digits: &str, scale: usize) {
    let digits = digits.trim_start_matches('0');
    let (is_negative, digits) = if digits.is_empty() { (false, "0") } else { (is_negative, digits) };
    write_decimal(out, is_negative, digits, i64::try_from(scale).unwrap_or(i64::MAX));
}

fn scale_of(column: &ColumnType) -> usize {
    usize::try_from(column.digits).unwrap_or_default()
}

fn is_special(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn write_scaled_decimal(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    if is_special(text) {
        return Err(Unwritten::Null);
    }
    Decimal::parse(text)?.write_unscaled(out, scale_of(column))
}

fn write_scaled_number(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    if is_special(text) {
        return Err(Unwritten::Null);
    }
    Decimal::parse(text)?.write_number(out, scale_of(column))
}

/// A struct of the number's own scale, without zeros at its end, and its unscaled value.
fn write_free_decimal(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    if is_special(text) {
        return Err(Unwritten::Null);
    }
    let number = Decimal::parse(text)?;
    let fraction = number.fraction.trim_end_matches('0');
    out.extend_from_slice(b"{\"scale\":");
    out.extend_from_slice(itoa::Buffer::new().format(fraction.len()).as_bytes());
    out.extend_from_slice(b",\"value\":");
    write_base64_number(out, number.is_negative, number.whole, fraction, 0)?;
    out.push(b'}');
    Ok(())
}

fn write_decimal_as_double(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_double(out, text.parse().map_err(|_| Unwritten::Mismatch)?);
    Ok(())
}

/// The names of Java's constants for what is no number.
fn special_name(text: &str) -> Option<&'static str> {
    match text {
        "NaN" => Some("NAN"),
        "Infinity" => Some("POSITIVE_INFINITY"),
        "-Infinity" => Some("NEGATIVE_INFINITY"),
        _ => None,
    }
}

fn write_decimal_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    if special_name(text).is_none() {
        Decimal::parse(text)?;
    }
    write_string(out, special_name(text).unwrap_or(text));
    Ok(())
}

fn write_scaled_decimal_text(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    if let Some(name) = special_name(text) {
        write_string(out, name);
        return Ok(());
    }
    let number = Decimal::parse(text)?;
    let scale = scale_of(column);
    // A default may have more digits than its column, of which zeros are dropped.
    let (shown, rest) = number.fraction.split_at_checked(scale).unwrap_or((number.fraction, ""));
    if !rest.trim_end_matches('0').is_empty() {
        return Err(Unwritten::Null);
    }
    let text = text.strip_suffix(rest).unwrap_or(text).trim_end_matches('.');
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    if shown.is_empty() && scale > 0 {
        out.push(b'.');
    }
    out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(shown.len())));
    out.push(b'"');
    Ok(())
}

/// `-$1,234.11` to `-1234.11`: one character of currency, and commas, are dropped.
fn plain_money(text: &str) -> Result<String, Unwritten> {
    let (is_negative, amount) = match text.strip_prefix('-') {
        Some(amount) => (true, amount),
        None => match text.strip_prefix('(') {
            Some(amount) => (true, amount.strip_suffix(')').ok_or(Unwritten::Mismatch)?),
            None => (false, text),
        },
    };
    let mut characters = amount.chars();
    let amount = if amount.starts_with(|c: char| !c.is_numeric() && c != '.') {
        characters.next();
        characters.as_str()
    } else {
        amount
    };
    let plain = format!("{}{}", if is_negative { "-" } else { "" }, amount.replace(',', ""));
    Decimal::parse(&plain).map(|_| plain.clone())
}

/// At the scale that the settings give to money, rounded half up.
fn write_money(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let plain = plain_money(text)?;
    let number = Decimal::parse(&plain)?;
    match rounded(&number, scale_of(column))? {
        None => number.write_unscaled(out, scale_of(column)),
        Some(unscaled) => write_base64_number(out, number.is_negative, itoa::Buffer::new().format(unscaled), "", 0),
    }
}

fn write_money_number(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let plain = plain_money(text)?;
    let number = Decimal::parse(&plain)?;
    match rounded(&number, scale_of(column))? {
        None => number.write_number(out, scale_of(column))?,
        Some(unscaled) => {
            write_digits(out, number.is_negative, itoa::Buffer::new().format(unscaled), scale_of(column));
        }
    }
    Ok(())
}

/// The unscaled value of a number that has more digits than the scale, half of the last one rounded up.
fn rounded(number: &Decimal<'_>, scale: usize) -> Result<Option<i128>, Unwritten> {
    let Some((kept, cut)) = number.fraction.split_at_checked(scale) else { return Ok(None) };
    let unscaled: i128 = format!("{}{kept}", number.whole).parse().map_err(|_| Unwritten::Mismatch)?;
    Ok(Some(if cut.starts_with(|digit: char| digit >= '5') { unscaled.saturating_add(1) } else { unscaled }))
}

fn write_money_as_double(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_double(out, plain_money(text)?.parse().map_err(|_| Unwritten::Mismatch)?);
    Ok(())
}

fn write_money_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_string(out, &plain_money(text)?);
    Ok(())
}
