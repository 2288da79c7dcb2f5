//! A fold as an aggregation pipeline: every effect inside a condition on the document's own bookkeeping.
//!
//! Expressions of one `$set` stage all see the document as it was before the stage, so that the
//! watermark read by a condition is the old one wherever it stands.

#[cfg(test)]
mod tests;

use super::entries::write_entries;
use super::expression::{
    Either, Expression, Field, Literal, Literals, Null, Object, Text, Variable, add, and, any_of, concat, cond,
    element_at, eq, gt, if_null, list_at, lte, map, max, size, sum, trim,
};
use super::fold::{Fold, IncrementFold, SetFold};
use super::lists::{with_entries, with_values};
use super::order::EventOrder;
use super::path::Path;
use super::write_model::{Absent, JOIN_TRIM};
use super::writer::Writer;

/// When a document was deleted, in one of which nothing else is left.
pub(super) const DELETED: &str = "_evp.d";

/// The names under which one partition keeps its bookkeeping in documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionPaths {
    /// `<source>p<partition>`, and `g<generation>` behind it for handlers that are not of the first.
    pub(crate) key: String,
    watermark: String,
}

impl PartitionPaths {
    /// The names for a partition of the topic that has the small number `source`, and handlers of one generation.
    pub(crate) fn new(source: i32, partition: i32, generation: i32) -> Self {
        let key = match generation {
            0 => format!("{source}p{partition}"),
            later => format!("{source}p{partition}g{later}"),
        };
        Self { watermark: format!("_evp.wm.{key}"), key }
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
    remains().write("", writer);
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
        with_entries(list, fold.last_offset, partition).write(list.add.list.as_str(), writer);
    }
    for values in &fold.values {
        with_values(values).write(values.path.as_str(), writer);
    }
    for increment in &fold.increments {
        increased(increment, partition).write(increment.path.as_str(), writer);
    }
    for entries in &fold.entries {
        write_entries(entries, writer, partition);
    }
    if fold.is_deleted {
        if_null(Field(DELETED), Variable("$$NOW", "")).write(DELETED, writer);
    }
    for (path, date) in &fold.dates {
        write_highest(path.as_str(), *date, writer);
    }
    write_highest(&partition.watermark, fold.last_offset, writer);
    if !fold.sets.is_empty() {
        write_highest("_evp.s", fold.highest_order, writer);
    }
    writer.end();
    writer.end();
}

/// The field becomes the value, unless it is higher already.
fn write_highest<E: Expression>(path: &str, value: E, writer: &mut Writer) {
    max(Field(path), value).write(path, writer);
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
        joined(sources).write(target.as_str(), writer);
    }
    for (list, count) in counted {
        size(list_at(list.as_str())).write(count.as_str(), writer);
    }
    writer.end();
    writer.end();
}

/// The last stage: leaves nothing of a deleted document but that it is, and what was applied to it.
fn remains() -> impl Expression {
    let is_there = lte(Field(DELETED), Null);
    let kept = Object((("wm", Field("_evp.wm")), ("d", Field(DELETED))));
    let tombstone = Object((("_id", Field("_id")), ("_evp", kept)));
    Object(("$replaceWith", cond(is_there, Variable("$$ROOT", ""), tombstone)))
}

/// Whether an offset is beyond the watermark; a missing one is less than any number.
pub(super) fn is_new(offset: i64, partition: &PartitionPaths) -> impl Expression {
    gt(offset, Field(partition.watermark.as_str()))
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
        let path = path.as_str();
        let value = value.as_ref().map_or(Either::Other(Variable("$$REMOVE", "")), |value| Either::One(Literal(value)));
        cond(wins.condition(partition), value, Field(path)).write(path, writer);
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
    /// New in this partition, and either the last writer was this partition or its order was lower. A replay comes behind
    /// its place in the partition, so that only the order counts.
    pub(super) fn condition(&self, partition: &PartitionPaths) -> impl Expression {
        let is_higher = gt(self.order, Field(format!("{}.s", self.record)));
        let was_here = eq(Field(format!("{}.p", self.record)), Text(&partition.key));
        let was_here = (!self.is_replay).then_some(Either::One(was_here));
        let is_last = any_of(was_here.into_iter().chain([Either::Other(is_higher)]).collect());
        and(is_new(self.offset, partition), is_last)
    }

    /// Keeps what has won.
    pub(super) fn write_record(&self, writer: &mut Writer, partition: &PartitionPaths) {
        let order = max(Field(format!("{}.s", self.record)), self.order);
        let writer_of_now = Object((("s", order), ("p", Text(&partition.key))));
        let record = self.record.as_str();
        cond(self.condition(partition), writer_of_now, Field(record)).write(record, writer);
    }
}

/// The counter plus what each event beyond the watermark adds; all of them are in the usual case.
fn increased(increment: &IncrementFold<'_>, partition: &PartitionPaths) -> impl Expression {
    let total = increment.steps.iter().fold(0_i64, |sum, (_, by)| sum.saturating_add(*by));
    let first_offset = increment.steps.iter().map(|(offset, _)| *offset).min().unwrap_or(i64::MAX);
    let steps = Literals(|writer: &mut Writer| {
        for (offset, by) in &increment.steps {
            writer.begin_array("");
            writer.int64("", *offset);
            writer.int64("", *by);
            writer.end();
        }
    });
    let part = |index: i32| element_at(Variable("$$step", ""), index);
    let added = cond(gt(part(0), Field(partition.watermark.as_str())), part(1), 0_i64);
    let sum = sum(map(steps, "step", added));
    add(if_null(Field(increment.path.as_str()), 0_i64), cond(is_new(first_offset, partition), total, sum))
}

/// Texts joined with blanks, absent ones empty, white space trimmed.
fn joined(sources: &[Path]) -> impl Expression {
    let texts = sources.iter().enumerate().flat_map(|(index, source)| {
        let blank = (index > 0).then_some(Part::Blank);
        blank.into_iter().chain([Part::Source(source)])
    });
    trim(concat(texts.collect()), JOIN_TRIM.iter().collect::<String>())
}

/// Of a joined text.
enum Part<'a> {
    Blank,
    Source(&'a Path),
}

impl Expression for Part<'_> {
    fn write(&self, name: &str, writer: &mut Writer) {
        match self {
            Self::Blank => Text(" ").write(name, writer),
            Self::Source(source) => if_null(Field(source.as_str()), Text("")).write(name, writer),
        }
    }
}
