//! What Kafka Connect's transforms of fields make of the fields of a value.

use super::plan::PlanError;
use crate::connect::json::write_string;
use crate::connect::{Field, Nulls, Schema, SchemaType};
use crate::transform::{FieldAction, FieldEdit, Inserted, ReplacedFields};
use crate::typemap::write_double;

/// A field of a value, and where its bytes come from.
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
    Own {
        of: S,
        /// What nulls became on the way.
        nulls: Option<Nulls>,
        /// Stands for every value but null.
        mask: Option<Vec<u8>>,
    },
    /// The same bytes in every record.
    Bytes(Vec<u8>),
}

impl<S> ShownField<S> {
    pub(super) fn own(name: impl Into<String>, schema: Schema, of: S) -> Self {
        Self { name: name.into(), schema, source: Source::Own { of, nulls: None, mask: None } }
    }
}

/// The schema of the fields, which is otherwise like another one and never null.
pub(super) fn schema_of<S>(fields: &[ShownField<S>], like: &Schema) -> Schema {
    let field = |field: &ShownField<S>| Field { name: field.name.clone(), schema: field.schema.clone() };
    let schema_type = SchemaType::Struct(fields.iter().map(field).collect());
    Schema { schema_type, is_optional: false, ..like.clone() }
}

/// The fields behind all of these.
pub(super) fn edited<S>(mut fields: Vec<ShownField<S>>, edits: &[FieldEdit]) -> Result<Vec<ShownField<S>>, PlanError> {
    for edit in edits {
        fields.iter_mut().for_each(|field| note_nulls(field, edit.nulls));
        match &edit.action {
            FieldAction::Replace(replaced) => fields = replace(fields, replaced)?,
            FieldAction::Insert(inserted) => fields.extend(inserted.iter().map(|field| ShownField {
                name: field.name.clone(),
                schema: Schema { is_optional: field.is_optional, ..inserted_schema(&field.content) },
                source: Source::Bytes(inserted_json(&field.content)),
            })),
            FieldAction::Mask { names, replacement } => {
                let is_named = |field: &&mut ShownField<S>| names.contains(&field.name);
                fields.iter_mut().filter(is_named).try_for_each(|field| mask(field, replacement.as_deref()))?;
            }
        }
        let is_repeated = |at: usize, name: &String| fields.iter().take(at).any(|other| other.name == *name);
        if let Some((_, field)) = fields.iter().enumerate().find(|(at, field)| is_repeated(*at, &field.name)) {
            return Err(PlanError::Duplicate(field.name.clone()));
        }
    }
    Ok(fields)
}

/// The first that looks at a null says what becomes of it.
pub(super) fn note_nulls<S>(field: &mut ShownField<S>, seen: Nulls) {
    if let (Source::Own { nulls, .. }, Nulls::Replaced) = (&mut field.source, seen) {
        *nulls = Some(Nulls::Replaced);
    }
}

fn replace<S>(fields: Vec<ShownField<S>>, edit: &ReplacedFields) -> Result<Vec<ShownField<S>>, PlanError> {
    let is_kept = |name: &str| edit.keeps(name) && fields.iter().any(|field| field.name == name);
    // Kafka takes the value of a field that has a new name of another one from there, and ends where there is none.
    let strange = edit.renames.iter().find(|(old, new)| !is_kept(old) && is_kept(new) && edit.renamed(new) == new);
    if let Some((_, new)) = strange {
        return Err(PlanError::Duplicate(new.clone()));
    }
    let kept = fields.into_iter().filter(|field| edit.keeps(&field.name));
    Ok(kept.map(|field| ShownField { name: edit.renamed(&field.name).to_owned(), ..field }).collect())
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

fn mask<S>(field: &mut ShownField<S>, replacement: Option<&str>) -> Result<(), PlanError> {
    let Some(json) = masked_json(&field.schema, replacement) else {
        let what = "masked as MaskField is told to, which has no replacement for its type";
        return Err(PlanError::WrongType { column: field.name.clone(), what });
    };
    match &mut field.source {
        Source::Own { mask, .. } => *mask = Some(json),
        Source::Bytes(bytes) if bytes.as_slice() != b"null" => *bytes = json,
        Source::Bytes(_) => {}
    }
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
    use crate::transform::InsertedField;

    fn fields(names: &[&str]) -> Vec<ShownField<()>> {
        names.iter().map(|name| ShownField::own(*name, Schema::new(SchemaType::String), ())).collect()
    }

    fn names(fields: &[ShownField<()>]) -> Vec<&str> {
        fields.iter().map(|field| field.name.as_str()).collect()
    }

    fn edit(action: FieldAction) -> FieldEdit {
        FieldEdit { action, nulls: Nulls::Replaced }
    }

    fn replaced(excluded: &[&str], renames: &[(&str, &str)]) -> FieldEdit {
        let excluded = excluded.iter().map(|name| (*name).to_owned()).collect();
        let renames = renames.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        edit(FieldAction::Replace(ReplacedFields { excluded, included: Vec::new(), renames }))
    }

    #[test]
    fn fields_go_and_get_new_names_in_their_places() {
        let behind = edited(fields(&["a", "b", "c"]), &[replaced(&["c"], &[("a", "b"), ("b", "a")])]).unwrap();
        assert_eq!(names(&behind), ["b", "a"]);
        for strange in [replaced(&[], &[("a", "b")]), replaced(&["a"], &[("a", "b")]), replaced(&[], &[("x", "b")])] {
            assert!(matches!(edited(fields(&["a", "b"]), &[strange]), Err(PlanError::Duplicate(name)) if name == "b"));
        }
    }

    #[test]
    fn added_fields_stand_last_and_only_once() {
        let added = |name: &str| edit(FieldAction::Insert(vec![InsertedField::new(name, Inserted::Text("x".into()))]));
        let behind = edited(fields(&["a"]), &[added("b!"), replaced(&["a"], &[])]).unwrap();
        assert_eq!(names(&behind), ["b"]);
        assert!(!behind[0].schema.is_optional);
        assert!(edited(fields(&["a"]), &[added("a")]).is_err());
    }

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
