//! Reads the collections once and holds each document against its expectation.

use std::collections::{HashMap, HashSet};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::compare::differences;
use super::fold::Fold;
use super::report::{CollectionCount, FindingKind, VerifyReport};
use crate::error::Result;
use crate::mongo::client_error;

/// Compares `users`, `activities` and `statistics`.
pub(super) async fn compare(database: &Database, mut fold: Fold, report: &mut VerifyReport) -> Result<()> {
    let expected_users: HashSet<String> = fold.users.keys().cloned().collect();
    let mut users = HashSet::new();
    let expected = std::mem::take(&mut fold.users);
    compare_collection(database, "users", expected, &fold, report, |id, _, _| {
        users.insert(id.to_owned());
    })
    .await?;
    let expected = std::mem::take(&mut fold.activities);
    compare_collection(database, "activities", expected, &fold, report, |id, activity, report| {
        check_activity(id, activity, report);
        for user in references(activity) {
            if !users.contains(user) && expected_users.contains(user) {
                report.add(FindingKind::Reference, id, format!("refers to user {user}, which does not exist"));
            }
        }
    })
    .await?;
    compare_statistics(database, &fold, report).await
}

async fn compare_collection(
    database: &Database,
    collection: &'static str,
    mut expected: HashMap<String, Document>,
    fold: &Fold,
    report: &mut VerifyReport,
    mut see: impl FnMut(&str, &Document, &mut VerifyReport),
) -> Result<()> {
    let failed = |error| client_error("reading the read models", database.name(), error);
    let mut count = CollectionCount { expected: expected.len(), ..CollectionCount::default() };
    let mut documents = database
        .collection::<Document>(collection)
        .find(doc! {})
        .projection(doc! { "_evp": 0 })
        .await
        .map_err(failed)?;
    while let Some(document) = documents.try_next().await.map_err(failed)? {
        count.actual = count.actual.saturating_add(1);
        let Some(id) = document.get("_id").and_then(Bson::as_str) else {
            report.add(FindingKind::Unexpected, collection, "a document's _id is not a text".to_owned());
            continue;
        };
        see(id, &document, report);
        match expected.remove(id) {
            _ if fold.uncertain.contains(id) => count.not_compared = count.not_compared.saturating_add(1),
            Some(wanted) => {
                let found = differences(&wanted, &document);
                if !found.is_empty() {
                    report.add(FindingKind::Different, id, format!("{collection}: {}", found.join(", ")));
                }
            }
            None => report.add(FindingKind::Unexpected, id, format!("{collection}: no event creates this document")),
        }
    }
    for id in expected.keys().filter(|id| !fold.uncertain.contains(*id)) {
        report.add(FindingKind::Missing, id, format!("{collection}: the document does not exist"));
    }
    report.collections.insert(collection, count);
    Ok(())
}

/// What must hold in every activity, whatever its events were.
fn check_activity(id: &str, activity: &Document, report: &mut VerifyReport) {
    let Ok(participants) = activity.get_document("participants") else { return };
    let length = participants.get_array("list").map_or(0, Vec::len);
    let count = participants.get("current_count").and_then(|count| match count {
        Bson::Int32(count) => usize::try_from(*count).ok(),
        Bson::Int64(count) => usize::try_from(*count).ok(),
        _ => None,
    });
    if count != Some(length) {
        let count = count.map_or_else(|| "not a number".to_owned(), |count| count.to_string());
        report.add(FindingKind::Count, id, format!("current_count is {count}, but the list has {length} participants"));
    }
}

fn references(activity: &Document) -> impl Iterator<Item = &str> {
    let creator = activity.get_str("creator_id").ok();
    let list = activity.get_document("participants").and_then(|participants| participants.get_array("list"));
    let joined = list.map(Vec::as_slice).unwrap_or_default().iter();
    creator.into_iter().chain(joined.filter_map(|entry| entry.as_document()?.get_str("user_id").ok()))
}

async fn compare_statistics(database: &Database, fold: &Fold, report: &mut VerifyReport) -> Result<()> {
    let statistics = database
        .collection::<Document>("statistics")
        .find_one(doc! { "_id": "global_stats" })
        .await
        .map_err(|error| client_error("reading the read models", database.name(), error))?
        .unwrap_or_default();
    let total = match statistics.get("total_users") {
        Some(Bson::Int32(total)) => i64::from(*total),
        Some(Bson::Int64(total)) => *total,
        _ => 0,
    };
    let highest = fold.total_users.saturating_add(fold.total_users_uncertain);
    report.total_users = (fold.total_users, total);
    if !(fold.total_users..=highest).contains(&total) {
        let message = format!("total_users is {total}, but {} users were created", fold.total_users);
        report.add(FindingKind::Count, "global_stats", message);
    }
    let last_updated = statistics.get_datetime("last_updated").ok().copied();
    if fold.total_users_uncertain == 0 && last_updated != fold.last_updated {
        let message = "last_updated is not the date of the last created user".to_owned();
        report.add(FindingKind::Different, "global_stats", message);
    }
    Ok(())
}
