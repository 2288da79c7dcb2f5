//! The record that told of an event, for handlers that ask for more than its facts.

use std::fmt;
use std::sync::Arc;

use crate::envelope::{POSITION_HEADER, Position};
use crate::kafka::chunk::Chunk;
use crate::row::Operation;

/// Where an event was read, and what stands beside it.
#[derive(Clone)]
pub struct EventContext {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    operation: Operation,
    headers: Headers,
}

#[derive(Clone)]
enum Headers {
    /// Those of the record at this place of the chunk, which are not copied.
    OfRecord(Arc<Chunk>, usize),
    Given(Vec<(String, Vec<u8>)>),
}

impl Default for EventContext {
    /// That of a sample: an insert at the beginning of no topic.
    fn default() -> Self {
        let headers = Headers::Given(Vec::new());
        Self { topic: Arc::default(), partition: 0, offset: 0, operation: Operation::Create, headers }
    }
}

impl EventContext {
    pub(super) fn new(topic: Arc<str>, operation: Operation, chunk: Arc<Chunk>, index: usize) -> Self {
        let (partition, offset) = chunk.record(index).map_or((0, 0), |record| (record.partition(), record.offset()));
        Self { topic, partition, offset, operation, headers: Headers::OfRecord(chunk, index) }
    }

    pub(super) fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        let mut given: Vec<_> = self.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        given.push((name.to_owned(), value.to_vec()));
        self.headers = Headers::Given(given);
        self
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset in the partition. Dead letters that are published again, and updates of a row, have one of their own.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// What happened to the outbox's row.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The headers that have a value, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let (record, given) = match &self.headers {
            Headers::OfRecord(chunk, index) => (chunk.record(*index), None),
            Headers::Given(given) => (None, Some(given)),
        };
        let of_record = record.into_iter().flat_map(|record| record.headers_with_values());
        of_record.chain(given.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_slice())))
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// System, commit and place in the transaction, of a record that evp wrote.
    pub fn position(&self) -> Option<Position> {
        std::str::from_utf8(self.header(POSITION_HEADER)?).ok()?.parse().ok()
    }
}

impl PartialEq for EventContext {
    fn eq(&self, other: &Self) -> bool {
        let place = |context: &Self| (context.partition, context.offset, context.operation);
        self.topic == other.topic && place(self) == place(other) && self.headers().eq(other.headers())
    }
}

impl fmt::Debug for EventContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, operation, .. } = self;
        write!(f, "{operation:?} at {topic}[{partition}]@{offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_with_its_place() {
        let chunk = Arc::new(Chunk::of(&[(2, 7, b"first"), (2, 8, b"second")]));
        let context = EventContext::new("orders".into(), Operation::Update, chunk, 1);
        assert_eq!(format!("{context:?}"), "Update at orders[2]@8");
        assert_eq!((context.topic(), context.partition(), context.offset()), ("orders", 2, 8));
        assert_eq!((context.headers().count(), context.position()), (0, None));
    }

    #[test]
    fn headers_are_found_by_name() {
        let context =
            EventContext::default().with_header("traceparent", b"00-1").with_header(POSITION_HEADER, b"7:26:0");
        assert_eq!(context.header("traceparent"), Some(&b"00-1"[..]));
        assert_eq!(context.header("absent"), None);
        assert!(context.position().is_some());
    }
}
