//! Reading tables as they are at one moment: a transaction that sees one snapshot, and rows by COPY.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::task::AbortHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyOutStream};

use super::sql::{answered, connect_abortable, query_error, run_initial};
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// What the user's statements may change: how many digits numbers have, as they do in Debezium.
const BEFORE_STATEMENTS: &str = "SET extra_float_digits = 3";

/// Values have the texts that the replication session has. Nothing ends the transaction while Kafka keeps it waiting, and
/// rows that a policy hides are an error instead of missing.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'; \
     SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET standard_conforming_strings = on; \
     SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET row_security = off; SET jit = off; \
     SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'; \
     SELECT set_config('client_encoding', 'SQL_ASCII', false) WHERE current_setting('server_encoding') = 'SQL_ASCII'";

/// A published table, as far as reading it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTable {
    /// Object id, by which the stream names it as well.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub table: String,
    /// Its rows are those of its partitions.
    pub is_partitioned: bool,
    /// It has a primary key, all of whose operators are the server's own.
    pub has_ordered_key: bool,
    /// Which rows its publications send, if not all.
    pub row_filter: Option<String>,
    /// By the last count of the server; 0 where it knows nothing.
    pub estimated_rows: u64,
}

/// A snapshot of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// `pg_current_snapshot()`.
    pub visible: String,
    /// End of the flushed log just before it was taken.
    pub lsn: Lsn,
    /// End of the log just after: what commits behind it does not show.
    pub horizon: Lsn,
    /// The server's clock, microseconds since 1970.
    pub clock_us: i64,
}

/// An open transaction that sees one snapshot. Dropping it ends the transaction, in the middle of a COPY as well.
pub struct SnapshotTransaction {
    client: Client,
    connection: AbortHandle,
    config: PostgresConfig,
}

impl SnapshotTransaction {
    /// Begins, with the tables kept from what a snapshot does not survive: being rewritten or truncated before it is read.
    pub async fn begin(
        config: &PostgresConfig,
        statements: &[String],
        tables: &[(String, String)],
        lock_timeout: Duration,
    ) -> Result<(Self, SnapshotFacts)> {
        let transaction = Self::connect(config, statements).await?;
        let facts = transaction.begin_next(tables, lock_timeout).await?;
        Ok((transaction, facts))
    }

    /// A connection on which such transactions follow each other; none is open yet. `statements` are run there first.
    pub async fn connect(config: &PostgresConfig, statements: &[String]) -> Result<Self> {
        let (client, connection) = connect_abortable(config).await?;
        answered("beginning the snapshot", config, client.batch_execute(BEFORE_STATEMENTS)).await?;
        run_initial(&client, config, statements).await?;
        answered("beginning the snapshot", config, client.batch_execute(SETTINGS)).await?;
        Ok(Self { client, connection, config: config.clone() })
    }

    /// Begins the next one.
    pub async fn begin_next(&self, tables: &[(String, String)], lock_timeout: Duration) -> Result<SnapshotFacts> {
        let (client, config, what) = (&self.client, &self.config, "beginning the snapshot");
        // A snapshot begins with the first query behind the locks.
        let lsn = answered(what, config, client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[])).await?;
        let mut begin = format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}",
            lock_timeout.as_millis().clamp(1, 2_147_483_647)
        );
        if !tables.is_empty() {
            let names: Vec<String> =
                tables.iter().map(|(schema, table)| format!("{}.{}", quoted(schema), quoted(table))).collect();
            begin.push_str(&format!("; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")));
        }
        client
            .batch_execute(&begin)
            .await
            .map_err(|error| query_error("locking the snapshot's tables", config, error))?;
        let statement = "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, \
                         (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
        let row = answered(what, config, client.query_one(statement, &[])).await?;
        Ok(SnapshotFacts {
            visible: row.get(0),
            lsn: parse_lsn(lsn.get(0))?,
            horizon: parse_lsn(row.get(1))?,
            clock_us: row.get(2),
        })
    }

    /// Ends the transaction, whatever has become of it.
    pub async fn end(&self) -> Result<()> {
        answered("ending the snapshot", &self.config, self.client.batch_execute("ROLLBACK")).await
    }

    /// Runs a statement in no transaction but its own.
    pub async fn execute(&self, what: &str, statement: &str) -> Result<()> {
        answered(what, &self.config, self.client.batch_execute(statement)).await
    }

    /// Behind everything that this connection has committed.
    pub async fn log_end(&self) -> Result<Lsn> {
        let asked = self.client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]);
        parse_lsn(answered("asking for the end of the log", &self.config, asked).await?.get(0))
    }

    /// The connection, for questions about the catalog.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What there is to know of these tables; those that are gone are left out.
    pub async fn tables(&self, publications: &str, tables: &[(String, String)]) -> Result<Vec<SnapshotTable>> {
        let publications: Vec<&str> = publications.split(',').map(str::trim).collect();
        let (schemas, names): (Vec<&str>, Vec<&str>) =
            tables.iter().map(|(schema, table)| (schema.as_str(), table.as_str())).unzip();
        // Before version 15 there are no row filters. A publication without one sends all rows.
        let statement = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', \
                 coalesce((SELECT bool_and(o.opcnamespace = 'pg_catalog'::regnamespace) \
                     FROM pg_index i CROSS JOIN unnest(i.indclass) AS k(op) JOIN pg_opclass o ON o.oid = k.op \
                     WHERE i.indrelid = c.oid AND i.indisprimary), false), \
                 (SELECT CASE WHEN bool_and(to_jsonb(p) ->> 'rowfilter' IS NOT NULL) \
                              THEN string_agg(to_jsonb(p) ->> 'rowfilter', ' OR ') END \
                     FROM pg_publication_tables p \
                     WHERE p.pubname = ANY($1) AND p.schemaname = n.nspname AND p.tablename = c.relname), \
                 (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::int8 FROM pg_class l WHERE l.relkind <> 'p' \
                     AND (l.oid = c.oid OR l.oid IN (SELECT t.relid FROM pg_partition_tree(c.oid) t))) \
             FROM unnest($2::text[], $3::text[]) AS wanted(schema, name) \
             JOIN pg_namespace n ON n.nspname = wanted.schema \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind IN ('r', 'p')";
        let parameters: [&(dyn ToSql + Sync); 3] = [&publications, &schemas, &names];
        let rows =
            answered("reading the snapshot's tables", &self.config, self.client.query(statement, &parameters)).await?;
        let table = |row: &tokio_postgres::Row| SnapshotTable {
            oid: row.get(0),
            schema: row.get(1),
            table: row.get(2),
            is_partitioned: row.get(3),
            has_ordered_key: row.get(4),
            row_filter: row.get(5),
            estimated_rows: u64::try_from(row.get::<_, i64>(6)).unwrap_or(0),
        };
        Ok(rows.iter().map(table).collect())
    }

    /// The answer to a question of yes or no, however long it takes.
    pub async fn is_true(&self, statement: &str) -> Result<bool> {
        let row = self.client.query_one(statement, &[]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("looking for rows", &self.config, error))
    }

    /// The rows of a COPY statement, which are to be read along an index if they are `ordered`.
    pub async fn copy(&self, what: &str, statement: &str, ordered: bool) -> Result<CopiedLines> {
        let others = if ordered { "off" } else { "on" };
        let settings = format!(
            "SET LOCAL enable_seqscan = {others}; SET LOCAL enable_bitmapscan = {others}; SET LOCAL enable_sort = {others}"
        );
        answered(what, &self.config, self.client.batch_execute(&settings)).await?;
        let stream = self.client.copy_out(statement).await;
        let stream = stream.map_err(|error| query_error(what, &self.config, error))?;
        let (what, config) = (what.to_owned(), self.config.clone());
        Ok(CopiedLines { stream: Box::pin(stream), arrived: BytesMut::new(), what, config })
    }
}

impl Drop for SnapshotTransaction {
    fn drop(&mut self) {
        // Otherwise the rest of a COPY would be read to its end.
        self.connection.abort();
    }
}

/// The lines of a COPY, as fast as they are taken.
pub struct CopiedLines {
    stream: Pin<Box<CopyOutStream>>,
    arrived: BytesMut,
    what: String,
    config: PostgresConfig,
}

impl CopiedLines {
    /// The next one, or nothing behind the last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.arrived) {
                return Ok(Some(self.arrived.split_to(end.saturating_add(1)).freeze()));
            }
            match self.stream.next().await {
                Some(Ok(bytes)) if self.arrived.is_empty() && is_line(&bytes) => return Ok(Some(bytes)),
                Some(Ok(bytes)) => self.arrived.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(query_error(&self.what, &self.config, error)),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(Error::protocol(format!("{}: the last line has no end", self.what))),
            }
        }
    }
}

/// Whether the bytes are one whole line, which is how PostgreSQL sends them.
fn is_line(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', bytes).is_some_and(|end| end.saturating_add(1) == bytes.len())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn parse_lsn(text: String) -> Result<Lsn> {
    text.parse().map_err(|error| Error::with_source(ErrorKind::Protocol, format!("PostgreSQL says `{text}`"), error))
}
