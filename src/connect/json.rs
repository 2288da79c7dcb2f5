//! JSON strings as Jackson writes them in Kafka Connect's `JsonConverter`.

/// Appends `text` as a quoted string.
///
/// Control characters are escaped with upper-case hex, characters beyond U+FFFF as surrogate pairs, and
/// everything else is raw: observed of Debezium 3.6.1 on Java 17.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = write_plain(out, text.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        let behind = match byte {
            SURROGATES_FROM.. => write_surrogates(out, text, rest),
            _ => {
                write_escaped(out, byte);
                behind
            }
        };
        rest = write_plain(out, behind);
    }
    out.push(b'"');
}

/// In valid UTF-8 only the first byte of a character beyond U+FFFF is as large.
const SURROGATES_FROM: u8 = 0xF0;

/// Appends the bytes up to the first that does not stand for itself, with which the rest begins.
///
/// Eight at a time, because most bytes of a topic go through here.
fn write_plain<'t>(out: &mut Vec<u8>, mut rest: &'t [u8]) -> &'t [u8] {
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let count = plain_bytes(u64::from_le_bytes(*word));
        out.extend_from_slice(word);
        if count < word.len() {
            out.truncate(out.len().saturating_sub(word.len() - count));
            return rest.get(count..).unwrap_or_default();
        }
        rest = behind;
    }
    let count = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
    let (plain, behind) = rest.split_at_checked(count).unwrap_or_default();
    out.extend_from_slice(plain);
    behind
}

/// How many bytes of a word, from its lowest on, stand for themselves.
///
/// A byte's high bit marks one that does not. A mark can be false only above a true one, so that the lowest is right.
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let has_surrogates = word & (word << 1) & (word << 2) & (word << 3);
    let marks = (below(word, b' ') | equal(b'"') | equal(b'\\') | has_surrogates) & HIGH;
    // Of no mark this counts 64 zeros, which are eight bytes.
    (marks.trailing_zeros() / 8) as usize
}

/// Bytes that stand for themselves.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\' && byte < SURROGATES_FROM
}

/// Appends the character with which `rest`, the end of `text`, begins, and gives back what follows it.
fn write_surrogates<'t>(out: &mut Vec<u8>, text: &str, rest: &'t [u8]) -> &'t [u8] {
    let at = text.len().saturating_sub(rest.len());
    let character = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or('\u{FFFD}');
    let mut units = [0; 2];
    character.encode_utf16(&mut units).iter().for_each(|unit| write_unit(out, *unit));
    rest.get(character.len_utf8()..).unwrap_or_default()
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        control => return write_unit(out, u16::from(control)),
    };
    out.extend_from_slice(&[b'\\', letter]);
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

    fn within(quoted: &str) -> String {
        quoted[1..quoted.len() - 1].to_owned()
    }

    proptest! {
        #[test]
        fn every_string_is_read_back_by_a_json_parser(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn bytes_are_told_apart_alike_by_themselves_and_in_a_word(bytes in any::<[u8; 8]>()) {
            let one_by_one = bytes.iter().position(|byte| !is_plain(*byte)).unwrap_or(8);
            prop_assert_eq!(plain_bytes(u64::from_le_bytes(bytes)), one_by_one);
        }

        #[test]
        fn escapes_are_the_same_wherever_they_stand(text in "[ -~\"\\\\\n\u{1f}é😀]{0,40}") {
            let one_by_one: String = text.chars().map(|c| within(&written(&c.to_string()))).collect();
            prop_assert_eq!(written(&text), format!("\"{one_by_one}\""));
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
