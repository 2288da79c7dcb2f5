//! Signals in the stream, the windows that they lead to, and the rows of chunks, which enter the stream here.

use std::time::Instant;

use super::change::{Item, Placed, now_ns};
use super::sink::{Rest, Subject};
use super::{Pipeline, Stream, not_delivered};
use crate::capture::incremental::{Asked, Closed, Given, Heard, Incremental, Part, Window, WindowEnd};
use crate::capture::lane::{Lane, has_room};
use crate::envelope::{EventOrder, Position, PositionKind, RowContext, SnapshotMark, TablePlan, TransactionContext};
use crate::error::{Error, Result};
use crate::kafka::producer::{DeliverySink, Receipt};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, RelationId};
use crate::row::{CopiedRow, RowChange, Value, Values};

/// Where a row of the signal table stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignalPlace {
    pub(super) lsn: Lsn,
    pub(super) row: u64,
    pub(super) order: Option<EventOrder>,
}

impl Pipeline<'_> {
    /// Tells the window of a change, if one is open.
    pub(super) fn note_change(&mut self, stream: &mut Stream, change: &Change) -> Result<()> {
        let Some(incremental) = self.incremental.as_mut().filter(|incremental| incremental.has_open_window()) else {
            return Ok(());
        };
        let table = stream.tables.get(change.relation()).map_err(|error| Error::protocol(error.to_string()))?;
        let Some(table) = table else { return Ok(()) };
        // What is not told leaves the chunk's row as it is. What cannot be encoded is told when it is written.
        if stream.encoder.event_count(table, change.row()).unwrap_or(1) > 0 {
            incremental.touch(change.relation(), table.shape(), change.row());
        }
        Ok(())
    }

    /// A change of the signal table: what it asks for comes before the record that tells of it, and what the stream has to wait
    /// for behind it.
    pub(super) async fn signalled(&mut self, stream: &mut Stream, change: &Change, place: SignalPlace) -> Result<()> {
        let mut blocking = None;
        match change.row() {
            RowChange::Create { new } => {
                let [id, kind, data] = texts(new);
                match WindowEnd::of_inserted(&id, &kind) {
                    Some(end) => self.window_end(stream, end, place).await?,
                    None => blocking = self.signal(Given { id: &id, kind: &kind, data: &data }, place.row)?,
                }
            }
            RowChange::Delete { old } if self.incremental.as_ref().is_some_and(|signals| signals.deletes_marks()) => {
                let [id, ..] = texts(old.values);
                if let Some(end) = WindowEnd::of_deleted(&id) {
                    self.window_end(stream, end, place).await?;
                }
            }
            RowChange::Delete { .. } | RowChange::Update { .. } | RowChange::Read { .. } => {}
        }
        let SignalPlace { lsn, row, order } = place;
        let placed = Placed { item: Item::Change(change), lsn, row, part: 0, order };
        self.write_wholly(stream, placed).await?;
        match blocking {
            Some(asked) => Box::pin(self.read_for_row(stream, &asked, place)).await,
            None => Ok(()),
        }
    }

    fn signal(&mut self, given: Given<'_>, row: u64) -> Result<Option<Asked>> {
        let commit_lsn = self.open_commit()?;
        let incremental = self.incremental.as_mut().filter(|signals| signals.takes_rows());
        Ok(incremental.and_then(|incremental| incremental.signal_of_row(given, (commit_lsn, row))))
    }

    /// What the reader of chunks or the signal topic has to say.
    pub(super) fn heard(&mut self, heard: Heard) {
        let commit_lsn = self.sink.acknowledgements.last_begun();
        let Some(incremental) = &mut self.incremental else { return };
        match heard {
            Heard::FromReader(told) => incremental.take(told, commit_lsn),
            Heard::FromTopic(record) => incremental.signal_of_topic(&record, commit_lsn),
        }
    }

    pub(super) async fn window_end(
        &mut self,
        stream: &mut Stream,
        end: WindowEnd<'_>,
        place: SignalPlace,
    ) -> Result<()> {
        let commit_lsn = self.open_commit()?;
        let Some(incremental) = &mut self.incremental else { return Ok(()) };
        let Closed::Rows(window, part) = incremental.window_end(end, commit_lsn) else { return Ok(()) };
        let rows = self.write_chunk(stream, (&window, &part), place).await?;
        if let Some(incremental) = &mut self.incremental {
            incremental.sent(*part, rows, commit_lsn);
        }
        Ok(())
    }

    /// Sends the rows of a chunk that the stream has not touched; says how many.
    async fn write_chunk(
        &mut self,
        stream: &mut Stream,
        (window, part): (&Window, &Part),
        place: SignalPlace,
    ) -> Result<u64> {
        let open = self.transaction.open("chunk").map_err(super::violation)?;
        let (commit_lsn, was_careful) = (open.commit_lsn, self.sink.careful_until);
        let transaction = TransactionContext {
            xid: open.context.xid,
            commit_time_us: now_ns() / 1_000,
            previous_commit_end: open.context.previous_commit_end,
            origin: None,
        };
        let first = Position {
            kind: PositionKind::Incremental,
            system_identifier: self.system_identifier,
            commit_lsn,
            row: place.row.saturating_sub(1),
            part: 0,
        };
        // A batch that was refused before may have held rows of the chunk that this one takes the place of.
        if self.reads_carefully {
            self.sink.careful_until = self.sink.careful_until.max(Some(commit_lsn));
        }
        let (mut line, mut rows) = (CopiedRow::default(), 0_u64);
        for copied in &part.lines {
            let new = line
                .read(copied, part.plan.shape().columns.len())
                .map_err(|error| Error::protocol(error.to_string()))?;
            if window.has_touched(RelationId(part.oid), part.plan.shape(), new) {
                continue;
            }
            self.wait_for_room(stream).await?;
            let context = RowContext {
                transaction: &transaction,
                lsn: place.lsn,
                now_ns: now_ns(),
                snapshot: SnapshotMark::Incremental,
                first,
                order: None,
            };
            let receipt = Receipt::Transaction(stream.ticket.0);
            self.write_read(stream, (&part.plan, RowChange::Read { new }), context, receipt).await?;
            rows = rows.saturating_add(1);
        }
        if std::mem::take(&mut self.reads_carefully) {
            self.sink.settle().await?;
            self.sink.careful_until = was_careful;
        }
        Ok(rows)
    }

    /// Sends a row that was read, which the open transaction waits for if there is one.
    pub(super) async fn write_read(
        &mut self,
        stream: &mut Stream,
        (plan, change): (&TablePlan, RowChange<'_>),
        context: RowContext<'_>,
        receipt: Receipt,
    ) -> Result<()> {
        let mut from_part = 0;
        loop {
            let subject = Subject::Row(plan, change);
            let mut sink = self.sink.row((subject, context), (stream.lane, receipt), from_part);
            let written = stream.encoder.encode(plan, change, context, |record| sink.take(&record));
            let (rest, sent_count) = (sink.rest(written), sink.sent_count);
            if receipt != Receipt::Read {
                let open = self.transaction.open("chunk").map_err(super::violation)?;
                open.sent_count = open.sent_count.saturating_add(sent_count);
            }
            match rest {
                Ok(None) => break,
                Ok(Some(Rest { from_part: next, obstacle })) => {
                    from_part = next;
                    self.sink.overcome((self.options, &self.confirmer), obstacle).await?;
                    stream.heard_at = Instant::now();
                }
                Err(failure) => {
                    self.sink.acknowledgements.failed(failure);
                    return Err(not_delivered());
                }
            }
        }
        stream.encoder.shrink();
        Ok(())
    }

    /// Waits until Kafka has taken enough for another row that was read.
    pub(super) async fn wait_for_room(&mut self, stream: &mut Stream) -> Result<()> {
        if self.sink.careful_until.is_some() {
            self.sink.settle().await?;
            stream.heard_at = Instant::now();
        }
        let acknowledgements = std::sync::Arc::clone(&self.sink.acknowledgements);
        loop {
            if acknowledgements.has_failed() {
                return Err(not_delivered());
            }
            let (in_flight, lane) = (acknowledgements.in_flight(), stream.lane);
            if in_flight.records == 0 {
                // Only with nothing in flight can another producer go on in order.
                let wanted = if self.sink.careful_until.is_some() { Lane::Prompt } else { Lane::Bulk };
                stream.lane = self.sink.producers.usable(wanted)?;
                return Ok(());
            }
            if has_room(lane, in_flight) {
                return Ok(());
            }
            acknowledgements.wait_for(|now| now.in_flight().records == 0 || has_room(lane, now.in_flight())).await;
            // PostgreSQL was not listened to meanwhile, which is no silence of its own.
            stream.heard_at = Instant::now();
        }
    }

    fn open_commit(&mut self) -> Result<Lsn> {
        Ok(self.transaction.open("signal").map_err(super::violation)?.commit_lsn)
    }
}

/// Waits for what comes by another way than the stream, for ever where nothing can.
pub(super) async fn hears(incremental: &mut Option<Box<Incremental>>) -> Heard {
    match incremental {
        Some(incremental) => incremental.hears().await,
        None => std::future::pending().await,
    }
}

/// The texts of the first three columns: id, type and data.
fn texts(values: Values<'_>) -> [String; 3] {
    let mut columns = values.columns();
    std::array::from_fn(|_| match columns.next() {
        Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(Value::Null | Value::Unchanged) | None => String::new(),
    })
}
