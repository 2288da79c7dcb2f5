//! Points, and PostGIS' geometries as the extended well-known binary that they are.

use super::binary::{from_hex, write_base64};
use super::java_float::write_double;
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::{Schema, SchemaType};

/// Flag in a geometry's type: a reference system follows.
const HAS_SRID: u32 = 0x2000_0000;

pub(super) fn point(_: &Declared<'_>) -> Mapped {
    let double = || Schema::new(SchemaType::Double);
    let schema = Schema::of_fields([
        ("x", double()),
        ("y", double()),
        ("wkb", Schema::new(SchemaType::Bytes).optional()),
        ("srid", Schema::new(SchemaType::Int32).optional()),
    ]);
    let schema = schema.named("io.debezium.data.geometry.Point").version(1).doc("Geometry (POINT)");
    Mapped::new(schema, write_point, r#"{"x":0.0,"y":0.0,"wkb":"AQEAAAAAAAAAAAAAAAAAAAAAAAAA","srid":null}"#)
}

pub(super) fn geometry(_: &Declared<'_>) -> Mapped {
    let mapped = of_postgis("io.debezium.data.geometry.Geometry", "Geometry");
    // Debezium calls it optional even where the column is not.
    Mapped { schema: mapped.schema.optional(), ..mapped }
}

pub(super) fn geography(_: &Declared<'_>) -> Mapped {
    of_postgis("io.debezium.data.geometry.Geography", "Geography")
}

fn of_postgis(name: &'static str, doc: &'static str) -> Mapped {
    let srid = Schema::new(SchemaType::Int32).optional();
    let schema = Schema::of_fields([("wkb", Schema::new(SchemaType::Bytes)), ("srid", srid)]);
    let empty = r#"{"wkb":"AQcAAAAAAAAA","srid":null}"#;
    Mapped::new(schema.named(name).version(1).doc(doc), write_geometry, empty)
}

/// `(1,2.5)`.
fn write_point(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or(Unwritten::Mismatch)?;
    let (x, y) = inner.split_once(',').ok_or(Unwritten::Mismatch)?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| Unwritten::Mismatch);
    let (x, y) = (number(x)?, number(y)?);
    let mut binary = [0; 21];
    for (place, byte) in
        binary.iter_mut().zip([1, 1, 0, 0, 0].into_iter().chain(x.to_le_bytes()).chain(y.to_le_bytes()))
    {
        *place = byte;
    }
    out.extend_from_slice(b"{\"x\":");
    write_double(out, x);
    out.extend_from_slice(b",\"y\":");
    write_double(out, y);
    out.extend_from_slice(b",\"wkb\":");
    write_base64(out, &binary);
    out.extend_from_slice(b",\"srid\":null}");
    Ok(())
}

/// Hex of the binary form; its reference system is told beside it.
fn write_geometry(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let binary = from_hex(text)?;
    let (order, rest) = binary.split_first().ok_or(Unwritten::Null)?;
    let word = |at: usize| {
        let bytes: [u8; 4] = rest.get(at..at.saturating_add(4))?.try_into().ok()?;
        Some(if *order == 0 { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let (kind, srid) = word(0).zip(word(4)).ok_or(Unwritten::Null)?;
    out.extend_from_slice(b"{\"wkb\":");
    write_base64(out, &binary);
    out.extend_from_slice(b",\"srid\":");
    if kind & HAS_SRID == 0 {
        out.extend_from_slice(b"null");
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(srid.cast_signed()).as_bytes());
    }
    out.push(b'}');
    Ok(())
}
