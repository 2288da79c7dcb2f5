//! The marks before and behind a chunk, which come back by the stream: rows of the signal table, or messages of the log where
//! the connector is to write to no table.

use jiff::Timestamp;

use super::signal::window_rows;
use crate::capture::snapshot::identifier;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::postgres::SnapshotTransaction;

/// The prefix of messages that are marks. No capture writes these to Kafka, also of another pipeline on this database.
pub(in crate::capture) const MARK_PREFIX: &str = "evp.snapshot-window";

/// How windows are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marks {
    /// By rows of this table, as schema and name; `deletes` the first one again in the place of a second one.
    Rows { table: (String, String), deletes: bool },
    /// By messages (`read.only`).
    Messages,
}

/// A window whose first mark is written.
pub(super) struct Opened {
    window: String,
    at: String,
}

impl Marks {
    pub(super) async fn open(&self, sql: &SnapshotTransaction, window: &str) -> Result<Opened> {
        let (open, _) = window_rows(window);
        let at = instant();
        let data = format!("{{\"openWindowTimestamp\": \"{at}\"}}");
        self.mark(sql, &open, "snapshot-window-open", &data).await?;
        Ok(Opened { window: window.to_owned(), at })
    }

    /// Writes the second mark; it stands before the position that is given back.
    pub(super) async fn close(&self, sql: &SnapshotTransaction, opened: Opened) -> Result<Lsn> {
        let (open, close) = window_rows(&opened.window);
        if let Self::Rows { table, deletes: true } = self {
            let delete = format!("DELETE FROM {} WHERE id = '{open}'", named(table));
            sql.execute("closing a window in the signal table", &delete).await?;
        } else {
            let (opened_at, closed_at) = (opened.at, instant());
            let data =
                format!("{{\"openWindowTimestamp\": \"{opened_at}\", \"closeWindowTimestamp\": \"{closed_at}\"}}");
            self.mark(sql, &close, "snapshot-window-close", &data).await?;
        }
        sql.log_end().await
    }

    async fn mark(&self, sql: &SnapshotTransaction, id: &str, kind: &str, data: &str) -> Result<()> {
        match self {
            Self::Rows { table, .. } => {
                let insert = format!("INSERT INTO {} VALUES ('{id}', '{kind}', '{data}')", named(table));
                sql.execute("marking a window in the signal table", &insert).await
            }
            // In a transaction, so that it comes where its commit stands.
            Self::Messages => {
                let emit = format!("SELECT pg_logical_emit_message(true, '{MARK_PREFIX}', '{id}')");
                sql.execute("marking a window in the log", &emit).await
            }
        }
    }

    /// What helps where marks are written and do not come by the stream.
    pub(super) fn remedy_of_lost(&self) -> &'static str {
        match self {
            Self::Rows { .. } => {
                "let the publication send all rows of the signal table, its inserts, and for insert_delete its deletes"
            }
            Self::Messages => "mark windows in a signal table: set signal.data.collection and leave read.only out",
        }
    }

    /// What helps where marks cannot be written.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Rows { .. } => {
                "let evp's role insert into the signal table, and for insert_delete select from it and delete"
            }
            Self::Messages => "let evp's role execute pg_logical_emit_message(boolean, text, text)",
        }
    }
}

fn named((schema, table): &(String, String)) -> String {
    format!("{}.{}", identifier(schema), identifier(table))
}

/// The time as Java prints it: with three, six or nine digits of the second's fraction, or none.
fn instant() -> String {
    let text = format!("{:.9}", Timestamp::now());
    let mut digits = text.trim_end_matches('Z');
    while let Some(shorter) = digits.strip_suffix("000").filter(|_| !digits.ends_with('.')) {
        digits = shorter;
    }
    format!("{}Z", digits.trim_end_matches('.'))
}
