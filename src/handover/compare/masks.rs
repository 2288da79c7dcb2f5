//! What of a record is not compared: the whole set, each with its reason.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use super::text::walk;
use crate::envelope::POSITION_HEADER;
use crate::transform::{FieldParent, Transforms};

const CLOCK: &str = "the clock at which the record was built";
const VERSION: &str = "the version of Debezium, and the one that evp writes as; the report names both";

/// Fields of an envelope, in its value.
const OF_ENVELOPES: [(&str, &str); 4] =
    [("ts_ms", CLOCK), ("ts_us", CLOCK), ("ts_ns", CLOCK), ("source.version", VERSION)];

/// Headers.
const OF_HEADERS: [(&str, &str); 2] = [
    ("__debezium.context.runId", "drawn anew at each start of a connector"),
    (POSITION_HEADER, "evp's own, by which it resumes"),
];

/// Something that is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Mask {
    #[serde(rename = "in")]
    pub(super) part: &'static str,
    pub(super) name: String,
    pub(super) why: &'static str,
}

/// What is not compared of the records of a connector.
#[derive(Debug)]
pub(super) struct Masks {
    /// Of envelopes.
    envelopes: Vec<Mask>,
    /// Of rows that a transform has taken out of their envelopes, under its names.
    rows: Vec<Mask>,
    headers: Vec<Mask>,
}

impl Masks {
    pub(super) fn of(transforms: &Transforms) -> Self {
        let of = |part| move |(name, why): (&str, &'static str)| Mask { part, name: name.to_owned(), why };
        let mut masks = Self {
            envelopes: OF_ENVELOPES.into_iter().map(of("envelope")).collect(),
            rows: Vec::new(),
            headers: OF_HEADERS.into_iter().map(of("headers")).collect(),
        };
        for (is_header, field) in transforms.shown_fields() {
            let path = match field.parent {
                FieldParent::Envelope => field.field.clone(),
                FieldParent::Source => format!("source.{}", field.field),
                FieldParent::Transaction | FieldParent::Before | FieldParent::After => continue,
            };
            let Some((_, why)) = OF_ENVELOPES.into_iter().find(|(masked, _)| *masked == path) else { continue };
            if is_header {
                masks.headers.push(of("headers")((&field.new_name, why)));
            } else {
                masks.rows.push(of("row")((&field.new_name, why)));
            }
        }
        masks
    }

    /// All of it, to be told.
    pub(super) fn all(&self) -> impl Iterator<Item = &Mask> {
        self.envelopes.iter().chain(&self.rows).chain(&self.headers)
    }

    /// Whether the header of this name is passed over.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|mask| mask.name == name)
    }

    /// The value with nothing in the places that are masked.
    pub(super) fn masked<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        let places = self.places(value);
        if places.is_empty() {
            return Cow::Borrowed(value);
        }
        let (mut kept, mut from) = (Vec::with_capacity(value.len()), 0);
        for place in places {
            kept.extend_from_slice(value.get(from..place.start).unwrap_or_default());
            from = place.end;
        }
        kept.extend_from_slice(value.get(from..).unwrap_or_default());
        Cow::Owned(kept)
    }

    /// The places of a value that are masked, in their order.
    pub(super) fn places(&self, value: &[u8]) -> Vec<Range<usize>> {
        let (mut of_envelope, mut of_row) = (Vec::new(), Vec::new());
        let (mut has_op, mut has_source) = (false, false);
        let walked = walk(value, &mut |path, place| {
            let path = payload(path);
            has_op |= path == "op";
            has_source |= path.starts_with("source.");
            // Whether it is there at all is compared.
            let is_null = value.get(place.clone()) == Some(b"null");
            let is_one = |masks: &[Mask]| !is_null && masks.iter().any(|mask| mask.name == path);
            if is_one(&self.envelopes) {
                of_envelope.push(place);
            } else if is_one(&self.rows) {
                of_row.push(place);
            }
        });
        match walked {
            Some(()) if has_op && has_source => of_envelope,
            Some(()) => of_row,
            None => Vec::new(),
        }
    }
}

/// The path without what stands around a value that carries its schema.
pub(super) fn payload(path: &str) -> &str {
    path.strip_prefix("payload.").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{FieldReference, Step, Transform, Unwrap};

    const ENVELOPE: &str = r#"{"before":null,"after":{"ts_ms":1,"op":"x"},"source":{"version":"3.6.1.Final","ts_ms":7,"lsn":5},"op":"c","ts_ms":123,"ts_us":123456,"ts_ns":null}"#;

    fn masked(masks: &Masks, value: &str) -> String {
        String::from_utf8(masks.masked(value.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn of_an_envelope_its_own_clock_and_the_version_are_passed_over_and_nothing_else() {
        let masks = Masks::of(&Transforms::default());
        let expected = r#"{"before":null,"after":{"ts_ms":1,"op":"x"},"source":{"version":,"ts_ms":7,"lsn":5},"op":"c","ts_ms":,"ts_us":,"ts_ns":null}"#;
        assert_eq!(masked(&masks, ENVELOPE), expected);
        let schemas = r#"{"schema":{"field":"ts_ms"},"payload":"#;
        assert_eq!(masked(&masks, &format!("{schemas}{ENVELOPE}}}")), format!("{schemas}{expected}}}"));
        for row in
            [r#"{"ts_ms":5,"op":"c"}"#, r#"{"id":1,"ts_ms":5}"#, "Struct{ts_ms=5}", r#"{"status":"END","ts_ms":5}"#]
        {
            assert_eq!(masked(&masks, row), row, "a row's own columns are compared");
        }
        assert!(masks.has_header("evp.position") && masks.has_header("__debezium.context.runId"));
        assert!(!masks.has_header("__debezium.context.taskId"));
    }

    #[test]
    fn what_a_transform_takes_from_the_envelope_is_passed_over_under_its_new_name() {
        let parse = |entry| FieldReference::parse("__", entry).unwrap();
        let unwrap = Unwrap {
            fields: ["ts_ms", "source.ts_ms", "ts_us:built", "op"].map(parse).to_vec(),
            headers: ["ts_ns", "source.version"].map(parse).to_vec(),
            ..Unwrap::default()
        };
        let masks = Masks::of(&Transforms::new(vec![Step { transform: Transform::Unwrap(unwrap), condition: None }]));
        let row = r#"{"ts_ms":1,"__ts_ms":2,"__source_ts_ms":3,"__built":4}"#;
        assert_eq!(masked(&masks, row), r#"{"ts_ms":1,"__ts_ms":,"__source_ts_ms":3,"__built":}"#);
        assert!(masks.has_header("__ts_ns") && masks.has_header("__source_version") && !masks.has_header("__op"));
        assert_eq!(masks.all().count(), 10);
    }
}
