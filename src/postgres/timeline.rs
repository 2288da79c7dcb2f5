//! Which history a server's log has: its timeline, and where the ones before it were left.

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// A timeline with its ancestors, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its number, one more than any that the server knew when it was promoted.
    pub number: u32,
    /// Each ancestor with the position where it was left.
    ancestors: Vec<(u32, Lsn)>,
}

impl Timeline {
    /// A timeline without ancestors, as a new server has it.
    pub fn first(number: u32) -> Self {
        Self { number, ancestors: Vec::new() }
    }

    /// Where this history and another one part; `None` if they are the same so far.
    ///
    /// A number alone is not enough: two copies of a server that are promoted take the same one.
    pub fn parts_from(&self, other: &Self) -> Option<Lsn> {
        let mut parted_at = Lsn::ZERO;
        let mut others = other.stretches();
        for (ours, left_at) in self.stretches() {
            match others.next() {
                Some((theirs, theirs_left_at)) if theirs == ours => match (left_at, theirs_left_at) {
                    (None, None) => return None,
                    (left_at, theirs_left_at) if left_at == theirs_left_at => {
                        parted_at = left_at.unwrap_or(parted_at);
                    }
                    (left_at, theirs_left_at) => return left_at.into_iter().chain(theirs_left_at).min(),
                },
                _ => break,
            }
        }
        Some(parted_at)
    }

    /// Timelines from the oldest to this one, with the position where each was left.
    fn stretches(&self) -> impl Iterator<Item = (u32, Option<Lsn>)> {
        let ancestors = self.ancestors.iter().map(|(number, at)| (*number, Some(*at)));
        ancestors.chain([(self.number, None)])
    }

    /// From the server's history file: lines of ancestor, position and reason; a line that starts with `#` is a comment.
    pub fn parse(number: u32, history: &str) -> Option<Self> {
        let lines = history.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ancestor = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        lines.map(ancestor).collect::<Option<_>>().map(|ancestors| Self { number, ancestors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(number: u32, ancestors: &[(u32, u64)]) -> Timeline {
        Timeline { number, ancestors: ancestors.iter().map(|(number, at)| (*number, Lsn::new(*at))).collect() }
    }

    #[test]
    fn each_ancestor_has_the_position_where_it_was_left() {
        let text = "1\t0/16B3740\tno recovery target specified\n\n# by hand\n2\t1/0\tbefore 2000-01-01\n";
        assert_eq!(Timeline::parse(3, text), Some(timeline(3, &[(1, 0x16B_3740), (2, 0x1_0000_0000)])));
        assert_eq!(Timeline::parse(3, "not a history"), None);
    }

    #[test]
    fn two_histories_part_where_the_first_of_them_was_left() {
        let known = timeline(2, &[(1, 100)]);
        let parted = |other: Timeline| (known.parts_from(&other), other.parts_from(&known));
        let at = |lsn| (Some(Lsn::new(lsn)), Some(Lsn::new(lsn)));
        assert_eq!(parted(known.clone()), (None, None));
        assert_eq!(parted(timeline(3, &[(1, 100), (2, 500)])), at(500), "promoted once more");
        assert_eq!(parted(timeline(2, &[(1, 70)])), at(70), "another copy took the same number");
        assert_eq!(parted(timeline(1, &[])), at(100), "the server of before");
        assert_eq!(parted(timeline(4, &[(1, 100), (3, 200)])), at(100));
        assert_eq!(parted(timeline(9, &[])), at(0), "nothing in common");
    }
}
