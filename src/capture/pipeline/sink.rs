//! Where the records of one row go: whether they are there already, to which partition, and what stops them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::not_delivered;
use crate::capture::CaptureOptions;
use crate::capture::acknowledgements::Acknowledgements;
use crate::capture::confirmation::Confirmer;
use crate::capture::first_flights::FirstFlights;
use crate::capture::lane::Lane;
use crate::capture::lineage::Lineage;
use crate::capture::meter::Meter;
use crate::capture::producers::Producers;
use crate::capture::refused_rows::{RefusedRows, RowName, identity, stopped, write_dead_letter};
use crate::capture::tails::{Candidate, Tails};
use crate::envelope::{EncodeError, Position, PositionKind, Record, RowContext, TablePlan};
use crate::error;
use crate::kafka::limits::{RecordLimits, batch_bytes_alone};
use crate::kafka::partition::partition_of;
use crate::kafka::producer::{DeliveryFailure, Receipt};
use crate::lsn::Lsn;
use crate::pgoutput::{RelationId, Xid};
use crate::row::{Operation, RowChange};

/// A record with its headers cannot be so much larger than its key and value.
const HEADERS_BYTES_MAX: usize = 4 * 1024;

/// What a session knows of the topics, and its way to them.
pub(in crate::capture) struct Sink<'a> {
    pub(in crate::capture) acknowledgements: Arc<Acknowledgements>,
    pub(in crate::capture) producers: Producers,
    pub(in crate::capture) meter: &'a Meter,
    pub(in crate::capture) tails: Tails,
    /// In order, as comparing a name that every record asks for is cheaper than its hash.
    pub(in crate::capture) partition_counts: BTreeMap<String, u32>,
    pub(in crate::capture) lineage: Lineage,
    pub(in crate::capture) limits: RecordLimits,
    pub(in crate::capture) first_flights: FirstFlights,
    /// Up to this commit records are sent one by one, to find the one that a broker refuses.
    pub(in crate::capture) careful_until: Option<Lsn>,
    /// Records that a broker has refused, with the reason.
    pub(in crate::capture) refused: &'a HashMap<Position, String>,
    /// The record that was sent last, of those that are sent one by one.
    pub(in crate::capture) last_alone: Option<RowName>,
    /// Topics beside those of tables that are on record: rows have named them, or what is no row's goes there.
    pub(in crate::capture) met: HashSet<String>,
}

/// What records tell of.
#[derive(Clone, Copy)]
pub(in crate::capture) enum Subject<'s> {
    Row(&'s TablePlan, RowChange<'s>),
    /// It was emptied.
    Table(&'s TablePlan),
    /// Something of no table.
    Other(&'static str),
}

impl<'s> Subject<'s> {
    fn table(self) -> Option<&'s TablePlan> {
        match self {
            Self::Row(table, _) | Self::Table(table) => Some(table),
            Self::Other(_) => None,
        }
    }

    fn operation(self) -> Operation {
        match self {
            Self::Row(_, change) => change.operation(),
            Self::Table(_) => Operation::Truncate,
            Self::Other(_) => Operation::Message,
        }
    }

    /// Whether all of its records go to the topic of its table.
    fn has_one_topic(self) -> bool {
        self.table().is_some_and(|table| !table.is_routed())
    }
}

impl<'a> Sink<'a> {
    /// Whether the topic has a change because a snapshot read its row behind it.
    pub(super) fn is_in_snapshot(&self, table: RelationId, commit_lsn: Lsn, xid: Xid) -> bool {
        self.lineage.snapshot.as_ref().is_some_and(|snapshot| snapshot.shows(table.0, commit_lsn, xid))
    }

    /// Waits until nothing is in flight.
    pub(in crate::capture) async fn settle(&self) -> error::Result<()> {
        self.acknowledgements.wait_for(|now| now.in_flight().records == 0).await;
        if self.acknowledgements.has_failed() { Err(not_delivered()) } else { Ok(()) }
    }

    /// Deals with what stopped a row, so that the records behind it can be sent.
    pub(in crate::capture) async fn overcome(
        &mut self,
        (options, confirmer): (&CaptureOptions, &Confirmer),
        obstacle: Obstacle,
    ) -> error::Result<()> {
        match obstacle {
            Obstacle::InFlight => self.settle().await,
            Obstacle::NewTopic(topic) => self.meet((options, confirmer), topic).await,
            Obstacle::Unwritable { name, why } if options.refused_rows == RefusedRows::Stop => {
                Err(stopped(&name, &why))
            }
            Obstacle::Unwritable { name, why } => write_dead_letter(&options.kafka, &name, &why).await,
        }
    }

    /// Takes the records of a row from part `from_part` on; those before it are dealt with.
    pub(in crate::capture) fn row<'s>(
        &'s mut self,
        (subject, context): (Subject<'s>, RowContext<'s>),
        (lane, receipt): (Lane, Receipt),
        from_part: u32,
    ) -> RowSink<'s, 'a> {
        let is_streamed = context.first.kind == PositionKind::Stream;
        let can_be_written = is_streamed && self.tails.can_hold(context.first.commit_lsn);
        let table = subject.table().filter(|table| !table.is_routed());
        let partition_count =
            table.and_then(|table| self.partition_count(table.topic(), context.first.commit_lsn, can_be_written));
        RowSink {
            sink: self,
            subject,
            context,
            lane,
            receipt,
            from_part,
            can_be_written,
            partition_count,
            next_part: 0,
            sent_count: 0,
        }
    }

    fn partition_count(&self, topic: &str, commit_lsn: Lsn, can_be_written: bool) -> Option<u32> {
        let known = if can_be_written { self.lineage.partition_count(topic, commit_lsn) } else { None };
        known.or_else(|| self.partition_counts.get(topic).copied())
    }
}

/// The way of one row's records.
pub(in crate::capture) struct RowSink<'s, 'a> {
    sink: &'s mut Sink<'a>,
    subject: Subject<'s>,
    context: RowContext<'s>,
    lane: Lane,
    receipt: Receipt,
    from_part: u32,
    /// The topics may hold rows of this commit.
    can_be_written: bool,
    partition_count: Option<u32>,
    /// Behind the part that came last.
    next_part: u32,
    /// How many records were sent.
    pub(in crate::capture) sent_count: u64,
}

impl RowSink<'_, '_> {
    /// Sends a record unless it is dealt with or there already.
    pub(in crate::capture) fn take(&mut self, record: &Record<'_>) -> Result<(), Stop> {
        let position = record.position.unwrap_or(self.context.first);
        self.next_part = position.part.saturating_add(1);
        if position.part < self.from_part {
            return Ok(());
        }
        if !self.subject.has_one_topic() {
            if !self.sink.met.contains(record.topic) {
                return Err(Stop::NewTopic(position.part, record.topic.to_owned()));
            }
            let commit_lsn = self.context.first.commit_lsn;
            self.partition_count = self.sink.partition_count(record.topic, commit_lsn, self.can_be_written);
        }
        let partition = self.partition(record);
        if self.is_written(record, position, partition) {
            self.sink.meter.dropped_duplicates.increment(1);
            return Ok(());
        }
        let refused = self.sink.refused.get(&position).cloned();
        let misplaced = || self.misplaced(record);
        if let Some(why) = refused.or_else(|| too_large(&self.sink.limits, record)).or_else(misplaced) {
            return Err(Stop::Unwritable(Box::new((self.name(Some(record), partition, position), why))));
        }
        if self.sink.careful_until.is_some() {
            if self.sent_count > 0 {
                return Err(Stop::InFlight(position.part));
            }
            self.sink.last_alone = Some(self.name(Some(record), partition, position));
        }
        let Sink { first_flights, acknowledgements, .. } = &mut *self.sink;
        let is_settled = || acknowledgements.in_flight().records == 0;
        if !first_flights.may_go((record.topic, partition), self.lane, is_settled) {
            return Err(Stop::InFlight(position.part));
        }
        self.send(record, partition)
    }

    /// The partition of a record, or `None` while nothing is known of its topic.
    ///
    /// Records without a key are spread by their row's position, so that a resumed run puts them where they were.
    fn partition(&self, record: &Record<'_>) -> Option<i32> {
        let count = self.partition_count?;
        if let Some(partition) = record.partition {
            return Some(partition);
        }
        if let Some(key) = record.key {
            return partition_of(key, count);
        }
        let first = self.context.first;
        let place = first.commit_lsn.get().wrapping_add(first.row.wrapping_sub(1));
        i32::try_from(place.checked_rem(u64::from(count))?).ok()
    }

    /// Why a record cannot be where it says that it belongs.
    fn misplaced(&self, record: &Record<'_>) -> Option<String> {
        let (partition, count) = (record.partition?, self.partition_count?);
        let is_there = u32::try_from(partition).is_ok_and(|partition| partition < count);
        (!is_there).then(|| format!("it names partition {partition}, and topic {} has {count}", record.topic))
    }

    fn is_written(&mut self, record: &Record<'_>, position: Position, partition: Option<i32>) -> bool {
        let candidate = Candidate { position, lsn: self.context.lsn, xid: self.context.transaction.xid };
        self.can_be_written
            && partition.is_some_and(|partition| self.sink.tails.holds(record.topic, partition, &candidate))
    }

    fn send(&mut self, record: &Record<'_>, partition: Option<i32>) -> Result<(), Stop> {
        let sink = &self.sink;
        let payload_bytes = record.value.map_or(0, <[u8]>::len);
        sink.acknowledgements.sent(payload_bytes);
        let sent = sink.producers.by(self.lane).send(record, partition, self.receipt);
        if let Err(failure) = sent {
            sink.acknowledgements.not_sent(payload_bytes);
            return Err(Stop::Send(failure));
        }
        self.sent_count = self.sent_count.saturating_add(1);
        if let Some(operation) = record.operation {
            sink.meter.event(operation);
        }
        Ok(())
    }

    /// What is left of the row after its encoder has ended.
    pub(in crate::capture) fn rest(&self, written: Result<(), Stop>) -> Result<Option<Rest>, DeliveryFailure> {
        let (from_part, obstacle) = match written {
            Ok(()) => return Ok(None),
            // The row was not to be written any further.
            Err(Stop::Encode(_)) if self.next_part < self.from_part => return Ok(None),
            Err(Stop::Encode(error)) => {
                let why = format!("{error}; {}", error.remedy());
                let name = self.name(None, None, Position { part: self.next_part, ..self.context.first });
                (u32::MAX, Obstacle::Unwritable { name, why })
            }
            Err(Stop::InFlight(part)) => (part, Obstacle::InFlight),
            Err(Stop::NewTopic(part, topic)) => (part, Obstacle::NewTopic(topic)),
            Err(Stop::Unwritable(row)) => {
                let (name, why) = *row;
                (name.position.part.saturating_add(1), Obstacle::Unwritable { name, why })
            }
            Err(Stop::Send(failure)) => return Err(failure),
        };
        Ok(Some(Rest { from_part, obstacle }))
    }

    fn name(&self, record: Option<&Record<'_>>, partition: Option<i32>, position: Position) -> RowName {
        let table = self.subject.table();
        let name = match self.subject {
            Subject::Other(what) => what.to_owned(),
            Subject::Row(table, _) | Subject::Table(table) => table.shape().name(),
        };
        let topic = record.map(|record| record.topic).or(table.map(TablePlan::topic)).unwrap_or_default();
        RowName {
            table: name,
            topic: topic.to_owned(),
            partition,
            key: record.and_then(|record| record.key).map(<[u8]>::to_vec),
            position,
            lsn: self.context.lsn,
            xid: self.context.transaction.xid.0,
            operation: record.and_then(|record| record.operation).unwrap_or_else(|| self.subject.operation()),
            identity: match self.subject {
                Subject::Row(table, change) => identity(table.shape(), change),
                Subject::Table(_) | Subject::Other(_) => Vec::new(),
            },
        }
    }
}

/// What is left of a row, and what has to be dealt with first.
pub(in crate::capture) struct Rest {
    pub(in crate::capture) from_part: u32,
    pub(in crate::capture) obstacle: Obstacle,
}

pub(in crate::capture) enum Obstacle {
    /// What is on its way is to be acknowledged first.
    InFlight,
    /// A row has named a topic for the first time, which is to be put on record before anything is written to it.
    NewTopic(String),
    /// A record cannot be written.
    Unwritable { name: RowName, why: String },
}

/// What can stop a record between the encoder and the producer's queue.
pub(in crate::capture) enum Stop {
    Encode(EncodeError),
    /// This part is to wait for what is on its way.
    InFlight(u32),
    /// This part goes to a topic that is not on record.
    NewTopic(u32, String),
    Unwritable(Box<(RowName, String)>),
    Send(DeliveryFailure),
}

impl From<EncodeError> for Stop {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Why a record is larger than its topic takes, if it is.
fn too_large(limits: &RecordLimits, record: &Record<'_>) -> Option<String> {
    let plain = record.key.map_or(0, <[u8]>::len).saturating_add(record.value.map_or(0, <[u8]>::len));
    let (limit, name) = limits.of_record(record.topic);
    if plain.saturating_add(HEADERS_BYTES_MAX) <= limit {
        return None;
    }
    let bytes = batch_bytes_alone(record);
    (bytes > limit).then(|| {
        format!(
            "it takes {bytes} bytes and is larger than the {limit} that topic {} takes; raise its {name}",
            record.topic
        )
    })
}
