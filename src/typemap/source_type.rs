//! What Debezium calls a column's type: `column.propagate.source.type`.

use super::pg_type::{PgType, PgTypeKind};

/// What Java's driver says of types that have no length.
const UNLIMITED: i64 = 2_147_483_647;

/// A type as Debezium propagates it: the stream has PostgreSQL's name of it, a snapshot that of Java's driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceType {
    /// As the catalog spells it.
    pub name: String,
    /// Digits or characters.
    pub length: i64,
    /// Behind the point.
    pub scale: Option<i64>,
}

impl SourceType {
    /// Of a column with this type, type modifier and expression of its default.
    pub fn of(pg_type: &PgType, modifier: i32, default: Option<&str>, is_snapshot: bool) -> Self {
        let (length, scale) = extent(pg_type, modifier);
        if !is_snapshot {
            return Self { name: pg_type.name.clone(), length, scale: Some(scale) };
        }
        let has_sequence = default.is_some_and(|default| default.contains("nextval("));
        let name = match (pg_type.driver_name.as_str(), has_sequence) {
            ("int2", true) => "smallserial",
            ("int4", true) => "serial",
            ("int8", true) => "bigserial",
            (name, _) => name,
        };
        let is_any_number = name == "numeric" && modifier == -1;
        let (length, scale) = if is_any_number { (0, None) } else { (length, Some(scale)) };
        Self { name: name.to_owned(), length, scale }
    }
}

/// Length and scale as the driver has them.
fn extent(pg_type: &PgType, modifier: i32) -> (i64, i64) {
    let (root, modifier) = pg_type.root(modifier);
    let name = match &root.kind {
        PgTypeKind::Array(_) if !root.is_built_in => return (UNLIMITED, 0),
        PgTypeKind::Array(_) => root.name.strip_prefix('_').unwrap_or_default(),
        _ => root.name.as_str(),
    };
    if !root.is_built_in {
        return (UNLIMITED, 0);
    }
    let given = i64::from(modifier);
    let digits = if modifier == -1 { 6 } else { given };
    // A point, and one more digit than asked for where that is one.
    let second = match digits {
        0 => 0,
        1 => 3,
        digits => digits.saturating_add(1),
    };
    match name {
        "bool" | "char" => (1, 0),
        "int2" => (5, 0),
        "int4" | "oid" => (10, 0),
        "int8" => (19, 0),
        "float4" => (8, 8),
        "float8" => (17, 17),
        "numeric" if modifier == -1 => (131_089, 0),
        "numeric" => {
            let packed = given.saturating_sub(4);
            ((packed >> 16) & 0xffff, packed & 0x7ff)
        }
        "bpchar" | "varchar" if modifier == -1 => (UNLIMITED, 0),
        "bpchar" | "varchar" => (given.saturating_sub(4), 0),
        "bit" | "varbit" if modifier == -1 => (UNLIMITED, 0),
        "bit" | "varbit" => (given, 0),
        "date" => (13, 0),
        "time" => (second.saturating_add(8), digits),
        "timetz" => (second.saturating_add(14), digits),
        "timestamp" => (second.saturating_add(22), digits),
        "timestamptz" => (second.saturating_add(28), digits),
        "interval" if modifier == -1 => (49, 6),
        "interval" => (49, given & 0xffff),
        _ => (UNLIMITED, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_as_debezium_calls_them() {
        let of = |name: &str, modifier: i32, is_snapshot: bool| {
            let SourceType { name, length, scale } =
                SourceType::of(&PgType::plain(name), modifier, Some("nextval('s'::regclass)"), is_snapshot);
            (name, length, scale)
        };
        assert_eq!(of("int4", -1, false), ("int4".to_owned(), 10, Some(0)));
        assert_eq!(of("int4", -1, true), ("serial".to_owned(), 10, Some(0)));
        assert_eq!(of("numeric", ((5 << 16) | 2) + 4, true), ("numeric".to_owned(), 5, Some(2)));
        assert_eq!(of("numeric", -1, false), ("numeric".to_owned(), 131_089, Some(0)));
        assert_eq!(of("numeric", -1, true), ("numeric".to_owned(), 0, None));
        assert_eq!(of("time", 1, false), ("time".to_owned(), 11, Some(1)));
    }
}
