//! The position of a record: what makes resuming exact.
//!
//! Its text is `2:kind:system:commit:row:part`. The first form, `system:commit:index`, whose index counted four for each
//! row, is still read, as topics hold it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// The number before a text of this form.
const VERSION: &str = "2";
/// How many indexes the first form gave to a row.
const INDEXES_PER_ROW: u64 = 4;

/// The parts of a row's change: the record of the change itself, a delete's tombstone, and the create behind a key change.
pub(super) const PART_CHANGE: u32 = 0;
pub(super) const PART_TOMBSTONE: u32 = 1;
pub(super) const PART_NEW_KEY: u32 = 2;
/// The part of the first record between a row and the next that is of neither: of a truncate or a message. They count as
/// parts of the row before them, so that rows have the numbers that they had before there were such records.
pub const PART_BETWEEN: u32 = 3;
/// The part of the record of a transaction's end, behind everything else of its last row.
pub const PART_END: u32 = u32::MAX - 1;
/// Where the rows of a blocking snapshot stand: behind the record of the signal that has asked for it, which is an insert.
const PART_BLOCKING: u32 = PART_NEW_KEY;
/// Where the rows of an incremental snapshot stand: behind everything else of the row before the one that closes their
/// window.
const PART_READ: u32 = u32::MAX - 2;

/// Where a record stands in the stream of one cluster.
///
/// An LSN alone is no position: rows of one COPY share one, and rows of overlapping transactions are not
/// in LSN order. Commit LSNs are in commit order, and rows and parts grow within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Position {
    /// What brought the record.
    pub kind: PositionKind,
    /// The cluster's identifier.
    pub system_identifier: u64,
    /// Position of the transaction's commit record, or the position that a snapshot shows.
    pub commit_lsn: Lsn,
    /// Place of the row in its transaction or snapshot, counted from 1, whether or not the rows before it were written.
    pub row: u64,
    /// Place of the record among those of its row; the same whichever of them are written.
    pub part: u32,
}

/// What brings records; the positions of a snapshot before the stream and of the others say nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PositionKind {
    /// `s`: the stream of a slot.
    Stream,
    /// `r`: a snapshot, which reads rows.
    Snapshot,
    /// `i`: a snapshot that is taken while the stream goes on. Its rows stand in the stream, those of a chunk at one place.
    Incremental,
    /// `b`: a snapshot that a signal asks for, and that the stream waits for. Its rows stand at the place of the signal.
    Blocking,
}

impl PositionKind {
    fn letter(self) -> &'static str {
        match self {
            Self::Stream => "s",
            Self::Snapshot => "r",
            Self::Incremental => "i",
            Self::Blocking => "b",
        }
    }
}

impl Position {
    /// What orders records of the same cluster, those of the stream and of snapshots that signals ask for together.
    pub fn order(&self) -> (Lsn, u64, u32) {
        let part = match self.kind {
            PositionKind::Incremental => PART_READ,
            PositionKind::Blocking => PART_BLOCKING,
            PositionKind::Stream | PositionKind::Snapshot => self.part,
        };
        (self.commit_lsn, self.row, part)
    }

    /// The place within the commit as one number, as the first form counted it.
    pub fn within(&self) -> u64 {
        let part = u64::from(self.part).min(INDEXES_PER_ROW - 1);
        self.row.saturating_sub(1).saturating_mul(INDEXES_PER_ROW).saturating_add(part)
    }

    /// Writes the header's text over what `out` holds.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(VERSION.as_bytes());
        out.push(b':');
        out.extend_from_slice(self.kind.letter().as_bytes());
        for number in [self.system_identifier, self.commit_lsn.get(), self.row, self.part.into()] {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// From a header. Where tombstones are not written, the second index of a row in the first form was of its new key.
    pub fn from_header(text: &str, with_tombstones: bool) -> Result<Self, ParsePositionError> {
        let position: Self = text.parse()?;
        let is_first_form = text.split(':').count() == 3;
        let is_new_key = is_first_form && !with_tombstones && position.part == PART_TOMBSTONE;
        Ok(if is_new_key { Self { part: PART_NEW_KEY, ..position } } else { position })
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        let mut text = Vec::new();
        position.write(&mut text);
        Self::from_utf8_lossy(&text).into_owned()
    }
}

impl TryFrom<String> for Position {
    type Error = ParsePositionError;

    fn try_from(text: String) -> Result<Self, ParsePositionError> {
        text.parse()
    }
}

/// The text is of neither form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the form 2:kind:system:commit:row:part")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let kind = match text.split_once(':').filter(|(version, _)| *version == VERSION).map(|(_, rest)| rest) {
            Some(rest) if rest.starts_with("s:") => Some(PositionKind::Stream),
            Some(rest) if rest.starts_with("r:") => Some(PositionKind::Snapshot),
            Some(rest) if rest.starts_with("i:") => Some(PositionKind::Incremental),
            Some(rest) if rest.starts_with("b:") => Some(PositionKind::Blocking),
            _ => None,
        };
        let skipped = if kind.is_some() { 2 } else { 0 };
        let mut numbers = text.split(':').skip(skipped).map(|part| part.parse::<u64>().map_err(|_| ParsePositionError));
        let mut number = || numbers.next().unwrap_or(Err(ParsePositionError));
        let (system_identifier, commit_lsn) = (number()?, Lsn::new(number()?));
        let (row, part) = match kind {
            Some(_) => (number()?, number()?),
            None => {
                let index = number()?;
                ((index / INDEXES_PER_ROW).saturating_add(1), index % INDEXES_PER_ROW)
            }
        };
        let part = u32::try_from(part).map_err(|_| ParsePositionError)?;
        let kind = kind.unwrap_or(PositionKind::Stream);
        let position = Self { kind, system_identifier, commit_lsn, row, part };
        if numbers.next().is_some() { Err(ParsePositionError) } else { Ok(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(row: u64, part: u32) -> Position {
        let kind = PositionKind::Stream;
        Position { kind, system_identifier: 7, commit_lsn: Lsn::new(100), row, part }
    }

    #[test]
    fn rows_of_a_chunk_stand_between_the_row_before_the_end_of_their_window_and_that_row() {
        let read = Position { kind: PositionKind::Incremental, ..stream(3, 0) };
        assert!(stream(3, PART_BETWEEN + 9).order() < read.order() && read.order() < stream(4, 0).order());
        assert!(read.order() < stream(3, PART_END).order());
    }

    #[test]
    fn rows_that_the_stream_waits_for_stand_behind_their_signal_and_before_what_follows_it() {
        let read = Position { kind: PositionKind::Blocking, ..stream(3, 0) };
        assert!(stream(3, PART_CHANGE).order() < read.order() && read.order() < stream(3, PART_BETWEEN).order());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(kind in 0..4_usize, system_identifier: u64, lsn: u64, row: u64, part: u32) {
            let kinds =
                [PositionKind::Stream, PositionKind::Snapshot, PositionKind::Incremental, PositionKind::Blocking];
            let kind = kinds[kind];
            let position = Position { kind, system_identifier, commit_lsn: Lsn::new(lsn), row, part };
            let mut header = b"stale".to_vec();
            position.write(&mut header);
            let text = std::str::from_utf8(&header).unwrap();
            prop_assert_eq!(text.parse(), Ok(position));
            prop_assert_eq!(Position::from_header(text, false), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Position>();
        }

        #[test]
        fn the_first_form_is_read_in_its_order(left in 0..99_u64, right in 0..99_u64) {
            let read = |index: u64| format!("7:100:{index}").parse::<Position>().unwrap();
            prop_assert_eq!(read(left).order().cmp(&read(right).order()), left.cmp(&right));
            prop_assert_eq!(read(left).within(), left);
        }
    }

    #[test]
    fn the_text_names_version_kind_and_place() {
        let mut out = Vec::new();
        stream(12, 2).write(&mut out);
        assert_eq!(out, b"2:s:7:100:12:2");
        for text in ["", "7:100", "7:100:1:2", "2:x:7:100:1:0", "2:s:7:100:1", "2:s:7:100:1:0:0", "3:s:7:100:1:0"] {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text}");
        }
    }

    #[test]
    fn the_first_form_counted_what_was_written() {
        assert_eq!("7:100:0".parse(), Ok(stream(1, 0)));
        assert_eq!(Position::from_header("7:100:9", true), Ok(stream(3, 1)));
        assert_eq!(Position::from_header("7:100:9", false), Ok(stream(3, 2)));
        assert_eq!(Position::from_header("2:s:7:100:3:1", false), Ok(stream(3, 1)));
    }
}
