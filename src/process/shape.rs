//! What a record that is no envelope of the outbox looks like, and which setting writes envelopes instead. Pure.

use serde_json::Value;

use crate::envelope::decode::{Column, OutboxColumns};

/// The shapes that other settings, tools and tables give to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The row alone.
    Unwrapped,
    /// An object that is neither an envelope nor a row of the outbox, such as the payload alone.
    Routed,
    /// An envelope around the row of another table.
    OtherTable,
    /// A zero, the id of a schema, and the record in that schema.
    RegistryFramed,
    /// JSON as a JSON text.
    DoubleEncoded,
    /// JSON in base64.
    Base64,
    /// No JSON.
    Text,
    /// No text.
    Binary,
}

/// Bytes before the record in a schema registry's framing.
const FRAME_BYTES: usize = 5;

impl Shape {
    /// The shape of a record that could not be read as an event; `None` if it is an event, or was meant to be one.
    pub(crate) fn of(value: &[u8], columns: &OutboxColumns) -> Option<Self> {
        if value.first() == Some(&0) && value.len() > FRAME_BYTES {
            return Some(Self::RegistryFramed);
        }
        let Ok(text) = std::str::from_utf8(value) else { return Some(Self::Binary) };
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => match object.get("payload") {
                Some(Value::Object(payload)) if object.contains_key("schema") => Self::of_object(payload, columns),
                _ => Self::of_object(&object, columns),
            },
            Ok(Value::String(inner)) => Some(Self::of_text(&inner)),
            Ok(Value::Array(_) | Value::Number(_) | Value::Bool(_) | Value::Null) => Some(Self::Text),
            // An envelope that was cut off or damaged.
            Err(_) if text.trim_ascii_start().starts_with(['{', '[']) || text.is_empty() => None,
            Err(_) if is_base64_json(text) => Some(Self::Base64),
            Err(_) => Some(Self::Text),
        }
    }

    fn of_object(object: &serde_json::Map<String, Value>, columns: &OutboxColumns) -> Option<Self> {
        let has = |row: &serde_json::Map<String, Value>, column| row.contains_key(columns.name(column));
        let is_row = |row: &_| has(row, Column::EventId) || has(row, Column::EventType);
        if object.contains_key("op") {
            let row = object.get("after").or_else(|| object.get("before")).and_then(Value::as_object)?;
            return (!is_row(row)).then_some(Self::OtherTable);
        }
        let is_unwrapped =
            is_row(object) || object.keys().any(|key| matches!(&**key, "__op" | "__deleted" | "__table"));
        Some(if is_unwrapped { Self::Unwrapped } else { Self::Routed })
    }

    fn of_text(text: &str) -> Self {
        if text.trim_ascii_start().starts_with('{') {
            Self::DoubleEncoded
        } else if is_base64_json(text) {
            Self::Base64
        } else {
            Self::Text
        }
    }

    /// What it is and what to do, to follow "they look like".
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Unwrapped => {
                "rows without their envelope, as the transform ExtractNewRecordState writes them: take it out of the \
                 connector's `transforms`"
            }
            Self::Routed => {
                "JSON objects that hold neither an envelope nor its row, such as the payloads that the transform EventRouter \
                 writes: take it out of the connector's `transforms`, or check KAFKA_TOPIC"
            }
            Self::OtherTable => {
                "envelopes of another table, without the columns of the event's id and type: check KAFKA_TOPIC and \
                 OUTBOX_COLUMNS"
            }
            Self::RegistryFramed => {
                "records with the id of a schema registry before them (Avro, Protobuf or JSON Schema): set the connector's \
                 value.converter=org.apache.kafka.connect.json.JsonConverter"
            }
            Self::DoubleEncoded => {
                "JSON inside of a JSON text, encoded twice: set the connector's \
                 value.converter=org.apache.kafka.connect.json.JsonConverter and take the second encoder out"
            }
            Self::Base64 => {
                "JSON in base64, as a converter of bytes writes it: set the connector's \
                 value.converter=org.apache.kafka.connect.json.JsonConverter"
            }
            Self::Text => {
                "texts that are no JSON objects, such as StringConverter writes: set the connector's \
                 value.converter=org.apache.kafka.connect.json.JsonConverter, or check KAFKA_TOPIC"
            }
            Self::Binary => {
                "bytes that are no text, such as Avro or a compressed or encrypted value: set the connector's \
                 value.converter=org.apache.kafka.connect.json.JsonConverter, or check KAFKA_TOPIC"
            }
        }
    }
}

/// Whether it is base64 of something that begins like an object: `{"`, or `{` and white space.
fn is_base64_json(text: &str) -> bool {
    let text = text.trim_ascii();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    ["eyI", "eyA", "ewo", "ew0", "ewk", "eyJ"].iter().any(|start| text.starts_with(start))
        && text.bytes().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &[u8]) -> Option<Shape> {
        Shape::of(value, OutboxColumns::own())
    }

    fn shape(value: &Value) -> Option<Shape> {
        of(value.to_string().as_bytes())
    }

    #[test]
    fn each_shape_is_known_by_a_record() {
        let row = json!({ "event_id": "x", "event_type": "UserCreated", "payload": "{}" });
        let envelope = json!({ "op": "c", "after": row, "source": {} });
        assert_eq!(shape(&row), Some(Shape::Unwrapped));
        assert_eq!(shape(&json!({ "id": 1, "__deleted": "false" })), Some(Shape::Unwrapped));
        assert_eq!(shape(&json!({ "schema": {}, "payload": row })), Some(Shape::Unwrapped));
        assert_eq!(shape(&json!({ "email": "a@example.org" })), Some(Shape::Routed));
        assert_eq!(shape(&json!({ "op": "c", "after": { "id": 1 } })), Some(Shape::OtherTable));
        assert_eq!(of(b"\0\0\0\0\x07{}"), Some(Shape::RegistryFramed));
        assert_eq!(shape(&json!(envelope.to_string())), Some(Shape::DoubleEncoded));
        for text in ["eyJvcCI6ImMifQ==", "ewogICJvcCI6ImMifQ"] {
            assert_eq!((shape(&json!(text)), of(text.as_bytes())), (Some(Shape::Base64), Some(Shape::Base64)));
        }
        assert_eq!((of(b"Struct{op=c}"), shape(&json!([1]))), (Some(Shape::Text), Some(Shape::Text)));
        assert_eq!(of(b"\x1f\x8b\x08"), Some(Shape::Binary));
    }

    #[test]
    fn a_poisonous_event_is_no_shape() {
        let row = json!({ "event_id": 7, "event_type": "UserCreated", "payload": 7 });
        assert_eq!(shape(&json!({ "op": "c", "after": row })), None);
        assert_eq!(shape(&json!({ "op": "c", "after": null })), None);
        assert_eq!((of(b"{\"op\":\"c\""), of(b"")), (None, None));
    }
}
