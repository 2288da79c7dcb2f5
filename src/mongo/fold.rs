//! Folding the changes that one partition makes to one document into a single guarded update.
//!
//! The fold keeps the offset of every effect, so that the update applies exactly those events that are
//! beyond the document's watermark: sent again in any other grouping, it adds nothing. [`Fold::write`]
//! renders it as update operators or as an aggregation pipeline; `docs/guards.md` explains the guards.

use std::cmp::Ordering;

use bson::{Bson, DateTime, Document};

use super::order::EventOrder;
use super::pipeline::{self, PartitionPaths};
use super::usual;
use super::write_model::{Absent, AddOnce, Change, Step};
use super::writer::Writer;

/// Where an event stands: in its partition, and in the order of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Kafka offset.
    pub(crate) offset: i64,
    /// Order among partitions, where the topic itself gives none.
    pub(crate) order: EventOrder,
    /// Its offset says nothing of its order: it tells of an earlier event again, as a dead letter does that is
    /// published once more, and an update of the outbox's row.
    pub(crate) is_replay: bool,
}

/// How a fold is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Cheap; leaves the document as it is unless everything in the fold is new.
    Usual,
    /// Right in every case.
    Exact,
}

/// Changes to one document by events of one partition, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Fold<'a> {
    pub(crate) id: &'a str,
    pub(crate) absent: Absent,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) lowest_order: EventOrder,
    pub(crate) highest_order: EventOrder,
    pub(crate) sets: Vec<SetFold<'a>>,
    pub(crate) joins: Vec<(&'static str, &'static [&'static str])>,
    pub(crate) lists: Vec<ListFold<'a>>,
    pub(crate) values: Vec<ValuesFold<'a>>,
    pub(crate) increments: Vec<IncrementFold>,
    pub(crate) dates: Vec<(&'static str, DateTime)>,
}

/// The last set of some fields.
#[derive(Debug)]
pub(crate) struct SetFold<'a> {
    pub(crate) fields: &'a [(&'static str, Bson)],
    pub(crate) offset: i64,
    /// The highest of all events that set these fields, so that it never falls within a partition.
    pub(crate) order: EventOrder,
    /// Only its order tells whether it comes after what the document holds.
    pub(crate) is_replay: bool,
}

/// New entries of one list, one per key.
#[derive(Debug)]
pub(crate) struct ListFold<'a> {
    pub(crate) add: &'a AddOnce,
    pub(crate) entries: Vec<&'a Document>,
}

/// New values of one list.
#[derive(Debug)]
pub(crate) struct ValuesFold<'a> {
    pub(crate) path: &'static str,
    pub(crate) values: Vec<&'a Bson>,
}

/// What each event adds to one counter.
#[derive(Debug)]
pub(crate) struct IncrementFold {
    pub(crate) path: &'static str,
    pub(crate) steps: Vec<(i64, i64)>,
}

impl<'a> Fold<'a> {
    /// A fold that holds one change.
    pub(crate) fn new(position: Position, change: &'a Change) -> Self {
        let mut fold = Self {
            id: &change.id,
            absent: change.absent,
            first_offset: position.offset,
            last_offset: position.offset,
            lowest_order: position.order,
            highest_order: position.order,
            sets: Vec::new(),
            joins: Vec::new(),
            lists: Vec::new(),
            values: Vec::new(),
            increments: Vec::new(),
            dates: Vec::new(),
        };
        fold.push(position, change);
        fold
    }

    /// Adds a change of a later event, or a further one of the same event.
    pub(crate) fn push(&mut self, position: Position, change: &'a Change) {
        self.first_offset = self.first_offset.min(position.offset);
        self.last_offset = self.last_offset.max(position.offset);
        self.lowest_order = self.lowest_order.min(position.order);
        self.highest_order = self.highest_order.max(position.order);
        if change.absent == Absent::Create {
            self.absent = Absent::Create;
        }
        for step in &change.steps {
            self.push_step(position, step);
        }
    }

    fn push_step(&mut self, position: Position, step: &'a Step) {
        match step {
            Step::Set { fields } => self.set(position, fields),
            Step::Join { target, sources } => {
                if !self.joins.contains(&(*target, *sources)) {
                    self.joins.push((target, sources));
                }
            }
            Step::AddOnce(add) => self.add_once(add),
            Step::AddValue { path, value } => match self.values.iter_mut().find(|fold| fold.path == *path) {
                Some(fold) if fold.values.contains(&value) => {}
                Some(fold) => fold.values.push(value),
                None => self.values.push(ValuesFold { path, values: vec![value] }),
            },
            Step::Increment { path, by } => {
                let step = (position.offset, *by);
                match self.increments.iter_mut().find(|fold| fold.path == *path) {
                    Some(fold) => fold.steps.push(step),
                    None => self.increments.push(IncrementFold { path, steps: vec![step] }),
                }
            }
            Step::Latest { path, date } => match self.dates.iter_mut().find(|(known, _)| known == path) {
                Some((_, latest)) => *latest = (*latest).max(*date),
                None => self.dates.push((path, *date)),
            },
        }
    }

    fn set(&mut self, position: Position, fields: &'a [(&'static str, Bson)]) {
        let same = |known: &&mut SetFold<'_>| {
            known.fields.iter().map(|(path, _)| path).eq(fields.iter().map(|(path, _)| path))
        };
        match self.sets.iter_mut().find(same) {
            Some(known) if position.is_replay && position.order < known.order => {}
            Some(known) => {
                known.fields = fields;
                known.offset = position.offset;
                known.order = known.order.max(position.order);
                known.is_replay &= position.is_replay;
            }
            None => {
                let Position { offset, order, is_replay } = position;
                self.sets.push(SetFold { fields, offset, order, is_replay });
            }
        }
    }

    fn add_once(&mut self, add: &'a AddOnce) {
        let Some(list) = self.lists.iter_mut().find(|known| known.add.list == add.list) else {
            self.lists.push(ListFold { add, entries: vec![&add.entry] });
            return;
        };
        let key = add.entry.get(add.key);
        match list.entries.iter_mut().find(|entry| entry.get(add.key) == key) {
            Some(known) => {
                if earlier(&add.entry, known, add.order) == Ordering::Less {
                    *known = &add.entry;
                }
            }
            None => list.entries.push(&add.entry),
        }
    }

    /// The form in which the fold is sent first.
    pub(crate) fn first_form(&self) -> Form {
        if usual::is_usual(self) { Form::Usual } else { Form::Exact }
    }

    /// Writes the statement for the `updates` of an `update` command, as an element of the array that is open.
    pub(crate) fn write(&self, form: Form, writer: &mut Writer, partition: &PartitionPaths) {
        match form {
            Form::Usual => usual::write_statement(self, writer, partition),
            Form::Exact => pipeline::write_statement(self, writer, partition),
        }
    }
}

fn earlier(left: &Document, right: &Document, order: &str) -> Ordering {
    let date = |document: &Document| document.get_datetime(order).ok().copied();
    date(left).cmp(&date(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::WriteModel;
    use bson::doc;

    fn at(offset: i64) -> Position {
        Position { offset, order: EventOrder::Sequence(offset), is_replay: false }
    }

    #[test]
    fn the_last_set_of_a_field_wins_and_keeps_the_highest_order() {
        let first = WriteModel::update("users", "1").set("email", "a").set("username", "u");
        let second = WriteModel::update("users", "1").set("email", "b");
        let mut fold = Fold::new(Position { offset: 1, ..at(9) }, &first);
        fold.push(Position { offset: 2, ..at(5) }, &second);
        let email = fold.sets.iter().find(|set| set.fields[0].0 == "email").unwrap();
        assert_eq!((&email.fields[0].1, email.offset, email.order), (&Bson::from("b"), 2, EventOrder::Sequence(9)));
        let username = fold.sets.iter().find(|set| set.fields[0].0 == "username").unwrap();
        assert_eq!(username.offset, 1);
        assert_eq!(fold.last_offset, 2);
    }

    #[test]
    fn a_replay_comes_after_events_of_lower_order_only() {
        let [old, new] = ["old", "new"].map(|email| WriteModel::update("users", "1").set("email", email));
        let replay = |offset, sequence| Position { offset, is_replay: true, ..at(sequence) };
        let email = |fold: &Fold<'_>| (fold.sets[0].fields[0].1.clone(), fold.sets[0].is_replay);
        let mut fold = Fold::new(at(6), &new);
        fold.push(replay(7, 5), &old);
        assert_eq!((email(&fold), fold.last_offset), (("new".into(), false), 7));
        let mut fold = Fold::new(replay(5, 3), &old);
        assert_eq!(email(&fold), ("old".into(), true));
        fold.push(at(6), &new);
        assert_eq!(email(&fold), ("new".into(), false));
    }

    #[test]
    fn of_two_entries_with_one_key_the_earliest_stays() {
        let join = |user: &str, at: i64| {
            let entry = doc! { "user_id": user, "joined_at": DateTime::from_millis(at) };
            let add = AddOnce { list: "list", key: "user_id", order: "joined_at", count: None, entry };
            WriteModel::update("activities", "1").add_once(add).add_value("allowed_users", user)
        };
        let changes = [join("a", 5), join("b", 6), join("a", 3), join("a", 9)];
        let mut fold = Fold::new(at(1), &changes[0]);
        for (offset, change) in (2..).zip(&changes[1..]) {
            fold.push(at(offset), change);
        }
        let entries = &fold.lists[0].entries;
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].get_datetime("joined_at").unwrap().timestamp_millis(), 3);
        assert_eq!(fold.values[0].values, [&Bson::from("a"), &Bson::from("b")]);
    }

    #[test]
    fn increments_keep_the_offset_of_each_event() {
        let change = WriteModel::upsert("statistics", "s").increment("n", 1);
        let mut fold = Fold::new(at(4), &change);
        fold.push(at(7), &change);
        assert_eq!(fold.increments[0].steps, [(4, 1), (7, 1)]);
        assert_eq!(fold.absent, Absent::Create);
    }
}
