//! One change of a row: from the decoded message to the sink, and what follows where a record is stopped.

use std::time::{SystemTime, UNIX_EPOCH};

use super::sink::Rest;
use super::{Pipeline, Stream, not_delivered};
use crate::envelope::{Position, PositionKind, RowContext, SnapshotMark};
use crate::error::{Error, Result};
use crate::kafka::producer::{DeliverySink, Receipt};
use crate::lsn::Lsn;
use crate::pgoutput::Change;

/// A change, and where it stands in the stream.
#[derive(Clone, Copy)]
pub(super) struct PlacedChange<'c> {
    pub(super) change: &'c Change,
    pub(super) lsn: Lsn,
    /// The number of its row.
    pub(super) row: u64,
}

impl Pipeline<'_> {
    /// Deals with what stopped a change, and goes on with those of its records that follow.
    pub(super) async fn finish_change(
        &mut self,
        stream: &mut Stream,
        change: PlacedChange<'_>,
        rest: Rest,
    ) -> Result<()> {
        let mut rest = Some(rest);
        while let Some(Rest { from_part, obstacle }) = rest.take() {
            self.sink.overcome(self.options, obstacle).await?;
            rest = self.write_change(stream, change, from_part)?;
        }
        Ok(())
    }

    /// Sends the records of a change from a part on; gives back what is left of them where one cannot be sent now.
    pub(super) fn write_change(
        &mut self,
        stream: &mut Stream,
        PlacedChange { change, lsn, row }: PlacedChange<'_>,
        from_part: u32,
    ) -> Result<Option<Rest>> {
        let open = self.transaction.open("row").map_err(|error| Error::protocol(error.to_string()))?;
        let relation = change.relation();
        let table = stream.tables.get(relation).map_err(|error| Error::protocol(error.to_string()))?;
        let change = change.row();
        let is_skipped = self.options.settings.skipped_operations.contains(&change.operation());
        let Some(table) = table.as_ref().filter(|_| !is_skipped) else { return Ok(None) };
        if self.sink.is_in_snapshot(relation, open.commit_lsn, open.context.xid) {
            self.sink.meter.dropped_duplicates.increment(1);
            return Ok(None);
        }
        let (system_identifier, commit_lsn) = (self.system_identifier, open.commit_lsn);
        let first = Position { kind: PositionKind::Stream, system_identifier, commit_lsn, row, part: 0 };
        let snapshot = SnapshotMark::False;
        let context = RowContext { transaction: &open.context, lsn, now_ns: now_ns(), snapshot, first };
        let mut sink =
            self.sink.row((table, change, context), (stream.lane, Receipt::Transaction(stream.ticket.0)), from_part);
        let written = stream.encoder.encode(table, change, context, |record| sink.take(&record));
        let (rest, sent_count) = (sink.rest(written), sink.sent_count);
        open.sent_count = open.sent_count.saturating_add(sent_count);
        stream.encoder.shrink();
        self.sink.meter.last_commit_time(open.context.commit_time_us);
        rest.map_err(|failure| {
            self.sink.acknowledgements.failed(failure);
            not_delivered()
        })
    }
}

/// The clock, nanoseconds since 1970.
pub(in crate::capture) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
