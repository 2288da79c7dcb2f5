//! Two sides' records of one topic, and where they differ.

use regex::Regex;
use serde_json::Value;

use crate::support::Record;

/// A record as text, without what tells one run of a connector from another: its clock, its run id, evp's own header.
struct Text {
    partition: i32,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

/// Where two records differ.
pub(super) struct Difference {
    pub(super) what: String,
    /// The place of the change in the log.
    pub(super) lsn: Option<u64>,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

fn text(record: &Record) -> Text {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let clock = regex(r#""op":"(.)","ts_ms":\d+(,"ts_us":\d+,"ts_ns":\d+)?"#);
    let value = text(&record.value).map(|value| clock.replace_all(&value, "\"op\":\"$1\"").into_owned());
    let headers = record.headers.iter().filter(|(name, _)| name != "evp.position");
    let headers =
        headers.map(|(name, value)| (name.clone(), text(value).filter(|_| !name.ends_with(".runId")))).collect();
    Text { partition: record.partition, key: text(&record.key), value, headers }
}

impl Text {
    fn is_snapshot(&self) -> bool {
        self.value.as_ref().is_some_and(|value| value.contains(r#""op":"r""#) || value.contains(r#""__op":"r""#))
    }

    /// Each side takes its own snapshot, and reads a table in its own order.
    fn without_snapshot(mut self) -> Self {
        let place =
            regex(r#""(_*(?:source_)?(?:ts_ms|ts_us|ts_ns|txId|lsn|sequence|snapshot))":("(\\.|[^"\\])*"|\d+)"#);
        self.value = self.value.map(|value| place.replace_all(&value, "\"$1\":0").into_owned());
        for (_, value) in self.headers.iter_mut().filter(|(name, _)| name == "__lsn") {
            *value = None;
        }
        self
    }

    /// The first half of `sequence` is null for as long as a run has seen no commit.
    fn without_last_commit(&self) -> Option<String> {
        let sequence = regex(r#""sequence":"\[(?:null|\\"\d+\\"),"#);
        self.value.as_ref().map(|value| sequence.replace_all(value, "\"sequence\":\"[").into_owned())
    }

    fn lsn(&self) -> Option<u64> {
        let place = regex(r#""(?:__)?lsn":(\d+)"#);
        self.value.as_ref().and_then(|value| place.captures(value)).and_then(|found| found[1].parse().ok())
    }

    fn has_no_last_commit(&self) -> bool {
        self.value.as_ref().is_some_and(|value| value.contains(r#""sequence":"[null,"#))
    }
}

/// All differences of a topic's records, up to where the two are out of step.
pub(super) fn differences(ours: &[Record], theirs: &[Record]) -> Vec<Difference> {
    let [ours, theirs] = [ours, theirs].map(|side| side.iter().map(text).partition::<Vec<_>, _>(Text::is_snapshot));
    let read = |side: Vec<Text>| {
        let mut side: Vec<_> = side.into_iter().map(Text::without_snapshot).collect();
        side.sort_by_key(|record| (record.key.clone(), record.value.clone()));
        side
    };
    let mut found = in_step(&read(ours.0), &read(theirs.0));
    // Where a record has no key, Java's producer chooses the partition by chance.
    let [(ours, our_keyless), (theirs, their_keyless)] =
        [ours.1, theirs.1].map(|side| side.into_iter().partition::<Vec<_>, _>(|record| record.key.is_some()));
    let in_place = |mut side: Vec<Text>| {
        side.sort_by_key(|record| (record.lsn(), record.value.clone()));
        side
    };
    found.extend(in_step(&ours, &theirs));
    found.extend(in_step(&in_place(our_keyless), &in_place(their_keyless)));
    found
}

/// Of one topic, as the others say the same again.
const DIFFERENCES_MAX: usize = 3;

fn in_step(ours: &[Text], theirs: &[Text]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let lsn = theirs.lsn().or_else(|| ours.lsn());
        let mut note = |what: String| found.push(Difference { what: format!("record {at}: {what}"), lsn });
        let is_out_of_step = ours.lsn() != theirs.lsn() || ours.value.is_some() != theirs.value.is_some();
        if (ours.partition, &ours.key) != (theirs.partition, &theirs.key)
            && (ours.key.is_some() || theirs.key.is_some())
        {
            let keys = [ours, theirs].map(|side| side.key.as_deref().unwrap_or("nothing"));
            let fields = if keys[0] == keys[1] { keys[0].to_owned() } else { of_values(keys[0], keys[1]) };
            note(format!("key, partition {} is {}: {fields}", ours.partition, theirs.partition));
        }
        if ours.headers != theirs.headers {
            note(format!("headers {:?} are {:?}", ours.headers, theirs.headers));
        }
        let is_first = ours.has_no_last_commit() || theirs.has_no_last_commit();
        let [our_value, their_value] =
            [ours, theirs].map(|side| if is_first { side.without_last_commit() } else { side.value.clone() });
        if our_value != their_value {
            note(of_values(our_value.as_deref().unwrap_or("nothing"), their_value.as_deref().unwrap_or("nothing")));
        }
        if is_out_of_step {
            break;
        }
    }
    found.truncate(DIFFERENCES_MAX);
    if ours.len() != theirs.len() {
        let lsn = ours.get(theirs.len()).or(theirs.get(ours.len())).and_then(Text::lsn);
        let extra = ours.get(theirs.len()).or(theirs.get(ours.len())).map(|record| (&record.key, &record.value));
        let what = format!("{} records are {}, the first beyond: {extra:?}", ours.len(), theirs.len());
        found.push(Difference { what, lsn });
    }
    found
}

/// The members in which two JSON texts differ, or the bytes.
pub(crate) fn of_values(ours: &str, theirs: &str) -> String {
    let parsed = [ours, theirs].map(|text| serde_json::from_str::<Value>(text).unwrap_or(Value::Null));
    let mut fields = Vec::new();
    collect("", &parsed[0], &parsed[1], &mut fields);
    if fields.is_empty() {
        let at = ours.bytes().zip(theirs.bytes()).take_while(|(ours, theirs)| ours == theirs).count();
        let around = |text: &str| {
            let bytes = text.as_bytes();
            let window = &bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())];
            String::from_utf8_lossy(window).into_owned()
        };
        fields.push(format!("byte {at}: …{}… is …{}…", around(ours), around(theirs)));
    }
    fields.join("\n    ")
}

/// The members in which two values differ.
fn collect(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
                let path = format!("{path}.{name}");
                match (ours.get(name), theirs.get(name)) {
                    (Some(ours), Some(theirs)) => collect(&path, ours, theirs, found),
                    (ours, theirs) => found.push(format!("{path}: {} is {}", short(ours), short(theirs))),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                collect(&format!("{path}[{at}]"), ours, theirs, found);
            }
        }
        _ if ours != theirs => found.push(format!("{path}: {} is {}", short(Some(ours)), short(Some(theirs)))),
        _ => {}
    }
}

fn short(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= 400 { text } else { text.chars().take(400).chain("…".chars()).collect() }
}
