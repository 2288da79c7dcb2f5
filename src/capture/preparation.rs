//! Before streaming: is the server fit, what does Kafka hold, and does the slot still lead up to it?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde::Deserialize;
use tokio_postgres::Client;

use super::CaptureOptions;
use super::confirmation::{self, position_topic};
use super::relations::Relations;
use super::resume::{Confirmation, DebeziumTail, Tail, Tails};
use crate::connector::topic_name;
use crate::envelope::POSITION_HEADER;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::tail::TailReader;
use crate::lsn::Lsn;
use crate::pgoutput::Xid;
use crate::postgres::{self, ServerFacts, Slot};

/// How often a slot that somebody else reads is looked at.
const SLOT_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What PostgreSQL says.
pub(super) struct SourceState {
    pub(super) catalog: Client,
    pub(super) facts: ServerFacts,
    pub(super) slot: Option<Slot>,
    pub(super) topics: Vec<String>,
}

/// Checks the server, the publication and its tables, and looks the slot up.
pub(super) async fn inspect_source(options: &CaptureOptions) -> Result<SourceState> {
    let (config, settings) = (&options.postgres, &options.settings);
    let catalog = postgres::sql::connect(config).await?;
    let facts = postgres::server_facts(&catalog, config).await?;
    if facts.is_in_recovery {
        return Err(Error::unavailable(format!(
            "PostgreSQL at {} is a standby, where the slot's position says nothing yet; set POSTGRES_HOST to the primary, \
             or promote it",
            config.address()
        )));
    }
    if facts.wal_level != "logical" {
        return Err(Error::new(
            ErrorKind::Missing,
            format!(
                "PostgreSQL at {} has wal_level = {}; set wal_level = logical in postgresql.conf and restart it",
                config.address(),
                facts.wal_level
            ),
        ));
    }
    let publication = &settings.publication_name;
    if let Err(missing) = postgres::publication_exists(&catalog, config, publication).await? {
        return Err(Error::new(ErrorKind::Missing, format!("publication {missing} does not exist; run `evp init`")));
    }
    let mut topics = Vec::new();
    let relations = Relations { settings, postgres: config, catalog: &catalog };
    for (schema, table) in postgres::published_tables(&catalog, config, publication).await? {
        if settings.tables.accepts(&schema, &table) {
            relations.check(&schema, &table).await?;
            topics.push(topic_name(&settings.topic_prefix, &schema, &table, &settings.routes));
        }
    }
    if topics.is_empty() {
        return Err(Error::new(
            ErrorKind::Missing,
            format!("publication {publication} has no table that table.include.list takes; add one, or run `evp init`"),
        ));
    }
    let slot = wait_for_slot(&catalog, options).await?;
    Ok(SourceState { catalog, facts, slot, topics })
}

/// Looks the slot up; one that somebody else reads is waited for, as a reader that crashed leaves it busy for a while.
async fn wait_for_slot(catalog: &Client, options: &CaptureOptions) -> Result<Option<Slot>> {
    let (config, settings) = (&options.postgres, &options.settings);
    let name = &settings.slot_name;
    let deadline = Instant::now() + settings.slot_wait;
    let mut is_told = false;
    loop {
        let slot = postgres::find_slot(catalog, config, name).await?;
        let Some(holder) = slot.as_ref().and_then(|slot| slot.holder.clone()) else {
            return check_slot(name, config, slot);
        };
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorKind::Missing,
                format!("replication slot {name} is read by process {holder}; stop that reader, a slot has only one"),
            ));
        }
        if !is_told {
            tracing::warn!(event = "slot_busy", slot = %name, holder, "the slot has another reader; waiting until it is gone");
            is_told = true;
        }
        tokio::time::sleep(SLOT_POLL_INTERVAL).await;
    }
}

fn check_slot(name: &str, config: &crate::config::PostgresConfig, slot: Option<Slot>) -> Result<Option<Slot>> {
    if let Some(slot) = &slot {
        if slot.plugin.as_deref() != Some("pgoutput") {
            let plugin = slot.plugin.as_deref().unwrap_or("none");
            let message = format!("replication slot {name} has the plugin {plugin}; evp needs one with pgoutput");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if slot.database.as_deref() != Some(config.database.as_str()) {
            let database = slot.database.as_deref().unwrap_or("none");
            let message = format!(
                "replication slot {name} belongs to database {database}, not {}; set POSTGRES_DB or another slot.name",
                config.database
            );
            return Err(Error::new(ErrorKind::Missing, message));
        }
    }
    Ok(slot)
}

/// What Kafka says.
pub(super) struct TopicState {
    pub(super) partition_counts: HashMap<String, u32>,
    pub(super) tails: Tails,
    pub(super) confirmation: Option<Confirmation>,
    pub(super) has_position_topic: bool,
}

/// Reads the ends of the topics; blocks.
pub(super) fn inspect_topics(options: &CaptureOptions, topics: &[String]) -> Result<TopicState> {
    let reader = TailReader::new(&options.kafka)?;
    let partition_counts = reader.partition_counts()?;
    let mut tails = Tails::default();
    for topic in topics {
        let count = partition_counts.get(topic).copied().unwrap_or(0);
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            if let Some(tail) = reader.fold_tail(topic, partition, later_tail)? {
                tails.insert(topic.clone(), partition, tail);
            }
        }
    }
    let position_topic = position_topic(&options.settings.topic_prefix);
    let has_position_topic = partition_counts.contains_key(&position_topic);
    let confirmation = if has_position_topic {
        confirmation::read(&reader, &position_topic, &options.settings.slot_name)?
    } else {
        None
    };
    Ok(TopicState { partition_counts, tails, confirmation, has_position_topic })
}

/// The tail after one more record; records that neither evp nor Debezium wrote change nothing.
fn later_tail(tail: Option<Tail>, message: &BorrowedMessage<'_>) -> Option<Tail> {
    let position = message.headers().and_then(|headers| {
        let header = headers.iter().find(|header| header.key == POSITION_HEADER)?;
        std::str::from_utf8(header.value?).ok()?.parse().ok()
    });
    if let Some(position) = position {
        return Some(Tail::Ours(position));
    }
    let Some(mut debezium) = message.payload().and_then(parse_debezium) else { return tail };
    if let Some(Tail::Debezium(previous)) = &tail
        && (previous.xid, previous.lsn) == (debezium.xid, debezium.lsn)
    {
        debezium.rows_at_lsn = previous.rows_at_lsn.saturating_add(1);
    }
    Some(Tail::Debezium(debezium))
}

#[derive(Deserialize)]
struct DebeziumEnvelope {
    source: DebeziumSource,
}

#[derive(Deserialize)]
struct DebeziumSource {
    #[serde(rename = "txId")]
    tx_id: u32,
    lsn: i64,
    sequence: Option<String>,
    ts_ms: i64,
    ts_us: Option<i64>,
}

fn parse_debezium(payload: &[u8]) -> Option<DebeziumTail> {
    let source = serde_json::from_slice::<DebeziumEnvelope>(payload).ok()?.source;
    let sequence: Option<Vec<Option<String>>> = source.sequence.and_then(|text| serde_json::from_str(&text).ok());
    let previous =
        sequence.and_then(|pair| pair.into_iter().next().flatten()).and_then(|text| text.parse::<i64>().ok());
    Some(DebeziumTail {
        xid: Xid(source.tx_id),
        lsn: Lsn::new(source.lsn.cast_unsigned()),
        previous_commit_end: previous.map(|lsn| Lsn::new(lsn.cast_unsigned())),
        commit_time_us: source.ts_us.unwrap_or_else(|| source.ts_ms.saturating_mul(1_000)),
        rows_at_lsn: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_block_of_debezium_is_understood() {
        let payload = br#"{"before":null,"source":{"version":"3.5.0.Final","ts_ms":1795252418710,"sequence":"[\"150\",\"26217256\"]","ts_us":1795252418710659,"txId":744,"lsn":26217256}}"#;
        let tail = parse_debezium(payload).unwrap();
        assert_eq!(tail.previous_commit_end, Some(Lsn::new(150)));
        assert_eq!((tail.xid, tail.lsn), (Xid(744), Lsn::new(26_217_256)));
        let first = br#"{"source":{"ts_ms":5,"sequence":"[null,\"26217256\"]","txId":744,"lsn":26217256}}"#;
        let tail = parse_debezium(first).unwrap();
        assert_eq!((tail.previous_commit_end, tail.commit_time_us), (None, 5_000));
        assert_eq!(parse_debezium(b"not an envelope"), None);
    }
}
