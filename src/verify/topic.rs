//! Reading a topic from its beginning to its end as it is now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::KafkaConfig;
use crate::error::{Error, Result};
use crate::kafka::{client_config, client_error, with_user_properties};

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// Without a record for this long the topic counts as unreadable.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What there was to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// There is no such topic.
    Nothing,
    /// Retention has taken records from its beginning.
    Shortened,
    /// All that was ever written to it, unless it is compacted.
    Whole,
}

/// Hands each record of the topic to `visit`; blocks.
pub(super) fn read_to_end(
    config: &KafkaConfig,
    topic: &str,
    mut visit: impl FnMut(&BorrowedMessage<'_>),
) -> Result<Reach> {
    let failed = |error| client_error(&format!("reading topic {topic}"), config, error);
    let mut client = client_config(config, "evp-verify");
    with_user_properties(&mut client, config);
    // Partitions are assigned by hand: no group is joined, and no offset is ever stored.
    client.set("group.id", "evp-verify").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = client.create().map_err(failed)?;
    // All topics at once: asking for one by name can create it.
    let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT).map_err(failed)?;
    let Some(found) = metadata.topics().iter().find(|known| known.name() == topic) else { return Ok(Reach::Nothing) };
    let (mut assignment, mut ends, mut reach) = (TopicPartitionList::new(), HashMap::new(), Reach::Whole);
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), METADATA_TIMEOUT).map_err(failed)?;
        if low > 0 {
            reach = Reach::Shortened;
        }
        if high > low {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).map_err(failed)?;
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut heard = Instant::now();
    while !ends.is_empty() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(record)) => {
                heard = Instant::now();
                let is_last = |end: &i64| record.offset().saturating_add(1) >= *end;
                if ends.get(&record.partition()).is_some_and(is_last) {
                    ends.remove(&record.partition());
                }
                visit(&record);
            }
            // The last offsets may be the marks of transactions, which are no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) => return Err(failed(error)),
            None if heard.elapsed() > SILENCE_MAX => {
                return Err(Error::unavailable(format!("topic {topic} does not deliver its records")));
            }
            None => {}
        }
    }
    Ok(reach)
}
