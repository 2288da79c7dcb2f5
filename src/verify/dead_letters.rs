//! Which events wait in the dead-letter topic.

use std::collections::HashSet;

use rdkafka::message::Message as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::report::{FindingKind, VerifyReport};
use super::topic::read_to_end;
use crate::config::KafkaConfig;
use crate::envelope::decode::{Column, decode};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::headers::dead_letter_topic;
use crate::process::Event;

/// Events that are kept by their ids; each takes about 150 bytes.
const EVENTS_MAX: usize = 1_000_000;

/// What the dead-letter topic holds.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    pub(super) records: u64,
    pub(super) event_ids: HashSet<Uuid>,
    /// What these events are about, as documents hold it.
    pub(super) aggregates: HashSet<String>,
    without_event_id: u64,
    /// Letters beyond what is kept.
    beyond: u64,
    findings: VerifyReport,
}

/// Reads the topic to its end as it is now; a topic that does not exist is empty.
pub(super) async fn read(config: &KafkaConfig, token: &CancellationToken) -> Result<DeadLetters> {
    let (config, token) = (config.clone(), token.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut dead_letters = DeadLetters::default();
        let topic = dead_letter_topic(&config.topic);
        let add = |record: &rdkafka::message::BorrowedMessage<'_>| {
            dead_letters.add(record.payload());
            Ok(())
        };
        read_to_end(&config, &topic, &token, add).map(|_| dead_letters)
    });
    read.await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the dead letters was interrupted", error))?
}

impl DeadLetters {
    /// Each event with a dead letter is a finding.
    pub(super) fn report(&mut self, topic: &str, report: &mut VerifyReport) {
        report.dead_letters = self.records;
        report.merge(std::mem::take(&mut self.findings));
        if self.without_event_id > 0 {
            let detail = format!("{} dead letters do not name an event", self.without_event_id);
            report.add(FindingKind::DeadLetter, topic, detail);
        }
        if self.beyond > 0 {
            report.note(format!(
                "{} dead letters are beyond the {EVENTS_MAX} that are remembered: their documents are compared as if they had none",
                self.beyond
            ));
        }
    }

    fn add(&mut self, value: Option<&[u8]>) {
        self.records = self.records.saturating_add(1);
        if self.event_ids.len() >= EVENTS_MAX {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        if value.and_then(|value| self.add_event(value)).is_none() {
            self.without_event_id = self.without_event_id.saturating_add(1);
        }
    }

    /// A pointer to a row that was too large for the topic names no more than its identity.
    fn add_event(&mut self, value: &[u8]) -> Option<()> {
        let row = decode(value).ok()?.after?;
        let event_id = Event::id_of(&row).ok()?;
        if self.event_ids.insert(event_id) {
            let event_type = row.text(Column::EventType).ok().flatten();
            let detail = format!("{} is a dead letter", event_type.as_deref().unwrap_or("this event"));
            self.findings.add(FindingKind::DeadLetter, event_id, detail);
        }
        self.aggregates.extend(Event::aggregate_id_of(&row));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_found_with_and_without_the_schema_block_and_told_once() {
        let id = "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e";
        let bare = format!(r#"{{"after":{{"event_id":"{id}","event_type":"UserCreated"}},"op":"c"}}"#);
        let with_schema = format!(r#"{{"schema":{{}},"payload":{bare}}}"#);
        let mut dead_letters = DeadLetters::default();
        for value in [bare.as_bytes(), with_schema.as_bytes(), b"not json", b"{}"] {
            dead_letters.add(Some(value));
        }
        dead_letters.add(None);
        assert_eq!(dead_letters.event_ids, HashSet::from([id.parse().unwrap()]));
        let mut report = VerifyReport::default();
        dead_letters.report("topic", &mut report);
        assert_eq!((report.dead_letters, report.finding_counts[&FindingKind::DeadLetter]), (5, 2));
        let details: Vec<_> = report.findings[&FindingKind::DeadLetter].iter().map(|found| &found.detail).collect();
        assert_eq!(details, ["UserCreated is a dead letter", "3 dead letters do not name an event"]);
    }
}
