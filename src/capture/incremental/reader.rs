//! The task that reads chunks: the mark before one, its rows, the mark behind it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use uuid::Uuid;

use super::marks::Marks;
use super::progress::{Reading, TableTurn};
use super::query::ChunkedTable;
use crate::capture::CaptureOptions;
use crate::capture::relations::Relations;
use crate::capture::snapshot::{Visibility, key_of};
use crate::envelope::TablePlan;
use crate::error::{Error, ErrorKind, Reaction, Result};
use crate::lsn::Lsn;
use crate::postgres::SnapshotTransaction;
use crate::row::{CopiedRow, TableShape};

/// A chunk ends with the row by which it grows beyond this.
const CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Between two tries while the server does not answer.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// What the reader tells of a chunk, in this order. A window that is told anew replaces the one before.
pub(in crate::capture) enum Told {
    /// The window whose marks come next.
    Window(String),
    /// What was read; told before the mark behind it is written.
    Chunk(Chunk),
    /// The mark behind the chunk of this request stands before this position.
    Marked(u64, Lsn),
    /// Nothing can be read.
    GivenUp(Error),
}

/// What is asked for: the next rows of the first of these tables that has any.
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) turns: Vec<TableTurn>,
    /// Not at once: the last ones could not be used.
    pub(super) waits: bool,
}

/// The rows that were read in one window.
pub(in crate::capture) struct Chunk {
    /// The number of the request: it may have been answered before, as far as the reader can know.
    pub(super) request: u64,
    /// How many tables of the request have no more rows.
    pub(in crate::capture) finished: usize,
    /// Rows of the table behind those.
    pub(in crate::capture) part: Option<Box<Part>>,
}

/// Rows of a table.
pub(in crate::capture) struct Part {
    pub(in crate::capture) oid: u32,
    pub(in crate::capture) plan: TablePlan,
    pub(in crate::capture) lines: Vec<Bytes>,
    /// How far the table is read with them.
    pub(in crate::capture) reading: Reading,
    /// What was visible when they were read.
    pub(in crate::capture) visible: Visibility,
}

/// Reads one chunk after the other.
pub(super) struct Reader {
    pub(super) options: Arc<CaptureOptions>,
    pub(super) marks: Marks,
    pub(super) told: UnboundedSender<Told>,
    /// The most rows of the next chunk: fewer than asked for where rows are large.
    pub(super) rows_max: u64,
}

impl Reader {
    /// Answers requests, each by one chunk, until there are no more of them.
    pub(super) async fn run(mut self, mut requests: UnboundedReceiver<Request>) {
        let (mut connection, mut is_told) = (None, false);
        while let Some(request) = requests.recv().await {
            if request.waits {
                tokio::time::sleep(RETRY_WAIT).await;
            }
            while let Err(error) = self.read(&mut connection, &request).await {
                connection = None;
                if error.kind().reaction() != Reaction::Retry {
                    let _ = self.told.send(Told::GivenUp(error));
                    break;
                }
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(event = "incremental_snapshot_waiting", %error, "the chunk is read again; the stream goes on");
                }
                tokio::time::sleep(RETRY_WAIT).await;
            }
            is_told &= connection.is_none();
        }
    }

    async fn read(&mut self, connection: &mut Option<SnapshotTransaction>, request: &Request) -> Result<()> {
        let sql = match connection {
            Some(sql) => sql,
            // Keys of a chunk are compared with those of the stream by their texts, which no statement of the user may change.
            None => connection.insert(SnapshotTransaction::connect(&self.options.postgres, &[]).await?),
        };
        let window = Uuid::new_v4().to_string();
        let _ = self.told.send(Told::Window(window.clone()));
        let opened = self.marks.open(sql, &window).await?;
        let chunk = self.chunk(sql, request).await?;
        let _ = self.told.send(Told::Chunk(chunk));
        let marked = self.marks.close(sql, opened).await?;
        let _ = self.told.send(Told::Marked(request.number, marked));
        Ok(())
    }

    /// The next rows of the first table that has any. A table that cannot be read is passed over.
    async fn chunk(&mut self, sql: &SnapshotTransaction, request: &Request) -> Result<Chunk> {
        let chunk = |finished, part| Chunk { request: request.number, finished, part };
        for (finished, turn) in request.turns.iter().enumerate() {
            let read = self.part(sql, turn).await;
            if read.as_ref().is_err_and(|error| error.kind().reaction() == Reaction::Retry) {
                return read.map(|part| chunk(finished, part));
            }
            sql.end().await?;
            match read {
                Ok(Some(part)) => return Ok(chunk(finished, Some(part))),
                Ok(None) => tracing::info!(
                    event = "incremental_snapshot_table_completed",
                    table = turn.name(),
                    "all chunks of the table are read"
                ),
                Err(error) => tracing::warn!(
                    event = "incremental_snapshot_table_skipped",
                    table = turn.name(),
                    %error,
                    "the table cannot be read and is left out of the snapshot"
                ),
            }
        }
        Ok(chunk(request.turns.len(), None))
    }

    /// The next rows of a table, if it has any.
    async fn part(&mut self, sql: &SnapshotTransaction, turn: &TableTurn) -> Result<Option<Box<Part>>> {
        let (settings, name) = (&self.options.settings, (turn.schema.clone(), turn.table.clone()));
        let names = std::slice::from_ref(&name);
        let facts = sql.begin_next(names, settings.snapshot.lock_timeout).await?;
        let visible = Visibility::told(&facts.visible)?;
        let known = sql.tables(&settings.publication_name, names).await?;
        let gone = || Error::new(ErrorKind::Missing, format!("table {} is not there", turn.name()));
        let table = known.first().ok_or_else(gone)?;
        let relations = Relations { options: &self.options, catalog: sql.client() };
        let plan = relations.of_snapshot(&turn.schema, &turn.table).await?;
        let refused = |why| Error::new(ErrorKind::Unsupported, format!("table {}: {why}", turn.name()));
        let chunked = ChunkedTable::new(turn, table, plan.shape()).map_err(refused)?;
        let Some(reading) = self.reading(sql, turn, &chunked).await? else { return Ok(None) };
        let statement = chunked.next_rows(&reading, self.rows_max);
        let lines = self.lines(sql, &format!("reading {}", turn.name()), &statement).await?;
        let Some(last) = lines.last() else { return Ok(None) };
        let after = place(plan.shape(), chunked.key(), last)?;
        let reading = Reading { after, until: reading.until };
        Ok(Some(Box::new(Part { oid: table.oid, lines, reading, visible, plan })))
    }

    /// Where to go on, or nothing if there are no rows. A table whose key has changed begins again.
    async fn reading(
        &self,
        sql: &SnapshotTransaction,
        turn: &TableTurn,
        chunked: &ChunkedTable<'_>,
    ) -> Result<Option<Reading>> {
        if let Some(reading) = turn.reading.as_ref().filter(|reading| chunked.knows(reading)) {
            return Ok(Some(reading.clone()));
        }
        let mut lines = sql.copy(&format!("reading {}", turn.name()), &chunked.last_key(), true).await?;
        let Some(line) = lines.next().await? else { return Ok(None) };
        while lines.next().await?.is_some() {}
        let until = place(&chunked.key_shape(), chunked.key(), &line)?;
        tracing::info!(
            event = "incremental_snapshot_table_started",
            table = turn.name(),
            "reading the table in chunks"
        );
        Ok(Some(Reading { after: Vec::new(), until }))
    }

    /// The rows of a chunk; the next one is to have fewer where these are large.
    async fn lines(&mut self, sql: &SnapshotTransaction, what: &str, statement: &str) -> Result<Vec<Bytes>> {
        let mut copied = sql.copy(what, statement, true).await?;
        let (mut lines, mut bytes, mut is_full) = (Vec::new(), 0_usize, false);
        while let Some(line) = copied.next().await? {
            if is_full {
                continue;
            }
            bytes = bytes.saturating_add(line.len());
            lines.push(line);
            is_full = bytes >= CHUNK_BYTES_MAX;
        }
        let asked = self.options.settings.signals.chunk_rows;
        let taken = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.rows_max = if is_full { taken.max(1) } else { self.rows_max.saturating_mul(2).min(asked) };
        Ok(lines)
    }
}

/// The key of a copied row.
fn place(shape: &TableShape, key: &[String], line: &[u8]) -> Result<Vec<(String, String)>> {
    let mut row = CopiedRow::default();
    let values = row.read(line, shape.columns.len()).map_err(|error| Error::protocol(error.to_string()))?;
    Ok(key_of(shape, key, values.columns()))
}
