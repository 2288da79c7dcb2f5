//! What tells a topic from another one of its name: records that were read from it, each known by a digest.
//!
//! Kafka gives a topic that is made anew the same offsets again, and brokers delete the offsets of its groups with the old
//! one. A record that is no longer where it was read is seen whatever became of the topic, also if it lost its end.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use super::chunk::Record;

/// Records read and not yet committed that are kept at the most; the last gives way to those behind it.
const PENDING_MAX: usize = 2;

/// One record, by its place and what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) offset: i64,
    pub(crate) digest: [u8; 32],
}

impl Witness {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(record.timestamp_ms().unwrap_or(-1).to_le_bytes());
        let mut add = |bytes: Option<&[u8]>| {
            // With its length, so that what stands in one field cannot pass for what stands in two.
            hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        add(record.key());
        add(record.value());
        for (name, value) in record.headers() {
            add(Some(name.as_bytes()));
            add(value);
        }
        Self { offset: record.offset(), digest: hash.finalize().into() }
    }
}

/// The witnesses of one partition.
///
/// A newer one takes the place of the confirmed one only after that has been found where it was, and after the newer one
/// was read: so both are of one topic, however short the time in which it is made anew and grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witnesses {
    confirmed: Option<Witness>,
    latest: Option<Witness>,
    pending: VecDeque<Witness>,
}

impl Witnesses {
    /// Those that were noted, oldest first.
    pub(crate) fn noted(noted: &[Witness]) -> Self {
        let confirmed = noted.first().copied();
        let latest = noted.last().copied().filter(|latest| Some(*latest) != confirmed);
        Self { confirmed, latest, pending: VecDeque::new() }
    }

    /// Keeps a record that was read.
    pub(crate) fn received(&mut self, witness: Witness) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_back();
        }
        self.pending.push_back(witness);
    }

    /// Takes records before `offset`, which are done with, for witnesses.
    pub(crate) fn committed(&mut self, offset: i64) {
        while let Some(witness) = self.pending.front().copied().filter(|witness| witness.offset < offset) {
            self.pending.pop_front();
            if self.confirmed.is_none() {
                self.confirmed = Some(witness);
            } else {
                self.latest = Some(witness);
            }
        }
    }

    /// Forgets records of which it is not known whether they are applied.
    pub(crate) fn revoked(&mut self) {
        self.pending.clear();
    }

    /// The one to be looked for, if records were read since it was confirmed, and the one that may follow it.
    pub(crate) fn to_check(&self) -> Option<(Witness, Option<Witness>)> {
        let has_news = self.latest.is_some() || !self.pending.is_empty();
        self.confirmed.filter(|_| has_news).map(|confirmed| (confirmed, self.latest))
    }

    /// The confirmed one was found, or its place is deleted: `latest` is of the same topic.
    pub(crate) fn confirm(&mut self, latest: Option<Witness>) {
        if let Some(latest) = latest {
            self.confirmed = Some(latest);
            self.latest = self.latest.filter(|known| *known != latest);
        }
    }

    /// All that must be found, oldest first.
    pub(crate) fn list(&self) -> Vec<Witness> {
        self.confirmed.into_iter().chain(self.latest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::chunk::Chunk;

    fn witness(offset: i64) -> Witness {
        Witness { offset, digest: [0; 32] }
    }

    #[test]
    fn a_record_is_known_by_its_place_and_its_bytes() {
        let digest = |offset, value: &[u8]| {
            let chunk = Chunk::of(&[(0, offset, value)]);
            Witness::of(&chunk.record(0).unwrap())
        };
        assert_eq!(digest(1, b"a"), digest(1, b"a"));
        assert_ne!(digest(1, b"a"), digest(2, b"a"));
        assert_ne!(digest(1, b"a"), digest(1, b"b"));
    }

    #[test]
    fn a_newer_witness_stands_beside_the_confirmed_one_until_that_was_found() {
        let mut witnesses = Witnesses::default();
        witnesses.received(witness(4));
        assert_eq!(witnesses.list(), []);
        witnesses.committed(4);
        assert_eq!(witnesses.list(), []);
        witnesses.committed(5);
        assert_eq!((witnesses.list(), witnesses.to_check()), (vec![witness(4)], None));
        witnesses.received(witness(9));
        assert_eq!(witnesses.to_check(), Some((witness(4), None)));
        witnesses.committed(10);
        assert_eq!(witnesses.list(), [witness(4), witness(9)]);
        let checked = witnesses.to_check().unwrap();
        witnesses.received(witness(12));
        witnesses.committed(13);
        witnesses.confirm(checked.1);
        assert_eq!(witnesses.list(), [witness(9), witness(12)]);
        assert_eq!(Witnesses::noted(&witnesses.list()).list(), witnesses.list());
    }

    #[test]
    fn what_waits_long_keeps_few_records_and_goes_on_afterwards() {
        let mut witnesses = Witnesses::default();
        (1..100).for_each(|offset| witnesses.received(witness(offset)));
        witnesses.committed(50);
        assert_eq!(witnesses.list(), [witness(1)]);
        witnesses.committed(100);
        assert_eq!(witnesses.list(), [witness(1), witness(99)]);
        witnesses.received(witness(120));
        witnesses.revoked();
        witnesses.committed(200);
        assert_eq!(witnesses.list(), [witness(1), witness(99)]);
    }
}
