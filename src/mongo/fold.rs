//! Folding the changes that one partition makes to one document into a single guarded update.
//!
//! The fold keeps the offset of every effect, so that the update applies exactly those events that are
//! beyond the document's watermark: sent again in any other grouping, it adds nothing. [`Fold::write`]
//! renders it as update operators or as an aggregation pipeline; `docs/guards.md` explains the guards.

use std::cmp::Ordering;

use bson::{Bson, DateTime, Document};

use super::order::EventOrder;
use super::path::Path;
use super::pipeline::{self, PartitionPaths};
use super::usual;
use super::write_model::{Absent, AddOnce, Change, Entry, Step};
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
    pub(crate) joins: Vec<(&'a Path, &'a [Path])>,
    pub(crate) lists: Vec<ListFold<'a>>,
    pub(crate) values: Vec<ValuesFold<'a>>,
    pub(crate) increments: Vec<IncrementFold<'a>>,
    pub(crate) dates: Vec<(&'a Path, DateTime)>,
    pub(crate) entries: Vec<EntriesFold<'a>>,
    pub(crate) is_deleted: bool,
}

/// The last set of some fields.
#[derive(Debug)]
pub(crate) struct SetFold<'a> {
    pub(crate) fields: &'a [(Path, Option<Bson>)],
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
    pub(crate) path: &'a Path,
    pub(crate) values: Vec<&'a Bson>,
}

/// What each event adds to one counter.
#[derive(Debug)]
pub(crate) struct IncrementFold<'a> {
    pub(crate) path: &'a Path,
    pub(crate) steps: Vec<(i64, i64)>,
}

/// What happens to the entries of one list that are put into it and taken out of it.
#[derive(Debug)]
pub(crate) struct EntriesFold<'a> {
    pub(crate) list: &'a Path,
    pub(crate) field: Option<&'a Path>,
    pub(crate) count: Option<&'a Path>,
    /// One a key, in the order in which the entries come into the list.
    pub(crate) entries: Vec<EntryFold<'a>>,
}

/// The last that happens to an entry.
#[derive(Debug)]
pub(crate) struct EntryFold<'a> {
    pub(crate) key: &'a str,
    pub(crate) entry: Option<&'a Bson>,
    pub(crate) offset: i64,
    pub(crate) order: EventOrder,
    pub(crate) is_replay: bool,
    /// The offset at which it was last taken out before it was put in again, so that it has come to the end of the list.
    pub(crate) removed_at: Option<i64>,
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
            entries: Vec::new(),
            is_deleted: false,
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
                if !self.joins.contains(&(target, sources)) {
                    self.joins.push((target, sources));
                }
            }
            Step::AddOnce(add) => self.add_once(add),
            Step::AddValue { path, value } => match self.values.iter_mut().find(|fold| fold.path == path) {
                Some(fold) if fold.values.contains(&value) => {}
                Some(fold) => fold.values.push(value),
                None => self.values.push(ValuesFold { path, values: vec![value] }),
            },
            Step::Increment { path, by } => {
                let step = (position.offset, *by);
                match self.increments.iter_mut().find(|fold| fold.path == path) {
                    Some(fold) => fold.steps.push(step),
                    None => self.increments.push(IncrementFold { path, steps: vec![step] }),
                }
            }
            Step::Latest { path, date } => match self.dates.iter_mut().find(|(known, _)| *known == path) {
                Some((_, latest)) => *latest = (*latest).max(*date),
                None => self.dates.push((path, *date)),
            },
            Step::Entry(entry) => self.entry(position, entry),
            Step::Delete => self.is_deleted = true,
        }
    }

    fn set(&mut self, position: Position, fields: &'a [(Path, Option<Bson>)]) {
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
        let key = add.entry.get(add.key.as_str());
        match list.entries.iter_mut().find(|entry| entry.get(add.key.as_str()) == key) {
            Some(known) => {
                if earlier(&add.entry, known, add.order.as_str()) == Ordering::Less {
                    *known = &add.entry;
                }
            }
            None => list.entries.push(&add.entry),
        }
    }

    fn entry(&mut self, position: Position, entry: &'a Entry) {
        let Entry { list, field, key, entry, count } = entry;
        let place = self.entries.iter().position(|known| known.list == list).unwrap_or_else(|| {
            let (field, count) = (field.as_ref(), count.as_ref());
            self.entries.push(EntriesFold { list, field, count, entries: Vec::new() });
            self.entries.len().saturating_sub(1)
        });
        let Some(EntriesFold { entries, .. }) = self.entries.get_mut(place) else { return };
        let Position { offset, order, is_replay } = position;
        let mut last = EntryFold { key, entry: entry.as_ref(), offset, order, is_replay, removed_at: None };
        match entries.iter_mut().enumerate().find(|(_, known)| known.key == key) {
            None => entries.push(last),
            Some((_, known)) if is_replay && order < known.order => {}
            Some((place, known)) => {
                last.order = order.max(known.order);
                last.is_replay &= known.is_replay;
                if known.entry.is_none() {
                    // What was taken out comes in again at the end.
                    last.removed_at = last.entry.map(|_| known.offset);
                    entries.remove(place);
                    entries.push(last);
                } else {
                    last.removed_at = last.entry.and(known.removed_at);
                    *known = last;
                }
            }
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
        let email = fold.sets.iter().find(|set| set.fields[0].0.as_str() == "email").unwrap();
        assert_eq!(
            (&email.fields[0].1, email.offset, email.order),
            (&Some(Bson::from("b")), 2, EventOrder::Sequence(9))
        );
        let username = fold.sets.iter().find(|set| set.fields[0].0.as_str() == "username").unwrap();
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
        assert_eq!((email(&fold), fold.last_offset), ((Some("new".into()), false), 7));
        let mut fold = Fold::new(replay(5, 3), &old);
        assert_eq!(email(&fold), (Some("old".into()), true));
        fold.push(at(6), &new);
        assert_eq!(email(&fold), (Some("new".into()), false));
    }

    #[test]
    fn of_two_entries_with_one_key_the_earliest_stays() {
        let join = |user: &str, at: i64| {
            let entry = doc! { "user_id": user, "joined_at": DateTime::from_millis(at) };
            let [list, key, order] = ["list", "user_id", "joined_at"].map(Path::new);
            let add = AddOnce { list, key, order, count: None, entry };
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
    fn an_entry_that_was_taken_out_and_put_in_again_stands_at_the_end() {
        let put = |value: &str| WriteModel::update("users", "1").put_value("tags", value);
        let changes =
            [put("a"), WriteModel::update("users", "1").remove_value("tags", "a"), put("b"), put("a"), put("b")];
        let mut fold = Fold::new(at(1), &changes[0]);
        for (offset, change) in (2..).zip(&changes[1..]) {
            fold.push(at(offset), change);
        }
        let entries = fold.entries[0].entries.iter().map(|entry| (entry.key, entry.offset, entry.removed_at));
        assert_eq!(entries.collect::<Vec<_>>(), [("b", 5, None), ("a", 4, Some(2))]);
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
