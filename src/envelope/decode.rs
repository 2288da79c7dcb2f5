//! From the bytes of a Debezium envelope to the columns of an outbox row.
//!
//! Nothing is copied where the text allows it, and nothing of the text is quoted in errors.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use super::number::integer;
use super::outbox::RowSeed;
use crate::error::{Error, Result};
use crate::row::Operation;

pub use super::outbox::{Column, Ids, OutboxColumns, OutboxRow};

/// Nesting that a payload may have; BSON ends at 100 and `serde_json` at 128.
pub const PAYLOAD_DEPTH_MAX: usize = 64;
/// Bytes of JSON that a payload may have; a MongoDB document ends at 16 MB.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What Debezium writes in place of a value that PostgreSQL did not send.
pub const UNAVAILABLE_VALUE: &str = "__debezium_unavailable_value";

/// An envelope, as far as `process` needs it.
#[derive(Debug)]
pub struct DecodedEnvelope<'a> {
    /// What happened.
    pub op: Operation,
    /// The row after it; deletes have none.
    pub after: Option<OutboxRow<'a>>,
    /// Commit time in microseconds since 1970, by the source's clock.
    pub source_ts_us: Option<i64>,
    /// Where it comes from.
    pub source: Source<'a>,
}

/// Either an envelope, or Connect's wrapping of one with its schema.
#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// The block that says where a row comes from.
#[derive(Debug, Default, Deserialize)]
pub struct Source<'a> {
    #[serde(default)]
    ts_us: Option<i64>,
    #[serde(default)]
    ts_ms: Option<i64>,
    #[serde(borrow, default)]
    lsn: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sequence: Option<&'a RawValue>,
}

impl Source<'_> {
    /// The position of the change in the log.
    pub fn lsn(&self) -> Option<u64> {
        integer(self.lsn?.get()).map(i64::cast_unsigned)
    }

    /// The end of the last commit before the row's own, as far as the writer had seen one.
    pub fn previous_commit_end(&self) -> Option<u64> {
        let (previous, _): (Option<String>, Option<String>) = serde_json::from_str(&text_of(self.sequence?)?).ok()?;
        previous?.parse::<i64>().ok().map(i64::cast_unsigned)
    }
}

/// Parses an envelope around a row of evp's own outbox, with or without the schema block.
pub fn decode(bytes: &[u8]) -> Result<DecodedEnvelope<'_>> {
    decode_row(bytes, OutboxColumns::own())
}

/// The same around a row with other columns.
pub fn decode_row<'a>(bytes: &'a [u8], columns: &'a OutboxColumns) -> Result<DecodedEnvelope<'a>> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::data("the value is not UTF-8"))?;
    let mut outer: Outer<'_> = parse(text, "the value")?;
    if outer.op.is_none()
        && let Some(payload) = outer.payload
    {
        outer = parse(payload.get(), "the envelope under `payload`")?;
    }
    let letter = outer.op.ok_or_else(|| Error::data("the value has no `op`: it is not a Debezium envelope"))?;
    let letter = text_of(letter).ok_or_else(|| Error::data("`op` is not a text"))?;
    let op = Operation::from_letter(&letter).ok_or_else(|| Error::data("`op` is none of c, u, d, r, t, m"))?;
    let after = match outer.after {
        Some(after) if after.get() != "null" => Some(parse_as(RowSeed(columns), after.get(), "`after`")?),
        _ => None,
    };
    let source = outer.source.and_then(|source| parse::<Source<'_>>(source.get(), "`source`").ok()).unwrap_or_default();
    let source_ts_us = source.ts_us.or_else(|| source.ts_ms?.checked_mul(1_000));
    Ok(DecodedEnvelope { op, after, source_ts_us, source })
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T> {
    parse_as(PhantomData, text, what)
}

fn parse_as<'a, S: DeserializeSeed<'a>>(seed: S, text: &'a str, what: &str) -> Result<S::Value> {
    // Into a struct serde would read an array too, by position.
    let is_object = text.trim_ascii_start().starts_with('{');
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let parsed = parsed.map(|value| is_object.then_some(value));
    let wrong_form = || Error::data(format!("{what} is not a JSON object of the expected form"));
    parsed.map(|value| value.ok_or_else(wrong_form)).map_err(|error| {
        use serde_json::error::Category;
        let column = error.column();
        match error.classify() {
            Category::Syntax | Category::Eof | Category::Io => {
                Error::data(format!("{what} is not JSON (character {column})"))
            }
            Category::Data => wrong_form(),
        }
    })?
}

/// A payload within the limits of what is applied.
pub fn parse_payload(text: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::data(format!("`payload` is larger than {PAYLOAD_BYTES_MAX} bytes")));
    }
    if depth(text.as_bytes()) > PAYLOAD_DEPTH_MAX {
        return Err(Error::data(format!("`payload` is nested deeper than {PAYLOAD_DEPTH_MAX} levels")));
    }
    parse(text, "`payload`")
}

/// The text, if the value is one; without escapes it is borrowed.
pub fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned)
}

/// How deep the brackets of a JSON text are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = r#"{"before":null,"after":{"event_id":"fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e","sequence_id":2,"aggregate_id":"d8dca3d4-a667-4b57-82eb-0f8fcd2c6491","aggregate_type":"User","event_type":"UserCreated","payload":"{\"email\": \"a@b\", \"first_name\": \"A\"}","status":"pending","retry_count":0,"last_error":null,"lock_id":null,"created_at":"2026-11-21T09:13:38.709461Z","published_at":null},"source":{"version":"3.5.0.Final","connector":"postgresql","name":"postgres","ts_ms":1795252418710,"snapshot":"false","db":"activity","sequence":"[null,\"26217256\"]","ts_us":1795252418710659,"ts_ns":1795252418710659000,"schema":"activity","table":"event_outbox","txId":744,"lsn":26217256,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"op":"c","ts_ms":1795252418815,"ts_us":1795252418815984,"ts_ns":1795252418815984950}"#;

    #[test]
    fn the_envelope_of_debezium_is_read() {
        let envelope = decode(REAL.as_bytes()).unwrap();
        assert_eq!(envelope.op, Operation::Create);
        assert_eq!(envelope.source_ts_us, Some(1_795_252_418_710_659));
        assert_eq!((envelope.source.lsn(), envelope.source.previous_commit_end()), (Some(26_217_256), None));
        let row = envelope.after.unwrap();
        assert_eq!(row.text(Column::EventType).unwrap().as_deref(), Some("UserCreated"));
        assert_eq!(row.sequence_id().unwrap(), Some(2));
        assert_eq!(row.payload().unwrap()["email"], "a@b");
    }

    #[test]
    fn the_schema_block_makes_no_difference() {
        let wrapped = format!(r#"{{"schema":{{"type":"struct","payload":1}},"payload":{REAL}}}"#);
        assert_eq!(decode(wrapped.as_bytes()).unwrap().source_ts_us, Some(1_795_252_418_710_659));
    }

    #[test]
    fn the_previous_commit_is_read_from_the_text_of_the_sequence() {
        let previous = |sequence: &str| {
            let json = format!(r#"{{"op":"c","source":{{"lsn":-1,"sequence":{sequence}}}}}"#);
            let source = decode(json.as_bytes()).unwrap().source;
            assert_eq!(source.lsn(), Some(u64::MAX));
            source.previous_commit_end()
        };
        assert_eq!(previous(r#""[\"26217000\",\"26217256\"]""#), Some(26_217_000));
        for sequence in ["null", "7", "[]", r#""""#, r#""[]""#, r#""[null,\"1\"]""#, r#""[\"x\",\"1\"]""#] {
            assert_eq!(previous(sequence), None, "{sequence}");
        }
    }

    #[test]
    fn a_payload_may_be_an_object() {
        let envelope = decode(br#"{"op":"u","after":{"payload":{"email":"a"}},"source":{"ts_ms":5}}"#).unwrap();
        assert_eq!(envelope.source_ts_us, Some(5_000));
        assert_eq!(envelope.after.unwrap().payload().unwrap()["email"], "a");
    }

    #[test]
    fn what_is_no_envelope_is_refused_without_quoting_it() {
        for bytes in [
            &b"secret"[..],
            b"",
            b"{",
            b"[]",
            b"[\"c\",{}]",
            b"{\"op\":\"c\",\"after\":[\"secret\"]}",
            b"\"secret\"",
            b"{\"op\":\"secret\"}",
            b"{\"op\":7}",
            b"{\"after\":{}}",
            b"{\"op\":\"c\",\"after\":\"secret\"}",
            b"{\"op\":\"c\"} secret",
            b"{\"op\":\"c\",\"op\":\"secret\"}",
            b"\xff\xfe",
        ] {
            let error = decode(bytes).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn deep_large_or_unsent_payloads_are_refused() {
        let row = |payload: &str| {
            let json = format!(r#"{{"op":"c","after":{{"payload":{}}}}}"#, serde_json::to_string(payload).unwrap());
            decode(json.as_bytes()).unwrap().after.unwrap().payload().map(|_| ())
        };
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(row(&nested(PAYLOAD_DEPTH_MAX)).is_ok());
        assert!(row(&nested(PAYLOAD_DEPTH_MAX + 1)).is_err());
        assert!(row(&nested(10_000)).is_err());
        assert!(row(UNAVAILABLE_VALUE).is_err());
        assert!(row("[1]").is_err());
        assert!(row("null").is_err());
        assert!(row(&format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX))).is_err());
    }

    #[test]
    fn brackets_inside_texts_are_no_nesting() {
        assert_eq!(depth(br#"{"a":"[[[\"[[","b":[1]}"#), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_envelope_is_read_or_refused(at in 0..REAL.len(), byte: u8, cut in 0..REAL.len()) {
            let mut bytes = REAL.as_bytes().to_vec();
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut]] {
                if let Ok(DecodedEnvelope { after: Some(row), .. }) = decode(bytes) {
                    let _ = (row.payload(), row.sequence_id(), row.text(Column::EventId));
                }
            }
        }
    }
}
