//! Arrays: the element's row once more, with the exceptions that Debezium makes.

use std::borrow::Cow;

use super::default::NONE;
use super::missing::Missing;
use super::{ColumnType, Declared, Handling, Mapped, PgType, PgTypeKind, Unwritten, binary, row, text};
use crate::connect::Schema;

/// What an array of a type is.
pub(super) enum Elements {
    /// Elements as values are, null among them.
    Optional,
    /// The same without null: an array that holds one has no value.
    Required,
    /// Elements that are not quite what values are.
    As(fn(&Declared<'_>) -> Mapped),
    /// No column at all.
    Omitted,
    /// A column that is no array.
    Whole(fn(&Declared<'_>) -> Mapped),
}

/// The elements of a column.
#[derive(Debug, Clone)]
pub(super) struct Element {
    column: ColumnType,
    is_optional: bool,
    delimiter: char,
}

/// System vectors, which are arrays of another name and without null.
const VECTORS: [&str; 2] = ["int2vector", "oidvector"];

/// The column of an array of a type.
pub(super) fn column(name: &str, element: &PgType, modifier: i32, handling: &Handling) -> Option<ColumnType> {
    let declared = Declared { name: &element.name, modifier, handling };
    if let PgTypeKind::Enum(labels) = &element.kind {
        return Some(of_elements(text::label(labels), false, Missing::Null, &declared));
    }
    let Some(row) = row(element, handling) else {
        // Domains are unknown as elements, and only as these.
        let mapped = handling.includes_unknown.then(|| binary::unknown(&declared))?;
        return Some(of_elements(mapped, false, Missing::Null, &declared));
    };
    let missing = row.missing.1;
    match row.elements {
        Elements::Optional => Some(of_elements((row.map)(&declared), !VECTORS.contains(&name), missing, &declared)),
        Elements::Required => Some(of_elements((row.map)(&declared), false, missing, &declared)),
        Elements::As(map) => Some(of_elements(map(&declared), true, missing, &declared)),
        Elements::Whole(map) => Some(ColumnType::from_mapped(map(&declared), NONE, Missing::Null, handling)),
        Elements::Omitted => None,
    }
}

fn of_elements(mapped: Mapped, is_optional: bool, missing: Missing, declared: &Declared<'_>) -> ColumnType {
    let element = ColumnType::from_mapped(mapped, NONE, Missing::Null, declared.handling);
    let schema = Schema::array(element.schema(is_optional, None));
    // Boxes hold commas.
    let delimiter = if declared.name == "box" { ';' } else { ',' };
    let element = Element { column: element, is_optional, delimiter };
    let array = ColumnType::from_mapped(Mapped::new(schema, write_array, "[]"), NONE, missing, declared.handling);
    ColumnType { element: Some(Box::new(element)), ..array }
}

/// `{1,NULL,"a b"}`, with bounds before it or not. Of an array in an array nothing is written but null.
fn write_array(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let element = column.element.as_ref().ok_or(Unwritten::Mismatch)?;
    let literal = if text.starts_with('[') { text.split_once('=').map_or("", |(_, literal)| literal) } else { text };
    out.push(b'[');
    // The system's vectors have no braces, and no elements for Debezium.
    let mut rest = literal.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or_default();
    let mut is_first = true;
    while !rest.is_empty() {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let (item, tail) = next_item(rest, element.delimiter)?;
        write_item(out, &item, element)?;
        rest = match tail.strip_prefix(element.delimiter) {
            Some(more) if !more.is_empty() => more,
            None if tail.is_empty() => tail,
            _ => return Err(Unwritten::Mismatch),
        };
    }
    out.push(b']');
    Ok(())
}

enum Item<'a> {
    Null,
    Text(Cow<'a, str>),
    Array,
}

fn write_item(out: &mut Vec<u8>, item: &Item<'_>, element: &Element) -> Result<(), Unwritten> {
    let written = match item {
        Item::Text(text) => element.column.write(out, text),
        Item::Null | Item::Array => Err(Unwritten::Null),
    };
    match written {
        Err(Unwritten::Null) if element.is_optional => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Err(Unwritten::NullArray) => Err(Unwritten::Null),
        written => written,
    }
}

/// The first item of a list, and what follows it.
fn next_item(list: &str, delimiter: char) -> Result<(Item<'_>, &str), Unwritten> {
    if let Some(inner) = list.strip_prefix('"') {
        let end = closing_quote(inner)?;
        let (text, tail) = inner.split_at(end);
        return Ok((Item::Text(unescaped(text)), tail.get(1..).unwrap_or_default()));
    }
    if list.starts_with('{') {
        let end = closing_brace(list)?;
        return Ok((Item::Array, list.get(end..).unwrap_or_default()));
    }
    let end = list.find(delimiter).unwrap_or(list.len());
    let (text, tail) = list.split_at(end);
    let item = if text.eq_ignore_ascii_case("NULL") { Item::Null } else { Item::Text(unescaped(text)) };
    Ok((item, tail))
}

fn closing_quote(text: &str) -> Result<usize, Unwritten> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return Ok(at),
            _ => {}
        }
    }
    Err(Unwritten::Mismatch)
}

/// Where the array at the start of a text ends.
fn closing_brace(text: &str) -> Result<usize, Unwritten> {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        match rest.as_bytes().first() {
            Some(b'"') => at = at.saturating_add(1).saturating_add(closing_quote(rest.get(1..).unwrap_or_default())?),
            Some(b'{') => depth = depth.saturating_add(1),
            Some(b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = at.saturating_add(rest.chars().next().map_or(1, char::len_utf8));
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(Unwritten::Mismatch)
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Cow::Owned(out)
}
