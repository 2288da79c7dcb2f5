//! A fold as an aggregation pipeline: every effect inside a condition on the document's own bookkeeping.
//!
//! Expressions of one `$set` stage all see the document as it was before the stage, so that the
//! watermark read by a condition is the old one wherever it stands.

use super::entries::write_entries;
use super::fold::{Fold, IncrementFold, SetFold};
use super::lists::{or_empty, write_list, write_values};
use super::order::EventOrder;
use super::path::Path;
use super::write_model::{Absent, JOIN_TRIM};
use super::writer::Writer;
use bson::Bson;

/// When a document was deleted, in one of which nothing else is left.
pub(super) const DELETED: &str = "_evp.d";

/// The names under which one partition keeps its bookkeeping in documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionPaths {
    /// `<source>p<partition>`, and `g<generation>` behind it for handlers that are not of the first.
    pub(crate) key: String,
    watermark: String,
    watermark_reference: String,
}

impl PartitionPaths {
    /// The names for a partition of the topic that has the small number `source`, and handlers of one generation.
    pub(crate) fn new(source: i32, partition: i32, generation: i32) -> Self {
        let key = match generation {
            0 => format!("{source}p{partition}"),
            later => format!("{source}p{partition}g{later}"),
        };
        let watermark = format!("_evp.wm.{key}");
        Self { watermark_reference: format!("${watermark}"), watermark, key }
    }

    /// The path of the highest applied offset.
    pub(super) fn watermark(&self) -> &str {
        &self.watermark
    }
}

/// Writes `{q, u, upsert}` into the array that is open.
pub(super) fn write_statement(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    writer.begin_document("q");
    writer.string("_id", fold.id);
    writer.end();
    writer.begin_array("u");
    write_first_stage(fold, writer, partition);
    write_second_stage(fold, writer);
    write_last_stage(writer);
    writer.end();
    if fold.absent == Absent::Create {
        writer.boolean("upsert", true);
    }
    writer.end();
}

fn write_first_stage(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    writer.begin_document("$set");
    for set in &fold.sets {
        write_set(set, writer, partition);
    }
    for list in &fold.lists {
        write_list(list, fold.last_offset, writer, partition);
    }
    for values in &fold.values {
        write_values(values, writer);
    }
    for increment in &fold.increments {
        write_increment(increment, writer, partition);
    }
    for entries in &fold.entries {
        write_entries(entries, writer, partition);
    }
    if fold.is_deleted {
        writer.begin_document(DELETED);
        writer.begin_array("$ifNull");
        writer.joined_string("", "$", DELETED);
        writer.string("", "$$NOW");
        writer.end();
        writer.end();
    }
    for (path, date) in &fold.dates {
        highest(path.as_str(), writer, |writer| writer.date("", *date));
    }
    highest(&partition.watermark, writer, |writer| writer.int64("", fold.last_offset));
    if !fold.sets.is_empty() {
        highest("_evp.s", writer, |writer| writer.order("", fold.highest_order));
    }
    writer.end();
    writer.end();
}

/// The field becomes the value, unless it is higher already.
fn highest(path: &str, writer: &mut Writer, write_value: impl FnOnce(&mut Writer)) {
    writer.begin_document(path);
    writer.begin_array("$max");
    reference(writer, path);
    write_value(writer);
    writer.end();
    writer.end();
}

/// What is computed from the fields as the first stage left them.
fn write_second_stage(fold: &Fold<'_>, writer: &mut Writer) {
    let lists = fold.lists.iter().filter_map(|list| Some((&list.add.list, list.add.count.as_ref()?)));
    let mut counted = lists.chain(fold.entries.iter().filter_map(|list| Some((list.list, list.count?)))).peekable();
    if fold.joins.is_empty() && counted.peek().is_none() {
        return;
    }
    writer.begin_document("");
    writer.begin_document("$set");
    for (target, sources) in &fold.joins {
        write_join(target, sources, writer);
    }
    for (list, count) in counted {
        writer.begin_document(count.as_str());
        writer.begin_document("$size");
        or_empty(writer, "$ifNull", list.as_str(), "");
        writer.end();
        writer.end();
    }
    writer.end();
    writer.end();
}

/// Leaves nothing of a deleted document but that it is, and what was applied to it.
fn write_last_stage(writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_document("$replaceWith");
    writer.begin_array("$cond");
    writer.begin_document("");
    writer.begin_array("$lte");
    writer.joined_string("", "$", DELETED);
    writer.null("");
    writer.end();
    writer.end();
    writer.string("", "$$ROOT");
    writer.begin_document("");
    writer.string("_id", "$_id");
    writer.begin_document("_evp");
    writer.string("wm", "$_evp.wm");
    writer.string("d", "$_evp.d");
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// The value at a path, as an expression.
pub(super) fn reference(writer: &mut Writer, path: &str) {
    writer.joined_string("", "$", path);
}

/// A value that is never read as an expression.
fn literal(writer: &mut Writer, name: &str, value: &Bson) {
    if matches!(value, Bson::String(_) | Bson::Document(_) | Bson::Array(_)) {
        writer.begin_document(name);
        writer.value("$literal", value);
        writer.end();
    } else {
        writer.value(name, value);
    }
}

/// `{"$gt": [offset, watermark]}`; a missing watermark is less than any number.
pub(super) fn write_is_new(offset: i64, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    writer.begin_array("$gt");
    writer.int64("", offset);
    writer.string("", &partition.watermark_reference);
    writer.end();
    writer.end();
}

fn write_set(set: &SetFold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    let Some((first, _)) = set.fields.first() else { return };
    let wins = Wins {
        record: format!("_evp.f.{}", first.flat()),
        offset: set.offset,
        order: set.order,
        is_replay: set.is_replay,
    };
    for (path, value) in set.fields {
        writer.begin_document(path.as_str());
        writer.begin_array("$cond");
        wins.write(writer, partition);
        match value {
            Some(value) => literal(writer, "", value),
            None => writer.string("", "$$REMOVE"),
        }
        reference(writer, path.as_str());
        writer.end();
        writer.end();
    }
    wins.write_record(writer, partition);
}

/// What is to become the last writer, of a field or of an entry of a list.
pub(super) struct Wins {
    /// Path of what is kept of the last writer.
    pub(super) record: String,
    pub(super) offset: i64,
    pub(super) order: EventOrder,
    pub(super) is_replay: bool,
}

impl Wins {
    /// The condition: new in this partition, and either the last writer was this partition or its order was lower. A
    /// replay comes behind its place in the partition, so that only the order counts.
    pub(super) fn write(&self, writer: &mut Writer, partition: &PartitionPaths) {
        writer.begin_document("");
        writer.begin_array("$and");
        write_is_new(self.offset, writer, partition);
        writer.begin_document("");
        writer.begin_array("$or");
        if !self.is_replay {
            writer.begin_document("");
            writer.begin_array("$eq");
            writer.joined_string("", &format!("${}", self.record), ".p");
            writer.string("", &partition.key);
            writer.end();
            writer.end();
        }
        writer.begin_document("");
        writer.begin_array("$gt");
        writer.order("", self.order);
        writer.joined_string("", &format!("${}", self.record), ".s");
        writer.end();
        writer.end();
        writer.end();
        writer.end();
        writer.end();
        writer.end();
    }

    /// Keeps what has won.
    pub(super) fn write_record(&self, writer: &mut Writer, partition: &PartitionPaths) {
        writer.begin_document(&self.record);
        writer.begin_array("$cond");
        self.write(writer, partition);
        writer.begin_document("");
        writer.begin_document("s");
        writer.begin_array("$max");
        writer.joined_string("", "$", &format!("{}.s", self.record));
        writer.order("", self.order);
        writer.end();
        writer.end();
        writer.string("p", &partition.key);
        writer.end();
        reference(writer, &self.record);
        writer.end();
        writer.end();
    }
}

/// The counter plus what each event beyond the watermark adds; all of them are in the usual case.
fn write_increment(increment: &IncrementFold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    let total = increment.steps.iter().fold(0_i64, |sum, (_, by)| sum.saturating_add(*by));
    let first_offset = increment.steps.iter().map(|(offset, _)| *offset).min().unwrap_or(i64::MAX);
    writer.begin_document(increment.path.as_str());
    writer.begin_array("$add");
    writer.begin_document("");
    writer.begin_array("$ifNull");
    reference(writer, increment.path.as_str());
    writer.int64("", 0);
    writer.end();
    writer.end();
    writer.begin_document("");
    writer.begin_array("$cond");
    write_is_new(first_offset, writer, partition);
    writer.int64("", total);
    writer.begin_document("");
    writer.begin_document("$sum");
    writer.begin_document("$map");
    writer.begin_document("input");
    writer.begin_array("$literal");
    for (offset, by) in &increment.steps {
        writer.begin_array("");
        writer.int64("", *offset);
        writer.int64("", *by);
        writer.end();
    }
    writer.end();
    writer.end();
    writer.string("as", "step");
    writer.begin_document("in");
    writer.begin_array("$cond");
    writer.begin_document("");
    writer.begin_array("$gt");
    element_of_step(0, writer);
    writer.string("", &partition.watermark_reference);
    writer.end();
    writer.end();
    element_of_step(1, writer);
    writer.int64("", 0);
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

fn element_of_step(index: i32, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$arrayElemAt");
    writer.string("", "$$step");
    writer.int32("", index);
    writer.end();
    writer.end();
}

/// Texts joined with blanks, absent ones empty, white space trimmed.
fn write_join(target: &Path, sources: &[Path], writer: &mut Writer) {
    let trimmed: String = JOIN_TRIM.iter().collect();
    writer.begin_document(target.as_str());
    writer.begin_document("$trim");
    writer.begin_document("input");
    writer.begin_array("$concat");
    for (index, source) in sources.iter().enumerate() {
        if index > 0 {
            writer.string("", " ");
        }
        writer.begin_document("");
        writer.begin_array("$ifNull");
        reference(writer, source.as_str());
        writer.string("", "");
        writer.end();
        writer.end();
    }
    writer.end();
    writer.end();
    writer.string("chars", &trimmed);
    writer.end();
    writer.end();
}
