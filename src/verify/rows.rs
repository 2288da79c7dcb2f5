//! The rows of the outbox in the order of their aggregates, one at a time.

use std::pin::Pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as SqlRow, RowStream};
use uuid::Uuid;

use super::record::{Content, Said};
use crate::config::PostgresConfig;
use crate::envelope::decode::PAYLOAD_BYTES_MAX;
use crate::error::{Error, Result};
use crate::postgres::sql::{self, query_error};

/// Limits that are right for the application would end a long table half-way. Set for a transaction, so that a pooler between
/// cannot give the statement another connection.
const NO_LIMITS: &str = "SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN \
                         ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')";
/// So that the server does not go on sorting for a client that has gone.
const LOOK_FOR_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    /// As documents hold it.
    pub(super) aggregate_id: String,
    pub(super) event_id: Uuid,
    pub(super) said: Said,
}

/// All rows.
pub(super) struct Rows<'a> {
    /// Ends the connection when dropped.
    _client: Client,
    stream: Pin<Box<RowStream>>,
    next: Option<Row>,
    config: &'a PostgresConfig,
    /// How many were read.
    pub(super) count: u64,
    /// How many of them name no event or no aggregate.
    pub(super) nameless: u64,
}

impl<'a> Rows<'a> {
    /// Starts to read. The server sorts, by an index where there is one, and sends as fast as rows are taken.
    pub(super) async fn open(config: &'a PostgresConfig) -> Result<Self> {
        let client = sql::connect(config).await?;
        // Not every platform has it.
        let _ = client.batch_execute(LOOK_FOR_CLIENT).await;
        let begin = format!("BEGIN READ ONLY; {NO_LIMITS}");
        client.batch_execute(&begin).await.map_err(|error| failed(config, error))?;
        // As text: what JSON allows and no program can hold is judged here, not by the driver. Of a payload that is too
        // large for any handler only so much is read that this shows.
        let statement = format!(
            "SELECT aggregate_id::uuid, event_id::uuid, event_type::text, left(payload::text, {PAYLOAD_BYTES_MAX} + 1), \
                    CASE WHEN isfinite(created_at) THEN floor(extract(epoch FROM created_at) * 1000)::int8 END \
             FROM activity.event_outbox ORDER BY aggregate_id::uuid, sequence_id"
        );
        let stream = client.query_raw(&statement, std::iter::empty::<&(dyn ToSql + Sync)>()).await;
        let stream = Box::pin(stream.map_err(|error| failed(config, error))?);
        let mut rows = Self { _client: client, stream, next: None, config, count: 0, nameless: 0 };
        rows.next = rows.read().await?;
        Ok(rows)
    }

    /// The aggregate of the next row.
    pub(super) fn peek(&self) -> Option<&str> {
        self.next.as_ref().map(|row| row.aggregate_id.as_str())
    }

    /// The next row, if it is one of this aggregate.
    pub(super) async fn next_of(&mut self, aggregate_id: &str) -> Result<Option<Row>> {
        if self.peek() != Some(aggregate_id) {
            return Ok(None);
        }
        let next = self.read().await?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    async fn read(&mut self) -> Result<Option<Row>> {
        while let Some(row) = self.stream.try_next().await.map_err(|error| failed(self.config, error))? {
            self.count = self.count.saturating_add(1);
            match row_of(&row).map_err(|error| failed(self.config, error))? {
                Some(row) => return Ok(Some(row)),
                None => self.nameless = self.nameless.saturating_add(1),
            }
        }
        Ok(None)
    }
}

fn failed(config: &PostgresConfig, error: tokio_postgres::Error) -> Error {
    query_error("reading the outbox", config, error)
}

fn row_of(row: &SqlRow) -> std::result::Result<Option<Row>, tokio_postgres::Error> {
    let ids: (Option<Uuid>, Option<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
    let (Some(aggregate_id), Some(event_id)) = ids else { return Ok(None) };
    let said = said(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    Ok(Some(Row { aggregate_id: aggregate_id.hyphenated().to_string(), event_id, said }))
}

fn said(event_type: Option<String>, payload: Option<String>, created_at_ms: Option<i64>) -> Said {
    Ok(Content {
        event_type: event_type.ok_or("`event_type` is missing")?,
        payload: payload.ok_or("`payload` is missing")?,
        created_at_ms: created_at_ms.ok_or("`created_at` is missing or has no end")?,
    })
}
