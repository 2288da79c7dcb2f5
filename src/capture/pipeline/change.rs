//! What a message of the stream is written as: from what it tells to the sink, and what follows where a record is stopped.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::sink::{Rest, Stop, Subject};
use super::{Pipeline, Stream, not_delivered};
use crate::connector::ConnectorSettings;
use crate::envelope::{EventCounts, EventOrder, Position, PositionKind, RowContext, SnapshotMark, TablePlan};
use crate::error::{Error, Result};
use crate::kafka::producer::{DeliverySink, Receipt};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, LogicalMessage, RelationCache, RelationId};
use crate::row::Operation;

/// What the stream tells.
#[derive(Clone, Copy)]
pub(super) enum Item<'c> {
    Change(&'c Change),
    /// A table is emptied.
    Truncate(RelationId),
    Message(&'c LogicalMessage),
    /// A transaction begins.
    Begin,
    /// It ends.
    End(&'c EventCounts),
}

/// What the stream tells, and where.
#[derive(Clone, Copy)]
pub(super) struct Placed<'c> {
    pub(super) item: Item<'c>,
    pub(super) lsn: Lsn,
    /// The number of its row.
    pub(super) row: u64,
    /// The number of its first record.
    pub(super) part: u32,
    /// The place of its first event in the transaction, where transactions are told of.
    pub(super) order: Option<EventOrder>,
}

impl Pipeline<'_> {
    /// Sends all records of an item, however long that takes.
    pub(super) async fn write_wholly(&mut self, stream: &mut Stream, placed: Placed<'_>) -> Result<()> {
        if self.sink.careful_until.is_some() {
            self.sink.settle().await?;
        }
        match self.write(stream, placed, 0)? {
            Some(rest) => self.finish(stream, placed, rest).await,
            None => Ok(()),
        }
    }

    /// Deals with what stopped an item, and goes on with those of its records that follow.
    pub(super) async fn finish(&mut self, stream: &mut Stream, placed: Placed<'_>, rest: Rest) -> Result<()> {
        let mut rest = Some(rest);
        while let Some(Rest { from_part, obstacle }) = rest.take() {
            self.sink.overcome((self.options, &self.confirmer), obstacle).await?;
            // PostgreSQL was not listened to meanwhile, which is no silence of its own.
            stream.heard_at = Instant::now();
            rest = self.write(stream, placed, from_part)?;
        }
        Ok(())
    }

    /// Counts the events of a change, where transactions are told of.
    pub(super) fn count_change(&mut self, stream: &mut Stream, change: &Change) -> Result<Option<EventOrder>> {
        if stream.transactions.is_none() {
            return Ok(None);
        }
        let (relation, change) = (change.relation(), change.row());
        let Some(table) = self.counted(&stream.tables, relation, change.operation())? else { return Ok(None) };
        // What cannot be encoded is told when it is written.
        let count = stream.encoder.event_count(table, change).unwrap_or(1);
        if count == 0 {
            return Ok(None);
        }
        let name = table.shape().name();
        self.count(stream, &name, count)
    }

    /// Counts the event of a table that was emptied, where transactions are told of.
    pub(super) fn count_truncate(&mut self, stream: &Stream, relation: RelationId) -> Result<Option<EventOrder>> {
        match self.counted(&stream.tables, relation, Operation::Truncate)? {
            Some(table) => self.count(stream, &table.shape().name(), 1),
            None => Ok(None),
        }
    }

    /// The table whose events count: what a snapshot shows is not written.
    fn counted<'t>(
        &mut self,
        tables: &'t RelationCache<Option<TablePlan>>,
        relation: RelationId,
        operation: Operation,
    ) -> Result<Option<&'t TablePlan>> {
        let open = self.transaction.open("event").map_err(|error| Error::protocol(error.to_string()))?;
        let is_read = self.sink.is_in_snapshot(relation, open.commit_lsn, open.context.xid);
        Ok(wanted(tables, &self.options.settings, (relation, operation))?.filter(|_| !is_read))
    }

    /// Counts events of one name, where transactions are told of.
    pub(super) fn count(&mut self, stream: &Stream, name: &str, events: u64) -> Result<Option<EventOrder>> {
        let open = self.transaction.open("event").map_err(|error| Error::protocol(error.to_string()))?;
        Ok(stream.transactions.is_some().then(|| open.counts.add(name, events)))
    }

    /// Sends the records of an item from a part on; gives back what is left of them where one cannot be sent now.
    pub(super) fn write(&mut self, stream: &mut Stream, placed: Placed<'_>, from_part: u32) -> Result<Option<Rest>> {
        let open = self.transaction.open("row").map_err(|error| Error::protocol(error.to_string()))?;
        let Stream { tables, encoder, transactions, messages, ticket, lane, .. } = stream;
        let Placed { item, lsn, row, part, order } = placed;
        let settings = &self.options.settings;
        let (relation, subject) = match item {
            Item::Change(change) => {
                let (relation, change) = (change.relation(), change.row());
                let table = wanted(tables, settings, (relation, change.operation()))?;
                (Some(relation), table.map(|table| Subject::Row(table, change)))
            }
            Item::Truncate(relation) => {
                let table = wanted(tables, settings, (relation, Operation::Truncate))?;
                (Some(relation), table.map(Subject::Table))
            }
            Item::Message(_) => (None, messages.as_ref().map(|_| Subject::Other("logical messages"))),
            Item::Begin | Item::End(_) => (None, transactions.as_ref().map(|_| Subject::Other("transactions"))),
        };
        let Some(subject) = subject else { return Ok(None) };
        if relation.is_some_and(|relation| self.sink.is_in_snapshot(relation, open.commit_lsn, open.context.xid)) {
            self.sink.meter.dropped_duplicates.increment(1);
            return Ok(None);
        }
        let (kind, system_identifier, commit_lsn) = (PositionKind::Stream, self.system_identifier, open.commit_lsn);
        let first = Position { kind, system_identifier, commit_lsn, row, part };
        let (transaction, snapshot) = (&open.context, SnapshotMark::False);
        let context = RowContext { transaction, lsn, now_ns: now_ns(), snapshot, first, order };
        let mut sink = self.sink.row((subject, context), (*lane, Receipt::Transaction(ticket.0)), from_part);
        let written = match (item, subject) {
            (_, Subject::Row(table, change)) => encoder.encode(table, change, context, |record| sink.take(&record)),
            (_, Subject::Table(table)) => encoder.encode_truncate(table, context, |record| sink.take(&record)),
            (Item::Message(message), _) => {
                messages.as_mut().map_or(Ok::<_, Stop>(()), |messages| sink.take(&messages.record(message, context)))
            }
            (Item::End(counts), _) => {
                transactions.as_mut().map_or(Ok(()), |records| sink.take(&records.record(context, Some(counts))))
            }
            _ => transactions.as_mut().map_or(Ok(()), |records| sink.take(&records.record(context, None))),
        };
        let (rest, sent_count) = (sink.rest(written), sink.sent_count);
        open.sent_count = open.sent_count.saturating_add(sent_count);
        encoder.shrink();
        self.sink.meter.last_commit_time(open.context.commit_time_us);
        rest.map_err(|failure| {
            self.sink.acknowledgements.failed(failure);
            not_delivered()
        })
    }
}

/// The table of a change, unless the connector leaves it or the operation out. An update may be of the key, and then it is
/// none.
fn wanted<'t>(
    tables: &'t RelationCache<Option<TablePlan>>,
    settings: &ConnectorSettings,
    (relation, operation): (RelationId, Operation),
) -> Result<Option<&'t TablePlan>> {
    let table = tables.get(relation).map_err(|error| Error::protocol(error.to_string()))?;
    let is_skipped = operation != Operation::Update && settings.skipped_operations.contains(&operation);
    // Debezium passes over a change without values (`RelationalChangeRecordEmitter`).
    let has_values = |table: &&TablePlan| operation == Operation::Truncate || !table.shape().columns.is_empty();
    Ok(table.as_ref().filter(|_| !is_skipped).filter(has_values))
}

/// The clock, nanoseconds since 1970.
pub(in crate::capture) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
