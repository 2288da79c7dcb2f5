//! The loop: frames in, records out, until told to stop or something breaks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::{Acknowledgements, HEARTBEAT_TICKET};
use super::confirmation::Confirmed;
use super::lane::{Lane, has_room, next_lane};
use super::lineage::Lineage;
use super::meter::Meter;
use super::producers::Producers;
use super::progress::Ticket;
use super::relations::Relations;
use super::resume::{Candidate, Tails};
use super::transaction::{RECORDS_PER_ROW_MAX, TransactionState};
use crate::connector::{ConnectorSettings, routed};
use crate::envelope::{
    ChangeEncoder, EncodeError, POSITION_HEADER, Position, Record, RowContext, TableEncoder, heartbeat_key,
    heartbeat_value,
};
use crate::error::{Error, Result};
use crate::kafka::partition::partition_of;
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Message, Relation, RelationCache, decode};
use crate::postgres::{Frame, ReplicationReader};

/// How often positions are published.
const TICK: Duration = Duration::from_millis(250);
/// How often the end of `--until caught-up` is looked for.
const TARGET_TICK: Duration = Duration::from_millis(20);

/// Everything that one session works with.
pub(super) struct Pipeline<'a> {
    pub(super) settings: &'a ConnectorSettings,
    pub(super) relations: Relations<'a>,
    pub(super) acknowledgements: Arc<Acknowledgements>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) producers: Producers,
    pub(super) meter: &'a Meter,
    pub(super) tails: Tails,
    pub(super) partition_counts: HashMap<String, u32>,
    pub(super) lineage: Lineage,
    pub(super) transaction: TransactionState,
    pub(super) system_identifier: u64,
    /// Headers that every record has.
    pub(super) context_headers: Option<OwnedHeaders>,
    pub(super) with_position_header: bool,
    /// Ends the session if PostgreSQL says nothing for so long.
    pub(super) silence_max: Duration,
    /// Stop once everything before this is durable.
    pub(super) target: Option<Lsn>,
}

/// Why a session ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Told to stop.
    Stopped,
    /// The target is reached.
    CaughtUp,
}

/// How a burst of records ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Burst {
    /// Nothing more has arrived.
    Ended,
    /// More has arrived than one burst may hold.
    Full,
}

/// What a session holds of the stream besides its parts.
struct Stream {
    tables: RelationCache<Option<TableEncoder>>,
    encoder: ChangeEncoder,
    ticket: Ticket,
    lane: Lane,
    position: Vec<u8>,
    heard_at: Instant,
}

impl Pipeline<'_> {
    /// Runs until `token` is cancelled, the target is reached, or something breaks.
    pub(super) async fn run(&mut self, reader: &mut ReplicationReader, token: &CancellationToken) -> Result<Ending> {
        let mut stream = Stream {
            tables: RelationCache::default(),
            encoder: ChangeEncoder::default(),
            ticket: Ticket(0),
            lane: Lane::Prompt,
            position: Vec::new(),
            heard_at: Instant::now(),
        };
        let mut heartbeat = self.settings.heartbeat_interval.map(tokio::time::interval);
        let mut tick = tokio::time::interval(if self.target.is_some() { TARGET_TICK } else { TICK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Not sending is what makes PostgreSQL wait, once the buffer is full; status updates have their own task.
            let (lane, waiting_bytes) = (stream.lane, reader.waiting_bytes());
            let next_lane = |in_flight| next_lane(lane, in_flight, waiting_bytes);
            let awaits_kafka = match next_lane(self.acknowledgements.in_flight()) {
                Some(next) => {
                    if next != lane {
                        stream.lane = self.producers.usable(next)?;
                    }
                    // It may have to ask the catalog, which may be slow to answer.
                    match token.run_until_cancelled(self.send_burst(&mut stream, reader)).await {
                        Some(burst) => burst? == Burst::Full,
                        None => return Ok(Ending::Stopped),
                    }
                }
                None => true,
            };
            let is_reading = !awaits_kafka || reader.has_space();
            if let Some(error) = self.acknowledgements.take_failure() {
                return Err(error);
            }
            let next_heartbeat = async {
                match heartbeat.as_mut() {
                    Some(interval) => interval.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(Ending::Stopped),
                () = self.acknowledgements.wait_for(|now| next_lane(now.in_flight()).is_some()), if awaits_kafka => {}
                read = reader.fill(), if is_reading => {
                    read?;
                    stream.heard_at = Instant::now();
                }
                _ = next_heartbeat => self.send_heartbeat()?,
                _ = tick.tick() => {
                    if !is_reading {
                        stream.heard_at = Instant::now();
                    }
                    if self.look_around(&stream)? {
                        return Ok(Ending::CaughtUp);
                    }
                }
            }
        }
    }

    /// Handles what has arrived, up to the size of a burst.
    async fn send_burst(&mut self, stream: &mut Stream, reader: &mut ReplicationReader) -> Result<Burst> {
        loop {
            if !has_room(stream.lane, self.acknowledgements.in_flight()) {
                return Ok(Burst::Full);
            }
            match reader.buffered()? {
                None => return Ok(Burst::Ended),
                Some(Frame::LogData { lsn, message }) => {
                    if let Some(relation) = self.handle_message(stream, lsn, message)? {
                        let encoder = self.relations.encoder(&relation).await?;
                        stream.tables.insert(relation, encoder);
                    }
                }
                Some(Frame::Keepalive { sent_lsn, is_reply_requested }) => {
                    self.acknowledgements.keepalive(sent_lsn);
                    if is_reply_requested {
                        self.confirmed.changed.notify_one();
                    }
                }
            }
        }
    }

    /// Handles one message; a relation is given back, because it needs the catalog.
    fn handle_message(&mut self, stream: &mut Stream, lsn: Lsn, message: Bytes) -> Result<Option<Relation>> {
        let violation = |error: super::transaction::TransactionViolation| Error::protocol(error.to_string());
        match decode(message).map_err(|error| Error::protocol(error.to_string()))? {
            Message::Begin(begin) => {
                self.transaction.begin(&begin).map_err(violation)?;
                let open = self.transaction.open("begin").map_err(violation)?;
                stream.ticket = self.acknowledgements.begin(open.context.commit_time_us);
            }
            Message::Commit(commit) => {
                let done = self.transaction.commit(&commit).map_err(violation)?;
                self.acknowledgements.commit(commit.end_lsn, done.sent_count);
                self.confirmed.note_commit_end(commit.end_lsn);
                self.meter.transactions.increment(1);
            }
            Message::Origin { origin_lsn, name } => {
                let open = self.transaction.open("origin").map_err(violation)?;
                open.context.origin = Some((String::from_utf8_lossy(&name).into_owned(), origin_lsn));
            }
            Message::Relation(relation) => return Ok(Some(relation)),
            Message::Change(change) => self.write_change(stream, lsn, &change)?,
            // The connector's `skipped.operations` leaves truncates out, and logical messages are not asked for.
            Message::Truncate(_) | Message::Logical(_) | Message::Type => {}
        }
        Ok(None)
    }

    fn write_change(&mut self, stream: &mut Stream, lsn: Lsn, change: &Change) -> Result<()> {
        let open = self.transaction.open("row").map_err(|error| Error::protocol(error.to_string()))?;
        let first_index = open.next_row();
        let table = stream.tables.get(change.relation()).map_err(|error| Error::protocol(error.to_string()))?;
        let Some(table) = table else { return Ok(()) };
        if self.settings.skipped_operations.contains(&operation_letter(change)) {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let can_be_written = self.tails.can_hold(open.commit_lsn);
        let partition_count =
            if can_be_written { self.lineage.partition_count(table.topic(), open.commit_lsn) } else { None };
        let partition_count = partition_count.or_else(|| self.partition_counts.get(table.topic()).copied());
        let (commit_lsn, sent_count) = (open.commit_lsn, &mut open.sent_count);
        let mut indexes = first_index..;
        let context = &open.context;
        let row = RowContext { transaction: context, lsn, now_ns };
        let with_tombstones = self.settings.tombstones_on_delete;
        stream.encoder.encode(table, change, row, with_tombstones, |record: Record<'_>| -> Result<(), WriteError> {
            let index = indexes.next().unwrap_or(first_index);
            let partition = partition(&record, partition_count, commit_lsn, first_index);
            if can_be_written {
                let candidate =
                    Candidate { commit_lsn, index, lsn, xid: context.xid, commit_time_us: context.commit_time_us };
                if partition.is_some_and(|partition| self.tails.holds(record.topic, partition, &candidate)) {
                    self.meter.dropped_duplicates.increment(1);
                    return Ok(());
                }
            }
            let mut headers = self.context_headers.clone();
            if let Some(link) = record.key_change {
                let (key, value) = link.name_and_value();
                let linked = OwnedHeaders::new_with_capacity(6).insert(Header { key, value: Some(value) });
                headers = Some(append(linked, headers.as_ref()));
            }
            if self.with_position_header {
                Position { system_identifier: self.system_identifier, commit_lsn, index }.write(&mut stream.position);
                let header = Header { key: POSITION_HEADER, value: Some(stream.position.as_slice()) };
                headers = Some(headers.unwrap_or_default().insert(header));
            }
            *sent_count = sent_count.saturating_add(1);
            let payload_bytes = record.value.map_or(0, <[u8]>::len);
            self.acknowledgements.sent(payload_bytes);
            let ticket = usize::try_from(stream.ticket.0).unwrap_or(usize::MAX);
            let producer = self.producers.by(stream.lane);
            producer
                .send(record.topic, partition, record.key, record.value, headers, ticket)
                .inspect_err(|_| self.acknowledgements.not_sent(payload_bytes))?;
            self.meter.event(record.operation);
            Ok(())
        })?;
        self.meter.last_commit_time(context.commit_time_us);
        Ok(())
    }

    fn send_heartbeat(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let topic = routed(&self.settings.heartbeat_topic, &self.settings.routes);
        let key = heartbeat_key(&self.settings.topic_prefix);
        self.producers.prompt().send(
            &topic,
            Some(0),
            Some(&key),
            Some(&heartbeat_value(now_ms)),
            None,
            HEARTBEAT_TICKET,
        )
    }

    /// Publishes the positions, notices a silent server, and says whether the target is reached.
    fn look_around(&self, stream: &Stream) -> Result<bool> {
        let (received, flushed) = self.acknowledgements.positions();
        self.meter.positions(received, self.confirmed.get(), self.acknowledgements.in_flight().records);
        if stream.heard_at.elapsed() > self.silence_max {
            return Err(Error::unavailable(format!(
                "PostgreSQL at {} has gone silent",
                self.relations.postgres.address()
            )));
        }
        Ok(!self.transaction.is_open() && self.target.is_some_and(|target| flushed >= target))
    }
}

/// The partition of a record, or `None` while nothing is known of its topic.
///
/// Records without a key are spread by their row's position, so that a resumed run puts them where they were.
fn partition(record: &Record<'_>, partition_count: Option<u32>, commit_lsn: Lsn, first_index: u64) -> Option<i32> {
    let count = partition_count?;
    match record.key {
        Some(key) => partition_of(key, count),
        None => {
            let row = first_index.checked_div(RECORDS_PER_ROW_MAX)?;
            let place = commit_lsn.get().wrapping_add(row).checked_rem(u64::from(count))?;
            i32::try_from(place).ok()
        }
    }
}

fn operation_letter(change: &Change) -> char {
    match change {
        Change::Insert { .. } => 'c',
        Change::Update { .. } => 'u',
        Change::Delete { .. } => 'd',
    }
}

fn append(mut headers: OwnedHeaders, more: Option<&OwnedHeaders>) -> OwnedHeaders {
    use rdkafka::message::Headers as _;
    for header in more.into_iter().flat_map(|more| more.iter()) {
        headers = headers.insert(Header { key: header.key, value: header.value });
    }
    headers
}

/// What can stop a record between the encoder and the producer's queue.
enum WriteError {
    Encode(EncodeError),
    Send(Error),
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Send(error)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Encode(error) => Error::protocol(error.to_string()),
            WriteError::Send(error) => error,
        }
    }
}
