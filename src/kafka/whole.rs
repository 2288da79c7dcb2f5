//! Reading a topic from its beginning to its end as it is now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::headers::TopicRecord;
use super::tail::is_passing;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// Without a record for this long the topic counts as unreadable.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Bytes that are read ahead.
const READ_AHEAD_KBYTES: &str = "16384";

/// What there was to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There is no such topic.
    Nothing,
    /// Retention or compaction has taken some records.
    Shortened,
    /// All that was ever written to it.
    Whole,
}

/// Hands each record of the topic to `visit`; blocks, until the end or until the token is cancelled.
pub(crate) fn read_to_end(
    config: &KafkaConfig,
    topic: &str,
    token: &CancellationToken,
    mut visit: impl FnMut(TopicRecord<'_>) -> Result<()>,
) -> Result<Reach> {
    let failed = |error| client_error(&format!("reading topic {topic}"), config, error);
    let mut client = client_config(config, "evp-reader");
    with_user_properties(&mut client, config);
    // Partitions are assigned by hand: no group is joined, and no offset is ever stored.
    client.set("group.id", "evp-reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    client
        .set("queued.max.messages.kbytes", READ_AHEAD_KBYTES)
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.max.bytes", "16777216");
    let consumer: BaseConsumer = client.create().map_err(failed)?;
    // All topics at once: asking for one by name can create it.
    let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT).map_err(failed)?;
    let Some(found) = metadata.topics().iter().find(|known| known.name() == topic) else { return Ok(Reach::Nothing) };
    let (mut assignment, mut ends, mut missing) = (TopicPartitionList::new(), HashMap::new(), 0_i64);
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), METADATA_TIMEOUT).map_err(failed)?;
        missing = missing.saturating_add(high);
        if high > low {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).map_err(failed)?;
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut heard = Instant::now();
    while !ends.is_empty() {
        if token.is_cancelled() {
            return Err(Error::new(ErrorKind::System, "stopped by a signal before it was done"));
        }
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(record)) => {
                heard = Instant::now();
                let is_last = |end: &i64| record.offset().saturating_add(1) >= *end;
                if ends.get(&record.partition()).is_some_and(is_last) {
                    ends.remove(&record.partition());
                }
                missing = missing.saturating_sub(1);
                visit(TopicRecord::new(&record))?;
            }
            // The last offsets may be the marks of transactions, which are no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
        if heard.elapsed() > SILENCE_MAX {
            return Err(Error::unavailable(format!("topic {topic} does not deliver its records")));
        }
    }
    // Marks of transactions have offsets as well. Then it is not known whether there were records at these.
    Ok(if missing > 0 { Reach::Shortened } else { Reach::Whole })
}
