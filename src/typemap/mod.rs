//! From a PostgreSQL type to what Debezium makes of it: a schema, and JSON for each value.
//!
//! A type is one row of [`TYPES`], and its functions stand in the file of its family. Domains are their base, arrays are
//! made of their element's row, enums and what no row names are in [`ColumnType::of`].

mod array;
mod binary;
mod calendar;
mod default;
mod geometry;
mod handling;
mod hstore;
mod interval;
pub(crate) mod java_decimal;
mod java_float;
mod missing;
mod numeric;
mod pg_type;
mod source_type;
mod temporal;
mod text;
mod vector;

use std::borrow::Cow;

pub(crate) use binary::write_bytes;
pub(crate) use calendar::{Date, FIRST_GREGORIAN_DAY};
pub use handling::{BinaryMode, DecimalMode, Handling, HstoreMode, IntervalMode, Mode, TimeMode};
pub(crate) use java_float::{write_double, write_float};
pub use missing::Placeholder;
pub use pg_type::{PgType, PgTypeKind, TypeRow};
pub use source_type::SourceType;

use crate::connect::{Schema, SchemaType};
use crate::envelope::Profile;
use array::Elements::{self, As, Omitted, Optional, Required, Whole};
use default::Default;
use missing::Missing;

/// A type and what becomes of it.
struct Row {
    /// `typname`.
    name: &'static str,
    /// PostgreSQL's own; the others are an extension's.
    is_built_in: bool,
    /// Schema, writer and filler.
    map: fn(&Declared<'_>) -> Mapped,
    /// How a default's expression is read.
    default: Default,
    /// What an array of it is.
    elements: Elements,
    /// What stands for an unchanged TOASTed value, and for one of an array.
    missing: (Missing, Missing),
}

const fn built_in(name: &'static str, map: fn(&Declared<'_>) -> Mapped, default: Default, elements: Elements) -> Row {
    Row { name, is_built_in: true, map, default, elements, missing: (Missing::Null, Missing::Null) }
}

const fn extension(name: &'static str, map: fn(&Declared<'_>) -> Mapped, elements: Elements) -> Row {
    Row { is_built_in: false, ..built_in(name, map, default::NONE, elements) }
}

impl Row {
    const fn missing(self, value: Missing, of_array: Missing) -> Self {
        Self { missing: (value, of_array), ..self }
    }
}

/// Every type that Debezium knows. The order has no meaning.
const TYPES: &[Row] = &[
    built_in("bool", numeric::boolean, default::BOOLEAN, Optional),
    built_in("int2", numeric::int16, default::INT16, Optional),
    built_in("int4", numeric::int32, default::INT32, Optional).missing(Missing::Null, Missing::Numbers),
    built_in("int8", numeric::int64, default::INT64, Optional).missing(Missing::Null, Missing::Numbers),
    built_in("oid", numeric::int64, default::NONE, Optional),
    built_in("float4", numeric::float32, default::FLOAT, Optional),
    built_in("float8", numeric::float64, default::FLOAT, Optional),
    built_in("numeric", numeric::decimal, default::DECIMAL, As(numeric::decimal_element))
        .missing(Missing::Decimal, Missing::Null),
    built_in("money", numeric::money, default::NONE, Omitted),
    built_in("text", text::string, default::TEXT, Optional).missing(Missing::Text, Missing::Text),
    built_in("varchar", text::string, default::TEXT, Optional).missing(Missing::Text, Missing::Text),
    built_in("bpchar", text::string, default::TEXT, Optional).missing(Missing::Text, Missing::Text),
    built_in("char", text::string, default::NONE, Optional),
    built_in("name", text::name, default::NONE, Omitted),
    built_in("json", text::json, default::JSON, Optional).missing(Missing::Text, Missing::Text),
    built_in("jsonb", text::json, default::JSON, Optional).missing(Missing::Text, Missing::Text),
    built_in("xml", text::xml, default::TEXT, Omitted).missing(Missing::Text, Missing::Null),
    built_in("uuid", text::uuid, default::UUID, Optional).missing(Missing::Null, Missing::Uuid),
    built_in("tsvector", text::tsvector, default::NONE, Required).missing(Missing::Text, Missing::Null),
    built_in("inet", text::string, default::NONE, Optional),
    built_in("cidr", text::string, default::NONE, Optional),
    built_in("macaddr", text::string, default::NONE, Optional),
    built_in("macaddr8", text::string, default::NONE, Optional),
    built_in("int4range", text::string, default::NONE, Optional),
    built_in("int8range", text::string, default::NONE, Optional),
    built_in("numrange", text::string, default::NONE, Optional),
    built_in("tsrange", text::string, default::NONE, Optional),
    built_in("tstzrange", text::string, default::NONE, Optional),
    built_in("daterange", text::string, default::NONE, Optional),
    built_in("bytea", binary::bytea, default::NONE, Optional).missing(Missing::Bytes, Missing::Bytes),
    built_in("bit", binary::bits, default::BIT, Whole(binary::bit_array)),
    built_in("varbit", binary::bits, default::VARBIT, Omitted),
    built_in("date", temporal::date, default::DATE, As(temporal::date_element)).missing(Missing::Null, Missing::Days),
    built_in("time", temporal::time, default::TIME, As(temporal::time_element)),
    built_in("timetz", temporal::zoned_time, default::NONE, As(temporal::zoned_time_element)),
    built_in("timestamp", temporal::timestamp_of, default::TIMESTAMP, As(temporal::timestamp_element)),
    built_in("timestamptz", temporal::zoned_timestamp, default::ZONED_TIMESTAMP, As(temporal::zoned_timestamp_element)),
    built_in("interval", interval::interval, default::INTERVAL, Omitted),
    built_in("point", geometry::point, default::NONE, Omitted),
    extension("citext", text::string, Optional).missing(Missing::Text, Missing::Null),
    extension("ltree", text::ltree, Optional).missing(Missing::Text, Missing::Null),
    extension("hstore", hstore::hstore, Optional).missing(Missing::Hstore, Missing::Null),
    extension("isbn", text::string, Required),
    extension("geometry", geometry::geometry, Optional),
    extension("geography", geometry::geography, Optional),
    extension("vector", vector::dense, Required),
    extension("halfvec", vector::half, Required),
    extension("sparsevec", vector::sparse, Required),
];

/// Types that Debezium 2.4 does not know.
const NEWER_THAN_2_4: [&str; 4] = ["tsvector", "vector", "halfvec", "sparsevec"];

/// A type as a column declares it.
struct Declared<'a> {
    /// `typname`.
    name: &'a str,
    /// Type modifier, -1 if none.
    modifier: i32,
    handling: &'a Handling,
}

/// Appends the JSON of a value's text.
type Write = fn(&mut Vec<u8>, &str, &ColumnType) -> Result<(), Unwritten>;

/// What a row makes of a declared type.
struct Mapped {
    /// Required, without default.
    schema: Schema,
    write: Write,
    /// JSON that stands for null where null is no value.
    filler: Cow<'static, str>,
    digits: i32,
}

impl Mapped {
    fn new(schema: Schema, write: Write, filler: impl Into<Cow<'static, str>>) -> Self {
        Self { schema, write, filler: filler.into(), digits: 0 }
    }

    fn with_digits(self, digits: i32) -> Self {
        Self { digits, ..self }
    }
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// Debezium has no value for it and writes null.
    Null,
    /// Debezium has no value for an array that holds it.
    NullArray,
    /// The text is not of the type.
    Mismatch,
}

/// A column's type, ready to write values.
#[derive(Debug, Clone)]
pub struct ColumnType {
    schema: Schema,
    write: Write,
    filler: Cow<'static, str>,
    default: Default,
    missing: Missing,
    /// Behind the point: of a decimal, of a second.
    digits: i32,
    handling: Handling,
    element: Option<Box<array::Element>>,
}

impl ColumnType {
    /// What a column of a type is; `None` if Debezium leaves it out.
    pub fn of(pg_type: &PgType, modifier: i32, handling: &Handling) -> Option<Self> {
        let (root, modifier) = pg_type.root(modifier);
        // Debezium reads defaults by the name of the type, and knows no domain.
        let is_domain = matches!(pg_type.kind, PgTypeKind::Domain(..));
        let column = match &root.kind {
            PgTypeKind::Array(element) => array::column(&root.name, element, modifier, handling),
            _ => Self::of_root(root, modifier, handling),
        }?;
        Some(if is_domain { Self { default: default::NONE, ..column } } else { column })
    }

    fn of_root(root: &PgType, modifier: i32, handling: &Handling) -> Option<Self> {
        let declared = Declared { name: &root.name, modifier, handling };
        if let PgTypeKind::Enum(labels) = &root.kind {
            return Some(Self::from_mapped(text::label(labels), default::LABEL, Missing::Null, handling));
        }
        match row(root, handling) {
            Some(row) => Some(Self::from_mapped((row.map)(&declared), row.default, row.missing.0, handling)),
            None => Self::unknown(&declared),
        }
    }

    fn unknown(declared: &Declared<'_>) -> Option<Self> {
        let mapped = declared.handling.includes_unknown.then(|| binary::unknown(declared))?;
        Some(Self::from_mapped(mapped, default::NONE, Missing::Null, declared.handling))
    }

    fn from_mapped(mapped: Mapped, default: Default, missing: Missing, handling: &Handling) -> Self {
        let Mapped { schema, write, filler, digits } = mapped;
        Self { schema, write, filler, default, missing, digits, handling: *handling, element: None }
    }

    /// Appends the JSON of a value as PostgreSQL sends it; leaves nothing behind if there is none.
    pub fn write(&self, out: &mut Vec<u8>, text: &str) -> Result<(), Unwritten> {
        let start = out.len();
        (self.write)(out, text, self).inspect_err(|_| out.truncate(start))
    }

    /// What Debezium writes for a missing value of a NOT NULL column without a default.
    pub fn filler(&self) -> &[u8] {
        self.filler.as_bytes()
    }

    /// What Debezium writes for a TOASTed value that a change did not touch; `None` for null.
    pub fn missing(&self, placeholder: &Placeholder) -> Option<Vec<u8>> {
        self.missing.json(placeholder, &self.handling, self.element.is_some())
    }

    /// The JSON of a default, if Debezium finds one in the expression.
    pub fn default_json(&self, expression: &str) -> Option<Vec<u8>> {
        default::json(self, expression)
    }

    /// What its values are, before their schema's name gives them a meaning.
    pub fn schema_type(&self) -> &SchemaType {
        &self.schema.schema_type
    }

    /// The column's schema.
    pub fn schema(&self, is_optional: bool, default: Option<Vec<u8>>) -> Schema {
        let is_optional = is_optional || self.schema.is_optional;
        Schema { is_optional, default, ..self.schema.clone() }
    }
}

fn row(pg_type: &PgType, handling: &Handling) -> Option<&'static Row> {
    let is_newer = handling.profile == Profile::V2_4 && NEWER_THAN_2_4.contains(&pg_type.name.as_str());
    let is_it = |row: &&Row| row.name == pg_type.name && row.is_built_in == pg_type.is_built_in && !is_newer;
    TYPES.iter().find(is_it).filter(|_| pg_type.kind == PgTypeKind::Plain)
}

#[cfg(test)]
mod tests;
