//! Bytes to [`Message`]: total, so that no byte from outside can panic or allocate beyond its size.

use bytes::{Buf, Bytes};

use super::message::{
    Begin, Change, Commit, LogicalMessage, Message, OldTuple, OldTupleKind, Relation, RelationColumn, RelationId,
    ReplicaIdentity, Truncate, Tuple, Xid,
};
use crate::lsn::Lsn;

/// Why bytes are not a message of protocol 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DecodeError {
    #[error("the message is empty")]
    Empty,
    #[error("the {message} message ends within its {field}")]
    Truncated { message: &'static str, field: &'static str },
    #[error("the {message} message has {bytes} bytes after its end")]
    Trailing { message: &'static str, bytes: usize },
    #[error("the {field} of a {message} message is not UTF-8")]
    NotUtf8 { message: &'static str, field: &'static str },
    #[error("the {field} of a {message} message is {value}")]
    BadValue { message: &'static str, field: &'static str, value: i64 },
    #[error("the {message} message holds a binary column, which was not asked for")]
    BinaryColumn { message: &'static str },
    #[error("{name} belongs to protocol version {version}, but version 1 was asked for")]
    LaterProtocol { name: &'static str, version: u8 },
    #[error("message tag 0x{0:02X} is not known")]
    UnknownTag(u8),
}

/// Decodes one message; the result shares the memory of `frame`.
pub fn decode(frame: Bytes) -> Result<Message, DecodeError> {
    let Some(&tag) = frame.first() else { return Err(DecodeError::Empty) };
    let message = message_name(tag)?;
    let mut reader = Reader { message, rest: frame };
    reader.rest.advance(1);
    let decoded = match tag {
        b'B' => Message::Begin(Begin {
            commit_lsn: reader.lsn("final LSN")?,
            commit_time_us: reader.i64("commit time")?,
            xid: Xid(reader.u32("transaction id")?),
        }),
        b'C' => {
            reader.u8("flags")?;
            Message::Commit(Commit {
                commit_lsn: reader.lsn("commit LSN")?,
                end_lsn: reader.lsn("end LSN")?,
                commit_time_us: reader.i64("commit time")?,
            })
        }
        b'O' => Message::Origin { origin_lsn: reader.lsn("commit LSN")?, name: reader.c_string("name")? },
        b'R' => Message::Relation(relation(&mut reader)?),
        b'Y' => {
            reader.u32("type id")?;
            reader.c_string("namespace")?;
            reader.c_string("name")?;
            Message::Type
        }
        b'I' => {
            let relation = reader.relation_id()?;
            reader.expect_marker(b'N')?;
            Message::Change(Change::Insert { relation, new: reader.tuple()? })
        }
        b'U' => Message::Change(update(&mut reader)?),
        b'D' => {
            let relation = reader.relation_id()?;
            let marker = reader.u8("tuple marker")?;
            Message::Change(Change::Delete { relation, old: reader.old_tuple(marker)? })
        }
        b'T' => Message::Truncate(truncate(&mut reader)?),
        _ => Message::Logical(logical_message(&mut reader)?),
    };
    match reader.rest.len() {
        0 => Ok(decoded),
        bytes => Err(DecodeError::Trailing { message, bytes }),
    }
}

/// The name of a tag of protocol 1, or why the tag is refused.
fn message_name(tag: u8) -> Result<&'static str, DecodeError> {
    let later = |name, version| Err(DecodeError::LaterProtocol { name, version });
    match tag {
        b'B' => Ok("Begin"),
        b'C' => Ok("Commit"),
        b'O' => Ok("Origin"),
        b'R' => Ok("Relation"),
        b'Y' => Ok("Type"),
        b'I' => Ok("Insert"),
        b'U' => Ok("Update"),
        b'D' => Ok("Delete"),
        b'T' => Ok("Truncate"),
        b'M' => Ok("Message"),
        b'S' => later("Stream Start", 2),
        b'E' => later("Stream Stop", 2),
        b'c' => later("Stream Commit", 2),
        b'A' => later("Stream Abort", 2),
        b'b' => later("Begin Prepare", 3),
        b'P' => later("Prepare", 3),
        b'K' => later("Commit Prepared", 3),
        b'r' => later("Rollback Prepared", 3),
        b'p' => later("Stream Prepare", 3),
        other => Err(DecodeError::UnknownTag(other)),
    }
}

fn relation(reader: &mut Reader) -> Result<Relation, DecodeError> {
    let id = reader.relation_id()?;
    let schema = match reader.string("namespace")? {
        name if name.is_empty() => "pg_catalog".to_owned(),
        name => name,
    };
    let table = reader.string("name")?;
    let replica_identity = match reader.u8("replica identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        other => return Err(reader.bad_value("replica identity", other.into())),
    };
    let column_count = reader.count("column count")?;
    // Each column takes at least ten bytes, so a false count cannot make this reserve more than the frame holds.
    let mut columns = Vec::with_capacity(usize::from(column_count).min(reader.rest.len() / 10));
    for _ in 0..column_count {
        columns.push(RelationColumn {
            is_key: reader.u8("column flags")? & 1 == 1,
            name: reader.string("column name")?,
            type_oid: reader.u32("column type")?,
            type_modifier: reader.i32("column type modifier")?,
        });
    }
    Ok(Relation { id, schema, table, replica_identity, columns })
}

fn update(reader: &mut Reader) -> Result<Change, DecodeError> {
    let relation = reader.relation_id()?;
    let marker = reader.u8("tuple marker")?;
    if marker == b'N' {
        return Ok(Change::Update { relation, old: None, new: reader.tuple()? });
    }
    let old = reader.old_tuple(marker)?;
    reader.expect_marker(b'N')?;
    Ok(Change::Update { relation, old: Some(old), new: reader.tuple()? })
}

fn truncate(reader: &mut Reader) -> Result<Truncate, DecodeError> {
    let count = reader.i32("relation count")?;
    let count = usize::try_from(count).map_err(|_| reader.bad_value("relation count", count.into()))?;
    let options = reader.u8("options")?;
    let mut relations = Vec::with_capacity(count.min(reader.rest.len() / 4));
    for _ in 0..count {
        relations.push(reader.relation_id()?);
    }
    Ok(Truncate { options, relations })
}

fn logical_message(reader: &mut Reader) -> Result<LogicalMessage, DecodeError> {
    let is_transactional = reader.u8("flags")? & 1 == 1;
    let lsn = reader.lsn("LSN")?;
    let prefix = reader.c_string("prefix")?;
    let length = reader.i32("content length")?;
    let length = usize::try_from(length).map_err(|_| reader.bad_value("content length", length.into()))?;
    let content = reader.bytes(length, "content")?;
    Ok(LogicalMessage { is_transactional, lsn, prefix, content })
}

/// A cursor over one frame that names what is missing.
struct Reader {
    message: &'static str,
    rest: Bytes,
}

impl Reader {
    fn truncated(&self, field: &'static str) -> DecodeError {
        DecodeError::Truncated { message: self.message, field }
    }

    fn bad_value(&self, field: &'static str, value: i64) -> DecodeError {
        DecodeError::BadValue { message: self.message, field, value }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let array = *self.rest.first_chunk::<N>().ok_or_else(|| self.truncated(field))?;
        self.rest.advance(N);
        Ok(array)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(u8::from_be_bytes)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.array(field).map(u64::from_be_bytes).map(Lsn::new)
    }

    fn relation_id(&mut self) -> Result<RelationId, DecodeError> {
        self.u32("relation id").map(RelationId)
    }

    fn count(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let count = i16::from_be_bytes(self.array(field)?);
        u16::try_from(count).map_err(|_| self.bad_value(field, count.into()))
    }

    fn bytes(&mut self, length: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(self.truncated(field));
        }
        Ok(self.rest.split_to(length))
    }

    fn c_string(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let end = memchr::memchr(0, &self.rest).ok_or_else(|| self.truncated(field))?;
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        Ok(text)
    }

    fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let text = self.c_string(field)?;
        let text = std::str::from_utf8(&text).map_err(|_| DecodeError::NotUtf8 { message: self.message, field })?;
        Ok(text.to_owned())
    }

    fn expect_marker(&mut self, expected: u8) -> Result<(), DecodeError> {
        match self.u8("tuple marker")? {
            marker if marker == expected => Ok(()),
            marker => Err(self.bad_value("tuple marker", marker.into())),
        }
    }

    fn old_tuple(&mut self, marker: u8) -> Result<OldTuple, DecodeError> {
        let kind = match marker {
            b'K' => OldTupleKind::Key,
            b'O' => OldTupleKind::Full,
            other => return Err(self.bad_value("tuple marker", other.into())),
        };
        Ok(OldTuple { kind, tuple: self.tuple()? })
    }

    /// Walks the columns once, so that [`Tuple`] can read them later without a way to fail.
    fn tuple(&mut self) -> Result<Tuple, DecodeError> {
        let column_count = self.count("column count")?;
        let mut rest: &[u8] = &self.rest;
        for _ in 0..column_count {
            let (kind, after) = rest.split_first().ok_or_else(|| self.truncated("column kind"))?;
            rest = match kind {
                b'n' | b'u' => after,
                b't' => {
                    let (length, after) =
                        after.split_first_chunk::<4>().ok_or_else(|| self.truncated("column length"))?;
                    let length = i32::from_be_bytes(*length);
                    let length = usize::try_from(length).map_err(|_| self.bad_value("column length", length.into()))?;
                    after.get(length..).ok_or_else(|| self.truncated("column value"))?
                }
                b'b' => return Err(DecodeError::BinaryColumn { message: self.message }),
                other => return Err(self.bad_value("column kind", (*other).into())),
            };
        }
        let length = self.rest.len() - rest.len();
        Ok(Tuple::checked(column_count, self.rest.split_to(length)))
    }
}

#[cfg(test)]
#[path = "../../tests/support/pgoutput_encoder.rs"]
mod encoder;

#[cfg(test)]
mod tests {
    use super::encoder::{arbitrary_message, encode};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_encoder_writes_is_read_back(message in arbitrary_message()) {
            prop_assert_eq!(decode(encode(&message)), Ok(message));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(Bytes::from(bytes));
        }

        #[test]
        fn every_truncation_is_refused(message in arbitrary_message(), at: prop::sample::Index) {
            let bytes = encode(&message);
            let cut = at.index(bytes.len());
            prop_assert!(decode(bytes.slice(..cut)).is_err());
        }

        #[test]
        fn a_flipped_byte_never_panics(message in arbitrary_message(), at: prop::sample::Index, flip in 1_u8..) {
            let mut bytes = encode(&message).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(Message::Change(Change::Insert { new, .. })) = decode(Bytes::from(bytes)) {
                prop_assert_eq!(new.columns().count(), new.len());
            }
        }
    }

    #[test]
    fn messages_of_later_protocols_are_named() {
        let error = decode(Bytes::from_static(b"S\0\0\0\x01\x01")).unwrap_err();
        assert_eq!(error.to_string(), "Stream Start belongs to protocol version 2, but version 1 was asked for");
        assert_eq!(
            decode(Bytes::from_static(b"P")).unwrap_err(),
            DecodeError::LaterProtocol { name: "Prepare", version: 3 }
        );
    }

    #[test]
    fn negative_and_huge_lengths_are_refused() {
        let insert = |length: i32| {
            let mut bytes = b"I\0\0\0\x01N\0\x01t".to_vec();
            bytes.extend(length.to_be_bytes());
            decode(Bytes::from(bytes))
        };
        assert!(matches!(insert(-1), Err(DecodeError::BadValue { field: "column length", value: -1, .. })));
        assert!(matches!(insert(i32::MAX), Err(DecodeError::Truncated { field: "column value", .. })));
        assert!(matches!(
            decode(Bytes::from_static(b"T\xFF\xFF\xFF\xFF\0")),
            Err(DecodeError::BadValue { field: "relation count", value: -1, .. })
        ));
    }
}
