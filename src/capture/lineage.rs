//! What a later session has to know to read the ends of the topics rightly.
//!
//! A position is comparable with the server's only if both are of one history, and a partition's end tells what is
//! written only to who spreads the keys as its writer did. Both can change between two sessions, so the confirmation
//! record carries them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

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
}

/// How many partitions the topics had for the commits behind a position.
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
        if lineage.layouts.last().is_none_or(|layout| layout.partition_counts != partition_counts) {
            // What is written was spread as it was; what comes will be spread as it is.
            let after = if lineage.layouts.is_empty() { Lsn::ZERO } else { written };
            lineage.layouts.retain(|layout| layout.after < after);
            lineage.layouts.push(Layout { after, partition_counts });
            let surplus = lineage.layouts.len().saturating_sub(LAYOUTS_MAX);
            lineage.layouts.drain(..surplus);
        }
        lineage
    }

    /// How many partitions the records of a commit were, or are to be, spread over.
    pub(crate) fn partition_count(&self, topic: &str, commit_lsn: Lsn) -> Option<u32> {
        let of_commit = self.layouts.iter().rev().find(|layout| layout.after < commit_lsn);
        of_commit.and_then(|layout| layout.partition_counts.get(topic)).copied()
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
