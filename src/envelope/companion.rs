//! Records that stand beside those of rows: heartbeats.

use super::Record;
use super::plan::framed;
use super::write::write_number;
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

/// Writes heartbeats.
#[derive(Debug)]
pub struct Heartbeats {
    topic: String,
    key: Vec<u8>,
    /// What stands before and after the value's payload.
    head: Vec<u8>,
    tail: &'static [u8],
    value: Vec<u8>,
}

impl Heartbeats {
    /// Heartbeats of a connector, with schemas if asked for.
    pub fn new(topic: String, topic_prefix: &str, with_key_schema: bool, with_value_schema: bool) -> Self {
        let schema = |field, schema_type, name| {
            let fields = [(field, Schema::new(schema_type))];
            Schema::of_fields(fields).named(format!("io.debezium.connector.common.{name}")).version(1)
        };
        let key_schema = schema("serverName", SchemaType::String, "ServerNameKey");
        let (mut key, key_tail) = framed(with_key_schema.then_some(&key_schema));
        key.extend_from_slice(b"{\"serverName\":");
        write_string(&mut key, topic_prefix);
        key.push(b'}');
        key.extend_from_slice(key_tail);
        let value_schema = schema("ts_ms", SchemaType::Int64, "Heartbeat");
        let (head, tail) = framed(with_value_schema.then_some(&value_schema));
        Self { topic, key, head, tail, value: Vec::new() }
    }

    /// The heartbeat of `now_ms`, milliseconds since 1970.
    pub fn record(&mut self, now_ms: i64) -> Record<'_> {
        self.value.clear();
        self.value.extend_from_slice(&self.head);
        self.value.extend_from_slice(b"{\"ts_ms\":");
        write_number(&mut self.value, now_ms);
        self.value.push(b'}');
        self.value.extend_from_slice(self.tail);
        Record { topic: &self.topic, key: Some(&self.key), value: Some(&self.value), ..Record::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_names_the_connector_and_the_time() {
        let mut heartbeats = Heartbeats::new("h".to_owned(), "postgres", false, false);
        let record = heartbeats.record(1_795_252_416_255);
        assert_eq!(record.key, Some(&br#"{"serverName":"postgres"}"#[..]));
        assert_eq!(record.value, Some(&br#"{"ts_ms":1795252416255}"#[..]));
        assert_eq!((record.topic, record.headers.iter().count()), ("h", 0));
    }
}
