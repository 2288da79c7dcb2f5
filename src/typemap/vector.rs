//! The types of pgvector.

use super::calendar::write_number;
use super::java_float::{write_double, write_float};
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::{Schema, SchemaType};

/// Buckets of a new `HashMap`.
const BUCKETS_MIN: usize = 16;

pub(super) fn dense(_: &Declared<'_>) -> Mapped {
    let schema = Schema::array(Schema::new(SchemaType::Double)).named("io.debezium.data.DoubleVector").version(1);
    Mapped::new(schema, write_dense, "[]")
}

pub(super) fn half(_: &Declared<'_>) -> Mapped {
    let schema = Schema::array(Schema::new(SchemaType::Float)).named("io.debezium.data.FloatVector").version(1);
    Mapped::new(schema, write_half, "[]")
}

pub(super) fn sparse(_: &Declared<'_>) -> Mapped {
    let vector = Schema::map(Schema::new(SchemaType::Int16), Schema::new(SchemaType::Double));
    let schema = Schema::of_fields([("dimensions", Schema::new(SchemaType::Int16)), ("vector", vector)]);
    let schema = schema.named("io.debezium.data.SparseDoubleVector").version(1).doc("Sparse double vector");
    Mapped::new(schema, write_sparse, r#"{"dimensions":0,"vector":[]}"#)
}

/// `[1,2,3]`; Debezium has no value for an empty one.
fn write_elements<T>(
    out: &mut Vec<u8>,
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    write: impl Fn(&mut Vec<u8>, T),
) -> Result<(), Unwritten> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or(Unwritten::Null)?;
    out.push(b'[');
    for (at, element) in inner.split(',').enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, parse(element.trim()).ok_or(Unwritten::Null)?);
    }
    out.push(b']');
    Ok(())
}

fn write_dense(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_elements(out, text, |text| text.parse().ok(), write_double)
}

fn write_half(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_elements(out, text, |text| text.parse().ok(), write_float)
}

/// `{1:201,9:209}/3000`; indexes are 16 bits wide, and what is beyond them has no value.
fn write_sparse(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let (elements, dimensions) = text.rsplit_once('/').ok_or(Unwritten::Null)?;
    let dimensions: i16 = dimensions.trim().parse().map_err(|_| Unwritten::Null)?;
    let inner = elements.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or(Unwritten::Null)?;
    let pair = |element: &str| -> Option<(i16, f64)> {
        let (index, value) = element.split_once(':')?;
        Some((index.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    let elements = inner.split(',').filter(|_| !inner.is_empty());
    let mut pairs: Vec<_> = elements.map(pair).collect::<Option<_>>().ok_or(Unwritten::Null)?;
    // A map made for so many pairs at once.
    let buckets = pairs.len().max(1).next_power_of_two();
    let mut buckets = if pairs.is_empty() { BUCKETS_MIN } else { buckets };
    while pairs.len() > buckets / 4 * 3 + buckets % 4 * 3 / 4 {
        buckets = buckets.saturating_mul(2);
    }
    // An index is its own hash, but for negative ones.
    pairs.sort_by_key(|(index, _)| usize::try_from(*index).unwrap_or_default() & (buckets - 1));
    out.extend_from_slice(b"{\"dimensions\":");
    write_number(out, i64::from(dimensions));
    out.extend_from_slice(b",\"vector\":[");
    for (at, (index, value)) in pairs.into_iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",[" } else { b"[" });
        write_number(out, i64::from(index));
        out.push(b',');
        write_double(out, value);
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
    Ok(())
}
