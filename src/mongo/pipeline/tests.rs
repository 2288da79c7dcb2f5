//! What is written, beside its plain form.

use bson::{Bson, DateTime, Document, doc};

use super::{PartitionPaths, write_statement};
use crate::mongo::fold::{Fold, Position};
use crate::mongo::order::{CommitOrder, EventOrder};
use crate::mongo::writer::Writer;
use crate::mongo::{AddOnce, Change, EntryList, Path, WriteModel};

const ORDER: EventOrder = EventOrder::Commit(CommitOrder { epoch: 1, commit: 2, within: 3, sequence: 4 });

fn at(offset: i64) -> Position {
    Position { offset, order: ORDER, is_replay: false }
}

fn written(fold: &Fold<'_>) -> Document {
    let mut writer = Writer::with_capacity(256);
    writer.begin_array("updates");
    write_statement(fold, &mut writer, &PartitionPaths::new(1, 0, 0));
    writer.end();
    let written = Document::try_from(writer.finish().unwrap()).unwrap();
    written.get_array("updates").unwrap()[0].as_document().unwrap().clone()
}

/// The stages for a change at offset 4, without the last one, which is always the same.
fn stages(change: &Change) -> Vec<Bson> {
    let mut statement = written(&Fold::new(at(4), change));
    let Some(Bson::Array(mut stages)) = statement.remove("u") else { panic!("no pipeline") };
    assert_eq!(
        stages.pop(),
        Some(Bson::from(doc! { "$replaceWith": { "$cond": [
            { "$lte": ["$_evp.d", null] },
            "$$ROOT",
            { "_id": "$_id", "_evp": { "wm": "$_evp.wm", "d": "$_evp.d" } },
        ] } }))
    );
    stages
}

/// What the first stage sets beside the watermark.
fn first(change: &Change) -> Document {
    let mut set = stages(change)[0].as_document().unwrap().get_document("$set").unwrap().clone();
    assert_eq!(set.remove("_evp.wm.1p0"), Some(doc! { "$max": ["$_evp.wm.1p0", 4_i64] }.into()));
    set
}

fn is_new() -> Document {
    doc! { "$gt": [4_i64, "$_evp.wm.1p0"] }
}

/// That the event at offset 4 wins against what `record` keeps of the last writer.
fn wins(record: &str) -> Document {
    let [last_partition, last_order] = [format!("${record}.p"), format!("${record}.s")];
    doc! { "$and": [
        is_new(),
        { "$or": [{ "$eq": [last_partition, "1p0"] }, { "$gt": [ORDER.to_bson(), last_order] }] },
    ] }
}

/// What `record` keeps after it.
fn kept(record: &str) -> Document {
    let last_order = format!("${record}.s");
    doc! { "$cond": [
        wins(record),
        { "s": { "$max": [last_order, ORDER.to_bson()] }, "p": "1p0" },
        format!("${record}"),
    ] }
}

fn user() -> Change {
    WriteModel::update("users", "1")
}

#[test]
fn a_field_is_set_or_removed_if_its_event_is_the_last_writer() {
    let mut set = first(&user().set("m.at", "x").unset("bio"));
    assert_eq!(set.remove("m.at"), Some(doc! { "$cond": [wins("_evp.f.m/at"), { "$literal": "x" }, "$m.at"] }.into()));
    assert_eq!(set.remove("_evp.f.m/at"), Some(kept("_evp.f.m/at").into()));
    assert_eq!(set.remove("bio"), Some(doc! { "$cond": [wins("_evp.f.bio"), "$$REMOVE", "$bio"] }.into()));
    assert_eq!(set.remove("_evp.f.bio"), Some(kept("_evp.f.bio").into()));
    assert_eq!(set, doc! { "_evp.s": { "$max": ["$_evp.s", ORDER.to_bson()] } });
}

#[test]
fn a_replay_wins_by_its_order_alone() {
    let change = user().set("n", 1);
    let fold = Fold::new(Position { is_replay: true, ..at(4) }, &change);
    let statement = written(&fold);
    assert_eq!(statement.get_document("q").unwrap(), &doc! { "_id": "1" });
    let set = statement.get_array("u").unwrap()[0].as_document().unwrap().get_document("$set").unwrap();
    let wins = doc! { "$and": [is_new(), { "$or": [{ "$gt": [ORDER.to_bson(), "$_evp.f.n.s"] }] }] };
    assert_eq!(set.get_document("n").unwrap(), &doc! { "$cond": [wins, 1, "$n"] });
}

#[test]
fn each_step_of_a_counter_counts_by_its_own_offset() {
    let change = WriteModel::upsert("statistics", "1").increment("n", 2).latest("seen", DateTime::from_millis(7));
    let later = WriteModel::upsert("statistics", "1").increment("n", 3);
    let mut fold = Fold::new(at(4), &change);
    fold.push(at(6), &later);
    let statement = written(&fold);
    assert!(statement.get_bool("upsert").unwrap());
    let added = doc! { "$cond": [
        is_new(),
        5_i64,
        { "$sum": { "$map": {
            "input": { "$literal": [[4_i64, 2_i64], [6_i64, 3_i64]] },
            "as": "step",
            "in": { "$cond": [
                { "$gt": [{ "$arrayElemAt": ["$$step", 0] }, "$_evp.wm.1p0"] },
                { "$arrayElemAt": ["$$step", 1] },
                0_i64,
            ] },
        } } },
    ] };
    let expected = doc! {
        "n": { "$add": [{ "$ifNull": ["$n", 0_i64] }, added] },
        "seen": { "$max": ["$seen", DateTime::from_millis(7)] },
        "_evp.wm.1p0": { "$max": ["$_evp.wm.1p0", 6_i64] },
    };
    let set = statement.get_array("u").unwrap()[0].as_document().unwrap().get_document("$set").unwrap();
    assert_eq!(set, &expected);
}

#[test]
fn texts_are_joined_from_what_the_first_stage_left() {
    let sources: &[&'static str] = &["first", "last"];
    let second = &stages(&user().set("first", "Ada").join("name", sources))[1];
    let trimmed: String = crate::mongo::write_model::JOIN_TRIM.iter().collect();
    let texts = doc! { "$concat": [{ "$ifNull": ["$first", ""] }, " ", { "$ifNull": ["$last", ""] }] };
    let name = doc! { "$trim": { "input": texts, "chars": trimmed } };
    assert_eq!(second, &Bson::from(doc! { "$set": { "name": name } }));
}

#[test]
fn a_deleted_document_keeps_since_when_it_is() {
    let WriteModel::Change(deletion) = WriteModel::delete("users", "1") else {
        panic!("a deletion changes a document")
    };
    assert_eq!(first(&deletion), doc! { "_evp.d": { "$ifNull": ["$_evp.d", "$$NOW"] } });
}

#[test]
fn entries_of_new_keys_are_added_and_those_of_known_ones_merged() {
    let date = DateTime::from_millis(5);
    let entry = doc! { "user": "u", "at": date };
    let [list, key, order] = ["p.list", "user", "at"].map(Path::new);
    let change = user().add_once(AddOnce { list, key, order, count: Some(Path::new("p.n")), entry: entry.clone() });
    let repeated = doc! { "$setIntersection": [{ "$literal": ["u"] }, { "$ifNull": ["$p.list.user", []] }] };
    let entries = doc! { "$literal": [entry] };
    let list = doc! { "$ifNull": ["$p.list", []] };
    let is_earlier =
        doc! { "$and": [{ "$eq": ["$$new.user", "$$known.user"] }, { "$lt": ["$$new.at", "$$known.at"] }] };
    let earlier = doc! { "$filter": { "input": entries.clone(), "as": "new", "cond": is_earlier } };
    let earlier = doc! { "$ifNull": [{ "$arrayElemAt": [earlier, 0] }, "$$known"] };
    let replaced = doc! { "$cond": [{ "$in": ["$$known.user", "$$repeated"] }, earlier, "$$known"] };
    let added = doc! { "$not": [{ "$in": ["$$new.user", "$$repeated"] }] };
    let merged = doc! { "$let": { "vars": { "repeated": repeated.clone() }, "in": { "$concatArrays": [
        { "$map": { "input": list.clone(), "as": "known", "in": replaced } },
        { "$filter": { "input": entries.clone(), "as": "new", "cond": added } },
    ] } } };
    let are_new = doc! { "$eq": [{ "$size": repeated }, 0] };
    let with_entries = doc! { "$cond": [are_new, { "$concatArrays": [list.clone(), entries] }, merged] };
    assert_eq!(first(&change), doc! { "p.list": { "$cond": [is_new(), with_entries, "$p.list"] } });
    assert_eq!(stages(&change)[1], Bson::from(doc! { "$set": { "p.n": { "$size": list } } }));
}

#[test]
fn values_are_added_that_the_list_has_not() {
    let list = doc! { "$ifNull": ["$tags", []] };
    let new = doc! { "$setDifference": [{ "$literal": ["x"] }, list.clone()] };
    assert_eq!(first(&user().add_value("tags", "x")), doc! { "tags": { "$concatArrays": [list, new] } });
}

/// Of a list of `key`s that are told apart by what is `behind` an entry, with one put in and one taken out.
fn edited(list: &str, behind: &str, put: Bson, known_keys: Bson) -> Document {
    let (here, gone_here) = (format!("_evp.e.{list}.a"), format!("_evp.e.{list}.b"));
    let key = |entry: &str| format!("$${entry}{behind}");
    let key_if = |record: &str, key: &str| doc! { "$cond": [wins(record), { "$literal": [key] }, []] };
    let put_in = doc! { "$literal": [put] };
    let new =
        doc! { "$filter": { "input": put_in.clone(), "as": "new", "cond": { "$eq": [key("new"), key("entry")] } } };
    let stays = doc! { "$not": [{ "$in": [key("entry"), "$$gone"] }] };
    let kept_entries = doc! { "$map": {
        "input": { "$filter": { "input": "$$known", "as": "entry", "cond": stays } },
        "as": "entry",
        "in": { "$cond": [{ "$in": [key("entry"), "$$put"] }, { "$arrayElemAt": [new, 0] }, "$$entry"] },
    } };
    let has_no_place =
        doc! { "$or": [{ "$in": [key("new"), "$$gone"] }, { "$not": [{ "$in": [key("new"), known_keys] }] }] };
    let is_appended = doc! { "$and": [{ "$in": [key("new"), "$$put"] }, has_no_place] };
    let appended = doc! { "$filter": { "input": put_in, "as": "new", "cond": is_appended } };
    let list_of_now = doc! { "$ifNull": [format!("${list}"), []] };
    doc! {
        list: { "$let": {
            "vars": {
                "known": list_of_now,
                "put": { "$concatArrays": [key_if(&here, "a"), []] },
                "gone": { "$concatArrays": [key_if(&gone_here, "b"), []] },
            },
            "in": { "$concatArrays": [kept_entries, appended] },
        } },
        &here: kept(&here),
        &gone_here: kept(&gone_here),
    }
}

#[test]
fn entries_are_put_in_and_taken_out_by_the_last_writer_of_each() {
    let values = user().put_value("tags", "a").remove_value("tags", "b");
    assert_eq!(first(&values), edited("tags", "", "a".into(), "$$known".into()));
    let entry = doc! { "id": "a", "n": 1 };
    let seats = EntryList { list: Path::new("seats"), key: Path::new("id"), count: None };
    let entries = user().put_entry(&seats, entry.clone()).remove_entry(&seats, "b");
    let known_keys = doc! { "$ifNull": ["$seats.id", []] };
    assert_eq!(first(&entries), edited("seats", ".id", entry.into(), known_keys.into()));
}
