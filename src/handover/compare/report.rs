//! What a comparison has found, for people and for programs.

use serde::Serialize;

use super::difference::Seen;
use super::masks::Mask;
use super::record::{Parting, Side};
use crate::lsn::Lsn;
use crate::terminal::{Tone, cell, lines, print, table};

/// A record that is told of.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    partition: i32,
    offset: i64,
    /// Of its change, if its value shows it.
    lsn: Option<Lsn>,
}

impl From<Seen> for Place {
    fn from(seen: Seen) -> Self {
        Self { partition: seen.partition, offset: seen.offset, lsn: seen.lsn }
    }
}

/// The first difference of a topic.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Told {
    Content(Box<Parting>),
    Partition { evp: Place, debezium: Place },
    OnlyEvp { evp: Place },
    OnlyDebezium { debezium: Place },
}

#[derive(Debug, Serialize)]
pub(super) struct TopicReport {
    /// As it is called without the comparison.
    pub(super) topic: String,
    /// Records that are equal.
    pub(super) equal: u64,
    pub(super) first_difference: Option<Told>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) is_equal: bool,
    pub(super) connector: String,
    pub(super) debezium: String,
    /// The version whose bytes evp writes.
    pub(super) compat: &'static str,
    pub(super) slot: String,
    pub(super) from: Lsn,
    pub(super) to: Lsn,
    pub(super) topics: Vec<TopicReport>,
    /// What was not compared.
    pub(super) passed_over: Vec<Mask>,
    pub(super) notes: Vec<String>,
}

impl Report {
    /// How many records are equal.
    pub(super) fn equal(&self) -> u64 {
        self.topics.iter().map(|topic| topic.equal).sum()
    }

    pub(super) fn print(&self, is_json: bool) {
        if is_json {
            print(serde_json::to_value(self).unwrap_or_default());
            return;
        }
        let (from, to, slot) = (self.from, self.to, &self.slot);
        let verdict = if self.is_equal { "write the same" } else { "do not write the same" };
        print(format!("Debezium {} and evp {verdict}, from {from} to {to} of slot {slot}\n", self.debezium));
        let mut rows = table(&["TOPIC", "EQUAL", "FIRST DIFFERENCE"]);
        for topic in &self.topics {
            let (told, tone) = match &topic.first_difference {
                None => ("none".to_owned(), Tone::Good),
                Some(told) => (told.short(), Tone::Bad),
            };
            rows.add_row([cell(&topic.topic, Tone::Plain), cell(topic.equal, Tone::Plain), cell(told, tone)]);
        }
        print(lines(&rows));
        for topic in &self.topics {
            if let Some(told) = &topic.first_difference {
                print(format!("{}\n{}", topic.topic, told.long()));
            }
        }
        for note in &self.notes {
            print(format!("note: {note}"));
        }
        let passed_over: Vec<&str> = self.passed_over.iter().map(|mask| mask.name.as_str()).collect();
        print(format!("not compared: {}", passed_over.join(", ")));
    }
}

impl Told {
    fn short(&self) -> String {
        match self {
            Self::Content(parting) => match parting.debezium.path.as_ref().or(parting.evp.path.as_ref()) {
                Some(path) if !path.is_empty() => format!("{}: {path}", parting.part),
                _ => parting.part.clone(),
            },
            Self::Partition { .. } => "another partition".to_owned(),
            Self::OnlyEvp { .. } => "Debezium has not written it".to_owned(),
            Self::OnlyDebezium { .. } => "evp has not written it".to_owned(),
        }
    }

    fn long(&self) -> String {
        let line = |side: &str, text: String| format!("  {side:<9}  {text}\n");
        let place = |place: &Place| {
            let lsn = place.lsn.map(|lsn| format!(", of the change at {lsn}")).unwrap_or_default();
            format!("partition {}, offset {}{lsn}", place.partition, place.offset)
        };
        match self {
            Self::Content(parting) => {
                let of = |name: &str, side: &Side| {
                    let shown = side.shows.as_ref().map(|shown| line("", format!("…{shown}…"))).unwrap_or_default();
                    line(name, side_text(&parting.part, side)) + &shown
                };
                of("evp:", &parting.evp) + &of("Debezium:", &parting.debezium)
            }
            Self::Partition { evp, debezium } => line("evp:", place(evp)) + &line("Debezium:", place(debezium)),
            Self::OnlyEvp { evp } => line("evp:", place(evp)),
            Self::OnlyDebezium { debezium } => line("Debezium:", place(debezium)),
        }
    }
}

fn side_text(part: &str, side: &Side) -> String {
    let record = format!("partition {}, offset {}", side.partition, side.offset);
    let Some(bytes) = side.bytes else { return format!("{record}: {part} is null, or not there") };
    let path = side.path.as_ref().filter(|path| !path.is_empty()).map(|path| format!("{path} is ")).unwrap_or_default();
    format!("{record}, byte {} of {bytes}: {path}{}", side.byte, side.is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(offset: i64, is: &str, shows: Option<&str>) -> Side {
        let shows = shows.map(str::to_owned);
        Side {
            partition: 2,
            offset,
            bytes: Some(90),
            byte: 14,
            path: Some("after.total".to_owned()),
            is: is.to_owned(),
            shows,
        }
    }

    #[test]
    fn a_difference_has_its_member_and_its_bytes_on_both_sides() {
        let parting = Parting {
            part: "value".to_owned(),
            evp: side(7, "a text of 5 bytes", Some(r#"total":"12.50"#)),
            debezium: side(9, "a number of 4 characters", None),
        };
        let told = Told::Content(Box::new(parting));
        assert_eq!(told.short(), "value: after.total");
        let expected = "  evp:       partition 2, offset 7, byte 14 of 90: after.total is a text of 5 bytes\n             …total\":\"12.50…\n  \
                        Debezium:  partition 2, offset 9, byte 14 of 90: after.total is a number of 4 characters\n";
        assert_eq!(told.long(), expected);
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!((json["what"].as_str(), json["debezium"]["byte"].as_i64()), (Some("content"), Some(14)));
        assert!(json["debezium"].get("shows").is_none());
    }

    #[test]
    fn what_one_side_lacks_is_told_with_the_place_of_the_other() {
        let seen = Seen { partition: 1, offset: 4, has_key: true, digest: 0, lsn: Some(Lsn::new(255)), commit: None };
        let told = Told::OnlyEvp { evp: seen.into() };
        assert_eq!(told.long(), "  evp:       partition 1, offset 4, of the change at 0/FF\n");
        assert_eq!(serde_json::to_value(&told).unwrap()["what"], "only_evp");
    }
}
