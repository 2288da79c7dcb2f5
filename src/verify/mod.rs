//! `evp verify`: compares the read models with what the outbox says they must be.
//!
//! The expectation is folded from the rows by code of its own, straight from the documented effects and without
//! the handlers, so that a mistake in a handler shows. Rows are folded in the order of `sequence_id`; run it once
//! capture and process have caught up, because both sides are read one after the other.

mod compare;
mod dead_letters;
mod fold;
mod read_models;
mod report;

use futures_util::TryStreamExt;
use mongodb::Database;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

pub use report::{Finding, FindingKind, VerifyReport};

use crate::config::{KafkaConfig, MongoConfig, PostgresConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql;
use crate::{mongo, postgres};
use dead_letters::DeadLetters;
use fold::{Fold, OutboxEntry};

/// Where to look.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The outbox.
    pub postgres: PostgresConfig,
    /// The read models.
    pub mongo: MongoConfig,
    /// The dead letters.
    pub kafka: KafkaConfig,
}

const ROWS: &str = "SELECT event_id, aggregate_id::text, event_type, payload, \
                           floor(extract(epoch FROM created_at) * 1000)::int8 \
                    FROM activity.event_outbox ORDER BY sequence_id";

/// Compares everything and reports what differs.
pub async fn run(options: &VerifyOptions, token: &CancellationToken) -> Result<VerifyReport> {
    let database = mongo::connect(&options.mongo).await?;
    let outcome = token.run_until_cancelled(compare(options, &database)).await;
    mongo::close(database.client().clone()).await;
    outcome.unwrap_or_else(|| Err(Error::new(ErrorKind::System, "stopped by a signal before it was done")))
}

async fn compare(options: &VerifyOptions, database: &Database) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let dead_letters = match dead_letters::read(&options.kafka).await {
        Ok(dead_letters) => dead_letters,
        Err(error) => {
            report.note(format!("dead letters are not looked at: {error}"));
            DeadLetters::default()
        }
    };
    let fold = fold_outbox(options, dead_letters, &mut report).await?;
    read_models::compare(database, fold, &mut report).await?;
    Ok(report)
}

async fn fold_outbox(options: &VerifyOptions, dead_letters: DeadLetters, report: &mut VerifyReport) -> Result<Fold> {
    let client = sql::connect(&options.postgres).await?;
    let failed = |error| postgres::sql::query_error("reading the outbox", &options.postgres, error);
    let rows = client.query_raw(ROWS, std::iter::empty::<&(dyn ToSql + Sync)>()).await.map_err(failed)?;
    let mut rows = std::pin::pin!(rows);
    let mut fold = Fold::default();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let entry = entry_of(&row).map_err(failed)?;
        report.outbox_events = report.outbox_events.saturating_add(1);
        if dead_letters.event_ids.contains(&entry.event_id) {
            fold.set_aside(&entry);
            report.add(FindingKind::DeadLetter, entry.event_id, format!("{} is a dead letter", entry.event_type));
        } else {
            fold.apply(entry);
        }
    }
    for (event_id, reason) in fold.take_inapplicable() {
        report.add(FindingKind::LostEvent, event_id, format!("{reason}, and it is not among the dead letters"));
    }
    report.unknown_events = fold.unknown_events;
    report.dead_letters = dead_letters.records;
    if dead_letters.without_event_id > 0 {
        report.add(
            FindingKind::DeadLetter,
            &options.kafka.topic,
            format!("{} dead letters do not name an event", dead_letters.without_event_id),
        );
    }
    Ok(fold)
}

fn entry_of(row: &Row) -> Result<OutboxEntry, tokio_postgres::Error> {
    Ok(OutboxEntry {
        event_id: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        event_type: row.try_get(2)?,
        payload: row.try_get(3)?,
        created_at_ms: row.try_get(4)?,
    })
}
