//! The position of a record: what makes resuming exact.

use std::fmt;
use std::str::FromStr;

use crate::lsn::Lsn;

/// Where a record stands in the stream of one cluster.
///
/// An LSN alone is no position: rows of one COPY share one, and rows of overlapping transactions are not
/// in LSN order. Commit LSNs are in commit order, and the index grows within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The cluster's identifier.
    pub system_identifier: u64,
    /// Position of the transaction's commit record.
    pub commit_lsn: Lsn,
    /// Place of the record in its transaction, growing from 0, not always by one.
    pub index: u64,
}

impl Position {
    /// What orders records of the same cluster.
    pub fn order(&self) -> (Lsn, u64) {
        (self.commit_lsn, self.index)
    }

    /// Writes the header's text over what `out` holds.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        out.clear();
        out.extend_from_slice(number.format(self.system_identifier).as_bytes());
        out.push(b':');
        out.extend_from_slice(number.format(self.commit_lsn.get()).as_bytes());
        out.push(b':');
        out.extend_from_slice(number.format(self.index).as_bytes());
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.system_identifier, self.commit_lsn.get(), self.index)
    }
}

/// The text is not three numbers with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the form system:commit_lsn:index")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let mut numbers = text.split(':').map(|part| part.parse::<u64>().map_err(|_| ParsePositionError));
        let mut number = || numbers.next().unwrap_or(Err(ParsePositionError));
        let position = Self { system_identifier: number()?, commit_lsn: Lsn::new(number()?), index: number()? };
        if numbers.next().is_some() { Err(ParsePositionError) } else { Ok(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(system_identifier: u64, lsn: u64, index: u64) {
            let position = Position { system_identifier, commit_lsn: Lsn::new(lsn), index };
            let mut header = b"stale".to_vec();
            position.write(&mut header);
            prop_assert_eq!(std::str::from_utf8(&header).unwrap(), position.to_string());
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Position>();
        }
    }
}
