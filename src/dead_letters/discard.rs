//! `evp dlq discard`: letters that nobody needs any more. They stay in the topic and are listed with `--settled`.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::DlqOptions;
use super::book::{Entry, Mark, State};
use super::filter::LetterFilter;
use super::publish::Publisher;
use super::read::read_as_far_as_possible;
use crate::error::{Error, Result};
use crate::kafka::look::blocking;
use crate::terminal;

pub(super) async fn run(
    options: &DlqOptions,
    filter: &LetterFilter,
    is_confirmed: bool,
    is_json: bool,
    token: &CancellationToken,
) -> Result<()> {
    let (book, _) = read_as_far_as_possible(options, token).await?;
    filter.check_names(&book, &options.kafka.topic)?;
    let is_open = |entry: &&Entry| entry.state == State::Waiting && filter.accepts(entry);
    let mut marks: Vec<_> =
        book.entries().filter(is_open).map(|entry| Mark { letter: entry.letter.name, replayed_to: None }).collect();
    let count = marks.len();
    if count > 0 && !is_confirmed && !blocking("asking", move || ask(count)).await? {
        marks.clear();
    }
    if !marks.is_empty() {
        Publisher::new(&options.kafka)?.mark(&marks).await?;
    }
    if is_json {
        let letters: Vec<_> = marks.iter().map(|mark| mark.letter.to_string()).collect();
        terminal::print(json!({ "discarded": letters }));
    } else {
        terminal::print(format!("{} dead letters were discarded", marks.len()));
    }
    Ok(())
}

/// Asks whoever sits at the terminal.
fn ask(count: usize) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::configuration(format!(
            "{count} dead letters would be discarded, and nobody is there to be asked: give --yes"
        )));
    }
    let _ = write!(std::io::stderr(), "Discard {count} dead letters, so that their events are never applied? [y/N] ");
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    Ok(is_read && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
