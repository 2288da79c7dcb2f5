//! Blocking snapshots, as far as signals go: what was asked for, and what of it is carried out.

use super::Incremental;
use super::signal::Execution;
use crate::capture::snapshot::Visibility;
use crate::lsn::Lsn;

/// A blocking snapshot that a signal asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) execution: Execution,
    pub(crate) occasion: Occasion,
}

/// The signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The row of this commit and number.
    Row(Lsn, u64),
    /// The record before this offset of the signal topic.
    Topic(i64),
}

impl Incremental {
    /// Whether one is asked for by the topic and waits to be taken. No other signal of the topic is taken until then.
    pub(in crate::capture) fn has_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes what is asked for; everything before `flushed` is with Kafka, and nothing else was sent.
    pub(in crate::capture) fn take_asked(&mut self, flushed: Lsn) -> Option<Asked> {
        let asked = self.asked.take();
        // What signals before this one have changed is on record first.
        self.passed(flushed);
        asked
    }

    /// It is taken now, from these tables. The rows of a chunk that was read before are older.
    pub(in crate::capture) fn begin_blocking(&mut self, asked: &Asked) -> Vec<(String, String)> {
        self.is_void |= self.is_reading;
        let mut captured = self.captured();
        captured.retain(|(schema, table)| !self.options.settings.tables.is_signal_table(schema, table));
        let (tables, idle) = asked.execution.tables(&captured);
        for collection in idle {
            tracing::warn!(
                event = "signal_collection_unknown",
                collection,
                "no captured table has this name, so nothing is read for it"
            );
        }
        let names: Vec<String> = tables.iter().map(|(schema, table)| format!("{schema}.{table}")).collect();
        tracing::info!(
            event = "blocking_snapshot_started",
            tables = names.join(", "),
            "reading the tables; the stream waits"
        );
        tables
    }

    /// Whether a view shows all that has come by the stream.
    pub(in crate::capture) fn is_shown_by(&mut self, visible: &Visibility) -> bool {
        self.unseen.window_opens();
        self.unseen.is_shown_by(visible)
    }

    /// Kafka has all rows of what a signal has asked for: a later run is not to take it again.
    pub(in crate::capture) fn carried_out(&mut self, occasion: Occasion) {
        self.state.carried_out(occasion);
        self.lineage.lock().incremental.amend(|state| state.carried_out(occasion));
    }
}
