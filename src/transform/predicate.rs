//! When a transform is applied.

use super::{Outcome, ValueForm};
use crate::pattern::Pattern;

/// Kafka Connect's predicates.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// The topic matches as a whole.
    TopicNameMatches(Pattern),
    /// The value is null.
    RecordIsTombstone,
    /// There is a header of this name.
    HasHeaderKey(String),
}

/// A predicate that is to hold, or not to.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The predicate.
    pub predicate: Predicate,
    /// It is not to hold.
    pub is_negated: bool,
}

impl Condition {
    /// Whether it holds of a record as it is by then, which had these headers before the first transform.
    pub(super) fn holds(&self, record: &Outcome, headers: &[&str]) -> bool {
        let holds = match &self.predicate {
            Predicate::TopicNameMatches(pattern) => pattern.matches(&record.topic),
            Predicate::RecordIsTombstone => matches!(record.value, ValueForm::NullRow | ValueForm::Tombstone),
            Predicate::HasHeaderKey(name) => {
                let is_own = headers.contains(&name.as_str()) && !record.dropped.contains(name);
                is_own || record.headers.iter().any(|header| header.name() == name)
            }
        };
        holds != self.is_negated
    }
}
