//! Bytes and bit strings, and what stands for types that Debezium does not know.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::handling::BinaryMode;
use super::java_float::write_double;
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

/// Bytes that are encoded at a time: whole groups of base64.
const PIECE_BYTES: usize = 48;

pub(super) fn bytea(declared: &Declared<'_>) -> Mapped {
    let write = match declared.handling.binary {
        BinaryMode::Bytes | BinaryMode::Base64 => write_bytea,
        BinaryMode::Base64UrlSafe => write_bytea_url_safe,
        BinaryMode::Hex => write_bytea_hex,
    };
    Mapped::new(schema(declared.handling.binary), write, "\"\"")
}

/// A type that Debezium does not know: the bytes of its text.
pub(super) fn unknown(declared: &Declared<'_>) -> Mapped {
    let is_drawn = matches!(declared.name, "box" | "circle" | "line" | "lseg" | "path" | "polygon");
    let write = if is_drawn { write_drawn } else { write_text_bytes };
    Mapped::new(schema(declared.handling.binary), write, "\"\"")
}

pub(super) fn schema(mode: BinaryMode) -> Schema {
    Schema::new(if mode == BinaryMode::Bytes { SchemaType::Bytes } else { SchemaType::String })
}

/// `bit(n)` and `bit varying`; one bit is a boolean.
pub(super) fn bits(declared: &Declared<'_>) -> Mapped {
    let length = if declared.modifier == -1 { i32::MAX } else { declared.modifier };
    if length <= 1 {
        return Mapped::new(Schema::new(SchemaType::Boolean), write_bit, "false");
    }
    let schema = Schema::new(SchemaType::Bytes).named("io.debezium.data.Bits").version(1);
    Mapped::new(schema.parameter("length", length.to_string()), write_bits, "\"\"")
}

/// An array of bits has the schema of one, and no value.
pub(super) fn bit_array(declared: &Declared<'_>) -> Mapped {
    Mapped { write: write_nothing, ..bits(declared) }
}

pub(super) fn write_nothing(_: &mut Vec<u8>, _: &str, _: &ColumnType) -> Result<(), Unwritten> {
    Err(Unwritten::Null)
}

/// Appends bytes as a quoted base64 text.
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    write_encoded(out, bytes, &STANDARD);
}

/// Appends bytes as a mode has them.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], mode: BinaryMode) {
    match mode {
        BinaryMode::Bytes | BinaryMode::Base64 => write_encoded(out, bytes, &STANDARD),
        BinaryMode::Base64UrlSafe => write_encoded(out, bytes, &URL_SAFE),
        BinaryMode::Hex => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_string(out, &digits);
        }
    }
}

fn write_encoded(out: &mut Vec<u8>, bytes: &[u8], engine: &impl base64::Engine) {
    out.push(b'"');
    append_encoded(out, bytes, engine);
    out.push(b'"');
}

fn append_encoded(out: &mut Vec<u8>, bytes: &[u8], engine: &impl base64::Engine) {
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.resize(start.saturating_add(length), 0);
    let written = out.get_mut(start..).and_then(|room| engine.encode_slice(bytes, room).ok());
    out.truncate(start.saturating_add(written.unwrap_or_default()));
}

/// Appends the bytes of hex digits, piece by piece: only the last one may need padding.
fn write_hex_encoded(out: &mut Vec<u8>, digits: &str, engine: &impl base64::Engine) -> Result<(), Unwritten> {
    out.push(b'"');
    for piece in digits.as_bytes().chunks(2 * PIECE_BYTES) {
        let mut bytes = [0; PIECE_BYTES];
        let mut length = 0;
        for (place, pair) in bytes.iter_mut().zip(piece.chunks(2)) {
            *place = hex_pair(pair).ok_or(Unwritten::Mismatch)?;
            length += 1;
        }
        append_encoded(out, bytes.get(..length).unwrap_or_default(), engine);
    }
    out.push(b'"');
    Ok(())
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    }
}

/// The hex digits of `\x0102`.
fn hex_digits(text: &str) -> Result<&str, Unwritten> {
    let digits = text.strip_prefix("\\x").ok_or(Unwritten::Mismatch)?;
    let is_hex = digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { Ok(digits) } else { Err(Unwritten::Mismatch) }
}

/// The bytes of hex digits.
pub(super) fn from_hex(digits: &str) -> Result<Vec<u8>, Unwritten> {
    digits.as_bytes().chunks(2).map(hex_pair).collect::<Option<_>>().ok_or(Unwritten::Mismatch)
}

fn write_bytea(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_hex_encoded(out, hex_digits(text)?, &STANDARD)
}

fn write_bytea_url_safe(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_hex_encoded(out, hex_digits(text)?, &URL_SAFE)
}

fn write_bytea_hex(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_string(out, hex_digits(text)?);
    Ok(())
}

/// The bytes of a text in the connector's mode.
fn write_text_bytes(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    match column.handling.binary {
        BinaryMode::Bytes | BinaryMode::Base64 => write_base64(out, text.as_bytes()),
        BinaryMode::Base64UrlSafe => write_encoded(out, text.as_bytes(), &URL_SAFE),
        BinaryMode::Hex => {
            out.push(b'"');
            for byte in text.bytes() {
                out.extend(
                    [byte >> 4, byte & 0xF].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }),
                );
            }
            out.push(b'"');
        }
    }
    Ok(())
}

/// Geometric types pass through Java's doubles: `(1,0)` is `(1.0,0.0)`.
fn write_drawn(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let is_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let mut drawn = Vec::with_capacity(text.len().saturating_mul(2));
    let mut rest = text;
    while let Some(start) = rest.find(is_number) {
        let (signs, tail) = rest.split_at(start);
        let (number, tail) = tail.split_at(tail.find(|c| !is_number(c)).unwrap_or(tail.len()));
        drawn.extend_from_slice(signs.as_bytes());
        write_double(&mut drawn, number.parse().map_err(|_| Unwritten::Mismatch)?);
        rest = tail;
    }
    drawn.extend_from_slice(rest.as_bytes());
    // What is no number is quoted in JSON only.
    drawn.retain(|byte| *byte != b'"');
    write_text_bytes(out, std::str::from_utf8(&drawn).map_err(|_| Unwritten::Mismatch)?, column)
}

fn write_bit(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    match text {
        "1" => out.extend_from_slice(b"true"),
        "0" => out.extend_from_slice(b"false"),
        "" => return Err(Unwritten::Null),
        _ => return Err(Unwritten::Mismatch),
    }
    Ok(())
}

/// The last bit is the lowest one of the first byte; bytes beyond the highest set bit are left out.
fn write_bits(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    if !text.bytes().all(|bit| matches!(bit, b'0' | b'1')) {
        return Err(Unwritten::Mismatch);
    }
    let set = text.trim_start_matches('0').as_bytes();
    let byte = |bits: &[u8]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | (bit & 1));
    let bytes: Vec<u8> = set.rchunks(8).map(byte).collect();
    write_base64(out, &bytes);
    Ok(())
}
