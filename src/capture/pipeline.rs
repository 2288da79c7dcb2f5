//! The loop: frames in, records out, until told to stop or something breaks.

mod beside;
mod blocking;
mod change;
mod signals;
mod sink;
mod topic;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::CaptureOptions;
use super::confirmation::{Confirmed, Confirmer};
use super::incremental::Incremental;
use super::lane::{Distance, InFlight, Lane, has_room, next_lane};
use super::progress::Ticket;
use super::relations::Relations;
use super::transaction::TransactionState;
use crate::envelope::{
    ChangeEncoder, EventOrder, Heartbeats, MessageRecords, RecordOptions, TablePlan, TransactionRecords,
};
use crate::error::{Error, Result};
use crate::kafka::producer::Receipt;
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Commit, LogicalMessage, Message, Relation, RelationCache, Truncate, decode};
use crate::postgres::sql::Catalog;
use crate::postgres::{Frame, ReplicationReader};
use crate::row::Operation;
use beside::violation;
pub(super) use blocking::BlockingTries;
pub(super) use change::now_ns;
use change::{Item, Placed};
use signals::{SignalPlace, hears};
pub(super) use sink::{Rest, Sink, Stop, Subject};

/// How often positions are published.
const TICK: Duration = Duration::from_millis(250);
/// How often the end of `--until caught-up` is looked for.
const TARGET_TICK: Duration = Duration::from_millis(20);

/// Everything that one session works with.
pub(super) struct Pipeline<'a> {
    pub(super) options: &'a CaptureOptions,
    pub(super) catalog: &'a Catalog,
    pub(super) sink: Sink<'a>,
    pub(super) confirmer: Arc<Confirmer>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) transaction: TransactionState,
    /// Signals and incremental snapshots, where the connector takes signals.
    pub(super) incremental: Option<Box<Incremental>>,
    /// The rows of the next chunk are sent one by one, to find the one that a broker refuses.
    pub(super) reads_carefully: bool,
    pub(super) blocking_tries: &'a BlockingTries,
    pub(super) system_identifier: u64,
    /// What all records have or lack.
    pub(super) records: RecordOptions,
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
    /// The tables are read, and nothing else was asked for.
    Read,
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
    tables: RelationCache<Option<TablePlan>>,
    encoder: ChangeEncoder,
    /// Writes begins and ends, if they are wanted.
    transactions: Option<TransactionRecords>,
    /// Writes logical messages, if they are wanted.
    messages: Option<MessageRecords>,
    ticket: Ticket,
    lane: Lane,
    distance: Distance,
    /// Since when the window of the bulk lane is full.
    full_since: Option<Instant>,
    heard_at: Instant,
    /// Told to stop, at the end of the open transaction or then.
    stop_by: Option<Instant>,
}

impl Stream {
    /// Notes whether the window of the bulk lane is full, or for how long it was.
    fn note_window(&mut self, in_flight: InFlight) {
        if self.lane == Lane::Bulk && !has_room(self.lane, in_flight) {
            self.full_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.full_since.take() {
            self.distance.waited(since.elapsed());
        }
    }
}

impl Pipeline<'_> {
    /// Runs until `token` is cancelled, the target is reached, or something breaks.
    pub(super) async fn run(&mut self, reader: &mut ReplicationReader, token: &CancellationToken) -> Result<Ending> {
        let mut stream = Stream {
            tables: RelationCache::default(),
            encoder: ChangeEncoder::new(self.records.clone()),
            transactions: self.transaction_records(&self.records),
            messages: self.message_records(&self.records),
            ticket: Ticket(0),
            lane: Lane::Prompt,
            distance: Distance::default(),
            full_since: None,
            heard_at: Instant::now(),
            stop_by: None,
        };
        let mut heartbeats = self.heartbeats();
        let mut heartbeat = self.options.settings.heartbeat_interval.map(tokio::time::interval);
        if let Some(heartbeat) = &mut heartbeat {
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let mut tick = tokio::time::interval(if self.target.is_some() { TARGET_TICK } else { TICK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if stream.stop_by.is_some_and(|stop_by| !self.transaction.is_open() || Instant::now() >= stop_by) {
                return Ok(Ending::Stopped);
            }
            // Not sending is what makes PostgreSQL wait, once the buffer is full; status updates have their own task.
            let (lane, backlog, waiting_bytes) = (stream.lane, stream.distance.backlog_lane(), reader.waiting_bytes());
            let is_careful = self.sink.careful_until.is_some();
            let next_lane = |in_flight: InFlight| match is_careful {
                true => (in_flight.records == 0).then_some(Lane::Prompt),
                false => next_lane(lane, in_flight, waiting_bytes, backlog),
            };
            stream.note_window(self.sink.acknowledgements.in_flight());
            let awaits_kafka = match next_lane(self.sink.acknowledgements.in_flight()) {
                Some(next) => {
                    if next != lane {
                        stream.lane = self.sink.producers.usable(next)?;
                    }
                    // It may have to ask the catalog, which may be slow to answer.
                    let burst = match stream.stop_by {
                        None => token.run_until_cancelled(self.send_burst(&mut stream, reader)).await,
                        Some(by) => tokio::time::timeout_at(by.into(), self.send_burst(&mut stream, reader)).await.ok(),
                    };
                    match burst {
                        Some(burst) => burst? == Burst::Full,
                        None => return Ok(Ending::Stopped),
                    }
                }
                None => true,
            };
            stream.note_window(self.sink.acknowledgements.in_flight());
            if stream.stop_by.is_none() && self.is_blocking_due() {
                match token.run_until_cancelled(Box::pin(self.read_for_topic(&mut stream))).await {
                    Some(read) => read?,
                    None => return Ok(Ending::Stopped),
                }
            }
            let is_reading = !awaits_kafka || reader.has_space();
            if self.sink.acknowledgements.has_failed() {
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
                () = token.cancelled(), if stream.stop_by.is_none() => {
                    stream.stop_by = Instant::now().checked_add(self.options.stopping.commit_wait());
                }
                // Before the stream, which is always ready where it brings more than is taken.
                _ = next_heartbeat => self.send_heartbeat(&mut heartbeats)?,
                _ = tick.tick() => {
                    if !is_reading {
                        stream.heard_at = Instant::now();
                    }
                    if self.look_around(&stream)? {
                        return Ok(Ending::CaughtUp);
                    }
                }
                () = self.sink.acknowledgements.wait_for(|now| next_lane(now.in_flight()).is_some()), if awaits_kafka => {}
                heard = hears(&mut self.incremental) => self.heard(heard),
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
            if (stream.stop_by.is_some() && !self.transaction.is_open()) || self.is_blocking_due() {
                return Ok(Burst::Ended);
            }
            let in_flight = self.sink.acknowledgements.in_flight();
            let is_alone = self.sink.careful_until.is_none() || in_flight.records == 0;
            if !is_alone || !has_room(stream.lane, in_flight) {
                return Ok(Burst::Full);
            }
            match reader.buffered()? {
                None => return Ok(Burst::Ended),
                Some(Frame::LogData { lsn, message }) => match self.handle_message(stream, lsn, message)? {
                    Handled::Wholly => {}
                    Handled::Relation(relation) => {
                        let plan = self.plan(&relation).await?;
                        if let Some(incremental) = &mut self.incremental {
                            incremental.described(&relation);
                        }
                        stream.tables.insert(relation.id, plan);
                    }
                    Handled::UpTo { change, row, order, rest } => {
                        let placed = Placed { item: Item::Change(&change), lsn, row, part: 0, order };
                        self.finish(stream, placed, *rest).await?;
                    }
                    Handled::Signalled { change, row, order } => {
                        self.signalled(stream, &change, SignalPlace { lsn, row, order }).await?;
                    }
                    Handled::Begun => self.write_begin(stream, lsn).await?,
                    Handled::Ending(commit) => {
                        self.write_end(stream, lsn).await?;
                        self.committed(&commit)?;
                    }
                    Handled::Truncated(truncate) => self.write_truncates(stream, lsn, &truncate).await?,
                    Handled::Told(message) => self.write_message(stream, lsn, &message).await?,
                },
                Some(Frame::Keepalive { sent_lsn, is_reply_requested }) => {
                    self.sink.acknowledgements.keepalive(sent_lsn);
                    if is_reply_requested {
                        self.confirmed.changed.notify_one();
                    }
                }
            }
        }
    }

    /// What a table's rows are written with, or nothing if the connector leaves the table out.
    async fn plan(&self, relation: &Relation) -> Result<Option<TablePlan>> {
        let client = self.catalog.client().await?;
        let relations = Relations { options: self.options, catalog: &client };
        relations.plan(relation, self.transaction.xid()).await
    }

    /// Handles one message, as far as that needs no server but Kafka's queue.
    fn handle_message(&mut self, stream: &mut Stream, lsn: Lsn, message: Bytes) -> Result<Handled> {
        match decode(message).map_err(|error| Error::protocol(error.to_string()))? {
            Message::Begin(begin) => {
                self.transaction.begin(&begin).map_err(violation)?;
                let open = self.transaction.open("begin").map_err(violation)?;
                let (commit_lsn, commit_time_us) = (open.commit_lsn, open.context.commit_time_us);
                if let Some(incremental) = &mut self.incremental {
                    incremental.began(open.context.xid);
                }
                self.began(stream, commit_lsn, commit_time_us);
                if stream.transactions.is_some() {
                    return Ok(Handled::Begun);
                }
            }
            Message::Commit(commit) => {
                if stream.transactions.is_some() {
                    return Ok(Handled::Ending(commit));
                }
                self.committed(&commit)?;
            }
            Message::Origin { origin_lsn, name } => {
                let open = self.transaction.open("origin").map_err(violation)?;
                open.context.origin = Some((String::from_utf8_lossy(&name).into_owned(), origin_lsn));
            }
            Message::Relation(relation) => return Ok(Handled::Relation(relation)),
            Message::Change(change) => {
                let row = self.transaction.open("row").map_err(violation)?.next_row();
                let order = self.count_change(stream, &change)?;
                if let Some(incremental) = &self.incremental {
                    if incremental.is_signal(change.relation()) {
                        return Ok(Handled::Signalled { change, row, order });
                    }
                    self.note_change(stream, &change)?;
                }
                let placed = Placed { item: Item::Change(&change), lsn, row, part: 0, order };
                if let Some(rest) = self.write(stream, placed, 0)? {
                    return Ok(Handled::UpTo { change, row, order, rest: Box::new(rest) });
                }
            }
            Message::Truncate(truncate) => {
                if let Some(incremental) = &mut self.incremental {
                    truncate.relations.iter().for_each(|relation| incremental.touch_all(*relation));
                }
                if !self.options.settings.skipped_operations.contains(&Operation::Truncate) {
                    return Ok(Handled::Truncated(truncate));
                }
            }
            Message::Logical(message) => return Ok(Handled::Told(message)),
            Message::Type => {}
        }
        Ok(Handled::Wholly)
    }

    fn heartbeats(&self) -> Heartbeats {
        let settings = &self.options.settings;
        let beside = settings.transforms.beside_tables(&settings.heartbeat_topic);
        Heartbeats::new(beside, &settings.topic_prefix, (settings.key_converter, settings.value_converter))
    }

    fn send_heartbeat(&self, heartbeats: &mut Heartbeats) -> Result<()> {
        if !self.sink.acknowledgements.heartbeat_sent() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = heartbeats.record(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let sent = self.sink.producers.prompt().send(&record, Some(0), Receipt::Heartbeat);
        sent.map_err(|failure| failure.into_error("a heartbeat"))
    }

    /// Publishes the positions, notices a silent server, and says whether the target is reached.
    fn look_around(&mut self, stream: &Stream) -> Result<bool> {
        let (received, flushed) = self.sink.acknowledgements.positions();
        self.sink.first_flights.grow_older(Instant::now());
        if let Some(incremental) = &mut self.incremental {
            incremental.passed(flushed);
        }
        self.sink.meter.positions(received, self.confirmed.get(), self.sink.acknowledgements.in_flight().records);
        if stream.heard_at.elapsed() > self.silence_max {
            return Err(Error::unavailable(format!(
                "PostgreSQL at {} has gone silent",
                self.options.postgres.address()
            )));
        }
        let is_busy = self.incremental.as_ref().is_some_and(|incremental| incremental.is_busy());
        Ok(!self.transaction.is_open() && !is_busy && self.target.is_some_and(|target| flushed >= target))
    }
}

/// How far a message was handled.
enum Handled {
    Wholly,
    /// A table, which needs the catalog.
    Relation(Relation),
    /// A change of which some records are left.
    UpTo {
        change: Change,
        row: u64,
        order: Option<EventOrder>,
        rest: Box<Rest>,
    },
    /// A change of the signal table.
    Signalled {
        change: Change,
        row: u64,
        order: Option<EventOrder>,
    },
    /// A transaction has begun, and a record is to tell of it.
    Begun,
    /// It ends, and a record is to tell of it first.
    Ending(Commit),
    Truncated(Truncate),
    Told(LogicalMessage),
}

/// The session ends; why is told by the acknowledgements.
pub(super) fn not_delivered() -> Error {
    Error::unavailable("a record was not delivered to Kafka")
}
