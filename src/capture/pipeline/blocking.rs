//! Blocking snapshots: tables that a signal names, read while the stream waits.
//!
//! Nothing of the stream is sent meanwhile, and it is on record that Kafka has the rows before anything follows them. So a
//! snapshot that was interrupted is taken again from its beginning, behind the same records of the stream as before, and
//! one that was completed is not taken again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::change::now_ns;
use super::{Pipeline, SignalPlace, Stream, violation};
use crate::capture::incremental::{Asked, Occasion};
use crate::capture::relations::Relations;
use crate::capture::snapshot::{RowPlace, TableRead, Visibility, in_order, number};
use crate::envelope::{Position, PositionKind, RowContext, TransactionContext};
use crate::error::{Error, Reaction, Result, TRIES_MAX};
use crate::kafka::producer::Receipt;
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::postgres::{SnapshotTable, SnapshotTransaction};
use crate::row::{CopiedRow, RowChange};

/// Between two looks whether all that the stream has told shows by now, and when waiting for it is told.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const WAITING_TOLD: Duration = Duration::from_secs(10);
/// How often it is told how far a table is read, by a clock that is not looked at for every row.
const READING_TOLD: Duration = Duration::from_secs(10);
const LOOK_ROWS: u64 = 4096;

/// Where the rows stand in the stream.
struct Place {
    /// The transaction of the signal; none between two transactions.
    xid: Option<Xid>,
    previous_commit_end: Option<Lsn>,
    lsn: Lsn,
    commit_lsn: Lsn,
    row: u64,
    receipt: Receipt,
}

/// How often a snapshot was tried that PostgreSQL did not give to its end. A statement can be such that it never does, as
/// one that needs more memory or disk than there is, and the stream, which waits for it, would never go on.
#[derive(Debug, Default)]
pub(in crate::capture) struct BlockingTries(Mutex<Option<(Occasion, u32)>>);

impl BlockingTries {
    /// Whether it may be another time, counting this one.
    fn is_worth_another(&self, occasion: Occasion, error: &Error) -> bool {
        if error.kind().reaction() != Reaction::Retry {
            return false;
        }
        let mut tried = self.0.lock();
        let before = tried.filter(|(known, _)| *known == occasion).map_or(0, |(_, tries)| tries);
        let tries = before.saturating_add(1);
        *tried = Some((occasion, tries));
        tries < TRIES_MAX
    }
}

/// What all rows have in common.
struct Shared {
    transaction: TransactionContext,
    lsn: Lsn,
    first: Position,
    receipt: Receipt,
}

/// Why a snapshot ends before its last row.
enum Failure {
    /// PostgreSQL does not give the rows.
    Reading(Error),
    /// They cannot be sent.
    Sending(Error),
}

impl Pipeline<'_> {
    /// Takes the snapshot that a row of the signal table asks for, behind the record of that row.
    pub(super) async fn read_for_row(&mut self, stream: &mut Stream, asked: &Asked, signal: SignalPlace) -> Result<()> {
        let open = self.transaction.open("signal").map_err(violation)?;
        let place = Place {
            xid: Some(open.context.xid),
            previous_commit_end: open.context.previous_commit_end,
            lsn: signal.lsn,
            commit_lsn: open.commit_lsn,
            row: signal.row,
            receipt: Receipt::Transaction(stream.ticket.0),
        };
        self.read_blocking(stream, asked, place).await
    }

    /// Whether a record of the signal topic asks for one, and the stream is where its rows can stand: between two
    /// transactions, and beyond all that the topics held before.
    pub(super) fn is_blocking_due(&self) -> bool {
        let is_asked = self.incremental.as_ref().is_some_and(|incremental| incremental.has_asked());
        is_asked && !self.transaction.is_open() && self.sink.acknowledgements.positions().1 > self.sink.tails.last_lsn()
    }

    /// Takes that snapshot.
    pub(super) async fn read_for_topic(&mut self, stream: &mut Stream) -> Result<()> {
        self.sink.settle().await?;
        let (_, flushed) = self.sink.acknowledgements.positions();
        let Some(asked) = self.incremental.as_mut().and_then(|incremental| incremental.take_asked(flushed)) else {
            return Ok(());
        };
        let previous_commit_end = self.transaction.last_commit_end();
        let place = Place {
            xid: None,
            previous_commit_end,
            lsn: previous_commit_end.unwrap_or(flushed),
            // No commit record stands at the byte before the end of one; a message of no transaction may, as its row 0.
            commit_lsn: Lsn::new(flushed.get().saturating_sub(1)),
            row: 1,
            receipt: Receipt::Read,
        };
        self.read_blocking(stream, &asked, place).await
    }

    async fn read_blocking(&mut self, stream: &mut Stream, asked: &Asked, place: Place) -> Result<()> {
        let (started, was_careful) = (Instant::now(), self.sink.careful_until);
        let reads_carefully = std::mem::take(&mut self.reads_carefully);
        // A batch that was refused before may have held rows of the snapshot that this one takes the place of.
        if reads_carefully {
            self.sink.settle().await?;
            self.sink.careful_until = was_careful.max(Some(place.commit_lsn));
        }
        let running = metrics::gauge!("evp_capture_blocking_running");
        running.set(1.0);
        let read = self.read_tables(stream, asked, place).await;
        running.set(0.0);
        let read = match read {
            Ok(rows) => Ok(rows),
            Err(Failure::Reading(error)) if !self.blocking_tries.is_worth_another(asked.occasion, &error) => Err(error),
            Err(Failure::Reading(error) | Failure::Sending(error)) => return Err(error),
        };
        self.sink.settle().await?;
        if reads_carefully {
            self.sink.careful_until = was_careful;
        }
        if let Some(incremental) = &mut self.incremental {
            incremental.carried_out(asked.occasion);
        }
        self.confirmer.write(self.confirmed.get()).await?;
        // PostgreSQL was not listened to meanwhile, which is no silence of its own.
        stream.heard_at = Instant::now();
        match read {
            Ok(rows) => tracing::info!(
                event = "blocking_snapshot_completed",
                rows,
                seconds = started.elapsed().as_secs_f64(),
                "Kafka has all rows of the tables; the stream goes on"
            ),
            Err(error) => tracing::warn!(
                event = "blocking_snapshot_failed",
                %error,
                "the stream goes on; mend that, and ask for the snapshot again"
            ),
        }
        Ok(())
    }

    /// Reads the tables one after the other; says how many rows they have.
    async fn read_tables(
        &mut self,
        stream: &mut Stream,
        asked: &Asked,
        place: Place,
    ) -> std::result::Result<u64, Failure> {
        let Some(incremental) = &mut self.incremental else { return Ok(0) };
        let names = incremental.begin_blocking(asked);
        if names.is_empty() {
            return Ok(0);
        }
        let settings = &self.options.settings;
        let (sql, shared) = self.begin_blocking(&names, place).await.map_err(Failure::Reading)?;
        let known = sql.tables(&settings.publication_name, &names).await.map_err(Failure::Reading)?;
        let tables = in_order(known, settings);
        let reads: Vec<TableRead<'_>> = tables
            .iter()
            .map(|table| TableRead { table, statement: asked.execution.condition(&table.schema, &table.table) })
            .collect();
        let mut rows = 0_u64;
        for (at, read) in reads.iter().enumerate() {
            let later = reads.get(at.saturating_add(1)..).unwrap_or_default();
            let read = self.read_table(stream, &sql, (at == 0, read, later), (&shared, rows)).await?;
            rows = rows.saturating_add(read);
        }
        Ok(rows)
    }

    /// A view of the database that shows all that the stream has told, as a commit is in the log before it shows.
    async fn begin_blocking(
        &mut self,
        names: &[(String, String)],
        place: Place,
    ) -> Result<(SnapshotTransaction, Shared)> {
        let statements = &self.options.settings.initial_statements;
        let (sql, began) = (SnapshotTransaction::connect(&self.options.postgres, statements).await?, Instant::now());
        let mut is_told = false;
        loop {
            let facts = sql.begin_next(names, self.options.settings.snapshot.lock_timeout).await?;
            let visible = Visibility::told(&facts.visible)?;
            let is_shown = self.incremental.as_mut().is_none_or(|incremental| incremental.is_shown_by(&visible));
            if !is_shown {
                sql.end().await?;
                if began.elapsed() >= WAITING_TOLD && !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(
                        event = "blocking_snapshot_waiting",
                        "a commit that the stream has told does not show, perhaps because a synchronous standby is away"
                    );
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
            let transaction = TransactionContext {
                xid: place.xid.unwrap_or(visible.next_xid()),
                commit_time_us: facts.clock_us,
                previous_commit_end: place.previous_commit_end,
                origin: None,
            };
            let first = Position {
                kind: PositionKind::Blocking,
                system_identifier: self.system_identifier,
                commit_lsn: place.commit_lsn,
                row: place.row,
                part: 0,
            };
            return Ok((sql, Shared { transaction, lsn: place.lsn, first, receipt: place.receipt }));
        }
    }

    async fn read_table(
        &mut self,
        stream: &mut Stream,
        sql: &SnapshotTransaction,
        (is_in_first_table, read, later): (bool, &TableRead<'_>, &[TableRead<'_>]),
        (shared, rows_before): (&Shared, u64),
    ) -> std::result::Result<u64, Failure> {
        let sent_rows = metrics::gauge!("evp_capture_blocking_rows");
        let SnapshotTable { schema, table, .. } = read.table;
        let relations = Relations { options: self.options, catalog: sql.client() };
        let plan = relations.of_snapshot(schema, table).await.map_err(Failure::Reading)?;
        let (statement, ordered) = (read.copy_statement(plan.shape(), &[]), !read.key(plan.shape()).is_empty());
        let what = format!("reading {schema}.{table}");
        let mut lines = sql.copy(&what, &statement, ordered).await.map_err(Failure::Reading)?;
        let mut place =
            RowPlace { is_in_first_table, is_first_of_table: true, is_last_of_table: false, is_last: false };
        let (mut held, mut line, mut rows, mut told) = (None, CopiedRow::default(), 0_u64, Instant::now());
        // A row is written when it is known whether another one follows.
        while !place.is_last_of_table {
            let next = lines.next().await.map_err(Failure::Reading)?;
            place.is_last_of_table = next.is_none();
            let Some(row) = std::mem::replace(&mut held, next) else { continue };
            place.is_last = place.is_last_of_table && !has_rows(sql, later).await.map_err(Failure::Reading)?;
            let new = line
                .read(&row, plan.shape().columns.len())
                .map_err(|error| Failure::Reading(Error::protocol(error.to_string())))?;
            self.wait_for_room(stream).await.map_err(Failure::Sending)?;
            let context = RowContext {
                transaction: &shared.transaction,
                lsn: shared.lsn,
                now_ns: now_ns(),
                snapshot: place.mark(),
                first: shared.first,
                order: None,
            };
            let sent = self.write_read(stream, (&plan, RowChange::Read { new }), context, shared.receipt).await;
            sent.map_err(Failure::Sending)?;
            place.is_first_of_table = false;
            rows = rows.saturating_add(1);
            if rows.is_multiple_of(LOOK_ROWS) {
                sent_rows.set(number(rows_before.saturating_add(rows)));
                if told.elapsed() >= READING_TOLD {
                    told = Instant::now();
                    let estimated_rows = read.table.estimated_rows;
                    tracing::info!(
                        event = "blocking_snapshot_reading",
                        table,
                        rows,
                        estimated_rows,
                        "the stream waits"
                    );
                }
            }
        }
        sent_rows.set(number(rows_before.saturating_add(rows)));
        Ok(rows)
    }
}

async fn has_rows(sql: &SnapshotTransaction, tables: &[TableRead<'_>]) -> Result<bool> {
    for table in tables {
        if sql.is_true(&table.exists_statement()).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
