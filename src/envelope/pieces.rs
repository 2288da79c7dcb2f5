//! The stretches that values are written of, and those of the `source` block.

use super::plan::Piece;
use super::profile::{ProfileFacts, SourceField};
use crate::connect::Nulls;
use crate::connect::json::write_string;

/// What the `source` block of all records of a table names.
#[derive(Clone, Copy)]
pub(super) struct SourceNames<'a> {
    pub(super) topic_prefix: &'a str,
    pub(super) database: &'a str,
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
}

/// The `source` block.
pub(super) fn source_pieces(facts: &ProfileFacts, names: SourceNames<'_>, nulls: Nulls) -> Vec<Piece> {
    let mut pieces = Pieces(Vec::new());
    for (at, field) in facts.source.iter().enumerate() {
        pieces.member(at, field.name());
        pieces.push(match (field, nulls) {
            (SourceField::Snapshot, Nulls::Kept) => Piece::BareSnapshot,
            (field, _) => source_value(facts, names, *field),
        });
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

pub(super) fn quoted(text: &str) -> Vec<u8> {
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
pub(super) struct Pieces(pub(super) Vec<Piece>);

impl Pieces {
    pub(super) fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => self.bytes(&bytes),
            piece => self.0.push(piece),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    /// The first or a further member of an object, without its value.
    pub(super) fn member(&mut self, at: usize, name: &str) {
        self.bytes(if at == 0 { b"{" } else { b"," });
        self.bytes(&quoted_name(name));
    }
}
