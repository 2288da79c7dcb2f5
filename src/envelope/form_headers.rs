//! Headers that transforms add, and their bytes.

use super::derived_key::{Told, leaf};
use super::fields::{Source, note_nulls};
use super::forms::Layout;
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
        let fields = match &header.of {
            HeaderOf::Value(value) => self.fields_of_value(kind, value)?,
            HeaderOf::Key(keys) => match self.key_behind(kind, keys)?.map(|key| key.source) {
                Some(Source::Fields(fields)) => fields,
                _ => Vec::new(),
            },
        };
        let Some(mut field) = fields.into_iter().find(|field| field.name == *name) else {
            let header = &header.name;
            return Err(PlanError::Unmade(format!("it has no field {name} for the header {header} of HeaderFrom")));
        };
        let has_text = field.schema.has_text_of_json();
        note_nulls(&mut field, header.nulls);
        let mut pieces = leaf(field, Nulls::Kept).into_iter();
        match (pieces.next(), pieces.next()) {
            (Some(piece), None) if has_text => Ok(piece),
            _ => Err(PlanError::WrongType { column: name.clone(), what: "in a header" }),
        }
    }
}

impl FormHeader {
    /// Its value, as `SimpleHeaderConverter` writes it: a text bare, a number in digits, nothing for null.
    pub(super) fn value(&self, table: &TablePlan, told: Told<'_>) -> Result<Option<Vec<u8>>, EncodeError> {
        let mut json = Vec::new();
        told.write(&mut json, table, std::slice::from_ref(&self.value))?;
        Ok(text_of(&json))
    }
}
