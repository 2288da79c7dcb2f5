//! The wire format of changes: PostgreSQL's `pgoutput` plugin, protocol version 1.
//!
//! Version 1 delivers whole transactions in commit order, which is what makes one position,
//! (commit LSN, record index), enough to resume exactly. The messages that versions 2 to 4 add are
//! recognised by name and refused. Layout: PostgreSQL manual, "Logical Replication Message Formats".

mod decode;
mod message;
mod relation;
mod row;

pub use decode::{DecodeError, decode};
pub use message::{
    Begin, Change, Commit, LogicalMessage, Message, OldTuple, OldTupleKind, Relation, RelationColumn, RelationId,
    ReplicaIdentity, Truncate, Tuple, Xid,
};
pub use relation::{RelationCache, UnknownRelation};

/// The protocol version asked for in `START_REPLICATION`.
pub const PROTOCOL_VERSION: u32 = 1;
