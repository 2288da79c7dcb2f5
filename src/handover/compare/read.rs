//! The topics of either side, read whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::difference::Seen;
use super::masks::Masks;
use super::record::Record;
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::headers::TopicRecord;
use crate::kafka::look::blocking;
use crate::kafka::tail::{Isolation, TailReader};
use crate::kafka::whole::read_to_end;

/// Reads what the sides have written.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) config: KafkaConfig,
    pub(super) masks: Arc<Masks>,
    pub(super) token: CancellationToken,
}

impl Reader {
    /// What a topic holds, without heartbeats; nothing if it is not there.
    pub(super) async fn seen(&self, topic: String) -> Result<Vec<Seen>> {
        let Self { config, masks, token } = self.clone();
        blocking("reading a topic", move || {
            let mut seen = Vec::new();
            read_to_end(&config, &topic, &token, |record| {
                let record = owned(record);
                if !record.is_heartbeat() {
                    seen.push(record.seen(&masks));
                }
                Ok(())
            })?;
            Ok(seen)
        })
        .await
    }

    /// One record; empty if it is gone.
    pub(super) async fn record(&self, topic: String, seen: Seen) -> Result<Record> {
        let Self { config, token, .. } = self.clone();
        blocking("reading a topic", move || {
            let mut found = Record { partition: seen.partition, offset: seen.offset, ..Record::default() };
            read_to_end(&config, &topic, &token, |record| {
                if (record.partition(), record.offset()) == (seen.partition, seen.offset) {
                    found = owned(record);
                }
                Ok(())
            })?;
            Ok(found)
        })
        .await
    }
}

fn owned(record: TopicRecord<'_>) -> Record {
    Record {
        partition: record.partition(),
        offset: record.offset(),
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
    }
}

/// How many partitions each topic has whose name begins so, by the rest of the name, and how many records all of its
/// partitions have had.
pub(super) async fn topics(config: &KafkaConfig, beginning: &str) -> Result<BTreeMap<String, (usize, i64)>> {
    let (config, beginning) = (config.clone(), beginning.to_owned());
    blocking("looking at the topics", move || {
        let reader = TailReader::new(&config, Isolation::Committed)?;
        let counts: HashMap<String, u32> = reader.partition_counts([])?;
        let mut topics = BTreeMap::new();
        for (topic, count) in counts {
            let Some(name) = topic.strip_prefix(&beginning) else { continue };
            let partitions = 0..i32::try_from(count).unwrap_or(i32::MAX);
            let partitions: Vec<_> = partitions.map(|partition| (topic.clone(), partition)).collect();
            let records = reader.ends(&partitions)?.into_iter().sum();
            topics.insert(name.to_owned(), (partitions.len(), records));
        }
        Ok(topics)
    })
    .await
}
