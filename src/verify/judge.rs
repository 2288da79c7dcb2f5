//! One document against what its events make it. Pure.

use bson::{Bson, Document};

use super::compare::differences;
use super::report::FindingKind;

/// What is wrong with a document, if anything is.
pub(super) fn judge(
    collection: &str,
    expected: Option<&Document>,
    actual: Option<&Document>,
) -> Option<(FindingKind, String)> {
    match (expected, actual) {
        (None, None) => None,
        (Some(_), None) => Some((FindingKind::Missing, format!("{collection}: the document does not exist"))),
        (None, Some(_)) => Some((FindingKind::Unexpected, format!("{collection}: no event creates this document"))),
        (Some(expected), Some(actual)) => {
            let found = differences(expected, actual);
            let differs = || (FindingKind::Different, format!("{collection}: {}", found.join(", ")));
            (!found.is_empty()).then(differs)
        }
    }
}

/// What must hold in every activity, whatever its events were.
pub(super) fn miscounted(activity: &Document) -> Option<String> {
    let participants = activity.get_document("participants").ok()?;
    let length = participants.get_array("list").map_or(0, Vec::len);
    let count = participants.get("current_count").and_then(|count| match count {
        Bson::Int32(count) => usize::try_from(*count).ok(),
        Bson::Int64(count) => usize::try_from(*count).ok(),
        _ => None,
    });
    if count == Some(length) {
        return None;
    }
    let count = count.map_or_else(|| "not a number".to_owned(), |count| count.to_string());
    Some(format!("current_count is {count}, but the list has {length} participants"))
}

/// The users that an activity refers to.
pub(super) fn references(activity: &Document) -> impl Iterator<Item = &str> {
    let creator = activity.get_str("creator_id").ok();
    let list = activity.get_document("participants").and_then(|participants| participants.get_array("list"));
    let joined = list.map(Vec::as_slice).unwrap_or_default().iter();
    creator.into_iter().chain(joined.filter_map(|entry| entry.as_document()?.get_str("user_id").ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn a_document_is_missing_unexpected_different_or_fine() {
        let (one, other) = (doc! { "a": 1 }, doc! { "a": 2 });
        let kind = |expected, actual| judge("users", expected, actual).map(|(kind, _)| kind);
        assert_eq!(kind(None, None), None);
        assert_eq!(kind(Some(&one), None), Some(FindingKind::Missing));
        assert_eq!(kind(None, Some(&one)), Some(FindingKind::Unexpected));
        assert_eq!(kind(Some(&one), Some(&other)), Some(FindingKind::Different));
        assert_eq!(kind(Some(&one), Some(&one)), None);
    }

    #[test]
    fn a_count_is_the_length_of_its_list() {
        let activity = |count: i32| doc! { "participants": { "current_count": count, "list": [{ "user_id": "u" }] } };
        assert_eq!(miscounted(&activity(1)), None);
        assert!(miscounted(&activity(2)).is_some());
        assert_eq!(references(&activity(1)).collect::<Vec<_>>(), ["u"]);
    }
}
