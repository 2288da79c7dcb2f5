//! Begin … Commit as a state machine: what stands outside of a transaction is a named violation.

use crate::envelope::{EventCounts, PART_BETWEEN, TransactionContext};
use crate::lsn::Lsn;
use crate::pgoutput::{Begin, Commit, Xid};

/// Microseconds between 1970 and 2000, the epochs of Unix and of PostgreSQL.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The server broke protocol 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum TransactionViolation {
    #[error("a transaction begins within transaction {open_xid}")]
    Nested { open_xid: u32 },
    #[error("a {0} stands outside of a transaction")]
    Outside(&'static str),
    #[error("the transaction that began for commit {begun} commits at {committed}")]
    OtherCommit { begun: Lsn, committed: Lsn },
}

/// The transaction that is being received, if any, and the last commit before it.
#[derive(Debug, Default)]
pub(crate) struct TransactionState {
    open: Option<OpenTransaction>,
    last_commit_end: Option<Lsn>,
    last_commit_time_us: Option<i64>,
}

/// A transaction between its Begin and its Commit.
#[derive(Debug)]
pub(crate) struct OpenTransaction {
    /// Position of its commit record.
    pub(crate) commit_lsn: Lsn,
    /// How many rows it had so far, whether they were written or left out.
    row_count: u64,
    /// How many records that are no row's came since the last row.
    between: u32,
    /// Its events so far, where transactions are told of.
    pub(crate) counts: EventCounts,
    /// How many records were sent, as the topic did not hold them yet.
    pub(crate) sent_count: u64,
    /// What its rows share.
    pub(crate) context: TransactionContext,
}

impl OpenTransaction {
    /// The number of the next row, from 1 on.
    ///
    /// Every row of the stream has one, whether or not the configuration leaves it out: that may change between two runs.
    pub(crate) fn next_row(&mut self) -> u64 {
        self.row_count = self.row_count.saturating_add(1);
        self.between = 0;
        self.row_count
    }

    /// The place of the next record that is no row's: the row before it, and the part behind that row's own.
    pub(crate) fn next_between(&mut self) -> (u64, u32) {
        let part = PART_BETWEEN.saturating_add(self.between);
        self.between = self.between.saturating_add(1);
        (self.row_count, part)
    }

    /// The number of the last row, 0 before the first.
    pub(crate) fn row_count(&self) -> u64 {
        self.row_count
    }
}

impl TransactionState {
    /// `last_commit_end` is the end of the last commit of an earlier run, if known.
    pub(crate) fn resuming_after(last_commit_end: Option<Lsn>) -> Self {
        Self { open: None, last_commit_end, last_commit_time_us: None }
    }

    /// A transaction starts.
    pub(crate) fn begin(&mut self, begin: &Begin) -> Result<(), TransactionViolation> {
        if let Some(open) = &self.open {
            return Err(TransactionViolation::Nested { open_xid: open.context.xid.0 });
        }
        let commit_time_us = begin.commit_time_us.saturating_add(POSTGRES_EPOCH_US);
        self.last_commit_time_us = Some(commit_time_us);
        self.open_with(begin.commit_lsn, (begin.xid, commit_time_us));
        Ok(())
    }

    /// A message of no transaction stands at `lsn`, the end of its record, which Debezium takes for a commit's. No commit
    /// record stands at the byte before.
    pub(crate) fn begin_alone(&mut self, lsn: Lsn, now_us: i64) -> Result<(), TransactionViolation> {
        if let Some(open) = &self.open {
            return Err(TransactionViolation::Nested { open_xid: open.context.xid.0 });
        }
        self.last_commit_end = Some(lsn);
        let commit_time_us = self.last_commit_time_us.unwrap_or(now_us);
        self.open_with(Lsn::new(lsn.get().saturating_sub(1)), (Xid(0), commit_time_us));
        Ok(())
    }

    /// The message has been dealt with.
    pub(crate) fn end_alone(&mut self) -> Result<OpenTransaction, TransactionViolation> {
        self.open.take().ok_or(TransactionViolation::Outside("message"))
    }

    fn open_with(&mut self, commit_lsn: Lsn, (xid, commit_time_us): (Xid, i64)) {
        let context =
            TransactionContext { xid, commit_time_us, previous_commit_end: self.last_commit_end, origin: None };
        let counts = EventCounts::default();
        self.open = Some(OpenTransaction { commit_lsn, row_count: 0, between: 0, counts, sent_count: 0, context });
    }

    /// The open transaction, for a message of kind `what`.
    pub(crate) fn open(&mut self, what: &'static str) -> Result<&mut OpenTransaction, TransactionViolation> {
        self.open.as_mut().ok_or(TransactionViolation::Outside(what))
    }

    /// The id of the open transaction; nothing for a message of none.
    pub(crate) fn xid(&self) -> Option<Xid> {
        self.open.as_ref().map(|open| open.context.xid).filter(|xid| xid.0 != 0)
    }

    /// The end of the last commit, if known.
    pub(crate) fn last_commit_end(&self) -> Option<Lsn> {
        self.last_commit_end
    }

    /// Whether a transaction is being received.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// It ends.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<OpenTransaction, TransactionViolation> {
        let open = self.open.take().ok_or(TransactionViolation::Outside("commit"))?;
        if open.commit_lsn != commit.commit_lsn {
            let (begun, committed) = (open.commit_lsn, commit.commit_lsn);
            return Err(TransactionViolation::OtherCommit { begun, committed });
        }
        self.last_commit_end = Some(commit.end_lsn);
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::Xid;

    fn begin(lsn: u64) -> Begin {
        Begin { commit_lsn: Lsn::new(lsn), commit_time_us: 1, xid: Xid(7) }
    }

    fn commit(lsn: u64) -> Commit {
        Commit { commit_lsn: Lsn::new(lsn), end_lsn: Lsn::new(lsn + 40), commit_time_us: 1 }
    }

    #[test]
    fn each_transaction_knows_the_end_of_the_one_before() {
        let mut state = TransactionState::default();
        state.begin(&begin(100)).unwrap();
        assert_eq!(state.open("row").unwrap().context.previous_commit_end, None);
        state.commit(&commit(100)).unwrap();
        state.begin(&begin(200)).unwrap();
        assert_eq!(state.open("row").unwrap().context.previous_commit_end, Some(Lsn::new(140)));
    }

    #[test]
    fn rows_are_counted_from_one() {
        let mut state = TransactionState::default();
        state.begin(&begin(100)).unwrap();
        let open = state.open("row").unwrap();
        assert_eq!([open.next_row(), open.next_row(), open.next_row()], [1, 2, 3]);
    }

    #[test]
    fn what_is_no_row_stands_between_rows_and_takes_no_number_from_them() {
        let mut state = TransactionState::default();
        state.begin(&begin(100)).unwrap();
        let open = state.open("row").unwrap();
        assert_eq!([open.next_between(), open.next_between()], [(0, 3), (0, 4)]);
        assert_eq!((open.next_row(), open.next_between(), open.next_row()), (1, (1, 3), 2));
    }

    #[test]
    fn a_message_alone_counts_as_a_commit_and_has_the_time_of_the_one_before() {
        let mut state = TransactionState::default();
        state.begin_alone(Lsn::new(90), 5).unwrap();
        assert_eq!(state.begin(&begin(100)).unwrap_err(), TransactionViolation::Nested { open_xid: 0 });
        let alone = state.end_alone().unwrap();
        assert_eq!((alone.commit_lsn, alone.context.commit_time_us), (Lsn::new(89), 5));
        state.begin(&begin(100)).unwrap();
        assert_eq!(state.open("row").unwrap().context.previous_commit_end, Some(Lsn::new(90)));
        state.commit(&commit(100)).unwrap();
        state.begin_alone(Lsn::new(200), 5).unwrap();
        assert_eq!(state.open("message").unwrap().context.commit_time_us, 946_684_800_000_001);
    }

    #[test]
    fn commit_times_are_counted_from_1970() {
        let mut state = TransactionState::default();
        state.begin(&begin(100)).unwrap();
        assert_eq!(state.open("row").unwrap().context.commit_time_us, 946_684_800_000_001);
    }

    #[test]
    fn violations_are_named() {
        let mut state = TransactionState::default();
        assert_eq!(state.open("row").unwrap_err(), TransactionViolation::Outside("row"));
        assert_eq!(state.commit(&commit(1)).unwrap_err(), TransactionViolation::Outside("commit"));
        state.begin(&begin(100)).unwrap();
        assert_eq!(state.begin(&begin(200)).unwrap_err(), TransactionViolation::Nested { open_xid: 7 });
        let other = TransactionViolation::OtherCommit { begun: Lsn::new(100), committed: Lsn::new(300) };
        assert_eq!(state.commit(&commit(300)).unwrap_err(), other);
    }
}
