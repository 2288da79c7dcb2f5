//! Snapshots: the rows that are in the tables already, read before anything is streamed.
//!
//! ```text
//!   slot held ──▶ snapshot of PostgreSQL's ──▶ tables in key order ──▶ records, op r ──▶ progress in Kafka
//!      │                  │ what it shows                                                      │
//!      └─────▶ stream ────┴─ less what a table's earliest snapshot shows ──▶ records ◀─────────┘ then
//! ```
//!
//! **Exact.** The slot is held first and holds every change from its position on. Then one transaction sees the database
//! as it is at one moment ([`visibility`]). Of the stream are left out the changes of transactions that this moment shows;
//! all others are written behind the rows. So no change is lost between the two, and none is there twice.
//!
//! **Resumable.** A table is read in the order of its primary key by one COPY; every so many rows all of them are waited
//! for, and how far it is read is written to the position topic ([`progress`]). After a crash the table goes on behind
//! that key, in another snapshot. The rows behind it that had been sent are read back from the topic and not sent again
//! ([`written`]). Nothing of the stream is written or confirmed until the last table is done.
//!
//! **Bounded.** Rows are taken from the COPY as Kafka takes them; nothing else is kept.

mod decision;
mod plan;
mod progress;
mod report;
mod table;
mod visibility;
mod written;

pub(super) use decision::{Decision, Found, decide};
pub(super) use plan::{RowPlace, TableRead, identifier, in_order, literal, names, rows_of, where_all};
pub(super) use progress::{SnapshotProgress, TailsByTopic};
pub(super) use report::number;
pub(super) use table::key_of;
pub(super) use visibility::Visibility;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::CaptureOptions;
use super::confirmation::Confirmer;
use super::pipeline::Pipeline;
use super::relations::Relations;
use crate::envelope::{ChangeEncoder, TablePlan, TransactionContext};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{SnapshotFacts, SnapshotTable, SnapshotTransaction};
use plan::{is_included, ordered};
use progress::View;
use report::Report;
use table::{Moment, TableReader};

/// What a snapshot works with besides the pipeline's way to Kafka.
pub(super) struct Context<'a> {
    pub(super) options: &'a CaptureOptions,
    pub(super) confirmer: &'a Arc<Confirmer>,
    pub(super) system_identifier: u64,
    /// The captured tables.
    pub(super) tables: &'a [(String, String)],
}

/// How a snapshot ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Kafka has all rows.
    Completed,
    /// Told to stop; the next start goes on.
    Stopped,
}

/// Takes the snapshot that is due, or what is left of it.
pub(super) async fn take(
    context: &Context<'_>,
    pipeline: &mut Pipeline<'_>,
    token: &CancellationToken,
) -> Result<Taken> {
    let settings = &context.options.settings;
    let delay = tokio::time::sleep(settings.snapshot.delay);
    if token.run_until_cancelled(delay).await.is_none() {
        return Ok(Taken::Stopped);
    }
    let (tables, patience) = (context.tables_left()?, settings.snapshot.lock_timeout);
    let (postgres, statements) = (&context.options.postgres, &settings.initial_statements);
    let (sql, facts) = SnapshotTransaction::begin(postgres, statements, &tables, patience).await?;
    let known = sql.tables(&settings.publication_name, context.tables).await?;
    let moment = context.begin_attempt(&facts, known.clone())?;
    context.save().await?;
    let progress = context.progress()?;
    let mut report = Report::start(pipeline.sink.acknowledgements.health(), &known, &progress);
    tracing::info!(
        event = "snapshot_started",
        tables = progress.tables().len(),
        rows_done = progress.rows(),
        lsn = %facts.lsn,
        "reading the tables; the stream follows"
    );
    let encoder = ChangeEncoder::new(pipeline.records.clone());
    let mut reader = TableReader::new(context, &sql, moment, encoder, &mut pipeline.sink, &mut report);
    let mut tables = unfinished(&progress, &known);
    while let Some((at, table)) = tables.pop_front() {
        let later = tables.iter().map(|(_, table)| *table);
        if reader.read((at, table), later, token).await? == Taken::Stopped {
            return Ok(Taken::Stopped);
        }
    }
    context.note(|progress| *progress = progress.clone().completed());
    context.save().await?;
    let progress = context.progress()?;
    report.completed(progress.rows());
    pipeline.sink.lineage.snapshot = Some(progress);
    Ok(Taken::Completed)
}

impl Context<'_> {
    fn progress(&self) -> Result<SnapshotProgress> {
        let progress = self.confirmer.lineage.lock().snapshot.clone();
        progress.ok_or_else(|| Error::new(ErrorKind::System, "a snapshot is taken of which nothing is noted"))
    }

    /// Changes the progress.
    fn note(&self, change: impl FnOnce(&mut SnapshotProgress)) {
        if let Some(progress) = &mut self.confirmer.lineage.lock().snapshot {
            change(progress);
        }
    }

    /// Writes the progress to Kafka and waits until it is there. What is confirmed to PostgreSQL stays as it is.
    async fn save(&self) -> Result<()> {
        self.confirmer.write(self.confirmer.confirmed.get()).await
    }

    /// The tables that are to be read: those of the snapshot that are not done, or all before it has begun.
    fn tables_left(&self) -> Result<Vec<(String, String)>> {
        let progress = self.progress()?;
        let settings = &self.options.settings;
        let captured = self.tables.iter().filter(|(schema, table)| is_included(settings, schema, table));
        let is_left = |(schema, name): &&(String, String)| {
            let known = progress.tables().iter().find(|table| table.schema == *schema && table.table == *name);
            known.map_or(progress.tables().is_empty(), |table| !table.is_done)
        };
        Ok(captured.filter(is_left).cloned().collect())
    }

    /// Notes what the tables are read from, and the tables themselves at the first attempt.
    fn begin_attempt(&self, facts: &SnapshotFacts, known: Vec<SnapshotTable>) -> Result<Moment> {
        let visible = Visibility::told(&facts.visible)?;
        let transaction = TransactionContext {
            xid: visible.next_xid(),
            commit_time_us: facts.clock_us,
            previous_commit_end: None,
            origin: None,
        };
        let view = View { visible, horizon: facts.horizon };
        self.note(|progress| {
            progress.attempt(facts.lsn, view);
            if progress.tables().is_empty() {
                let tables = ordered(known, &self.options.settings).into_iter();
                progress.set_tables(tables.map(|table| (table.oid, table.schema, table.table)));
            }
        });
        Ok(Moment { id: self.progress()?.id().unwrap_or(facts.lsn), lsn: facts.lsn, transaction })
    }

    /// Its plan, from the same moment as its rows.
    async fn plan(&self, sql: &SnapshotTransaction, table: &SnapshotTable) -> Result<TablePlan> {
        let relations = Relations { options: self.options, catalog: sql.client() };
        relations.of_snapshot(&table.schema, &table.table).await
    }

    fn read<'t>(&'t self, table: &'t SnapshotTable) -> TableRead<'t> {
        let statement = self.options.settings.snapshot.statement(&table.schema, &table.table);
        TableRead { table, statement }
    }
}

/// The tables that are to be read, with their places; one that is gone by now needs no reading.
fn unfinished<'t>(progress: &SnapshotProgress, known: &'t [SnapshotTable]) -> VecDeque<(usize, &'t SnapshotTable)> {
    let left = progress.tables().iter().enumerate().filter(|(_, table)| !table.is_done);
    left.filter_map(|(at, table)| Some((at, known.iter().find(|known| known.oid == table.oid)?))).collect()
}
