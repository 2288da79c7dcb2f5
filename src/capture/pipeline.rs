//! The loop: frames in, records out, until told to stop or something breaks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::CaptureOptions;
use super::acknowledgements::{Acknowledgements, HEARTBEAT_TICKET};
use super::confirmation::Confirmed;
use super::lane::{InFlight, Lane, has_room, next_lane};
use super::lineage::Lineage;
use super::meter::Meter;
use super::producers::Producers;
use super::progress::Ticket;
use super::refused_rows::{RefusedRows, RowName, identity, stopped, write_dead_letter};
use super::relations::Relations;
use super::resume::{Candidate, Tails};
use super::transaction::{RECORDS_PER_ROW_MAX, TransactionState};
use crate::connector::routed;
use crate::envelope::{
    ChangeEncoder, EncodeError, POSITION_HEADER, Position, Record, RowContext, TableEncoder, heartbeat_key,
    heartbeat_value,
};
use crate::error::{Error, Result};
use crate::kafka::limits::{RecordLimits, batch_bytes_alone};
use crate::kafka::partition::partition_of;
use crate::kafka::producer::{DeliveryFailure, DeliverySink};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Message, Relation, RelationCache, decode};
use crate::postgres::sql::Catalog;
use crate::postgres::{Frame, ReplicationReader};

/// How often positions are published.
const TICK: Duration = Duration::from_millis(250);
/// How often the end of `--until caught-up` is looked for.
const TARGET_TICK: Duration = Duration::from_millis(20);

/// A record with its headers cannot be so much larger than its key and value.
const HEADERS_BYTES_MAX: usize = 4 * 1024;

/// Everything that one session works with.
pub(super) struct Pipeline<'a> {
    pub(super) options: &'a CaptureOptions,
    pub(super) catalog: &'a Catalog,
    pub(super) acknowledgements: Arc<Acknowledgements>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) producers: Producers,
    pub(super) meter: &'a Meter,
    pub(super) tails: Tails,
    pub(super) partition_counts: HashMap<String, u32>,
    pub(super) lineage: Lineage,
    pub(super) limits: RecordLimits,
    pub(super) transaction: TransactionState,
    pub(super) system_identifier: u64,
    /// Headers that every record has.
    pub(super) context_headers: Option<OwnedHeaders>,
    /// Ends the session if PostgreSQL says nothing for so long.
    pub(super) silence_max: Duration,
    /// Stop once everything before this is durable.
    pub(super) target: Option<Lsn>,
    /// Up to this commit records are sent one by one, to find the one that a broker refuses.
    pub(super) careful_until: Option<Lsn>,
    /// Records by commit and index that a broker has refused, with the reason.
    pub(super) refused: &'a HashMap<(Lsn, u64), String>,
    /// The record that was sent last, of those that are sent one by one.
    pub(super) last_alone: Option<RowName>,
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
        let mut heartbeat = self.options.settings.heartbeat_interval.map(tokio::time::interval);
        if let Some(heartbeat) = &mut heartbeat {
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let mut tick = tokio::time::interval(if self.target.is_some() { TARGET_TICK } else { TICK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Not sending is what makes PostgreSQL wait, once the buffer is full; status updates have their own task.
            let (lane, waiting_bytes) = (stream.lane, reader.waiting_bytes());
            let is_careful = self.careful_until.is_some();
            let next_lane = |in_flight: InFlight| match is_careful {
                true => (in_flight.records == 0).then_some(Lane::Prompt),
                false => next_lane(lane, in_flight, waiting_bytes),
            };
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
            if self.acknowledgements.has_failed() {
                return Err(not_delivered());
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
                // Before the stream, which is always ready where it brings more than is taken.
                _ = next_heartbeat => self.send_heartbeat()?,
                _ = tick.tick() => {
                    if !is_reading {
                        stream.heard_at = Instant::now();
                    }
                    if self.look_around(&stream)? {
                        return Ok(Ending::CaughtUp);
                    }
                }
                () = self.acknowledgements.wait_for(|now| next_lane(now.in_flight()).is_some()), if awaits_kafka => {}
                read = reader.fill(), if is_reading => {
                    read?;
                    stream.heard_at = Instant::now();
                }
            }
        }
    }

    /// Handles what has arrived, up to the size of a burst.
    async fn send_burst(&mut self, stream: &mut Stream, reader: &mut ReplicationReader) -> Result<Burst> {
        loop {
            let in_flight = self.acknowledgements.in_flight();
            let is_alone = self.careful_until.is_none() || in_flight.records == 0;
            if !is_alone || !has_room(stream.lane, in_flight) {
                return Ok(Burst::Full);
            }
            match reader.buffered()? {
                None => return Ok(Burst::Ended),
                Some(Frame::LogData { lsn, message }) => match self.handle_message(stream, lsn, message)? {
                    Handled::Wholly => {}
                    Handled::Relation(relation) => {
                        let encoder = self.encoder(&relation).await?;
                        stream.tables.insert(relation, encoder);
                    }
                    Handled::UpTo(change, rest) => self.finish_change(stream, lsn, &change, *rest).await?,
                },
                Some(Frame::Keepalive { sent_lsn, is_reply_requested }) => {
                    self.acknowledgements.keepalive(sent_lsn);
                    if is_reply_requested {
                        self.confirmed.changed.notify_one();
                    }
                }
            }
        }
    }

    /// What a table's rows are written with, or nothing if the connector leaves the table out.
    async fn encoder(&self, relation: &Relation) -> Result<Option<TableEncoder>> {
        let client = self.catalog.client().await?;
        let relations =
            Relations { settings: &self.options.settings, postgres: &self.options.postgres, catalog: &client };
        relations.encoder(relation).await
    }

    /// Handles one message, as far as that needs no server but Kafka's queue.
    fn handle_message(&mut self, stream: &mut Stream, lsn: Lsn, message: Bytes) -> Result<Handled> {
        let violation = |error: super::transaction::TransactionViolation| Error::protocol(error.to_string());
        match decode(message).map_err(|error| Error::protocol(error.to_string()))? {
            Message::Begin(begin) => {
                self.transaction.begin(&begin).map_err(violation)?;
                let open = self.transaction.open("begin").map_err(violation)?;
                self.careful_until = self.careful_until.filter(|until| open.commit_lsn <= *until);
                stream.ticket = self.acknowledgements.begin(open.commit_lsn, open.context.commit_time_us);
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
            Message::Relation(relation) => return Ok(Handled::Relation(relation)),
            Message::Change(change) => {
                let first_index = self.transaction.open("row").map_err(violation)?.next_row();
                if let Some(rest) = self.write_change(stream, lsn, &change, RowPlace::from_first(first_index))? {
                    return Ok(Handled::UpTo(change, Box::new(rest)));
                }
            }
            // The connector's `skipped.operations` leaves truncates out, and logical messages are not asked for.
            Message::Truncate(_) | Message::Logical(_) | Message::Type => {}
        }
        Ok(Handled::Wholly)
    }

    /// Deals with what stopped a change, and goes on with those of its records that follow.
    async fn finish_change(&mut self, stream: &mut Stream, lsn: Lsn, change: &Change, rest: Rest) -> Result<()> {
        let mut rest = Some(rest);
        while let Some(Rest { place, obstacle }) = rest.take() {
            match obstacle {
                Obstacle::InFlight => {
                    self.acknowledgements.wait_for(|now| now.in_flight().records == 0).await;
                    if self.acknowledgements.has_failed() {
                        return Err(not_delivered());
                    }
                }
                Obstacle::Unwritable { name, why } if self.options.refused_rows == RefusedRows::Stop => {
                    return Err(stopped(&name, &why));
                }
                Obstacle::Unwritable { name, why } => write_dead_letter(&self.options.kafka, &name, &why).await?,
            }
            rest = self.write_change(stream, lsn, change, place)?;
        }
        Ok(())
    }

    /// Sends the records of a change; gives back what is left of them where one cannot be sent now.
    fn write_change(
        &mut self,
        stream: &mut Stream,
        lsn: Lsn,
        change: &Change,
        place: RowPlace,
    ) -> Result<Option<Rest>> {
        let open = self.transaction.open("row").map_err(|error| Error::protocol(error.to_string()))?;
        let table = stream.tables.get(change.relation()).map_err(|error| Error::protocol(error.to_string()))?;
        let Some(table) = table else { return Ok(None) };
        let settings = &self.options.settings;
        if settings.skipped_operations.contains(&operation_letter(change)) {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let can_be_written = self.tails.can_hold(open.commit_lsn);
        let partition_count =
            if can_be_written { self.lineage.partition_count(table.topic(), open.commit_lsn) } else { None };
        let partition_count = partition_count.or_else(|| self.partition_counts.get(table.topic()).copied());
        let (commit_lsn, sent_count) = (open.commit_lsn, &mut open.sent_count);
        let RowPlace { first_index, from_index } = place;
        let (mut next_index, mut is_alone_sent) = (first_index, false);
        let context = &open.context;
        let row = RowContext { transaction: context, lsn, now_ns };
        let is_careful = self.careful_until.is_some();
        let system_identifier = self.system_identifier;
        let relation = stream.tables.relation(change.relation()).map_err(|error| Error::protocol(error.to_string()))?;
        let named = |record: Option<&Record<'_>>, partition: Option<i32>, index: u64| RowName {
            table: format!("{}.{}", relation.schema, relation.table),
            topic: table.topic().to_owned(),
            partition,
            key: record.and_then(|record| record.key).map(<[u8]>::to_vec),
            position: Position { system_identifier, commit_lsn, index },
            lsn,
            xid: context.xid.0,
            operation: record.map_or_else(|| operation_letter(change), |record| record.operation.letter()),
            identity: identity(relation, change),
        };
        let with_tombstones = settings.tombstones_on_delete;
        let encoder = &mut stream.encoder;
        let written =
            encoder.encode(table, change, row, with_tombstones, |record: Record<'_>| -> Result<(), WriteError> {
                let index = next_index;
                next_index = next_index.saturating_add(1);
                if index < from_index {
                    return Ok(());
                }
                let partition = partition(&record, partition_count, commit_lsn, first_index);
                if can_be_written {
                    let candidate = Candidate { commit_lsn, index, lsn, xid: context.xid };
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
                if self.options.with_position_header {
                    Position { system_identifier, commit_lsn, index }.write(&mut stream.position);
                    let header = Header { key: POSITION_HEADER, value: Some(stream.position.as_slice()) };
                    headers = Some(headers.unwrap_or_default().insert(header));
                }
                let refused = self.refused.get(&(commit_lsn, index)).cloned();
                if let Some(why) = refused.or_else(|| too_large(&self.limits, &record, headers.as_ref())) {
                    return Err(WriteError::Unwritable(Box::new((named(Some(&record), partition, index), why))));
                }
                if is_careful {
                    if std::mem::replace(&mut is_alone_sent, true) {
                        return Err(WriteError::InFlight(index));
                    }
                    self.last_alone = Some(named(Some(&record), partition, index));
                }
                *sent_count = sent_count.saturating_add(1);
                let payload_bytes = record.value.map_or(0, <[u8]>::len);
                self.acknowledgements.sent(payload_bytes);
                let ticket = usize::try_from(stream.ticket.0).unwrap_or(usize::MAX);
                let producer = self.producers.by(stream.lane);
                producer
                    .send(record.topic, partition, record.key, record.value, headers, ticket)
                    .inspect_err(|_| self.acknowledgements.not_sent(payload_bytes))
                    .map_err(WriteError::Send)?;
                self.meter.event(record.operation);
                Ok(())
            });
        let rest = match written {
            Ok(()) => None,
            Err(WriteError::InFlight(index)) => Some(Rest { place: place.from(index), obstacle: Obstacle::InFlight }),
            Err(WriteError::Unwritable(row)) => {
                let (name, why) = *row;
                let place = place.from(name.position.index.saturating_add(1));
                Some(Rest { place, obstacle: Obstacle::Unwritable { name, why } })
            }
            Err(WriteError::Encode(_)) if next_index < from_index => None,
            Err(WriteError::Encode(error)) => {
                let why =
                    format!("{error}; correct the value, or leave the column out with the publication's column list");
                let name = named(None, None, next_index);
                Some(Rest { place: place.from(u64::MAX), obstacle: Obstacle::Unwritable { name, why } })
            }
            Err(WriteError::Send(failure)) => {
                self.acknowledgements.failed(failure);
                return Err(not_delivered());
            }
        };
        stream.encoder.shrink();
        self.meter.last_commit_time(context.commit_time_us);
        Ok(rest)
    }

    fn send_heartbeat(&self) -> Result<()> {
        if !self.acknowledgements.heartbeat_sent() {
            return Ok(());
        }
        let settings = &self.options.settings;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let value = heartbeat_value(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let topic = routed(&settings.heartbeat_topic, &settings.routes);
        let key = heartbeat_key(&settings.topic_prefix);
        let sent = self.producers.prompt().send(&topic, Some(0), Some(&key), Some(&value), None, HEARTBEAT_TICKET);
        sent.map_err(|failure| failure.into_error("a heartbeat"))
    }

    /// Publishes the positions, notices a silent server, and says whether the target is reached.
    fn look_around(&self, stream: &Stream) -> Result<bool> {
        let (received, flushed) = self.acknowledgements.positions();
        self.meter.positions(received, self.confirmed.get(), self.acknowledgements.in_flight().records);
        if stream.heard_at.elapsed() > self.silence_max {
            return Err(Error::unavailable(format!(
                "PostgreSQL at {} has gone silent",
                self.options.postgres.address()
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

/// How far a message was handled.
enum Handled {
    Wholly,
    /// A table, which needs the catalog.
    Relation(Relation),
    /// A change of which some records are left.
    UpTo(Change, Box<Rest>),
}

/// The indexes of a change's records.
#[derive(Debug, Clone, Copy)]
struct RowPlace {
    first_index: u64,
    /// The records before it are dealt with.
    from_index: u64,
}

impl RowPlace {
    fn from_first(first_index: u64) -> Self {
        Self { first_index, from_index: first_index }
    }

    fn from(self, from_index: u64) -> Self {
        Self { from_index, ..self }
    }
}

/// What is left of a change, and what has to be dealt with first.
struct Rest {
    place: RowPlace,
    obstacle: Obstacle,
}

enum Obstacle {
    /// The record before it is to be acknowledged alone.
    InFlight,
    /// A record cannot be written.
    Unwritable { name: RowName, why: String },
}

/// Why a record is larger than its topic takes, if it is.
fn too_large(limits: &RecordLimits, record: &Record<'_>, headers: Option<&OwnedHeaders>) -> Option<String> {
    use rdkafka::message::Headers as _;
    let plain = record.key.map_or(0, <[u8]>::len).saturating_add(record.value.map_or(0, <[u8]>::len));
    let (limit, name) = limits.of_record(record.topic);
    if plain.saturating_add(HEADERS_BYTES_MAX) <= limit {
        return None;
    }
    let headers = headers.into_iter().flat_map(|headers| headers.iter());
    let bytes = batch_bytes_alone(record.key, record.value, headers.map(|header| (header.key, header.value)));
    (bytes > limit).then(|| {
        format!(
            "it takes {bytes} bytes and is larger than the {limit} that topic {} takes; raise its {name}",
            record.topic
        )
    })
}

/// The session ends; why is told by the acknowledgements.
fn not_delivered() -> Error {
    Error::unavailable("a record was not delivered to Kafka")
}

/// What can stop a record between the encoder and the producer's queue.
enum WriteError {
    Encode(EncodeError),
    /// The record with this index is to wait for the one before.
    InFlight(u64),
    Unwritable(Box<(RowName, String)>),
    Send(DeliveryFailure),
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
