//! What `provide.transaction.metadata` adds: the order of each event in its transaction, and records of begin and end.

use super::Record;
use super::change::{RecordOptions, RowContext};
use super::companion::{Companion, Framed};
use super::profile::transaction_value_schema;
use crate::connect::java_map::{bucket, buckets_of};
use crate::connect::json::write_string;
use crate::connect::{Converter, Schema, SchemaType};
use crate::pgoutput::Xid;
use crate::transform::Beside;

/// The place of an event in its transaction, and among those of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventOrder {
    /// From 1 on.
    pub total: u64,
    /// From 1 on.
    pub in_collection: u64,
}

impl EventOrder {
    /// The place of the next event of the same table.
    #[must_use]
    pub fn next(self) -> Self {
        Self { total: self.total.saturating_add(1), in_collection: self.in_collection.saturating_add(1) }
    }
}

/// How many events a transaction has had, of each table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts {
    total: u64,
    collections: Vec<(String, u64)>,
}

impl EventCounts {
    /// Counts events of a table; the place of the first of them.
    pub fn add(&mut self, collection: &str, events: u64) -> EventOrder {
        let total = self.total.saturating_add(1);
        self.total = self.total.saturating_add(events);
        let known = match self.collections.iter().position(|(name, _)| name == collection) {
            Some(place) => self.collections.get_mut(place),
            None => {
                self.collections.push((collection.to_owned(), 0));
                self.collections.last_mut()
            }
        };
        let in_collection = known.map_or(1, |(_, count)| {
            let first = count.saturating_add(1);
            *count = count.saturating_add(events);
            first
        });
        EventOrder { total, in_collection }
    }

    /// How many tables there were.
    pub fn collections(&self) -> usize {
        self.collections.len()
    }
}

/// Writes the records of begins and ends.
#[derive(Debug)]
pub struct TransactionRecords {
    topic: String,
    key_frame: Framed,
    value_frame: Framed,
    companion: Companion,
    /// The most tables that a transaction has had, which Debezium's map of them stays as large for.
    collections_max: usize,
}

impl TransactionRecords {
    /// Records in `topic`, whose keys and values these converters write.
    pub fn new(beside: Beside, (keys, values): (Converter, Converter), options: &RecordOptions) -> Self {
        let key = Schema::of_fields([("id", Schema::new(SchemaType::String))])
            .named("io.debezium.connector.common.TransactionMetadataKey")
            .version(1);
        Self {
            key_frame: Framed::of_key(keys, &key, &beside.keys),
            value_frame: Framed::new(values, &transaction_value_schema(), &beside.edits),
            companion: Companion::new(options, beside.headers),
            topic: beside.topic,
            collections_max: 0,
        }
    }

    /// The record of a begin, or with the counts of its end.
    pub fn record(&mut self, row: RowContext<'_>, counts: Option<&EventCounts>) -> Record<'_> {
        let mut id = Vec::new();
        write_transaction_id(&mut id, row);
        let ms = row.transaction.commit_time_us.div_euclid(1_000).to_string();
        let (status, count, collections) = match counts {
            None => (&b"\"BEGIN\""[..], b"null".to_vec(), b"null".to_vec()),
            Some(counts) => {
                self.collections_max = self.collections_max.max(counts.collections());
                let collections = collections_json(counts, buckets_of(self.collections_max));
                (&b"\"END\""[..], counts.total.to_string().into_bytes(), collections)
            }
        };
        self.key_frame.write(&mut self.companion.key, &[&id]);
        let fields: [&[u8]; 5] = [status, &id, &count, &collections, ms.as_bytes()];
        self.value_frame.write(&mut self.companion.value, &fields);
        self.companion.record(&self.topic, row.first, None)
    }
}

/// In the order of Java's map.
fn collections_json(counts: &EventCounts, buckets: usize) -> Vec<u8> {
    let mut collections: Vec<&(String, u64)> = counts.collections.iter().collect();
    collections.sort_by_key(|(name, _)| bucket(name, buckets));
    let mut out = vec![b'['];
    for (at, (name, count)) in collections.into_iter().enumerate() {
        out.extend_from_slice(if at > 0 { b"," } else { b"" });
        out.extend_from_slice(b"{\"data_collection\":");
        write_string(&mut out, name);
        out.extend_from_slice(format!(",\"event_count\":{count}}}").as_bytes());
    }
    out.push(b']');
    out
}

/// The number of the transaction with the position of what tells of it.
pub(super) fn write_transaction_id(out: &mut Vec<u8>, row: RowContext<'_>) {
    let Xid(xid) = row.transaction.xid;
    out.extend_from_slice(format!("\"{xid}:{}\"", row.lsn.as_i64()).as_bytes());
}

/// The `transaction` block of an event, null where transactions are not told of.
pub(super) fn write_transaction(out: &mut Vec<u8>, row: RowContext<'_>) {
    let Some(order) = row.order else { return out.extend_from_slice(b"null") };
    out.extend_from_slice(b"{\"id\":");
    write_transaction_id(out, row);
    let (total, in_collection) = (order.total, order.in_collection);
    out.extend_from_slice(format!(",\"total_order\":{total},\"data_collection_order\":{in_collection}}}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_in_all_and_by_table() {
        let mut counts = EventCounts::default();
        assert_eq!(counts.add("s.a", 2), EventOrder { total: 1, in_collection: 1 });
        assert_eq!(counts.add("s.b", 1), EventOrder { total: 3, in_collection: 1 });
        assert_eq!(counts.add("s.a", 1), EventOrder { total: 4, in_collection: 3 });
        assert_eq!((counts.total, counts.collections()), (4, 2));
        let json = String::from_utf8(collections_json(&counts, 16)).unwrap();
        assert!(json.contains(r#"{"data_collection":"s.a","event_count":3}"#), "{json}");
    }
}
