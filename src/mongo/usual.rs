//! A fold as the cheapest statement for the usual case: everything in it is new.
//!
//! MongoDB takes longer to parse an expression than to evaluate it, so this form has one condition in front
//! of one merge made almost wholly of literals. If the condition does not hold, the document stays as it is
//! and the exact form of `pipeline` is sent; that the document was modified tells the two apart, because
//! the merge always moves the watermark.

use bson::Bson;

use super::fold::{Fold, ListFold};
use super::pipeline::{PartitionPaths, reference, write_join_of};
use super::write_model::Absent;
use super::writer::Writer;

/// What a path becomes.
enum Leaf<'a> {
    Literal(&'a Bson),
    Offset(i64),
    Record { sequence: i64, partition: &'a str },
    Entries(&'a ListFold<'a>),
    Count(&'a ListFold<'a>),
    Values(&'a [&'a Bson]),
    Increment(i64),
    Date(bson::DateTime),
    Join(&'static [&'static str]),
}

impl Leaf<'_> {
    fn is_literal(&self) -> bool {
        matches!(self, Leaf::Literal(_) | Leaf::Offset(_) | Leaf::Record { .. })
    }
}

type Leaves<'a> = Vec<(String, Leaf<'a>)>;

/// Whether the fold has this form; one that creates its document does not.
pub(super) fn is_usual(fold: &Fold<'_>) -> bool {
    fold.absent == Absent::Wait
}

/// Writes `{q, u}` into the array that is open.
pub(super) fn write_statement(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    writer.begin_document("q");
    writer.string("_id", fold.id);
    writer.end();
    writer.begin_array("u");
    writer.begin_document("");
    writer.begin_document("$replaceWith");
    writer.begin_array("$cond");
    write_condition(fold, writer, partition);
    write_merge("$$ROOT", "", leaves(fold, partition), fold, writer);
    writer.string("", "$$ROOT");
    writer.end();
    writer.end();
    writer.end();
    writer.end();
    writer.end();
}

/// Beyond the watermark, of a higher sequence than all sets before it, and with new keys only.
fn write_condition(fold: &Fold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    writer.begin_document("");
    writer.begin_array("$and");
    greater(fold.first_offset, partition.watermark_reference(), writer);
    if !fold.sets.is_empty() {
        greater(fold.lowest_sequence, "$_evp.s", writer);
    }
    for list in &fold.lists {
        write_keys_are_new(list, writer);
    }
    for values in &fold.values {
        writer.begin_document("");
        writer.joined_string("$isArray", "$", values.path);
        writer.end();
    }
    writer.end();
    writer.end();
}

fn greater(number: i64, reference: &str, writer: &mut Writer) {
    writer.begin_document("");
    writer.begin_array("$gt");
    writer.int64("", number);
    writer.string("", reference);
    writer.end();
    writer.end();
}

/// On a document without the list this is an error, which the exact form then resolves.
fn write_keys_are_new(list: &ListFold<'_>, writer: &mut Writer) {
    let keys = format!("${}.{}", list.add.list, list.add.key);
    let key = |entry: &'_ bson::Document| entry.get(list.add.key).cloned().unwrap_or(Bson::Null);
    writer.begin_document("");
    match list.entries.as_slice() {
        [entry] => {
            writer.begin_array("$not");
            writer.begin_document("");
            writer.begin_array("$in");
            writer.begin_document("");
            writer.value("$literal", &key(entry));
            writer.end();
            writer.string("", &keys);
            writer.end();
            writer.end();
            writer.end();
        }
        entries => {
            writer.begin_array("$eq");
            writer.begin_document("");
            writer.begin_array("$setIntersection");
            writer.begin_document("");
            writer.begin_array("$literal");
            for entry in entries {
                writer.value("", &key(entry));
            }
            writer.end();
            writer.end();
            writer.string("", &keys);
            writer.end();
            writer.end();
            writer.begin_array("");
            writer.end();
            writer.end();
        }
    }
    writer.end();
}

fn leaves<'a>(fold: &'a Fold<'a>, partition: &'a PartitionPaths) -> Leaves<'a> {
    let mut leaves: Leaves<'a> = Vec::with_capacity(16);
    for set in &fold.sets {
        leaves.extend(set.fields.iter().map(|(path, value)| ((*path).to_owned(), Leaf::Literal(value))));
        if let Some((first, _)) = set.fields.first() {
            let record = Leaf::Record { sequence: set.sequence, partition: &partition.key };
            leaves.push((format!("_evp.f.{}", first.replace('.', "/")), record));
        }
    }
    for list in &fold.lists {
        leaves.push((list.add.list.to_owned(), Leaf::Entries(list)));
        leaves.extend(list.add.count.map(|count| (count.to_owned(), Leaf::Count(list))));
    }
    leaves.extend(fold.values.iter().map(|values| (values.path.to_owned(), Leaf::Values(&values.values))));
    for increment in &fold.increments {
        let total = increment.steps.iter().fold(0_i64, |sum, (_, by)| sum.saturating_add(*by));
        leaves.push((increment.path.to_owned(), Leaf::Increment(total)));
    }
    leaves.extend(fold.dates.iter().map(|(path, date)| ((*path).to_owned(), Leaf::Date(*date))));
    leaves.extend(fold.joins.iter().map(|(target, sources)| ((*target).to_owned(), Leaf::Join(sources))));
    leaves.push((partition.watermark().to_owned(), Leaf::Offset(fold.last_offset)));
    if !fold.sets.is_empty() {
        leaves.push(("_evp.s".to_owned(), Leaf::Offset(fold.highest_sequence)));
    }
    leaves
}

/// `{"$mergeObjects": [object, {"$literal": {…}}, {computed fields and nested merges}]}`.
///
/// `prefix` is the object's own path with a dot behind it, empty for the document.
fn write_merge(object: &str, prefix: &str, leaves: Leaves<'_>, fold: &Fold<'_>, writer: &mut Writer) {
    let mut own = Vec::new();
    let mut nested: Vec<(String, Leaves<'_>)> = Vec::new();
    for (path, leaf) in leaves {
        match path.split_once('.') {
            None => own.push((path, leaf)),
            Some((head, tail)) => match nested.iter_mut().find(|(name, _)| name == head) {
                Some((_, list)) => list.push((tail.to_owned(), leaf)),
                None => nested.push((head.to_owned(), vec![(tail.to_owned(), leaf)])),
            },
        }
    }
    writer.begin_document("");
    writer.begin_array("$mergeObjects");
    writer.string("", object);
    if own.iter().any(|(_, leaf)| leaf.is_literal()) {
        writer.begin_document("");
        writer.begin_document("$literal");
        for (name, leaf) in own.iter().filter(|(_, leaf)| leaf.is_literal()) {
            write_literal(name, leaf, writer);
        }
        writer.end();
        writer.end();
    }
    if own.iter().any(|(_, leaf)| !leaf.is_literal()) || !nested.is_empty() {
        writer.begin_document("");
        for (name, leaf) in own.iter().filter(|(_, leaf)| !leaf.is_literal()) {
            write_computed(name, &format!("{prefix}{name}"), leaf, fold, writer);
        }
        for (name, leaves) in nested {
            let path = format!("{prefix}{name}");
            writer.name_next(&name);
            write_merge(&format!("${path}"), &format!("{path}."), leaves, fold, writer);
        }
        writer.end();
    }
    writer.end();
    writer.end();
}

fn write_literal(name: &str, leaf: &Leaf<'_>, writer: &mut Writer) {
    match leaf {
        Leaf::Literal(value) => writer.value(name, value),
        Leaf::Offset(number) => writer.int64(name, *number),
        Leaf::Record { sequence, partition } => {
            writer.begin_document(name);
            writer.int64("s", *sequence);
            writer.string("p", partition);
            writer.end();
        }
        _ => {}
    }
}

fn write_computed(name: &str, path: &str, leaf: &Leaf<'_>, fold: &Fold<'_>, writer: &mut Writer) {
    match leaf {
        Leaf::Entries(list) => {
            writer.begin_document(name);
            writer.begin_array("$concatArrays");
            reference(writer, path);
            writer.begin_document("");
            writer.begin_array("$literal");
            for entry in &list.entries {
                writer.begin_document("");
                writer.fields(entry);
                writer.end();
            }
            writer.end();
            writer.end();
            writer.end();
            writer.end();
        }
        Leaf::Count(list) => {
            writer.begin_document(name);
            writer.begin_array("$add");
            writer.begin_document("");
            writer.joined_string("$size", "$", list.add.list);
            writer.end();
            writer.int32("", i32::try_from(list.entries.len()).unwrap_or(i32::MAX));
            writer.end();
            writer.end();
        }
        Leaf::Values(values) => {
            writer.begin_document(name);
            writer.begin_array("$concatArrays");
            reference(writer, path);
            writer.begin_document("");
            writer.begin_array("$setDifference");
            writer.begin_document("");
            writer.begin_array("$literal");
            for value in *values {
                writer.value("", value);
            }
            writer.end();
            writer.end();
            reference(writer, path);
            writer.end();
            writer.end();
            writer.end();
            writer.end();
        }
        Leaf::Increment(total) => {
            writer.begin_document(name);
            writer.begin_array("$add");
            writer.begin_document("");
            writer.begin_array("$ifNull");
            reference(writer, path);
            writer.int64("", 0);
            writer.end();
            writer.end();
            writer.int64("", *total);
            writer.end();
            writer.end();
        }
        Leaf::Date(date) => {
            writer.begin_document(name);
            writer.begin_array("$max");
            reference(writer, path);
            writer.date("", *date);
            writer.end();
            writer.end();
        }
        Leaf::Join(sources) => {
            write_join_of(name, sources, |source| set_text(fold, source), writer);
        }
        Leaf::Literal(_) | Leaf::Offset(_) | Leaf::Record { .. } => {}
    }
}

/// The text that the fold sets `path` to, an empty one for null; `None` if it does not set it.
fn set_text<'a>(fold: &'a Fold<'a>, path: &str) -> Option<&'a str> {
    let mut values = fold.sets.iter().flat_map(|set| set.fields).filter(|(set_path, _)| *set_path == path);
    values.next_back().map(|(_, value)| value.as_str().unwrap_or_default())
}
