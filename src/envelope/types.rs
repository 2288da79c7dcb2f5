//! The one table from PostgreSQL types to Debezium's JSON.
//!
//! A new column type is a row of [`TYPES`], its text rule in [`ColumnType::write`] and its filler.

use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

/// How a column's text becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// `t`/`f`.
    Boolean,
    /// Digits that are JSON already, of a number with so many bits.
    Integer(u8),
    /// A string, verbatim; TOASTed values can be missing from the log.
    Text,
    /// The same, with JSON in it.
    Json,
    /// The same, of a type that Debezium knows no defaults of.
    Citext,
    /// A string that is never stored outside of its row.
    Uuid,
    /// `io.debezium.time.ZonedTimestamp` with this many digits of a second.
    ZonedTimestamp(u8),
}

/// A column that evp cannot write, by name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum UnsupportedColumn {
    #[error(
        "column {column} of {table} has type {type_name}, which evp does not write yet; leave the table out with \
         table.include.list or the column out with the publication's column list"
    )]
    Type { table: String, column: String, type_name: String },
}

/// Types by the object ids that PostgreSQL fixes for its own.
const TYPES: &[(u32, ColumnType)] = &[
    (16, ColumnType::Boolean),
    (20, ColumnType::Integer(64)), // bigint
    (21, ColumnType::Integer(16)), // smallint
    (23, ColumnType::Integer(32)), // integer
    (25, ColumnType::Text),        // text
    (114, ColumnType::Json),       // json
    (1042, ColumnType::Text),      // character(n)
    (1043, ColumnType::Text),      // character varying
    (1184, ColumnType::ZonedTimestamp(6)),
    (2950, ColumnType::Uuid),
    (3802, ColumnType::Json), // jsonb
];

/// `timestamptz` without a precision has six digits.
const FRACTION_DIGITS_MAX: u8 = 6;

impl ColumnType {
    /// The type of a column; extensions' types are told by name, as their ids differ between databases.
    pub(super) fn of(type_oid: u32, type_modifier: i32, type_name: &str) -> Option<Self> {
        if type_name == "citext" {
            return Some(Self::Citext);
        }
        let (_, column_type) = TYPES.iter().find(|(oid, _)| *oid == type_oid)?;
        match column_type {
            Self::ZonedTimestamp(_) => {
                let digits = u8::try_from(type_modifier).unwrap_or(FRACTION_DIGITS_MAX);
                Some(Self::ZonedTimestamp(digits.min(FRACTION_DIGITS_MAX)))
            }
            other => Some(*other),
        }
    }

    /// Appends the JSON of a value; false if the text is not of this type.
    pub(super) fn write(self, out: &mut Vec<u8>, text: &str) -> bool {
        match self {
            Self::Boolean => match text {
                "t" => out.extend_from_slice(b"true"),
                "f" => out.extend_from_slice(b"false"),
                _ => return false,
            },
            Self::Integer(_) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return false;
                }
                out.extend_from_slice(text.as_bytes());
            }
            Self::Text | Self::Json | Self::Citext | Self::Uuid => write_string(out, text),
            Self::ZonedTimestamp(digits) => return write_zoned_timestamp(out, text, digits),
        }
        true
    }

    /// The schema of values that cannot be null.
    pub(super) fn schema(self) -> Schema {
        let text = || Schema::new(SchemaType::String);
        match self {
            Self::Boolean => Schema::new(SchemaType::Boolean),
            Self::Integer(..=16) => Schema::new(SchemaType::Int16),
            Self::Integer(..=32) => Schema::new(SchemaType::Int32),
            Self::Integer(_) => Schema::new(SchemaType::Int64),
            Self::Text | Self::Citext => text(),
            Self::Json => text().named("io.debezium.data.Json").version(1),
            Self::Uuid => text().named("io.debezium.data.Uuid").version(1),
            Self::ZonedTimestamp(_) => text().named("io.debezium.time.ZonedTimestamp").version(1),
        }
    }

    /// Whether a value can be missing from the log because it is TOASTed.
    pub(super) fn is_toastable(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Citext)
    }

    /// What Debezium writes for a missing value of a NOT NULL column without a default.
    pub(super) fn filler(self) -> &'static [u8] {
        match self {
            Self::Boolean => b"false",
            Self::Integer(_) => b"0",
            Self::Text | Self::Json | Self::Citext | Self::Uuid => b"\"\"",
            Self::ZonedTimestamp(_) => b"\"1970-01-01T00:00:00Z\"",
        }
    }
}

/// PostgreSQL's `2026-11-21 09:13:38.7+00` (session in UTC) to `2026-11-21T09:13:38.700000Z`.
///
/// Years beyond 9999 get a plus sign and years before Christ are counted astronomically, as in Java.
pub(super) fn write_zoned_timestamp(out: &mut Vec<u8>, text: &str, fraction_digits: u8) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        write_string(out, text);
        return true;
    }
    let (text, is_before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let Some(text) = text.strip_suffix("+00") else { return false };
    let Some((date, time)) = text.split_once(' ') else { return false };
    let Some((year, month_and_day)) = date.split_once('-') else { return false };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':'));
    if !is_plain(month_and_day) || !is_plain(time) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let Ok(year) = year.parse::<i32>() else { return false };
    out.push(b'"');
    if is_before_christ {
        // 1 BC is year 0.
        let astronomical = 1_i32.saturating_sub(year);
        let sign = if astronomical < 0 { "-" } else { "" };
        out.extend_from_slice(format!("{sign}{:04}", astronomical.unsigned_abs()).as_bytes());
    } else if year > 9_999 {
        out.extend_from_slice(format!("+{year}").as_bytes());
    } else {
        out.extend_from_slice(date.split('-').next().unwrap_or_default().as_bytes());
    }
    out.push(b'-');
    out.extend_from_slice(month_and_day.as_bytes());
    out.push(b'T');
    out.extend_from_slice(time.as_bytes());
    if fraction_digits > 0 {
        out.push(b'.');
        let digits = fraction.bytes().chain(std::iter::repeat(b'0'));
        out.extend(digits.take(usize::from(fraction_digits)));
    }
    out.extend_from_slice(b"Z\"");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(column_type: ColumnType, text: &str) -> Option<String> {
        let mut out = Vec::new();
        column_type.write(&mut out, text).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn timestamps_have_the_digits_of_their_type() {
        let zoned = ColumnType::ZonedTimestamp;
        for (digits, text, expected) in [
            (6, "2016-11-04 11:51:30.123456+00", "\"2016-11-04T11:51:30.123456Z\""),
            (6, "2016-11-04 11:51:30+00", "\"2016-11-04T11:51:30.000000Z\""),
            (6, "2016-11-04 11:51:30.7+00", "\"2016-11-04T11:51:30.700000Z\""),
            (0, "2016-11-04 11:51:30+00", "\"2016-11-04T11:51:30Z\""),
            (3, "2016-11-04 11:51:30.12+00", "\"2016-11-04T11:51:30.120Z\""),
            (6, "21016-11-04 13:51:30.123456+00", "\"+21016-11-04T13:51:30.123456Z\""),
            (6, "4714-12-31 23:59:59.999999+00 BC", "\"-4713-12-31T23:59:59.999999Z\""),
            (6, "0001-12-31 00:00:00+00 BC", "\"0000-12-31T00:00:00.000000Z\""),
            (6, "infinity", "\"infinity\""),
        ] {
            assert_eq!(json(zoned(digits), text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(json(zoned(6), "2016-11-04 11:51:30+02"), None, "only a session in UTC is understood");
    }

    #[test]
    fn text_of_another_type_is_refused() {
        assert_eq!(json(ColumnType::Boolean, "true"), None);
        assert_eq!(json(ColumnType::Integer(32), "1.5"), None);
        assert_eq!(json(ColumnType::Integer(32), "-"), None);
        assert_eq!(json(ColumnType::Integer(32), "-7").as_deref(), Some("-7"));
    }

    #[test]
    fn extension_types_are_told_by_name() {
        assert_eq!(ColumnType::of(90_001, -1, "citext"), Some(ColumnType::Citext));
        assert_eq!(ColumnType::of(90_001, -1, "hstore"), None);
        assert_eq!(ColumnType::of(1184, 3, "timestamp(3) with time zone"), Some(ColumnType::ZonedTimestamp(3)));
    }
}
