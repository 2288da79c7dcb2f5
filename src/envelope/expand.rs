//! The text of a JSON object as that object, with a schema made after it, as `EventRouter` expands a payload.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::pieces::quoted_name;
use crate::connect::json::write_string;
use crate::connect::{Field, Schema, SchemaType};
use crate::transform::NullFields;
use crate::typemap::write_double;

/// What is nested deeper stays a text.
const DEPTH_MAX: usize = 128;

/// A JSON value whose objects keep their order.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Debezium makes no schema of it, so that the text stays as it is.
#[derive(Debug, PartialEq)]
struct NoSchema;

/// The object's schema, named after the payload's column, and its JSON; `None` if the text stays as it is.
pub(super) fn expanded(column: &str, text: &[u8], nulls: NullFields) -> Option<(Schema, Vec<u8>)> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let node = read(std::str::from_utf8(text).ok()?, DEPTH_MAX)?;
    let schema = schema_of(Some(column), &node, nulls).ok()??;
    let mut json = Vec::with_capacity(text.len());
    write(&mut json, &node, &schema).ok()?;
    Some((schema, json))
}

/// Whether it is the text of an array without elements, of which Debezium makes no schema and leaves the text.
pub(super) fn is_empty_array(text: &[u8]) -> bool {
    text.first() == Some(&b'[') && serde_json::from_slice::<[IgnoredAny; 0]>(text).is_ok()
}

/// `None` for what is left out.
fn schema_of(key: Option<&str>, node: &Node, nulls: NullFields) -> Result<Option<Schema>, NoSchema> {
    let plain = |schema_type| Ok(Some(Schema::new(schema_type).optional()));
    match node {
        Node::Null if nulls == NullFields::OptionalBytes => plain(SchemaType::Bytes),
        Node::Null => Ok(None),
        Node::Boolean(_) => plain(SchemaType::Boolean),
        Node::Integer(number) if i32::try_from(*number).is_ok() => plain(SchemaType::Int32),
        Node::Integer(_) => plain(SchemaType::Int64),
        Node::Double(_) => plain(SchemaType::Double),
        Node::Text(_) => plain(SchemaType::String),
        Node::Array(elements) if elements.is_empty() => Ok(None),
        Node::Array(elements) => Ok(Some(Schema::array(element_schema(key, elements, nulls)?).optional())),
        Node::Object(members) => {
            let mut fields: Vec<Field> = Vec::new();
            for (name, node) in members {
                let prefix = key.filter(|key| !key.trim().is_empty()).map(|key| format!("{key}."));
                let schema = schema_of(Some(&format!("{}{name}", prefix.unwrap_or_default())), node, nulls)?;
                // Connect has no field without a name.
                if schema.is_some() && name.is_empty() {
                    return Err(NoSchema);
                }
                fields.extend(schema.map(|schema| Field { name: name.clone(), schema }));
            }
            let schema = Schema::new(SchemaType::Struct(fields)).optional();
            Ok(Some(key.map(|key| schema.clone().named(key.to_owned())).unwrap_or(schema)))
        }
    }
}

/// The one schema of all elements: of objects that differ, the fields of all of them.
fn element_schema(key: Option<&str>, elements: &[Node], nulls: NullFields) -> Result<Schema, NoSchema> {
    let present = || elements.iter().filter(|element| **element != Node::Null);
    let Some(sample) = present().next() else {
        return schema_of(None, &Node::Null, nulls)?.ok_or(NoSchema);
    };
    let is_alike = |element: &Node| match (sample, element) {
        (Node::Integer(_) | Node::Double(_), Node::Integer(_) | Node::Double(_)) => {
            schema_of(None, sample, nulls) == schema_of(None, element, nulls)
        }
        _ => std::mem::discriminant(sample) == std::mem::discriminant(element),
    };
    if !present().all(is_alike) {
        return Err(NoSchema);
    }
    if !matches!(sample, Node::Object(_)) {
        return schema_of(None, sample, nulls)?.ok_or(NoSchema);
    }
    let mut distinct: Vec<Schema> = Vec::new();
    for element in present() {
        let schema = schema_of(key, element, nulls)?.ok_or(NoSchema)?;
        if !distinct.contains(&schema) {
            distinct.push(schema);
        }
    }
    distinct.into_iter().reduce(joined).ok_or(NoSchema)
}

/// The fields of both; as in Debezium null is no longer a value of what they make.
fn joined(mut known: Schema, other: Schema) -> Schema {
    known.is_optional = false;
    if let (SchemaType::Struct(fields), SchemaType::Struct(others)) = (&mut known.schema_type, other.schema_type) {
        for other in others {
            match fields.iter_mut().find(|field| field.name == other.name) {
                // It was a null.
                Some(field) if field.schema.schema_type == SchemaType::Bytes => field.schema = other.schema,
                Some(_) => {}
                None => fields.push(other),
            }
        }
    }
    known
}

fn write(out: &mut Vec<u8>, node: &Node, schema: &Schema) -> Result<(), NoSchema> {
    match (node, &schema.schema_type) {
        (Node::Null, _) => out.extend_from_slice(b"null"),
        (Node::Boolean(flag), SchemaType::Boolean) => out.extend_from_slice(flag.to_string().as_bytes()),
        (Node::Integer(number), SchemaType::Int32 | SchemaType::Int64) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
        }
        (Node::Double(number), SchemaType::Double) => write_double(out, *number),
        (Node::Text(text), SchemaType::String) => write_string(out, text),
        (Node::Array(elements), SchemaType::Array(element)) => {
            out.push(b'[');
            for (at, node) in elements.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b"," } else { b"" });
                write(out, node, element)?;
            }
            out.push(b']');
        }
        (Node::Object(members), SchemaType::Struct(fields)) => {
            out.push(b'{');
            for (at, field) in fields.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b"," } else { b"" });
                out.extend_from_slice(&quoted_name(&field.name));
                let member = members.iter().find(|(name, _)| *name == field.name);
                write(out, member.map_or(&Node::Null, |(_, node)| node), &field.schema)?;
            }
            out.push(b'}');
        }
        _ => return Err(NoSchema),
    }
    Ok(())
}

/// A JSON text as a value. Numbers are read as Jackson reads them: `-0` is whole, `1e400` is infinite, and what is whole and too
/// large for Java's long has no schema.
fn read(text: &str, depth: usize) -> Option<Node> {
    let deeper = depth.checked_sub(1)?;
    let text = text.trim_ascii();
    match text.bytes().next()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let read = |(name, value): (String, &RawValue)| Some((name, read(value.get(), deeper)?));
            members.into_iter().map(read).collect::<Option<_>>().map(Node::Object)
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            elements.into_iter().map(|value| read(value.get(), deeper)).collect::<Option<_>>().map(Node::Array)
        }
        b'"' => serde_json::from_str(text).ok().map(Node::Text),
        b't' => Some(Node::Boolean(true)),
        b'f' => Some(Node::Boolean(false)),
        b'n' => Some(Node::Null),
        _ if text.contains(['.', 'e', 'E']) => text.parse().ok().map(Node::Double),
        _ => text.parse().ok().map(Node::Integer),
    }
}

/// The members of an object, whose values are not looked at yet.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    /// Of members of one name the last counts, in the place of the first.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some(member) => member.1 = value,
                None => members.push((name, value)),
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str, nulls: NullFields) -> Option<String> {
        expanded("payload", text.as_bytes(), nulls).map(|(_, json)| String::from_utf8(json).unwrap())
    }

    #[test]
    fn nulls_and_empty_arrays_are_left_out_and_the_rest_keeps_its_order() {
        let text = r#"{"b": 1, "n": null, "list": [], "a": {"x": [1, null], "y": null}, "d": 1.50, "b": 2}"#;
        assert_eq!(json(text, NullFields::Ignore).unwrap(), r#"{"b":2,"a":{"x":[1,null]},"d":1.5}"#);
        let kept = json(text, NullFields::OptionalBytes).unwrap();
        assert_eq!(kept, r#"{"b":2,"n":null,"a":{"x":[1,null],"y":null},"d":1.5}"#);
    }

    #[test]
    fn objects_of_an_array_have_the_fields_of_all() {
        let text = r#"{"o": [{"a": null}, {"a": 1, "b": "x"}, null]}"#;
        let expected = r#"{"o":[{"a":null,"b":null},{"a":1,"b":"x"},null]}"#;
        assert_eq!(json(text, NullFields::OptionalBytes).as_deref(), Some(expected));
    }

    #[test]
    fn numbers_are_read_as_jackson_reads_them() {
        let text = r#"{"a": -0, "b": [-0,-0], "c": -0.0, "d": -0e1, "e": "-0 \"-0", "f": 1e-0, "g": -5}"#;
        let expected = r#"{"a":0,"b":[0,0],"c":-0.0,"d":-0.0,"e":"-0 \"-0","f":1.0,"g":-5}"#;
        assert_eq!(json(text, NullFields::Ignore).as_deref(), Some(expected));
        let (schema, _) = expanded("payload", br#"{"a": -0}"#, NullFields::Ignore).unwrap();
        assert!(
            matches!(&schema.schema_type, SchemaType::Struct(fields) if fields[0].schema.schema_type == SchemaType::Int32)
        );
        assert_eq!(
            json(r#"{"a": 1e400, "b": -1e400}"#, NullFields::Ignore).unwrap(),
            r#"{"a":"Infinity","b":"-Infinity"}"#
        );
        for text in [r#"{"a": 1-0}"#, r#"{"a": 12345678901234567890}"#, r#"{"a": 123456789012345678901234567890}"#] {
            assert_eq!(json(text, NullFields::Ignore), None, "{text}");
        }
        assert!(is_empty_array(b"[ ]") && !is_empty_array(b" []") && !is_empty_array(b"[1]") && !is_empty_array(b"{}"));
        let deep = |depth: usize| format!("{{\"a\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(json(&deep(100), NullFields::Ignore).is_some() && json(&deep(200_000), NullFields::Ignore).is_none());
    }

    #[test]
    fn what_has_no_one_schema_stays_a_text() {
        for text in [
            "[1]",
            "\"x\"",
            "{",
            r#"{"m": [1, "a"]}"#,
            r#"{"m": [1, 1.5]}"#,
            r#"{"m": [null]}"#,
            r#"{"m": [[1], ["a"]]}"#,
            r#"{"m": {"": 1}}"#,
        ] {
            assert_eq!(json(text, NullFields::Ignore), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_to_json_or_left_alone(text in "\\{[\\[\\]{}a\":,0-9null .-]{0,40}\\}?") {
            for nulls in [NullFields::Ignore, NullFields::OptionalBytes] {
                if let Some(json) = json(&text, nulls) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
                }
            }
        }
    }
}
