//! What happened to a row.

use super::Values;

/// What a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `c`: a row was inserted.
    Create,
    /// `u`: a row was updated.
    Update,
    /// `d`: a row was deleted.
    Delete,
    /// `r`: a row was read by a snapshot.
    Read,
    /// `t`: a table was truncated.
    Truncate,
    /// `m`: a logical decoding message was written.
    Message,
}

impl Operation {
    /// Debezium's letter for it, the value of `op`.
    pub fn letter(self) -> char {
        match self {
            Self::Create => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Read => 'r',
            Self::Truncate => 't',
            Self::Message => 'm',
        }
    }

    /// From that letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "c" => Some(Self::Create),
            "u" => Some(Self::Update),
            "d" => Some(Self::Delete),
            "r" => Some(Self::Read),
            "t" => Some(Self::Truncate),
            "m" => Some(Self::Message),
            _ => None,
        }
    }
}

/// A change of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChange<'a> {
    /// It was inserted.
    Create {
        /// The row.
        new: Values<'a>,
    },
    /// It was there when a snapshot looked.
    Read {
        /// The row.
        new: Values<'a>,
    },
    /// It was updated.
    Update {
        /// What is told of the row before, if anything is.
        old: Option<OldRow<'a>>,
        /// The row.
        new: Values<'a>,
    },
    /// It was deleted.
    Delete {
        /// What is told of the row.
        old: OldRow<'a>,
    },
}

/// What an update or delete tells of the row before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldRow<'a> {
    /// The columns; those that are not told are null.
    pub values: Values<'a>,
    /// Every column is told, and not those of the replica identity alone.
    pub is_whole: bool,
}

impl<'a> RowChange<'a> {
    /// What happened.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Create { .. } => Operation::Create,
            Self::Read { .. } => Operation::Read,
            Self::Update { .. } => Operation::Update,
            Self::Delete { .. } => Operation::Delete,
        }
    }

    /// The row after the change; for a delete, what is told of it.
    pub fn latest(&self) -> Values<'a> {
        match self {
            Self::Create { new } | Self::Read { new } | Self::Update { new, .. } => *new,
            Self::Delete { old } => old.values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_known_by_its_letter() {
        for letter in ["c", "u", "d", "r", "t", "m"] {
            assert_eq!(
                Operation::from_letter(letter).map(|operation| operation.letter().to_string()),
                Some(letter.into())
            );
        }
        assert_eq!(Operation::from_letter("x"), None);
    }
}
