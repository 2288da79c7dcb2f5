//! Keys that transforms have made: worked out once for each kind of a table's records, out of the pieces that values are of.

use std::sync::Arc;

use super::edits::{Parts, edited};
use super::fields::{ShownField, Source, note_nulls};
use super::forms::Layout;
use super::key::java_text;
use super::parts::{PartsOf, push};
use super::pieces::{Pieces, quoted, source_value};
use super::plan::{ColumnPiece, Piece, PlanError, framed, refuse_other_decimals};
use super::write::{Rows, write_pieces};
use super::{EncodeError, RowContext, TablePlan};
use crate::connect::{Nulls, Schema, SchemaType};
use crate::row::Operation;
use crate::transform::{FieldAction, FieldEdit, KeyEdit, RecordKind, SeenValue, ValueForm};

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

fn unmade(why: impl Into<String>) -> PlanError {
    PlanError::Unmade(why.into())
}

/// A key behind a transform that makes it of nothing but itself.
pub(super) fn edited_by<S: Clone>(
    key: ShownField<S>,
    edit: &KeyEdit,
    parts: &impl Parts<S>,
) -> Result<ShownField<S>, PlanError> {
    let edit = match edit {
        KeyEdit::FromValue { .. } => return Ok(key),
        KeyEdit::Fields(edit) => edit,
        KeyEdit::Logical { schema_name, field } => return of_logical_table(key, schema_name, field.as_ref()),
    };
    edited(key, std::slice::from_ref(edit), parts).map_err(|error| match error {
        PlanError::NoField(name) => PlanError::NoKeyField(name),
        PlanError::NoFields(_) => unmade(SINGLE),
        other => other,
    })
}

const SINGLE: &str = "its key is a single value by then, of which a transform of keys wants a field";

fn of_logical_table<S>(
    key: ShownField<S>,
    schema_name: &str,
    field: Option<&(String, String)>,
) -> Result<ShownField<S>, PlanError> {
    let Source::Fields(mut fields) = key.source else { return Err(unmade(SINGLE)) };
    if let Some((name, text)) = field {
        if fields.iter().any(|other| other.name == *name) {
            return Err(PlanError::Duplicate(name.clone()));
        }
        let (schema, source) = (Schema::new(SchemaType::String), Source::Bytes(quoted(text)));
        fields.push(ShownField { name: name.clone(), schema, source });
    }
    Ok(ShownField::of_fields(key.name, &key.schema.named(schema_name.to_owned()), fields))
}

/// What a field without others is written of, in which nulls that no transform has met are these.
pub(super) fn leaf(mut field: ShownField<Vec<Piece>>, nulls: Nulls) -> Vec<Piece> {
    if let Source::Own(own) = &mut field.source
        && let [Piece::Column(column)] = own.of.as_mut_slice()
    {
        column.nulls = column.nulls.or(own.nulls).or(Some(nulls));
    }
    let mut pieces = Pieces(Vec::new());
    push(&mut pieces, field);
    pieces.0
}

impl Layout<'_> {
    /// The key of a kind of records behind all of these; none where it is the table's, or there is none.
    pub(super) fn derived_key(&self, kind: RecordKind, keys: &[KeyEdit]) -> Result<Option<DerivedKey>, PlanError> {
        if keys.is_empty() {
            return Ok(None);
        }
        let Some(mut key) = self.key_behind(kind, keys)? else { return Ok(None) };
        let converter = self.options.key_converter;
        if converter.is_json() && self.options.key_decimals_are_numbers != self.options.handling.decimals_are_numbers {
            refuse_other_decimals(&Schema::of_fields([("alone", key.schema.clone())]))?;
        }
        if key.is_null() {
            match &key.schema.default {
                Some(default) if converter.nulls() == Nulls::Replaced => key.source = Source::Bytes(default.clone()),
                _ if key.schema.is_optional => {}
                _ => return Err(unmade("its key would be null, of which its schema says that it is not")),
            }
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
    pub(super) fn key_behind(
        &self,
        kind: RecordKind,
        keys: &[KeyEdit],
    ) -> Result<Option<ShownField<Vec<Piece>>>, PlanError> {
        keys.iter().try_fold(self.key_of_table(kind), |key, edit| match (key, edit) {
            (_, KeyEdit::FromValue { fields, nulls, value }) => {
                self.key_of_value(kind, (fields, *nulls), value).map(Some)
            }
            (Some(key), edit) => edited_by(key, edit, &PartsOf { layout: self, kind }).map(Some),
            (None, KeyEdit::Fields(FieldEdit { action: FieldAction::Hoist(_), .. })) => {
                Err(unmade("its records have no key, of which HoistField$Key could make a field"))
            }
            (None, _) => Ok(None),
        })
    }

    fn key_of_table(&self, kind: RecordKind) -> Option<ShownField<Vec<Piece>>> {
        let SchemaType::Struct(fields) = &self.key.schema_type else { return None };
        if !self.has_key || kind == RecordKind::Truncate {
            return None;
        }
        let is_before = !kind.has_row_after();
        let fields = fields.iter().zip(self.places).filter_map(|(field, place)| {
            let mut column = self.columns.get(*place)?.clone()?;
            column.mask = None;
            let piece = Piece::Column(Box::new(ColumnPiece { is_before, place: *place, column, nulls: None }));
            Some(ShownField::own(field.name.clone(), field.schema.clone(), vec![piece]))
        });
        Some(ShownField::of_fields("", self.key, fields.collect()))
    }

    fn key_of_value(
        &self,
        kind: RecordKind,
        (names, nulls): (&[String], Nulls),
        value: &SeenValue,
    ) -> Result<ShownField<Vec<Piece>>, PlanError> {
        let shown = self.fields_of_value(kind, value)?;
        let field = |name: &String| {
            let found = shown.iter().find(|field| field.name == *name).cloned();
            let mut field = found.ok_or_else(|| {
                unmade(format!(
                    "its values have no field {name} for ValueToKey: give it a predicate that leaves its topic out"
                ))
            })?;
            if value.form == ValueForm::Envelope && name == "source" && matches!(field.source, Source::Own(_)) {
                field.source = Source::Fields(self.fields_of_source());
            }
            note_nulls(&mut field, nulls);
            Ok(field)
        };
        let fields = names.iter().map(field).collect::<Result<Vec<_>, PlanError>>()?;
        Ok(ShownField::of_fields("", &Schema::of_fields(Vec::<(String, Schema)>::new()), fields))
    }

    /// The fields of a value behind all transforms up to then; none of one that has no fields.
    pub(super) fn fields_of_value(
        &self,
        kind: RecordKind,
        value: &SeenValue,
    ) -> Result<Vec<ShownField<Vec<Piece>>>, PlanError> {
        let shown = match &value.form {
            ValueForm::Envelope => self.envelope(kind),
            ValueForm::Row(row) => self.row_alone(row)?,
            ValueForm::NullRow | ValueForm::Tombstone | ValueForm::Event(_) => return Ok(Vec::new()),
        };
        match edited(shown, &value.edits, &PartsOf { layout: self, kind })?.source {
            Source::Fields(fields) => Ok(fields),
            Source::Own(_) | Source::Bytes(_) => Ok(Vec::new()),
        }
    }

    fn fields_of_source(&self) -> Vec<ShownField<Vec<Piece>>> {
        let field = |field: &super::profile::SourceField| {
            let piece = source_value(self.facts, self.names(), *field);
            ShownField::own(field.name(), field.schema(self.facts), vec![piece])
        };
        self.facts.source.iter().map(field).collect()
    }

    fn write_json(
        &self,
        out: &mut Pieces,
        field: ShownField<Vec<Piece>>,
        places: &mut Vec<usize>,
    ) -> Result<(), PlanError> {
        let Source::Fields(fields) = field.source else {
            let nulls = self.options.key_converter.nulls();
            self.check_leaf(&field, nulls, places)?;
            leaf(field, nulls).into_iter().for_each(|piece| out.push(piece));
            return Ok(());
        };
        out.bytes(if fields.is_empty() { b"{" } else { b"" });
        for (at, field) in fields.into_iter().enumerate() {
            out.member(at, &field.name);
            self.write_json(out, field, places)?;
        }
        out.bytes(b"}");
        Ok(())
    }

    fn text(&self, field: ShownField<Vec<Piece>>, places: &mut Vec<usize>) -> Result<Text, PlanError> {
        let Source::Fields(fields) = field.source else {
            let (name, schema) = (field.name.clone(), field.schema.clone());
            self.check_leaf(&field, Nulls::Kept, places)?;
            let mut pieces = leaf(field, Nulls::Kept).into_iter();
            return match (pieces.next(), pieces.next()) {
                (Some(piece), None) if schema.is_decimal() || schema.has_text_of_json() => {
                    Ok(Text::Value(Box::new(piece), schema))
                }
                _ => Err(PlanError::WrongType { column: name, what: "in a key that StringConverter writes" }),
            };
        };
        let field = |field: ShownField<Vec<Piece>>| Ok((field.name.clone(), self.text(field, places)?));
        fields.into_iter().map(field).collect::<Result<_, _>>().map(Text::Struct)
    }

    /// Notes the column that a field is as it stands in the table, and refuses what a later run may write otherwise.
    fn check_leaf(
        &self,
        field: &ShownField<Vec<Piece>>,
        nulls: Nulls,
        places: &mut Vec<usize>,
    ) -> Result<(), PlanError> {
        let Source::Own(own) = &field.source else { return Ok(()) };
        for piece in &own.of {
            match piece {
                Piece::Column(column) => {
                    let is_as_it_is = own.conversions.is_empty() && own.when_null.is_none();
                    if is_as_it_is && column.column.mask.is_none() {
                        places.push(column.place);
                    }
                }
                Piece::Bytes(_) | Piece::Op => {}
                Piece::Before | Piece::After if nulls == self.options.value_converter.nulls() => {}
                // A record that is written again after a restart belongs to the partition where it was.
                _ => {
                    let name = &field.name;
                    return Err(unmade(format!(
                        "its key would hold {name}, which may be another when a record is written again after a restart"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl TablePlan {
    /// Whether the keys that transforms make of rows show all of these columns; none where keys are the table's.
    pub fn derived_key_holds(&self, columns: &[String]) -> Option<bool> {
        let key = self.forms.of(RecordKind::Row)?.key.as_ref()?;
        let place = |name: &String| self.shape().columns.iter().position(|column| column.name == *name);
        Some(key.holds(columns.iter().map(place)))
    }

    /// Kinds of records at which capture would end, and why.
    pub fn failing(&self) -> impl Iterator<Item = (RecordKind, &str)> {
        let why = |kind| self.forms.of(kind).and_then(|form| form.failure.as_deref());
        RecordKind::ALL.into_iter().filter_map(move |kind| Some((kind, why(kind)?)))
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
        Condition, DeleteHandling, KeyTransform, Predicate, ReplacedFields, Step, Transform, Transforms, Unwrap,
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

    fn fields(action: FieldAction, nulls: Nulls) -> KeyTransform {
        KeyTransform::Fields(FieldEdit { action, nulls })
    }

    fn extract(field: &str) -> Step {
        always(fields(FieldAction::Extract(field.to_owned()), Nulls::Replaced))
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
        let alone = always(fields(FieldAction::Extract("v".to_owned()), Nulls::Kept));
        assert_eq!(made([kept(), vec![alone]].concat(), Converter::Text, &KEY), [None]);
        let hoisted = vec![rows(), extract("id"), always(fields(FieldAction::Hoist("key".to_owned()), Nulls::Kept))];
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
