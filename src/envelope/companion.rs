//! Records that stand beside those of rows: what they have in common, and heartbeats.

use super::change::RecordOptions;
use super::forms::quoted_name;
use super::plan::framed;
use super::write::write_number;
use super::{Headers, Position, Record};
use crate::connect::json::write_string;
use crate::connect::{Converter, Schema, SchemaType, text_of};
use crate::row::Operation;

/// A struct that a converter writes: what stands before and after its fields.
#[derive(Debug, Clone)]
pub(super) struct Framed {
    head: Vec<u8>,
    tail: &'static [u8],
    is_text: bool,
}

impl Framed {
    pub(super) fn new(converter: Converter, schema: &Schema) -> Self {
        let (head, tail) = framed(converter.shown(schema));
        Self { head, tail, is_text: !converter.is_json() }
    }

    /// Writes the fields, each a name and its JSON, over what `out` holds.
    pub(super) fn write(&self, out: &mut Vec<u8>, fields: &[(&str, &[u8])]) {
        out.clear();
        if self.is_text {
            let field = |(name, json): &(&str, &[u8])| Some([name.as_bytes(), b"=", &text_of(json)?].concat());
            let fields: Vec<Vec<u8>> = fields.iter().filter_map(field).collect();
            return out.extend_from_slice(&[b"Struct{".as_slice(), &fields.join(&b','), b"}"].concat());
        }
        out.extend_from_slice(&self.head);
        out.push(b'{');
        for (at, (name, json)) in fields.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b"," } else { b"" });
            out.extend_from_slice(&quoted_name(name));
            out.extend_from_slice(json);
        }
        out.push(b'}');
        out.extend_from_slice(self.tail);
    }
}

/// The buffers of records that stand beside rows and have positions, and what each of them has.
#[derive(Debug)]
pub(super) struct Companion {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    position: Vec<u8>,
    with_position: bool,
}

impl Companion {
    pub(super) fn new(options: &RecordOptions) -> Self {
        let (key, value, position) = Default::default();
        Self { key, value, position, with_position: options.with_position }
    }

    /// The record of what was written into the buffers.
    pub(super) fn record<'c>(
        &'c mut self,
        topic: &'c str,
        position: Position,
        operation: Option<Operation>,
    ) -> Record<'c> {
        if self.with_position {
            position.write(&mut self.position);
        }
        let headers =
            Headers { position: self.with_position.then_some(self.position.as_slice()), ..Headers::default() };
        Record {
            topic,
            key: Some(&self.key),
            value: Some(&self.value),
            headers,
            operation,
            position: Some(position),
            ..Record::default()
        }
    }
}

/// Writes heartbeats.
#[derive(Debug)]
pub struct Heartbeats {
    topic: String,
    key: Vec<u8>,
    frame: Framed,
    number: Vec<u8>,
    value: Vec<u8>,
}

impl Heartbeats {
    /// Heartbeats of a connector, whose keys and values these converters write.
    pub fn new(topic: String, topic_prefix: &str, (keys, values): (Converter, Converter)) -> Self {
        let schema = |field, schema_type, name| {
            let fields = [(field, Schema::new(schema_type))];
            Schema::of_fields(fields).named(format!("io.debezium.connector.common.{name}")).version(1)
        };
        let (mut key, mut name) = (Vec::new(), Vec::new());
        write_string(&mut name, topic_prefix);
        let key_frame = Framed::new(keys, &schema("serverName", SchemaType::String, "ServerNameKey"));
        key_frame.write(&mut key, &[("serverName", &name)]);
        let frame = Framed::new(values, &schema("ts_ms", SchemaType::Int64, "Heartbeat"));
        Self { topic, key, frame, number: Vec::new(), value: Vec::new() }
    }

    /// The heartbeat of `now_ms`, milliseconds since 1970.
    pub fn record(&mut self, now_ms: i64) -> Record<'_> {
        self.number.clear();
        write_number(&mut self.number, now_ms);
        self.frame.write(&mut self.value, &[("ts_ms", &self.number)]);
        Record { topic: &self.topic, key: Some(&self.key), value: Some(&self.value), ..Record::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_names_the_connector_and_the_time() {
        let mut heartbeats = Heartbeats::new("h".to_owned(), "postgres", Default::default());
        let record = heartbeats.record(1_795_252_416_255);
        assert_eq!(record.key, Some(&br#"{"serverName":"postgres"}"#[..]));
        assert_eq!(record.value, Some(&br#"{"ts_ms":1795252416255}"#[..]));
        assert_eq!((record.topic, record.headers.iter().count()), ("h", 0));
        let mut heartbeats = Heartbeats::new("h".to_owned(), "p", (Converter::Text, Converter::Text));
        let record = heartbeats.record(5);
        assert_eq!((record.key, record.value), (Some(&b"Struct{serverName=p}"[..]), Some(&b"Struct{ts_ms=5}"[..])));
    }
}
