//! All rows and all documents side by side, both in the order of their ids, in the memory of one aggregate.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Database;
use tokio_postgres::Client;

use super::dead_letters::DeadLetters;
use super::documents::{Documents, by_ids, id_of};
use super::fold::Fold;
use super::judge::{judge, miscounted, references};
use super::report::{FindingKind, VerifyReport};
use super::rows::{Rows, uuids};
use crate::config::PostgresConfig;
use crate::error::Result;
use crate::postgres::sql::query_error;

/// Collections whose documents are those of aggregates.
pub(super) const COLLECTIONS: [&str; 2] = ["users", "activities"];
/// References are looked up so many at a time.
const REFERENCES_MAX: usize = 5_000;
/// As many aggregates may have a second look; of more, what the rows say is reported.
const SUSPECTS_MAX: usize = 500_000;
/// Between two words about how far it is.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// What the rows and documents say, but for the aggregates that need a second look.
#[derive(Debug, Default)]
pub(super) struct FirstLook {
    /// Aggregates that do not agree with their rows in the order of `sequence_id`.
    pub(super) suspects: HashSet<String>,
    /// Findings that have no second look any more.
    pub(super) unsifted: u64,
    pub(super) total_users: i64,
    /// New users among the dead letters: another handler of the same event may have counted them.
    pub(super) total_users_uncertain: i64,
    pub(super) last_updated: Option<bson::DateTime>,
}

/// Goes through both sides once.
pub(super) async fn look(
    (client, config): (&Client, &PostgresConfig),
    database: &Database,
    dead_letters: &DeadLetters,
    report: &mut VerifyReport,
) -> Result<FirstLook> {
    let [users, activities] = COLLECTIONS;
    let mut documents = [Documents::open(database, users).await?, Documents::open(database, activities).await?];
    let mut rows = Rows::open(client, config).await?;
    let (mut found, mut references, mut told) = (FirstLook::default(), Vec::new(), Instant::now());
    while let Some(entries) = rows.next_aggregate().await? {
        let Some(id) = entries.first().map(|entry| entry.aggregate_id.clone()) else { continue };
        let mut fold = Fold::default();
        for entry in entries {
            report.outbox_events = report.outbox_events.saturating_add(1);
            if dead_letters.event_ids.contains(&entry.event_id) {
                fold.set_aside(&entry);
                report.add(FindingKind::DeadLetter, entry.event_id, format!("{} is a dead letter", entry.event_type));
            } else {
                fold.apply(entry);
            }
        }
        found.count(&fold);
        report.unknown_events = report.unknown_events.saturating_add(fold.unknown_events);
        let lost = fold.take_inapplicable();
        if let Some((event_id, reason)) = lost.first() {
            found.suspect(&id, (FindingKind::LostEvent, format!("event {event_id}: {reason}")), report);
        }
        let is_uncertain = fold.uncertain.contains(&id);
        let expected = [fold.users.remove(&id), fold.activities.remove(&id)];
        for ((collection, documents), expected) in COLLECTIONS.into_iter().zip(&mut documents).zip(expected) {
            let passed = |document| pass(collection, &document, &mut found, &mut references, report);
            let actual = documents.at(&id, passed).await?;
            actual.iter().for_each(|actual| see(collection, actual, &mut references, report));
            let count = report.collections.entry(collection).or_default();
            count.expected = count.expected.saturating_add(usize::from(expected.is_some()));
            if is_uncertain {
                count.not_compared =
                    count.not_compared.saturating_add(usize::from(lost.is_empty() && actual.is_some()));
            } else if lost.is_empty()
                && let Some(finding) = judge(collection, expected.as_ref(), actual.as_ref())
            {
                found.suspect(&id, finding, report);
            }
        }
        if references.len() >= REFERENCES_MAX {
            check_references((client, config), database, &mut references, report).await?;
        }
        if told.elapsed() >= TOLD_INTERVAL {
            told = Instant::now();
            tracing::info!(event = "verify_progress", rows = report.outbox_events, "comparing");
        }
    }
    for (collection, mut documents) in COLLECTIONS.into_iter().zip(documents) {
        let passed = |document| pass(collection, &document, &mut found, &mut references, report);
        documents.rest(passed).await?;
        report.collections.entry(collection).or_default().actual = documents.count;
    }
    check_references((client, config), database, &mut references, report).await?;
    Ok(found)
}

impl FirstLook {
    /// An aggregate to look at again; the finding stands as it is if there are too many.
    fn suspect(&mut self, id: &str, (kind, detail): (FindingKind, String), report: &mut VerifyReport) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.insert(id.to_owned());
        } else if !self.suspects.contains(id) {
            self.unsifted = self.unsifted.saturating_add(1);
            report.add(kind, id, detail);
        }
    }

    fn count(&mut self, fold: &Fold) {
        self.total_users = self.total_users.saturating_add(fold.total_users);
        self.total_users_uncertain = self.total_users_uncertain.saturating_add(fold.total_users_uncertain);
        self.last_updated = self.last_updated.max(fold.last_updated);
    }
}

/// A document without rows.
fn pass(
    collection: &'static str,
    document: &Document,
    found: &mut FirstLook,
    references: &mut Vec<(String, String)>,
    report: &mut VerifyReport,
) {
    see(collection, document, references, report);
    match id_of(document) {
        Some(id) => {
            let detail = format!("{collection}: no row creates this document");
            found.suspect(id, (FindingKind::Unexpected, detail), report);
        }
        None => report.add(FindingKind::Unexpected, collection, "a document's _id is not a text".to_owned()),
    }
}

/// What is said of a document whatever its events are.
fn see(collection: &str, document: &Document, references_of: &mut Vec<(String, String)>, report: &mut VerifyReport) {
    if collection != "activities" {
        return;
    }
    let id = id_of(document).unwrap_or_default();
    if let Some(problem) = miscounted(document) {
        report.add(FindingKind::Count, id, problem);
    }
    references_of.extend(references(document).map(|user| (id.to_owned(), user.to_owned())));
}

/// Users that an activity refers to and that the outbox creates have to exist.
async fn check_references(
    (client, config): (&Client, &PostgresConfig),
    database: &Database,
    references: &mut Vec<(String, String)>,
    report: &mut VerifyReport,
) -> Result<()> {
    let users: HashSet<&String> = references.iter().map(|(_, user)| user).collect();
    let users: Vec<String> = users.into_iter().cloned().collect();
    let mut missing = users.clone();
    for users in users.chunks(REFERENCES_MAX) {
        let there = by_ids(database, "users", users, doc! { "_id": 1 }).await?;
        missing.retain(|user| !there.contains_key(user));
    }
    if !missing.is_empty() {
        let statement = "SELECT DISTINCT aggregate_id::text FROM activity.event_outbox \
                         WHERE event_type::text = 'UserCreated' AND aggregate_id = ANY($1)";
        let rows = client.query(statement, &[&uuids(&missing)]).await;
        let rows = rows.map_err(|error| query_error("reading the outbox", config, error))?;
        let created: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
        for (activity, user) in references.iter().filter(|(_, user)| created.contains(user)) {
            report.add(FindingKind::Reference, activity, format!("refers to user {user}, which does not exist"));
        }
    }
    references.clear();
    Ok(())
}
