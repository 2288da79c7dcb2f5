//! The values and headers of a table's records, one form for each kind of record, out of fixed stretches and pieces.

use std::sync::Arc;

use super::event::EventPlan;
use super::guard::Condition;
use super::plan::{ColumnPlan, Piece, PlanError, PlanOptions, framed};
use super::profile::{EnvelopeField, ProfileFacts, SourceField, envelope_schema, transaction_field_schema};
use crate::connect::json::write_string;
use crate::connect::{Converter, Field, Schema, SchemaType};
use crate::row::TableShape;
use crate::transform::{AddedHeader, FieldParent, FieldReference, Outcome, RecordKind, RowForm, ValueForm};

/// What a kind of record looks like.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Piece by piece; none is a tombstone.
    pub(super) value: Option<Arc<[Piece]>>,
    pub(super) headers: Vec<FormHeader>,
    /// Instead of a value, the event that the row holds.
    pub(super) event: Option<Box<EventPlan>>,
    /// What a record has to pass, in order.
    pub(super) guards: Vec<Condition>,
}

/// A header that a transform adds: its name, and what its value is.
#[derive(Debug, Clone)]
pub(super) struct FormHeader {
    pub(super) name: String,
    pub(super) value: Piece,
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

    /// Whether any record has the key of the table and not that of an event.
    pub(super) fn have_keys_of_table(&self) -> bool {
        self.0.iter().flatten().any(|form| form.event.is_none())
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
}

/// The table's topic, unless its rows say theirs, and its forms.
pub(super) fn of_table(layout: &Layout<'_>) -> Result<(Option<String>, Forms), PlanError> {
    let name = &layout.options.schema_name;
    let topic = layout.options.transforms.topic_of_rows(name);
    let envelope: Arc<[Piece]> = layout.envelope().into();
    let mut forms = [const { None }; 7];
    for (form, kind) in forms.iter_mut().zip(RecordKind::ALL) {
        let Some(outcome) = layout.options.transforms.outcome(name, kind) else { continue };
        let is_event = matches!(outcome.value, ValueForm::Event(_));
        let known = topic.as_ref().unwrap_or(name);
        if !is_event && outcome.topic != *known {
            return Err(PlanError::Topics { first: known.clone(), second: outcome.topic });
        }
        if !is_event && outcome.value != ValueForm::Tombstone {
            match layout.options.value_converter {
                Converter::Json { .. } => {}
                Converter::Text => return Err(PlanError::Converter("StringConverter")),
                Converter::Bytes => return Err(PlanError::Converter("ByteArrayConverter")),
            }
        }
        *form = Some(layout.form(outcome, &envelope)?);
    }
    Ok((topic, Forms(forms)))
}

impl Layout<'_> {
    fn form(&self, outcome: Outcome, envelope: &Arc<[Piece]>) -> Result<Form, PlanError> {
        let mut event = None;
        let value = match outcome.value {
            ValueForm::Event(form) => {
                event = Some(Box::new(EventPlan::new(self, form)?));
                None
            }
            ValueForm::Envelope => Some(Arc::clone(envelope)),
            ValueForm::Row(row) => Some(self.unwrapped(&row)?.into()),
            ValueForm::NullRow => {
                let (mut bytes, tail) = framed(self.options.value_converter.shown(self.row));
                bytes.extend_from_slice(b"null");
                bytes.extend_from_slice(tail);
                Some(vec![Piece::Bytes(bytes)].into())
            }
            ValueForm::Tombstone => None,
        };
        let headers = outcome.headers.iter().filter_map(|header| self.header(header)).collect();
        let guards = outcome.guards.iter().map(|guard| self.condition(guard)).collect::<Result<_, _>>()?;
        Ok(Form { value, headers, event, guards })
    }

    fn header(&self, header: &AddedHeader) -> Option<FormHeader> {
        let value = match header {
            AddedHeader::Field(reference) => self.copied(reference)?.0,
            AddedHeader::Text(_, text) => Piece::Bytes(quoted(text)),
        };
        Some(FormHeader { name: header.name().to_owned(), value })
    }

    fn envelope(&self) -> Vec<Piece> {
        let schema = envelope_schema(self.schema_base, self.row, self.facts);
        let (head, tail) = framed(self.options.value_converter.shown(&schema));
        let mut pieces = Pieces(vec![Piece::Bytes(head)]);
        for (at, field) in self.facts.envelope.iter().enumerate() {
            pieces.member(at, field.name());
            match field {
                EnvelopeField::Before => pieces.push(Piece::Before),
                EnvelopeField::After => pieces.push(Piece::After),
                EnvelopeField::Source => {
                    source_pieces(self.facts, self.names()).into_iter().for_each(|piece| pieces.push(piece));
                }
                EnvelopeField::Transaction => pieces.push(Piece::Transaction),
                EnvelopeField::Op => pieces.push(Piece::Op),
                EnvelopeField::TsMs => pieces.push(Piece::NowMs),
                EnvelopeField::TsUs => pieces.push(Piece::NowUs),
                EnvelopeField::TsNs => pieces.push(Piece::NowNs),
            }
        }
        pieces.bytes(b"}");
        pieces.bytes(tail);
        pieces.0
    }

    pub(super) fn names(&self) -> SourceNames<'_> {
        SourceNames {
            topic_prefix: &self.options.topic_prefix,
            database: &self.options.database,
            schema: &self.shape.schema,
            table: &self.shape.table,
        }
    }

    /// A row alone, with what was added behind its columns.
    fn unwrapped(&self, form: &RowForm) -> Result<Vec<Piece>, PlanError> {
        let SchemaType::Struct(columns) = &self.row.schema_type else { return Ok(Vec::new()) };
        let mut fields = columns.clone();
        let mut added: Vec<(String, Piece)> = Vec::new();
        if let Some(text) = form.deleted {
            let schema = Schema::new(SchemaType::String).optional();
            fields.push(Field { name: "__deleted".to_owned(), schema });
            added.push(("__deleted".to_owned(), Piece::Bytes(quoted(text))));
        }
        for reference in &form.fields {
            let Some((piece, schema)) = self.copied(reference) else { continue };
            fields.push(Field {
                name: reference.new_name.clone(),
                schema: Schema { default: None, ..schema.optional() },
            });
            added.push((reference.new_name.clone(), piece));
        }
        let is_repeated = |(at, field): (usize, &Field)| fields.iter().take(at).any(|other| other.name == field.name);
        if let Some((_, field)) = fields.iter().enumerate().find(|(at, field)| is_repeated((*at, field))) {
            return Err(PlanError::Duplicate(field.name.clone()));
        }
        let has_columns = !columns.is_empty();
        let schema = Schema { schema_type: SchemaType::Struct(fields), is_optional: false, ..self.row.clone() };
        let (head, tail) = framed(self.options.value_converter.shown(&schema));
        let mut pieces = Pieces(vec![Piece::Bytes(head)]);
        pieces.push(if form.is_before { Piece::OpenBefore } else { Piece::OpenAfter });
        for (at, (name, piece)) in added.into_iter().enumerate() {
            pieces.bytes(if at > 0 || has_columns { b"," } else { b"" });
            pieces.bytes(&quoted_name(&name));
            pieces.push(piece);
        }
        pieces.bytes(b"}");
        pieces.bytes(tail);
        Ok(pieces.0)
    }

    /// A field of the envelope and its schema; `None` where envelopes have none of that name.
    fn copied(&self, reference: &FieldReference) -> Option<(Piece, Schema)> {
        let name = reference.field.as_str();
        let inner = match reference.parent {
            FieldParent::Envelope => None,
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

/// What the `source` block of all records of a table names.
#[derive(Clone, Copy)]
pub(super) struct SourceNames<'a> {
    pub(super) topic_prefix: &'a str,
    pub(super) database: &'a str,
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
}

/// The `source` block.
pub(super) fn source_pieces(facts: &ProfileFacts, names: SourceNames<'_>) -> Vec<Piece> {
    let mut pieces = Pieces(Vec::new());
    for (at, field) in facts.source.iter().enumerate() {
        pieces.member(at, field.name());
        pieces.push(source_value(facts, names, *field));
    }
    pieces.bytes(b"}");
    pieces.0
}

pub(super) fn source_value(facts: &ProfileFacts, names: SourceNames<'_>, field: SourceField) -> Piece {
    match field {
        SourceField::Version => Piece::Bytes(quoted(facts.version)),
        SourceField::Connector => Piece::Bytes(b"\"postgresql\"".to_vec()),
        SourceField::Name => Piece::Bytes(quoted(names.topic_prefix)),
        SourceField::Db => Piece::Bytes(quoted(names.database)),
        SourceField::Schema => Piece::Bytes(quoted(names.schema)),
        SourceField::Table => Piece::Bytes(quoted(names.table)),
        SourceField::Xmin => Piece::Bytes(b"null".to_vec()),
        SourceField::TsMs => Piece::CommitMs,
        SourceField::TsUs => Piece::CommitUs,
        SourceField::TsNs => Piece::CommitNs,
        SourceField::Snapshot => Piece::Snapshot,
        SourceField::Sequence => Piece::Sequence,
        SourceField::TxId => Piece::TxId,
        SourceField::Lsn => Piece::Lsn,
        SourceField::Origin => Piece::Origin,
        SourceField::OriginLsn => Piece::OriginLsn,
    }
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

pub(super) fn quoted_name(name: &str) -> Vec<u8> {
    let mut out = quoted(name);
    out.push(b':');
    out
}

/// Pieces of which no two that follow each other are fixed.
struct Pieces(Vec<Piece>);

impl Pieces {
    fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => self.bytes(&bytes),
            piece => self.0.push(piece),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    /// The first or a further member of an object, without its value.
    fn member(&mut self, at: usize, name: &str) {
        self.bytes(if at == 0 { b"{" } else { b"," });
        self.bytes(&quoted_name(name));
    }
}
