//! The Debezium contract, shared by both halves and knowing neither: what a record on Kafka looks like.
//!
//! `capture` encodes, `process` decodes. That is what lets the real Debezium stand in for either.

mod cast;
mod change;
mod companion;
mod conversion;
pub mod decode;
mod derived_key;
mod edits;
mod event;
mod expand;
mod fields;
mod form_headers;
mod forms;
mod guard;
mod header_text;
mod key;
mod mask;
mod message;
pub mod number;
mod outbox;
mod parts;
mod pieces;
mod plan;
mod position;
mod profile;
mod record;
mod transaction;
mod write;

pub use crate::connect::{Adjustment, Converter};
pub use change::{ChangeEncoder, EncodeError, RecordOptions, RowContext, TransactionContext};
pub use companion::Heartbeats;
pub use mask::{HashAlgorithm, Mask};
pub use message::{MessageRecords, MessageSource};
pub use plan::{PlanError, PlanOptions, TablePlan};
pub use position::{PART_BETWEEN, PART_END, ParsePositionError, Position, PositionKind};
pub use profile::Profile;
pub use record::{ContextHeaders, Headers, KeyChange, Record};
pub use transaction::{EventCounts, EventOrder, TransactionRecords};

/// The header that carries a record's [`Position`].
pub const POSITION_HEADER: &str = "evp.position";

/// Whether a snapshot brought a row, and which of its rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotMark {
    /// The stream brought it.
    #[default]
    False,
    /// A snapshot, neither its first nor its last row.
    True,
    /// The first row of a snapshot.
    First,
    /// The first of its table.
    FirstInTable,
    /// The last of its table.
    LastInTable,
    /// The last row of a snapshot.
    Last,
    /// An incremental snapshot.
    Incremental,
}

impl SnapshotMark {
    /// From Debezium's word for it; what is not known comes by the stream.
    pub fn from_word(word: &str) -> Self {
        let all = [Self::True, Self::First, Self::FirstInTable, Self::LastInTable, Self::Last, Self::Incremental];
        all.into_iter().find(|mark| mark.word() == word).unwrap_or_default()
    }

    /// Debezium's word for it, the value of `source.snapshot`.
    pub fn word(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::First => "first",
            Self::FirstInTable => "first_in_data_collection",
            Self::LastInTable => "last_in_data_collection",
            Self::Last => "last",
            Self::Incremental => "incremental",
        }
    }
}
