//! `hstore`, as a text of JSON or as a map, its keys in the order of Java's `HashMap`.

use super::handling::HstoreMode;
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::java_map::{bucket, buckets_of};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

pub(super) fn hstore(declared: &Declared<'_>) -> Mapped {
    let text = || Schema::new(SchemaType::String);
    match declared.handling.hstore {
        HstoreMode::Json => Mapped::new(text().named("io.debezium.data.Json").version(1), write_json_text, "\"{}\""),
        HstoreMode::Map => Mapped::new(Schema::map(text(), text().optional()), write_map, "{}"),
    }
}

type Pair = (String, Option<String>);

fn write_map(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_pairs(out, &parse(text)?, write_string);
    Ok(())
}

fn write_json_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let mut json = Vec::with_capacity(text.len().saturating_add(2));
    write_pairs(&mut json, &parse(text)?, write_character_string);
    write_string(out, std::str::from_utf8(&json).map_err(|_| Unwritten::Mismatch)?);
    Ok(())
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[Pair], write: impl Fn(&mut Vec<u8>, &str)) {
    out.push(b'{');
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, key);
        out.push(b':');
        match value {
            Some(value) => write(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// As [`write_string`], but with characters beyond U+FFFF raw: the writer of characters leaves them to that of bytes.
pub(super) fn write_character_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte < 0xF0) {
        return write_string(out, text);
    }
    out.push(b'"');
    for character in text.chars() {
        let mut buffer = [0; 4];
        let character = character.encode_utf8(&mut buffer);
        if character.len() == 4 {
            out.extend_from_slice(character.as_bytes());
        } else {
            let start = out.len();
            write_string(out, character);
            out.pop();
            out.remove(start);
        }
    }
    out.push(b'"');
}

/// The pairs of `"key"=>"value", "other"=>NULL` in the map's order.
fn parse(text: &str) -> Result<Vec<Pair>, Unwritten> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, tail) = quoted(rest)?;
        let tail = tail.strip_prefix("=>").ok_or(Unwritten::Mismatch)?;
        let (value, tail) = match tail.strip_prefix("NULL") {
            Some(tail) => (None, tail),
            None => quoted(tail).map(|(value, tail)| (Some(value), tail))?,
        };
        pairs.push((key, value));
        rest = tail.strip_prefix(", ").unwrap_or(tail);
        if rest.len() == tail.len() && !tail.is_empty() {
            return Err(Unwritten::Mismatch);
        }
    }
    let buckets = buckets_of(pairs.len());
    pairs.sort_by_key(|(key, _)| bucket(key, buckets));
    Ok(pairs)
}

/// A quoted text at the start of another, and what follows.
fn quoted(text: &str) -> Result<(String, &str), Unwritten> {
    let inner = text.strip_prefix('"').ok_or(Unwritten::Mismatch)?;
    let mut value = String::new();
    let mut characters = inner.chars();
    loop {
        match characters.next().ok_or(Unwritten::Mismatch)? {
            '"' => return Ok((value, characters.as_str())),
            '\\' => value.push(characters.next().ok_or(Unwritten::Mismatch)?),
            character => value.push(character),
        }
    }
}
