//! `TimestampConverter$Value` and `Cast$Value`: what they make of a value, apart from how a value is written.

use super::date_format::DateFormat;

/// `TimestampConverter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeEdit {
    /// The field.
    pub field: String,
    /// What its times become.
    pub target: TimeForm,
    /// `format`: how texts are read and written.
    pub format: Option<DateFormat>,
    /// `unix.precision`: what plain numbers count.
    pub precision: UnixPrecision,
}

/// The forms of a time that Kafka Connect knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// A text of the format.
    Text,
    /// A number.
    Unix,
    /// Connect's day.
    Date,
    /// Connect's time of day.
    Time,
    /// Connect's moment.
    Timestamp,
}

impl TimeForm {
    /// From `target.type`.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::Text,
            "unix" => Self::Unix,
            "Date" => Self::Date,
            "Time" => Self::Time,
            "Timestamp" => Self::Timestamp,
            _ => return None,
        })
    }
}

/// What a number of a time counts since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum UnixPrecision {
    Seconds,
    #[default]
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl UnixPrecision {
    /// From Kafka's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "seconds" => Self::Seconds,
            "milliseconds" => Self::Milliseconds,
            "microseconds" => Self::Microseconds,
            "nanoseconds" => Self::Nanoseconds,
            _ => return None,
        })
    }

    /// Milliseconds of so many, cut towards zero and at the ends of the range as Java's `TimeUnit` does.
    pub fn to_ms(self, number: i64) -> i64 {
        match self {
            Self::Seconds => number.saturating_mul(1_000),
            Self::Milliseconds => number,
            Self::Microseconds => number / 1_000,
            Self::Nanoseconds => number / 1_000_000,
        }
    }

    /// The other way.
    pub fn of_ms(self, ms: i64) -> i64 {
        match self {
            Self::Seconds => ms / 1_000,
            Self::Milliseconds => ms,
            Self::Microseconds => ms.saturating_mul(1_000),
            Self::Nanoseconds => ms.saturating_mul(1_000_000),
        }
    }
}

/// What `Cast` makes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CastType {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
}

impl CastType {
    /// From Kafka's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_times_are_cut_towards_zero_and_stay_in_range() {
        assert_eq!(UnixPrecision::Microseconds.to_ms(-1_500), -1);
        assert_eq!(UnixPrecision::Seconds.to_ms(i64::MAX), i64::MAX);
        assert_eq!(UnixPrecision::Seconds.of_ms(-1), 0);
        assert_eq!(UnixPrecision::Nanoseconds.of_ms(i64::MIN), i64::MIN);
    }
}
