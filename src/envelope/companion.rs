//! Records that stand beside those of rows: what they have in common, and heartbeats.

use std::borrow::Cow;

use super::change::RecordOptions;
use super::conversion::converted;
use super::derived_key::edited_by;
use super::edits::{Plain, edited};
use super::fields::{NULL, Own, ShownField, Source};
use super::pieces::quoted_name;
use super::plan::framed;
use super::write::write_number;
use super::{Headers, Position, Record};
use crate::connect::json::write_string;
use crate::connect::{Converter, Field, Schema, SchemaType, text_of};
use crate::row::Operation;
use crate::transform::{Beside, FieldEdit, KeyEdit};

/// A value that a converter writes: its parts, and what stands before and after them.
#[derive(Debug, Clone)]
pub(super) struct Framed {
    source: Source<usize>,
    head: Vec<u8>,
    tail: &'static [u8],
    is_text: bool,
}

impl Framed {
    /// The struct of this schema behind the edits; the struct itself where Kafka could not make them.
    pub(super) fn new(converter: Converter, schema: &Schema, edits: &[FieldEdit]) -> Self {
        let own = || own_fields(schema);
        let value = edited(own(), edits, &Plain(converter.nulls())).unwrap_or_else(|_| own());
        Self::of(converter, value)
    }

    /// The same of a key.
    pub(super) fn of_key(converter: Converter, schema: &Schema, edits: &[KeyEdit]) -> Self {
        let parts = Plain(converter.nulls());
        let behind = edits.iter().try_fold(own_fields(schema), |key, edit| edited_by(key, edit, &parts));
        Self::of(converter, behind.unwrap_or_else(|_| own_fields(schema)))
    }

    fn of(converter: Converter, value: ShownField<usize>) -> Self {
        let (head, tail) = framed(converter.shown(&value.schema));
        Self { source: value.source, head, tail, is_text: !converter.is_json() }
    }

    /// Writes the fields, given in the order of the schema as JSON, over what `out` holds.
    pub(super) fn write(&self, out: &mut Vec<u8>, given: &[&[u8]]) {
        out.clear();
        if self.is_text {
            return out.extend_from_slice(&text(&self.source, given).unwrap_or_default());
        }
        out.extend_from_slice(&self.head);
        write_json(out, &self.source, given);
        out.extend_from_slice(self.tail);
    }
}

/// A struct whose fields are known by their numbers.
fn own_fields(schema: &Schema) -> ShownField<usize> {
    let fields = match &schema.schema_type {
        SchemaType::Struct(fields) => fields.as_slice(),
        _ => &[],
    };
    let own = |(at, field): (usize, &Field)| ShownField::own(field.name.clone(), field.schema.clone(), at);
    ShownField::of_fields(String::new(), schema, fields.iter().enumerate().map(own).collect())
}

fn write_json(out: &mut Vec<u8>, source: &Source<usize>, given: &[&[u8]]) {
    match source {
        Source::Bytes(bytes) => out.extend_from_slice(bytes),
        Source::Own(own) => out.extend_from_slice(&json_of(own, given)),
        Source::Fields(fields) => {
            out.push(b'{');
            for (at, field) in fields.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b"," } else { b"" });
                out.extend_from_slice(&quoted_name(&field.name));
                write_json(out, &field.source, given);
            }
            out.push(b'}');
        }
    }
}

/// What is given, as it is where Kafka could not convert it.
fn json_of<'a>(own: &'a Own<usize>, given: &[&'a [u8]]) -> Cow<'a, [u8]> {
    let json = match given.get(own.of).copied().unwrap_or(NULL) {
        NULL => own.when_null.as_deref().unwrap_or(NULL),
        json => json,
    };
    converted(json, &own.conversions).unwrap_or(Cow::Borrowed(json))
}

/// Java's text; none of a null.
fn text(source: &Source<usize>, given: &[&[u8]]) -> Option<Vec<u8>> {
    match source {
        Source::Bytes(bytes) => text_of(bytes),
        Source::Own(own) => text_of(&json_of(own, given)),
        Source::Fields(fields) => {
            let field =
                |field: &ShownField<usize>| Some([field.name.as_bytes(), b"=", &text(&field.source, given)?].concat());
            let fields: Vec<Vec<u8>> = fields.iter().filter_map(field).collect();
            Some([b"Struct{".as_slice(), &fields.join(&b','), b"}"].concat())
        }
    }
}

/// The buffers of records that stand beside rows and have positions, and what each of them has.
#[derive(Debug)]
pub(super) struct Companion {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    position: Vec<u8>,
    with_position: bool,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Companion {
    pub(super) fn new(options: &RecordOptions, headers: Vec<(String, Option<Vec<u8>>)>) -> Self {
        let (key, value, position) = Default::default();
        Self { key, value, position, with_position: options.with_position, headers }
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
        let position_header = self.with_position.then_some(self.position.as_slice());
        let headers = Headers { position: position_header, fixed: &self.headers, ..Headers::default() };
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
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Heartbeats {
    /// Heartbeats of a connector, whose keys and values these converters write.
    pub fn new(beside: Beside, topic_prefix: &str, (keys, values): (Converter, Converter)) -> Self {
        let Beside { topic, edits, keys: key_edits, headers } = beside;
        let schema = |field, schema_type, name| {
            let fields = [(field, Schema::new(schema_type))];
            Schema::of_fields(fields).named(format!("io.debezium.connector.common.{name}")).version(1)
        };
        let (mut key, mut name) = (Vec::new(), Vec::new());
        write_string(&mut name, topic_prefix);
        let key_schema = schema("serverName", SchemaType::String, "ServerNameKey");
        let key_frame = Framed::of_key(keys, &key_schema, &key_edits);
        key_frame.write(&mut key, &[&name]);
        let frame = Framed::new(values, &schema("ts_ms", SchemaType::Int64, "Heartbeat"), &edits);
        Self { topic, key, frame, number: Vec::new(), value: Vec::new(), headers }
    }

    /// The heartbeat of `now_ms`, milliseconds since 1970.
    pub fn record(&mut self, now_ms: i64) -> Record<'_> {
        self.number.clear();
        write_number(&mut self.number, now_ms);
        self.frame.write(&mut self.value, &[&self.number]);
        let headers = Headers { fixed: &self.headers, ..Headers::default() };
        Record { topic: &self.topic, key: Some(&self.key), value: Some(&self.value), headers, ..Record::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_names_the_connector_and_the_time() {
        let mut heartbeats = Heartbeats::new("h".to_owned().into(), "postgres", Default::default());
        let record = heartbeats.record(1_795_252_416_255);
        assert_eq!(record.key, Some(&br#"{"serverName":"postgres"}"#[..]));
        assert_eq!(record.value, Some(&br#"{"ts_ms":1795252416255}"#[..]));
        assert_eq!((record.topic, record.headers.iter().count()), ("h", 0));
        let mut heartbeats = Heartbeats::new("h".to_owned().into(), "p", (Converter::Text, Converter::Text));
        let record = heartbeats.record(5);
        assert_eq!((record.key, record.value), (Some(&b"Struct{serverName=p}"[..]), Some(&b"Struct{ts_ms=5}"[..])));
    }
}
