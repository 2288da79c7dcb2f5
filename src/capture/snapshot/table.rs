//! One table: its rows from PostgreSQL to Kafka, and how far they are.

use tokio_util::sync::CancellationToken;

use super::plan::{RowPlace, TableRead};
use super::progress::Reading;
use super::report::Report;
use super::written::{Identity, Written};
use super::{Context, Taken};
use crate::capture::lane::{Lane, has_room};
use crate::capture::lineage::Ends;
use crate::capture::pipeline::{Rest, Sink, Stop, Subject, not_delivered, now_ns};
use crate::envelope::{ChangeEncoder, Position, PositionKind, RowContext, TablePlan, TransactionContext};
use crate::error::{Error, Result};
use crate::kafka::producer::{DeliverySink, Receipt};
use crate::lsn::Lsn;
use crate::postgres::{SnapshotTable, SnapshotTransaction};
use crate::row::{CopiedRow, RowChange, TableShape, Value};

/// After so many rows, or bytes of them, all are waited for and the progress is written. What was sent since the last
/// time is read back after a crash.
const SAVED_ROWS: u64 = 10_000;
const SAVED_BYTES: usize = 16 * 1024 * 1024;

/// What all rows have in common.
pub(super) struct Moment {
    /// The position in the headers of all records, whichever attempt they are of.
    pub(super) id: Lsn,
    pub(super) lsn: Lsn,
    pub(super) transaction: TransactionContext,
}

/// Reads tables one after the other.
pub(super) struct TableReader<'r, 'a> {
    context: &'r Context<'r>,
    sql: &'r SnapshotTransaction,
    moment: Moment,
    encoder: ChangeEncoder,
    sink: &'r mut Sink<'a>,
    report: &'r mut Report,
    lane: Lane,
    line: CopiedRow,
}

/// The table that is being read.
struct Open<'t> {
    at: usize,
    plan: &'t TablePlan,
    key: &'t [String],
    /// Rows of the table that are on the topic already.
    written: Written,
    /// The number of the row before.
    number: u64,
    /// Rows and their bytes since the progress was written.
    rows: u64,
    bytes: usize,
}

impl<'r, 'a> TableReader<'r, 'a> {
    pub(super) fn new(
        context: &'r Context<'r>,
        sql: &'r SnapshotTransaction,
        moment: Moment,
        encoder: ChangeEncoder,
        sink: &'r mut Sink<'a>,
        report: &'r mut Report,
    ) -> Self {
        Self { context, sql, moment, encoder, sink, report, lane: Lane::Prompt, line: CopiedRow::default() }
    }

    /// Reads a table to its end; `later` are those that follow.
    pub(super) async fn read(
        &mut self,
        (at, table): (usize, &SnapshotTable),
        later: impl Iterator<Item = &SnapshotTable>,
        token: &CancellationToken,
    ) -> Result<Taken> {
        let plan = self.context.plan(self.sql, table).await?;
        let read = self.context.read(table);
        let key = read.key(plan.shape());
        let reading = self.begin(at, &plan, key).await?;
        let written = self.read_back(&plan, key, &reading).await?;
        let number = self.context.progress()?.rows();
        let mut open = Open { at, plan: &plan, key, written, number, rows: 0, bytes: 0 };
        self.report.table(plan.shape().name());
        let what = format!("reading {}", plan.shape().name());
        let statement = read.copy_statement(plan.shape(), &reading.after);
        let mut lines = self.sql.copy(&what, &statement, !key.is_empty()).await?;
        let mut place = RowPlace {
            is_in_first_table: at == 0,
            is_first_of_table: reading.after.is_empty(),
            is_last_of_table: false,
            is_last: false,
        };
        // A row is written when it is known whether another one follows.
        let mut held = None;
        loop {
            let Some(line) = token.run_until_cancelled(lines.next()).await else { return self.stop(&open).await };
            let Some(line) = line? else { break };
            let Some(row) = held.replace(line) else { continue };
            if token.run_until_cancelled(self.wait_for_room()).await.transpose()?.is_none() {
                return self.stop(&open).await;
            }
            self.write(&mut open, &row, place).await?;
            place.is_first_of_table = false;
            if !open.key.is_empty() && (open.rows >= SAVED_ROWS || open.bytes >= SAVED_BYTES) {
                self.save(&mut open, &row).await?;
            }
        }
        if let Some(row) = held {
            place.is_last_of_table = true;
            place.is_last = !self.has_rows(later).await?;
            self.wait_for_room().await?;
            self.write(&mut open, &row, place).await?;
        }
        self.settle().await?;
        self.sink.careful_until = None;
        self.context.note(|progress| progress.finish_table(open.at, open.rows));
        self.context.save().await?;
        self.report.finished();
        Ok(Taken::Completed)
    }

    /// Where to go on. From here on it is known in Kafka which snapshot the table is read from.
    async fn begin(&self, at: usize, plan: &TablePlan, key: &[String]) -> Result<Reading> {
        let ends = self.ends(plan.topic());
        self.context.note(|progress| {
            progress.begin_table(at, ends);
            let reading = progress.tables().get(at).and_then(|table| table.reading.as_ref());
            let is_of_key = reading.is_some_and(|reading| reading.after.iter().map(|(name, _)| name).eq(key));
            if !is_of_key {
                progress.restart_table(at);
            }
        });
        self.context.save().await?;
        let progress = self.context.progress()?;
        Ok(progress.tables().get(at).and_then(|table| table.reading.clone()).unwrap_or_default())
    }

    /// What of a table was sent beyond what is noted. Rows without a primary key cannot be told apart.
    async fn read_back(&self, plan: &TablePlan, key: &[String], reading: &Reading) -> Result<Written> {
        if key.is_empty() || self.ends(plan.topic()) == reading.ends {
            return Ok(Written::none());
        }
        let settings = &self.context.options.settings;
        let columns = settings.message_keys.of_table(plan.shape()).unwrap_or_default();
        let is_in_key = || key.iter().all(|column| columns.contains(column));
        let is_in_key = plan.derived_key_holds(key).unwrap_or_else(is_in_key);
        let identity = if is_in_key { Identity::Key } else { Identity::Row };
        let (kafka, id) = (&self.context.options.kafka, self.moment.id);
        let written = Written::read_back(kafka, plan.topic(), &reading.ends, (id, identity)).await?;
        tracing::info!(
            event = "snapshot_resumed",
            table = plan.shape().name(),
            rows_done = reading.rows,
            rows_found = written.len(),
            "the table is read on from where it was left"
        );
        Ok(written)
    }

    /// Sends a row, unless the topic has it.
    async fn write(&mut self, open: &mut Open<'_>, line: &[u8], place: RowPlace) -> Result<()> {
        open.number = open.number.saturating_add(1);
        let options = self.context.options;
        let new = self
            .line
            .read(line, open.plan.shape().columns.len())
            .map_err(|error| Error::protocol(error.to_string()))?;
        let change = RowChange::Read { new };
        let first = Position {
            kind: PositionKind::Snapshot,
            system_identifier: self.context.system_identifier,
            commit_lsn: self.moment.id,
            row: open.number,
            part: 0,
        };
        let context = RowContext {
            transaction: &self.moment.transaction,
            lsn: self.moment.lsn,
            now_ns: now_ns(),
            snapshot: place.mark(),
            first,
            order: None,
        };
        let mut from_part = 0;
        loop {
            let subject = Subject::Row(open.plan, change);
            let mut row = self.sink.row((subject, context), (self.lane, Receipt::Read), from_part);
            let written = self.encoder.encode(open.plan, change, context, |record| {
                if open.written.takes(&record) { Ok::<(), Stop>(()) } else { row.take(&record) }
            });
            match row.rest(written) {
                Ok(None) => break,
                Ok(Some(Rest { from_part: next, obstacle })) => {
                    from_part = next;
                    self.sink.overcome((options, self.context.confirmer), obstacle).await?;
                }
                Err(failure) => {
                    self.sink.acknowledgements.failed(failure);
                    return Err(not_delivered());
                }
            }
        }
        self.encoder.shrink();
        open.rows = open.rows.saturating_add(1);
        open.bytes = open.bytes.saturating_add(line.len());
        self.report.row();
        Ok(())
    }

    /// Waits until Kafka has all that was sent, `last` the last row of it, and notes that.
    async fn save(&mut self, open: &mut Open<'_>, last: &[u8]) -> Result<()> {
        let values = self
            .line
            .read(last, open.plan.shape().columns.len())
            .map_err(|error| Error::protocol(error.to_string()))?;
        let after = key_of(open.plan.shape(), open.key, values.columns());
        self.settle().await?;
        // What was refused before is behind us.
        self.sink.careful_until = None;
        let (at, rows, ends) = (open.at, std::mem::take(&mut open.rows), self.ends(open.plan.topic()));
        open.bytes = 0;
        self.context.note(|progress| progress.note_rows(at, rows, after, ends));
        self.context.save().await
    }

    /// Told to stop: what was sent since the progress was written is found on the topic by the next start.
    async fn stop(&self, open: &Open<'_>) -> Result<Taken> {
        let settling = tokio::time::timeout(self.context.options.stopping.for_kafka(), self.settle());
        let is_settled = settling.await.is_ok_and(|settled| settled.is_ok());
        tracing::info!(
            event = "snapshot_interrupted",
            table = open.plan.shape().name(),
            rows = open.number,
            is_settled,
            "the next start goes on with the snapshot"
        );
        Ok(Taken::Stopped)
    }

    async fn wait_for_room(&mut self) -> Result<()> {
        let (acknowledgements, is_careful) = (&self.sink.acknowledgements, self.sink.careful_until.is_some());
        loop {
            if acknowledgements.has_failed() {
                return Err(not_delivered());
            }
            let in_flight = acknowledgements.in_flight();
            if in_flight.records == 0 {
                // Only with nothing in flight can another producer go on in order.
                self.lane = self.sink.producers.usable(if is_careful { Lane::Prompt } else { Lane::Bulk })?;
                return Ok(());
            }
            let lane = self.lane;
            if !is_careful && has_room(lane, in_flight) {
                return Ok(());
            }
            let goes_on = |records: usize, has_room: bool| records == 0 || (!is_careful && has_room);
            acknowledgements.wait_for(|now| goes_on(now.in_flight().records, has_room(lane, now.in_flight()))).await;
        }
    }

    async fn settle(&self) -> Result<()> {
        let acknowledgements = &self.sink.acknowledgements;
        acknowledgements.wait_for(|now| now.in_flight().records == 0).await;
        if acknowledgements.has_failed() { Err(not_delivered()) } else { Ok(()) }
    }

    /// Where the partitions of a topic end, with nothing in flight.
    fn ends(&self, topic: &str) -> Ends {
        let mut ends = Ends::new();
        for ((name, partition), end) in self.sink.acknowledgements.ends() {
            if name == topic {
                ends.entry(name).or_default().insert(partition, end);
            }
        }
        ends
    }

    async fn has_rows(&self, tables: impl Iterator<Item = &SnapshotTable>) -> Result<bool> {
        for table in tables {
            let read: TableRead<'_> = self.context.read(table);
            if self.sql.is_true(&read.exists_statement()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The texts of the key's columns.
pub(in crate::capture) fn key_of<'v>(
    shape: &TableShape,
    key: &[String],
    values: impl Iterator<Item = Value<'v>> + Clone,
) -> Vec<(String, String)> {
    let named = shape.columns.iter().map(|column| &column.name).zip(values);
    let text = |name: &String| {
        named.clone().find(|(column, _)| *column == name).and_then(|(_, value)| match value {
            Value::Text(text) => Some((name.clone(), String::from_utf8_lossy(text).into_owned())),
            Value::Null | Value::Unchanged => None,
        })
    };
    key.iter().filter_map(text).collect()
}
