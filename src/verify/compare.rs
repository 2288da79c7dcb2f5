//! Where two documents differ, path by path.

use bson::{Bson, Document};

/// Bookkeeping of evp, which the outbox says nothing about.
const IGNORED_ROOT: &str = "_evp";
/// Lists whose order means nothing.
const SETS: [&str; 2] = ["allowed_users", "participants.list"];
/// Differences that are told of one document.
const DIFFERENCES_MAX: usize = 8;

/// The paths that differ; values are not shown, because they may be personal.
pub(super) fn differences(expected: &Document, actual: &Document) -> Vec<String> {
    let mut found = Vec::new();
    compare_documents("", expected, actual, &mut found);
    found.truncate(DIFFERENCES_MAX);
    found
}

fn compare_documents(parent: &str, expected: &Document, actual: &Document, found: &mut Vec<String>) {
    for (name, value) in expected {
        let path = joined(parent, name);
        match actual.get(name) {
            Some(other) => compare_values(&path, value, other, found),
            None => found.push(format!("`{path}` is missing")),
        }
    }
    for name in actual.keys().filter(|name| !expected.contains_key(name.as_str())) {
        if !(parent.is_empty() && name == IGNORED_ROOT) {
            found.push(format!("`{}` is not expected", joined(parent, name)));
        }
    }
}

fn compare_values(path: &str, expected: &Bson, actual: &Bson, found: &mut Vec<String>) {
    match (expected, actual) {
        (Bson::Document(expected), Bson::Document(actual)) => compare_documents(path, expected, actual, found),
        (Bson::Array(expected), Bson::Array(actual)) if SETS.contains(&path) => {
            if sorted(expected) != sorted(actual) {
                found.push(format!(
                    "`{path}` holds {} entries, some not the {} expected",
                    actual.len(),
                    expected.len()
                ));
            }
        }
        _ if same_number(expected, actual) => {}
        _ if expected == actual => {}
        _ => found.push(format!("`{path}` differs")),
    }
}

/// Numbers are equal across BSON's integer types: which of them is stored carries no meaning here.
fn same_number(expected: &Bson, actual: &Bson) -> bool {
    let integer = |value: &Bson| match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    };
    integer(expected).is_some_and(|number| integer(actual) == Some(number))
}

fn sorted(list: &[Bson]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(|value| value.to_string()).collect();
    texts.sort_unstable();
    texts
}

fn joined(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn equal_documents_may_differ_in_bookkeeping_integer_types_and_the_order_of_sets() {
        let expected = doc! { "a": { "n": 1_i64 }, "allowed_users": ["x", "y"], "e": null };
        let actual = doc! { "e": null, "a": { "n": 1_i32 }, "allowed_users": ["y", "x"], "_evp": { "n": 2 } };
        assert_eq!(differences(&expected, &actual), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_named_by_its_path() {
        let expected = doc! { "a": { "n": 1, "m": null }, "allowed_users": ["x"], "l": [1, 2] };
        let actual = doc! { "a": { "n": 2, "_evp": 1 }, "allowed_users": ["y"], "l": [2, 1] };
        let found = differences(&expected, &actual);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(
            found.contains(&"`a.m` is missing".to_owned()) && found.contains(&"`l` differs".to_owned()),
            "{found:?}"
        );
        assert!(found.contains(&"`a._evp` is not expected".to_owned()), "{found:?}");
    }

    #[test]
    fn an_absent_field_is_not_null() {
        assert_eq!(differences(&doc! { "a": null }, &doc! {}), ["`a` is missing"]);
    }
}
