//! What a record of the topic tells of an event, and its form in a temporary file.

use std::collections::HashMap;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use uuid::Uuid;

use super::spill::Key;
use crate::envelope::decode::decode;
use crate::error::{Error, Result};
use crate::mongo::EventOrder;
use crate::process::Event;
use crate::process::order::placed;
use crate::row::Operation;

/// What a row or a record says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) event_type: String,
    pub(super) created_at_ms: i64,
    /// A JSON object, as text.
    pub(super) payload: String,
}

/// Content, or why it cannot be read.
pub(super) type Said = std::result::Result<Content, String>;

/// How a record tells of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// The row was inserted: this is the event's place.
    Insert,
    /// A dead letter that was published again; it has the place of the first record.
    Republished,
    /// The row was updated later.
    Update,
    /// A snapshot has read the row. Whether that is an event is for the options of `process` to say.
    Snapshot,
}

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) aggregate_id: Uuid,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) event_id: Uuid,
    pub(super) telling: Telling,
    pub(super) order: EventOrder,
    pub(super) said: Said,
}

/// The clusters that events come from; each has positions of its own.
#[derive(Debug, Default)]
pub(super) struct Systems {
    known: Vec<u64>,
    last: HashMap<i32, usize>,
}

impl Systems {
    /// In the order in which they were met.
    pub(super) fn new(known: Vec<u64>) -> Self {
        Self { known, last: HashMap::new() }
    }

    /// The place of a cluster. A record that names none is taken to be of the one before it in its partition.
    fn epoch(&mut self, partition: i32, system: Option<u64>) -> u16 {
        let place = match system {
            None => self.last.get(&partition).copied().unwrap_or(0),
            Some(system) => self.known.iter().position(|known| *known == system).unwrap_or_else(|| {
                self.known.push(system);
                self.known.len().saturating_sub(1)
            }),
        };
        if system.is_some() {
            self.last.insert(partition, place);
        }
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

/// What a record is besides its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// evp's own header.
    pub(super) position: Option<&'a [u8]>,
    pub(super) is_republished: bool,
}

impl Record {
    /// Reads a record; `None` if it names no event.
    pub(super) fn read(value: &[u8], place: Place<'_>, systems: &mut Systems) -> Option<Self> {
        let envelope = decode(value).ok()?;
        let telling = match envelope.op {
            Operation::Create if place.is_republished => Telling::Republished,
            Operation::Create => Telling::Insert,
            Operation::Update => Telling::Update,
            Operation::Read => Telling::Snapshot,
            Operation::Delete | Operation::Truncate | Operation::Message => return None,
        };
        let row = envelope.after.as_ref()?;
        let event_id = Event::id_of(row).ok()?;
        let aggregate_id = Uuid::try_parse(&Event::aggregate_id_of(row).ok()?).ok()?;
        let sequence = row.sequence_id().ok().flatten();
        let order = match placed(place.position, &envelope.source, sequence.unwrap_or(0)) {
            Some(placed) => placed.order.in_epoch(systems.epoch(place.partition, placed.system)),
            None => EventOrder::Sequence(sequence.or(envelope.source_ts_us).unwrap_or(0)),
        };
        let said = Event::from_row(row, None).map_err(|error| error.to_string()).and_then(|event| {
            let [.., payload] = row.content().ok_or("`payload` is not an object")?;
            let created_at_ms = event.created_at.timestamp_millis();
            Ok(Content { event_type: event.event_type, created_at_ms, payload: payload.into_owned() })
        });
        let Place { partition, offset, .. } = place;
        Some(Self { aggregate_id, partition, offset, event_id, telling, order, said })
    }

    /// By aggregate, and of each in the order of the topic.
    pub(super) fn key(&self) -> Key {
        let mut key: Key = [0; 28];
        let parts = self.aggregate_id.into_bytes().into_iter();
        let parts = parts.chain(self.partition.to_be_bytes()).chain(self.offset.to_be_bytes());
        key.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        key
    }

    /// What the key does not say.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut document = doc! { "e": binary(&self.event_id.into_bytes()), "o": self.order.to_bson() };
        document.insert("t", self.telling.letter());
        match &self.said {
            Ok(content) => document.extend(doc! {
                "k": content.event_type.as_str(), "c": content.created_at_ms, "p": content.payload.as_str(),
            }),
            Err(reason) => {
                document.insert("r", reason.as_str());
            }
        }
        let mut bytes = Vec::new();
        document.to_writer(&mut bytes).map_err(|error| Error::protocol(format!("a record cannot be kept: {error}")))?;
        Ok(bytes)
    }

    /// From a key and the rest.
    pub(super) fn from_bytes(key: &Key, bytes: &[u8]) -> Option<Self> {
        let (aggregate_id, rest) = key.split_first_chunk::<16>()?;
        let (partition, offset) = rest.split_first_chunk::<4>()?;
        let document = Document::from_reader(bytes).ok()?;
        let said = match document.get_str("r") {
            Ok(reason) => Err(reason.to_owned()),
            Err(_) => Ok(Content {
                event_type: document.get_str("k").ok()?.to_owned(),
                created_at_ms: document.get_i64("c").ok()?,
                payload: document.get_str("p").ok()?.to_owned(),
            }),
        };
        Some(Self {
            aggregate_id: Uuid::from_bytes(*aggregate_id),
            partition: i32::from_be_bytes(*partition),
            offset: i64::from_be_bytes(offset.try_into().ok()?),
            event_id: Uuid::from_slice(document.get_binary_generic("e").ok()?).ok()?,
            telling: Telling::from_letter(document.get_str("t").ok()?)?,
            order: EventOrder::from_bson(document.get("o")?)?,
            said,
        })
    }
}

/// The aggregate of a key.
pub(super) fn aggregate_of(key: &Key) -> Uuid {
    key.first_chunk().map(|id| Uuid::from_bytes(*id)).unwrap_or_default()
}

impl Telling {
    fn letter(self) -> &'static str {
        match self {
            Self::Insert => "c",
            Self::Republished => "p",
            Self::Update => "u",
            Self::Snapshot => "r",
        }
    }

    fn from_letter(letter: &str) -> Option<Self> {
        [Self::Insert, Self::Republished, Self::Update, Self::Snapshot]
            .into_iter()
            .find(|telling| telling.letter() == letter)
    }
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn envelope(op: &str, payload: &str) -> Vec<u8> {
        let id = |number: u128| Uuid::from_u128(number).to_string();
        let row = json!({ "event_id": id(1), "aggregate_id": id(2), "aggregate_type": "User", "event_type": "UserCreated",
            "payload": payload, "created_at": "2026-11-21T09:13:38.709461Z", "sequence_id": 9 });
        json!({ "op": op, "after": row, "source": { "lsn": 5 } }).to_string().into_bytes()
    }

    fn read(op: &str, payload: &str, position: Option<&[u8]>, systems: &mut Systems) -> Option<Record> {
        let place = Place { partition: 3, offset: 70_000, position, is_republished: false };
        Record::read(&envelope(op, payload), place, systems)
    }

    #[test]
    fn a_record_comes_back_from_its_bytes() {
        for (op, payload) in [("c", r#"{"email":"a"}"#), ("u", r#"{"n":1e400}"#), ("r", "[]")] {
            let record = read(op, payload, Some(b"7:8:9"), &mut Systems::default()).unwrap();
            assert_eq!(record.said.is_ok(), op == "c");
            assert_eq!(Record::from_bytes(&record.key(), &record.to_bytes().unwrap()), Some(record));
        }
        assert_eq!(read("d", "{}", None, &mut Systems::default()), None);
    }

    #[test]
    fn another_cluster_comes_later_whatever_its_positions_are() {
        let mut systems = Systems::new(vec![70, 50]);
        let mut order = |position: &str| read("c", "{}", Some(position.as_bytes()), &mut systems).unwrap().order;
        assert!(order("70:900:0") < order("50:10:0") && order("50:10:0") < order("51:1:0"));
        let without = read("c", "{}", None, &mut systems).unwrap().order;
        assert!(without > read("c", "{}", Some(b"50:10:0"), &mut systems).unwrap().order, "it follows cluster 51");
    }
}
