//! What the server says of itself, of the slot and of the publication.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::sql::{answered, query_error};
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// A slot waits so long for the transactions that are open.
const CREATION_TIMEOUT: &str = "SET statement_timeout = '60s'";

/// Settings of the server that decide whether and how we can stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`, e.g. 170007.
    pub version_number: i32,
    /// `wal_level`.
    pub wal_level: String,
    /// End of the flushed log.
    pub flushed_lsn: Lsn,
    /// End of the log, of which the last part may be in memory alone.
    pub inserted_lsn: Lsn,
    /// The server is a standby.
    pub is_in_recovery: bool,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Output plugin.
    pub plugin: Option<String>,
    /// Database it belongs to.
    pub database: Option<String>,
    /// Transactions that committed before this are never sent again.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Why the server has given it up, from version 17 on.
    pub invalidation_reason: Option<String>,
    /// Process id and application of whoever reads it now.
    pub holder: Option<String>,
}

/// Reads the server's settings.
pub async fn server_facts(client: &Client, config: &PostgresConfig) -> Result<ServerFacts> {
    // A standby that has just started says of what it receives nothing, or where its segment begins.
    let statement = "SELECT current_setting('server_version_num')::int, current_setting('wal_level'), \
                            CASE WHEN is_standby THEN received ELSE pg_current_wal_flush_lsn() END::text, \
                            CASE WHEN is_standby THEN received ELSE pg_current_wal_insert_lsn() END::text, is_standby \
                     FROM (SELECT pg_is_in_recovery() AS is_standby, \
                                  greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) AS received) AS server";
    let row = answered("reading the server's settings", config, client.query_one(statement, &[])).await?;
    Ok(ServerFacts {
        version_number: row.get(0),
        wal_level: row.get(1),
        flushed_lsn: parse_lsn(row.get(2))?.unwrap_or_default(),
        inserted_lsn: parse_lsn(row.get(3))?.unwrap_or_default(),
        is_in_recovery: row.get(4),
    })
}

/// `wal_sender_timeout`: how long the server keeps a connection, and the slot that it reads, without a sign of life.
pub async fn wal_sender_patience(client: &Client, config: &PostgresConfig) -> Result<Duration> {
    let statement = "SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout'";
    let row = answered("reading the server's settings", config, client.query_one(statement, &[])).await?;
    let milliseconds: i64 = row.get(0);
    Ok(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)))
}

/// Looks a slot up.
pub async fn find_slot(client: &Client, config: &PostgresConfig, name: &str) -> Result<Option<Slot>> {
    let statement = "SELECT s.plugin::text, s.database::text, s.confirmed_flush_lsn::text, s.wal_status, \
                            s.active_pid::text || coalesce(' (' || nullif(a.application_name, '') || ')', ''), \
                            to_jsonb(s) ->> 'invalidation_reason' \
                     FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid \
                     WHERE s.slot_name = $1";
    let row = answered("reading the replication slot", config, client.query_opt(statement, &[&name])).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Slot {
        plugin: row.get(0),
        database: row.get(1),
        confirmed_flush_lsn: parse_lsn(row.get(2))?,
        wal_status: row.get(3),
        holder: row.get(4),
        invalidation_reason: row.get(5),
    }))
}

/// Makes a slot that reads from now on, which waits for the transactions that are open.
pub async fn create_slot(client: &Client, config: &PostgresConfig, name: &str, with_failover: bool) -> Result<()> {
    let failover = if with_failover { ", failover => true" } else { "" };
    let statement = format!("SELECT pg_create_logical_replication_slot($1, 'pgoutput'{failover})");
    let created = client.batch_execute(CREATION_TIMEOUT).await;
    let created = match created {
        Ok(()) => client.execute(&statement, &[&name]).await,
        Err(error) => Err(error),
    };
    created.map(drop).map_err(|error| match error.code() {
        Some(&SqlState::QUERY_CANCELED) => Error::unavailable(format!(
            "replication slot {name} waits for transactions that were open before it: end them (pg_stat_activity)"
        )),
        _ => query_error(&format!("creating replication slot {name}"), config, error),
    })
}

/// Makes a slot that stands where `source` does, with the same plugin.
pub async fn copy_slot(client: &Client, config: &PostgresConfig, (source, copy): (&str, &str)) -> Result<()> {
    let statement = "SELECT pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
    let what = format!("copying replication slot {source}");
    answered(&what, config, client.execute(statement, &[&source, &copy])).await.map(drop)
}

/// Drops a slot that nobody reads.
pub async fn drop_slot(client: &Client, config: &PostgresConfig, name: &str) -> Result<()> {
    let what = format!("dropping replication slot {name}");
    answered(&what, config, client.execute("SELECT pg_drop_replication_slot($1)", &[&name])).await.map(drop)
}

/// Whether every publication of a comma separated list exists; the first that does not is returned.
pub async fn publication_exists(client: &Client, config: &PostgresConfig, list: &str) -> Result<Result<(), String>> {
    for name in list.split(',').map(str::trim) {
        let statement = "SELECT 1 FROM pg_publication WHERE pubname = $1";
        let found = answered("reading the publication", config, client.query_opt(statement, &[&name])).await?;
        if found.is_none() {
            return Ok(Err(name.to_owned()));
        }
    }
    Ok(Ok(()))
}

fn parse_lsn(text: Option<String>) -> Result<Option<Lsn>> {
    text.map(|text| {
        text.parse()
            .map_err(|error| Error::with_source(ErrorKind::Protocol, format!("PostgreSQL says `{text}`"), error))
    })
    .transpose()
}
