//! What stands for a TOASTed value that a change did not touch and the log therefore does not hold.

use md5::{Digest, Md5};

use super::handling::{BinaryMode, DecimalMode, Handling, HstoreMode, TimeMode};
use super::hstore::write_character_string;
use crate::connect::json::write_string;

/// How the placeholder looks as a value of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It does not: null.
    Null,
    /// As a string.
    Text,
    /// As a decimal that is a string, if the connector's mode has these.
    Decimal,
    /// As bytes.
    Bytes,
    /// As key and value.
    Hstore,
    /// As a number for each byte.
    Numbers,
    /// The same, for dates that are numbers.
    Days,
    /// As the id that Java makes of its bytes.
    Uuid,
}

/// `unavailable.value.placeholder`: bytes, and the text that Java reads them as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholder {
    bytes: Vec<u8>,
    text: String,
}

impl Placeholder {
    /// A text, or `hex:` and the digits of bytes; nothing for digits that are none.
    pub fn parse(property: &str) -> Option<Self> {
        let bytes = match property.strip_prefix("hex:") {
            Some(digits) => super::binary::from_hex(digits).ok()?,
            None => property.as_bytes().to_vec(),
        };
        Some(Self { text: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    }
}

impl Missing {
    /// The JSON of the placeholder, in an array or alone; `None` for null.
    pub(super) fn json(self, placeholder: &Placeholder, handling: &Handling, is_array: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if is_array {
            out.push(b'[');
        }
        match self {
            Self::Null => return None,
            Self::Decimal if handling.decimal != DecimalMode::Text => return None,
            Self::Text | Self::Decimal => write_string(&mut out, &placeholder.text),
            Self::Bytes => match handling.binary {
                BinaryMode::Bytes => super::binary::write_base64(&mut out, &placeholder.bytes),
                BinaryMode::Hex if !is_array => write_string(&mut out, &placeholder.text),
                _ => return None,
            },
            Self::Hstore => write_pair(&mut out, &placeholder.text, handling.hstore),
            Self::Days if handling.time == TimeMode::IsoText => return None,
            Self::Numbers | Self::Days => write_numbers(&mut out, &placeholder.bytes),
            Self::Uuid => {
                let hash = Md5::digest(&placeholder.bytes);
                write_string(&mut out, &uuid::Builder::from_md5_bytes(hash.into()).into_uuid().to_string());
            }
        }
        if is_array {
            out.push(b']');
        }
        Some(out)
    }
}

fn write_pair(out: &mut Vec<u8>, placeholder: &str, mode: HstoreMode) {
    let mut map = vec![b'{'];
    let write = if mode == HstoreMode::Json { write_character_string } else { write_string };
    write(&mut map, placeholder);
    map.push(b':');
    write(&mut map, placeholder);
    map.push(b'}');
    match (mode, std::str::from_utf8(&map)) {
        (HstoreMode::Json, Ok(text)) => write_string(out, text),
        _ => out.extend_from_slice(&map),
    }
}

/// Java's bytes have a sign.
fn write_numbers(out: &mut Vec<u8>, placeholder: &[u8]) {
    for (at, byte) in placeholder.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(itoa::Buffer::new().format(byte.cast_signed()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_has_the_shape_of_its_type() {
        let placeholder = &Placeholder::parse("__debezium_unavailable_value").unwrap();
        let adaptive = Handling::default();
        let hex = Handling { binary: BinaryMode::Hex, decimal: DecimalMode::Text, hstore: HstoreMode::Map, ..adaptive };
        for (missing, handling, is_array, expected) in [
            (Missing::Text, adaptive, false, Some("\"__debezium_unavailable_value\"")),
            (Missing::Text, adaptive, true, Some("[\"__debezium_unavailable_value\"]")),
            (Missing::Bytes, adaptive, false, Some("\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"")),
            (Missing::Bytes, adaptive, true, Some("[\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"]")),
            (Missing::Bytes, hex, false, Some("\"__debezium_unavailable_value\"")),
            (Missing::Bytes, hex, true, None),
            (Missing::Decimal, adaptive, false, None),
            (Missing::Decimal, hex, false, Some("\"__debezium_unavailable_value\"")),
            (Missing::Uuid, adaptive, true, Some("[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]")),
            (Missing::Hstore, hex, false, Some(r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#)),
            (Missing::Null, adaptive, false, None),
        ] {
            let json = missing.json(placeholder, &handling, is_array);
            assert_eq!(json.map(|json| String::from_utf8(json).unwrap()).as_deref(), expected, "{missing:?}");
        }
        let json = |missing: Missing, placeholder: &str| {
            let json = missing.json(&Placeholder::parse(placeholder).unwrap(), &adaptive, true).unwrap();
            String::from_utf8(json).unwrap()
        };
        assert_eq!(json(Missing::Numbers, "_é"), "[95,-61,-87]");
        assert_eq!(json(Missing::Numbers, "hex:00ff10"), "[0,-1,16]");
        assert_eq!(json(Missing::Text, "hex:00ff10"), "[\"\\u0000\u{fffd}\\u0010\"]");
        assert_eq!(json(Missing::Bytes, "hex:00ff10"), "[\"AP8Q\"]");
        assert_eq!([Placeholder::parse("hex:0"), Placeholder::parse("hex:0g")], [None, None]);
    }
}
