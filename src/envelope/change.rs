//! One changed row to its records, written into buffers that are used again for the next row.

use super::plan::TablePlan;
use super::position::{PART_CHANGE, PART_NEW_KEY, PART_TOMBSTONE};
use super::write::{write_envelope, write_key};
use super::{ContextHeaders, Headers, KeyChange, Position, Record, SnapshotMark};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::row::{OldRow, Operation, RowChange, Values};

/// What all rows of a transaction share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionContext {
    /// Transaction id.
    pub xid: Xid,
    /// Commit time, microseconds since 1970.
    pub commit_time_us: i64,
    /// End of the commit before it, if one was seen: the first half of `source.sequence`.
    pub previous_commit_end: Option<Lsn>,
    /// Name and commit position on the origin that the transaction was replayed from.
    pub origin: Option<(String, Lsn)>,
}

/// What one row adds.
#[derive(Debug, Clone, Copy)]
pub struct RowContext<'a> {
    /// Its transaction.
    pub transaction: &'a TransactionContext,
    /// Position of the change.
    pub lsn: Lsn,
    /// The clock, nanoseconds since 1970.
    pub now_ns: i64,
    /// Whether a snapshot brought it.
    pub snapshot: SnapshotMark,
    /// Place of its first record, part 0.
    pub first: Position,
}

/// Why a row cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum EncodeError {
    #[error("a row of {topic} has {found} columns where its relation has {expected}")]
    ColumnCount { topic: String, expected: usize, found: usize },
    #[error("a value of column {column} of {topic} is not of the column's type")]
    Value { topic: String, column: String },
}

/// What all records have or lack.
#[derive(Debug, Clone, Default)]
pub struct RecordOptions {
    /// A null value follows each delete.
    pub with_tombstones: bool,
    /// Records bear their [`Position`].
    pub with_position: bool,
    /// Debezium's context headers.
    pub context_headers: Option<ContextHeaders>,
}

/// The encoder with its buffers.
#[derive(Debug, Default)]
pub struct ChangeEncoder {
    options: RecordOptions,
    key: Vec<u8>,
    old_key: Vec<u8>,
    value: Vec<u8>,
    position: Vec<u8>,
}

/// Buffers of wide rows above this size are given back.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl ChangeEncoder {
    /// An encoder whose records all have what `options` say.
    pub fn new(options: RecordOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Gives the memory of a wide row back.
    pub fn shrink(&mut self) {
        for buffer in [&mut self.key, &mut self.old_key, &mut self.value] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// Writes the records of a change in order and hands each to `emit`.
    ///
    /// An insert, a snapshot's row or a plain update is one record; a delete is one, two with a tombstone; an update
    /// that changes the key is a delete of the old key, its tombstone, and a create of the new one.
    pub fn encode<E: From<EncodeError>>(
        &mut self,
        table: &TablePlan,
        change: RowChange<'_>,
        row: RowContext<'_>,
        emit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { options, key, old_key, value, position } = self;
        let operation = change.operation();
        let mut emitter = Emitter { table, options, position, first: row.first, emit };
        match change {
            RowChange::Create { new } | RowChange::Read { new } => {
                write_key(key, table, new, None)?;
                write_envelope(value, table, None, Some((new, None)), operation, row)?;
                emitter.emit(PART_CHANGE, key, Some(value), operation, None)
            }
            RowChange::Update { old, new } => {
                let whole_old = old.and_then(whole);
                write_key(key, table, new, whole_old)?;
                if let Some(old) = old {
                    write_key(old_key, table, old.values, None)?;
                    if !table.key.places.is_empty() && key != old_key {
                        return encode_key_change(&mut emitter, (old_key, key), value, (old, new), row);
                    }
                }
                write_envelope(value, table, old.map(|old| old.values), Some((new, whole_old)), operation, row)?;
                emitter.emit(PART_CHANGE, key, Some(value), operation, None)
            }
            RowChange::Delete { old } => {
                write_key(key, table, old.values, None)?;
                write_envelope(value, table, Some(old.values), None, operation, row)?;
                emitter.emit(PART_CHANGE, key, Some(value), operation, None)?;
                emitter.emit_tombstone(key, None)
            }
        }
    }
}

fn encode_key_change<E: From<EncodeError>>(
    emitter: &mut Emitter<'_, impl FnMut(Record<'_>) -> Result<(), E>>,
    (old_key, key): (&[u8], &[u8]),
    value: &mut Vec<u8>,
    (old, new): (OldRow<'_>, Values<'_>),
    row: RowContext<'_>,
) -> Result<(), E> {
    let to_new = Some(KeyChange::NewKey(emitter.table.key.columns_of(key)));
    write_envelope(value, emitter.table, Some(old.values), None, Operation::Delete, row)?;
    emitter.emit(PART_CHANGE, old_key, Some(value), Operation::Delete, to_new)?;
    emitter.emit_tombstone(old_key, to_new)?;
    write_envelope(value, emitter.table, None, Some((new, whole(old))), Operation::Create, row)?;
    emitter.emit(
        PART_NEW_KEY,
        key,
        Some(value),
        Operation::Create,
        Some(KeyChange::OldKey(emitter.table.key.columns_of(old_key))),
    )
}

/// Adds what every record has, and hands it on.
struct Emitter<'a, F> {
    table: &'a TablePlan,
    options: &'a RecordOptions,
    position: &'a mut Vec<u8>,
    first: Position,
    emit: F,
}

impl<F> Emitter<'_, F> {
    fn emit<E>(
        &mut self,
        part: u32,
        key: &[u8],
        value: Option<&[u8]>,
        operation: Operation,
        key_change: Option<KeyChange<'_>>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        let position = Position { part, ..self.first };
        if self.options.with_position {
            position.write(self.position);
        }
        let headers = Headers {
            key_change,
            context: self.options.context_headers.as_ref(),
            position: self.options.with_position.then_some(self.position.as_slice()),
            others: &[],
        };
        (self.emit)(Record {
            topic: &self.table.topic,
            key: (!self.table.key.places.is_empty()).then_some(key),
            value,
            headers,
            operation: Some(operation),
            position: Some(position),
        })
    }

    fn emit_tombstone<E>(&mut self, key: &[u8], key_change: Option<KeyChange<'_>>) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        if !self.options.with_tombstones || self.table.key.places.is_empty() {
            return Ok(());
        }
        self.emit(PART_TOMBSTONE, key, None, Operation::Delete, key_change)
    }
}

/// The whole old row, from which values that the change did not touch can be taken.
fn whole(old: OldRow<'_>) -> Option<Values<'_>> {
    old.is_whole.then_some(old.values)
}
