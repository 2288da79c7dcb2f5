//! A record as it goes to Kafka, whole: topic, key, value and headers.

use std::sync::Arc;

use super::{POSITION_HEADER, Position};
use crate::row::Operation;

/// One record, borrowed from the buffers that it was written into.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key, or none where the table has no key.
    pub key: Option<&'a [u8]>,
    /// Value, or none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: Headers<'a>,
    /// What happened, if the record tells of a change.
    pub operation: Option<Operation>,
    /// Its place in the stream, if it has one.
    pub position: Option<Position>,
    /// The partition, where it is not that of the key.
    pub partition: Option<i32>,
    /// Milliseconds since 1970, where they are not the producer's clock.
    pub timestamp_ms: Option<i64>,
}

/// The headers of a record, in the order in which they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// The other key of a key change.
    pub key_change: Option<KeyChange<'a>>,
    /// What Debezium writes with each row.
    pub context: Option<&'a ContextHeaders>,
    /// The text of the record's [`Position`].
    pub position: Option<&'a [u8]>,
    /// Others; a header's value can be null.
    pub others: &'a [(&'a str, Option<&'a [u8]>)],
    /// The same, of all records of a kind alike.
    pub fixed: &'a [(String, Option<Vec<u8>>)],
    /// Names of Debezium's headers that are left out.
    pub dropped: &'a [String],
}

impl<'a> Headers<'a> {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let key_change = self.key_change.map(KeyChange::name_and_value);
        let context = self.context.into_iter().flat_map(ContextHeaders::iter);
        let position = self.position.map(|position| (POSITION_HEADER, position));
        let dropped = self.dropped;
        let is_kept = move |(name, _): &(&str, &[u8])| !dropped.iter().any(|dropped| dropped == name);
        let own = key_change.into_iter().chain(context).filter(is_kept).chain(position);
        let fixed = self.fixed.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        own.map(|(name, value)| (name, Some(value))).chain(self.others.iter().copied()).chain(fixed)
    }
}

/// The header that links the two records of a key change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange<'a> {
    /// `__debezium.newkey`, on the delete of the old key.
    NewKey(&'a [u8]),
    /// `__debezium.oldkey`, on the create of the new key.
    OldKey(&'a [u8]),
}

impl<'a> KeyChange<'a> {
    fn name_and_value(self) -> (&'static str, &'a [u8]) {
        match self {
            Self::NewKey(key) => ("__debezium.newkey", key),
            Self::OldKey(key) => ("__debezium.oldkey", key),
        }
    }
}

/// Debezium's context headers, which all rows of a run have; cloning shares them.
#[derive(Debug, Clone)]
pub struct ContextHeaders(Arc<[(&'static str, String); 4]>);

impl ContextHeaders {
    /// Their names, in order.
    pub const NAMES: [&'static str; 4] = [
        "__debezium.context.connectorLogicalName",
        "__debezium.context.taskId",
        "__debezium.context.connectorName",
        "__debezium.context.runId",
    ];

    /// `run_id` tells restarts apart.
    pub fn new(topic_prefix: &str, run_id: &str) -> Self {
        let [logical_name, task, name, run] = Self::NAMES;
        Self(Arc::new([
            (logical_name, topic_prefix.to_owned()),
            (task, "0".to_owned()),
            (name, "postgresql".to_owned()),
            (run, run_id.to_owned()),
        ]))
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (*name, value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_in_one_order() {
        let context = ContextHeaders::new("p", "run");
        let headers = Headers {
            key_change: Some(KeyChange::NewKey(b"k")),
            context: Some(&context),
            position: Some(b"1"),
            others: &[("other", Some(b"o")), ("none", None)],
            ..Headers::default()
        };
        let written: Vec<_> = headers.iter().collect();
        assert_eq!(written.first(), Some(&("__debezium.newkey", Some(&b"k"[..]))));
        assert_eq!(written.get(1..5).map(|context| context[3]), Some(("__debezium.context.runId", Some(&b"run"[..]))));
        let last = [("evp.position", Some(&b"1"[..])), ("other", Some(b"o")), ("none", None)];
        assert_eq!(written.get(5..), Some(&last[..]));
        assert_eq!(Headers::default().iter().count(), 0);
        let dropped = ["__debezium.newkey".to_owned(), ContextHeaders::NAMES[0].to_owned(), POSITION_HEADER.to_owned()];
        let fixed = [("last".to_owned(), Some(b"l".to_vec()))];
        let headers = Headers { dropped: &dropped, fixed: &fixed, ..headers };
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!((names.len(), names.first(), names.last()), (7, Some(&ContextHeaders::NAMES[1]), Some(&"last")));
    }
}
