//! What the stream tells beside changes of rows: begins and ends of transactions, truncates, logical messages.

use super::change::{Item, Placed, now_ns};
use super::{Pipeline, SignalPlace, Stream};
use crate::capture::incremental::{MARK_PREFIX, WindowEnd};
use crate::capture::progress::Ticket;
use crate::capture::transaction::TransactionViolation;
use crate::envelope::{MessageRecords, MessageSource, PART_END, RecordOptions, TransactionRecords};
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::pgoutput::{Commit, LogicalMessage, Truncate};

/// Debezium counts each message of a transaction for a table of its own, whose name in Java ends with an address.
const MESSAGE_COLLECTION: &str =
    "io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId";

impl Pipeline<'_> {
    /// What writes begins and ends, if the connector wants them.
    pub(super) fn transaction_records(&self, options: &RecordOptions) -> Option<TransactionRecords> {
        let settings = &self.options.settings;
        let beside = settings.transforms.beside_tables(settings.transaction_topic.as_ref()?);
        Some(TransactionRecords::new(beside, (settings.key_converter, settings.value_converter), options))
    }

    /// What writes logical messages, if the connector wants any.
    pub(super) fn message_records(&self, options: &RecordOptions) -> Option<MessageRecords> {
        let settings = &self.options.settings;
        let beside = settings.transforms.beside_tables(settings.message_topic.as_ref()?);
        let source = MessageSource {
            profile: settings.profile,
            topic_prefix: &settings.topic_prefix,
            database: &self.options.postgres.database,
            mode: settings.handling.binary,
        };
        Some(MessageRecords::new(beside, (settings.key_converter, settings.value_converter), source, options))
    }

    pub(super) async fn write_begin(&mut self, stream: &mut Stream, lsn: Lsn) -> Result<()> {
        let placed = Placed { item: Item::Begin, lsn, row: 0, part: 0, order: None };
        self.write_wholly(stream, placed).await
    }

    pub(super) async fn write_end(&mut self, stream: &mut Stream, lsn: Lsn) -> Result<()> {
        let open = self.transaction.open("commit").map_err(violation)?;
        let (counts, row) = (std::mem::take(&mut open.counts), open.row_count());
        let placed = Placed { item: Item::End(&counts), lsn, row, part: PART_END, order: None };
        self.write_wholly(stream, placed).await
    }

    /// The transaction has ended, as far as PostgreSQL goes.
    pub(super) fn committed(&mut self, commit: &Commit) -> Result<()> {
        let done = self.transaction.commit(commit).map_err(violation)?;
        self.sink.acknowledgements.commit(commit.end_lsn, done.sent_count);
        self.confirmed.note_commit_end(commit.end_lsn);
        self.sink.meter.transactions.increment(1);
        Ok(())
    }

    /// One record for each table that a statement has emptied.
    pub(super) async fn write_truncates(&mut self, stream: &mut Stream, lsn: Lsn, truncate: &Truncate) -> Result<()> {
        for relation in &truncate.relations {
            let (row, part) = self.transaction.open("truncate").map_err(violation)?.next_between();
            let order = self.count_truncate(stream, *relation)?;
            let placed = Placed { item: Item::Truncate(*relation), lsn, row, part, order };
            self.write_wholly(stream, placed).await?;
        }
        Ok(())
    }

    /// A message within its transaction, or alone.
    pub(super) async fn write_message(
        &mut self,
        stream: &mut Stream,
        lsn: Lsn,
        message: &LogicalMessage,
    ) -> Result<()> {
        if message.is_transactional {
            return self.write_wanted_message(stream, lsn, message).await;
        }
        let now_us = now_ns() / 1_000;
        self.transaction.begin_alone(lsn, now_us).map_err(violation)?;
        let commit_lsn = self.transaction.open("message").map_err(violation)?.commit_lsn;
        self.began(stream, commit_lsn, now_us);
        self.write_wanted_message(stream, lsn, message).await?;
        let done = self.transaction.end_alone().map_err(violation)?;
        self.sink.acknowledgements.commit(lsn, done.sent_count);
        self.confirmed.note_commit_end(lsn);
        Ok(())
    }

    async fn write_wanted_message(&mut self, stream: &mut Stream, lsn: Lsn, message: &LogicalMessage) -> Result<()> {
        let open = self.transaction.open("message").map_err(violation)?;
        // Every message has a place, whether or not the configuration leaves it out.
        let (row, part) = open.next_between();
        let prefix = String::from_utf8_lossy(&message.prefix);
        if prefix == MARK_PREFIX {
            let id = String::from_utf8_lossy(&message.content);
            return match WindowEnd::of_message(&id) {
                Some(end) => self.window_end(stream, end, SignalPlace { lsn, row, order: None }).await,
                None => Ok(()),
            };
        }
        if !self.options.settings.message_prefixes.accepts(&prefix) {
            return Ok(());
        }
        let place = open.counts.collections();
        let order = match message.is_transactional {
            true => self.count(stream, &format!("{MESSAGE_COLLECTION}@{place:x}"), 1)?,
            false => None,
        };
        let placed = Placed { item: Item::Message(message), lsn, row, part, order };
        self.write_wholly(stream, placed).await
    }

    /// Takes the number under which the records up to the next commit are acknowledged.
    pub(super) fn began(&mut self, stream: &mut Stream, commit_lsn: Lsn, commit_time_us: i64) {
        self.sink.careful_until = self.sink.careful_until.filter(|until| commit_lsn <= *until);
        let ticket: Ticket = self.sink.acknowledgements.begin(commit_lsn, commit_time_us);
        stream.ticket = ticket;
    }
}

pub(super) fn violation(error: TransactionViolation) -> Error {
    Error::protocol(error.to_string())
}
