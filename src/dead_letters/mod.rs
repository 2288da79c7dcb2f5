//! Dead letters: their form, and the commands that work with them.
//!
//! `<topic>.dlq` is never rewritten. That a letter was replayed or discarded is told by a **mark**: a record without a value
//! behind it, in the same partition, that names it. A mark is as durable as the letter, needs no other server, is there
//! for everybody who reads the topic, and passes away with it; a committed offset could only say it of all letters up
//! to one. The mark of a replay is written once the record is on its topic. A crash in between leaves the letter
//! without its mark; replayed again it has no second effect, because the event's claim says that nothing of it is left undone.
//!
//! Letters that need neither are told from the claims: a row that was corrected in the outbox has been applied by the
//! handlers that failed, and its letter is settled.

mod book;
mod discard;
mod filter;
mod format;
mod letter;
mod list;
mod plan;
mod publish;
mod read;
mod replay;
mod show;
mod view;

use tokio_util::sync::CancellationToken;

pub use filter::{LetterFilter, parse_time};
pub use format::dead_letter_topic;
pub use letter::LetterName;
pub use plan::ReplayChoices;
pub use replay::ReplayOptions;

use std::collections::BTreeMap;

use crate::config::{KafkaConfig, MongoConfig};
use crate::error::Result;

pub(crate) use book::{Book, Entry, State};
pub(crate) use format::{Cause, DEAD_LETTER_OF, LETTER, PREDECESSOR_MISSING};
#[cfg(test)]
pub(crate) use letter::RawRecord;
pub(crate) use read::read_book;

/// Stands for the handler of a letter that none has failed on, such as one that is no event.
const NO_HANDLER: &str = "-";

/// Where letters are, and what remembers their events.
#[derive(Debug, Clone)]
pub struct DlqOptions {
    /// The brokers, the topic of events, and the group that gave them up.
    pub kafka: KafkaConfig,
    /// The database of the read models.
    pub mongo: MongoConfig,
}

/// What is to be done with the letters that a filter accepts.
#[derive(Debug, Clone)]
pub enum DlqAction {
    /// Say which there are; at the most so many for people, all for programs.
    List(Option<usize>),
    /// Explain one.
    Show(LetterName),
    /// Publish their records again.
    Replay(ReplayOptions),
    /// Put them aside for good; asks first unless told that it is wanted.
    Discard {
        /// It was asked for in so many words.
        is_confirmed: bool,
    },
}

/// How many letters there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LetterCounts {
    /// Of those that wait, by the handler that failed.
    pub(crate) waiting: BTreeMap<String, usize>,
    pub(crate) settled: usize,
}

/// Counts the letters.
pub(crate) async fn count(options: &DlqOptions, token: &CancellationToken) -> Result<LetterCounts> {
    let (book, _) = read::read_as_far_as_possible(options, token).await?;
    let mut counts = LetterCounts::default();
    for entry in book.waiting() {
        let handler = entry.letter.cause.handler.as_deref().unwrap_or(NO_HANDLER);
        let count = counts.waiting.entry(handler.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    counts.settled = book.entries().count().saturating_sub(book.waiting().count());
    Ok(counts)
}

/// Carries an action out and prints what it did; says whether all went well.
pub async fn run(
    options: &DlqOptions,
    filter: &LetterFilter,
    action: &DlqAction,
    is_json: bool,
    token: &CancellationToken,
) -> Result<bool> {
    match action {
        DlqAction::List(limit) => list::run(options, filter, *limit, is_json, token).await.map(|()| true),
        DlqAction::Show(name) => show::run(options, *name, is_json, token).await.map(|()| true),
        DlqAction::Replay(replay) => replay::run(options, filter, replay, is_json, token).await,
        DlqAction::Discard { is_confirmed } => {
            discard::run(options, filter, *is_confirmed, is_json, token).await.map(|()| true)
        }
    }
}
