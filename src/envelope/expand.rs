//! The text of a JSON object as that object, with a schema made after it, as `EventRouter` expands a payload.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::forms::quoted_name;
use crate::connect::json::write_string;
use crate::connect::{Field, Schema, SchemaType};
use crate::transform::NullFields;
use crate::typemap::write_double;

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
    let node: Node = serde_json::from_slice(text).ok()?;
    let schema = schema_of(Some(column), &node, nulls).ok()??;
    let mut json = Vec::with_capacity(text.len());
    write(&mut json, &node, &schema).ok()?;
    Some((schema, json))
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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Boolean(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number))
    }

    /// What is too large for Java's long has no schema there.
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        i64::try_from(number).map(Node::Integer).map_err(E::custom)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Node::Array(elements))
    }

    /// Of members of one name the last counts, in the place of the first.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        while let Some((name, node)) = map.next_entry::<String, Node>()? {
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some(member) => member.1 = node,
                None => members.push((name, node)),
            }
        }
        Ok(Node::Object(members))
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
    fn what_has_no_one_schema_stays_a_text() {
        for text in [
            "[1]",
            "\"x\"",
            "{",
            r#"{"m": [1, "a"]}"#,
            r#"{"m": [1, 1.5]}"#,
            r#"{"m": [null]}"#,
            r#"{"m": [[1], ["a"]]}"#,
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
