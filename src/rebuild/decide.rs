//! Which record of an event applies it in a rebuild, and by which handlers: as processing has decided it. Pure.

use crate::mongo::{EventOrder, Owner, Ownership, Share};

/// A record that tells of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    /// Stands for the topic.
    pub(super) source: i32,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) order: EventOrder,
    /// It publishes the event again, or tells of its row again.
    pub(super) is_replay: bool,
}

/// What a record is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It applies so much of the event.
    Applies(Share),
    /// It applies so much, if no record of the event that is remembered no more was read before it.
    AppliesIfFirst(Share),
    /// Another record has applied the event.
    Repeats,
}

/// What the record is to do, by what is remembered of its event; `sources` are the topics that are read.
pub(super) fn decide(telling: &Telling, known: Option<&Ownership>, sources: &[i32]) -> Decision {
    let Some(known) = known else { return Decision::AppliesIfFirst(Share::default()) };
    // It was applied from a topic that was made anew since: what this one holds of it takes its place.
    if known.owners.iter().all(|owner| !sources.contains(&owner.source)) {
        let except = known.owners.last().map(|owner| owner.failed.clone()).unwrap_or_default();
        return Decision::AppliesIfFirst(Share { except, ..Share::default() });
    }
    if let Some(owner) = known.owners.iter().find(|owner| owner.is(telling)) {
        let (taken_over, except) = (owner.only.clone(), owner.failed.clone());
        let is_late = telling.is_replay && taken_over.is_empty();
        let share = Share { taken_over, except, order: known.order };
        // A row that is told of again long after its event is taken for a new event. It is none here.
        return if is_late { Decision::AppliesIfFirst(share) } else { Decision::Applies(share) };
    }
    if let Some(later) = known.taken_over_from(telling) {
        let except = later.only.iter().chain(&later.failed).cloned().collect();
        return Decision::Applies(Share { except, ..Share::default() });
    }
    if known.owners.iter().any(|owner| owner.is_behind(telling)) {
        return Decision::AppliesIfFirst(Share::default());
    }
    Decision::Repeats
}

impl Owner {
    fn is(&self, telling: &Telling) -> bool {
        (self.source, self.partition, self.offset) == (telling.source, telling.partition, telling.offset)
    }

    /// Whether it could have the event only because what was remembered of this record had expired.
    fn is_behind(&self, telling: &Telling) -> bool {
        self.only.is_empty()
            && (self.source, self.partition) == (telling.source, telling.partition)
            && telling.offset < self.offset
    }
}

impl Ownership {
    /// The owner that has taken over what the record left undone. Earlier versions of evp have noted of the first record only
    /// its place among all events.
    fn taken_over_from(&self, telling: &Telling) -> Option<&Owner> {
        let is_first = matches!(telling.order, EventOrder::Commit(_)) && self.order == Some(telling.order);
        let first = self.owners.first().filter(|owner| !owner.only.is_empty())?;
        (is_first && !telling.is_replay).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::CommitOrder;

    const ORDER: EventOrder = EventOrder::Commit(CommitOrder { epoch: 0, commit: 7, within: 0, sequence: 1 });

    fn telling(partition: i32, offset: i64) -> Telling {
        Telling { source: 1, partition, offset, order: ORDER, is_replay: false }
    }

    fn owner(partition: i32, offset: i64, only: &[&str], failed: &[&str]) -> Owner {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Owner { source: 1, partition, offset, only: names(only), failed: names(failed) }
    }

    fn decide(telling: &Telling, known: Option<&Ownership>) -> Decision {
        super::decide(telling, known, &[1, 2])
    }

    fn known(owners: &[Owner]) -> Ownership {
        Ownership { owners: owners.to_vec(), order: Some(ORDER) }
    }

    fn share(decision: Decision) -> Share {
        match decision {
            Decision::Applies(share) => share,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_record_that_has_applied_an_event_applies_it_again_and_no_other() {
        let known = known(&[owner(0, 5, &[], &[])]);
        assert!(share(decide(&telling(0, 5), Some(&known))).has("any"));
        assert_eq!(decide(&telling(0, 6), Some(&known)), Decision::Repeats);
        assert_eq!(decide(&telling(1, 4), Some(&known)), Decision::Repeats);
        let other_topic = Telling { source: 2, ..telling(0, 5) };
        assert_eq!(decide(&other_topic, Some(&known)), Decision::Repeats);
    }

    #[test]
    fn what_was_applied_from_a_topic_that_is_gone_is_applied_from_the_one_that_is_read() {
        let known = known(&[Owner { source: 9, ..owner(0, 5, &[], &["bad"]) }]);
        let Decision::AppliesIfFirst(share) = decide(&telling(1, 4), Some(&known)) else { panic!("it is left out") };
        assert!(share.has("good") && !share.has("bad"));
    }

    #[test]
    fn what_is_a_dead_letter_is_not_applied() {
        let known = known(&[owner(0, 5, &[], &["bad"])]);
        let share = share(decide(&telling(0, 5), Some(&known)));
        assert!(share.has("good") && !share.has("bad"));
    }

    #[test]
    fn each_record_of_an_event_that_was_repaired_applies_its_own_part() {
        let owners = [owner(0, 5, &[], &["a", "b"]), owner(0, 8, &["a", "b"], &["b"]), owner(0, 9, &["b"], &[])];
        let known = known(&owners);
        let has = |offset: i64| {
            let telling = Telling { is_replay: offset > 5, ..telling(0, offset) };
            let share = share(decide(&telling, Some(&known)));
            ["a", "b", "c"].map(|handler| share.has(handler))
        };
        assert_eq!((has(5), has(8), has(9)), ([false, false, true], [true, false, false], [false, true, false]));
    }

    #[test]
    fn the_first_record_of_an_event_that_an_earlier_version_repaired_is_known_by_its_place() {
        let known = known(&[owner(0, 9, &["a"], &[])]);
        let first = share(decide(&telling(0, 5), Some(&known)));
        assert!(first.has("b") && !first.has("a"));
        let other = Telling { order: EventOrder::Sequence(1), ..telling(0, 6) };
        assert_eq!(decide(&other, Some(&known)), Decision::Repeats);
    }

    #[test]
    fn what_is_remembered_no_more_is_decided_by_the_order_of_the_records() {
        assert_eq!(decide(&telling(0, 5), None), Decision::AppliesIfFirst(Share::default()));
        // Its claim has expired, and the event was claimed anew by an update of the row.
        let known = known(&[owner(0, 900, &[], &[])]);
        assert_eq!(decide(&telling(0, 5), Some(&known)), Decision::AppliesIfFirst(Share::default()));
        let update = Telling { is_replay: true, ..telling(0, 900) };
        assert!(matches!(decide(&update, Some(&known)), Decision::AppliesIfFirst(_)));
    }
}
