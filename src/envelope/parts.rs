//! The parts of the values of a table's records that transforms look into, and the pieces that edited values are written of.

use super::edits::Parts;
use super::fields::{NULL, Own, ShownField, Source};
use super::forms::Layout;
use super::pieces::Pieces;
use super::plan::{ConvertedPiece, Piece};
use crate::connect::{Nulls, Schema};
use crate::transform::RecordKind;

/// What is known of the parts of the values of a kind.
pub(super) struct PartsOf<'l> {
    pub(super) layout: &'l Layout<'l>,
    pub(super) kind: RecordKind,
}

impl Parts<Vec<Piece>> for PartsOf<'_> {
    fn fields(&self, part: &Vec<Piece>, schema: &Schema) -> Option<Vec<ShownField<Vec<Piece>>>> {
        let is_before_there = matches!(self.kind, RecordKind::Delete | RecordKind::OldKeyDelete);
        match part.as_slice() {
            [Piece::Before] if !is_before_there => None,
            _ => self.fields_or_nulls(part, schema),
        }
    }

    fn fields_or_nulls(&self, part: &Vec<Piece>, _: &Schema) -> Option<Vec<ShownField<Vec<Piece>>>> {
        match part.as_slice() {
            [Piece::Before] => Some(self.layout.columns_alone(true, None)),
            [Piece::After] => Some(self.layout.columns_alone(false, None)),
            _ => None,
        }
    }

    fn nulls(&self) -> Nulls {
        self.layout.options.value_converter.nulls()
    }
}

/// The same field without a value.
pub(super) fn nothing<S>(field: ShownField<S>) -> ShownField<S> {
    ShownField { source: Source::Bytes(NULL.to_vec()), ..field }
}

/// Appends what a field is written of.
pub(super) fn push(pieces: &mut Pieces, field: ShownField<Vec<Piece>>) {
    match field.source {
        Source::Bytes(bytes) => pieces.bytes(&bytes),
        Source::Own(own) => converted(field.name, own).into_iter().for_each(|piece| pieces.push(piece)),
        Source::Fields(fields) => {
            if fields.is_empty() {
                pieces.bytes(b"{");
            }
            for (at, field) in fields.into_iter().enumerate() {
                pieces.member(at, &field.name);
                push(pieces, field);
            }
            pieces.bytes(b"}");
        }
    }
}

/// The pieces of what a record has, as one where something becomes of them.
fn converted(name: String, own: Own<Vec<Piece>>) -> Vec<Piece> {
    let Own { of: mut pieces, nulls, when_null, conversions } = own;
    if let [Piece::Column(column)] = pieces.as_mut_slice() {
        column.nulls = column.nulls.or(nulls);
    }
    if conversions.is_empty() && when_null.is_none() {
        return pieces;
    }
    vec![Piece::Converted(Box::new(ConvertedPiece { name, pieces, when_null, conversions }))]
}
