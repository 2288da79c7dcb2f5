//! Which events wait in the dead-letter topic.

use std::collections::HashSet;

use mongodb::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::report::{FindingKind, VerifyReport};
use crate::config::KafkaConfig;
use crate::dead_letters::{Book, Entry, State, read_book};
use crate::error::Result;
use crate::mongo::known_events;

/// What the dead-letter topic holds.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    pub(super) records: u64,
    pub(super) event_ids: HashSet<Uuid>,
    /// What these events are about, as documents hold it.
    pub(super) aggregates: HashSet<String>,
    without_event_id: u64,
    discarded: u64,
    /// Letters beyond what is kept.
    beyond: u64,
    findings: VerifyReport,
}

/// Reads the topic to its end as it is now; a topic that does not exist is empty.
pub(super) async fn read(config: &KafkaConfig, database: &Database, token: &CancellationToken) -> Result<DeadLetters> {
    let mut book = read_book(config, token).await?;
    let known = known_events(database, &book.waiting_events()).await?;
    book.remember(&known, &config.group_id);
    Ok(DeadLetters::of(&book))
}

impl DeadLetters {
    /// Letters that were replayed, or whose rows were corrected, are applied or have come back; those that were discarded stay undone, as somebody wanted.
    fn of(book: &Book) -> Self {
        let mut dead_letters = Self { beyond: book.beyond, ..Self::default() };
        for entry in book.entries() {
            match entry.state {
                State::Waiting => dead_letters.add(entry),
                State::Discarded => {
                    dead_letters.discarded = dead_letters.discarded.saturating_add(1);
                    dead_letters.event_ids.extend(entry.letter.event_id());
                    dead_letters.aggregates.extend(entry.letter.aggregate_id().map(str::to_owned));
                }
                State::Replayed | State::Applied | State::Superseded => {}
            }
        }
        dead_letters
    }

    /// Each event with a dead letter is a finding.
    pub(super) fn report(&mut self, topic: &str, report: &mut VerifyReport) {
        report.dead_letters = self.records;
        report.merge(std::mem::take(&mut self.findings));
        if self.without_event_id > 0 {
            let detail = format!("{} dead letters do not name an event", self.without_event_id);
            report.add(FindingKind::DeadLetter, topic, detail);
        }
        if self.discarded > 0 {
            report.note(format!("{} dead letters were discarded: their documents are not compared", self.discarded));
        }
        if self.beyond > 0 {
            report.note(format!(
                "{} dead letters are beyond those that are remembered: their documents are compared as if they had none",
                self.beyond
            ));
        }
    }

    /// A pointer to a row that was too large for the topic names no more than its identity.
    fn add(&mut self, entry: &Entry) {
        self.records = self.records.saturating_add(1);
        let letter = &entry.letter;
        let Some(event_id) = letter.event_id() else {
            self.without_event_id = self.without_event_id.saturating_add(1);
            return;
        };
        if self.event_ids.insert(event_id) {
            let detail = format!("{} is a dead letter", letter.event_type().unwrap_or("this event"));
            self.findings.add(FindingKind::DeadLetter, event_id, detail);
        }
        self.aggregates.extend(letter.aggregate_id().map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::RawRecord;

    #[test]
    fn the_event_is_found_with_and_without_the_schema_block_and_told_once() {
        let id = "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e";
        let bare = format!(r#"{{"after":{{"event_id":"{id}","event_type":"UserCreated"}},"op":"c"}}"#);
        let with_schema = format!(r#"{{"schema":{{}},"payload":{bare}}}"#);
        let mut book = Book::default();
        let values = [bare.as_bytes(), with_schema.as_bytes(), b"not json", b"{}"];
        for (offset, value) in (0..).zip(values) {
            // Each by a handler of its own, so that none stands for another.
            let headers = vec![("evp.handler".to_owned(), Some(vec![b'a', u8::try_from(offset).unwrap()]))];
            book.add(&RawRecord { offset, value: Some(value.to_vec()), headers, ..RawRecord::default() });
        }
        let mut dead_letters = DeadLetters::of(&book.finish());
        assert_eq!(dead_letters.event_ids, HashSet::from([id.parse().unwrap()]));
        let mut report = VerifyReport::default();
        dead_letters.report("topic", &mut report);
        assert_eq!((report.dead_letters, report.finding_counts[&FindingKind::DeadLetter]), (4, 2));
        let details: Vec<_> = report.findings[&FindingKind::DeadLetter].iter().map(|found| &found.detail).collect();
        assert_eq!(details, ["UserCreated is a dead letter", "2 dead letters do not name an event"]);
    }
}
