//! What `evp verify` found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// Findings of one kind that are kept with their details; the rest is only counted.
const DETAILS_MAX: usize = 100;
/// Of those, how many people are shown.
const SHOWN_MAX: usize = 10;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A document that an event creates does not exist.
    Missing,
    /// A document that no event creates.
    Unexpected,
    /// A document with other fields than its events give it.
    Different,
    /// A counter that is not what it counts.
    Count,
    /// A reference to a user that should exist and does not.
    Reference,
    /// An event that cannot be applied and was not set aside either.
    LostEvent,
    /// An event that waits in the dead-letter topic.
    DeadLetter,
}

impl FindingKind {
    fn title(self) -> &'static str {
        match self {
            Self::Missing => "missing documents",
            Self::Unexpected => "unexpected documents",
            Self::Different => "documents with wrong fields",
            Self::Count => "wrong counts",
            Self::Reference => "dangling references",
            Self::LostEvent => "events neither applied nor set aside",
            Self::DeadLetter => "dead letters",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the document or event.
    pub subject: String,
    /// A sentence without values, which may be personal.
    pub detail: String,
}

/// Documents of one collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CollectionCount {
    pub expected: usize,
    pub actual: usize,
    pub not_compared: usize,
}

/// The whole result.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// Rows of the outbox.
    pub outbox_events: u64,
    /// Events whose type has no effect on the read models.
    pub unknown_events: u64,
    /// Records of the dead-letter topic.
    pub dead_letters: u64,
    /// Created users, and `total_users` as stored.
    pub total_users: (i64, i64),
    /// Documents by collection.
    pub collections: BTreeMap<&'static str, CollectionCount>,
    /// Documents of events whose rows and records are both gone.
    pub not_judged: u64,
    /// Aggregates of more events than are held in memory.
    pub too_long: u64,
    /// How many findings there are of each kind.
    pub finding_counts: BTreeMap<FindingKind, u64>,
    /// The first of each kind.
    pub findings: BTreeMap<FindingKind, Vec<Finding>>,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.finding_counts.is_empty()
    }

    pub(super) fn add(&mut self, kind: FindingKind, subject: impl Display, detail: String) {
        let count = self.finding_counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        let details = self.findings.entry(kind).or_default();
        if details.len() < DETAILS_MAX {
            details.push(Finding { subject: subject.to_string(), detail });
        }
    }

    /// Takes over the findings of another one.
    pub(super) fn merge(&mut self, other: Self) {
        for (kind, findings) in other.findings {
            let counted = other.finding_counts.get(&kind).copied().unwrap_or_default();
            let count = self.finding_counts.entry(kind).or_default();
            *count = count.saturating_add(counted);
            let details = self.findings.entry(kind).or_default();
            details.extend(findings);
            details.truncate(DETAILS_MAX);
        }
    }

    pub(super) fn note_what_is_not_compared(&mut self) {
        if self.not_judged > 0 {
            let count = self.not_judged;
            self.note(format!("{count} documents are not compared: rows and records of their events are gone"));
        }
        if self.too_long > 0 {
            self.note(format!(
                "{} aggregates have more events than are held in memory, and are not compared",
                self.too_long
            ));
        }
    }

    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Prints it for people.
    pub fn print_text(&self) {
        // A reader that went away has no use for the rest.
        let _ = std::io::stdout().write_all(self.text().as_bytes());
    }

    /// Prints it as one JSON object.
    pub fn print_json(&self) {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            object.insert("clean".to_owned(), self.is_clean().into());
        }
        let _ = writeln!(std::io::stdout(), "{json}");
    }

    fn text(&self) -> String {
        let mut text = format!("outbox        {} events", self.outbox_events);
        if self.unknown_events > 0 {
            text.push_str(&format!(", {} of types without effect", self.unknown_events));
        }
        text.push('\n');
        for (name, count) in &self.collections {
            text.push_str(&format!("{name:<14}{} documents, {} expected", count.actual, count.expected));
            if count.not_compared > 0 {
                text.push_str(&format!(", {} not compared", count.not_compared));
            }
            text.push('\n');
        }
        let (created, stored) = self.total_users;
        text.push_str(&format!("statistics    total_users {stored}, {created} expected\n"));
        text.push_str(&format!("{:<14}{}\n", "dead letters", self.dead_letters));
        for note in &self.notes {
            text.push_str(&format!("note          {note}\n"));
        }
        for (kind, findings) in &self.findings {
            let count = self.finding_counts.get(kind).copied().unwrap_or_default();
            text.push_str(&format!("\n{count} {}\n", kind.title()));
            for finding in findings.iter().take(SHOWN_MAX) {
                text.push_str(&format!("  {}  {}\n", finding.subject, finding.detail));
            }
            let shown = u64::try_from(findings.len().min(SHOWN_MAX)).unwrap_or_default();
            if count > shown {
                text.push_str(&format!("  … and {} more\n", count.saturating_sub(shown)));
            }
        }
        text.push_str(if self.is_clean() { "\neverything agrees\n" } else { "\ndifferences found\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_findings_are_counted_and_a_few_are_shown() {
        let mut report = VerifyReport::default();
        assert!(report.is_clean() && report.text().contains("everything agrees"));
        for number in 0..1_000 {
            report.add(FindingKind::Missing, number, "users: the document does not exist".to_owned());
        }
        let text = report.text();
        assert!(
            !report.is_clean() && text.contains("1000 missing documents") && text.contains("… and 990 more"),
            "{text}"
        );
        assert_eq!(report.findings[&FindingKind::Missing].len(), DETAILS_MAX);
    }

    #[test]
    fn programs_get_the_kinds_by_name() {
        let mut report = VerifyReport::default();
        report.add(FindingKind::LostEvent, "e", "detail".to_owned());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["finding_counts"]["lost_event"], 1);
    }
}
