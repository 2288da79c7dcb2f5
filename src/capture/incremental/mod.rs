//! Incremental snapshots: tables that a signal names, read in chunks while the stream goes on.
//!
//! ```text
//!   signal row ─▶ stream ─▶ tables to read ─▶ reader:  mark ─▶ chunk, by COPY ─▶ mark
//!                                                       │           │             │
//!               stream: ─ changes ─ mark ─ changes, whose rows the window notes ─ mark ─ changes ─▶
//!                                                                   │             │
//!                                                                   └ less those ─┴─▶ records, op r
//! ```
//!
//! **The stream wins.** The marks are rows of the signal table, or messages of the log, so that they stand in the stream.
//! What it tells between them takes the place of what the chunk has ([`window`]). Rows of a chunk are written where the stream has reached the mark
//! behind it, in the stream's own order, and their positions say so.
//!
//! **Resumable.** Rows of a chunk are acknowledged with the transaction of the mark behind it. Once that is confirmed, the
//! position topic says how far the table is read ([`progress`]); so a chunk is on record, or it is read again.
//!
//! **Bounded.** One chunk is held, and the keys that its window has noted.
//!
//! A signal can ask for the other kind as well, for which the stream waits: what is asked for is noted here, and the pipeline
//! takes it.

mod blocking;
mod kafka_signals;
mod marks;
mod progress;
mod query;
mod reader;
mod report;
mod signal;
mod taking;
mod window;

pub(super) use blocking::{Asked, Occasion};
pub(super) use marks::MARK_PREFIX;
pub(super) use progress::Ledger;
pub(super) use reader::Part;
pub(super) use signal::WindowEnd;
pub(super) use taking::Given;
pub(super) use window::Window;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::CaptureOptions;
use super::lineage::Lineage;
use crate::kafka::signals::TopicSignal;
use crate::lsn::Lsn;
use crate::pgoutput::{Relation, RelationId, Xid};
use crate::row::{RowChange, TableShape};
use marks::Marks;
use progress::{IncrementalProgress, TableTurn};
use reader::{Chunk, Reader, Request, Told};
use report::Report;
use window::Unseen;

/// So many chunks in a row are read again at once: beside writers most need it now and then.
const REREADS_AT_ONCE: u32 = 5;
/// So many chunks in a row that could not be used are told of.
const REREADS_TOLD: u32 = 10;

/// Signals and what they have brought about, for one session.
pub(super) struct Incremental {
    options: Arc<CaptureOptions>,
    lineage: Arc<Mutex<Lineage>>,
    state: IncrementalProgress,
    /// The signal table, once the stream has described it.
    relation: Option<RelationId>,
    /// How windows are marked; none where the marks would not come by the stream.
    marks: Option<Marks>,
    window: Option<Window>,
    chunk: Option<Chunk>,
    /// A chunk is asked for, by the request of this number, and the mark behind it has not come.
    is_reading: bool,
    request: u64,
    /// That chunk is of no use any more.
    is_void: bool,
    /// The mark behind it stands before this.
    marked: Option<Lsn>,
    /// How often in a row chunks could not be used.
    rereads: u32,
    unseen: Unseen,
    /// A blocking snapshot that the signal topic asks for, and that is not taken yet.
    asked: Option<Asked>,
    requests: UnboundedSender<Request>,
    told: UnboundedReceiver<Told>,
    topic: Option<Receiver<TopicSignal>>,
    report: Report,
    _tasks: DropGuard,
}

/// What comes by another way than the stream.
pub(super) enum Heard {
    FromReader(Told),
    FromTopic(TopicSignal),
}

/// What is to be done when a window closes.
pub(super) enum Closed {
    /// Nothing: it is not the window of a chunk that is wanted.
    Ignored,
    /// These rows are to be written, less those that the window has noted.
    Rows(Window, Box<Part>),
}

impl Incremental {
    /// Goes on where the last session has left, if the connector takes signals; `captured` tables are published.
    pub(super) fn start(
        options: &Arc<CaptureOptions>,
        lineage: &Arc<Mutex<Lineage>>,
        captured: &[(String, String)],
    ) -> Option<Box<Self>> {
        let settings = &options.settings.signals;
        let state = lineage.lock().incremental.recorded().clone();
        if !settings.are_taken() {
            if !state.tables.is_empty() {
                tracing::warn!(
                    event = "incremental_snapshot_left",
                    tables = state.tables.len(),
                    "an incremental snapshot is not finished, and no signals are taken: it goes on once they are again"
                );
            }
            return None;
        }
        let is_published = settings.table.as_ref().is_some_and(|table| captured.contains(table));
        if let Some((schema, table)) = settings.table.as_ref().filter(|_| !is_published) {
            tracing::warn!(
                event = "signal_table_unpublished",
                table = format!("{schema}.{table}"),
                publication = options.settings.publication_name,
                "the signal table is not published, so that nothing comes of its rows; add it to the publication, and start again"
            );
        }
        let (requests, asked) = unbounded_channel();
        let (teller, told) = unbounded_channel();
        let token = CancellationToken::new();
        let by_rows = settings.table.clone().filter(|_| is_published);
        let by_rows = by_rows.map(|table| Marks::Rows { table, deletes: settings.deletes_marks });
        let marks = if settings.is_read_only { Some(Marks::Messages) } else { by_rows };
        if let Some(marks) = marks.clone() {
            let reader = Reader { options: Arc::clone(options), marks, told: teller, rows_max: settings.chunk_rows };
            tokio::spawn(token.clone().run_until_cancelled_owned(reader.run(asked)));
        }
        let topic = settings.topic.as_ref().map(|_| kafka_signals::start(options, state.next_offset, token.clone()));
        let mut incremental = Box::new(Self {
            options: Arc::clone(options),
            lineage: Arc::clone(lineage),
            report: Report::new(&state),
            state,
            relation: None,
            marks,
            window: None,
            chunk: None,
            is_reading: false,
            request: 0,
            is_void: false,
            marked: None,
            rereads: 0,
            unseen: Unseen::default(),
            asked: None,
            requests,
            told,
            topic,
            _tasks: token.drop_guard(),
        });
        incremental.go_on();
        Some(incremental)
    }

    /// The stream describes a table.
    pub(super) fn described(&mut self, relation: &Relation) {
        if self.options.settings.tables.is_signal_table(&relation.schema, &relation.table) {
            self.relation = Some(relation.id);
        }
    }

    /// Whether a change is of the signal table.
    pub(super) fn is_signal(&self, relation: RelationId) -> bool {
        self.relation == Some(relation)
    }

    /// The stream brings a transaction.
    pub(super) fn began(&mut self, xid: Xid) {
        self.unseen.came(xid);
    }

    /// Whether changes are to be told to the window.
    pub(super) fn has_open_window(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_open)
    }

    /// The stream has told of a change.
    pub(super) fn touch(&mut self, relation: RelationId, shape: &TableShape, change: RowChange<'_>) {
        // What other tables do is nothing to the chunk.
        let is_wanted = |turn: &TableTurn| turn.schema == shape.schema && turn.table == shape.table;
        if let Some(window) = self.window.as_mut().filter(|_| self.state.tables.iter().any(is_wanted)) {
            window.touch(relation, shape, change);
        }
    }

    /// The stream has told that a table was emptied.
    pub(super) fn touch_all(&mut self, relation: RelationId) {
        if let Some(window) = self.window.as_mut().filter(|window| window.is_open()) {
            window.touch_all(relation);
        }
    }

    /// Whether a snapshot is being taken, and not all of it is with Kafka.
    pub(super) fn is_busy(&self) -> bool {
        (self.marks.is_some() && self.state.is_running()) || self.report.is_completing() || self.has_asked()
    }

    /// Whether the rows of this table are signals.
    pub(super) fn takes_rows(&self) -> bool {
        self.options.settings.signals.by_table
    }

    /// Whether a deleted mark closes its window.
    pub(super) fn deletes_marks(&self) -> bool {
        self.options.settings.signals.deletes_marks
    }

    /// Waits for what comes by another way than the stream. Dropping the future loses nothing.
    pub(super) async fn hears(&mut self) -> Heard {
        let from_topic = async {
            match &mut self.topic {
                Some(topic) if self.asked.is_none() => topic.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(told) = self.told.recv() => Heard::FromReader(told),
            Some(signal) = from_topic => Heard::FromTopic(signal),
            else => std::future::pending().await,
        }
    }

    /// What the reader tells; everything before `commit_lsn` has come by the stream.
    pub(super) fn take(&mut self, told: Told, commit_lsn: Lsn) {
        match told {
            Told::Window(id) => {
                self.window = Some(Window::new(id));
                self.chunk = None;
            }
            Told::Chunk(chunk) => self.chunk = Some(chunk).filter(|chunk| chunk.request == self.request),
            Told::Marked(request, end) => {
                self.marked = Some(end).filter(|_| self.is_reading && request == self.request)
            }
            Told::GivenUp(error) => {
                let remedy = self.marks.as_ref().map_or("", Marks::remedy);
                self.give_up(&error.to_string(), remedy, commit_lsn);
            }
        }
    }

    /// Pauses the snapshot, for its windows cannot be told.
    fn give_up(&mut self, error: &str, remedy: &str, commit_lsn: Lsn) {
        tracing::warn!(
            event = "incremental_snapshot_given_up",
            error,
            remedy,
            tables = self.state.tables.len(),
            "the snapshot is paused; mend that, then send resume-snapshot; the stream goes on"
        );
        (self.window, self.chunk, self.is_reading, self.is_void, self.marked) = (None, None, false, false, None);
        // What was asked for before is not answered any more.
        self.request = self.request.saturating_add(1);
        self.state.set_paused(true);
        self.note(commit_lsn);
    }

    /// A mark has come by the stream, in the transaction that commits at `commit_lsn`.
    pub(super) fn window_end(&mut self, end: WindowEnd<'_>, commit_lsn: Lsn) -> Closed {
        // The reader speaks of a window before it marks it, and of the chunk before it closes it.
        while let Ok(told) = self.told.try_recv() {
            self.take(told, commit_lsn);
        }
        match end {
            WindowEnd::Open(id) => {
                if let Some(window) = self.window.as_mut().filter(|window| window.is(id)) {
                    window.open();
                    self.unseen.window_opens();
                }
                Closed::Ignored
            }
            WindowEnd::Close(id) => self.close(id, commit_lsn),
        }
    }

    fn close(&mut self, id: &str, commit_lsn: Lsn) -> Closed {
        let is_ready = self.chunk.is_some() && self.window.as_ref().is_some_and(|window| window.is(id));
        let (Some(window), Some(chunk)) = (self.window.take_if(|_| is_ready), self.chunk.take_if(|_| is_ready)) else {
            return Closed::Ignored;
        };
        (self.is_reading, self.marked) = (false, None);
        let is_void = std::mem::take(&mut self.is_void);
        let Chunk { finished, part, .. } = chunk;
        let is_whole = |part: &Part| window.is_open() && !window.is_spoilt_for(RelationId(part.oid), part.plan.shape());
        let is_used = part.as_deref().is_none_or(|part| is_whole(part) && self.unseen.is_shown_by(&part.visible));
        if is_void || !is_used {
            self.reread(is_void);
            return Closed::Ignored;
        }
        self.rereads = 0;
        self.state.read(finished, 0, None);
        if let Some(part) = part {
            return Closed::Rows(window, part);
        }
        self.note(commit_lsn);
        self.go_on();
        Closed::Ignored
    }

    /// Asks for a chunk that is not used once more. What hinders it may last, so many tries are told, and slow down.
    fn reread(&mut self, is_void: bool) {
        self.rereads = if is_void { 0 } else { self.rereads.saturating_add(1) };
        tracing::debug!(
            event = "chunk_read_again",
            is_void,
            rereads = self.rereads,
            "the chunk of a window is not used"
        );
        if self.rereads == REREADS_TOLD {
            tracing::warn!(
                event = "incremental_snapshot_hindered",
                rereads = self.rereads,
                "chunks are read again and again: each time the stream touches rows whose key it does not tell, as those of a table with \
                 another replica identity, or has a commit that does not show yet; it goes on by itself"
            );
        }
        self.go_on();
    }

    /// The rows of a chunk have been sent, so many of them, with the transaction that commits at `commit_lsn`.
    pub(super) fn sent(&mut self, part: Part, rows: u64, commit_lsn: Lsn) {
        self.state.read(0, rows, Some(part.reading));
        self.note(commit_lsn);
        self.go_on();
    }

    /// Puts the state down for when `commit_lsn` is confirmed.
    fn note(&mut self, commit_lsn: Lsn) {
        self.report.show(&self.state, commit_lsn);
        self.lineage.lock().incremental.note(commit_lsn, self.state.clone());
    }

    /// Everything before `flushed` has come by the stream, and is with Kafka.
    pub(super) fn passed(&mut self, flushed: Lsn) {
        if self.is_reading && self.marked.is_some_and(|marked| marked <= flushed) {
            let remedy = self.marks.as_ref().map_or("", Marks::remedy_of_lost);
            self.give_up("the mark behind a chunk was committed, and has not come by the stream", remedy, flushed);
        }
        self.lineage.lock().incremental.passed(flushed);
        self.report.passed(flushed, &self.state);
    }

    /// Asks for the next chunk, if one is wanted.
    fn go_on(&mut self) {
        if self.marks.is_some() && !self.is_reading && self.state.is_running() {
            self.is_reading = true;
            self.request = self.request.saturating_add(1);
            let turns = self.state.tables.iter().cloned().collect();
            let _ = self.requests.send(Request { number: self.request, turns, waits: self.rereads >= REREADS_AT_ONCE });
        }
    }
}
