//! Headers that transforms add, and their bytes.

use super::derived_key::{Node, Told};
use super::fields::{ShownField, Source, note_nulls};
use super::forms::{Layout, shown};
use super::pieces::quoted;
use super::plan::{Piece, PlanError};
use super::{EncodeError, TablePlan};
use crate::connect::{Nulls, text_of};
use crate::transform::{AddedHeader, FieldHeader, HeaderOf, RecordKind};

/// A header that a transform adds: its name, and what its value is.
#[derive(Debug, Clone)]
pub(super) struct FormHeader {
    pub(super) name: String,
    value: Piece,
}

impl Layout<'_> {
    /// The header of a kind of records; none where there is no such field.
    pub(super) fn header(&self, kind: RecordKind, header: &AddedHeader) -> Result<Option<FormHeader>, PlanError> {
        let value = match header {
            AddedHeader::Field(reference) => match self.copied(reference) {
                Some((value, schema)) if schema.has_text_of_json() => value,
                Some(_) => {
                    return Err(PlanError::WrongType { column: reference.field.clone(), what: "in a header" });
                }
                None => return Ok(None),
            },
            AddedHeader::Text(_, text) => Piece::Bytes(quoted(text)),
            AddedHeader::Literal(_, text) => Piece::Bytes(text.as_deref().map_or(b"null".to_vec(), quoted)),
            AddedHeader::OfRecord(header) => self.field_header(kind, header)?,
        };
        Ok(Some(FormHeader { name: header.name().to_owned(), value }))
    }

    fn field_header(&self, kind: RecordKind, header: &FieldHeader) -> Result<Piece, PlanError> {
        let name = &header.field;
        let found = match &header.of {
            HeaderOf::Value(value) => self.fields_of_value(value)?.into_iter().find(|field| field.name == *name),
            HeaderOf::Key(keys) => match self.key_behind(kind, keys)?.map(|key| key.source) {
                Some(Source::Own { of: Node::Fields(fields), .. }) => {
                    fields.into_iter().find(|field| field.name == *name).and_then(single)
                }
                _ => None,
            },
        };
        let Some(mut field) = found else {
            return Err(PlanError::Unmade(format!(
                "it has no field {name} for the header {} of HeaderFrom",
                header.name
            )));
        };
        let has_text = field.schema.has_text_of_json();
        note_nulls(&mut field, header.nulls);
        let mut pieces = shown(field)?.into_iter();
        match (pieces.next(), pieces.next()) {
            (Some(mut piece), None) if has_text => {
                if let Piece::Column(column) = &mut piece {
                    column.nulls.get_or_insert(Nulls::Kept);
                }
                Ok(piece)
            }
            _ => Err(PlanError::WrongType { column: name.clone(), what: "in a header" }),
        }
    }
}

/// A field of a key that is no struct.
fn single(field: ShownField<Node>) -> Option<ShownField<Vec<Piece>>> {
    let ShownField { name, schema, source } = field;
    let source = match source {
        Source::Own { of: Node::Pieces(of), nulls, mask } => Source::Own { of, nulls, mask },
        Source::Own { of: Node::Fields(_), .. } => return None,
        Source::Bytes(bytes) => Source::Bytes(bytes),
    };
    Some(ShownField { name, schema, source })
}

impl FormHeader {
    /// Its value, as `SimpleHeaderConverter` writes it: a text bare, a number in digits, nothing for null.
    pub(super) fn value(&self, table: &TablePlan, told: Told<'_>) -> Result<Option<Vec<u8>>, EncodeError> {
        let mut json = Vec::new();
        told.write(&mut json, table, std::slice::from_ref(&self.value))?;
        Ok(text_of(&json))
    }
}
