//! The fields of a value and where their bytes come from, and what Kafka Connect's transforms make of single ones.

use super::conversion::{Conversion, cast_schema, converted, is_cast, time_form, time_schema};
use super::plan::PlanError;
use crate::connect::json::write_string;
use crate::connect::{Field, Nulls, Schema, SchemaType};
use crate::transform::{CastType, Inserted, InsertedField, ReplacedFields, TimeEdit, TimeForm};
use crate::typemap::write_double;

pub(super) const NULL: &[u8] = b"null";

/// A field of a value, or a value, and where its bytes come from.
#[derive(Debug, Clone)]
pub(super) struct ShownField<S> {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) source: Source<S>,
}

/// Where the bytes of a field come from.
#[derive(Debug, Clone)]
pub(super) enum Source<S> {
    /// From the record.
    Own(Own<S>),
    /// The same bytes in every record.
    Bytes(Vec<u8>),
    /// From its fields.
    Fields(Vec<ShownField<S>>),
}

/// What a record has, and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Own<S> {
    pub(super) of: S,
    /// What nulls became on the way.
    pub(super) nulls: Option<Nulls>,
    /// Stands for null.
    pub(super) when_null: Option<Vec<u8>>,
    /// What becomes of every value but null.
    pub(super) conversions: Vec<Conversion>,
}

impl<S> ShownField<S> {
    pub(super) fn own(name: impl Into<String>, schema: Schema, of: S) -> Self {
        let own = Own { of, nulls: None, when_null: None, conversions: Vec::new() };
        Self { name: name.into(), schema, source: Source::Own(own) }
    }

    /// A struct of these fields, whose schema is otherwise like another one.
    pub(super) fn of_fields(name: impl Into<String>, like: &Schema, fields: Vec<Self>) -> Self {
        Self { name: name.into(), schema: schema_of(&fields, like), source: Source::Fields(fields) }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.source, Source::Bytes(bytes) if bytes.as_slice() == NULL)
    }

    fn convert(&mut self, conversion: Conversion) -> Result<(), PlanError> {
        match &mut self.source {
            Source::Own(own) => own.conversions.push(conversion),
            Source::Bytes(bytes) => match converted(bytes, &[conversion]) {
                Some(json) => *bytes = json.into_owned(),
                None => return Err(self.wrong_type("converted as a transform is told to")),
            },
            Source::Fields(_) => {
                return Err(self.wrong_type("converted as a transform is told to, because it has fields"));
            }
        }
        Ok(())
    }

    fn wrong_type(&self, what: &'static str) -> PlanError {
        PlanError::WrongType { column: self.name.clone(), what }
    }
}

/// The schema of the fields, which is otherwise like another one.
pub(super) fn schema_of<S>(fields: &[ShownField<S>], like: &Schema) -> Schema {
    let field = |field: &ShownField<S>| Field { name: field.name.clone(), schema: field.schema.clone() };
    Schema { schema_type: SchemaType::Struct(fields.iter().map(field).collect()), ..like.clone() }
}

/// The first that looks at a null says what becomes of it.
pub(super) fn note_nulls<S>(field: &mut ShownField<S>, seen: Nulls) {
    if let (Source::Own(own), Nulls::Replaced) = (&mut field.source, seen) {
        own.nulls.get_or_insert(Nulls::Replaced);
    }
}

pub(super) fn replace<S>(fields: Vec<ShownField<S>>, edit: &ReplacedFields) -> Result<Vec<ShownField<S>>, PlanError> {
    let is_kept = |name: &str| edit.keeps(name) && fields.iter().any(|field| field.name == name);
    // Kafka takes the value of a field that has a new name of another one from there, and ends where there is none.
    let strange = edit.renames.iter().find(|(old, new)| !is_kept(old) && is_kept(new) && edit.renamed(new) == new);
    if let Some((_, new)) = strange {
        return Err(PlanError::Duplicate(new.clone()));
    }
    let kept = fields.into_iter().filter(|field| edit.keeps(&field.name));
    Ok(kept.map(|field| ShownField { name: edit.renamed(&field.name).to_owned(), ..field }).collect())
}

pub(super) fn inserted<S>(field: &InsertedField) -> ShownField<S> {
    ShownField {
        name: field.name.clone(),
        schema: Schema { is_optional: field.is_optional, ..inserted_schema(&field.content) },
        source: Source::Bytes(inserted_json(&field.content)),
    }
}

fn inserted_schema(content: &Inserted) -> Schema {
    match content {
        Inserted::Topic | Inserted::Text(_) => Schema::new(SchemaType::String),
        Inserted::Partition => Schema::new(SchemaType::Int32),
        Inserted::Timestamp => {
            Schema::new(SchemaType::Int64).named("org.apache.kafka.connect.data.Timestamp").version(1)
        }
    }
}

fn inserted_json(content: &Inserted) -> Vec<u8> {
    let mut json = Vec::new();
    match content {
        Inserted::Text(text) => write_string(&mut json, text),
        Inserted::Topic | Inserted::Partition | Inserted::Timestamp => json.extend_from_slice(b"null"),
    }
    json
}

pub(super) fn mask<S>(field: &mut ShownField<S>, replacement: Option<&str>) -> Result<(), PlanError> {
    match masked_json(&field.schema, replacement) {
        Some(json) => field.convert(Conversion::Constant(json)),
        None => Err(field.wrong_type("masked as MaskField is told to, which has no replacement for its type")),
    }
}

/// The time gets another form, and loses its default.
pub(super) fn convert_time<S>(field: &mut ShownField<S>, edit: &TimeEdit) -> Result<(), PlanError> {
    let Some(form) = time_form(&field.schema) else {
        return Err(field.wrong_type("converted by TimestampConverter, which knows no times of its type"));
    };
    if form == TimeForm::Text {
        let Some(format) = &edit.format else {
            return Err(field.wrong_type("converted by TimestampConverter without a `format`"));
        };
        if let Some(why) = format.unreadable() {
            return Err(PlanError::Unreadable { column: field.name.clone(), why });
        }
    }
    // What was seen as null is null also where its default would stand for it.
    if let Source::Own(own) = &mut field.source {
        own.nulls = own.nulls.or(Some(Nulls::Kept));
    }
    field.convert(Conversion::Time(form, edit.clone()))?;
    field.schema = time_schema(edit.target, field.schema.is_optional);
    Ok(())
}

/// The value gets another type, as does its default.
pub(super) fn cast_field<S>(field: &mut ShownField<S>, to: CastType) -> Result<(), PlanError> {
    let conversion = || Conversion::Cast(Box::new(field.schema.clone()), to);
    if !is_cast(&field.schema, to) {
        return Err(field.wrong_type("cast as Cast is told to, which takes no values of its type"));
    }
    let default = match &field.schema.default {
        Some(default) => match converted(default, &[conversion()]) {
            Some(json) => Some(json.into_owned()),
            None => return Err(field.wrong_type("cast as Cast is told to, which its default does not take")),
        },
        None => None,
    };
    let conversion = conversion();
    field.convert(conversion)?;
    field.schema = Schema { default, ..cast_schema(to, field.schema.is_optional) };
    Ok(())
}

/// What stands for a value of a type; `None` where Kafka has nothing.
fn masked_json(schema: &Schema, replacement: Option<&str>) -> Option<Vec<u8>> {
    let is_time = schema.name.as_deref().is_some_and(|name| name.starts_with("org.apache.kafka.connect.data."));
    let mut json = Vec::new();
    match (&schema.schema_type, replacement) {
        (SchemaType::Bytes | SchemaType::Struct(_), _) => return None,
        (_, Some(_)) if is_time => return None,
        (SchemaType::Boolean, None) => json.extend_from_slice(b"false"),
        (SchemaType::Int8 | SchemaType::Int16 | SchemaType::Int32 | SchemaType::Int64, text) => {
            let number: i64 = text.unwrap_or("0").parse().ok()?;
            let fits = match schema.schema_type {
                SchemaType::Int8 => i8::try_from(number).is_ok(),
                SchemaType::Int16 => i16::try_from(number).is_ok(),
                SchemaType::Int32 => i32::try_from(number).is_ok(),
                _ => true,
            };
            json.extend_from_slice(fits.then(|| number.to_string())?.as_bytes());
        }
        (SchemaType::Double, text) => write_double(&mut json, text.unwrap_or("0").parse().ok()?),
        (SchemaType::Float, None) => json.extend_from_slice(b"0.0"),
        (SchemaType::String, text) => write_string(&mut json, text.unwrap_or_default()),
        (SchemaType::Array(_), None) => json.extend_from_slice(b"[]"),
        (SchemaType::Map(..), None) => json.extend_from_slice(b"{}"),
        (SchemaType::Boolean | SchemaType::Float | SchemaType::Array(_) | SchemaType::Map(..), Some(_)) => return None,
    }
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_value_is_of_its_type() {
        let shown = |schema_type, replacement| {
            masked_json(&Schema::new(schema_type), replacement).map(|json| String::from_utf8(json).unwrap())
        };
        assert_eq!(shown(SchemaType::String, None).as_deref(), Some("\"\""));
        assert_eq!(shown(SchemaType::String, Some("x\"")).as_deref(), Some("\"x\\\"\""));
        assert_eq!(shown(SchemaType::Int16, Some("-7")).as_deref(), Some("-7"));
        assert_eq!(shown(SchemaType::Int16, Some("40000")), None);
        assert_eq!(shown(SchemaType::Double, Some("1e10")).as_deref(), Some("1.0E10"));
        assert_eq!(shown(SchemaType::Boolean, None).as_deref(), Some("false"));
        assert_eq!(shown(SchemaType::Boolean, Some("true")), None);
        assert_eq!(shown(SchemaType::Bytes, None), None);
    }
}
