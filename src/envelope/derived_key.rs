//! Keys that transforms have made: worked out once for each kind of a table's records, out of the pieces that values are of.

use std::sync::Arc;

use super::fields::{ShownField, Source, edited, note_nulls, schema_of};
use super::forms::{Layout, shown};
use super::key::java_text;
use super::pieces::{Pieces, quoted, source_value};
use super::plan::{ColumnPiece, Piece, PlanError, framed, refuse_other_decimals};
use super::write::{Rows, write_pieces};
use super::{EncodeError, RowContext, TablePlan};
use crate::connect::{Nulls, Schema, SchemaType};
use crate::row::Operation;
use crate::transform::{KeyEdit, RecordKind, SeenValue, ValueForm};

/// What a record tells.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) operation: Operation,
    pub(super) row: RowContext<'a>,
}

/// A key, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct DerivedKey {
    form: KeyForm,
    /// The columns that it shows as they are.
    places: Vec<usize>,
}

#[derive(Debug, Clone)]
enum KeyForm {
    Json(Arc<[Piece]>),
    Text(Text),
}

/// Java's text of a key: of a struct, of which nulls are no part, or of a value.
#[derive(Debug, Clone)]
enum Text {
    Struct(Vec<(String, Text)>),
    Value(Box<Piece>, Schema),
}

/// What a field of a key is, or the whole key.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Pieces(Vec<Piece>),
    Fields(Vec<KeyField>),
}

/// A field of a key; the whole key is one without a name.
pub(super) type KeyField = ShownField<Node>;

fn unmade(why: impl Into<String>) -> PlanError {
    PlanError::Unmade(why.into())
}

/// The fields of a struct and its schema.
pub(super) type StructOf<S> = (Vec<ShownField<S>>, Schema);

/// What a transform makes of the fields of a key, and of its schema; none if it does not leave it a struct.
pub(super) fn fields_edited<S>(
    fields: Vec<ShownField<S>>,
    schema: &Schema,
    edit: &KeyEdit,
) -> Result<Option<StructOf<S>>, PlanError> {
    match edit {
        KeyEdit::Fields(edit) => {
            let fields = edited(fields, std::slice::from_ref(edit))?;
            let schema = schema_of(&fields, schema);
            Ok(Some((fields, schema)))
        }
        KeyEdit::Logical { schema_name, field } => {
            let mut fields = fields;
            if let Some((name, text)) = field {
                if fields.iter().any(|other| other.name == *name) {
                    return Err(PlanError::Duplicate(name.clone()));
                }
                let (schema, source) = (Schema::new(SchemaType::String), Source::Bytes(quoted(text)));
                fields.push(ShownField { name: name.clone(), schema, source });
            }
            let is_optional = schema.is_optional;
            let schema = Schema { is_optional, ..schema_of(&fields, schema) }.named(schema_name.clone());
            Ok(Some((fields, schema)))
        }
        KeyEdit::FromValue { .. } | KeyEdit::Extract { .. } | KeyEdit::Hoist(_) => Ok(None),
    }
}

impl Layout<'_> {
    /// The key of a kind of records behind all of these; none where it is the table's, or there is none.
    pub(super) fn derived_key(&self, kind: RecordKind, keys: &[KeyEdit]) -> Result<Option<DerivedKey>, PlanError> {
        if keys.is_empty() {
            return Ok(None);
        }
        let Some(key) = self.key_behind(kind, keys)? else { return Ok(None) };
        let converter = self.options.key_converter;
        if converter.is_json() && self.options.key_decimals_are_numbers != self.options.handling.decimals_are_numbers {
            refuse_other_decimals(&Schema::of_fields([("alone", key.schema.clone())]))?;
        }
        let mut places = Vec::new();
        let form = match converter.is_json() {
            true => {
                let (head, tail) = framed(converter.shown(&key.schema));
                let mut pieces = Pieces(vec![Piece::Bytes(head)]);
                self.write_json(&mut pieces, key, &mut places)?;
                pieces.bytes(tail);
                KeyForm::Json(pieces.0.into())
            }
            false => KeyForm::Text(self.text(key, &mut places)?),
        };
        Ok(Some(DerivedKey { form, places }))
    }

    /// The key as a struct or a value, before it is converted; none where records have none.
    pub(super) fn key_behind(&self, kind: RecordKind, keys: &[KeyEdit]) -> Result<Option<KeyField>, PlanError> {
        keys.iter().try_fold(self.key_of_table(kind), |key, edit| self.key_edited(kind, key, edit))
    }

    fn key_of_table(&self, kind: RecordKind) -> Option<KeyField> {
        let SchemaType::Struct(fields) = &self.key.schema_type else { return None };
        if !self.has_key || kind == RecordKind::Truncate {
            return None;
        }
        let is_before = !kind.has_row_after();
        let fields = fields.iter().zip(self.places).filter_map(|(field, place)| {
            let mut column = self.columns.get(*place)?.clone()?;
            column.mask = None;
            let piece = ColumnPiece { is_before, place: *place, column, nulls: None, stand_in: None };
            let node = Node::Pieces(vec![Piece::Column(Box::new(piece))]);
            Some(ShownField::own(field.name.clone(), field.schema.clone(), node))
        });
        Some(ShownField::own("", self.key.clone(), Node::Fields(fields.collect())))
    }

    fn key_edited(
        &self,
        kind: RecordKind,
        key: Option<KeyField>,
        edit: &KeyEdit,
    ) -> Result<Option<KeyField>, PlanError> {
        if let KeyEdit::FromValue { fields, nulls, value } = edit {
            return self.key_of_value(fields, *nulls, value).map(Some);
        }
        let Some(key) = key else {
            return match edit {
                KeyEdit::Hoist(_) => Err(unmade("its records have no key, of which HoistField$Key could make a field")),
                _ => Ok(None),
            };
        };
        if let KeyEdit::Hoist(name) = edit {
            let schema = Schema::of_fields([(name.clone(), key.schema.clone())]);
            return Ok(Some(ShownField::own("", schema, Node::Fields(vec![ShownField { name: name.clone(), ..key }]))));
        }
        let schema = key.schema.clone();
        let Some(fields) = self.fields_of(kind, key)? else {
            return Err(unmade("its key is a single value by then, of which a transform of keys wants a field"));
        };
        if let KeyEdit::Extract { field, nulls } = edit {
            let found = fields.into_iter().find(|known| known.name == *field);
            let mut found = found.ok_or_else(|| PlanError::NoKeyField(field.clone()))?;
            note_nulls(&mut found, *nulls);
            return Ok(Some(ShownField { name: String::new(), ..found }));
        }
        let edited = fields_edited(fields, &schema, edit)?;
        Ok(edited.map(|(fields, schema)| ShownField::own("", schema, Node::Fields(fields))))
    }

    fn key_of_value(&self, names: &[String], nulls: Nulls, value: &SeenValue) -> Result<KeyField, PlanError> {
        let shown = self.fields_of_value(value)?;
        let field = |name: &String| {
            let found = shown.iter().find(|field| field.name == *name).cloned();
            let found = found.ok_or_else(|| {
                unmade(format!(
                    "its values have no field {name} for ValueToKey: give it a predicate that leaves its topic out"
                ))
            })?;
            let mut field = match (value.form == ValueForm::Envelope && name == "source", found) {
                (true, ShownField { name, schema, source: Source::Own { .. } }) => {
                    ShownField::own(name, schema, Node::Fields(self.fields_of_source()))
                }
                (_, ShownField { name, schema, source }) => {
                    let source = match source {
                        Source::Own { of, nulls, mask } => Source::Own { of: Node::Pieces(of), nulls, mask },
                        Source::Bytes(bytes) => Source::Bytes(bytes),
                    };
                    ShownField { name, schema, source }
                }
            };
            note_nulls(&mut field, nulls);
            Ok(field)
        };
        let fields = names.iter().map(field).collect::<Result<Vec<KeyField>, PlanError>>()?;
        let schema = Schema::of_fields(fields.iter().map(|field| (field.name.clone(), field.schema.clone())));
        Ok(ShownField::own("", schema, Node::Fields(fields)))
    }

    /// The fields of a value behind all transforms up to then.
    pub(super) fn fields_of_value(&self, value: &SeenValue) -> Result<Vec<ShownField<Vec<Piece>>>, PlanError> {
        match &value.form {
            ValueForm::Envelope => edited(self.envelope_fields(), &value.edits),
            ValueForm::Row(row) => edited(self.row_fields(row)?, &value.edits),
            ValueForm::NullRow | ValueForm::Tombstone | ValueForm::Event(_) => Ok(Vec::new()),
        }
    }

    fn fields_of_source(&self) -> Vec<KeyField> {
        let field = |field: &super::profile::SourceField| {
            let piece = source_value(self.facts, self.names(), *field);
            ShownField::own(field.name(), field.schema(self.facts), Node::Pieces(vec![piece]))
        };
        self.facts.source.iter().map(field).collect()
    }

    /// The fields of a struct; none of a single value.
    fn fields_of(&self, kind: RecordKind, key: KeyField) -> Result<Option<Vec<KeyField>>, PlanError> {
        match key.source {
            Source::Own { of: Node::Fields(fields), .. } => Ok(Some(fields)),
            Source::Own { of: Node::Pieces(pieces), .. } => match (pieces.as_slice(), &self.row.schema_type) {
                ([Piece::After], SchemaType::Struct(fields)) if kind.has_row_after() => {
                    let field = |field: &crate::connect::Field| {
                        let (piece, schema) = self.column_of_row(false, &field.name)?;
                        let node = Node::Pieces(vec![Piece::Column(Box::new(piece))]);
                        Some(ShownField::own(field.name.clone(), schema, node))
                    };
                    Ok(Some(fields.iter().filter_map(field).collect()))
                }
                ([Piece::After], _) => Err(unmade("it has no row after the change, of which its key is to be a field")),
                ([Piece::Before], _) => Err(unmade("evp takes no field of the row before the change for a key")),
                _ => Ok(None),
            },
            Source::Bytes(_) => Ok(None),
        }
    }

    fn write_json(&self, out: &mut Pieces, field: KeyField, places: &mut Vec<usize>) -> Result<(), PlanError> {
        if let Source::Own { of: Node::Fields(fields), mask: None, .. } = field.source {
            out.bytes(if fields.is_empty() { b"{" } else { b"" });
            for (at, field) in fields.into_iter().enumerate() {
                out.member(at, &field.name);
                self.write_json(out, field, places)?;
            }
            out.bytes(b"}");
            return Ok(());
        }
        let key = self.options.key_converter.nulls();
        self.leaf(field, key, places)?.into_iter().for_each(|piece| out.push(piece));
        Ok(())
    }

    fn text(&self, field: KeyField, places: &mut Vec<usize>) -> Result<Text, PlanError> {
        if let Source::Own { of: Node::Fields(fields), mask: None, .. } = field.source {
            let field = |field: KeyField| Ok((field.name.clone(), self.text(field, places)?));
            return fields.into_iter().map(field).collect::<Result<_, _>>().map(Text::Struct);
        }
        let (name, schema) = (field.name.clone(), field.schema.clone());
        let mut pieces = self.leaf(field, Nulls::Kept, places)?.into_iter();
        match (pieces.next(), pieces.next()) {
            (Some(piece), None) if schema.is_decimal() || schema.has_text_of_json() => {
                Ok(Text::Value(Box::new(piece), schema))
            }
            _ => Err(PlanError::WrongType { column: name, what: "in a key that StringConverter writes" }),
        }
    }

    /// The pieces of a single value, in which nulls that no transform has met are as the converter has them.
    fn leaf(&self, field: KeyField, nulls: Nulls, places: &mut Vec<usize>) -> Result<Vec<Piece>, PlanError> {
        let ShownField { name, schema, source } = field;
        let source = match source {
            Source::Own { of: Node::Pieces(of), nulls, mask } => Source::Own { of, nulls, mask },
            Source::Own { of: Node::Fields(_), .. } => {
                return Err(PlanError::WrongType { column: name, what: "masked" });
            }
            Source::Bytes(bytes) => Source::Bytes(bytes),
        };
        let mut pieces = shown(ShownField { name: name.clone(), schema, source })?;
        for piece in &mut pieces {
            match piece {
                Piece::Column(column) => {
                    column.nulls.get_or_insert(nulls);
                    if column.stand_in.is_none() && column.column.mask.is_none() {
                        places.push(column.place);
                    }
                }
                Piece::Bytes(_) | Piece::Op => {}
                Piece::Before | Piece::After if nulls == self.options.value_converter.nulls() => {}
                // A record that is written again after a restart belongs to the partition where it was.
                _ => {
                    return Err(unmade(format!(
                        "its key would hold {name}, which may be another when a record is written again after a restart"
                    )));
                }
            }
        }
        Ok(pieces)
    }
}

impl Told<'_> {
    pub(super) fn write(self, out: &mut Vec<u8>, table: &TablePlan, pieces: &[Piece]) -> Result<(), EncodeError> {
        write_pieces(out, table, pieces, self.rows, self.operation, self.row)
    }
}

impl DerivedKey {
    /// Writes the key over what `out` holds; false where it is no key, which is what `StringConverter` makes of null.
    pub(super) fn write(&self, out: &mut Vec<u8>, table: &TablePlan, told: Told<'_>) -> Result<bool, EncodeError> {
        match &self.form {
            KeyForm::Json(pieces) => told.write(out, table, pieces).map(|()| true),
            KeyForm::Text(text) => {
                let written = text.of(table, told)?;
                out.clear();
                out.extend_from_slice(written.as_deref().unwrap_or_default());
                Ok(written.is_some())
            }
        }
    }

    /// Whether it shows these columns.
    pub(super) fn holds(&self, mut places: impl Iterator<Item = Option<usize>>) -> bool {
        places.all(|place| place.is_some_and(|place| self.places.contains(&place)))
    }
}

impl Text {
    /// None of null.
    fn of(&self, table: &TablePlan, told: Told<'_>) -> Result<Option<Vec<u8>>, EncodeError> {
        match self {
            Self::Value(piece, schema) => {
                let mut json = Vec::new();
                told.write(&mut json, table, std::slice::from_ref(piece))?;
                Ok(java_text(Some(schema), &json))
            }
            Self::Struct(fields) => {
                let mut members: Vec<Vec<u8>> = Vec::new();
                for (name, field) in fields {
                    if let Some(text) = field.of(table, told)? {
                        members.push([name.as_bytes(), b"=", &text].concat());
                    }
                }
                Ok(Some([b"Struct{".as_slice(), &members.join(&b','), b"}"].concat()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        ChangeEncoder, Position, PositionKind, Profile, RecordOptions, SnapshotMark, TransactionContext,
    };
    use super::super::{PlanOptions, RowContext};
    use super::*;
    use crate::connect::{Adjustment, Converter};
    use crate::lsn::Lsn;
    use crate::pgoutput::Xid;
    use crate::row::{ColumnShape, OldRow, RowChange, TableShape, Values};
    use crate::transform::{
        Condition, DeleteHandling, FieldAction, FieldEdit, KeyTransform, Predicate, ReplacedFields, Step, Transform,
        Transforms, Unwrap,
    };
    use crate::typemap::{Handling, PgType, Placeholder};

    fn column(name: &str, type_name: &str, default: Option<&str>) -> ColumnShape {
        ColumnShape {
            name: name.to_owned(),
            type_oid: 0,
            type_modifier: -1,
            type_name: type_name.to_owned(),
            pg_type: PgType::plain(type_name),
            is_not_null: name == "id" || name == "k",
            default_expression: default.map(str::to_owned),
            is_identity: true,
        }
    }

    /// A table with the key `id`, `k` and a column with a default, or without a key.
    fn plan(steps: Vec<Step>, key_converter: Converter, key_columns: &[&str]) -> Result<TablePlan, PlanError> {
        let columns = vec![
            column("id", "int4", None),
            column("k", "text", None),
            column("v", "text", Some("'d'::text")),
            column("b", "bytea", None),
        ];
        let (schema, table) = ("s".to_owned(), "t".to_owned());
        let shape = TableShape { schema, table, columns, primary_key: Vec::new() };
        let options = PlanOptions {
            profile: Profile::V3_6,
            topic_prefix: "p".to_owned(),
            database: "d".to_owned(),
            transforms: Transforms::new(steps),
            schema_name: "p.s.t".to_owned(),
            key_converter,
            key_decimals_are_numbers: false,
            value_converter: Converter::default(),
            with_text_headers: false,
            masks: Vec::new(),
            schema_names: Adjustment::None,
            field_names: Adjustment::None,
            key_columns: key_columns.iter().map(|name| (*name).to_owned()).collect(),
            left_out: Vec::new(),
            unavailable_placeholder: Placeholder::default(),
            handling: Handling::default(),
        };
        TablePlan::new(shape, &options)
    }

    fn row(texts: [Option<&str>; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in texts {
            match text {
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(text.as_bytes());
                }
                None => bytes.push(b'n'),
            }
        }
        bytes
    }

    /// The keys of what an insert and a delete of the row come to.
    fn keys(plan: &TablePlan, texts: [Option<&str>; 4]) -> Result<Vec<Option<String>>, EncodeError> {
        let bytes = row(texts);
        let values = Values::new(4, &bytes);
        let transaction =
            TransactionContext { xid: Xid(1), commit_time_us: 0, previous_commit_end: None, origin: None };
        let (kind, commit_lsn) = (PositionKind::Stream, Lsn::new(1));
        let first = Position { kind, system_identifier: 1, commit_lsn, row: 1, part: 0 };
        let (lsn, snapshot) = (Lsn::new(1), SnapshotMark::False);
        let context = RowContext { transaction: &transaction, lsn, now_ns: 0, snapshot, first, order: None };
        let mut encoder = ChangeEncoder::new(RecordOptions { with_tombstones: true, ..RecordOptions::default() });
        let mut found = Vec::new();
        let old = OldRow { values, is_whole: true };
        for change in [RowChange::Create { new: values }, RowChange::Delete { old }] {
            encoder.encode(plan, change, context, |record| {
                found.push(record.key.map(|key| String::from_utf8(key.to_vec()).unwrap()));
                Ok::<_, EncodeError>(())
            })?;
        }
        Ok(found)
    }

    fn always(transform: KeyTransform) -> Step {
        Step { transform: Transform::Key(transform), condition: None }
    }

    fn from_value(fields: &[&str]) -> KeyTransform {
        let fields = fields.iter().map(|name| (*name).to_owned()).collect();
        KeyTransform::FromValue { fields, nulls: Nulls::Replaced }
    }

    fn extract(field: &str) -> Step {
        always(KeyTransform::Extract { field: field.to_owned(), nulls: Nulls::Replaced })
    }

    fn unwrap(deletes: DeleteHandling) -> Step {
        Step { transform: Transform::Unwrap(Unwrap { deletes, ..Unwrap::default() }), condition: None }
    }

    const ROW: [Option<&str>; 4] = [Some("7"), Some("x\"y"), None, Some("\\x00")];
    const KEY: [&str; 2] = ["id", "k"];

    fn refusal(steps: Vec<Step>) -> String {
        plan(steps, Converter::default(), &KEY).unwrap_err().to_string()
    }

    #[test]
    fn a_key_is_taken_from_the_value_and_taken_apart() {
        let made = |steps, converter, columns: &[&str]| keys(&plan(steps, converter, columns).unwrap(), ROW).unwrap();
        let both = |text: &str| vec![Some(text.to_owned()); 2];
        let json = Converter::default();
        let rows = || unwrap(DeleteHandling::Rewrite);
        assert_eq!(made(vec![rows(), always(from_value(&["v", "id"]))], json, &KEY), both(r#"{"v":"d","id":7}"#));
        assert_eq!(made(vec![rows(), always(from_value(&["v"])), extract("v")], json, &[]), both("\"d\""));
        assert_eq!(made(vec![rows(), always(from_value(&["v"]))], Converter::Text, &KEY), both("Struct{v=d}"));
        assert_eq!(made(vec![rows(), extract("k")], Converter::Text, &KEY), both("x\"y"));
        let kept = || {
            let kept = KeyTransform::FromValue { fields: vec!["v".to_owned()], nulls: Nulls::Kept };
            vec![unwrap(DeleteHandling::Drop), always(kept)]
        };
        assert_eq!(made(kept(), Converter::Text, &KEY), [Some("Struct{}".to_owned())]);
        let alone = always(KeyTransform::Extract { field: "v".to_owned(), nulls: Nulls::Kept });
        assert_eq!(made([kept(), vec![alone]].concat(), Converter::Text, &KEY), [None]);
        let hoisted = vec![rows(), extract("id"), always(KeyTransform::Hoist("key".to_owned()))];
        assert_eq!(made(hoisted.clone(), json, &KEY), both(r#"{"key":7}"#));
        assert_eq!(made([hoisted, vec![extract("key")]].concat(), Converter::Text, &KEY), both("7"));
        let envelope = vec![always(from_value(&["source"])), extract("source"), extract("table")];
        let guarded = Condition { predicate: Predicate::RecordIsTombstone, is_negated: true };
        let guarded = envelope.into_iter().map(|step| Step { condition: Some(guarded.clone()), ..step }).collect();
        let own = Some(r#"{"id":7,"k":"x\"y"}"#.to_owned());
        assert_eq!(made(guarded, json, &KEY), [Some("\"t\"".to_owned()), Some("\"t\"".to_owned()), own]);
    }

    #[test]
    fn schemas_of_keys_are_those_of_what_they_hold() {
        let with_schema = Converter::Json { with_schema: true, nulls: Nulls::Replaced };
        let of = |steps| keys(&plan(steps, with_schema, &KEY).unwrap(), ROW).unwrap().swap_remove(0).unwrap();
        let taken = of(vec![unwrap(DeleteHandling::Drop), always(from_value(&["v"]))]);
        let field = r#"{"type":"string","optional":true,"default":"d","field":"v"}"#;
        let schema = format!(r#"{{"type":"struct","fields":[{field}],"optional":false}}"#);
        assert_eq!(taken, format!(r#"{{"schema":{schema},"payload":{{"v":"d"}}}}"#));
        let excluded = ReplacedFields { excluded: vec!["k".to_owned()], ..ReplacedFields::default() };
        let edit = FieldEdit { action: FieldAction::Replace(excluded), nulls: Nulls::Replaced };
        let named = of(vec![always(KeyTransform::Fields(edit))]);
        assert!(named.contains(r#""optional":false,"name":"p.s.t.Key"},"payload":{"id":7}}"#), "{named}");
    }

    #[test]
    fn what_no_row_could_have_is_refused_and_what_some_records_have_not_ends_there() {
        for (steps, why) in [
            (vec![always(from_value(&["id"]))], "no field id"),
            (vec![always(from_value(&["ts_ms"]))], "after a restart"),
            (vec![always(from_value(&["source"]))], "after a restart"),
            (vec![extract("nosuch")], "nosuch"),
            (vec![extract("id"), extract("id")], "single value"),
        ] {
            let told = refusal(steps);
            assert!(told.contains(why), "{why}: {told}");
        }
        let plan = plan(vec![always(from_value(&["op"]))], Converter::default(), &KEY).unwrap();
        assert!(plan.failing().any(|(kind, why)| kind == RecordKind::Tombstone && why.contains("RecordIsTombstone")));
        assert!(!plan.failing().any(|(kind, _)| kind == RecordKind::Delete));
        let ended = keys(&plan, ROW).unwrap_err();
        assert!(matches!(&ended, EncodeError::Unmade { table, .. } if table == "s.t"), "{ended}");
        let keyless = super::tests::plan(vec![extract("id")], Converter::default(), &[]).unwrap();
        assert_eq!(keys(&keyless, ROW).unwrap(), vec![None; 3]);
    }

    #[test]
    fn a_key_tells_rows_apart_if_it_shows_their_columns() {
        let holds = |steps, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
            plan(steps, Converter::default(), &KEY).unwrap().derived_key_holds(&columns)
        };
        assert_eq!(holds(Vec::new(), &["id"]), None);
        assert_eq!(holds(vec![extract("id")], &["id"]), Some(true));
        assert_eq!(holds(vec![extract("id")], &KEY), Some(false));
    }

    proptest! {
        #[test]
        fn the_columns_of_the_key_out_of_the_value_are_the_key(id in any::<i32>(), k in "\\PC{0,20}", is_text in any::<bool>()) {
            let converter = if is_text { Converter::Text } else { Converter::default() };
            let id = id.to_string();
            let texts = [Some(id.as_str()), Some(k.as_str()), None, None];
            let own = keys(&plan(vec![unwrap(DeleteHandling::Rewrite)], converter, &KEY).unwrap(), texts);
            let steps = vec![unwrap(DeleteHandling::Rewrite), always(from_value(&KEY))];
            prop_assert_eq!(own, keys(&plan(steps, converter, &KEY).unwrap(), texts));
        }
    }
}
