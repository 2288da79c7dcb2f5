//! What a later session has to know to read the ends of the topics rightly.
//!
//! A position is comparable with the server's only if both are of one history, and a partition's end tells what is
//! written only to who spreads the keys as its writer did and if the topic is still the same. All of it can change
//! between two sessions, so a record of its own beside the confirmation carries it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::gap::Shortened;
use super::incremental::Ledger;
use super::published::Published;
use super::snapshot::SnapshotProgress;
use crate::lsn::Lsn;
use crate::postgres::Timeline;

/// As many changes of partition counts are remembered.
const LAYOUTS_MAX: usize = 8;

/// Where the topics' records come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// The server's history in the last session.
    #[serde(default)]
    pub(crate) timeline: Option<Timeline>,
    /// Offsets by topic and partition: the records before them are of a history that `--accept-gap` has given up.
    #[serde(default)]
    given_up: BTreeMap<String, BTreeMap<i32, i64>>,
    /// In the order of their commits.
    #[serde(default)]
    layouts: Vec<Layout>,
    /// Offsets by topic and partition that evp has written up to: a topic that ends before one of them is another one.
    #[serde(default)]
    pub(crate) ends: Ends,
    /// What the publications sent.
    #[serde(default)]
    pub(crate) published: Option<Published>,
    /// Records of evp's bear no position, so that they look like Debezium's.
    #[serde(default)]
    pub(crate) is_without_header: bool,
    /// The snapshot that was begun last.
    #[serde(default)]
    pub(crate) snapshot: Option<SnapshotProgress>,
    /// Signals, and the incremental snapshot that they have asked for.
    #[serde(default)]
    pub(crate) incremental: Ledger,
}

/// The end of a partition that has begun again while it was written to.
pub(crate) const END_LOST: i64 = i64::MAX;

/// Offsets by topic and partition.
pub(crate) type Ends = BTreeMap<String, BTreeMap<i32, i64>>;

/// How many partitions topics had for the commits behind a position, as far as that differs from the layout before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    after: Lsn,
    partition_counts: BTreeMap<String, u32>,
}

impl Lineage {
    /// Gives everything up that the topics hold: the server goes on with another history.
    pub(crate) fn give_up(ends: &HashMap<(String, i32), i64>) -> Self {
        let mut lineage = Self::default();
        for ((topic, partition), end) in ends {
            lineage.given_up.entry(topic.clone()).or_default().insert(*partition, *end);
        }
        lineage
    }

    /// The first offset of a partition that counts.
    pub(crate) fn first_offset(&self, topic: &str, partition: i32) -> i64 {
        self.given_up.get(topic).and_then(|offsets| offsets.get(&partition)).copied().unwrap_or(0)
    }

    /// The topics that were ever written to, as far as is remembered; today's tables may not be all of them.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &String> {
        self.layouts.iter().flat_map(|layout| layout.partition_counts.keys())
    }

    /// The same in a session on `timeline`, which has found `partition_counts` and commits written up to `written`.
    pub(crate) fn continued(&self, timeline: Timeline, partition_counts: BTreeMap<String, u32>, written: Lsn) -> Self {
        let mut lineage = Self { timeline: Some(timeline), ..self.clone() };
        let is_changed = |(topic, count): &(String, u32)| self.last_partition_count(topic) != Some(*count);
        let changed: BTreeMap<String, u32> = partition_counts.into_iter().filter(is_changed).collect();
        if changed.is_empty() {
            return lineage;
        }
        // What is written was spread as it was; what comes will be spread as it is.
        let after = if lineage.layouts.is_empty() { Lsn::ZERO } else { written };
        let kept = lineage.layouts.iter().take_while(|layout| layout.after < after).count();
        let mut layout = Layout { after, partition_counts: BTreeMap::new() };
        for unused in lineage.layouts.drain(kept..) {
            layout.partition_counts.extend(unused.partition_counts);
        }
        layout.partition_counts.extend(changed);
        lineage.layouts.push(layout);
        if lineage.layouts.len() > LAYOUTS_MAX {
            let oldest = lineage.layouts.remove(0);
            if let Some(next) = lineage.layouts.first_mut() {
                next.after = oldest.after;
                let newer = std::mem::replace(&mut next.partition_counts, oldest.partition_counts);
                next.partition_counts.extend(newer);
            }
        }
        lineage
    }

    /// Notes a topic that nothing was written to before, so that how its records are spread holds for all commits.
    pub(crate) fn add_topic(&mut self, topic: String, partition_count: u32) {
        if self.layouts.is_empty() {
            self.layouts.push(Layout { after: Lsn::ZERO, partition_counts: BTreeMap::new() });
        }
        if let Some(first) = self.layouts.first_mut() {
            first.partition_counts.insert(topic, partition_count);
        }
    }

    fn last_partition_count(&self, topic: &str) -> Option<u32> {
        self.layouts.iter().rev().find_map(|layout| layout.partition_counts.get(topic)).copied()
    }

    /// How many partitions the records of a commit were, or are to be, spread over.
    pub(crate) fn partition_count(&self, topic: &str, commit_lsn: Lsn) -> Option<u32> {
        let of_commit = self.layouts.iter().rev().filter(|layout| layout.after < commit_lsn);
        let mut counts = of_commit.filter_map(|layout| layout.partition_counts.get(topic));
        counts.next().copied()
    }

    /// Whether more has changed than what grows all the time: the ends, and the position of the last look.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let published = match (&self.published, &other.published) {
            (Some(one), Some(other)) => one.differs_from(other),
            (one, other) => one.is_some() != other.is_some(),
        };
        let without = |lineage: &Self| Self {
            published: None,
            ends: Ends::new(),
            incremental: lineage.incremental.alone(),
            ..lineage.clone()
        };
        published || self.ends_beyond(other) || without(self) != without(other)
    }

    /// Whether an end lies beyond the other's, as where a topic that was made anew is accepted.
    fn ends_beyond(&self, other: &Self) -> bool {
        self.ends.iter().any(|(topic, ends)| {
            let others = other.ends.get(topic);
            ends.iter()
                .any(|(partition, end)| others.and_then(|others| others.get(partition)).is_none_or(|other| end > other))
        })
    }

    /// Notes that the partitions reach to these offsets at least.
    pub(crate) fn note_ends(&mut self, ends: &HashMap<(String, i32), i64>) {
        for ((topic, partition), end) in ends {
            let known = self.ends.entry(topic.clone()).or_default().entry(*partition).or_default();
            *known = (*known).max(*end);
        }
    }

    /// The first partition that ends before what evp has written to it.
    pub(crate) fn shortened(&self, ends: &HashMap<(String, i32), i64>) -> Option<Shortened> {
        let known = self.ends.iter().flat_map(|(topic, ends)| ends.iter().map(move |(at, end)| (topic, *at, *end)));
        let mut shortened = known.filter_map(|(topic, partition, written)| {
            // A topic that is not there at all is short by everything.
            let end = ends.get(&(topic.clone(), partition)).copied().unwrap_or(0);
            (end < written).then(|| Shortened { topic: topic.clone(), partition, written, end })
        });
        shortened.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Timeline {
        serde_json::from_str(r#"{"number":1,"ancestors":[]}"#).unwrap()
    }

    fn counts(count: u32) -> BTreeMap<String, u32> {
        BTreeMap::from([("t".to_owned(), count)])
    }

    fn count(lineage: &Lineage, commit: u64) -> Option<u32> {
        lineage.partition_count("t", Lsn::new(commit))
    }

    #[test]
    fn a_commit_is_spread_as_it_was_when_it_was_first_written() {
        let three = Lineage::default().continued(first(), counts(3), Lsn::ZERO);
        assert_eq!(three.continued(first(), counts(3), Lsn::new(50)), three, "nothing has changed");
        let grown = three.continued(first(), counts(4), Lsn::new(100));
        assert_eq!((count(&grown, 100), count(&grown, 101)), (Some(3), Some(4)));
        // Nothing was written meanwhile, so that no commit is spread over four.
        let grown_again = grown.continued(first(), counts(6), Lsn::new(100));
        assert_eq!((count(&grown_again, 100), count(&grown_again, 101)), (Some(3), Some(6)));
        assert_eq!(grown_again.partition_count("other", Lsn::new(1)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let one = Lineage::default().continued(first(), counts(1), Lsn::ZERO);
        let many = (2..100).fold(one, |lineage, n| lineage.continued(first(), counts(n), Lsn::new(n.into())));
        assert_eq!(many.layouts.len(), LAYOUTS_MAX);
        assert_eq!(count(&many, 1_000), Some(99));
        assert!(count(&many, 1).is_some(), "the oldest are merged, not forgotten");
    }

    #[test]
    fn a_layout_holds_only_the_topics_that_have_changed() {
        let both = BTreeMap::from([("t".to_owned(), 3), ("u".to_owned(), 1)]);
        let first = Lineage::default().continued(first(), both.clone(), Lsn::ZERO);
        let grown = first.continued(super::tests::first(), BTreeMap::from([("u".to_owned(), 2)]), Lsn::new(100));
        assert_eq!(grown.layouts[1].partition_counts, BTreeMap::from([("u".to_owned(), 2)]));
        assert_eq!((count(&grown, 200), grown.partition_count("u", Lsn::new(200))), (Some(3), Some(2)));
        assert_eq!(grown.partition_count("u", Lsn::new(100)), Some(1));
        assert_eq!(grown.topics().collect::<std::collections::BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn a_topic_that_a_row_names_is_known_for_every_commit() {
        let mut lineage = Lineage::default();
        lineage.add_topic("u".to_owned(), 2);
        let mut lineage = lineage.continued(first(), counts(3), Lsn::new(50));
        lineage.add_topic("v".to_owned(), 5);
        let known: std::collections::BTreeSet<_> = lineage.topics().map(String::as_str).collect();
        assert_eq!(known, std::collections::BTreeSet::from(["t", "u", "v"]));
        assert_eq!(lineage.partition_count("v", Lsn::new(1)), Some(5));
        assert!(Lineage::default().differs_from(&lineage), "it is written before anything else is");
    }

    #[test]
    fn a_topic_that_ends_before_what_was_written_is_another_one() {
        let mut lineage = Lineage::default();
        let ends = |offset| HashMap::from([(("t".to_owned(), 2), offset)]);
        lineage.note_ends(&ends(70));
        lineage.note_ends(&ends(60));
        assert_eq!(lineage.shortened(&ends(70)), None, "retention takes from the beginning only");
        let shortened = |end| Some(Shortened { topic: "t".to_owned(), partition: 2, written: 70, end });
        assert_eq!(lineage.shortened(&ends(12)), shortened(12));
        assert_eq!(lineage.shortened(&HashMap::new()), shortened(0));
    }

    #[test]
    fn records_before_a_history_was_given_up_do_not_count() {
        let ends = HashMap::from([(("t".to_owned(), 2), 70)]);
        let lineage = Lineage::give_up(&ends).continued(first(), counts(3), Lsn::ZERO);
        assert_eq!((lineage.first_offset("t", 2), lineage.first_offset("t", 0)), (70, 0));
        let text = serde_json::to_string(&lineage).unwrap();
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
        assert_eq!(serde_json::from_str::<Lineage>("{}").unwrap(), Lineage::default(), "a record of before");
    }
}
