//! Where the old document and the new one differ. Pure; no value is shown, because it may be personal.

use bson::{Bson, Document};

/// evp's own bookkeeping, which tells of the way and not of the end.
const BOOKKEEPING: &str = "_evp";
/// Paths that are told of one document.
const PATHS_MAX: usize = 5;

/// The paths at which two documents differ. Lists are equal if they hold the same entries: in which order those of several
/// partitions stand is not certain.
pub(super) fn differences(old: &Document, new: &Document) -> Vec<String> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found.truncate(PATHS_MAX);
    found
}

fn compare(parent: &str, old: &Document, new: &Document, found: &mut Vec<String>) {
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(name.as_str())));
    for name in names.filter(|name| !(parent.is_empty() && *name == BOOKKEEPING)) {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        match (old.get(name), new.get(name)) {
            (Some(Bson::Document(old)), Some(Bson::Document(new))) => compare(&path, old, new, found),
            (Some(old), Some(new)) if are_same(old, new) => {}
            _ => found.push(path),
        }
    }
}

fn are_same(old: &Bson, new: &Bson) -> bool {
    match (old, new) {
        (Bson::Array(old), Bson::Array(new)) => old == new || sorted(old) == sorted(new),
        // Which integer type holds a number carries no meaning.
        (Bson::Int32(old), Bson::Int64(new)) | (Bson::Int64(new), Bson::Int32(old)) => i64::from(*old) == *new,
        _ => old == new,
    }
}

fn sorted(list: &[Bson]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn paths_of_fields_that_differ_are_told_without_their_values() {
        let old = doc! { "_id": "1", "a": { "b": 1, "c": 2 }, "gone": 1, "_evp": { "wm": 1 } };
        let new = doc! { "_id": "1", "a": { "b": 1, "c": 3 }, "made": 1, "_evp": { "wm": 2 } };
        assert_eq!(differences(&old, &new), ["a.c", "gone", "made"]);
    }

    #[test]
    fn the_order_of_a_list_and_the_type_of_an_integer_are_no_difference() {
        let old = doc! { "l": ["a", "b"], "n": 1_i32, "e": null };
        assert!(differences(&old, &doc! { "l": ["b", "a"], "n": 1_i64, "e": null }).is_empty());
        assert_eq!(differences(&old, &doc! { "l": ["b", "b"], "n": 1_i64 }), ["l", "e"]);
    }
}
