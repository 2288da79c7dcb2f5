//! One dead letter, as far as people and filters need it.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::format::{Cause, LETTER, is_added};
use crate::envelope::POSITION_HEADER;
use crate::envelope::decode::{Column, decode};
use crate::error::ErrorKind;
use crate::mongo::EventOrder;
use crate::process::Event;
use crate::process::order::placed;

/// The name of a letter: its partition and offset in the dead-letter topic, as `0:17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterName {
    /// Partition of the dead-letter topic.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

impl fmt::Display for LetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for LetterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (partition, offset) = text.split_once(':')?;
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        };
        let name = parse().filter(|name| name.partition >= 0 && name.offset >= 0);
        name.ok_or_else(|| format!("`{text}` is no dead letter: give partition:offset as `evp dlq list` shows it"))
    }
}

/// A record of a topic, copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl RawRecord {
    pub(crate) fn name(&self) -> LetterName {
        LetterName { partition: self.partition, offset: self.offset }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(header, _)| *header == name)?.1
    }

    fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The headers of the record that the letter was.
    pub(crate) fn original_headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers().filter(|(name, _)| !is_added(name))
    }

    fn bytes(&self) -> usize {
        let headers = self.headers().map(|(name, value)| name.len().saturating_add(value.map_or(0, <[u8]>::len)));
        let [key, value] = [&self.key, &self.value].map(|part| part.as_ref().map_or(0, Vec::len));
        headers.fold(key.saturating_add(value), usize::saturating_add)
    }
}

/// What a letter tells of its event; ids may be readable where the rest is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LetterEvent {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: Option<String>,
    pub(crate) aggregate_id: Option<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) name: LetterName,
    /// When it was written, in milliseconds since 1970.
    pub(crate) written_ms: Option<i64>,
    pub(crate) cause: Cause,
    /// None if the record names no event.
    pub(crate) event: Option<LetterEvent>,
    /// Where its event stands among all.
    pub(crate) order: EventOrder,
    /// Bytes of key, value and headers.
    pub(crate) bytes: usize,
    /// The letter that its record was published again from.
    pub(crate) again: Option<LetterName>,
}

impl Letter {
    /// Reads a record of the dead-letter topic.
    pub(crate) fn read(record: &RawRecord) -> Self {
        let mut order = EventOrder::Sequence(0);
        let mut event = None;
        if let Some(envelope) = record.value.as_deref().and_then(|value| decode(value).ok())
            && let Some(row) = &envelope.after
        {
            let sequence = row.sequence_id().ok().flatten();
            let placed = placed(record.header(POSITION_HEADER), &envelope.source, sequence.unwrap_or(0));
            let unplaced = EventOrder::Sequence(sequence.or(envelope.source_ts_us).unwrap_or(0));
            order = placed.map_or(unplaced, |placed| placed.order);
            event = Event::id_of(row).ok().map(|event_id| LetterEvent {
                event_id,
                event_type: row.text(Column::EventType).ok().flatten().map(std::borrow::Cow::into_owned),
                aggregate_id: Event::aggregate_id_of(row).ok(),
            });
        }
        let again = record.header(LETTER).and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        Self {
            name: record.name(),
            written_ms: record.timestamp_ms,
            cause: Cause::read(record.headers()),
            event,
            order,
            bytes: record.bytes(),
            again,
        }
    }

    /// Whether it only points to a row that the topic did not take.
    pub(crate) fn is_pointer(&self) -> bool {
        self.cause.offset.is_none() && self.cause.kind == ErrorKind::Refused.name()
    }

    pub(crate) fn event_id(&self) -> Option<Uuid> {
        self.event.as_ref().map(|event| event.event_id)
    }

    pub(crate) fn event_type(&self) -> Option<&str> {
        self.event.as_ref()?.event_type.as_deref()
    }

    pub(crate) fn aggregate_id(&self) -> Option<&str> {
        self.event.as_ref()?.aggregate_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::CommitOrder;

    #[test]
    fn a_letter_is_named_by_partition_and_offset() {
        let name = LetterName { partition: 2, offset: 17 };
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in ["", "17", "2:", "-1:3", "2:-1", "a:b", "1:2:3"] {
            assert!(LetterName::from_str(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_and_place_are_read_even_if_the_payload_is_not() {
        let value = r#"{"op":"c","after":{"event_id":"fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e","event_type":"UserCreated","payload":7}}"#;
        let record = RawRecord {
            value: Some(value.as_bytes().to_vec()),
            headers: vec![(POSITION_HEADER.to_owned(), Some(b"7:500:3".to_vec()))],
            ..RawRecord::default()
        };
        let letter = Letter::read(&record);
        assert_eq!((letter.event_type(), letter.aggregate_id()), (Some("UserCreated"), None));
        let order = CommitOrder { epoch: 0, commit: 500, within: 3, sequence: 0 };
        assert_eq!(letter.order, EventOrder::Commit(order));
        let nameless = Letter::read(&RawRecord { value: Some(b"not json".to_vec()), ..RawRecord::default() });
        assert_eq!((nameless.event, nameless.order), (None, EventOrder::Sequence(0)));
    }

    #[test]
    fn only_the_headers_of_a_letter_are_taken_off() {
        let header = |name: &str| (name.to_owned(), Some(b"x".to_vec()));
        let names = ["trace", "__connect.errors.topic", "evp.position", "evp.handler", "trace", LETTER];
        let record = RawRecord { headers: names.map(header).into(), ..RawRecord::default() };
        let left: Vec<_> = record.original_headers().map(|(name, _)| name).collect();
        assert_eq!(left, ["trace", "evp.position", "trace"]);
    }
}
