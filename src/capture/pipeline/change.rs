//! The records of one change: where they go, whether they are there already, and what stops them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Pipeline, Stream, not_delivered};
use crate::capture::refused_rows::{RefusedRows, RowName, identity, stopped, write_dead_letter};
use crate::capture::resume::Candidate;
use crate::capture::transaction::RECORDS_PER_ROW_MAX;
use crate::envelope::{EncodeError, Position, Record, RowContext, SnapshotMark};
use crate::error::{Error, Result};
use crate::kafka::limits::{RecordLimits, batch_bytes_alone};
use crate::kafka::partition::partition_of;
use crate::kafka::producer::{DeliveryFailure, DeliverySink, Receipt};
use crate::lsn::Lsn;
use crate::pgoutput::Change;

/// A record with its headers cannot be so much larger than its key and value.
const HEADERS_BYTES_MAX: usize = 4 * 1024;

impl Pipeline<'_> {
    /// Deals with what stopped a change, and goes on with those of its records that follow.
    pub(super) async fn finish_change(
        &mut self,
        stream: &mut Stream,
        lsn: Lsn,
        change: &Change,
        rest: Rest,
    ) -> Result<()> {
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
    pub(super) fn write_change(
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
        let row_change = change.row();
        let operation = row_change.operation();
        if settings.skipped_operations.contains(&operation) {
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
        let system_identifier = self.system_identifier;
        let first = Position { system_identifier, commit_lsn, index: first_index };
        let row = RowContext { transaction: context, lsn, now_ns, snapshot: SnapshotMark::False, first };
        let is_careful = self.careful_until.is_some();
        let named = |record: Option<&Record<'_>>, partition: Option<i32>, index: u64| RowName {
            table: table.shape().name(),
            topic: table.topic().to_owned(),
            partition,
            key: record.and_then(|record| record.key).map(<[u8]>::to_vec),
            position: Position { system_identifier, commit_lsn, index },
            lsn,
            xid: context.xid.0,
            operation: record.and_then(|record| record.operation).unwrap_or(operation),
            identity: identity(table.shape(), row_change),
        };
        let written = stream.encoder.encode(table, row_change, row, |record: Record<'_>| -> Result<(), WriteError> {
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
            let refused = self.refused.get(&(commit_lsn, index)).cloned();
            if let Some(why) = refused.or_else(|| too_large(&self.limits, &record)) {
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
            let receipt = Receipt::Transaction(stream.ticket.0);
            let producer = self.producers.by(stream.lane);
            producer
                .send(&record, partition, receipt)
                .inspect_err(|_| self.acknowledgements.not_sent(payload_bytes))
                .map_err(WriteError::Send)?;
            record.operation.inspect(|operation| self.meter.event(*operation));
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

/// The indexes of a change's records.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowPlace {
    first_index: u64,
    /// The records before it are dealt with.
    from_index: u64,
}

impl RowPlace {
    pub(super) fn from_first(first_index: u64) -> Self {
        Self { first_index, from_index: first_index }
    }

    fn from(self, from_index: u64) -> Self {
        Self { from_index, ..self }
    }
}

/// What is left of a change, and what has to be dealt with first.
pub(super) struct Rest {
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
