//! Debezium's `Filter`: records of which its condition does not hold are dropped.

use std::sync::Arc;

use super::ValueForm;
use super::groovy::Expression;
use crate::pattern::Pattern;

/// The transform.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What is to hold.
    pub condition: Expression,
    /// What becomes of records without a value.
    pub nulls: NullHandling,
    /// Records of other topics pass by.
    pub topics: Option<Pattern>,
}

/// `null.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullHandling {
    /// They pass by.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
    /// They are judged like the others.
    Evaluate,
}

impl NullHandling {
    /// From Debezium's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "keep" => Some(Self::Keep),
            "drop" => Some(Self::Drop),
            "evaluate" => Some(Self::Evaluate),
            _ => None,
        }
    }
}

/// A filter that a record has to pass, and what it is by then.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The filter.
    pub filter: Arc<Filter>,
    /// The record's value.
    pub value: ValueForm,
    /// Its topic.
    pub topic: String,
}

/// Two are the same if one filter stands at one place.
impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.filter, &other.filter) && self.value == other.value && self.topic == other.topic
    }
}

impl Eq for Guard {}

/// What a filter does with a kind of record before its rows come.
pub(super) enum Judged {
    Passes,
    Dropped,
    /// Its rows decide.
    Guarded(Guard),
}

impl Filter {
    pub(super) fn judge(self: &Arc<Self>, topic: &str, value: &ValueForm) -> Judged {
        if self.topics.as_ref().is_some_and(|topics| !topics.matches(topic)) {
            return Judged::Passes;
        }
        match (value, self.nulls) {
            (ValueForm::NullRow | ValueForm::Tombstone, NullHandling::Keep) => Judged::Passes,
            (ValueForm::NullRow | ValueForm::Tombstone, NullHandling::Drop) => Judged::Dropped,
            _ => Judged::Guarded(Guard { filter: Arc::clone(self), value: value.clone(), topic: topic.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RecordKind, Step, Transform, Transforms};
    use super::*;

    fn guards(nulls: NullHandling, topics: Option<&str>, kind: RecordKind) -> Option<usize> {
        let condition = Expression::parse("value.op == 'u'").unwrap();
        let topics = topics.map(|topics| Pattern::whole(topics).unwrap());
        let transform = Transform::Filter(Arc::new(Filter { condition, nulls, topics }));
        let transforms = Transforms::new(vec![Step { transform, condition: None }]);
        transforms.outcome("p.s.t", kind).map(|outcome| outcome.guards.len())
    }

    #[test]
    fn records_are_guarded_and_tombstones_follow_the_mode() {
        use NullHandling::{Drop, Evaluate, Keep};
        assert_eq!(guards(Keep, None, RecordKind::Row), Some(1));
        assert_eq!(guards(Keep, None, RecordKind::Tombstone), Some(0));
        assert_eq!(guards(Drop, None, RecordKind::Tombstone), None);
        assert_eq!(guards(Evaluate, None, RecordKind::Tombstone), Some(1));
        assert_eq!(guards(Drop, Some("other"), RecordKind::Tombstone), Some(0));
    }
}
