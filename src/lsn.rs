//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A log sequence number: the byte offset of a record in the write-ahead log.
///
/// Written `X/Y`, two hexadecimal halves, as PostgreSQL's `pg_lsn` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which no record has: "from where the slot stands" in `START_REPLICATION`.
    pub const ZERO: Self = Self(0);

    /// From the 64-bit offset of the wire.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The 64-bit offset.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The signed form that Debezium writes into `source.lsn`.
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not of the form `X/Y`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a log sequence number of the form X/Y")]
pub struct ParseLsnError;

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = ParseLsnError;

    fn try_from(text: String) -> Result<Self, ParseLsnError> {
        text.parse()
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, ParseLsnError> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if plain { u32::from_str_radix(digits, 16).map_err(|_| ParseLsnError) } else { Err(ParseLsnError) }
        };
        Ok(Self((u64::from(half(high)?) << 32) | u64::from(half(low)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_number_are_the_same_position(offset: u64) {
            let lsn = Lsn::new(offset);
            prop_assert_eq!(lsn.to_string().parse::<Lsn>(), Ok(lsn));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,24}") {
            let _ = text.parse::<Lsn>();
        }
    }

    #[test]
    fn malformed_positions_are_refused() {
        for text in ["", "/", "0", "0/", "/0", "+1/0", "0/-1", "123456789/0", "0/0/0", "G/0"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError), "{text}");
        }
    }
}
