//! A record of either side: what is compared of it, and at which byte two of them part.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use serde::Serialize;

use super::difference::Seen;
use super::masks::{Masks, payload};
use super::text::walk;
use crate::envelope::{POSITION_HEADER, Position};
use crate::lsn::Lsn;

/// Where values show the place of their change, in envelopes and as transforms name it.
const LSN_PATHS: [&str; 4] = ["source.lsn", "__source_lsn", "__lsn", "lsn"];
/// So many bytes are shown on either side of a difference.
const EXCERPT_BYTES: usize = 40;

/// A record with its bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// What is kept of it.
    pub(super) fn seen(&self, masks: &Masks) -> Seen {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        self.value.as_deref().map(|value| masks.masked(value)).hash(&mut hasher);
        self.compared_headers(masks).for_each(|header| header.hash(&mut hasher));
        let position =
            self.headers.iter().find(|(name, _)| name == POSITION_HEADER).and_then(|(_, text)| text.as_deref());
        let position = position.and_then(|text| std::str::from_utf8(text).ok()?.parse::<Position>().ok());
        Seen {
            partition: self.partition,
            offset: self.offset,
            has_key: self.key.is_some(),
            digest: hasher.finish(),
            lsn: self.value.as_deref().and_then(lsn_of),
            commit: position.map(|position| position.commit_lsn),
        }
    }

    /// Whether it is a heartbeat, which comes by the clock and tells of no change.
    pub(super) fn is_heartbeat(&self) -> bool {
        let (Some(key), Some(value)) = (&self.key, &self.value) else { return false };
        let only = |text: &[u8], name: &str| {
            let mut paths = Vec::new();
            let walked = walk(text, &mut |path, _| {
                if !path.starts_with("schema.") {
                    paths.push(payload(path).to_owned());
                }
            });
            match walked {
                Some(()) => paths == [name],
                None => text.starts_with(format!("Struct{{{name}=").as_bytes()),
            }
        };
        only(key, "serverName") && only(value, "ts_ms")
    }

    fn compared_headers<'a>(&'a self, masks: &'a Masks) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let headers = self.headers.iter().filter(|(name, _)| !masks.has_header(name));
        headers.map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

fn lsn_of(value: &[u8]) -> Option<Lsn> {
    let mut found = None;
    walk(value, &mut |path, place| {
        if found.is_none() && LSN_PATHS.contains(&payload(path)) {
            let text = value.get(place).and_then(|text| std::str::from_utf8(text).ok());
            found = text.and_then(|text| text.parse().ok()).map(Lsn::new);
        }
    })?;
    found
}

/// One side of a place at which two records part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Side {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Of how many the key, value or header has; nothing if it is null or not there.
    pub(super) bytes: Option<usize>,
    /// The first byte that is another.
    pub(super) byte: usize,
    /// The member in which it lies, where the bytes are JSON.
    pub(super) path: Option<String>,
    /// What stands there, without its value.
    pub(super) is: String,
    /// The bytes around it, if they may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shows: Option<String>,
}

/// Where two records part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Parting {
    /// `key`, `value` or `header` with its name.
    pub(super) part: String,
    pub(super) evp: Side,
    pub(super) debezium: Side,
}

/// The first byte at which the records part; nothing if they are equal where they are compared.
pub(super) fn parting(evp: &Record, debezium: &Record, masks: &Masks, shows_values: bool) -> Option<Parting> {
    let parted = |part: String, [ours, theirs]: [Option<&[u8]>; 2], masks: Option<&Masks>| {
        let [ours, theirs] = [(evp, ours), (debezium, theirs)].map(|(record, bytes)| Part {
            place: (record.partition, record.offset),
            bytes,
            masked: masks.zip(bytes).map(|(masks, bytes)| masks.places(bytes)).unwrap_or_default(),
        });
        let length = ours.compared().zip(theirs.compared()).take_while(|(ours, theirs)| ours == theirs).count();
        let [evp, debezium] = [ours, theirs].map(|part| part.side(length, shows_values));
        Parting { part, evp, debezium }
    };
    if evp.key != debezium.key {
        return Some(parted("key".to_owned(), [evp.key.as_deref(), debezium.key.as_deref()], None));
    }
    let [ours, theirs] = [evp, debezium].map(|record| record.value.as_deref());
    if ours.map(|value| masks.masked(value)) != theirs.map(|value| masks.masked(value)) {
        return Some(parted("value".to_owned(), [ours, theirs], Some(masks)));
    }
    let [ours, theirs] = [evp, debezium].map(|record| record.compared_headers(masks).collect::<Vec<_>>());
    let at = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
    let [ours, theirs] = [ours.get(at), theirs.get(at)].map(Option::<&_>::copied);
    let (name, _) = theirs.or(ours)?;
    let values = [ours, theirs].map(|header| header.filter(|(other, _)| *other == name).and_then(|(_, value)| value));
    Some(parted(format!("header {name}"), values, None))
}

/// The key, the value or a header of a record.
struct Part<'a> {
    place: (i32, i64),
    bytes: Option<&'a [u8]>,
    /// What of it is not compared.
    masked: Vec<Range<usize>>,
}

impl Part<'_> {
    fn compared(&self) -> impl Iterator<Item = u8> {
        let is_masked = |at: &usize| self.masked.iter().any(|place| place.contains(at));
        self.bytes.unwrap_or_default().iter().enumerate().filter(move |(at, _)| !is_masked(at)).map(|(_, byte)| *byte)
    }

    /// What is told of it, where `compared` bytes are equal.
    fn side(&self, compared: usize, shows_values: bool) -> Side {
        let byte = self
            .masked
            .iter()
            .fold(compared, |at, place| if place.start <= at { at.saturating_add(place.len()) } else { at });
        let bytes = self.bytes.unwrap_or_default();
        let mut member = None;
        let walked = walk(bytes, &mut |path, place| {
            if member.as_ref().is_none_or(|(_, found): &(String, Range<usize>)| found.end <= byte) {
                member = Some((path.to_owned(), place));
            }
        });
        let member = member.filter(|_| walked.is_some());
        let around = byte.saturating_sub(EXCERPT_BYTES)..byte.saturating_add(EXCERPT_BYTES).min(bytes.len());
        let shown = bytes.get(around).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Side {
            partition: self.place.0,
            offset: self.place.1,
            bytes: self.bytes.map(<[u8]>::len),
            byte,
            is: match (&member, self.bytes) {
                (_, None) => "nothing".to_owned(),
                (Some((_, place)), _) => kind(bytes.get(place.clone()).unwrap_or_default()),
                (None, Some(bytes)) => format!("{} bytes", bytes.len()),
            },
            path: member.map(|(path, _)| path),
            shows: shown.filter(|_| shows_values && self.bytes.is_some()),
        }
    }
}

/// What a value of JSON is, without saying it.
fn kind(text: &[u8]) -> String {
    match text.first() {
        Some(b'"') => format!("a text of {} bytes", text.len().saturating_sub(2)),
        Some(b't' | b'f') => "a boolean".to_owned(),
        Some(b'n') => "null".to_owned(),
        Some(b'[') => "an empty list".to_owned(),
        Some(b'{') => "an empty object".to_owned(),
        _ => format!("a number of {} characters", text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::Transforms;

    fn record(key: &str, value: &str, headers: &[(&str, &str)]) -> Record {
        let bytes = |text: &str| Some(text.as_bytes().to_vec()).filter(|bytes| !bytes.is_empty());
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), bytes(value))).collect();
        Record { partition: 0, offset: 3, key: bytes(key), value: bytes(value), headers }
    }

    fn envelope(clock: &str, total: &str) -> String {
        format!(
            r#"{{"after":{{"id":1,"total":{total}}},"source":{{"version":"3","lsn":40}},"op":"c","ts_ms":{clock}}}"#
        )
    }

    fn masks() -> Masks {
        Masks::of(&Transforms::default())
    }

    #[test]
    fn a_record_is_known_by_all_that_is_compared_and_evps_own_by_its_commit() {
        let headers = [("__debezium.context.runId", "a"), ("evp.position", "2:s:7:96:1:0"), ("h", "1")];
        let ours = record("k", &envelope("5", "1"), &headers).seen(&masks());
        assert_eq!((ours.lsn, ours.commit), (Some(Lsn::new(40)), Some(Lsn::new(96))));
        let theirs =
            record("k", &envelope("777", "1"), &[("__debezium.context.runId", "b"), ("h", "1")]).seen(&masks());
        assert_eq!((ours.digest, theirs.commit), (theirs.digest, None));
        for other in [
            record("l", &envelope("5", "1"), &[("h", "1")]),
            record("", &envelope("5", "1"), &[("h", "1")]),
            record("k", &envelope("5", "2"), &[("h", "1")]),
            record("k", "", &[("h", "1")]),
            record("k", &envelope("5", "1"), &[("h", "2")]),
            record("k", &envelope("5", "1"), &[]),
        ] {
            assert_ne!(other.seen(&masks()).digest, ours.digest, "{other:?}");
        }
    }

    #[test]
    fn the_first_other_byte_has_its_member_on_both_sides_and_no_value_unless_asked() {
        let (ours, theirs) =
            (record("k", &envelope("5", r#""12.50""#), &[]), record("k", &envelope("123456", "12.5"), &[]));
        let parting = super::parting(&ours, &theirs, &masks(), false).unwrap();
        assert_eq!((parting.part.as_str(), parting.evp.path.as_deref()), ("value", Some("after.total")));
        assert_eq!(
            (parting.evp.is.as_str(), parting.debezium.is.as_str()),
            ("a text of 5 bytes", "a number of 4 characters")
        );
        assert_eq!(ours.value.as_deref().unwrap()[parting.evp.byte], b'"');
        assert_eq!(parting.evp.shows, None);
        let shown = super::parting(&ours, &theirs, &masks(), true).unwrap();
        assert!(shown.debezium.shows.unwrap().contains("12.5"));
        assert_eq!(super::parting(&ours, &ours, &masks(), true), None);
    }

    #[test]
    fn what_is_masked_before_the_difference_does_not_move_it() {
        let late = |clock: &str, last: &str| {
            record("k", &format!("{},\"last\":{last}}}", envelope(clock, "1").strip_suffix('}').unwrap()), &[])
        };
        let (ours, theirs) = (late("5", "true"), late("123456789", "null"));
        let parting = super::parting(&ours, &theirs, &masks(), false).unwrap();
        assert_eq!(parting.debezium.byte - parting.evp.byte, 8);
        assert_eq!((parting.evp.path.as_deref(), parting.evp.is.as_str()), (Some("last"), "a boolean"));
    }

    #[test]
    fn keys_headers_and_nothing_at_all_are_told_apart() {
        let of = |ours: &Record, theirs: &Record| super::parting(ours, theirs, &masks(), false).unwrap();
        let parting = of(&record(r#"{"id":1}"#, "v", &[]), &record(r#"{"id":2}"#, "v", &[]));
        assert_eq!((parting.part.as_str(), parting.evp.byte, parting.evp.path.as_deref()), ("key", 6, Some("id")));
        let parting = of(&record("k", "", &[]), &record("k", "v", &[]));
        assert_eq!((parting.part.as_str(), parting.evp.is.as_str(), parting.evp.bytes), ("value", "nothing", None));
        let parting = of(&record("k", "v", &[("a", "1")]), &record("k", "v", &[("a", "1"), ("b", "2")]));
        assert_eq!((parting.part.as_str(), parting.evp.is.as_str()), ("header b", "nothing"));
        let parting = of(&record("k", "v", &[("a", "1x")]), &record("k", "v", &[("a", "1y")]));
        assert_eq!((parting.part.as_str(), parting.debezium.byte), ("header a", 1));
    }

    #[test]
    fn heartbeats_are_known_by_their_form_alone() {
        let is_one = |key: &str, value: &str| record(key, value, &[]).is_heartbeat();
        assert!(is_one(r#"{"serverName":"shop"}"#, r#"{"ts_ms":5}"#));
        assert!(is_one(
            r#"{"schema":{"a":1},"payload":{"serverName":"s"}}"#,
            r#"{"schema":{"b":1},"payload":{"ts_ms":5}}"#
        ));
        assert!(is_one("Struct{serverName=shop}", "Struct{ts_ms=5}"));
        assert!(!is_one(r#"{"id":1}"#, r#"{"ts_ms":5}"#) && !is_one(r#"{"serverName":"s"}"#, r#"{"ts_ms":5,"id":1}"#));
    }
}
