//! The records of two sides of a topic, and the first of them that differ.
//!
//! Of each record a digest of what is compared is kept, so that any number of them fits into memory. A partition has its
//! records in the order of the log, on both sides. A record without a key is put into some partition by Java's producer,
//! by chance, so that those are compared as a set, unless there is one partition alone.

use std::collections::{BTreeMap, HashMap};

use crate::lsn::Lsn;

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) has_key: bool,
    /// Of key, value and headers, as far as they are compared.
    pub(super) digest: u64,
    /// Position of its change in the log, if its value shows it.
    pub(super) lsn: Option<Lsn>,
    /// Of a record of evp's, the position of its transaction's commit.
    pub(super) commit: Option<Lsn>,
}

/// Two records that are not equal, or one that has no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// The first is evp's.
    Content(Seen, Seen),
    /// The same record in another partition; the first is evp's.
    Partition(Seen, Seen),
    /// Debezium has not written it.
    OnlyEvp(Seen),
    /// evp has not written it.
    OnlyDebezium(Seen),
}

impl Difference {
    /// What orders differences: the place in the log, as far as it is known.
    fn place(&self) -> Lsn {
        let (Self::Content(one, _) | Self::Partition(one, _) | Self::OnlyEvp(one) | Self::OnlyDebezium(one)) = self;
        one.commit.or(one.lsn).unwrap_or(Lsn::new(u64::MAX))
    }
}

/// What was found of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Records that both have written alike.
    pub(super) equal: u64,
    pub(super) first: Option<Difference>,
}

impl Found {
    fn note(&mut self, difference: Option<Difference>) {
        self.first = self.first.into_iter().chain(difference).min_by_key(Difference::place);
    }
}

/// The two sides of a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic<'a> {
    pub(super) evp: &'a [Seen],
    pub(super) debezium: &'a [Seen],
    /// How many partitions both have; nothing if that differs, so that partitions say nothing.
    pub(super) partitions: Option<usize>,
    /// Debezium has written all that was committed before this, and evp more than Debezium.
    pub(super) covered: Lsn,
}

impl Topic<'_> {
    pub(super) fn compare(&self) -> Found {
        let mut in_order: BTreeMap<i32, [Vec<Seen>; 2]> = BTreeMap::new();
        let mut unordered = [Vec::new(), Vec::new()];
        let is_in_order = |seen: &Seen| match self.partitions {
            Some(1) => true,
            Some(_) => seen.has_key,
            None => false,
        };
        for (side, records) in [self.evp, self.debezium].into_iter().enumerate() {
            for seen in records {
                let sides =
                    if is_in_order(seen) { in_order.entry(seen.partition).or_default() } else { &mut unordered };
                if let Some(records) = sides.get_mut(side) {
                    records.push(*seen);
                }
            }
        }
        let mut found = Found::default();
        for [evp, debezium] in in_order.values() {
            self.in_order(evp, debezium, &mut found);
        }
        self.as_sets(&unordered, &mut found);
        found
    }

    fn in_order(&self, evp: &[Seen], debezium: &[Seen], found: &mut Found) {
        let length = evp.iter().zip(debezium).take_while(|(ours, theirs)| ours.digest == theirs.digest).count();
        found.equal = found.equal.saturating_add(length as u64);
        let rest = |records: &[Seen]| records.get(length..).unwrap_or_default().to_vec();
        let (evp, debezium) = (rest(evp), rest(debezium));
        found.note(match (evp.first(), debezium.first()) {
            (Some(ours), Some(theirs)) => {
                let comes = |records: &[Seen], seen: &Seen| records.iter().any(|later| later.digest == seen.digest);
                match (comes(&evp, theirs), comes(&debezium, ours)) {
                    (true, false) => Some(self.only_evp(*ours)),
                    (false, true) => Some(self.only_debezium(*theirs)),
                    _ => Some(Difference::Content(*ours, *theirs)),
                }
            }
            (None, Some(theirs)) => Some(self.only_debezium(*theirs)),
            (Some(ours), None) if self.is_due(ours) => Some(self.only_evp(*ours)),
            (_, None) => None,
        });
    }

    fn as_sets(&self, [evp, debezium]: &[Vec<Seen>; 2], found: &mut Found) {
        let mut unmatched: HashMap<u64, Vec<Seen>> = HashMap::new();
        for seen in debezium.iter().rev() {
            unmatched.entry(seen.digest).or_default().push(*seen);
        }
        let mut is_lonely = |seen: &&Seen| unmatched.get_mut(&seen.digest).and_then(Vec::pop).is_none();
        let lonely: Vec<Seen> = evp.iter().filter(|seen| is_lonely(seen)).copied().collect();
        let matched = evp.len().saturating_sub(lonely.len());
        found.equal = found.equal.saturating_add(matched as u64);
        let others: Vec<Seen> = unmatched.into_values().flatten().collect();
        for theirs in &others {
            let of_same_change = |ours: &&Seen| ours.lsn.is_some() && ours.lsn == theirs.lsn;
            let ours = lonely.iter().find(of_same_change);
            found
                .note(Some(ours.map_or(Difference::OnlyDebezium(*theirs), |ours| Difference::Content(*ours, *theirs))));
        }
        let has_other = |ours: &Seen| ours.lsn.is_some() && others.iter().any(|theirs| theirs.lsn == ours.lsn);
        for ours in lonely.iter().filter(|ours| self.is_due(ours) && !has_other(ours)) {
            found.note(Some(Difference::OnlyEvp(*ours)));
        }
    }

    /// Whether Debezium has come so far that it must have written a record of evp's.
    fn is_due(&self, ours: &Seen) -> bool {
        ours.commit.is_some_and(|commit| commit < self.covered)
    }

    fn only_evp(&self, ours: Seen) -> Difference {
        let theirs =
            self.debezium.iter().find(|theirs| theirs.digest == ours.digest && theirs.partition != ours.partition);
        theirs.map_or(Difference::OnlyEvp(ours), |theirs| Difference::Partition(ours, *theirs))
    }

    fn only_debezium(&self, theirs: Seen) -> Difference {
        let ours = self.evp.iter().find(|ours| ours.digest == theirs.digest && ours.partition != theirs.partition);
        ours.map_or(Difference::OnlyDebezium(theirs), |ours| Difference::Partition(*ours, theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a change at `lsn`, whose content is `digest`.
    fn seen(partition: i32, offset: i64, digest: u64, lsn: u64) -> Seen {
        Seen { partition, offset, has_key: true, digest, lsn: Some(Lsn::new(lsn)), commit: None }
    }

    /// The same written by evp, in a transaction that commits at `lsn`.
    fn ours(partition: i32, offset: i64, digest: u64, lsn: u64) -> Seen {
        Seen { commit: Some(Lsn::new(lsn)), ..seen(partition, offset, digest, lsn) }
    }

    fn keyless(seen: Seen) -> Seen {
        Seen { has_key: false, ..seen }
    }

    fn compare(evp: &[Seen], debezium: &[Seen]) -> Found {
        Topic { evp, debezium, partitions: Some(2), covered: Lsn::new(100) }.compare()
    }

    #[test]
    fn equal_records_are_counted_and_what_evp_wrote_beyond_debeziums_end_is_none() {
        let evp = [ours(0, 0, 7, 10), ours(1, 0, 8, 20), ours(0, 1, 9, 100), ours(1, 1, 9, 130)];
        let debezium = [seen(0, 4, 7, 10), seen(1, 9, 8, 20)];
        assert_eq!(compare(&evp, &debezium), Found { equal: 2, first: None });
        assert_eq!(compare(&[], &[]), Found::default());
    }

    #[test]
    fn the_first_difference_is_the_first_of_the_log_in_whatever_partition() {
        let evp = [ours(0, 0, 7, 50), ours(1, 0, 8, 20), ours(1, 1, 3, 60)];
        let debezium = [seen(0, 0, 70, 50), seen(1, 0, 80, 20), seen(1, 1, 3, 60)];
        let found = compare(&evp, &debezium);
        assert_eq!(found, Found { equal: 0, first: Some(Difference::Content(evp[1], debezium[1])) });
    }

    #[test]
    fn a_record_that_one_side_lacks_is_named_and_not_taken_for_another_content() {
        let evp = [ours(0, 0, 1, 10), ours(0, 1, 2, 20), ours(0, 2, 3, 30)];
        let debezium = [seen(0, 0, 1, 10), seen(0, 1, 3, 30)];
        assert_eq!(compare(&evp, &debezium), Found { equal: 1, first: Some(Difference::OnlyEvp(evp[1])) });
        let fewer = [evp[0], ours(0, 1, 3, 30)];
        let more = [debezium[0], seen(0, 1, 2, 20), seen(0, 2, 3, 30)];
        assert_eq!(compare(&fewer, &more).first, Some(Difference::OnlyDebezium(more[1])));
        assert_eq!(compare(&evp, &debezium[..1]).first, Some(Difference::OnlyEvp(evp[1])), "at the end, but due");
        assert_eq!(compare(&evp[..1], &debezium).first, Some(Difference::OnlyDebezium(debezium[1])));
    }

    #[test]
    fn another_partition_is_named_as_such() {
        let (evp, debezium) = ([ours(0, 0, 1, 10)], [seen(1, 0, 1, 10)]);
        assert_eq!(compare(&evp, &debezium).first, Some(Difference::Partition(evp[0], debezium[0])));
    }

    #[test]
    fn without_a_key_records_are_a_set_and_those_of_one_change_belong_together() {
        let evp = [ours(0, 0, 1, 10), ours(0, 1, 2, 20), ours(0, 2, 1, 30)].map(keyless);
        let debezium = [seen(1, 0, 1, 30), seen(0, 0, 2, 20), seen(1, 1, 1, 10)].map(keyless);
        assert_eq!(compare(&evp, &debezium), Found { equal: 3, first: None });
        let other = [debezium[0], keyless(seen(0, 0, 5, 20)), debezium[2]];
        assert_eq!(compare(&evp, &other), Found { equal: 2, first: Some(Difference::Content(evp[1], other[1])) });
        assert_eq!(compare(&evp, &other[2..]).first, Some(Difference::OnlyEvp(evp[1])));
        let lacking = compare(&evp[1..2], &debezium);
        assert_eq!(lacking, Found { equal: 1, first: Some(Difference::OnlyDebezium(debezium[2])) });
        let one = Topic { evp: &evp, debezium: &debezium, partitions: Some(1), covered: Lsn::new(100) };
        assert!(one.compare().first.is_some(), "one partition has an order");
    }
}
