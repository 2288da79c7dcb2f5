//! A fold as the cheapest statement for the usual case: everything in it is new.
//!
//! MongoDB takes several times longer to parse an aggregation pipeline than to run update operators. So what is new
//! is a condition of the query, and the update is made of operators. Where the condition does not hold, or an operator
//! does not fit what the document holds, the document stays as it is, which the reply shows, and the exact form of
//! `pipeline` is sent.

use std::iter;

use bson::Bson;

use super::fold::{Fold, SetFold, ValuesFold};
use super::order::EventOrder;
use super::path::Path;
use super::pipeline::{DELETED, PartitionPaths};
use super::write_model::{Absent, joined_text};
use super::writer::Writer;

/// So many values of a list are each looked for by `$addToSet`, which takes the length of the list times their number.
/// More are asked for by the query at once.
const VALUES_FEW: usize = 8;

/// Whether the fold has this form. A deletion has not, entries that are put into lists and taken out have not, a text
/// that is joined from fields that the fold does not set has not, and a nested field that is removed has not: its parent
/// is made, as by a set, so that the order of the two does not show.
pub(super) fn is_usual(fold: &Fold<'_>) -> bool {
    let removes_nested = |set: &SetFold<'_>| set.fields.iter().any(|(path, value)| value.is_none() && path.is_nested());
    let joined = || fold.joins.iter().flat_map(|(_, sources)| *sources);
    !fold.is_deleted
        && fold.entries.is_empty()
        && joined().all(|source| text_set(fold, source).is_some())
        && !fold.sets.iter().any(removes_nested)
}

/// Writes `{q, u, upsert}` into the array that is open.
pub(super) fn write_statement(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    write_query(fold, writer, partition);
    writer.begin_document("u");
    write_set(fold, writer, partition);
    write_unset(fold, writer);
    write_lists(fold, writer);
    write_numbers(fold, writer);
    if !fold.dates.is_empty() {
        writer.begin_document("$max");
        fold.dates.iter().for_each(|(path, date)| writer.date(path.as_str(), *date));
        writer.end();
    }
    writer.end();
    if fold.absent == Absent::Create {
        // With the document there and the condition false, this is refused because the id is taken.
        writer.boolean("upsert", true);
    }
    writer.end();
}

/// Beyond the watermark, of a higher order than all sets before it, and with new keys only.
fn write_query(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("q");
    writer.string("_id", fold.id);
    below(partition.watermark(), writer, |writer| writer.int64("$gte", fold.first_offset));
    writer.begin_document(DELETED);
    writer.boolean("$exists", false);
    writer.end();
    if !fold.sets.is_empty() {
        below("_evp.s", writer, |writer| writer.order("$gte", fold.lowest_order));
        if matches!(fold.lowest_order, EventOrder::Sequence(_)) {
            // A query compares values of one type only, and the commit of what the document holds is beyond any number.
            writer.begin_array("$nor");
            writer.begin_document("");
            writer.begin_document("_evp.s");
            writer.string("$type", "binData");
            writer.end();
            writer.end();
            writer.end();
        }
    }
    for list in &fold.lists {
        writer.begin_document(&format!("{}.{}", list.add.list, list.add.key));
        writer.begin_array("$nin");
        let key = list.add.key.as_str();
        list.entries.iter().for_each(|entry| writer.value("", entry.get(key).unwrap_or(&Bson::Null)));
        writer.end();
        writer.end();
    }
    for values in many_values(fold) {
        writer.begin_document(values.path.as_str());
        writer.begin_array("$nin");
        write_values(values, writer);
        writer.end();
        writer.end();
    }
    writer.end();
}

fn many_values<'f, 'a>(fold: &'f Fold<'a>) -> impl Iterator<Item = &'f ValuesFold<'a>> {
    fold.values.iter().filter(|values| values.values.len() > VALUES_FEW)
}

/// The field is less than the value that is written as `$gte`, or missing.
fn below(path: &str, writer: &mut Writer, write_value: impl FnOnce(&mut Writer)) {
    writer.begin_document(path);
    writer.begin_document("$not");
    write_value(writer);
    writer.end();
    writer.end();
}

fn write_set(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("$set");
    for set in &fold.sets {
        let values = set.fields.iter().filter_map(|(path, value)| Some((path, value.as_ref()?)));
        values.for_each(|(path, value)| writer.value(path.as_str(), value));
        if let Some((first, _)) = set.fields.first() {
            writer.begin_document(&format!("_evp.f.{}", first.flat()));
            writer.order("s", set.order);
            writer.string("p", &partition.key);
            writer.end();
        }
    }
    for (target, sources) in &fold.joins {
        let texts: Vec<Option<&str>> = sources.iter().map(|source| text_set(fold, source)).collect();
        writer.string(target.as_str(), &joined_text(&texts));
    }
    writer.int64(partition.watermark(), fold.last_offset);
    if !fold.sets.is_empty() {
        writer.order("_evp.s", fold.highest_order);
    }
    writer.end();
}

fn write_unset(fold: &Fold<'_>, writer: &mut Writer) {
    let fields = fold.sets.iter().flat_map(|set| set.fields);
    let mut removed = fields.filter(|(_, value)| value.is_none()).peekable();
    if removed.peek().is_some() {
        writer.begin_document("$unset");
        removed.for_each(|(path, _)| writer.string(path.as_str(), ""));
        writer.end();
    }
}

fn write_lists(fold: &Fold<'_>, writer: &mut Writer) {
    if !fold.lists.is_empty() || many_values(fold).next().is_some() {
        writer.begin_document("$push");
        for list in &fold.lists {
            write_each(list.add.list.as_str(), writer, |writer| {
                for entry in &list.entries {
                    writer.begin_document("");
                    writer.fields(entry);
                    writer.end();
                }
            });
        }
        for values in many_values(fold) {
            write_each(values.path.as_str(), writer, |writer| write_values(values, writer));
        }
        writer.end();
    }
    let mut few = fold.values.iter().filter(|values| values.values.len() <= VALUES_FEW).peekable();
    if few.peek().is_some() {
        writer.begin_document("$addToSet");
        few.for_each(|values| write_each(values.path.as_str(), writer, |writer| write_values(values, writer)));
        writer.end();
    }
}

fn write_values(values: &ValuesFold<'_>, writer: &mut Writer) {
    values.values.iter().for_each(|value| writer.value("", value));
}

/// `path: {$each: [...]}`.
fn write_each(path: &str, writer: &mut Writer, write_elements: impl FnOnce(&mut Writer)) {
    writer.begin_document(path);
    writer.begin_array("$each");
    write_elements(writer);
    writer.end();
    writer.end();
}

fn write_numbers(fold: &Fold<'_>, writer: &mut Writer) {
    let entry_counts = fold.lists.iter().filter_map(|list| Some((list.add.count.as_ref()?, list.entries.len())));
    let totals = fold.increments.iter().map(|increment| {
        let total = increment.steps.iter().fold(0_i64, |sum, (_, by)| sum.saturating_add(*by));
        (increment.path, total)
    });
    let mut numbers = iter::empty()
        // A list's length is a number of 32 bits in the exact form, too.
        .chain(entry_counts.map(|(path, count)| (path, Bson::Int32(i32::try_from(count).unwrap_or(i32::MAX)))))
        .chain(totals.map(|(path, total)| (path, Bson::Int64(total))))
        .peekable();
    if numbers.peek().is_some() {
        writer.begin_document("$inc");
        numbers.for_each(|(path, number)| writer.value(path.as_str(), &number));
        writer.end();
    }
}

/// The text that the fold sets `path` to, an empty one for null; `None` if it does not set it.
fn text_set<'a>(fold: &Fold<'a>, path: &Path) -> Option<&'a str> {
    let mut values = fold.sets.iter().flat_map(|set| set.fields).filter(|(set_path, _)| set_path == path);
    values.next_back().map(|(_, value)| value.as_ref().and_then(Bson::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Document, doc};

    use super::*;
    use crate::mongo::fold::Position;
    use crate::mongo::order::CommitOrder;
    use crate::mongo::{AddOnce, Change, WriteModel};

    fn at(order: EventOrder) -> Position {
        Position { offset: 4, order, is_replay: false }
    }

    fn statement(order: EventOrder, change: &Change) -> Document {
        let mut writer = Writer::with_capacity(256);
        writer.begin_array("updates");
        let fold = Fold::new(at(order), change);
        assert!(is_usual(&fold));
        write_statement(&fold, &mut writer, &PartitionPaths::new(1, 0, 0));
        let written = Document::try_from(writer.finish().unwrap()).unwrap();
        written.get_array("updates").unwrap()[0].as_document().unwrap().clone()
    }

    #[test]
    fn what_is_new_is_asked_by_the_query_and_done_by_operators() {
        let date = DateTime::from_millis(5);
        let entry = doc! { "user_id": "u", "joined_at": date };
        let [list, key, order] = ["p.list", "user_id", "joined_at"].map(Path::new);
        let joining = AddOnce { list, key, order, count: Some(Path::new("p.count")), entry: entry.clone() };
        let change =
            WriteModel::update("activities", "1").add_once(joining).add_value("allowed", "u").set("m.at", date);
        let order = EventOrder::Commit(CommitOrder { epoch: 1, commit: 2, within: 3, sequence: 4 });
        let expected = doc! {
            "q": { "_id": "1", "_evp.wm.1p0": { "$not": { "$gte": 4_i64 } }, "_evp.d": { "$exists": false }, "_evp.s": { "$not": { "$gte": order.to_bson() } },
                   "p.list.user_id": { "$nin": ["u"] } },
            "u": {
                "$set": { "m.at": date, "_evp.f.m/at": { "s": order.to_bson(), "p": "1p0" }, "_evp.wm.1p0": 4_i64,
                          "_evp.s": order.to_bson() },
                "$push": { "p.list": { "$each": [entry] } },
                "$addToSet": { "allowed": { "$each": ["u"] } },
                "$inc": { "p.count": 1 },
            },
        };
        assert_eq!(statement(order, &change), expected);
    }

    #[test]
    fn many_new_values_are_asked_for_by_the_query() {
        let many =
            (0..9).fold(WriteModel::update("activities", "1"), |change, number| change.add_value("allowed", number));
        let written = statement(EventOrder::Sequence(9), &many);
        let numbers: Vec<i32> = (0..9).collect();
        assert_eq!(written.get_document("q").unwrap().get_document("allowed").unwrap(), &doc! { "$nin": &numbers });
        assert_eq!(
            written.get_document("u").unwrap().get_document("$push").unwrap(),
            &doc! { "allowed": { "$each": &numbers } }
        );
    }

    #[test]
    fn an_event_without_a_commit_leaves_alone_what_has_one() {
        let written = statement(EventOrder::Sequence(9), &WriteModel::update("users", "1").set("email", "x"));
        let expected = doc! {
            "_id": "1", "_evp.wm.1p0": { "$not": { "$gte": 4_i64 } }, "_evp.d": { "$exists": false }, "_evp.s": { "$not": { "$gte": 9_i64 } },
            "$nor": [{ "_evp.s": { "$type": "binData" } }],
        };
        assert_eq!(written.get_document("q").unwrap(), &expected);
    }

    #[test]
    fn a_field_is_removed_by_an_operator_unless_it_is_nested() {
        let order = EventOrder::Sequence(9);
        let written = statement(order, &WriteModel::update("users", "1").unset("bio").set("email", "x"));
        let change = written.get_document("u").unwrap();
        assert_eq!(change.get_document("$unset").unwrap(), &doc! { "bio": "" });
        let set = change.get_document("$set").unwrap();
        assert!(set.contains_key("_evp.f.bio") && set.contains_key("email"), "{set}");
        for change in [
            WriteModel::update("users", "1").unset("profile.bio"),
            WriteModel::update("users", "1").remove_value("tags", "x"),
        ] {
            assert!(!is_usual(&Fold::new(at(order), &change)), "{change:?}");
        }
    }

    #[test]
    fn a_counter_is_created_with_its_document() {
        let change = WriteModel::upsert("statistics", "s").increment("n", 2).latest("at", DateTime::from_millis(7));
        let expected = doc! {
            "q": { "_id": "s", "_evp.wm.1p0": { "$not": { "$gte": 4_i64 } }, "_evp.d": { "$exists": false } },
            "u": { "$set": { "_evp.wm.1p0": 4_i64 }, "$inc": { "n": 2_i64 }, "$max": { "at": DateTime::from_millis(7) } },
            "upsert": true,
        };
        assert_eq!(statement(EventOrder::Sequence(9), &change), expected);
    }

    #[test]
    fn a_text_joined_from_what_the_document_holds_needs_the_exact_form() {
        let sources: &[&'static str] = &["first", "last"];
        let both = WriteModel::update("users", "1").set("first", " Ada").set("last", Bson::Null).join("name", sources);
        let written = statement(EventOrder::Sequence(9), &both);
        let set = written.get_document("u").unwrap().get_document("$set").unwrap();
        assert_eq!(set.get_str("name").unwrap(), "Ada");
        let one = WriteModel::update("users", "1").set("first", "Ada").join("name", sources);
        assert!(!is_usual(&Fold::new(at(EventOrder::Sequence(1)), &one)));
    }
}
