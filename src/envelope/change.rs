//! One changed row to its records, written into buffers that are used again for the next row.

use super::table::{ColumnEncoder, TableEncoder};
use super::{Headers, Operation, Profile, Record};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, ColumnData, OldTuple, OldTupleKind, Tuple, Xid};
use crate::typemap::Unwritten;

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

/// The buffers of the encoder.
#[derive(Debug, Default)]
pub struct ChangeEncoder {
    key: Vec<u8>,
    old_key: Vec<u8>,
    value: Vec<u8>,
}

/// Buffers of wide rows above this size are given back.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl ChangeEncoder {
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
    /// An insert or plain update is one record; a delete is one, two with a tombstone; an update that
    /// changes the key is a delete of the old key, its tombstone, and a create of the new one.
    pub fn encode<E: From<EncodeError>>(
        &mut self,
        table: &TableEncoder,
        change: &Change,
        row: RowContext<'_>,
        with_tombstones: bool,
        mut emit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match change {
            Change::Insert { new, .. } => {
                write_key(&mut self.key, table, new, None)?;
                write_envelope(&mut self.value, table, None, Some((new, None)), Operation::Create, row)?;
                emit(record(table, &self.key, Some(&self.value), Operation::Create, None))
            }
            Change::Update { old, new, .. } => {
                let full_old = full(old.as_ref());
                write_key(&mut self.key, table, new, full_old)?;
                if let Some(old) = old {
                    write_key(&mut self.old_key, table, &old.tuple, None)?;
                    if !table.key.is_empty() && self.key != self.old_key {
                        return self.encode_key_change(table, old, new, row, with_tombstones, emit);
                    }
                }
                let before = old.as_ref().map(|old| &old.tuple);
                write_envelope(&mut self.value, table, before, Some((new, full_old)), Operation::Update, row)?;
                emit(record(table, &self.key, Some(&self.value), Operation::Update, None))
            }
            Change::Delete { old, .. } => {
                write_key(&mut self.key, table, &old.tuple, None)?;
                write_envelope(&mut self.value, table, Some(&old.tuple), None, Operation::Delete, row)?;
                emit(record(table, &self.key, Some(&self.value), Operation::Delete, None))?;
                if with_tombstones && !table.key.is_empty() {
                    emit(record(table, &self.key, None, Operation::Delete, None))?;
                }
                Ok(())
            }
        }
    }

    fn encode_key_change<E: From<EncodeError>>(
        &mut self,
        table: &TableEncoder,
        old: &OldTuple,
        new: &Tuple,
        row: RowContext<'_>,
        with_tombstones: bool,
        mut emit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let to_new = Some(Headers::NewKey(&self.key));
        write_envelope(&mut self.value, table, Some(&old.tuple), None, Operation::Delete, row)?;
        emit(record(table, &self.old_key, Some(&self.value), Operation::Delete, to_new))?;
        if with_tombstones {
            emit(record(table, &self.old_key, None, Operation::Delete, to_new))?;
        }
        let after = Some((new, full(Some(old))));
        write_envelope(&mut self.value, table, None, after, Operation::Create, row)?;
        let from_old = Some(Headers::OldKey(&self.old_key));
        emit(record(table, &self.key, Some(&self.value), Operation::Create, from_old))
    }
}

fn record<'a>(
    table: &'a TableEncoder,
    key: &'a [u8],
    value: Option<&'a [u8]>,
    operation: Operation,
    key_change: Option<Headers<'a>>,
) -> Record<'a> {
    Record { topic: &table.topic, key: (!table.key.is_empty()).then_some(key), value, operation, key_change }
}

/// The whole old row, from which values that the change did not touch can be taken.
fn full(old: Option<&OldTuple>) -> Option<&Tuple> {
    old.filter(|old| old.kind == OldTupleKind::Full).map(|old| &old.tuple)
}

/// Writes the key's columns in the key's order, as an object.
fn write_key(out: &mut Vec<u8>, table: &TableEncoder, tuple: &Tuple, old: Option<&Tuple>) -> Result<(), EncodeError> {
    out.clear();
    for (at, &place) in table.key.iter().enumerate() {
        let (Some(Some(column)), Some(data)) = (table.columns.get(place), tuple.columns().nth(place)) else {
            return Err(column_count(table, tuple));
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
fn write_row(out: &mut Vec<u8>, table: &TableEncoder, tuple: &Tuple, old: Option<&Tuple>) -> Result<(), EncodeError> {
    if tuple.len() != table.columns.len() {
        return Err(column_count(table, tuple));
    }
    let mut old_columns = old.map(Tuple::columns);
    let mut separator = b'{';
    for (column, data) in table.columns.iter().zip(tuple.columns()) {
        let old_data = old_columns.as_mut().and_then(Iterator::next);
        let Some(column) = column else { continue };
        out.push(std::mem::replace(&mut separator, b','));
        write_column(out, table, column, data, old_data)?;
    }
    if separator == b'{' {
        out.push(separator);
    }
    out.push(b'}');
    Ok(())
}

fn column_count(table: &TableEncoder, tuple: &Tuple) -> EncodeError {
    EncodeError::ColumnCount { topic: table.topic.clone(), expected: table.columns.len(), found: tuple.len() }
}

/// Writes a name and its value; what the change did not touch is taken from the old row, where there is one.
fn write_column(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    column: &ColumnEncoder,
    data: ColumnData<'_>,
    old_data: Option<ColumnData<'_>>,
) -> Result<(), EncodeError> {
    out.extend_from_slice(&column.name);
    match (data, old_data) {
        (ColumnData::Unchanged, Some(old_data)) => write_value(out, table, column, old_data),
        (data, _) => write_value(out, table, column, data),
    }
}

fn write_value(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    column: &ColumnEncoder,
    data: ColumnData<'_>,
) -> Result<(), EncodeError> {
    match data {
        ColumnData::Null => out.extend_from_slice(&column.null),
        ColumnData::Unchanged => out.extend_from_slice(&column.unavailable),
        ColumnData::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|_| Unwritten::Mismatch);
            match text.and_then(|text| column.column_type.write(out, text)) {
                Ok(()) => {}
                // Where null is no value Debezium ends; what the schema promises is written instead.
                Err(Unwritten::Null | Unwritten::NullArray) => out.extend_from_slice(&column.null),
                Err(Unwritten::Mismatch) => {
                    let (topic, column) = (table.topic.clone(), column.plain_name.clone());
                    return Err(EncodeError::Value { topic, column });
                }
            }
        }
    }
    Ok(())
}

fn write_envelope(
    out: &mut Vec<u8>,
    table: &TableEncoder,
    before: Option<&Tuple>,
    after: Option<(&Tuple, Option<&Tuple>)>,
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
