//! The bytes of a key, written from a table's plan, and whether a row gets another one.

use super::change::EncodeError;
use super::header_text::header_text;
use super::plan::TablePlan;
use super::write::{column_count, effective, write_value};
use crate::connect::{Nulls, Schema, text_of};
use crate::row::{Value, Values};

/// Writes the key over what `out` holds: its columns in the key's order, as an object, with their schema if asked for.
pub(super) fn write_key(
    out: &mut Vec<u8>,
    table: &TablePlan,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    out.clear();
    if !table.key.is_there {
        return Ok(());
    }
    if table.key.is_text {
        return write_key_text(out, table, row, old);
    }
    out.extend_from_slice(&table.key.head);
    write_columns(out, table, (row, old), table.key.nulls)?;
    out.extend_from_slice(table.key.tail);
    Ok(())
}

/// Appends the columns of the key, as an object, with defaults for nulls.
pub(super) fn write_key_columns(
    out: &mut Vec<u8>,
    table: &TablePlan,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    write_columns(out, table, (row, old), Nulls::Replaced)
}

fn write_columns(
    out: &mut Vec<u8>,
    table: &TablePlan,
    (row, old): (Values<'_>, Option<Values<'_>>),
    nulls: Nulls,
) -> Result<(), EncodeError> {
    out.push(b'{');
    for (at, &place) in table.key.places.iter().enumerate() {
        let (Some(Some(column)), Some(data)) = (table.columns.get(place), row.columns().nth(place)) else {
            return Err(column_count(table, row));
        };
        let old_data = old.and_then(|old| old.columns().nth(place));
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.name);
        write_value(out, table, column, effective(data, old_data), nulls)?;
    }
    out.push(b'}');
    Ok(())
}

/// Whether a column of the key is null in one row and has its default in the other. Both are written alike, and Java tells the
/// two apart where it compares keys.
fn has_default_for_null(table: &TablePlan, old: Values<'_>, new: Values<'_>) -> bool {
    let is_null = |row: Values<'_>, place: usize| row.columns().nth(place) == Some(Value::Null);
    let is_optional = |place: usize| matches!(table.columns.get(place), Some(Some(column)) if !column.is_not_null);
    table.key.places.iter().any(|&place| is_optional(place) && is_null(old, place) != is_null(new, place))
}

/// The key as `StringConverter` has it from Java: the columns that are not null, each as text.
pub(super) fn write_key_text(
    out: &mut Vec<u8>,
    table: &TablePlan,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    out.extend_from_slice(b"Struct{");
    let (mut json, mut is_first) = (Vec::new(), true);
    for (at, &place) in table.key.places.iter().enumerate() {
        let Some(Some(column)) = table.columns.get(place) else { return Err(column_count(table, row)) };
        if row.columns().nth(place) == Some(Value::Null) && !column.is_not_null {
            continue;
        }
        let (Some(data), old_data) = (row.columns().nth(place), old.and_then(|old| old.columns().nth(place))) else {
            return Err(column_count(table, row));
        };
        json.clear();
        write_value(&mut json, table, column, effective(data, old_data), Nulls::Replaced)?;
        let Some(text) = java_text(table.key.field(at), &json) else { continue };
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
        out.extend_from_slice(column.field_name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(&text);
    }
    out.push(b'}');
    Ok(())
}

/// The text in Java of a value of a schema; none of null.
pub(super) fn java_text(schema: Option<&Schema>, json: &[u8]) -> Option<Vec<u8>> {
    match schema.filter(|schema| schema.is_decimal() && json != b"null") {
        Some(decimal) => Some(header_text(json, decimal).into_owned()),
        None => text_of(json),
    }
}

/// Whether an update gives a row another key.
pub(super) fn changes_key(
    table: &TablePlan,
    (old_key, old): (&[u8], Values<'_>),
    (key, new): (&[u8], Values<'_>),
) -> bool {
    if !table.key.is_there {
        return false;
    }
    key != old_key || has_default_for_null(table, old, new)
}
