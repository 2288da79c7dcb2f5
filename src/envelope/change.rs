//! One changed row to its records, written into buffers that are used again for the next row.

use super::table::{ColumnEncoder, TableEncoder};
use super::{ContextHeaders, Headers, KeyChange, Position, Profile, Record};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::row::{OldRow, Operation, RowChange, Value, Values};

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
    /// Place of its first record.
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
    #[error("a value of column {column} of {topic} is not in the log")]
    Unavailable { topic: String, column: String },
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
        table: &TableEncoder,
        change: RowChange<'_>,
        row: RowContext<'_>,
        emit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { options, key, old_key, value, position } = self;
        let operation = change.operation();
        let mut emitter = Emitter { table, options, position, next: row.first, emit };
        match change {
            RowChange::Create { new } | RowChange::Read { new } => {
                write_key(key, table, new, None)?;
                write_envelope(value, table, None, Some((new, None)), operation, row)?;
                emitter.emit(key, Some(value), operation, None)
            }
            RowChange::Update { old, new } => {
                let whole_old = old.and_then(whole);
                write_key(key, table, new, whole_old)?;
                if let Some(old) = old {
                    write_key(old_key, table, old.values, None)?;
                    if !table.key.is_empty() && key != old_key {
                        return encode_key_change(&mut emitter, (old_key, key), value, (old, new), row);
                    }
                }
                write_envelope(value, table, old.map(|old| old.values), Some((new, whole_old)), operation, row)?;
                emitter.emit(key, Some(value), operation, None)
            }
            RowChange::Delete { old } => {
                write_key(key, table, old.values, None)?;
                write_envelope(value, table, Some(old.values), None, operation, row)?;
                emitter.emit(key, Some(value), operation, None)?;
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
    let to_new = Some(KeyChange::NewKey(key));
    write_envelope(value, emitter.table, Some(old.values), None, Operation::Delete, row)?;
    emitter.emit(old_key, Some(value), Operation::Delete, to_new)?;
    emitter.emit_tombstone(old_key, to_new)?;
    write_envelope(value, emitter.table, None, Some((new, whole(old))), Operation::Create, row)?;
    emitter.emit(key, Some(value), Operation::Create, Some(KeyChange::OldKey(old_key)))
}

/// Adds what every record has, and hands it on.
struct Emitter<'a, F> {
    table: &'a TableEncoder,
    options: &'a RecordOptions,
    position: &'a mut Vec<u8>,
    next: Position,
    emit: F,
}

impl<F> Emitter<'_, F> {
    fn emit<E>(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        operation: Operation,
        key_change: Option<KeyChange<'_>>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        let position = self.next;
        self.next.index = position.index.saturating_add(1);
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
            key: (!self.table.key.is_empty()).then_some(key),
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
        if !self.options.with_tombstones || self.table.key.is_empty() {
            return Ok(());
        }
        self.emit(key, None, Operation::Delete, key_change)
    }
}

/// The whole old row, from which values that the change did not touch can be taken.
fn whole(old: OldRow<'_>) -> Option<Values<'_>> {
    old.is_whole.then_some(old.values)
}

/// Writes the key's columns in the key's order, as an object.
fn write_key(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    out.clear();
    for (at, &place) in table.key.iter().enumerate() {
        let (Some(column), Some(data)) = (table.columns.get(place), row.columns().nth(place)) else {
            return Err(column_count(table, row));
        };
        let old_data = old.and_then(|old| old.columns().nth(place));
        out.push(if at == 0 { b'{' } else { b',' });
        write_column(out, table, column, data, old_data)?;
    }
    if !table.key.is_empty() {
        out.push(b'}');
    }
    Ok(())
}

/// Writes all columns, as an object.
fn write_row(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    if row.len() != table.columns.len() {
        return Err(column_count(table, row));
    }
    let mut old_columns = old.map(Values::columns);
    out.push(b'{');
    for (at, (column, data)) in table.columns.iter().zip(row.columns()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_column(out, table, column, data, old_columns.as_mut().and_then(Iterator::next))?;
    }
    out.push(b'}');
    Ok(())
}

fn column_count(table: &TableEncoder, row: Values<'_>) -> EncodeError {
    EncodeError::ColumnCount { topic: table.topic.clone(), expected: table.columns.len(), found: row.len() }
}

/// Writes a name and its value; what the change did not touch is taken from the old row, where there is one.
fn write_column(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    column: &ColumnEncoder,
    data: Value<'_>,
    old_data: Option<Value<'_>>,
) -> Result<(), EncodeError> {
    out.extend_from_slice(&column.name);
    match (data, old_data) {
        (Value::Unchanged, Some(old_data)) => write_value(out, table, column, old_data),
        (data, _) => write_value(out, table, column, data),
    }
}

fn write_value(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    column: &ColumnEncoder,
    data: Value<'_>,
) -> Result<(), EncodeError> {
    let named = || (table.topic.clone(), column.plain_name.clone());
    match data {
        Value::Null => out.extend_from_slice(&column.null),
        Value::Unchanged if column.column_type.is_toastable() => out.extend_from_slice(&column.unavailable),
        Value::Unchanged => {
            let (topic, column) = named();
            return Err(EncodeError::Unavailable { topic, column });
        }
        Value::Text(text) => {
            let is_written = std::str::from_utf8(text).is_ok_and(|text| column.column_type.write(out, text));
            if !is_written {
                let (topic, column) = named();
                return Err(EncodeError::Value { topic, column });
            }
        }
    }
    Ok(())
}

fn write_envelope(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    before: Option<Values<'_>>,
    after: Option<(Values<'_>, Option<Values<'_>>)>,
    operation: Operation,
    row: RowContext<'_>,
) -> Result<(), EncodeError> {
    out.clear();
    out.extend_from_slice(b"{\"before\":");
    match before {
        Some(tuple) => write_row(out, table, tuple, None)?,
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"after\":");
    match after {
        Some((tuple, old)) => write_row(out, table, tuple, old)?,
        None => out.extend_from_slice(b"null"),
    }
    write_source(out, table, row);
    let letter = operation.letter();
    match table.profile {
        Profile::V3_6 => {
            out.extend_from_slice(b",\"transaction\":null,\"op\":\"");
            out.push(u8::try_from(letter).unwrap_or(b'c'));
            out.extend_from_slice(b"\",\"ts_ms\":");
            write_number(out, row.now_ns / 1_000_000);
            out.extend_from_slice(b",\"ts_us\":");
            write_number(out, row.now_ns / 1_000);
            out.extend_from_slice(b",\"ts_ns\":");
            write_number(out, row.now_ns);
            out.push(b'}');
        }
        Profile::V2_4 => {
            out.extend_from_slice(b",\"op\":\"");
            out.push(u8::try_from(letter).unwrap_or(b'c'));
            out.extend_from_slice(b"\",\"ts_ms\":");
            write_number(out, row.now_ns / 1_000_000);
            out.extend_from_slice(b",\"transaction\":null}");
        }
    }
    Ok(())
}

fn write_source(out: &mut Vec<u8>, table: &TableEncoder, row: RowContext<'_>) {
    let transaction = row.transaction;
    out.extend_from_slice(&table.source_head);
    write_number(out, transaction.commit_time_us.div_euclid(1_000));
    out.extend_from_slice(&table.source_middle);
    out.extend_from_slice(b"\"[");
    match transaction.previous_commit_end {
        Some(lsn) => {
            out.extend_from_slice(b"\\\"");
            write_number(out, lsn.as_i64());
            out.extend_from_slice(b"\\\"");
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\\\"");
    write_number(out, row.lsn.as_i64());
    out.extend_from_slice(b"\\\"]\"");
    if table.profile == Profile::V3_6 {
        out.extend_from_slice(b",\"ts_us\":");
        write_number(out, transaction.commit_time_us);
        out.extend_from_slice(b",\"ts_ns\":");
        write_number(out, transaction.commit_time_us.saturating_mul(1_000));
    }
    out.extend_from_slice(&table.source_table);
    write_number(out, i64::from(transaction.xid.0));
    out.extend_from_slice(b",\"lsn\":");
    write_number(out, row.lsn.as_i64());
    out.extend_from_slice(b",\"xmin\":null");
    if table.profile == Profile::V3_6 {
        match &transaction.origin {
            Some((name, lsn)) => {
                out.extend_from_slice(b",\"origin\":");
                super::json::write_string(out, name);
                out.extend_from_slice(b",\"origin_lsn\":");
                write_number(out, lsn.as_i64());
            }
            None => out.extend_from_slice(b",\"origin\":null,\"origin_lsn\":null"),
        }
    }
    out.push(b'}');
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
