//! Connect's schemas, and the JSON that `JsonConverter` makes of them with `schemas.enable=true`.

use std::borrow::Cow;

use super::json::write_string;

/// What a value is, before its name gives it a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SchemaType {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
    String,
    /// Its elements' schema.
    Array(Box<Schema>),
    /// The schemas of its keys and of its values.
    Map(Box<Schema>, Box<Schema>),
    /// Fields in order.
    Struct(Vec<Field>),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Field name.
    pub name: String,
    /// Schema of its values.
    pub schema: Schema,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// What a value is.
    pub schema_type: SchemaType,
    /// Whether null is a value.
    pub is_optional: bool,
    /// Semantic name, such as `io.debezium.time.Date`.
    pub name: Option<Cow<'static, str>>,
    /// Version of the meaning.
    pub version: Option<i32>,
    /// Description.
    pub doc: Option<Cow<'static, str>>,
    /// Parameters in the order in which they were given.
    pub parameters: Vec<(Cow<'static, str>, String)>,
    /// The JSON of the value that stands in for null.
    pub default: Option<Vec<u8>>,
}

impl SchemaType {
    /// The word in the schema's JSON.
    fn word(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(..) => "map",
            Self::Struct(_) => "struct",
        }
    }
}

impl Schema {
    /// A required schema without a name.
    pub fn new(schema_type: SchemaType) -> Self {
        Self {
            schema_type,
            is_optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
        }
    }

    /// Whether Java's text of a value is what its JSON holds: not of Connect's own logical types, nor of what holds others.
    pub(crate) fn has_plain_text(&self) -> bool {
        let is_of_connect = self.name.as_deref().is_some_and(|name| name.starts_with("org.apache.kafka.connect.data."));
        !is_of_connect
            && !matches!(self.schema_type, SchemaType::Array(_) | SchemaType::Map(..) | SchemaType::Struct(_))
    }

    /// Whether `text_of` makes Java's text of its JSON: of bytes there is none.
    pub(crate) fn has_text_of_json(&self) -> bool {
        self.has_plain_text() && self.schema_type != SchemaType::Bytes
    }

    /// The name of Connect's decimals.
    pub(crate) const DECIMAL: &'static str = "org.apache.kafka.connect.data.Decimal";

    /// Whether it is Connect's decimal.
    pub(crate) fn is_decimal(&self) -> bool {
        self.name.as_deref() == Some(Self::DECIMAL)
    }

    /// A required array.
    pub fn array(items: Self) -> Self {
        Self::new(SchemaType::Array(Box::new(items)))
    }

    /// A required map.
    pub fn map(keys: Self, values: Self) -> Self {
        Self::new(SchemaType::Map(Box::new(keys), Box::new(values)))
    }

    /// A required struct of fields in order.
    pub fn of_fields<N: Into<String>>(fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, schema)| Field { name: name.into(), schema }).collect();
        Self::new(SchemaType::Struct(fields))
    }

    /// The same with a name.
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same with a version.
    #[must_use]
    pub fn version(self, version: i32) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The same with a description.
    #[must_use]
    pub fn doc(self, doc: impl Into<Cow<'static, str>>) -> Self {
        Self { doc: Some(doc.into()), ..self }
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The same, with null as a value.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// The same with a default, given as JSON.
    #[must_use]
    pub fn default_json(self, json: impl Into<Vec<u8>>) -> Self {
        Self { default: Some(json.into()), ..self }
    }

    /// Appends the schema's JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(out, None);
    }

    /// Appends the JSON; in a struct the field's name is its last member.
    fn write_with(&self, out: &mut Vec<u8>, field: Option<&str>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(self.schema_type.word().as_bytes());
        out.push(b'"');
        match &self.schema_type {
            SchemaType::Array(items) => {
                out.extend_from_slice(b",\"items\":");
                items.write(out);
            }
            SchemaType::Map(keys, values) => {
                out.extend_from_slice(b",\"keys\":");
                keys.write(out);
                out.extend_from_slice(b",\"values\":");
                values.write(out);
            }
            SchemaType::Struct(fields) => {
                out.extend_from_slice(b",\"fields\":[");
                for (at, field) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    field.schema.write_with(out, Some(&field.name));
                }
                out.push(b']');
            }
            _ => {}
        }
        out.extend_from_slice(if self.is_optional { b",\"optional\":true" } else { b",\"optional\":false" });
        write_text(out, "name", self.name.as_deref());
        if let Some(version) = self.version {
            out.extend_from_slice(b",\"version\":");
            out.extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
        }
        write_text(out, "doc", self.doc.as_deref());
        self.write_parameters(out);
        if let Some(default) = &self.default {
            out.extend_from_slice(b",\"default\":");
            out.extend_from_slice(default);
        }
        write_text(out, "field", field);
        out.push(b'}');
    }

    fn write_parameters(&self, out: &mut Vec<u8>) {
        if self.parameters.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"parameters\":{");
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            write_string(out, value);
        }
        out.push(b'}');
    }
}

/// Appends `,"member":"text"`, or nothing.
fn write_text(out: &mut Vec<u8>, member: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(member.as_bytes());
        out.extend_from_slice(b"\":");
        write_string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(schema: &Schema) -> String {
        let mut out = Vec::new();
        schema.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_types_say_whether_null_is_a_value() {
        for (schema_type, word) in [
            (SchemaType::Boolean, "boolean"),
            (SchemaType::Int8, "int8"),
            (SchemaType::Int16, "int16"),
            (SchemaType::Int32, "int32"),
            (SchemaType::Int64, "int64"),
            (SchemaType::Float, "float"),
            (SchemaType::Double, "double"),
            (SchemaType::Bytes, "bytes"),
            (SchemaType::String, "string"),
        ] {
            let schema = Schema::new(schema_type);
            assert_eq!(json(&schema), format!(r#"{{"type":"{word}","optional":false}}"#));
            assert_eq!(json(&schema.optional()), format!(r#"{{"type":"{word}","optional":true}}"#));
        }
    }

    #[test]
    fn members_stand_in_the_converters_order() {
        let decimal = Schema::new(SchemaType::Bytes)
            .optional()
            .named("org.apache.kafka.connect.data.Decimal")
            .version(1)
            .doc("a \"sum\"")
            .parameter("scale", "2")
            .parameter("connect.decimal.precision", "5")
            .default_json(*b"\"AA==\"");
        let expected = r#""optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"doc":"a \"sum\"","parameters":{"scale":"2","connect.decimal.precision":"5"},"default":"AA==""#;
        assert_eq!(json(&decimal), format!(r#"{{"type":"bytes",{expected}}}"#));
        let row = Schema::of_fields([("sum", decimal)]).optional().named("p.public.t.Value");
        assert_eq!(
            json(&row),
            format!(
                r#"{{"type":"struct","fields":[{{"type":"bytes",{expected},"field":"sum"}}],"optional":true,"name":"p.public.t.Value"}}"#
            )
        );
    }

    #[test]
    fn what_holds_values_shows_their_schemas_before_its_own_members() {
        let text = || Schema::new(SchemaType::String);
        assert_eq!(
            json(&Schema::array(text().optional()).optional()),
            r#"{"type":"array","items":{"type":"string","optional":true},"optional":true}"#
        );
        assert_eq!(
            json(&Schema::map(text(), text().optional())),
            r#"{"type":"map","keys":{"type":"string","optional":false},"values":{"type":"string","optional":true},"optional":false}"#
        );
        assert_eq!(
            json(&Schema::of_fields(Vec::<(String, Schema)>::new())),
            r#"{"type":"struct","fields":[],"optional":false}"#
        );
    }
}
