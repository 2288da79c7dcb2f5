//! Lists as expressions: entries once per key, values without repetition.

use super::fold::{ListFold, ValuesFold};
use super::pipeline::{PartitionPaths, reference, write_is_new};
use super::writer::Writer;
use bson::Bson;

/// Entries are added if all their keys are new, which is the usual case; else the lists are merged by key.
pub(super) fn write_list(list: &ListFold<'_>, last_offset: i64, writer: &mut Writer, partition: &PartitionPaths) {
    let path = list.add.list.as_str();
    writer.begin_document(path);
    writer.begin_array("$cond");
    write_is_new(last_offset, writer, partition);
    writer.begin_document("");
    writer.begin_array("$cond");
    write_keys_are_new(list, writer);
    writer.begin_document("");
    writer.begin_array("$concatArrays");
    list_or_empty(path, "", writer);
    entries(list, "", writer);
    writer.end();
    writer.end();
    write_merged(list, writer);
    writer.end();
    writer.end();
    reference(writer, path);
    writer.end();
    writer.end();
}

/// `{"$ifNull": ["$path<suffix>", []]}` as an array element.
pub(super) fn list_or_empty(path: &str, suffix: &str, writer: &mut Writer) {
    writer.begin_document("");
    or_empty(writer, "$ifNull", path, suffix);
    writer.end();
}

fn entries(list: &ListFold<'_>, name: &str, writer: &mut Writer) {
    writer.begin_document(name);
    writer.begin_array("$literal");
    for entry in &list.entries {
        writer.begin_document("");
        writer.fields(entry);
        writer.end();
    }
    writer.end();
    writer.end();
}

fn keys(list: &ListFold<'_>, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$literal");
    for entry in &list.entries {
        writer.value("", entry.get(list.add.key.as_str()).unwrap_or(&Bson::Null));
    }
    writer.end();
    writer.end();
}

fn write_keys_are_new(list: &ListFold<'_>, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$eq");
    writer.begin_document("");
    writer.begin_document("$size");
    write_repeated(list, writer);
    writer.end();
    writer.end();
    writer.int32("", 0);
    writer.end();
    writer.end();
}

/// The keys that the list has already, in the document that is open.
fn write_repeated(list: &ListFold<'_>, writer: &mut Writer) {
    writer.begin_array("$setIntersection");
    keys(list, writer);
    list_or_empty(list.add.list.as_str(), &format!(".{}", list.add.key), writer);
    writer.end();
}

/// Known entries, each replaced by the new one of its key if that is earlier; then the entries of new keys.
///
/// Only for repeated keys, which are few, both lists are gone through.
fn write_merged(list: &ListFold<'_>, writer: &mut Writer) {
    let key = list.add.key.as_str();
    writer.begin_document("");
    writer.begin_document("$let");
    writer.begin_document("vars");
    writer.begin_document("repeated");
    write_repeated(list, writer);
    writer.end();
    writer.end();
    writer.begin_document("in");
    writer.begin_array("$concatArrays");

    writer.begin_document("");
    writer.begin_document("$map");
    writer.begin_document("input");
    or_empty(writer, "$ifNull", list.add.list.as_str(), "");
    writer.end();
    writer.string("as", "known");
    writer.begin_document("in");
    writer.begin_array("$cond");
    write_is_repeated("$$known.", key, writer);
    write_replaced(list, writer);
    writer.string("", "$$known");
    writer.end();
    writer.end();
    writer.end();
    writer.end();

    writer.begin_document("");
    writer.begin_document("$filter");
    entries(list, "input", writer);
    writer.string("as", "new");
    writer.begin_document("cond");
    writer.begin_array("$not");
    write_is_repeated("$$new.", key, writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();

    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// The new entry of a known one's key, if that is earlier, else the known one.
fn write_replaced(list: &ListFold<'_>, writer: &mut Writer) {
    let (key, order) = (list.add.key.as_str(), list.add.order.as_str());
    writer.begin_document("");
    writer.begin_array("$ifNull");
    writer.begin_document("");
    writer.begin_array("$arrayElemAt");
    writer.begin_document("");
    writer.begin_document("$filter");
    entries(list, "input", writer);
    writer.string("as", "new");
    writer.begin_document("cond");
    writer.begin_array("$and");
    write_compared("$eq", key, writer);
    write_compared("$lt", order, writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.int32("", 0);
    writer.end();
    writer.end();
    writer.string("", "$$known");
    writer.end();
    writer.end();
}

/// `{"$in": [variable and key, "$$repeated"]}`.
fn write_is_repeated(variable: &str, key: &str, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$in");
    writer.joined_string("", variable, key);
    writer.string("", "$$repeated");
    writer.end();
    writer.end();
}

/// `{operator: ["$$new.field", "$$known.field"]}`.
fn write_compared(operator: &str, field: &str, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array(operator);
    writer.joined_string("", "$$new.", field);
    writer.joined_string("", "$$known.", field);
    writer.end();
    writer.end();
}

pub(super) fn write_values(values: &ValuesFold<'_>, writer: &mut Writer) {
    writer.begin_document(values.path.as_str());
    writer.begin_array("$concatArrays");
    list_or_empty(values.path.as_str(), "", writer);
    writer.begin_document("");
    writer.begin_array("$setDifference");
    writer.begin_document("");
    writer.begin_array("$literal");
    for value in &values.values {
        writer.value("", value);
    }
    writer.end();
    writer.end();
    list_or_empty(values.path.as_str(), "", writer);
    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// `{operator: ["$path<suffix>", []]}` without the braces.
pub(super) fn or_empty(writer: &mut Writer, operator: &str, path: &str, suffix: &str) {
    writer.begin_array(operator);
    writer.joined_string("", &format!("${path}"), suffix);
    writer.begin_array("");
    writer.end();
    writer.end();
}
