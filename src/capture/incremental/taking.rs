//! Signals as they come: what each of them changes, and what is said of it.

use super::Incremental;
use super::blocking::{Asked, Occasion};
use super::progress::TableTurn;
use super::signal::Execution;
use super::signal::{self, Signal, parse};
use crate::capture::published::Published;
use crate::kafka::signals::TopicSignal;
use crate::lsn::Lsn;

/// A signal as it came.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture) struct Given<'a> {
    pub(in crate::capture) id: &'a str,
    pub(in crate::capture) kind: &'a str,
    pub(in crate::capture) data: &'a str,
}

impl Incremental {
    /// A row of the signal table that is no mark; what it asks the stream to wait for.
    pub(in crate::capture) fn signal_of_row(
        &mut self,
        given: Given<'_>,
        (commit_lsn, row): (Lsn, u64),
    ) -> Option<Asked> {
        if !self.state.is_new(commit_lsn, row) {
            return None;
        }
        let blocking = self.signal(given).filter(|_| self.state.is_due(commit_lsn, row));
        self.note(commit_lsn);
        self.go_on();
        blocking.map(|execution| Asked { execution, occasion: Occasion::Row(commit_lsn, row) })
    }

    /// A record of the signal topic.
    pub(in crate::capture) fn signal_of_topic(&mut self, record: &TopicSignal, commit_lsn: Lsn) {
        let next_offset = record.offset.saturating_add(1);
        if record.key.as_deref() == Some(self.options.settings.topic_prefix.as_bytes()) {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            match signal::of_record(&value) {
                Ok((id, kind, data)) => {
                    let blocking = self.signal(Given { id: &id, kind: &kind, data: &data });
                    let occasion = Occasion::Topic(next_offset);
                    self.asked = blocking.map(|execution| Asked { execution, occasion });
                }
                Err(why) => tracing::warn!(event = "signal_ignored", offset = record.offset, why, "no signal"),
            }
        } else {
            tracing::info!(
                event = "signal_of_another",
                offset = record.offset,
                "a record of the signal topic has another key than this topic.prefix, and is left to others"
            );
        }
        if self.has_asked() {
            // It counts as taken once its rows are with Kafka.
            return;
        }
        self.state.next_offset = Some(next_offset);
        self.note(commit_lsn);
        self.go_on();
    }

    /// Applies a signal; one that is not understood changes nothing. A blocking snapshot is given back.
    fn signal(&mut self, given: Given<'_>) -> Option<Execution> {
        let Given { id, kind, data } = given;
        let signal = match parse(kind, data) {
            Ok(signal) => signal,
            Err(why) => {
                tracing::warn!(event = "signal_ignored", id, kind, why, "the signal is passed over");
                return None;
            }
        };
        match &signal {
            Signal::Block(_) if !self.options.with_position_header => tracing::warn!(
                event = "signal_ignored",
                id,
                kind,
                why = "the rows of a blocking snapshot are known by the header evp.position: leave out --no-position-header",
                "the signal is passed over"
            ),
            Signal::Block(asked) => return Some(asked.clone()),
            Signal::Log(message) => tracing::info!(event = "signal_log", id, message),
            Signal::Execute(_) if self.marks.is_none() => tracing::warn!(
                event = "signal_ignored",
                id,
                kind,
                why = "incremental snapshots need a signal table: set signal.data.collection, publish that table, and start again; or read.only=true",
                "the signal is passed over"
            ),
            Signal::Execute(asked) => {
                let captured = self.captured();
                for collection in self.state.add(asked, &captured) {
                    tracing::warn!(
                        event = "signal_collection_unknown",
                        id,
                        collection,
                        "no captured table has this name, so nothing is read for it"
                    );
                }
                let tables: Vec<String> = self.state.tables.iter().map(TableTurn::name).collect();
                tracing::info!(
                    event = "incremental_snapshot_requested",
                    id,
                    tables = tables.join(", "),
                    "tables to read"
                );
            }
            Signal::Stop(collections) => {
                let stopped = self.state.stop(collections);
                self.is_void |= self.is_reading && !stopped.is_empty();
                if self.state.tables.is_empty() {
                    self.report.ended();
                }
                tracing::info!(
                    event = "incremental_snapshot_stopped",
                    id,
                    tables = stopped.join(", "),
                    "stopped by a signal"
                );
            }
            Signal::Pause | Signal::Resume => {
                self.state.set_paused(matches!(signal, Signal::Pause));
                tracing::info!(event = "incremental_snapshot_paused", id, is_paused = self.state.is_paused, kind);
            }
        }
        None
    }

    /// The tables that were captured when the catalog was looked at last. It is not asked here: a table that is being altered
    /// would keep it, and the stream, waiting.
    pub(super) fn captured(&self) -> Vec<(String, String)> {
        let lineage = self.lineage.lock();
        lineage.published.as_ref().map(Published::captured).unwrap_or_default()
    }
}
