//! The bytes of an envelope, written from a table's plan.

use super::SnapshotMark;
use super::change::{EncodeError, RowContext};
use super::conversion::converted;
use super::plan::{ColumnPiece, ColumnPlan, ConvertedPiece, Piece, TablePlan};
use super::transaction::{write_transaction, write_transaction_id};
use crate::connect::Nulls;
use crate::connect::json::write_string;
use crate::lsn::Lsn;
use crate::row::{OldRow, Operation, Value, Values};
use crate::typemap::Unwritten;

/// Appends the value of one column; what the change did not touch is taken from the old row, where there is one.
pub(super) fn write_cell(
    out: &mut Vec<u8>,
    table: &TablePlan,
    place: usize,
    row: Values<'_>,
    old: Option<Values<'_>>,
) -> Result<(), EncodeError> {
    let (Some(Some(column)), Some(data)) = (table.columns.get(place), row.columns().nth(place)) else {
        return Err(column_count(table, row));
    };
    let old_data = old.and_then(|old| old.columns().nth(place));
    write_shown(out, table, column, effective(data, old_data), Nulls::Replaced)
}

/// What the change did not touch is taken from the old row, where there is one.
pub(super) fn effective<'a>(data: Value<'a>, old_data: Option<Value<'a>>) -> Value<'a> {
    match (data, old_data) {
        (Value::Unchanged, Some(old_data)) => old_data,
        (data, _) => data,
    }
}

/// Writes a value as records show it, masked if it is to be.
fn write_shown(
    out: &mut Vec<u8>,
    table: &TablePlan,
    column: &ColumnPlan,
    data: Value<'_>,
    nulls: Nulls,
) -> Result<(), EncodeError> {
    let Some(mask) = &column.mask else { return write_value(out, table, column, data, nulls) };
    if let Some(constant) = mask.constant() {
        out.extend_from_slice(&constant);
        return Ok(());
    }
    if data == Value::Null && !column.is_not_null {
        return write_value(out, table, column, data, nulls);
    }
    let mut json = Vec::new();
    write_value(&mut json, table, column, data, nulls)?;
    out.extend_from_slice(&mask.apply(&json, column.column_type.schema_type()));
    Ok(())
}

/// Writes a row as an object, which an open piece leaves without its end; null where there is none.
fn write_part(
    out: &mut Vec<u8>,
    table: &TablePlan,
    row: Option<(Values<'_>, Option<Values<'_>>)>,
    piece: &Piece,
) -> Result<(), EncodeError> {
    let Some((row, old)) = row else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match piece {
        Piece::OpenBefore(nulls) | Piece::OpenAfter(nulls) => write_columns(out, table, (row, old), *nulls)?,
        _ => {
            write_columns(out, table, (row, old), table.nulls)?;
            out.push(b'}');
        }
    }
    Ok(())
}

/// Writes all columns, as an object without its end.
fn write_columns(
    out: &mut Vec<u8>,
    table: &TablePlan,
    (row, old): (Values<'_>, Option<Values<'_>>),
    nulls: Nulls,
) -> Result<(), EncodeError> {
    if row.len() != table.columns.len() {
        return Err(column_count(table, row));
    }
    let mut old_columns = old.map(Values::columns);
    let mut separator = b'{';
    for (column, data) in table.columns.iter().zip(row.columns()) {
        let old_data = old_columns.as_mut().and_then(Iterator::next);
        let Some(column) = column.as_ref().filter(|column| column.is_in_value) else { continue };
        out.push(std::mem::replace(&mut separator, b','));
        out.extend_from_slice(&column.name);
        write_shown(out, table, column, effective(data, old_data), nulls)?;
    }
    if separator == b'{' {
        out.push(separator);
    }
    Ok(())
}

pub(super) fn column_count(table: &TablePlan, row: Values<'_>) -> EncodeError {
    EncodeError::ColumnCount { topic: table.topic.clone(), expected: table.columns.len(), found: row.len() }
}

pub(super) fn write_value(
    out: &mut Vec<u8>,
    table: &TablePlan,
    column: &ColumnPlan,
    data: Value<'_>,
    nulls: Nulls,
) -> Result<(), EncodeError> {
    match data {
        Value::Null => out.extend_from_slice(column.null(nulls)),
        Value::Unchanged => out.extend_from_slice(column.unavailable.as_deref().unwrap_or_else(|| column.null(nulls))),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|_| Unwritten::Mismatch);
            match text.and_then(|text| column.column_type.write(out, text)) {
                Ok(()) => {}
                // Where null is no value Debezium ends; what the schema promises is written instead.
                Err(Unwritten::Null | Unwritten::NullArray) => out.extend_from_slice(column.null(nulls)),
                Err(Unwritten::Mismatch) => {
                    let (topic, column) = (table.topic.clone(), column.plain_name.clone());
                    return Err(EncodeError::Value { topic, column });
                }
            }
        }
    }
    Ok(())
}

/// Whether two rows are alike in every column that values hold, as Debezium compares them: what they are written as, and of an old
/// row that is not whole null for what is missing.
pub(super) fn is_unchanged(table: &TablePlan, old: OldRow<'_>, new: Values<'_>) -> bool {
    let rows = old.values.columns().zip(new.columns());
    table.columns.iter().zip(rows).all(|(column, (old_data, new_data))| match column {
        Some(column) if column.is_in_value => is_alike(table, column, (old_data, new_data), old.is_whole),
        _ => true,
    })
}

fn is_alike(table: &TablePlan, column: &ColumnPlan, (old, new): (Value<'_>, Value<'_>), is_whole: bool) -> bool {
    if old == new || (new == Value::Unchanged && is_whole) {
        return true;
    }
    let is_constant = column.mask.as_ref().is_some_and(|mask| mask.constant().is_some());
    if !is_constant && !column.is_not_null && (old == Value::Null) != (new == Value::Null) {
        return false;
    }
    let (mut of_old, mut of_new) = (Vec::new(), Vec::new());
    let write = |out: &mut Vec<u8>, data| write_shown(out, table, column, data, Nulls::Replaced);
    let written = write(&mut of_old, old).and(write(&mut of_new, new));
    written.is_ok() && of_old == of_new
}

/// What a record tells of a row.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) before: Option<Values<'a>>,
    /// The row with the old one from which it may take values.
    pub(super) after: Option<(Values<'a>, Option<Values<'a>>)>,
}

/// Writes a column alone, null where there is no row.
fn write_column(out: &mut Vec<u8>, table: &TablePlan, piece: &ColumnPiece, rows: Rows<'_>) -> Result<(), EncodeError> {
    let row = if piece.is_before { rows.before.map(|row| (row, None)) } else { rows.after };
    let place = piece.place;
    let cells = row.map(|(row, old)| (row.columns().nth(place), old.and_then(|old| old.columns().nth(place))));
    let Some((Some(data), old_data)) = cells else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    write_shown(out, table, &piece.column, effective(data, old_data), piece.nulls.unwrap_or(table.nulls))
}

/// Writes pieces and what becomes of them.
fn write_converted(
    out: &mut Vec<u8>,
    table: &TablePlan,
    piece: &ConvertedPiece,
    rows: Rows<'_>,
    (operation, row): (Operation, RowContext<'_>),
) -> Result<(), EncodeError> {
    let mut json = Vec::new();
    write_pieces(&mut json, table, &piece.pieces, rows, operation, row)?;
    if let (b"null", Some(when_null)) = (json.as_slice(), &piece.when_null) {
        json.clone_from(when_null);
    }
    let Some(json) = converted(&json, &piece.conversions) else {
        return Err(EncodeError::Unconverted { topic: table.topic.clone(), field: piece.name.clone() });
    };
    out.extend_from_slice(&json);
    Ok(())
}

/// Writes a value over what `out` holds.
pub(super) fn write_pieces(
    out: &mut Vec<u8>,
    table: &TablePlan,
    pieces: &[Piece],
    rows: Rows<'_>,
    operation: Operation,
    row: RowContext<'_>,
) -> Result<(), EncodeError> {
    out.clear();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Before | Piece::OpenBefore(_) => write_part(out, table, rows.before.map(|row| (row, None)), piece)?,
            Piece::After | Piece::OpenAfter(_) => write_part(out, table, rows.after, piece)?,
            Piece::Column(piece) => write_column(out, table, piece, rows)?,
            Piece::Converted(piece) => write_converted(out, table, piece, rows, (operation, row))?,
            Piece::Op => {
                out.push(b'"');
                out.push(u8::try_from(operation.letter()).unwrap_or(b'c'));
                out.push(b'"');
            }
            Piece::NowMs => write_number(out, row.now_ns / 1_000_000),
            Piece::NowUs => write_number(out, row.now_ns / 1_000),
            Piece::NowNs => write_number(out, row.now_ns),
            Piece::Transaction => write_transaction(out, row),
            piece => write_source_value(out, piece, row),
        }
    }
    Ok(())
}

pub(super) fn write_source_value(out: &mut Vec<u8>, piece: &Piece, row: RowContext<'_>) {
    let transaction = row.transaction;
    match piece {
        Piece::CommitMs => write_number(out, transaction.commit_time_us.div_euclid(1_000)),
        Piece::CommitUs => write_number(out, transaction.commit_time_us),
        Piece::CommitNs => write_number(out, transaction.commit_time_us.saturating_mul(1_000)),
        Piece::Snapshot => {
            out.push(b'"');
            out.extend_from_slice(row.snapshot.word().as_bytes());
            out.push(b'"');
        }
        Piece::BareSnapshot => match row.snapshot {
            SnapshotMark::False => out.extend_from_slice(b"null"),
            mark => write_string(out, mark.word()),
        },
        Piece::Sequence => write_sequence(out, transaction.previous_commit_end, row.lsn),
        Piece::TxId | Piece::Lsn if row.snapshot == SnapshotMark::Incremental => out.extend_from_slice(b"null"),
        // A message that is of no transaction.
        Piece::TxId if transaction.xid.0 == 0 => out.extend_from_slice(b"null"),
        Piece::TxId => write_number(out, i64::from(transaction.xid.0)),
        Piece::Lsn => write_number(out, row.lsn.as_i64()),
        Piece::Origin => match &transaction.origin {
            Some((name, _)) => write_string(out, name),
            None => out.extend_from_slice(b"null"),
        },
        Piece::OriginLsn => match &transaction.origin {
            Some((_, lsn)) => write_number(out, lsn.as_i64()),
            None => out.extend_from_slice(b"null"),
        },
        Piece::TransactionId | Piece::TotalOrder | Piece::CollectionOrder => write_order(out, piece, row),
        _ => {}
    }
}

/// A field of `transaction` alone.
fn write_order(out: &mut Vec<u8>, piece: &Piece, row: RowContext<'_>) {
    match (row.order, piece) {
        (None, _) => out.extend_from_slice(b"null"),
        (Some(_), Piece::TransactionId) => write_transaction_id(out, row),
        (Some(order), Piece::TotalOrder) => out.extend_from_slice(order.total.to_string().as_bytes()),
        (Some(order), _) => out.extend_from_slice(order.in_collection.to_string().as_bytes()),
    }
}

/// The end of the last commit and the position of the change: a JSON array of texts, as a text.
fn write_sequence(out: &mut Vec<u8>, previous_commit_end: Option<Lsn>, lsn: Lsn) {
    out.extend_from_slice(b"\"[");
    match previous_commit_end {
        Some(end) => {
            out.extend_from_slice(b"\\\"");
            write_number(out, end.as_i64());
            out.extend_from_slice(b"\\\"");
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\\\"");
    write_number(out, lsn.as_i64());
    out.extend_from_slice(b"\\\"]\"");
}

pub(super) fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
