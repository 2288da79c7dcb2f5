//! One changed row to its records, written into buffers that are used again for the next row.

use super::derived_key::Told;
use super::event::{EventMemory, EventPlan, EventRow};
use super::guard::Judged;
use super::key::{changes_key, write_key, write_key_columns, write_key_text};
use super::plan::TablePlan;
use super::position::{PART_CHANGE, PART_NEW_KEY, PART_TOMBSTONE};
use super::transaction::EventOrder;
use super::write::{Rows, is_unchanged, write_pieces};
use super::{ContextHeaders, Headers, KeyChange, Position, Record, SnapshotMark};
use crate::connect::Nulls;
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::row::{OldRow, Operation, RowChange, Values};
use crate::transform::{RecordKind, UpdateHandling};

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
    /// Its first event's place in its transaction, where transactions are told of.
    pub order: Option<EventOrder>,
}

/// Why a row cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum EncodeError {
    #[error("a row of {topic} has {found} columns where its relation has {expected}")]
    ColumnCount { topic: String, expected: usize, found: usize },
    #[error("a value of column {column} of {topic} is not of the column's type")]
    Value { topic: String, column: String },
    #[error("a value of field {field} of {topic} is none that TimestampConverter or Cast can convert")]
    Unconverted { topic: String, field: String },
    #[error("a row of outbox {table} becomes no event: {why}")]
    Unrouted { table: String, why: &'static str },
    #[error("the condition of a filter asks for a field of a null, or is null, for a row of {table}")]
    Undecided { table: String },
    #[error("a row of outbox {table} is updated, which table.op.invalid.behavior=fatal forbids")]
    Update { table: String },
    #[error("a record of {table} cannot be made: {why}")]
    Unmade { table: String, why: String },
}

impl EncodeError {
    /// What can be done about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::ColumnCount { .. } | Self::Value { .. } => {
                "correct the value, or leave the column out with the publication's column list"
            }
            Self::Unconverted { .. } => "correct the value, or let the transform leave the field as it is",
            Self::Unrouted { .. } => "choose another route.by.field, or let only rows with a topic into the outbox",
            Self::Undecided { .. } => "ask with ?. or look at value.op first, as in value.after?.id == 2",
            Self::Unmade { .. } => "mend the transforms, or leave such changes out with skipped.operations",
            Self::Update { .. } => {
                "let outbox rows be inserted and deleted only, or set table.op.invalid.behavior to warn"
            }
        }
    }
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
    /// An update that changes no column of the value is left out.
    pub skips_unchanged: bool,
    /// Records that tell of these are left out. A change of the key is a delete and a create.
    pub skipped_operations: Vec<Operation>,
}

/// The encoder with its buffers.
#[derive(Debug, Default)]
pub struct ChangeEncoder {
    options: RecordOptions,
    key: Vec<u8>,
    old_key: Vec<u8>,
    derived_key: Vec<u8>,
    value: Vec<u8>,
    position: Vec<u8>,
    events: EventMemory,
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

    /// How many events a change is, of those that are not left out: two where it changes the key.
    pub fn event_count(&mut self, table: &TablePlan, change: RowChange<'_>) -> Result<u64, EncodeError> {
        let count = |operation| u64::from(!self.options.skipped_operations.contains(&operation));
        let RowChange::Update { old: Some(old), new } = change else { return Ok(count(change.operation())) };
        if self.options.skips_unchanged && is_unchanged(table, old, new) {
            return Ok(0);
        }
        write_key(&mut self.key, table, new, whole(old))?;
        write_key(&mut self.old_key, table, old.values, None)?;
        let keeps_key = !changes_key(table, (&self.old_key, old.values), (&self.key, new));
        let count = |operation| u64::from(!self.options.skipped_operations.contains(&operation));
        Ok(match keeps_key {
            true => count(Operation::Update),
            false => count(Operation::Delete).saturating_add(count(Operation::Create)),
        })
    }

    /// Writes the record of a table that was emptied.
    pub fn encode_truncate<E: From<EncodeError>>(
        &mut self,
        table: &TablePlan,
        row: RowContext<'_>,
        emit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { options, derived_key, value, position, events, .. } = self;
        let mut emitter = Emitter { table, options, position, derived_key, value, events, row, emit };
        let rows = Rows { before: None, after: None };
        emitter.emit((RecordKind::Truncate, row.first.part), &[], rows, Operation::Truncate, None)
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
        let Self { options, key, old_key, derived_key, value, position, events } = self;
        let operation = change.operation();
        let mut emitter = Emitter { table, options, position, derived_key, value, events, row, emit };
        match change {
            RowChange::Create { new } | RowChange::Read { new } => {
                write_key(key, table, new, None)?;
                let rows = Rows { before: None, after: Some((new, None)) };
                emitter.emit((RecordKind::Row, PART_CHANGE), key, rows, operation, None)
            }
            RowChange::Update { old, new } => {
                let whole_old = old.and_then(whole);
                if options.skips_unchanged && old.is_some_and(|old| is_unchanged(table, old, new)) {
                    return Ok(());
                }
                write_key(key, table, new, whole_old)?;
                if let Some(old) = old {
                    write_key(old_key, table, old.values, None)?;
                    if changes_key(table, (old_key, old.values), (key, new)) {
                        return emitter.emit_key_change((old_key, key), old, new);
                    }
                }
                let rows = Rows { before: old.map(|old| old.values), after: Some((new, whole_old)) };
                emitter.emit((RecordKind::Row, PART_CHANGE), key, rows, operation, None)
            }
            RowChange::Delete { old } => {
                write_key(key, table, old.values, None)?;
                let rows = Rows { before: Some(old.values), after: None };
                emitter.emit((RecordKind::Delete, PART_CHANGE), key, rows, operation, None)?;
                emitter.emit_tombstone(RecordKind::Tombstone, key, rows, None)
            }
        }
    }
}

/// Writes the value of a record, adds what every record has, and hands it on.
struct Emitter<'a, F> {
    table: &'a TablePlan,
    options: &'a RecordOptions,
    position: &'a mut Vec<u8>,
    derived_key: &'a mut Vec<u8>,
    value: &'a mut Vec<u8>,
    events: &'a mut EventMemory,
    row: RowContext<'a>,
    emit: F,
}

impl<F> Emitter<'_, F> {
    fn emit_key_change<E: From<EncodeError>>(
        &mut self,
        (old_key, key): (&[u8], &[u8]),
        old: OldRow<'_>,
        new: Values<'_>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        let table = self.table;
        let (mut old_columns, mut columns) = (Vec::new(), Vec::new());
        let write = if table.key.is_text_in_headers { write_key_text } else { write_key_columns };
        // The headers may show them in another way than the key itself.
        let has_other = table.key.is_text || table.key.is_text_in_headers || table.key.nulls == Nulls::Kept;
        let (old_columns, columns) = match has_other {
            true => {
                write(&mut old_columns, table, old.values, None)?;
                write(&mut columns, table, new, whole(old))?;
                (old_columns.as_slice(), columns.as_slice())
            }
            false => (table.key.columns_of(old_key), table.key.columns_of(key)),
        };
        let (old_columns, columns) = (&*table.key.in_header(old_columns), &*table.key.in_header(columns));
        let to_new = Some(KeyChange::NewKey(columns));
        let rows = Rows { before: Some(old.values), after: None };
        self.emit((RecordKind::OldKeyDelete, PART_CHANGE), old_key, rows, Operation::Delete, to_new)?;
        self.emit_tombstone(RecordKind::OldKeyTombstone, old_key, rows, to_new)?;
        let to_old = Some(KeyChange::OldKey(old_columns));
        let rows = Rows { before: None, after: Some((new, whole(old))) };
        self.emit((RecordKind::NewKeyRow, PART_NEW_KEY), key, rows, Operation::Create, to_old)
    }

    fn emit<E: From<EncodeError>>(
        &mut self,
        (kind, part): (RecordKind, u32),
        key: &[u8],
        rows: Rows<'_>,
        operation: Operation,
        key_change: Option<KeyChange<'_>>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        let table = self.table;
        let skipped = &self.options.skipped_operations;
        let Some(form) = table.forms.of(kind).filter(|_| !skipped.contains(&operation)) else { return Ok(()) };
        let order = match kind {
            RecordKind::NewKeyRow if !skipped.contains(&Operation::Delete) => self.row.order.map(EventOrder::next),
            _ => self.row.order,
        };
        let row = RowContext { order, ..self.row };
        let is_tombstone = matches!(kind, RecordKind::Tombstone | RecordKind::OldKeyTombstone);
        for guard in &form.guards {
            if !guard.holds(Judged { table, rows, operation, row, is_tombstone })? {
                return Ok(());
            }
        }
        if let Some(event) = &form.event {
            return self.emit_event((event, part), rows, operation, key_change);
        }
        if let Some(why) = &form.failure {
            return Err(EncodeError::Unmade { table: table.shape().name(), why: why.to_string() }.into());
        }
        if let Some(pieces) = &form.value {
            write_pieces(self.value, table, pieces, rows, operation, row)?;
        }
        let position = Position { part, ..self.row.first };
        if self.options.with_position {
            position.write(self.position);
        }
        let told = Told { rows, operation, row };
        let has_key = match &form.key {
            Some(derived) => derived.write(self.derived_key, table, told)?,
            None => table.key.is_there && kind != RecordKind::Truncate,
        };
        let key = if form.key.is_some() { self.derived_key.as_slice() } else { key };
        let values = form.headers.iter().map(|header| header.value(table, told)).collect::<Result<Vec<_>, _>>()?;
        let names = form.headers.iter().map(|header| header.name.as_str());
        let others: Vec<_> = names.zip(values.iter().map(Option::as_deref)).collect();
        let headers = Headers {
            key_change,
            context: self.options.context_headers.as_ref(),
            position: self.options.with_position.then_some(self.position.as_slice()),
            others: &others,
            dropped: &form.dropped,
            ..Headers::default()
        };
        (self.emit)(Record {
            topic: &table.topic,
            key: has_key.then_some(key),
            value: form.value.as_ref().map(|_| self.value.as_slice()),
            headers,
            operation: Some(operation),
            position: Some(position),
            ..Record::default()
        })
    }

    /// Emits the event that a row of an outbox holds.
    fn emit_event<E: From<EncodeError>>(
        &mut self,
        (plan, part): (&EventPlan, u32),
        rows: Rows<'_>,
        operation: Operation,
        key_change: Option<KeyChange<'_>>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        let table = self.table;
        let Some((new, old)) = rows.after else { return Ok(()) };
        if operation == Operation::Update {
            return Ok(skip_update(table, plan.updates())?);
        }
        let row = EventRow { table, new, old };
        let Some(event) = plan.event(self.events, row, self.row.now_ns / 1_000_000)? else { return Ok(()) };
        let position = Position { part, ..self.row.first };
        if self.options.with_position {
            position.write(self.position);
        }
        let others: Vec<_> = plan.headers(&event).collect();
        let headers = Headers {
            key_change,
            context: self.options.context_headers.as_ref(),
            position: self.options.with_position.then_some(self.position.as_slice()),
            others: &others,
            ..Headers::default()
        };
        (self.emit)(Record {
            topic: &event.topic,
            key: event.key.as_deref(),
            value: event.value.as_deref(),
            headers,
            operation: Some(operation),
            position: Some(position),
            partition: event.partition,
            timestamp_ms: event.timestamp_ms,
        })
    }

    fn emit_tombstone<E: From<EncodeError>>(
        &mut self,
        kind: RecordKind,
        key: &[u8],
        rows: Rows<'_>,
        key_change: Option<KeyChange<'_>>,
    ) -> Result<(), E>
    where
        F: FnMut(Record<'_>) -> Result<(), E>,
    {
        if !self.options.with_tombstones {
            return Ok(());
        }
        self.emit((kind, PART_TOMBSTONE), key, rows, Operation::Delete, key_change)
    }
}

/// What an update of an outbox row comes to: it is no event.
fn skip_update(table: &TablePlan, updates: UpdateHandling) -> Result<(), EncodeError> {
    let table = table.shape().name();
    match updates {
        UpdateHandling::Warn => {
            tracing::warn!(event = "outbox_update_ignored", table, "a row of an outbox was updated")
        }
        UpdateHandling::Error => {
            tracing::error!(event = "outbox_update_ignored", table, "a row of an outbox was updated")
        }
        UpdateHandling::Fatal => return Err(EncodeError::Update { table }),
    }
    Ok(())
}

/// The whole old row, from which values that the change did not touch can be taken.
fn whole(old: OldRow<'_>) -> Option<Values<'_>> {
    old.is_whole.then_some(old.values)
}
