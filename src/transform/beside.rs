//! What transforms make of records that are of no table: heartbeats, transactions and logical messages.

use super::{AddedHeader, FieldEdit, KeyEdit, Outcome, RecordKind, RowForm, Transforms, ValueForm};

/// What becomes of records that are of no table.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Their topic.
    pub topic: String,
    /// What is done to the fields of their values.
    pub edits: Vec<FieldEdit>,
    /// What is done to their keys.
    pub keys: Vec<KeyEdit>,
    /// Headers that they have, with their texts.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<String> for Beside {
    /// Nothing but a topic.
    fn from(topic: String) -> Self {
        Self { topic, ..Self::default() }
    }
}

impl Transforms {
    /// The topic of records that are no table's, which have no headers and nothing to take out.
    pub fn topic_of_others(&self, topic: &str) -> String {
        self.outcome_of_others(topic).map_or_else(|| topic.to_owned(), |outcome| outcome.topic)
    }

    /// The same with what is done to their values; they are written as they are where a transform drops them.
    pub fn beside_tables(&self, topic: &str) -> Beside {
        match self.outcome_of_others(topic) {
            Some(Outcome { topic, edits, keys, headers, .. }) => {
                let literal = |header| match header {
                    AddedHeader::Literal(name, text) => Some((name, text.map(String::into_bytes))),
                    _ => None,
                };
                Beside { topic, edits, keys, headers: headers.into_iter().filter_map(literal).collect() }
            }
            None => topic.to_owned().into(),
        }
    }

    /// Whether records of a topic that is no table's lack what a transform asks for.
    pub fn misfits_others(&self, topic: &str) -> bool {
        self.outcome_of_others(topic).is_some_and(|outcome| {
            let takes_fields = outcome.headers.iter().any(|header| matches!(header, AddedHeader::OfRecord(_)));
            takes_fields || !outcome.keys.iter().all(KeyEdit::fits_all_keys)
        })
    }

    fn outcome_of_others(&self, topic: &str) -> Option<Outcome> {
        let value = ValueForm::Row(RowForm::default());
        self.apply(Outcome::new(topic.to_owned(), value), RecordKind::Row, &[], &mut Vec::new())
    }
}
