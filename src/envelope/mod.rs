//! The Debezium contract, shared by both halves and knowing neither: what a record on Kafka looks like.
//!
//! `capture` encodes, `process` decodes. That is what lets the real Debezium stand in for either.

mod change;
pub mod decode;
pub mod number;
mod position;
mod record;
mod table;

use crate::connect::json;

pub use change::{ChangeEncoder, EncodeError, RowContext, TransactionContext};
pub use position::{ParsePositionError, Position};
pub use record::{Headers, Record, heartbeat_key, heartbeat_value};
pub use table::{ColumnFacts, TableEncoder, TableOptions};

/// The header that carries a record's [`Position`].
pub const POSITION_HEADER: &str = "evp.position";

/// The Debezium release whose bytes are imitated; field order and headers differ between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 3.6.1.Final.
    V3_6,
    /// 2.4.2.Final.
    V2_4,
}

impl Profile {
    /// From the value of `--compat`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "3.6" => Some(Self::V3_6),
            "2.4" => Some(Self::V2_4),
            _ => None,
        }
    }

    /// `source.version`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V3_6 => "3.6.1.Final",
            Self::V2_4 => "2.4.2.Final",
        }
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `c`: inserted.
    Create,
    /// `u`: updated.
    Update,
    /// `d`: deleted.
    Delete,
}

impl Operation {
    /// The letter in `op`.
    pub fn letter(self) -> char {
        match self {
            Self::Create => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
        }
    }
}
