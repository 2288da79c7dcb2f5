//! Reading stretches of a topic's partitions, merged by the time of their records.
//!
//! Time is no order that anything rests on; it keeps an event close to those of other partitions that it stands behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::chunk::Chunk;
use super::headers::TopicRecord;
use super::tail::is_passing;
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Without a record for this long the topic counts as unreadable.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// What may wait of one partition until the others have come as far.
const WAITING_RECORDS_MAX: usize = 2_000;
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are read ahead.
const READ_AHEAD_KBYTES: &str = "16384";

/// From the first offset up to, and without, the second one.
pub(crate) type Range = (i64, i64);

/// One stretch.
#[derive(Debug, Default)]
struct Lane {
    end: i64,
    /// Records of one chunk each.
    waiting: VecDeque<Chunk>,
    bytes: usize,
    is_read: bool,
    is_paused: bool,
}

impl Lane {
    fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_RECORDS_MAX || self.bytes >= WAITING_BYTES_MAX
    }

    fn head_ms(&self) -> Option<i64> {
        self.waiting.front()?.record(0)?.timestamp_ms()
    }
}

/// Reads one topic.
pub(crate) struct RangeReader {
    consumer: BaseConsumer,
    config: KafkaConfig,
    lanes: BTreeMap<i32, Lane>,
    heard: Instant,
}

impl RangeReader {
    /// Starts to read; stretches without an offset are left out.
    pub(crate) fn open(config: &KafkaConfig, ranges: &BTreeMap<i32, Range>) -> Result<Self> {
        let failed = |error| client_error(&format!("reading topic {}", config.topic), config, error);
        let mut client = client_config(config, "evp-reader");
        with_user_properties(&mut client, config);
        // Partitions are assigned by hand: no group is joined, and no offset is ever stored.
        client
            .set("group.id", "evp-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", READ_AHEAD_KBYTES)
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "50")
            .remove("group.instance.id");
        let consumer: BaseConsumer = client.create().map_err(failed)?;
        let (mut assignment, mut lanes) = (TopicPartitionList::new(), BTreeMap::new());
        for (partition, (from, end)) in ranges.iter().filter(|(_, (from, end))| from < end) {
            assignment.add_partition_offset(&config.topic, *partition, Offset::Offset(*from)).map_err(failed)?;
            lanes.insert(*partition, Lane { end: *end, ..Lane::default() });
        }
        consumer.assign(&assignment).map_err(failed)?;
        Ok(Self { consumer, config: config.clone(), lanes, heard: Instant::now() })
    }

    /// When the next record was written; `None` at the end. Blocks until each stretch has one or is read.
    pub(crate) fn next_ms(&mut self) -> Result<Option<i64>> {
        // Whoever takes the records may have been slow.
        self.heard = Instant::now();
        while self.lanes.values().any(|lane| lane.waiting.is_empty() && !lane.is_read) {
            self.poll()?;
        }
        self.lanes.retain(|_, lane| !(lane.is_read && lane.waiting.is_empty()));
        Ok(self.lanes.values().map(|lane| lane.head_ms().unwrap_or_default()).min())
    }

    /// Takes the record that [`Self::next_ms`] tells of.
    pub(crate) fn take(&mut self) -> Result<Option<Chunk>> {
        let first = self.lanes.iter_mut().min_by_key(|(_, lane)| lane.head_ms().unwrap_or_default());
        let Some((partition, lane)) = first else { return Ok(None) };
        let (partition, taken) = (*partition, lane.waiting.pop_front());
        lane.bytes = lane.bytes.saturating_sub(taken.as_ref().map_or(0, Chunk::bytes));
        if lane.is_paused && !lane.is_read && lane.waiting.is_empty() {
            lane.is_paused = false;
            self.flow(partition, true)?;
        }
        Ok(taken)
    }

    fn poll(&mut self) -> Result<()> {
        let mut full = None;
        match self.consumer.poll(POLL_TIMEOUT) {
            Some(Ok(record)) => {
                self.heard = Instant::now();
                let record = TopicRecord::new(&record);
                let partition = record.partition();
                let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
                let next = record.offset().saturating_add(1);
                lane.is_read |= next >= lane.end;
                if next <= lane.end {
                    let mut chunk = Chunk::default();
                    chunk.push(record);
                    lane.bytes = lane.bytes.saturating_add(chunk.bytes());
                    lane.waiting.push_back(chunk);
                }
                if !lane.is_paused && (lane.is_read || lane.is_full()) {
                    lane.is_paused = true;
                    full = Some(partition);
                }
            }
            // The last offsets may be the marks of transactions, which are no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.lanes.get_mut(&partition).into_iter().for_each(|lane| lane.is_read = true);
            }
            Some(Err(error)) if is_gone(&error) => {
                return Err(Error::refused(format!(
                    "topic {} lost records while they were read: its retention is too short to rebuild from it",
                    self.config.topic
                )));
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => {
                return Err(client_error(&format!("reading topic {}", self.config.topic), &self.config, error));
            }
            None => {}
        }
        if self.heard.elapsed() > SILENCE_MAX {
            return Err(Error::unavailable(format!("topic {} does not deliver its records", self.config.topic)));
        }
        full.map_or(Ok(()), |partition| self.flow(partition, false))
    }

    fn flow(&self, partition: i32, is_read: bool) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.config.topic, partition);
        let changed = if is_read { self.consumer.resume(&list) } else { self.consumer.pause(&list) };
        changed.map_err(|error| client_error("pausing a partition", &self.config, error))
    }
}

fn is_gone(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))
}
