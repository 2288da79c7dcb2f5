//! What Kafka says before anything is streamed: the last record of each partition, and what was confirmed.

use std::collections::{BTreeSet, HashMap};

use rdkafka::message::{BorrowedMessage, Message};
use serde::Deserialize;

use super::CaptureOptions;
use super::confirmation::{self, position_topic};
use super::resume::{Confirmation, DebeziumTail, Tail, Tails};
use crate::envelope::POSITION_HEADER;
use crate::error::Result;
use crate::kafka::headers::{self, DEAD_LETTER_OF};
use crate::kafka::tail::TailReader;
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// What Kafka says.
pub(super) struct TopicState {
    pub(super) partition_counts: HashMap<String, u32>,
    pub(super) tails: Tails,
    pub(super) confirmation: Option<Confirmation>,
    pub(super) has_position_topic: bool,
    /// The offset behind the last record of each partition.
    pub(super) ends: HashMap<(String, i32), i64>,
}

impl TopicState {
    /// Takes nothing of what the topics hold for written: it is of another history than the server's.
    pub(super) fn give_up(&mut self) {
        self.tails = Tails::default();
        self.confirmation = None;
    }
}

/// Reads the ends of the topics; blocks.
pub(super) fn inspect_topics(options: &CaptureOptions, topics: &[String]) -> Result<TopicState> {
    let reader = TailReader::new(&options.kafka)?;
    let partition_counts = reader.partition_counts()?;
    let position_topic = position_topic(&options.settings.topic_prefix);
    let has_position_topic = partition_counts.contains_key(&position_topic);
    let confirmation = if has_position_topic {
        confirmation::read(&reader, &position_topic, &options.settings.slot_name)?
    } else {
        None
    };
    let lineage = confirmation.as_ref().map(|record| record.lineage.clone()).unwrap_or_default();
    let (mut tails, mut ends) = (Tails::default(), HashMap::new());
    let topics: BTreeSet<&String> = topics.iter().chain(lineage.topics()).collect();
    for topic in topics {
        let count = partition_counts.get(topic).copied().unwrap_or(0);
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let folded = reader.fold_tail(topic, partition, lineage.first_offset(topic, partition), later_tail)?;
            ends.insert((topic.clone(), partition), folded.end);
            if let Some(tail) = folded.last {
                tails.insert(topic.clone(), partition, tail);
            }
        }
    }
    Ok(TopicState { partition_counts, tails, confirmation, has_position_topic, ends })
}

/// The tail after one more record; records of others change nothing, nor do dead letters that were published again.
fn later_tail(tail: Option<Tail>, message: &BorrowedMessage<'_>) -> Option<Tail> {
    if headers::has(message, DEAD_LETTER_OF) {
        return tail;
    }
    let position = headers::value(message, POSITION_HEADER).and_then(|value| std::str::from_utf8(value).ok());
    if let Some(position) = position.and_then(|text| text.parse().ok()) {
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
