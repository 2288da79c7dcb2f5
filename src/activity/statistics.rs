//! `statistics`: counters over all aggregates.

use crate::error::Result;
use crate::mongo::{CollectionSpec, WriteModel};
use crate::process::{AfterFailure, Event, Handler};

pub(crate) const STATISTICS: &str = "statistics";
pub(crate) const GLOBAL: &str = "global_stats";

/// Counts the users that were ever created.
pub(super) struct UserCount;

impl Handler for UserCount {
    fn name(&self) -> &str {
        "user_count"
    }

    fn event_type(&self) -> &str {
        "UserCreated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let change = WriteModel::upsert(STATISTICS, GLOBAL);
        Ok(vec![change.increment("total_users", 1).latest("last_updated", event.created_at).into()])
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        vec![CollectionSpec::new(STATISTICS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::DateTime;

    #[test]
    fn each_new_user_counts_one() {
        let expected = WriteModel::upsert("statistics", "global_stats")
            .increment("total_users", 1)
            .latest("last_updated", DateTime::from_millis(1_000));
        let models = UserCount.handle(&Event::sample("UserCreated", serde_json::json!({}))).unwrap();
        assert_eq!(models, [WriteModel::from(expected)]);
    }
}
