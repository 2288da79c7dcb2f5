//! Columns whose values are masked, hashed or cut before they are written.

use md5::Md5;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::connect::json::{write_string, write_unit};
use crate::connect::{Schema, SchemaType, text_of};
use crate::row::ColumnShape;
use crate::typemap::{PgTypeKind, SourceType, write_bytes};

/// What becomes of a column's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// `column.mask.with.N.chars`: so many asterisks.
    Asterisks(usize),
    /// `column.mask.hash.…`: the hash of salt and value, which the first version takes in Java's serialization.
    Hash {
        /// Hash function.
        algorithm: HashAlgorithm,
        /// Stands before each value.
        salt: String,
        /// The value is serialized.
        is_serialized: bool,
    },
    /// `column.truncate.to.N.chars`: no more than so many UTF-16 units.
    Truncate(usize),
    /// `column.propagate.source.type`, `datatype.propagate.source.type`: none, and the schema tells of the column's type.
    SourceType,
}

/// A hash function, as Java names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HashAlgorithm {
    Md5,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    /// From Java's name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "MD5" => Some(Self::Md5),
            "SHA-224" => Some(Self::Sha224),
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn digest(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(bytes)),
            Self::Sha224 => hex(&Sha224::digest(bytes)),
            Self::Sha256 => hex(&Sha256::digest(bytes)),
            Self::Sha384 => hex(&Sha384::digest(bytes)),
            Self::Sha512 => hex(&Sha512::digest(bytes)),
        }
    }
}

/// A mask as a column has it.
#[derive(Debug, Clone)]
pub(super) struct ColumnMask {
    mask: Mask,
    /// UTF-16 units that the column takes.
    length: usize,
}

fn with_source_type(schema: Schema, column: &str, source: &SourceType) -> Schema {
    let schema = schema
        .parameter("__debezium.source.column.type", source.name.to_uppercase())
        .parameter("__debezium.source.column.length", source.length.to_string());
    let schema = match source.scale {
        Some(scale) => schema.parameter("__debezium.source.column.scale", scale.to_string()),
        None => schema,
    };
    schema.parameter("__debezium.source.column.name", column.to_owned())
}

/// What a column without a length has in Java.
const LENGTH_MAX: usize = 2_147_483_647;

impl ColumnMask {
    /// The mask of a column, and its schema with what tells of the mask; no mask where Debezium leaves values as they are.
    pub(super) fn of(mask: &Mask, column: &ColumnShape, is_snapshot: bool, schema: Schema) -> (Option<Self>, Schema) {
        if *mask == Mask::SourceType {
            return (None, with_source_type(schema, &column.name, &column.source_type(is_snapshot)));
        }
        let (root, modifier) = column.pg_type.root(column.type_modifier);
        let is_enum = matches!(root.kind, PgTypeKind::Enum(_));
        let is_text = is_enum
            || (root.is_built_in && matches!(root.name.as_str(), "text" | "varchar" | "bpchar" | "char" | "name"));
        let length = match &root.kind {
            PgTypeKind::Array(element) => length(&element.name, modifier),
            _ => length(&root.name, modifier),
        };
        match mask {
            Mask::Truncate(limit) if *limit >= length => (None, schema),
            Mask::Truncate(limit) => {
                let is_cut = schema.schema_type == SchemaType::String || schema.schema_type == SchemaType::Bytes;
                let is_cut = is_cut && !schema.name.as_deref().is_some_and(|name| name.starts_with("org.apache"));
                let mask = is_cut.then(|| Self { mask: mask.clone(), length });
                (mask, schema.parameter("truncateLength", limit.to_string()))
            }
            _ => {
                let mask = is_text.then(|| Self { mask: mask.clone(), length });
                (mask, schema.parameter("masked", "true"))
            }
        }
    }

    /// What stands for every value, null among them.
    pub(super) fn constant(&self) -> Option<Vec<u8>> {
        let Mask::Asterisks(count) = self.mask else { return None };
        let mut json = Vec::new();
        write_string(&mut json, &"*".repeat(count));
        Some(json)
    }

    /// Masks the JSON of a value, unless that is null.
    pub(super) fn apply(&self, json: &[u8], schema: &SchemaType) -> Vec<u8> {
        let Some(text) = text_of(json) else { return json.to_vec() };
        let mut out = Vec::new();
        if let (Mask::Truncate(limit), SchemaType::Bytes) = (&self.mask, schema) {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(&text).unwrap_or_default();
            write_bytes(&mut out, bytes.get(..*limit).unwrap_or(&bytes), crate::typemap::BinaryMode::Bytes);
            return out;
        }
        let text = String::from_utf8_lossy(&text);
        match &self.mask {
            Mask::Asterisks(_) => return self.constant().unwrap_or_default(),
            Mask::SourceType => return json.to_vec(),
            Mask::Truncate(limit) => write_cut(&mut out, &text, *limit),
            Mask::Hash { algorithm, salt, is_serialized } => {
                let value = if *is_serialized { serialized(&text) } else { text.as_bytes().to_vec() };
                let hash = algorithm.digest(&[salt.as_bytes(), &value].concat());
                write_string(&mut out, cut(&hash, self.length));
            }
        }
        out
    }
}

/// The length that JDBC tells of a column; that of an array is its elements'.
fn length(type_name: &str, modifier: i32) -> usize {
    let declared = usize::try_from(modifier.saturating_sub(4)).ok();
    match type_name {
        "varchar" | "bpchar" => declared.unwrap_or(LENGTH_MAX),
        "char" | "bool" => 1,
        "int2" => 5,
        "int4" => 10,
        "int8" => 19,
        "float4" => 8,
        "float8" => 17,
        "date" => 13,
        _ => LENGTH_MAX,
    }
}

/// Java parts a pair of UTF-16 units, and its half is written as an escape.
fn write_cut(out: &mut Vec<u8>, text: &str, limit: usize) {
    let kept = cut(text, limit);
    write_string(out, kept);
    let has_room = kept.encode_utf16().count() < limit;
    let parted = text.get(kept.len()..).unwrap_or_default().encode_utf16().next().filter(|_| has_room);
    if let Some(unit) = parted {
        out.pop();
        write_unit(out, unit);
        out.push(b'"');
    }
}

/// The first UTF-16 units of a text; a pair of them is not parted.
fn cut(text: &str, limit: usize) -> &str {
    let mut units = 0_usize;
    for (at, c) in text.char_indices() {
        units = units.saturating_add(c.len_utf16());
        if units > limit {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// A string as Java's `ObjectOutputStream` writes it.
fn serialized(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            1..=0x7F => bytes.extend(u8::try_from(unit)),
            0 | 0x80..=0x7FF => bytes.extend([0xC0 | low(unit >> 6, 0x1F), 0x80 | low(unit, 0x3F)]),
            _ => bytes.extend([0xE0 | low(unit >> 12, 0x0F), 0x80 | low(unit >> 6, 0x3F), 0x80 | low(unit, 0x3F)]),
        }
    }
    let mut out = vec![0xAC, 0xED, 0x00, 0x05];
    match u16::try_from(bytes.len()) {
        Ok(length) => {
            out.push(0x74);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x7C);
            out.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    out.extend(bytes);
    out
}

fn low(unit: u16, mask: u16) -> u8 {
    u8::try_from(unit & mask).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_utf_16_units() {
        assert_eq!([cut("abc", 2), cut("a😀b", 3), cut("a😀b", 2), cut("", 0)], ["ab", "a😀", "a", ""]);
    }

    #[test]
    fn strings_are_serialized_as_java_does_it() {
        assert_eq!(serialized("aé"), [0xAC, 0xED, 0, 5, 0x74, 0, 3, b'a', 0xC3, 0xA9]);
        assert_eq!(&serialized("😀\0")[4..], [0x74, 0, 8, 0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80, 0xC0, 0x80]);
        assert_eq!(serialized(&"x".repeat(70_000)).len(), 70_013);
    }
}
