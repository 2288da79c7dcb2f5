//! The rows of the outbox, aggregate by aggregate, without holding more than one of them.

use std::pin::Pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream};
use uuid::Uuid;

use super::fold::OutboxEntry;
use crate::config::PostgresConfig;
use crate::envelope::decode::parse_payload;
use crate::error::{Error, Result};
use crate::postgres::sql::query_error;

/// The payload is read as text: what JSON allows and a program cannot hold is judged here, not by the driver.
const COLUMNS: &str = "SELECT event_id, aggregate_id::text, event_type::text, payload::text, \
                              floor(extract(epoch FROM created_at) * 1000)::int8, sequence_id::int8 \
                       FROM activity.event_outbox";

/// The rows in the order of their aggregates' ids, and of each aggregate in that of `sequence_id`.
pub(super) struct Rows<'a> {
    stream: Pin<Box<RowStream>>,
    next: Option<OutboxEntry>,
    config: &'a PostgresConfig,
}

impl<'a> Rows<'a> {
    /// Starts to read. The server sorts, by an index where there is one, and sends as fast as rows are taken.
    pub(super) async fn open(client: &Client, config: &'a PostgresConfig) -> Result<Self> {
        let statement = format!("{COLUMNS} ORDER BY aggregate_id, sequence_id");
        let rows = client.query_raw(&statement, std::iter::empty::<&(dyn ToSql + Sync)>()).await;
        let mut rows = Self { stream: Box::pin(rows.map_err(|error| failed(config, error))?), next: None, config };
        rows.next = rows.read().await?;
        Ok(rows)
    }

    /// All rows of the next aggregate.
    pub(super) async fn next_aggregate(&mut self) -> Result<Option<Vec<OutboxEntry>>> {
        let Some(first) = self.next.take() else { return Ok(None) };
        let mut entries = vec![first];
        while let Some(entry) = self.read().await? {
            if entries.first().is_some_and(|first| first.aggregate_id != entry.aggregate_id) {
                self.next = Some(entry);
                break;
            }
            entries.push(entry);
        }
        Ok(Some(entries))
    }

    async fn read(&mut self) -> Result<Option<OutboxEntry>> {
        let row = self.stream.try_next().await.map_err(|error| failed(self.config, error))?;
        row.map(|row| entry_of(&row)).transpose().map_err(|error| failed(self.config, error))
    }
}

/// The rows of some aggregates, in the order of `sequence_id`; an id that is no UUID has none.
pub(super) async fn of_aggregates(
    client: &Client,
    config: &PostgresConfig,
    aggregate_ids: &[String],
) -> Result<Vec<OutboxEntry>> {
    let statement = format!("{COLUMNS} WHERE aggregate_id = ANY($1) ORDER BY sequence_id");
    let rows = client.query(&statement, &[&uuids(aggregate_ids)]).await.map_err(|error| failed(config, error))?;
    rows.iter().map(entry_of).collect::<Result<_, _>>().map_err(|error| failed(config, error))
}

/// The column is compared as it is: a cast of it would pass over its index, and read the whole table for each question.
pub(super) fn uuids(ids: &[String]) -> Vec<Uuid> {
    ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect()
}

fn failed(config: &PostgresConfig, error: tokio_postgres::Error) -> Error {
    query_error("reading the outbox", config, error)
}

fn entry_of(row: &Row) -> Result<OutboxEntry, tokio_postgres::Error> {
    let payload: Option<String> = row.try_get(3)?;
    Ok(OutboxEntry {
        event_id: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        event_type: row.try_get(2)?,
        payload: payload.and_then(|text| parse_payload(&text).ok()),
        created_at_ms: row.try_get(4)?,
        sequence_id: row.try_get(5)?,
    })
}
