//! What Kafka says before anything is streamed: the last record of each partition, and what was confirmed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::CaptureOptions;
use super::confirmation;
use super::gap::Confirmation;
use super::lineage::Lineage;
use super::snapshot::SnapshotProgress;
use super::tails::{DebeziumTail, Tail, Tails};
use crate::dead_letters::DEAD_LETTER_OF;
use crate::envelope::{POSITION_HEADER, Position, PositionKind, SnapshotMark};
use crate::error::{Error, Result};
use crate::kafka::headers::TopicRecord;
use crate::kafka::tail::{Folded, Isolation, TailReader, WantedTail};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// Between two looks at ends that have to stay where they are.
const SETTLE_INTERVAL: Duration = Duration::from_millis(700);
/// Ends that move for longer are moved by others.
const SETTLE_MAX: Duration = Duration::from_secs(10);

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
    /// Whether anything was captured to these topics before.
    pub(super) fn has_begun(&self) -> bool {
        self.confirmation.is_some() || self.ends.values().any(|end| *end > 0)
    }

    /// Takes nothing of what the topics hold for written: it is of another history than the server's.
    pub(super) fn give_up(&mut self) {
        self.tails = Tails::default();
        self.confirmation = None;
    }
}

/// Reads the ends of the topics; blocks. Where requests of an earlier producer `may_arrive`, the ends are waited for.
pub(super) fn inspect_topics(options: &CaptureOptions, topics: &[String], may_arrive: bool) -> Result<TopicState> {
    let reader = TailReader::new(&options.kafka, Isolation::Uncommitted)?;
    let position_topic = &options.position_topic;
    let mut partition_counts = reader.partition_counts(topics.iter().chain([position_topic]))?;
    let has_position_topic = partition_counts.contains_key(position_topic);
    let confirmation = if has_position_topic {
        confirmation::read(&reader, position_topic, &options.settings.slot_name)?
    } else {
        None
    };
    let lineage = confirmation.as_ref().map(|record| record.lineage.clone()).unwrap_or_default();
    let topics: BTreeSet<&String> = topics.iter().chain(lineage.topics()).collect();
    for (topic, count) in reader.partition_counts(lineage.topics())? {
        partition_counts.entry(topic).or_insert(count);
    }
    let partitions = partitions_of(&topics, &partition_counts);
    if may_arrive {
        settle(&reader, &partitions)?;
    }
    let mut ends = TopicEnds { reader, committed: None, options, snapshot: lineage.snapshot.as_ref() };
    let mut state = TopicState {
        partition_counts,
        tails: Tails::default(),
        confirmation,
        has_position_topic,
        ends: HashMap::new(),
    };
    let wanted = |(topic, partition): (String, i32)| {
        let first = lineage.first_offset(&topic, partition);
        WantedTail { topic, partition, first }
    };
    let wanted: Vec<WantedTail> = partitions.into_iter().map(wanted).collect();
    for (WantedTail { topic, partition, .. }, (tail, end)) in wanted.iter().zip(ends.tails(&wanted)?) {
        state.ends.insert((topic.clone(), *partition), end);
        if let Some(tail) = tail {
            state.tails.insert(topic.clone(), *partition, tail);
        }
    }
    Ok(state)
}

/// What is found of a topic that a row has named for the first time.
pub(super) struct MetTopic {
    pub(super) partition_count: u32,
    pub(super) tails: Vec<(i32, Tail)>,
}

/// Looks a topic up and reads its ends, as far as `lineage` lets its records count; blocks. `None` if it is not there.
pub(super) fn meet_topic(options: &CaptureOptions, lineage: &Lineage, topic: &str) -> Result<Option<MetTopic>> {
    let reader = TailReader::new(&options.kafka, Isolation::Uncommitted)?;
    let Some(partition_count) = reader.partition_count(topic)? else { return Ok(None) };
    let mut ends = TopicEnds { reader, committed: None, options, snapshot: lineage.snapshot.as_ref() };
    let wanted =
        |partition| WantedTail { topic: topic.to_owned(), partition, first: lineage.first_offset(topic, partition) };
    let wanted: Vec<WantedTail> = (0..i32::try_from(partition_count).unwrap_or(i32::MAX)).map(wanted).collect();
    let tails = (0..).zip(ends.tails(&wanted)?);
    let tails = tails.filter_map(|(partition, (tail, _))| tail.map(|tail| (partition, tail))).collect();
    Ok(Some(MetTopic { partition_count, tails }))
}

fn partitions_of(topics: &BTreeSet<&String>, counts: &HashMap<String, u32>) -> Vec<(String, i32)> {
    let partitions = |topic: &String| 0..i32::try_from(counts.get(topic).copied().unwrap_or(0)).unwrap_or(i32::MAX);
    topics.iter().flat_map(|topic| partitions(topic).map(|partition| ((*topic).clone(), partition))).collect()
}

/// Waits until nothing more arrives: a request of a producer that was dropped can be answered after its connection is gone.
fn settle(reader: &TailReader, partitions: &[(String, i32)]) -> Result<()> {
    let started = Instant::now();
    let mut known = reader.ends(partitions)?;
    loop {
        std::thread::sleep(SETTLE_INTERVAL);
        let now = reader.ends(partitions)?;
        if now == known {
            return Ok(());
        }
        if started.elapsed() > SETTLE_MAX {
            return Err(Error::unavailable(
                "the topics grow although this capture writes nothing: another program writes to them; waiting until it stops",
            ));
        }
        known = now;
    }
}

/// Reads the last record of partitions.
struct TopicEnds<'a> {
    reader: TailReader,
    /// Made when the first record of Debezium's is met.
    committed: Option<TailReader>,
    options: &'a CaptureOptions,
    /// The last snapshot of evp's, which knows what stood in the topics before it.
    snapshot: Option<&'a SnapshotProgress>,
}

impl TopicEnds<'_> {
    /// The last record of each partition that counts, and its end.
    ///
    /// Our own records are never part of a transaction, and stand behind those of one that is open or aborted. What
    /// Debezium has written counts only if it is committed.
    fn tails(&mut self, wanted: &[WantedTail]) -> Result<Vec<(Option<Tail>, i64)>> {
        let with_tombstones = self.options.settings.tombstones_on_delete;
        let snapshot = self.snapshot;
        // A row of our snapshot ends the search: before it stands what stood there when the snapshot began.
        let known = |found: Option<Last>, record: TopicRecord<'_>| match snapshot.is_some() && is_read(record) {
            true => Some(Last::OfSnapshot),
            false => match found {
                Some(Last::OfSnapshot) => later_tail(None, record, with_tombstones).map(Last::Tail).or(found),
                Some(Last::Tail(tail)) => later_tail(Some(tail), record, with_tombstones).map(Last::Tail),
                None => later_tail(None, record, with_tombstones).map(Last::Tail),
            },
        };
        let all = self.reader.fold_tails(wanted, known)?;
        wanted.iter().zip(all).map(|(wanted, all)| self.tail(wanted, all)).collect()
    }

    /// The same of one, of which `all` is the last record, whether or not it is committed.
    fn tail(&mut self, wanted: &WantedTail, all: Folded<Last>) -> Result<(Option<Tail>, i64)> {
        let with_tombstones = self.options.settings.tombstones_on_delete;
        let snapshot = self.snapshot;
        let is_of_snapshot = |record: TopicRecord<'_>| snapshot.is_some() && is_read(record);
        let end = all.end;
        let last = match all.last {
            Some(Last::OfSnapshot) => {
                let before = snapshot.and_then(|snapshot| snapshot.tail_before(&wanted.topic, wanted.partition));
                return Ok((before.cloned(), end));
            }
            Some(Last::Tail(tail)) => Some(tail),
            None => None,
        };
        let later = |tail: Option<(i64, Tail)>, record: TopicRecord<'_>| match is_of_snapshot(record) {
            true => tail,
            false => later_tail(tail, record, with_tombstones),
        };
        let (offset, tail) = match last {
            Some((offset, tail @ Tail::Debezium(_))) => (offset, tail),
            last => return Ok((last.map(|(_, tail)| tail), end)),
        };
        let committed = match &self.committed {
            Some(reader) => reader,
            None => self.committed.insert(TailReader::new(&self.options.kafka, Isolation::Committed)?),
        };
        let stable = committed.fold_tail(wanted, later)?;
        if stable.last.as_ref().is_some_and(|(stable, _)| *stable == offset) {
            return Ok((Some(tail), end));
        }
        let ours = self.reader.fold_tail(wanted, |found, record| match later(None, record) {
            Some(tail @ (_, Tail::Ours(_))) => Some(tail),
            _ => found,
        })?;
        let last = [stable.last, ours.last].into_iter().flatten().max_by_key(|(offset, _)| *offset);
        Ok((last.map(|(_, tail)| tail), end))
    }
}

/// What the end of a partition was found to be.
enum Last {
    /// A record that bears its place in the stream, with its offset.
    Tail((i64, Tail)),
    /// A row of evp's own snapshot.
    OfSnapshot,
}

/// Whether a record is a row of a snapshot, by its header or, without one, by its envelope.
fn is_read(record: TopicRecord<'_>) -> bool {
    if record.has_header(DEAD_LETTER_OF) {
        return false;
    }
    let position = record.header(POSITION_HEADER).and_then(|value| std::str::from_utf8(value).ok());
    match position.and_then(|text| text.parse::<Position>().ok()) {
        Some(position) => position.kind == PositionKind::Snapshot,
        None => record.value().and_then(parse_debezium).is_some_and(|tail| tail.snapshot != SnapshotMark::False),
    }
}

/// The tail after one more record, with its offset; records of others change nothing, nor do dead letters that were
/// published again.
fn later_tail(tail: Option<(i64, Tail)>, record: TopicRecord<'_>, with_tombstones: bool) -> Option<(i64, Tail)> {
    if record.has_header(DEAD_LETTER_OF) {
        return tail;
    }
    let position = record.header(POSITION_HEADER).and_then(|value| std::str::from_utf8(value).ok());
    if let Some(position) = position.and_then(|text| Position::from_header(text, with_tombstones).ok()) {
        // Rows of a snapshot have an order of their own.
        return match position.kind {
            PositionKind::Stream | PositionKind::Incremental | PositionKind::Blocking => {
                Some((record.offset(), Tail::Ours(position)))
            }
            PositionKind::Snapshot => tail,
        };
    }
    let Some(mut debezium) = record.value().and_then(parse_debezium) else { return tail };
    if let Some((_, Tail::Debezium(previous))) = &tail
        && (previous.xid, previous.lsn) == (debezium.xid, debezium.lsn)
    {
        debezium.rows_at_lsn = previous.rows_at_lsn.saturating_add(1);
    }
    Some((record.offset(), Tail::Debezium(debezium)))
}

/// An envelope, or Connect's wrapping of one with its schema.
#[derive(Deserialize)]
struct DebeziumRecord {
    source: Option<DebeziumSource>,
    status: Option<Value>,
    id: Option<Value>,
    payload: Option<DebeziumPayload>,
}

#[derive(Deserialize)]
struct DebeziumPayload {
    source: Option<DebeziumSource>,
    status: Option<Value>,
    id: Option<Value>,
}

#[derive(Deserialize)]
struct DebeziumSource {
    /// Messages can be of no transaction.
    #[serde(rename = "txId")]
    tx_id: Option<u32>,
    lsn: i64,
    sequence: Option<String>,
    snapshot: Option<serde_json::Value>,
}

fn parse_debezium(payload: &[u8]) -> Option<DebeziumTail> {
    let DebeziumRecord { source, status, id, payload } = serde_json::from_slice(payload).ok()?;
    let DebeziumPayload { source, status, id } = payload.unwrap_or(DebeziumPayload { source, status, id });
    let Some(source) = source else { return parse_boundary(status?.as_str()?, id?.as_str()?) };
    let sequence: Option<Vec<Option<String>>> = source.sequence.and_then(|text| serde_json::from_str(&text).ok());
    let previous =
        sequence.and_then(|pair| pair.into_iter().next().flatten()).and_then(|text| text.parse::<i64>().ok());
    Some(DebeziumTail {
        xid: Xid(source.tx_id.unwrap_or(0)),
        lsn: Lsn::new(source.lsn.cast_unsigned()),
        previous_commit_end: previous.map(|lsn| Lsn::new(lsn.cast_unsigned())),
        rows_at_lsn: 1,
        snapshot: source
            .snapshot
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .map(SnapshotMark::from_word)
            .unwrap_or_default(),
    })
}

/// The record of a transaction's begin or end, whose id is `xid:lsn`.
fn parse_boundary(status: &str, id: &str) -> Option<DebeziumTail> {
    let (xid, lsn) = id.split_once(':').filter(|_| matches!(status, "BEGIN" | "END"))?;
    let lsn = lsn.parse::<i64>().ok()?;
    Some(DebeziumTail {
        xid: Xid(xid.parse().ok()?),
        lsn: Lsn::new(lsn.cast_unsigned()),
        previous_commit_end: None,
        rows_at_lsn: 1,
        snapshot: SnapshotMark::False,
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
        assert_eq!(parse_debezium(first).unwrap().previous_commit_end, None);
        let wrapped = [&b"{\"schema\":{},\"payload\":"[..], payload, b"}"].concat();
        assert_eq!(parse_debezium(&wrapped), Some(tail));
        assert_eq!(parse_debezium(b"not an envelope"), None);
        assert_eq!(parse_debezium(br#"{"id":5,"status":"pending"}"#), None, "a row without its envelope");
    }

    #[test]
    fn boundaries_of_transactions_and_messages_of_none_are_understood() {
        let end = br#"{"status":"END","id":"751:26498144","event_count":5,"ts_ms":1}"#;
        let tail = parse_debezium(end).unwrap();
        assert_eq!((tail.xid, tail.lsn, tail.previous_commit_end), (Xid(751), Lsn::new(26_498_144), None));
        let wrapped = [&b"{\"schema\":{},\"payload\":"[..], end, b"}"].concat();
        assert_eq!(parse_debezium(&wrapped), Some(tail));
        let alone = br#"{"op":"m","source":{"sequence":"[\"90\",\"90\"]","txId":null,"lsn":90}}"#;
        let tail = parse_debezium(alone).unwrap();
        assert_eq!((tail.xid, tail.previous_commit_end), (Xid(0), Some(Lsn::new(90))));
    }
}
