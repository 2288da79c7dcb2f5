//! What is true of all aggregates together: the counter of users, and that users who are referred to exist.

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::fold::Fold;
use super::history::Event;
use super::report::{FindingKind, VerifyReport};
use crate::error::Result;
use crate::mongo::client_error;

/// Missing users whose references are looked for.
const MISSING_USERS_MAX: usize = 1_000;

/// Sums over the aggregates.
#[derive(Debug, Default)]
pub(super) struct Totals {
    created: i64,
    last_created: Option<DateTime>,
    /// New users of which it is not known whether they were counted, as one handler can refuse what another has applied.
    pub(super) uncertain: i64,
    /// Users whose creation is no longer known.
    pub(super) gone: i64,
    missing_users: Vec<String>,
}

impl Totals {
    /// Adds what an aggregate counts.
    pub(super) fn add(&mut self, fold: &Fold) {
        self.created = self.created.saturating_add(fold.created_users);
        self.last_created = self.last_created.max(fold.last_created);
    }

    /// Notes an event that is a dead letter.
    pub(super) fn set_aside(&mut self, event: &Event) {
        // What cannot be read may be one.
        let may_count = event.event_type().is_none_or(|kind| kind == "UserCreated");
        self.uncertain = self.uncertain.saturating_add(i64::from(may_count));
    }

    /// Notes a user who should exist.
    pub(super) fn miss(&mut self, id: &str) {
        if self.missing_users.len() < MISSING_USERS_MAX {
            self.missing_users.push(id.to_owned());
        }
    }

    /// Compares the counter, and looks for references to users who are missing.
    pub(super) async fn compare(&self, database: &Database, report: &mut VerifyReport) -> Result<()> {
        let failed = |error| client_error("reading the read models", database.name(), error);
        let statistics = database.collection::<Document>("statistics");
        let found = statistics.find_one(doc! { "_id": "global_stats" }).await.map_err(failed)?;
        self.compare_counter(&found.unwrap_or_default(), report);
        if self.missing_users.is_empty() {
            return Ok(());
        }
        let missing = doc! { "$in": &self.missing_users };
        let filter = doc! { "$or": [{ "creator_id": &missing }, { "participants.list.user_id": &missing }] };
        let fields = doc! { "creator_id": 1, "participants.list.user_id": 1 };
        let activities = database.collection::<Document>("activities");
        let mut activities = activities.find(filter).projection(fields).await.map_err(failed)?;
        while let Some(activity) = activities.try_next().await.map_err(failed)? {
            let id = activity.get_str("_id").unwrap_or_default();
            for user in references(&activity).filter(|user| self.missing_users.iter().any(|missing| missing == user)) {
                report.add(FindingKind::Reference, id, format!("refers to user {user}, which does not exist"));
            }
        }
        Ok(())
    }

    fn compare_counter(&self, statistics: &Document, report: &mut VerifyReport) {
        let total = match statistics.get("total_users") {
            Some(Bson::Int32(total)) => i64::from(*total),
            Some(Bson::Int64(total)) => *total,
            _ => 0,
        };
        let unknown = self.uncertain.saturating_add(self.gone);
        report.total_users = (self.created, total);
        if !(self.created..=self.created.saturating_add(unknown)).contains(&total) {
            let message = format!("total_users is {total}, but {} users were created", self.created);
            report.add(FindingKind::Count, "global_stats", message);
        }
        let last_updated = statistics.get_datetime("last_updated").ok().copied();
        let is_wrong = if unknown == 0 { last_updated != self.last_created } else { last_updated < self.last_created };
        if is_wrong {
            let message = "last_updated is not the date of the last created user".to_owned();
            report.add(FindingKind::Different, "global_stats", message);
        }
    }
}

fn references(activity: &Document) -> impl Iterator<Item = &str> {
    let creator = activity.get_str("creator_id").ok();
    let list = activity.get_document("participants").and_then(|participants| participants.get_array("list"));
    let joined = list.map(Vec::as_slice).unwrap_or_default().iter();
    creator.into_iter().chain(joined.filter_map(|entry| entry.as_document()?.get_str("user_id").ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_may_count_what_is_not_known_and_no_more() {
        let date = DateTime::from_millis(5);
        let is_clean = |(uncertain, gone): (i64, i64), total: i64| {
            let totals = Totals { created: 3, last_created: Some(date), uncertain, gone, missing_users: Vec::new() };
            let mut report = VerifyReport::default();
            totals.compare_counter(&doc! { "total_users": total, "last_updated": date }, &mut report);
            report.is_clean()
        };
        assert!(is_clean((0, 0), 3) && !is_clean((0, 0), 4) && !is_clean((0, 0), 2));
        assert!(is_clean((1, 1), 3) && is_clean((1, 1), 5) && !is_clean((1, 1), 6) && !is_clean((1, 1), 2));
    }

    #[test]
    fn an_activity_refers_to_its_creator_and_its_participants() {
        let activity = doc! { "creator_id": "c", "participants": { "list": [{ "user_id": "u" }, {}] } };
        assert_eq!(references(&activity).collect::<Vec<_>>(), ["c", "u"]);
    }
}
