//! What is known of the topic from before this run and from this run: pure, shared by the consumer's thread and the loop.

use std::collections::{BTreeMap, BTreeSet};

use super::chunk::Chunk;
use super::witness::{Witness, Witnesses};

/// The topic as the database of the read models knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownTopic {
    partitions: BTreeMap<i32, KnownPartition>,
    /// The group has read the topic before.
    pub(crate) was_read: bool,
    /// The group has found events in the topic.
    pub(crate) has_events: bool,
    /// Partitions of which something is to be noted.
    unnoted: BTreeSet<i32>,
    /// Where partitions begin, although the group has committed more: what is behind it was applied to a collection that was
    /// replaced since.
    pub(crate) floors: BTreeMap<i32, i64>,
}

/// A partition as the database of the read models knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownPartition {
    /// Up to where the group has applied it.
    pub(crate) committed: Option<i64>,
    /// Up to where any group has applied it.
    pub(crate) applied: Option<i64>,
    /// The witnesses of the group.
    pub(crate) witnesses: Witnesses,
    /// The last witness of all other groups.
    pub(crate) of_others: Option<Witness>,
}

/// What is to be noted of a partition.
#[derive(Debug, Clone)]
pub(crate) struct PartitionNote {
    pub(crate) partition: i32,
    pub(crate) committed: i64,
    pub(crate) witnesses: Vec<Witness>,
}

/// A witness to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) partition: i32,
    pub(crate) witness: Witness,
}

impl KnownPartition {
    /// Adds what another group knows.
    pub(crate) fn add_other(&mut self, applied: Option<i64>, witness: Option<Witness>) {
        self.applied = self.applied.max(applied);
        if let Some(witness) = witness
            && self.of_others.is_none_or(|known| known.offset < witness.offset)
        {
            self.of_others = Some(witness);
        }
    }
}

impl KnownTopic {
    pub(crate) fn partition(&self, partition: i32) -> Option<&KnownPartition> {
        self.partitions.get(&partition)
    }

    pub(crate) fn partition_mut(&mut self, partition: i32) -> &mut KnownPartition {
        self.partitions.entry(partition).or_default()
    }

    /// All partitions of which something is known.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (i32, &KnownPartition)> {
        self.partitions.iter().map(|(number, partition)| (*number, partition))
    }

    /// Everything that must be found in these partitions.
    pub(crate) fn expected(&self, partitions: &[i32]) -> Vec<Expected> {
        let known = partitions.iter().filter_map(|number| Some((*number, self.partitions.get(number)?)));
        known
            .flat_map(|(partition, known)| {
                let witnesses = known.witnesses.list().into_iter().chain(known.of_others);
                witnesses.map(move |witness| Expected { partition, witness })
            })
            .collect()
    }

    /// Notes what was read.
    pub(crate) fn received(&mut self, chunks: &[Chunk]) {
        let last: BTreeMap<i32, _> =
            chunks.iter().flat_map(Chunk::records).map(|record| (record.partition(), record)).collect();
        for (partition, record) in last {
            self.partition_mut(partition).witnesses.received(Witness::of(&record));
        }
    }

    /// Notes what is applied.
    pub(crate) fn committed(&mut self, offsets: &[(i32, i64)]) {
        for (number, offset) in offsets {
            let partition = self.partition_mut(*number);
            partition.committed = partition.committed.max(Some(*offset));
            partition.applied = partition.applied.max(Some(*offset));
            partition.witnesses.committed(*offset);
            self.unnoted.insert(*number);
        }
    }

    /// Partitions that another member reads from now on.
    pub(crate) fn revoked(&mut self, partitions: &[i32]) {
        for number in partitions {
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.witnesses.revoked();
            }
        }
    }

    /// What this run has read since it was last looked at: what must be found, and what is confirmed by that.
    pub(crate) fn to_check(&self) -> Vec<(Expected, Option<Witness>)> {
        let checks = self.partitions().filter_map(|(partition, known)| {
            let (witness, latest) = known.witnesses.to_check()?;
            Some((Expected { partition, witness }, latest))
        });
        checks.collect()
    }

    /// What was to be checked was found.
    pub(crate) fn confirm(&mut self, checked: &[(Expected, Option<Witness>)]) {
        for (expected, latest) in checked {
            self.partition_mut(expected.partition).witnesses.confirm(*latest);
            self.unnoted.insert(expected.partition);
        }
    }

    /// Whether something of these partitions is to be noted.
    pub(crate) fn has_unnoted(&self, mut is_wanted: impl FnMut(i32) -> bool) -> bool {
        self.unnoted.iter().any(|partition| is_wanted(*partition))
    }

    /// Takes what is to be noted.
    pub(crate) fn take_notes(&mut self) -> Vec<PartitionNote> {
        let unnoted = std::mem::take(&mut self.unnoted);
        let notes = unnoted.into_iter().filter_map(|partition| {
            let known = self.partitions.get(&partition)?;
            Some(PartitionNote { partition, committed: known.committed?, witnesses: known.witnesses.list() })
        });
        notes.collect()
    }

    /// These could not be noted.
    pub(crate) fn not_noted(&mut self, notes: &[PartitionNote]) {
        self.unnoted.extend(notes.iter().map(|note| note.partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_noted_once_and_again_if_that_failed() {
        let mut known = KnownTopic::default();
        known.received(&[Chunk::of(&[(0, 1, b"x"), (1, 7, b"y"), (0, 2, b"z")])]);
        known.committed(&[(0, 3)]);
        let notes = known.take_notes();
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert_eq!((note.partition, note.committed, note.witnesses[0].offset), (0, 3, 2));
        assert!(known.take_notes().is_empty());
        known.not_noted(&notes);
        assert!(known.has_unnoted(|partition| partition == 0) && !known.has_unnoted(|partition| partition == 1));
        // A replay from an earlier offset does not make less of it applied.
        known.committed(&[(0, 1)]);
        assert_eq!(known.take_notes()[0].committed, 3);
    }

    #[test]
    fn the_last_witness_of_other_groups_must_be_found_too() {
        let mut known = KnownTopic::default();
        let witness = |offset| Witness { offset, digest: [1; 32] };
        known.partition_mut(0).witnesses = Witnesses::noted(&[witness(2), witness(4)]);
        known.partition_mut(0).add_other(Some(10), Some(witness(9)));
        known.partition_mut(0).add_other(Some(8), Some(witness(7)));
        let offsets: Vec<i64> = known.expected(&[0, 1]).iter().map(|expected| expected.witness.offset).collect();
        assert_eq!((offsets, known.partition(0).unwrap().applied), (vec![2, 4, 9], Some(10)));
    }
}
