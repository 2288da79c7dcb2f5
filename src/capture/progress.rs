//! What may be confirmed to PostgreSQL: the end of the last transaction whose every record, and every
//! record before it, is acknowledged by Kafka.
//!
//! Two positions are kept apart: *received* is how far the stream was read, *flushed* how far it is durable.
//! A keepalive, and a transaction without records, is taken as part of whatever stands before it in the
//! stream: once that is acknowledged, *flushed* moves past both, so that an idle slot frees its log.

use std::collections::VecDeque;

use crate::lsn::Lsn;

/// The number of a transaction in this session, carried by each of its records to the acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// Received and flushed positions with everything between them.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Transactions not yet confirmed, in commit order; only the last can be open.
    pending: VecDeque<Pending>,
    /// The ticket of the first of them.
    first_ticket: u64,
    received: Lsn,
    flushed: Lsn,
}

#[derive(Debug)]
struct Pending {
    /// End of the commit; none while the transaction is open.
    end: Option<Lsn>,
    commit_time_us: i64,
    /// Records sent minus records acknowledged. What was sent is added at the commit, so it can be negative before.
    unacknowledged: i64,
}

impl Pending {
    fn is_done(&self) -> bool {
        self.end.is_some() && self.unacknowledged == 0
    }
}

impl Progress {
    /// Starts at the slot's confirmed position.
    pub(crate) fn starting_at(flushed: Lsn) -> Self {
        Self { flushed, received: flushed, ..Self::default() }
    }

    /// A transaction starts; its records are sent with the ticket returned.
    pub(crate) fn begin(&mut self, commit_time_us: i64) -> Ticket {
        self.pending.push_back(Pending { end: None, commit_time_us, unacknowledged: 0 });
        Ticket(self.first_ticket + self.pending.len() as u64 - 1)
    }

    /// Kafka has a record; returns the commit times of transactions that this completes, through `completed`.
    pub(crate) fn acknowledged(&mut self, ticket: Ticket, completed: impl FnMut(i64)) {
        let at = ticket.0.checked_sub(self.first_ticket).and_then(|at| usize::try_from(at).ok());
        if let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) {
            pending.unacknowledged = pending.unacknowledged.saturating_sub(1);
        }
        self.advance(completed);
    }

    /// The open transaction, of which `records` were sent, ends.
    pub(crate) fn commit(&mut self, end: Lsn, records: u64, completed: impl FnMut(i64)) {
        if records == 0 {
            self.pending.pop_back();
            return self.keepalive(end);
        }
        self.received = self.received.max(end);
        if let Some(open) = self.pending.back_mut() {
            open.end = Some(end);
            open.unacknowledged = open.unacknowledged.saturating_add_unsigned(records);
        }
        self.advance(completed);
    }

    /// The server has sent everything before `sent`. Ignored within a transaction, whose commit is to come.
    pub(crate) fn keepalive(&mut self, sent: Lsn) {
        match self.pending.back_mut() {
            Some(Pending { end: None, .. }) => return,
            Some(last) => last.end = last.end.max(Some(sent)),
            None => self.flushed = self.flushed.max(sent),
        }
        self.received = self.received.max(sent);
    }

    /// Moves *flushed* over the transactions at the front that are done.
    fn advance(&mut self, mut completed: impl FnMut(i64)) {
        while self.pending.front().is_some_and(Pending::is_done) {
            if let Some(done) = self.pending.pop_front() {
                self.first_ticket += 1;
                self.flushed = self.flushed.max(done.end.unwrap_or_default());
                completed(done.commit_time_us);
            }
        }
    }

    /// What may be confirmed.
    pub(crate) fn flushed(&self) -> Lsn {
        self.flushed
    }

    /// How far the stream was read.
    pub(crate) fn received(&self) -> Lsn {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IGNORE: fn(i64) = |_| {};

    #[derive(Debug, Clone)]
    enum Step {
        /// A transaction of so many records.
        Transaction(u8),
        Keepalive,
        /// Acknowledges some record that is in flight.
        Acknowledge(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..4).prop_map(Step::Transaction),
            Just(Step::Keepalive),
            any::<prop::sample::Index>().prop_map(Step::Acknowledge)
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_acknowledgements_confirms_an_unacknowledged_record(
            steps in proptest::collection::vec(step(), 0..120)
        ) {
            let mut progress = Progress::default();
            let mut clock = 0_u64;
            let mut in_flight: Vec<(Ticket, u64)> = Vec::new();
            let mut flushed_before = Lsn::ZERO;
            for step in steps {
                clock += 10;
                match step {
                    Step::Transaction(records) => {
                        let ticket = progress.begin(0);
                        for _ in 0..records {
                            in_flight.push((ticket, clock + 5));
                            // A keepalive within a transaction must not confirm it.
                            progress.keepalive(Lsn::new(clock + 4));
                        }
                        if records > 2 {
                            // Kafka can be faster than the commit.
                            in_flight.pop();
                            progress.acknowledged(ticket, IGNORE);
                        }
                        clock += 5;
                        progress.commit(Lsn::new(clock), records.into(), IGNORE);
                    }
                    Step::Keepalive => progress.keepalive(Lsn::new(clock)),
                    Step::Acknowledge(at) if !in_flight.is_empty() => {
                        let (ticket, _) = in_flight.swap_remove(at.index(in_flight.len()));
                        progress.acknowledged(ticket, IGNORE);
                    }
                    Step::Acknowledge(_) => {}
                }
                let first_unacknowledged = in_flight.iter().map(|(_, end)| *end).min();
                let flushed = progress.flushed();
                prop_assert!(first_unacknowledged.is_none_or(|end| flushed.get() < end));
                prop_assert!(flushed >= flushed_before, "never regresses");
                flushed_before = flushed;
                if in_flight.is_empty() {
                    prop_assert!(progress.pending.is_empty());
                    prop_assert_eq!(progress.flushed(), progress.received());
                }
            }
        }
    }

    #[test]
    fn keepalives_behind_a_stalled_kafka_take_no_memory() {
        let mut progress = Progress::default();
        let ticket = progress.begin(0);
        progress.commit(Lsn::new(10), 1, IGNORE);
        (11..10_000).for_each(|lsn| progress.keepalive(Lsn::new(lsn)));
        assert_eq!(progress.pending.len(), 1);
        assert_eq!(progress.flushed(), Lsn::ZERO);
        progress.acknowledged(ticket, IGNORE);
        assert_eq!(progress.flushed(), Lsn::new(9_999));
    }

    #[test]
    fn the_time_of_a_transaction_is_told_once_it_is_whole() {
        let mut progress = Progress::default();
        let ticket = progress.begin(77);
        let mut told = Vec::new();
        progress.acknowledged(ticket, |time| told.push(time));
        assert!(told.is_empty(), "not before its commit is seen");
        progress.commit(Lsn::new(10), 1, |time| told.push(time));
        assert_eq!(told, [77]);
    }
}
