//! The values and headers of a table's records, one form for each kind of record, out of fixed stretches and pieces.

use std::sync::Arc;

use super::plan::{Piece, PlanError, PlanOptions, framed};
use super::profile::{EnvelopeField, ProfileFacts, SourceField, envelope_schema, transaction_field_schema};
use crate::connect::json::write_string;
use crate::connect::{Field, Schema, SchemaType};
use crate::row::TableShape;
use crate::transform::{AddedHeader, FieldParent, FieldReference, Outcome, RecordKind, RowForm, ValueForm};

/// What a kind of record looks like.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Piece by piece; none is a tombstone.
    pub(super) value: Option<Arc<[Piece]>>,
    pub(super) headers: Vec<FormHeader>,
}

/// A header that a transform adds: its name, and what its value is.
#[derive(Debug, Clone)]
pub(super) struct FormHeader {
    pub(super) name: String,
    pub(super) value: Piece,
}

/// The forms of all kinds, in the order of [`RecordKind::ALL`]; none for a kind that is not written.
#[derive(Debug, Clone)]
pub(super) struct Forms([Option<Form>; 6]);

impl Forms {
    pub(super) fn of(&self, kind: RecordKind) -> Option<&Form> {
        let [row, delete, tombstone, old_key_delete, old_key_tombstone, new_key_row] = &self.0;
        match kind {
            RecordKind::Row => row,
            RecordKind::Delete => delete,
            RecordKind::Tombstone => tombstone,
            RecordKind::OldKeyDelete => old_key_delete,
            RecordKind::OldKeyTombstone => old_key_tombstone,
            RecordKind::NewKeyRow => new_key_row,
        }
        .as_ref()
    }
}

/// What the forms of a table are made of.
pub(super) struct Layout<'a> {
    pub(super) shape: &'a TableShape,
    pub(super) facts: &'a ProfileFacts,
    pub(super) options: &'a PlanOptions,
    /// The schema of its rows.
    pub(super) row: &'a Schema,
}

/// The table's topic and forms.
pub(super) fn of_table(layout: &Layout<'_>) -> Result<(String, Forms), PlanError> {
    let name = &layout.options.schema_name;
    let topic = layout.options.transforms.topic_of_rows(name);
    let envelope: Arc<[Piece]> = layout.envelope().into();
    let mut forms = [const { None }; 6];
    for (form, kind) in forms.iter_mut().zip(RecordKind::ALL) {
        let Some(outcome) = layout.options.transforms.outcome(name, kind) else { continue };
        if outcome.topic != topic {
            return Err(PlanError::Topics { first: topic, second: outcome.topic });
        }
        *form = Some(layout.form(outcome, &envelope)?);
    }
    Ok((topic, Forms(forms)))
}

impl Layout<'_> {
    fn form(&self, outcome: Outcome, envelope: &Arc<[Piece]>) -> Result<Form, PlanError> {
        let value = match outcome.value {
            ValueForm::Envelope => Some(Arc::clone(envelope)),
            ValueForm::Row(row) => Some(self.unwrapped(&row)?.into()),
            ValueForm::NullRow => {
                let (mut bytes, tail) = framed(self.options.with_value_schema.then_some(self.row));
                bytes.extend_from_slice(b"null");
                bytes.extend_from_slice(tail);
                Some(vec![Piece::Bytes(bytes)].into())
            }
            ValueForm::Tombstone => None,
        };
        let headers = outcome.headers.iter().filter_map(|header| self.header(header)).collect();
        Ok(Form { value, headers })
    }

    fn header(&self, header: &AddedHeader) -> Option<FormHeader> {
        let value = match header {
            AddedHeader::Field(reference) => self.copied(reference)?.0,
            AddedHeader::Text(_, text) => Piece::Bytes(quoted(text)),
        };
        Some(FormHeader { name: header.name().to_owned(), value })
    }

    fn envelope(&self) -> Vec<Piece> {
        let schema = envelope_schema(&self.options.schema_name, self.row, self.facts);
        let (head, tail) = framed(self.options.with_value_schema.then_some(&schema));
        let mut pieces = Pieces(vec![Piece::Bytes(head)]);
        for (at, field) in self.facts.envelope.iter().enumerate() {
            pieces.member(at, field.name());
            match field {
                EnvelopeField::Before => pieces.push(Piece::Before),
                EnvelopeField::After => pieces.push(Piece::After),
                EnvelopeField::Source => self.add_source(&mut pieces),
                EnvelopeField::Transaction => pieces.bytes(b"null"),
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

    fn add_source(&self, pieces: &mut Pieces) {
        for (at, field) in self.facts.source.iter().enumerate() {
            pieces.member(at, field.name());
            pieces.push(self.source_value(*field));
        }
        pieces.bytes(b"}");
    }

    fn source_value(&self, field: SourceField) -> Piece {
        match field {
            SourceField::Version => Piece::Bytes(quoted(self.facts.version)),
            SourceField::Connector => Piece::Bytes(b"\"postgresql\"".to_vec()),
            SourceField::Name => Piece::Bytes(quoted(&self.options.topic_prefix)),
            SourceField::Db => Piece::Bytes(quoted(&self.options.database)),
            SourceField::Schema => Piece::Bytes(quoted(&self.shape.schema)),
            SourceField::Table => Piece::Bytes(quoted(&self.shape.table)),
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
        let (head, tail) = framed(self.options.with_value_schema.then_some(&schema));
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
                        field => self.source_value(*field),
                    };
                    (piece, field.schema(self.facts))
                })
            }
            // Without transaction metadata it is null.
            FieldParent::Transaction => {
                transaction_field_schema(name).map(|schema| (Piece::Bytes(b"null".to_vec()), schema))
            }
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
