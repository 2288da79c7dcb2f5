//! JSON strings as Jackson writes them in Kafka Connect's `JsonConverter`.

/// Appends `text` as a quoted string.
///
/// Control characters are escaped with upper-case hex, characters beyond U+FFFF as surrogate pairs, and
/// everything else is raw: observed of Debezium 3.6.1 on Java 17.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if is_plain(byte) {
            at += 1;
            continue;
        }
        out.extend_from_slice(bytes.get(written..at).unwrap_or_default());
        let length = match byte {
            b'"' => escape(out, b'"'),
            b'\\' => escape(out, b'\\'),
            b'\n' => escape(out, b'n'),
            b'\r' => escape(out, b'r'),
            b'\t' => escape(out, b't'),
            0x08 => escape(out, b'b'),
            0x0C => escape(out, b'f'),
            0xF0.. => {
                let character = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or('\u{FFFD}');
                let mut units = [0; 2];
                character.encode_utf16(&mut units).iter().for_each(|unit| write_unit(out, *unit));
                character.len_utf8()
            }
            control => {
                write_unit(out, u16::from(control));
                1
            }
        };
        at += length;
        written = at;
    }
    out.extend_from_slice(bytes.get(written..).unwrap_or_default());
    out.push(b'"');
}

/// Bytes that stand for themselves; in valid UTF-8 only four-byte sequences start at 0xF0 or above.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\' && byte < 0xF0
}

fn escape(out: &mut Vec<u8>, letter: u8) -> usize {
    out.extend_from_slice(&[b'\\', letter]);
    1
}

/// A UTF-16 unit, escaped.
pub(crate) fn write_unit(out: &mut Vec<u8>, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = usize::from((unit >> shift) & 0xF);
        out.push(HEX.get(digit).copied().unwrap_or(b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn every_string_is_read_back_by_a_json_parser(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }

    #[test]
    fn escapes_are_jacksons() {
        assert_eq!(written("a\"\\\n\r\t\u{8}\u{c}/"), r#""a\"\\\n\r\t\b\f/""#);
        assert_eq!(written("\u{b}\u{1f}\u{7f}"), "\"\\u000B\\u001F\u{7f}\"");
        assert_eq!(written("é\u{2028}\u{feff}\u{ffff}"), "\"é\u{2028}\u{feff}\u{ffff}\"");
        assert_eq!(written("x😀y"), r#""x\uD83D\uDE00y""#);
    }
}
