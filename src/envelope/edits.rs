//! What Kafka Connect's transforms of fields make of a value, worked out before a row comes.

use super::conversion::Conversion;
use super::fields::{
    NULL, Own, ShownField, Source, cast_field, convert_time, inserted, mask, note_nulls, replace, schema_of,
};
use super::plan::PlanError;
use crate::connect::{Nulls, Schema, SchemaType};
use crate::transform::{FieldAction, FieldEdit};

/// What the parts of a value that a record has are made of.
pub(super) trait Parts<S> {
    /// The fields of a part that is never null; `None` of a part that it knows no better than its JSON.
    fn fields(&self, part: &S, schema: &Schema) -> Option<Vec<ShownField<S>>>;

    /// The same of one that may be null.
    fn fields_or_nulls(&self, part: &S, schema: &Schema) -> Option<Vec<ShownField<S>>> {
        self.fields(part, schema)
    }

    /// What the converter makes of nulls.
    fn nulls(&self) -> Nulls;
}

/// Knows parts by their JSON alone.
pub(super) struct Plain(pub(super) Nulls);

impl<S> Parts<S> for Plain {
    fn fields(&self, _: &S, _: &Schema) -> Option<Vec<ShownField<S>>> {
        None
    }

    fn nulls(&self) -> Nulls {
        self.0
    }
}

/// The value behind all of these.
pub(super) fn edited<S: Clone>(
    mut value: ShownField<S>,
    edits: &[FieldEdit],
    parts: &impl Parts<S>,
) -> Result<ShownField<S>, PlanError> {
    for edit in edits {
        if value.is_null() && !edit.action.is_for_null() {
            continue;
        }
        value = match &edit.action {
            FieldAction::Hoist(name) => {
                let field = ShownField { name: name.clone(), ..value };
                ShownField::of_fields(String::new(), &Schema::of_fields(Vec::<(String, Schema)>::new()), vec![field])
            }
            FieldAction::Describe { name, version } => {
                let Schema { name: old_name, version: old_version, .. } = value.schema;
                let name = name.clone().map(Into::into).or(old_name);
                let schema = Schema { name, version: version.or(old_version), ..value.schema };
                seen(ShownField { schema, ..value }, edit.nulls, parts)?
            }
            FieldAction::Extract(name) => extracted(value, name, edit.nulls, parts)?,
            _ => with_fields(value, edit, parts)?,
        };
    }
    Ok(value)
}

/// A value whose fields a transform has read, which makes a difference where the converter would keep their nulls.
fn seen<S: Clone>(mut value: ShownField<S>, nulls: Nulls, parts: &impl Parts<S>) -> Result<ShownField<S>, PlanError> {
    let is_struct = matches!(value.schema.schema_type, SchemaType::Struct(_));
    if is_struct && !value.is_null() && (nulls, parts.nulls()) == (Nulls::Replaced, Nulls::Kept) {
        let mut fields = fields_of(&value, parts)?;
        fields.iter_mut().for_each(|field| note_nulls(field, nulls));
        value.source = Source::Fields(fields);
    }
    Ok(value)
}

fn extracted<S: Clone>(
    value: ShownField<S>,
    name: &str,
    nulls: Nulls,
    parts: &impl Parts<S>,
) -> Result<ShownField<S>, PlanError> {
    let fields = fields_of(&value, parts)?;
    let found = fields.into_iter().find(|field| field.name == name);
    let mut field = found.ok_or_else(|| PlanError::NoField(name.to_owned()))?;
    note_nulls(&mut field, nulls);
    Ok(field)
}

fn with_fields<S: Clone>(
    value: ShownField<S>,
    edit: &FieldEdit,
    parts: &impl Parts<S>,
) -> Result<ShownField<S>, PlanError> {
    let mut fields = fields_of(&value, parts)?;
    fields.iter_mut().for_each(|field| note_nulls(field, edit.nulls));
    let mut is_optional = value.schema.is_optional;
    match &edit.action {
        FieldAction::Replace(replaced) => {
            (fields, is_optional) = (replace(fields, replaced)?, false);
        }
        FieldAction::Insert(added) => {
            fields.extend(added.iter().map(inserted));
            is_optional = false;
        }
        FieldAction::Mask { names, replacement } => {
            let is_named = |field: &&mut ShownField<S>| names.contains(&field.name);
            fields.iter_mut().filter(is_named).try_for_each(|field| mask(field, replacement.as_deref()))?;
        }
        FieldAction::Time(time) => {
            let is_named = |field: &&mut ShownField<S>| field.name == time.field;
            fields.iter_mut().filter(is_named).try_for_each(|field| convert_time(field, time))?;
        }
        FieldAction::Cast(casts) => {
            for field in &mut fields {
                // Of two for one field the last one counts.
                if let Some((_, to)) = casts.iter().rfind(|(name, _)| *name == field.name) {
                    cast_field(field, *to)?;
                }
            }
        }
        FieldAction::Flatten(delimiter) => {
            let mut flat = Vec::new();
            let fields_of_value = std::mem::take(&mut fields);
            flatten(&mut flat, fields_of_value, (None, delimiter), is_optional, parts)?;
            (fields, is_optional) = (flat, false);
        }
        FieldAction::Extract(_) | FieldAction::Hoist(_) | FieldAction::Describe { .. } => {}
    }
    let is_repeated = |at: usize, name: &String| fields.iter().take(at).any(|other| other.name == *name);
    if let Some((_, field)) = fields.iter().enumerate().find(|(at, field)| is_repeated(*at, &field.name)) {
        return Err(PlanError::Duplicate(field.name.clone()));
    }
    let schema = Schema { is_optional, ..schema_of(&fields, &value.schema) };
    let source = if value.is_null() { value.source } else { Source::Fields(fields) };
    Ok(ShownField { schema, source, ..value })
}

/// The fields of a struct; those of a null are null.
fn fields_of<S: Clone>(value: &ShownField<S>, parts: &impl Parts<S>) -> Result<Vec<ShownField<S>>, PlanError> {
    match &value.source {
        Source::Fields(fields) => return Ok(fields.clone()),
        Source::Own(own) => {
            if let Some(fields) = parts.fields(&own.of, &value.schema).filter(|_| own.conversions.is_empty()) {
                return Ok(fields);
            }
            if value.schema.is_optional {
                return Err(PlanError::NoFields(value.name.clone()));
            }
        }
        Source::Bytes(_) => {}
    }
    members(value).ok_or_else(|| PlanError::NoFields(value.name.clone()))
}

/// The members of an object.
fn members<S: Clone>(value: &ShownField<S>) -> Option<Vec<ShownField<S>>> {
    let SchemaType::Struct(fields) = &value.schema.schema_type else { return None };
    let member = |field: &crate::connect::Field| {
        let source = match &value.source {
            Source::Own(own) => {
                let member = Conversion::Member(field.name.clone());
                let conversions = own.conversions.iter().cloned().chain([member]).collect();
                Source::Own(Own { conversions, ..own.clone() })
            }
            Source::Bytes(_) | Source::Fields(_) => Source::Bytes(NULL.to_vec()),
        };
        ShownField { name: field.name.clone(), schema: field.schema.clone(), source }
    };
    Some(fields.iter().map(member).collect())
}

/// Adds fields to a struct that has none within another one.
fn flatten<S: Clone>(
    flat: &mut Vec<ShownField<S>>,
    fields: Vec<ShownField<S>>,
    (prefix, delimiter): (Option<&str>, &str),
    is_optional: bool,
    parts: &impl Parts<S>,
) -> Result<(), PlanError> {
    for mut field in fields {
        let name = match prefix {
            Some(prefix) => format!("{prefix}{delimiter}{}", field.name),
            None => field.name.clone(),
        };
        let is_optional = is_optional || field.schema.is_optional;
        match &field.schema.schema_type {
            SchemaType::Map(..) => {
                let what = "flattened, because Kafka Connect's Flatten takes no maps";
                return Err(PlanError::WrongType { column: name, what });
            }
            SchemaType::Struct(_) => {
                let inner = match &field.source {
                    Source::Fields(fields) => fields.clone(),
                    Source::Own(own) => parts
                        .fields_or_nulls(&own.of, &field.schema)
                        .filter(|_| own.conversions.is_empty())
                        .or_else(|| members(&field))
                        .unwrap_or_default(),
                    Source::Bytes(_) => members(&field).unwrap_or_default(),
                };
                flatten(flat, inner, (Some(&name), delimiter), is_optional, parts)?;
            }
            _ => {
                note_nulls(&mut field, Nulls::Replaced);
                let is_member = matches!(&field.source, Source::Own(own) if !own.conversions.is_empty());
                if is_member && parts.nulls() == Nulls::Kept && field.schema.default.is_some() {
                    let what = "flattened while value.converter.replace.null.with.default is false";
                    return Err(PlanError::WrongType { column: name, what });
                }
                if parts.nulls() == Nulls::Replaced {
                    let default = field.schema.default.clone();
                    match &mut field.source {
                        Source::Own(own) => own.when_null = own.when_null.take().or(default),
                        Source::Bytes(bytes) if bytes.as_slice() == NULL => *bytes = default.unwrap_or(NULL.to_vec()),
                        Source::Bytes(_) | Source::Fields(_) => {}
                    }
                }
                let schema = Schema { is_optional, ..field.schema };
                flat.push(ShownField { name, schema, ..field });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{CastType, Inserted, InsertedField, ReplacedFields, TimeEdit, TimeForm, UnixPrecision};

    fn struct_of(fields: Vec<(&str, Schema)>) -> ShownField<()> {
        let fields = fields.into_iter().map(|(name, schema)| ShownField::own(name, schema, ())).collect();
        let like = Schema::of_fields(Vec::<(String, Schema)>::new()).named("t.Value").optional();
        ShownField::of_fields("", &like, fields)
    }

    fn fields(names: &[&str]) -> ShownField<()> {
        struct_of(names.iter().map(|name| (*name, Schema::new(SchemaType::String))).collect())
    }

    fn names(value: &ShownField<()>) -> Vec<&str> {
        let SchemaType::Struct(fields) = &value.schema.schema_type else { panic!("{value:?}") };
        fields.iter().map(|field| field.name.as_str()).collect()
    }

    fn edit(action: FieldAction) -> FieldEdit {
        FieldEdit { action, nulls: Nulls::Replaced }
    }

    fn behind(
        value: ShownField<()>,
        actions: impl IntoIterator<Item = FieldAction>,
    ) -> Result<ShownField<()>, PlanError> {
        let edits: Vec<FieldEdit> = actions.into_iter().map(edit).collect();
        edited(value, &edits, &Plain(Nulls::Replaced))
    }

    fn replaced(excluded: &[&str], renames: &[(&str, &str)]) -> FieldAction {
        let excluded = excluded.iter().map(|name| (*name).to_owned()).collect();
        let renames = renames.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        FieldAction::Replace(ReplacedFields { excluded, included: Vec::new(), renames })
    }

    fn nulls(like: &ShownField<()>) -> ShownField<()> {
        ShownField { source: Source::Bytes(NULL.to_vec()), ..like.clone() }
    }

    #[test]
    fn fields_go_and_get_new_names_in_their_places() {
        let value = behind(fields(&["a", "b", "c"]), [replaced(&["c"], &[("a", "b"), ("b", "a")])]).unwrap();
        assert_eq!((names(&value), value.schema.is_optional), (vec!["b", "a"], false));
        for strange in [replaced(&[], &[("a", "b")]), replaced(&["a"], &[("a", "b")]), replaced(&[], &[("x", "b")])] {
            assert!(matches!(behind(fields(&["a", "b"]), [strange]), Err(PlanError::Duplicate(name)) if name == "b"));
        }
    }

    #[test]
    fn added_fields_stand_last_and_only_once() {
        let added = |name: &str| FieldAction::Insert(vec![InsertedField::new(name, Inserted::Text("x".into()))]);
        let value = behind(fields(&["a"]), [added("b!"), replaced(&["a"], &[])]).unwrap();
        assert_eq!(names(&value), ["b"]);
        assert!(matches!(&value.schema.schema_type, SchemaType::Struct(fields) if !fields[0].schema.is_optional));
        assert!(behind(fields(&["a"]), [added("a")]).is_err());
    }

    #[test]
    fn times_and_casts_change_schemas_and_keep_what_may_be_null() {
        let time = |field: &str| TimeEdit {
            field: field.to_owned(),
            target: TimeForm::Timestamp,
            format: None,
            precision: UnixPrecision::default(),
        };
        let number = Schema::new(SchemaType::Int64).named("io.debezium.time.Timestamp").optional().default_json(*b"5");
        let day = Schema::new(SchemaType::Int32).named("io.debezium.time.Date");
        let value = struct_of(vec![("n", number.clone()), ("c", number), ("d", day)]);
        let cast = FieldAction::Cast(vec![("c".to_owned(), CastType::String)]);
        let shown = behind(value.clone(), [FieldAction::Time(time("n")), cast, FieldAction::Time(time("nosuch"))]);
        let shown = shown.unwrap();
        let SchemaType::Struct(fields) = &shown.schema.schema_type else { panic!("{shown:?}") };
        assert_eq!(fields[0].schema.name.as_deref(), Some("org.apache.kafka.connect.data.Timestamp"));
        assert_eq!((&fields[0].schema.default, fields[0].schema.is_optional), (&None, true));
        assert_eq!((&fields[1].schema.name, fields[1].schema.default.as_deref()), (&None, Some(&b"\"5\""[..])));
        assert!(shown.schema.is_optional);
        assert!(matches!(behind(value.clone(), [FieldAction::Time(time("d"))]), Err(PlanError::WrongType { .. })));
        let null = behind(nulls(&value), [FieldAction::Time(time("n")), replaced(&["n"], &[])]).unwrap();
        assert_eq!((null.is_null(), names(&null).len()), (true, 3));
    }

    #[test]
    fn a_field_takes_the_place_of_the_value_and_the_value_that_of_a_field() {
        let inner = Schema::of_fields([("x", Schema::new(SchemaType::Int32))]);
        let value = struct_of(vec![("a", inner.clone()), ("o", inner.optional())]);
        let extract = |name: &str| FieldAction::Extract(name.to_owned());
        assert_eq!(names(&behind(value.clone(), [extract("a")]).unwrap()), ["x"]);
        assert_eq!(behind(value.clone(), [extract("a"), extract("x")]).unwrap().name, "x");
        assert!(matches!(behind(value.clone(), [extract("o"), extract("x")]), Err(PlanError::NoFields(_))));
        assert!(matches!(behind(value.clone(), [extract("y")]), Err(PlanError::NoField(_))));
        assert!(behind(nulls(&value), [extract("o"), extract("x")]).unwrap().is_null());
        let hoisted = behind(value, [FieldAction::Hoist("row".to_owned())]).unwrap();
        assert_eq!((names(&hoisted), &hoisted.schema.name), (vec!["row"], &None));
    }

    #[test]
    fn fields_of_fields_become_fields() {
        let inner = Schema::of_fields([("x", Schema::new(SchemaType::Int32).default_json(*b"1"))]).optional();
        let value = struct_of(vec![("a", inner), ("b", Schema::new(SchemaType::String))]);
        let flat = behind(value, [FieldAction::Flatten("_".to_owned())]).unwrap();
        assert_eq!((names(&flat), flat.schema.is_optional), (vec!["a_x", "b"], false));
        let Source::Fields(fields) = &flat.source else { panic!("{flat:?}") };
        assert!(fields[0].schema.is_optional);
        assert!(matches!(&fields[0].source, Source::Own(own) if own.when_null.as_deref() == Some(b"1")));
        let map = Schema::map(Schema::new(SchemaType::String), Schema::new(SchemaType::String));
        assert!(behind(struct_of(vec![("m", map)]), [FieldAction::Flatten(".".to_owned())]).is_err());
    }
}
