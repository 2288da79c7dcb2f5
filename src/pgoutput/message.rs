//! The messages of protocol 1, as they lie in the frame.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::row::{Columns, Values};

/// The object id of a table, as relation messages and changes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationId(pub u32);

/// A 32-bit transaction id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Xid(pub u32);

/// One decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A committed transaction starts.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// The transaction came from another origin.
    Origin {
        /// Commit position on the origin.
        origin_lsn: Lsn,
        /// Name of the origin.
        name: Bytes,
    },
    /// The shape of a table, sent before its first change and after each change of shape.
    Relation(Relation),
    /// A data type's name; nothing in evp needs it.
    Type,
    /// A row was inserted, updated or deleted.
    Change(Change),
    /// Tables were truncated.
    Truncate(Truncate),
    /// Text written by `pg_logical_emit_message`.
    Logical(LogicalMessage),
}

/// `Begin`: where and when the transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Position of the commit record: the transaction's identity and its place in commit order.
    pub commit_lsn: Lsn,
    /// Commit time in microseconds since 2000-01-01 UTC.
    pub commit_time_us: i64,
    /// Transaction id.
    pub xid: Xid,
}

/// `Commit`: the end of the transaction's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Position of the commit record, equal to [`Begin::commit_lsn`].
    pub commit_lsn: Lsn,
    /// The first byte after it: what a standby confirms.
    pub end_lsn: Lsn,
    /// Commit time in microseconds since 2000-01-01 UTC.
    pub commit_time_us: i64,
}

/// `Relation`: name and columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its id in the messages that follow.
    pub id: RelationId,
    /// Schema; empty on the wire for `pg_catalog`, filled in here.
    pub schema: String,
    /// Table name.
    pub table: String,
    /// Which columns old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// Published columns in attribute order.
    pub columns: Vec<RelationColumn>,
}

/// Which columns of the old row PostgreSQL logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: every column.
    Full,
    /// `i`: the columns of a chosen index.
    Index,
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity.
    pub is_key: bool,
    /// Column name.
    pub name: String,
    /// Object id of the type.
    pub type_oid: u32,
    /// Type modifier, -1 if none.
    pub type_modifier: i32,
}

/// A changed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `Insert`.
    Insert {
        /// Table.
        relation: RelationId,
        /// The row.
        new: Tuple,
    },
    /// `Update`.
    Update {
        /// Table.
        relation: RelationId,
        /// The old key or row, sent only if the replica identity changed or is full.
        old: Option<OldTuple>,
        /// The row.
        new: Tuple,
    },
    /// `Delete`.
    Delete {
        /// Table.
        relation: RelationId,
        /// The old key or row.
        old: OldTuple,
    },
}

impl Change {
    /// The table that changed.
    pub fn relation(&self) -> RelationId {
        match self {
            Self::Insert { relation, .. } | Self::Update { relation, .. } | Self::Delete { relation, .. } => *relation,
        }
    }
}

/// What an update or delete tells of the old row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldTuple {
    /// Key columns only, or the whole row.
    pub kind: OldTupleKind,
    /// The columns; those that are not sent are null.
    pub tuple: Tuple,
}

/// How much of the old row an [`OldTuple`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTupleKind {
    /// `K`: the columns of the replica identity.
    Key,
    /// `O`: every column.
    Full,
}

/// `Truncate`: the tables emptied by one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate {
    /// Bit 1: cascade, bit 2: restart identity.
    pub options: u8,
    /// The tables.
    pub relations: Vec<RelationId>,
}

/// `Message`: what `pg_logical_emit_message` wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalMessage {
    /// Written within the transaction, delivered with its commit.
    pub is_transactional: bool,
    /// Its position.
    pub lsn: Lsn,
    /// Prefix.
    pub prefix: Bytes,
    /// Content.
    pub content: Bytes,
}

/// A row whose columns were checked when it was decoded and are read in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple {
    column_count: u16,
    data: Bytes,
}

impl Tuple {
    /// Only the decoder calls this, with data that it has walked to the end.
    pub(super) fn checked(column_count: u16, data: Bytes) -> Self {
        Self { column_count, data }
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        usize::from(self.column_count)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.column_count == 0
    }

    /// The columns in order.
    pub fn columns(&self) -> Columns<'_> {
        self.values().columns()
    }

    /// The row, borrowed.
    pub fn values(&self) -> Values<'_> {
        Values::new(self.column_count, &self.data)
    }
}
