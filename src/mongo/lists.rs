//! Lists as expressions: entries once per key, values without repetition.

use bson::Bson;

use super::expression::{
    Expression, Field, Literals, Variable, and, both_lists, cond, documents, element_at, eq, filter, if_null, is_in,
    let_in, list_at, lt, map, not, set_difference, set_intersection, size,
};
use super::fold::{ListFold, ValuesFold};
use super::pipeline::{PartitionPaths, is_new};
use super::writer::Writer;

/// The list with the new entries. All their keys are new in the usual case; else the lists are merged by key.
pub(super) fn with_entries(list: &ListFold<'_>, last_offset: i64, partition: &PartitionPaths) -> impl Expression {
    let path = list.add.list.as_str();
    let keys_are_new = eq(size(repeated(list)), 0_i32);
    let merged = cond(keys_are_new, both_lists(list_at(path), documents(&list.entries)), merged(list));
    cond(is_new(last_offset, partition), merged, Field(path))
}

/// The keys that the list has already.
fn repeated(list: &ListFold<'_>) -> impl Expression {
    let key = list.add.key.as_str();
    let keys = Literals(move |writer: &mut Writer| {
        list.entries.iter().for_each(|entry| writer.value("", entry.get(key).unwrap_or(&Bson::Null)));
    });
    set_intersection(keys, list_at(format!("{}.{key}", list.add.list)))
}

/// Known entries, each replaced by the new one of its key if that is earlier; then the entries of new keys.
///
/// Only for repeated keys, which are few, both lists are gone through.
fn merged(list: &ListFold<'_>) -> impl Expression {
    let key = list.add.key.as_str();
    let is_repeated = |entry| is_in(Variable(entry, key), Variable("$$repeated", ""));
    let replaced = cond(is_repeated("$$known."), earlier(list), Variable("$$known", ""));
    let known = map(list_at(list.add.list.as_str()), "known", replaced);
    let added = filter(documents(&list.entries), "new", not(is_repeated("$$new.")));
    let_in(("repeated", repeated(list)), both_lists(known, added))
}

/// The new entry of a known one's key, if that is earlier, else the known one.
fn earlier(list: &ListFold<'_>) -> impl Expression {
    let (key, order) = (list.add.key.as_str(), list.add.order.as_str());
    let of_both = |field| (Variable("$$new.", field), Variable("$$known.", field));
    let ((new_key, known_key), (new_order, known_order)) = (of_both(key), of_both(order));
    let is_earlier = and(eq(new_key, known_key), lt(new_order, known_order));
    if_null(element_at(filter(documents(&list.entries), "new", is_earlier), 0_i32), Variable("$$known", ""))
}

/// The list with those values at its end that it does not have.
pub(super) fn with_values(values: &ValuesFold<'_>) -> impl Expression {
    let path = values.path.as_str();
    let new = Literals(|writer: &mut Writer| values.values.iter().for_each(|value| writer.value("", value)));
    both_lists(list_at(path), set_difference(new, list_at(path)))
}
