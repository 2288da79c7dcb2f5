//! Looking for an event in each of the places where it may be.

use bson::{Document, doc};
use memchr::memmem::Finder;
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dead_letters::{DEAD_LETTER_OF, Entry, LETTER, read_book};
use crate::envelope::decode::{Column, decode};
use crate::envelope::{POSITION_HEADER, Position};
use crate::error::Result;
use crate::init::InitPlan;
use crate::kafka::headers::TopicRecord;
use crate::kafka::look::blocking;
use crate::kafka::whole::read_to_end;
use crate::lsn::Lsn;
use crate::mongo::{self, KnownEvent, client_error, known_events};
use crate::postgres::sql::{connect, query_error};
use crate::process::Event;
use crate::row::Operation;

/// Records of one event that are told of.
const RECORDS_MAX: usize = 100;

/// The row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) table: String,
    pub(super) aggregate_id: String,
    pub(super) event_type: String,
    /// Milliseconds since 1970.
    pub(super) created_at_ms: Option<i64>,
}

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) operation: &'static str,
    pub(super) aggregate_id: Option<String>,
    pub(super) event_type: Option<String>,
    /// Where the transaction was committed, as evp knows it, or where the row was written, as Debezium does.
    pub(super) lsn: Option<String>,
    /// When it was committed.
    pub(super) committed_at_ms: Option<i64>,
    /// When it was written to Kafka.
    pub(super) written_at_ms: Option<i64>,
    /// Published again, from this letter if `evp dlq replay` did it.
    pub(super) republished_from: Option<String>,
}

/// A document of the event's aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Touched {
    pub(super) collection: String,
    pub(super) id: String,
    pub(super) is_created_by_it: bool,
    pub(super) is_last_changed_by_it: bool,
}

pub(super) async fn row(plan: &InitPlan, event_id: Uuid) -> Result<Option<Row>> {
    let client = connect(&plan.postgres).await?;
    let mut is_any_outbox = false;
    let mut no_outbox = None;
    for (schema, table) in &plan.tables {
        let name = format!("\"{}\".\"{}\"", schema.replace('"', "\"\""), table.replace('"', "\"\""));
        let statement = format!(
            "SELECT aggregate_id::text, event_type::text, (extract(epoch FROM created_at) * 1000)::int8 FROM {name} \
             WHERE event_id = $1 LIMIT 1"
        );
        let failed = |error| query_error("looking for the row", &plan.postgres, error);
        let found = match client.query_opt(&statement, &[&event_id]).await {
            // A table of another kind, of which a connector may capture some beside the outbox.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
                no_outbox = Some(failed(error));
                continue;
            }
            found => found.map_err(failed)?,
        };
        is_any_outbox = true;
        if let Some(row) = found {
            return Ok(Some(Row {
                table: format!("{schema}.{table}"),
                aggregate_id: row.get::<_, Option<String>>(0).unwrap_or_default(),
                event_type: row.get::<_, Option<String>>(1).unwrap_or_default(),
                created_at_ms: row.get(2),
            }));
        }
    }
    no_outbox.filter(|_| !is_any_outbox).map_or(Ok(None), Err)
}

/// Reads the whole topic: a record is known by nothing but its content.
pub(super) async fn records(plan: &InitPlan, event_id: Uuid, token: &CancellationToken) -> Result<Vec<Found>> {
    let (config, token, text) = (plan.kafka.clone(), token.clone(), event_id.to_string());
    blocking("reading the topic", move || {
        let (finder, mut found) = (Finder::new(text.as_bytes()), Vec::new());
        read_to_end(&config, &config.topic, &token, |record| {
            let value = record.value().filter(|value| finder.find(value).is_some());
            if found.len() < RECORDS_MAX {
                found.extend(value.and_then(|value| read(record, value, event_id)));
            }
            Ok(())
        })?;
        found.sort_by_key(|record: &Found| (record.written_at_ms, record.partition, record.offset));
        Ok(found)
    })
    .await
}

fn read(record: TopicRecord<'_>, value: &[u8], event_id: Uuid) -> Option<Found> {
    let envelope = decode(value).ok()?;
    let row = envelope.after.as_ref()?;
    if Event::id_of(row).ok()? != event_id {
        return None;
    }
    let text = |name| std::str::from_utf8(record.header(name)?).ok();
    let position: Option<Position> = text(POSITION_HEADER).and_then(|text| text.parse().ok());
    let lsn = position.map(|position| position.commit_lsn).or_else(|| envelope.source.lsn().map(Lsn::new));
    let again = record.has_header(DEAD_LETTER_OF).then(|| text(LETTER).unwrap_or("another program").to_owned());
    Some(Found {
        partition: record.partition(),
        offset: record.offset(),
        operation: match envelope.op {
            Operation::Create => "insert",
            Operation::Update => "update",
            Operation::Read => "snapshot",
            Operation::Delete | Operation::Truncate | Operation::Message => "other",
        },
        aggregate_id: Event::aggregate_id_of(row).ok(),
        event_type: row.text(Column::EventType).ok().flatten().map(std::borrow::Cow::into_owned),
        lsn: lsn.map(|lsn| lsn.to_string()),
        committed_at_ms: envelope.source_ts_us.map(|us| us / 1_000),
        written_at_ms: record.timestamp_ms(),
        republished_from: again,
    })
}

pub(super) async fn letters(plan: &InitPlan, event_id: Uuid, token: &CancellationToken) -> Result<Vec<Entry>> {
    let book = read_book(&plan.kafka, token).await?;
    Ok(book.entries().filter(|entry| entry.letter.event_id() == Some(event_id)).cloned().collect())
}

pub(super) async fn remembered(plan: &InitPlan, event_id: Uuid) -> Result<Option<KnownEvent>> {
    let database = mongo::connect(&plan.mongo).await?;
    let known = known_events(&database, &[event_id]).await;
    mongo::close(database.client().clone()).await;
    Ok(known?.remove(&event_id))
}

pub(super) async fn documents(plan: &InitPlan, aggregate_id: &str, event_id: Uuid) -> Result<Vec<Touched>> {
    let database = mongo::connect(&plan.mongo).await?;
    let failed = |error| client_error("looking for the documents", database.name(), error);
    let (mut touched, event_id) = (Vec::new(), event_id.to_string());
    for name in plan.collections.iter().map(|spec| spec.name().as_str()) {
        let collection = database.collection::<Document>(name);
        let Some(found) = collection.find_one(doc! { "_id": aggregate_id }).await.map_err(failed)? else { continue };
        let metadata = found.get_document("metadata").cloned().unwrap_or_default();
        let is = |field: &str| metadata.get_str(field).is_ok_and(|id| id == event_id);
        touched.push(Touched {
            collection: name.to_owned(),
            id: aggregate_id.to_owned(),
            is_created_by_it: is("source_event_id"),
            is_last_changed_by_it: is("last_event_id"),
        });
    }
    mongo::close(database.client().clone()).await;
    Ok(touched)
}
