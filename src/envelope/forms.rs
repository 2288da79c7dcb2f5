//! The values and headers of a table's records, one form for each kind of record, out of fixed stretches and pieces.

use std::sync::Arc;

use super::derived_key::DerivedKey;
use super::edits::edited;
use super::event::EventPlan;
use super::fields::{NULL, ShownField, Source, schema_of};
use super::form_headers::FormHeader;
use super::guard::Condition;
use super::parts::{PartsOf, nothing, push};
use super::pieces::{Pieces, SourceNames, quoted, quoted_name, source_pieces, source_value};
use super::plan::{ColumnPiece, ColumnPlan, Piece, PlanError, PlanOptions, framed};
use super::profile::{EnvelopeField, ProfileFacts, SourceField, envelope_schema, transaction_field_schema};
use crate::connect::{Converter, Field, Nulls, Schema, SchemaType};
use crate::row::TableShape;
use crate::transform::{FieldAction, FieldEdit, FieldParent, FieldReference, Outcome, RecordKind, RowForm, ValueForm};

/// What a kind of record looks like.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Piece by piece; none is a tombstone.
    pub(super) value: Option<Arc<[Piece]>>,
    /// What stands in the place of the table's key.
    pub(super) key: Option<DerivedKey>,
    pub(super) headers: Vec<FormHeader>,
    /// Names of Debezium's headers that it does not have.
    pub(super) dropped: Vec<String>,
    /// Why there can be no such record, at which capture ends.
    pub(super) failure: Option<Arc<str>>,
    /// Instead of a value, the event that the row holds.
    pub(super) event: Option<Box<EventPlan>>,
    /// What a record has to pass, in order.
    pub(super) guards: Vec<Condition>,
}

/// The forms of all kinds, in the order of [`RecordKind::ALL`]; none for a kind that is not written.
#[derive(Debug, Clone)]
pub(super) struct Forms([Option<Form>; 7]);

impl Forms {
    pub(super) fn of(&self, kind: RecordKind) -> Option<&Form> {
        let [row, delete, tombstone, old_key_delete, old_key_tombstone, new_key_row, truncate] = &self.0;
        match kind {
            RecordKind::Row => row,
            RecordKind::Delete => delete,
            RecordKind::Tombstone => tombstone,
            RecordKind::OldKeyDelete => old_key_delete,
            RecordKind::OldKeyTombstone => old_key_tombstone,
            RecordKind::NewKeyRow => new_key_row,
            RecordKind::Truncate => truncate,
        }
        .as_ref()
    }

    /// Whether any record is of a row and not of an event.
    pub(super) fn are_of_rows(&self) -> bool {
        self.0.iter().flatten().any(|form| form.event.is_none())
    }

    /// Whether any of them has the key of the table.
    pub(super) fn have_keys_of_table(&self) -> bool {
        self.0.iter().flatten().any(|form| form.event.is_none() && form.key.is_none())
    }
}

/// What the forms of a table are made of.
pub(super) struct Layout<'a> {
    pub(super) shape: &'a TableShape,
    pub(super) facts: &'a ProfileFacts,
    pub(super) options: &'a PlanOptions,
    /// The schema of its rows.
    pub(super) row: &'a Schema,
    /// Its columns.
    pub(super) columns: &'a [Option<ColumnPlan>],
    /// What the names of its schemas begin with.
    pub(super) schema_base: &'a str,
    /// The schema of its keys, the places of their columns, and whether records have any.
    pub(super) key: &'a Schema,
    pub(super) places: &'a [usize],
    pub(super) has_key: bool,
}

/// What a table's records are like.
pub(super) struct OfTable {
    /// Their topic, unless its rows say theirs.
    pub(super) topic: Option<String>,
    pub(super) forms: Forms,
}

/// Works the transforms out for a table.
pub(super) fn of_table(layout: &Layout<'_>) -> Result<OfTable, PlanError> {
    let name = &layout.options.schema_name;
    let topic = layout.options.transforms.topic_of_rows(name);
    let envelope = layout.written(layout.envelope(RecordKind::Row))?;
    let mut forms = [const { None }; 7];
    for (form, kind) in forms.iter_mut().zip(RecordKind::ALL) {
        let Some(outcome) = layout.options.transforms.outcome(name, kind) else { continue };
        let is_event = matches!(outcome.value, ValueForm::Event(_));
        let known = topic.as_ref().unwrap_or(name);
        if !is_event && outcome.topic != *known {
            return Err(PlanError::Topics { first: known.clone(), second: outcome.topic });
        }
        if !is_event && (outcome.value != ValueForm::Tombstone || !outcome.edits.is_empty()) {
            match layout.options.value_converter {
                Converter::Json { .. } => {}
                Converter::Text => return Err(PlanError::Converter("StringConverter")),
                Converter::Bytes => return Err(PlanError::Converter("ByteArrayConverter")),
            }
        }
        if is_event && outcome.is_changed() {
            return Err(PlanError::Events);
        }
        *form = Some(match layout.form(kind, outcome, &envelope) {
            // Others of its records may be all that there ever are.
            Err(error) if !kind.has_row_after() && error.is_of_record() => Form::failing(error.to_string()),
            made => made?,
        });
    }
    Ok(OfTable { topic, forms: Forms(forms) })
}

impl Form {
    /// The form of a kind of record that there cannot be.
    fn failing(why: String) -> Self {
        let (value, key, headers, dropped, event, guards) = Default::default();
        Self { value, key, headers, dropped, failure: Some(why.into()), event, guards }
    }
}

impl Layout<'_> {
    fn form(&self, kind: RecordKind, outcome: Outcome, envelope: &Arc<[Piece]>) -> Result<Form, PlanError> {
        if let Some(why) = outcome.failure {
            return Err(PlanError::Unmade(why.to_owned()));
        }
        if let Some(schema_base) = outcome.schema_base.clone().filter(|base| base != self.schema_base) {
            let row = &self.row.clone().named(format!("{schema_base}.Value"));
            let other = Layout { row, schema_base: &schema_base, ..*self };
            let envelope = other.written(other.envelope(RecordKind::Row))?;
            return other.form(kind, outcome, &envelope);
        }
        let key = self.derived_key(kind, &outcome.keys)?;
        let edited = |value| edited(value, &outcome.edits, &PartsOf { layout: self, kind });
        let mut event = None;
        let value = match outcome.value {
            ValueForm::Event(form) => {
                event = Some(Box::new(EventPlan::new(self, form)?));
                None
            }
            ValueForm::Envelope if outcome.edits.is_empty() => Some(Arc::clone(envelope)),
            ValueForm::Envelope => Some(self.written(edited(self.envelope(kind))?)?),
            ValueForm::Row(row) if outcome.edits.is_empty() => Some(self.unwrapped(&row)?),
            ValueForm::Row(row) => Some(self.written(edited(self.row_alone(&row)?)?)?),
            ValueForm::NullRow => {
                let (name, schema, source) = (String::new(), self.row.clone(), Source::Bytes(NULL.to_vec()));
                Some(self.written(edited(ShownField { name, schema, source })?)?)
            }
            ValueForm::Tombstone if outcome.edits.is_empty() => None,
            ValueForm::Tombstone => Some(self.hoisted_null(&outcome.edits)),
        };
        let headers = outcome.headers.iter().filter_map(|header| self.header(kind, header).transpose());
        let headers = headers.collect::<Result<_, _>>()?;
        let guards = outcome.guards.iter().map(|guard| self.condition(guard)).collect::<Result<_, _>>()?;
        Ok(Form { value, key, headers, dropped: outcome.dropped, failure: None, event, guards })
    }

    /// The envelope of a kind of record, whose fields are null where they are in all of them.
    pub(super) fn envelope(&self, kind: RecordKind) -> ShownField<Vec<Piece>> {
        let own = |field: &EnvelopeField| {
            let pieces = match field {
                EnvelopeField::Before => vec![Piece::Before],
                EnvelopeField::After => vec![Piece::After],
                EnvelopeField::Source => source_pieces(self.facts, self.names(), self.options.value_converter.nulls()),
                EnvelopeField::Transaction => vec![Piece::Transaction],
                EnvelopeField::Op => vec![Piece::Op],
                EnvelopeField::TsMs => vec![Piece::NowMs],
                EnvelopeField::TsUs => vec![Piece::NowUs],
                EnvelopeField::TsNs => vec![Piece::NowNs],
            };
            let shown = ShownField::own(field.name(), field.schema(self.row, self.facts), pieces);
            match field {
                EnvelopeField::Before if matches!(kind, RecordKind::NewKeyRow | RecordKind::Truncate) => nothing(shown),
                EnvelopeField::After if !matches!(kind, RecordKind::Row | RecordKind::NewKeyRow) => nothing(shown),
                _ => shown,
            }
        };
        let schema = envelope_schema(self.schema_base, self.row, self.facts);
        ShownField::of_fields(String::new(), &schema, self.facts.envelope.iter().map(own).collect())
    }

    /// A value as the converter writes it.
    fn written(&self, mut value: ShownField<Vec<Piece>>) -> Result<Arc<[Piece]>, PlanError> {
        let converter = self.options.value_converter;
        let (head, tail) = framed(converter.shown(&value.schema));
        if value.is_null()
            && converter.nulls() == Nulls::Replaced
            && let Some(default) = &value.schema.default
        {
            value.source = Source::Bytes(default.clone());
        }
        let mut pieces = Pieces(vec![Piece::Bytes(head)]);
        push(&mut pieces, value);
        pieces.bytes(tail);
        Ok(pieces.0.into())
    }

    /// A null that has become a field of maps, which have no schema.
    fn hoisted_null(&self, edits: &[FieldEdit]) -> Arc<[Piece]> {
        let mut json = NULL.to_vec();
        for edit in edits {
            if let FieldAction::Hoist(name) = &edit.action {
                json = [b"{".as_slice(), &quoted_name(name), &json, b"}"].concat();
            }
        }
        if self.options.value_converter.shows_schemas() {
            json = [b"{\"schema\":null,\"payload\":".as_slice(), &json, b"}"].concat();
        }
        vec![Piece::Bytes(json)].into()
    }

    pub(super) fn names(&self) -> SourceNames<'_> {
        SourceNames {
            topic_prefix: &self.options.topic_prefix,
            database: &self.options.database,
            schema: &self.shape.schema,
            table: &self.shape.table,
        }
    }

    /// A row alone, with what was added behind its columns, whose schema says that it is never null.
    pub(super) fn row_alone(&self, form: &RowForm) -> Result<ShownField<Vec<Piece>>, PlanError> {
        let mut columns = self.columns_alone(form.is_before, form.replaces_nulls.then_some(Nulls::Replaced));
        columns.extend(self.added(form)?);
        let like = Schema { is_optional: false, ..self.row.clone() };
        Ok(ShownField::of_fields(String::new(), &like, columns))
    }

    /// The columns of a row one by one.
    pub(super) fn columns_alone(&self, is_before: bool, nulls: Option<Nulls>) -> Vec<ShownField<Vec<Piece>>> {
        let SchemaType::Struct(columns) = &self.row.schema_type else { return Vec::new() };
        let column = |field: &Field| {
            let (mut piece, schema) = self.column_of_row(is_before, &field.name)?;
            piece.nulls = nulls;
            Some(ShownField::own(field.name.clone(), schema, vec![Piece::Column(Box::new(piece))]))
        };
        columns.iter().filter_map(column).collect()
    }

    /// The same with all columns at once, which is quicker than one by one.
    fn unwrapped(&self, form: &RowForm) -> Result<Arc<[Piece]>, PlanError> {
        let SchemaType::Struct(columns) = &self.row.schema_type else { return Ok(Arc::default()) };
        let added = self.added(form)?;
        let nulls = if form.replaces_nulls { Nulls::Replaced } else { self.options.value_converter.nulls() };
        let mut schema = Schema { is_optional: false, ..schema_of(&added, self.row) };
        if let SchemaType::Struct(fields) = &mut schema.schema_type {
            fields.splice(..0, columns.iter().cloned());
        }
        let (head, tail) = framed(self.options.value_converter.shown(&schema));
        let mut pieces = Pieces(vec![Piece::Bytes(head)]);
        pieces.push(if form.is_before { Piece::OpenBefore(nulls) } else { Piece::OpenAfter(nulls) });
        for (at, field) in added.into_iter().enumerate() {
            pieces.bytes(if at > 0 || !columns.is_empty() { b"," } else { b"" });
            pieces.bytes(&quoted_name(&field.name));
            push(&mut pieces, field);
        }
        pieces.bytes(b"}");
        pieces.bytes(tail);
        Ok(pieces.0.into())
    }

    /// What stands behind the columns of a row.
    fn added(&self, form: &RowForm) -> Result<Vec<ShownField<Vec<Piece>>>, PlanError> {
        let deleted = form.deleted.map(|text| {
            let schema = Schema::new(SchemaType::String).optional();
            ShownField::own("__deleted", schema, vec![Piece::Bytes(quoted(text))])
        });
        let copied = form.fields.iter().filter_map(|reference| {
            let (piece, schema) = self.copied(reference)?;
            let schema = Schema { default: None, ..schema.optional() };
            Some(ShownField::own(reference.new_name.clone(), schema, vec![piece]))
        });
        let added: Vec<_> = deleted.into_iter().chain(copied).collect();
        let columns = match &self.row.schema_type {
            SchemaType::Struct(columns) => columns.as_slice(),
            _ => &[],
        };
        let names = || columns.iter().map(|field| &field.name).chain(added.iter().map(|field| &field.name));
        match names().enumerate().find(|(at, name)| names().take(*at).any(|other| other == *name)) {
            Some((_, name)) => Err(PlanError::Duplicate(name.clone())),
            None => Ok(added),
        }
    }

    /// A field of the envelope and its schema; `None` where envelopes have none of that name.
    pub(super) fn copied(&self, reference: &FieldReference) -> Option<(Piece, Schema)> {
        let name = reference.field.as_str();
        let inner = match reference.parent {
            FieldParent::Envelope => None,
            FieldParent::Before => self.column_alone(true, name),
            FieldParent::After => self.column_alone(false, name),
            FieldParent::Source => {
                let field = self.facts.source.iter().find(|field| field.name() == name);
                field.map(|field| {
                    let piece = match field {
                        SourceField::Snapshot => Piece::BareSnapshot,
                        field => source_value(self.facts, self.names(), *field),
                    };
                    (piece, field.schema(self.facts))
                })
            }
            FieldParent::Transaction => transaction_field_schema(name).map(|schema| {
                let piece = match name {
                    "id" => Piece::TransactionId,
                    "total_order" => Piece::TotalOrder,
                    _ => Piece::CollectionOrder,
                };
                (piece, schema)
            }),
        };
        inner.or_else(|| self.copied_from_envelope(name))
    }

    /// A field of rows: what a transform copies is null where rows show the column's default.
    fn column_alone(&self, is_before: bool, name: &str) -> Option<(Piece, Schema)> {
        let (mut piece, schema) = self.column_of_row(is_before, name)?;
        piece.nulls = Some(Nulls::Kept);
        Some((Piece::Column(Box::new(piece)), schema))
    }

    /// A field of rows by itself.
    fn column_of_row(&self, is_before: bool, name: &str) -> Option<(ColumnPiece, Schema)> {
        let SchemaType::Struct(fields) = &self.row.schema_type else { return None };
        let field = fields.iter().find(|field| field.name == name)?;
        let is_shown = |column: &ColumnPlan| column.is_in_value && column.field_name == name;
        let place = self.columns.iter().position(|column| column.as_ref().is_some_and(is_shown))?;
        let column = self.columns.get(place)?.clone()?;
        Some((ColumnPiece { is_before, place, column, nulls: None }, field.schema.clone()))
    }

    fn copied_from_envelope(&self, name: &str) -> Option<(Piece, Schema)> {
        let field = self.facts.envelope.iter().find(|field| field.name() == name)?;
        let piece = match field {
            EnvelopeField::Op => Piece::Op,
            EnvelopeField::TsMs => Piece::NowMs,
            EnvelopeField::TsUs => Piece::NowUs,
            EnvelopeField::TsNs => Piece::NowNs,
            EnvelopeField::Before | EnvelopeField::After | EnvelopeField::Source | EnvelopeField::Transaction => {
                return None;
            }
        };
        Some((piece, field.schema(self.row, self.facts)))
    }
}
