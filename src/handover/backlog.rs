//! What a slot still holds, looked at without taking it.

use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::offset::DebeziumOffset;
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;
use crate::pgoutput::{Message, Xid, decode};
use crate::postgres::publication_names;
use crate::postgres::sql::query_error;

/// A transaction, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) xid: Xid,
    /// Position of its commit record.
    commit: Lsn,
    /// The first byte behind it.
    pub(super) end: Lsn,
    /// Changes of rows.
    pub(super) rows: u64,
    /// Position of the last of them.
    last_row: Lsn,
    /// How many stand at that position, as the rows of one COPY do.
    rows_at_last: u64,
}

impl Transaction {
    /// Whether Debezium has written all of it; not if that cannot be told from its offset.
    pub(super) fn is_written(&self, offset: &DebeziumOffset) -> bool {
        if offset.committed.is_some_and(|committed| self.end <= committed) {
            return true;
        }
        let is_behind_last_row = offset.processed.is_some_and(|processed| {
            self.last_row < processed || (self.last_row == processed && self.rows_at_last <= 1)
        });
        offset.xid == Some(self.xid) && self.rows > 0 && is_behind_last_row
    }
}

/// Gathers the messages of a stream into transactions.
#[derive(Debug, Default)]
struct Summing {
    open: Option<Transaction>,
}

impl Summing {
    fn take(&mut self, lsn: Lsn, message: &Message) -> Option<Transaction> {
        match message {
            Message::Begin(begin) => {
                let (commit, last_row) = (begin.commit_lsn, Lsn::ZERO);
                self.open =
                    Some(Transaction { xid: begin.xid, commit, end: commit, rows: 0, last_row, rows_at_last: 0 });
                None
            }
            Message::Commit(commit) => self.open.take().map(|open| Transaction { end: commit.end_lsn, ..open }),
            Message::Change(_) | Message::Truncate(_) => {
                let open = self.open.as_mut()?;
                open.rows = open.rows.saturating_add(1);
                open.rows_at_last = if lsn == open.last_row { open.rows_at_last.saturating_add(1) } else { 1 };
                open.last_row = lsn;
                None
            }
            _ => None,
        }
    }
}

/// A slot that nobody reads.
pub(super) struct IdleSlot<'a> {
    pub(super) client: &'a Client,
    pub(super) config: &'a PostgresConfig,
    pub(super) name: &'a str,
    pub(super) publications: &'a str,
}

impl IdleSlot<'_> {
    /// The next transaction that has something published in it.
    pub(super) async fn next_transaction(&self) -> Result<Option<Transaction>> {
        let mut next = None;
        self.peek((None, Some(1)), |transaction| next = next.or(Some(transaction))).await?;
        Ok(next)
    }

    /// How many rows, in how many transactions, have their commit before `lsn`.
    pub(super) async fn rows_up_to(&self, lsn: Lsn) -> Result<(u64, u64)> {
        let (mut rows, mut transactions) = (0_u64, 0_u64);
        self.peek((Some(lsn), None), |transaction| {
            if transaction.commit < lsn && transaction.rows > 0 {
                rows = rows.saturating_add(transaction.rows);
                transactions = transactions.saturating_add(1);
            }
        })
        .await?;
        Ok((rows, transactions))
    }

    /// Moves the slot to `lsn`, before which everything is written.
    pub(super) async fn advance(&self, lsn: Lsn) -> Result<()> {
        let statement = "SELECT pg_replication_slot_advance($1::text::name, $2::text::pg_lsn)";
        let moved = self.client.execute(statement, &[&self.name, &lsn.to_string()]).await;
        moved.map(|_| ()).map_err(|error| query_error("advancing the replication slot", self.config, error))
    }

    async fn peek(&self, (upto, changes): (Option<Lsn>, Option<i32>), mut each: impl FnMut(Transaction)) -> Result<()> {
        let failed = |error| query_error("looking into the replication slot", self.config, error);
        let statement = "SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes(\
                         $1::text::name, $2::text::pg_lsn, $3, 'proto_version', '1', 'publication_names', $4)";
        let upto = upto.map(|lsn| lsn.to_string());
        let publications = publication_names(self.publications);
        let parameters: [&(dyn ToSql + Sync); 4] = [&self.name, &upto, &changes, &publications];
        let rows = self.client.query_raw(statement, parameters).await.map_err(failed)?;
        let (mut rows, mut summing) = (pin!(rows), Summing::default());
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let text: String = row.get(0);
            let odd = |error| Error::with_source(ErrorKind::Protocol, "the slot holds what is no message", error);
            let lsn = text
                .parse()
                .map_err(|error| Error::with_source(ErrorKind::Protocol, format!("PostgreSQL says `{text}`"), error))?;
            let message = decode(Bytes::from(row.get::<_, Vec<u8>>(1))).map_err(odd)?;
            if let Some(transaction) = summing.take(lsn, &message) {
                each(transaction);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Three rows of which the last two share a position; it ends at 200.
    fn transaction(xid: u32, last_row: u64, rows_at_last: u64) -> Transaction {
        let (commit, end, last_row) = (Lsn::new(195), Lsn::new(200), Lsn::new(last_row));
        Transaction { xid: Xid(xid), commit, end, rows: 3, last_row, rows_at_last }
    }

    fn offset(xid: u32, processed: u64, committed: u64) -> DebeziumOffset {
        let offset = json!({ "txId": xid, "lsn_proc": processed, "lsn_commit": committed });
        DebeziumOffset::parse(offset.as_object().unwrap())
    }

    #[test]
    fn a_transaction_is_written_if_it_ends_before_the_last_commit_or_its_last_row_is() {
        assert!(transaction(7, 190, 1).is_written(&offset(9, 300, 200)));
        assert!(transaction(7, 190, 1).is_written(&offset(7, 190, 100)));
        assert!(!transaction(7, 190, 1).is_written(&offset(7, 180, 100)), "a row is missing");
        assert!(
            !transaction(7, 190, 2).is_written(&offset(7, 190, 100)),
            "the offset does not count rows at a position"
        );
        assert!(!transaction(8, 150, 1).is_written(&offset(7, 190, 100)), "it began earlier and commits later");
    }

    #[test]
    fn messages_are_summed_up_by_transaction() {
        let begin = crate::pgoutput::Begin { commit_lsn: Lsn::new(190), commit_time_us: 0, xid: Xid(7) };
        let commit = crate::pgoutput::Commit { commit_lsn: Lsn::new(190), end_lsn: Lsn::new(200), commit_time_us: 0 };
        let truncate = Message::Truncate(crate::pgoutput::Truncate { options: 0, relations: Vec::new() });
        let mut summing = Summing::default();
        assert_eq!(summing.take(Lsn::new(10), &Message::Begin(begin)), None);
        for lsn in [20, 30, 30] {
            assert_eq!(summing.take(Lsn::new(lsn), &truncate), None);
        }
        let whole = summing.take(Lsn::new(200), &Message::Commit(commit)).unwrap();
        assert_eq!((whole.rows, whole.rows_at_last, whole.end), (3, 2, Lsn::new(200)));
    }
}
