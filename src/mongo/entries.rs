//! Lists whose entries are put in and taken out, as expressions: of each entry the last writer wins.

use super::fold::{EntriesFold, EntryFold};
use super::lists::list_or_empty;
use super::path::escaped;
use super::pipeline::{PartitionPaths, Wins, write_is_new};
use super::writer::Writer;

/// The list without what is taken out and with what is put in, each in the place of the entry with its key or at the
/// end; and what is kept of the last writer of each.
pub(super) fn write_entries(list: &EntriesFold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    let wins: Vec<Wins> = list.entries.iter().map(|entry| wins(list, entry)).collect();
    writer.begin_document(list.list.as_str());
    writer.begin_document("$let");
    writer.begin_document("vars");
    write_vars(list, &wins, writer, partition);
    writer.end();
    writer.begin_document("in");
    writer.begin_array("$concatArrays");
    write_kept(list, writer);
    write_appended(list, writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    wins.iter().for_each(|wins| wins.write_record(writer, partition));
}

fn wins(list: &EntriesFold<'_>, entry: &EntryFold<'_>) -> Wins {
    let record = format!("_evp.e.{}.{}", list.list.flat(), escaped(entry.key));
    Wins { record, offset: entry.offset, order: entry.order, is_replay: entry.is_replay }
}

/// `known`, the list as it is; `put`, the keys of what is put in; `gone`, the keys of what leaves its place.
fn write_vars(list: &EntriesFold<'_>, wins: &[Wins], writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("known");
    writer.begin_array("$ifNull");
    writer.joined_string("", "$", list.list.as_str());
    writer.begin_array("");
    writer.end();
    writer.end();
    writer.end();
    let entries = || list.entries.iter().zip(wins);
    writer.begin_document("put");
    writer.begin_array("$concatArrays");
    for (entry, wins) in entries().filter(|(entry, _)| entry.entry.is_some()) {
        write_key_if(entry.key, writer, |writer| wins.write(writer, partition));
    }
    write_nothing(writer);
    writer.end();
    writer.end();
    writer.begin_document("gone");
    writer.begin_array("$concatArrays");
    for (entry, wins) in entries() {
        match (entry.entry, entry.removed_at) {
            (None, _) => write_key_if(entry.key, writer, |writer| wins.write(writer, partition)),
            (Some(_), Some(removed_at)) => write_key_if(entry.key, writer, |writer| {
                writer.begin_document("");
                writer.begin_array("$and");
                wins.write(writer, partition);
                write_is_new(removed_at, writer, partition);
                writer.end();
                writer.end();
            }),
            (Some(_), None) => {}
        }
    }
    write_nothing(writer);
    writer.end();
    writer.end();
}

/// `[key]` if the condition holds, else `[]`, as an element.
fn write_key_if(key: &str, writer: &mut Writer, write_condition: impl FnOnce(&mut Writer)) {
    writer.begin_document("");
    writer.begin_array("$cond");
    write_condition(writer);
    writer.begin_document("");
    writer.begin_array("$literal");
    writer.string("", key);
    writer.end();
    writer.end();
    write_nothing(writer);
    writer.end();
    writer.end();
}

fn write_nothing(writer: &mut Writer) {
    writer.begin_array("");
    writer.end();
}

/// What does not leave its place, with the new entry where one is put there.
fn write_kept(list: &EntriesFold<'_>, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_document("$map");
    writer.begin_document("input");
    writer.begin_document("$filter");
    writer.string("input", "$$known");
    writer.string("as", "entry");
    writer.begin_document("cond");
    writer.begin_array("$not");
    write_is_in(list, "$$entry", "$$gone", writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.string("as", "entry");
    writer.begin_document("in");
    writer.begin_array("$cond");
    write_is_in(list, "$$entry", "$$put", writer);
    writer.begin_document("");
    writer.begin_array("$arrayElemAt");
    writer.begin_document("");
    writer.begin_document("$filter");
    write_put(list, writer);
    writer.string("as", "new");
    writer.begin_document("cond");
    writer.begin_array("$eq");
    write_key_of(list, "$$new", writer);
    write_key_of(list, "$$entry", writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.int32("", 0);
    writer.end();
    writer.end();
    writer.string("", "$$entry");
    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// What is put in and has no place in the list.
fn write_appended(list: &EntriesFold<'_>, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_document("$filter");
    write_put(list, writer);
    writer.string("as", "new");
    writer.begin_document("cond");
    writer.begin_array("$and");
    write_is_in(list, "$$new", "$$put", writer);
    writer.begin_document("");
    writer.begin_array("$or");
    write_is_in(list, "$$new", "$$gone", writer);
    writer.begin_document("");
    writer.begin_array("$not");
    writer.begin_document("");
    writer.begin_array("$in");
    write_key_of(list, "$$new", writer);
    match list.field {
        Some(_) => list_or_empty(list.list.as_str(), &suffix(list), writer),
        None => writer.string("", "$$known"),
    }
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// The entries that are put in, as the input of a filter.
fn write_put(list: &EntriesFold<'_>, writer: &mut Writer) {
    writer.begin_document("input");
    writer.begin_array("$literal");
    list.entries.iter().filter_map(|entry| entry.entry).for_each(|entry| writer.value("", entry));
    writer.end();
    writer.end();
}

/// `{"$in": [key of the entry, keys]}` as an element.
fn write_is_in(list: &EntriesFold<'_>, entry: &str, keys: &str, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$in");
    write_key_of(list, entry, writer);
    writer.string("", keys);
    writer.end();
    writer.end();
}

fn write_key_of(list: &EntriesFold<'_>, entry: &str, writer: &mut Writer) {
    writer.joined_string("", entry, &suffix(list));
}

fn suffix(list: &EntriesFold<'_>) -> String {
    list.field.map(|field| format!(".{field}")).unwrap_or_default()
}
