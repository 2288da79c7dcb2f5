//! `evp dlq replay`: publishes records of letters to their topic again, in the order of their events.
//!
//! `evp process` knows such a record by its header and applies the event by the handlers whose failure is remembered, and by no
//! other; once nothing of the event is left undone, another record of it is a duplicate. So a replay may be repeated, and
//! may be interrupted between a record and its mark.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::DlqOptions;
use super::book::{Book, Mark};
use super::filter::LetterFilter;
use super::letter::LetterName;
use super::plan::{Left, Plan, Publication, ReplayChoices, plan};
use super::publish::{Publisher, partition_of};
use super::read::{read_book, read_records, read_settled};
use super::view::LetterView;
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::look::{Looker, blocking};
use crate::terminal;

/// Records that are in memory at a time.
const BATCH_RECORDS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How letters are replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// What is replayed besides the letters that were asked for.
    pub choices: ReplayChoices,
    /// How long to wait until `evp process` has dealt with what was published.
    pub wait: Duration,
}

/// A letter whose record is on its topic again.
#[derive(Debug, Serialize)]
struct Published {
    letter: String,
    event_id: Option<String>,
    partition: i32,
    offset: i64,
    /// It was not asked for, and waited behind one that was.
    released: bool,
}

/// What a replay did.
#[derive(Debug, Default)]
struct Outcome {
    published: Vec<Published>,
    /// Letters that are settled by it.
    letters: usize,
    left: Vec<Left>,
    /// What process made of them, as far as it was waited for.
    dealt_with: usize,
    failed_again: Vec<LetterView>,
}

/// Replays what the filter accepts; says whether nothing of it failed again.
pub(super) async fn run(
    options: &DlqOptions,
    filter: &LetterFilter,
    replay: &ReplayOptions,
    is_json: bool,
    token: &CancellationToken,
) -> Result<bool> {
    let book = read_settled(options, token).await?;
    filter.check_names(&book, &options.kafka.topic)?;
    let Plan { publications, left } = plan(&book, filter, &replay.choices, &options.kafka.group_id);
    let mut outcome = Outcome { left, ..Outcome::default() };
    publish(options, &book, &publications, &mut outcome, token).await?;
    if !outcome.published.is_empty() {
        follow(&options.kafka, replay.wait, &mut outcome, token).await?;
    }
    if is_json {
        terminal::print(outcome.json());
    } else {
        terminal::print(outcome.text().trim_end());
    }
    Ok(outcome.failed_again.is_empty())
}

async fn publish(
    options: &DlqOptions,
    book: &Book,
    publications: &[Publication],
    outcome: &mut Outcome,
    token: &CancellationToken,
) -> Result<()> {
    if publications.is_empty() {
        return Ok(());
    }
    let config = &options.kafka;
    let counts = partition_counts(config).await?;
    let publisher = Publisher::new(config)?;
    for batch in batches(publications) {
        // What is published is marked, also if a signal comes in between.
        if token.is_cancelled() {
            break;
        }
        let names: HashSet<_> = batch.iter().map(|publication| publication.letter).collect();
        let records = read_records(config, names, token).await?;
        for stretch in batch.chunk_by(|left, right| topic_of(book, left) == topic_of(book, right)) {
            let Some(topic) = stretch.first().and_then(|first| topic_of(book, first)) else { continue };
            let found: Vec<_> =
                stretch.iter().filter(|publication| records.contains_key(&publication.letter)).collect();
            let new: Vec<_> = found
                .iter()
                .filter_map(|publication| {
                    let from = book.get(publication.letter)?.letter.cause.partition;
                    Some((records.get(&publication.letter)?, partition_of(from, topic, &counts)))
                })
                .collect();
            let places = publisher.republish(&new, topic).await?;
            let marks: Vec<_> = found
                .iter()
                .zip(&places)
                .flat_map(|(publication, place)| {
                    publication.settles.iter().map(|letter| Mark { letter: *letter, replayed_to: Some(*place) })
                })
                .collect();
            publisher.mark(&marks).await?;
            outcome.letters = outcome.letters.saturating_add(marks.len());
            outcome.published.extend(found.iter().zip(&places).map(|(publication, place)| Published {
                letter: publication.letter.to_string(),
                event_id: publication.event_id.map(|event_id| event_id.to_string()),
                partition: place.partition,
                offset: place.offset,
                released: publication.is_released,
            }));
        }
    }
    Ok(())
}

fn topic_of<'a>(book: &'a Book, publication: &Publication) -> Option<&'a str> {
    Some(&book.get(publication.letter)?.letter.cause.topic)
}

/// Stretches that fit into memory.
fn batches(publications: &[Publication]) -> impl Iterator<Item = &[Publication]> {
    let (mut records, mut bytes) = (0_usize, 0_usize);
    publications.chunk_by(move |left, right| {
        records = records.saturating_add(1);
        bytes = bytes.saturating_add(left.bytes);
        let has_room = records < BATCH_RECORDS_MAX && bytes.saturating_add(right.bytes) <= BATCH_BYTES_MAX;
        if !has_room {
            (records, bytes) = (0, 0);
        }
        has_room
    })
}

async fn partition_counts(config: &KafkaConfig) -> Result<HashMap<String, i32>> {
    let config = config.clone();
    let topics = blocking("reading the topics", move || Looker::new(&config)?.topics()).await?;
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    Ok(topics.into_iter().map(|(topic, partitions)| (topic, count(partitions.len()))).collect())
}

/// Waits until the group has passed what was published, and looks what of it came back.
async fn follow(config: &KafkaConfig, wait: Duration, outcome: &mut Outcome, token: &CancellationToken) -> Result<()> {
    let mut ends: HashMap<i32, i64> = HashMap::new();
    for published in &outcome.published {
        let end = ends.entry(published.partition).or_default();
        *end = published.offset.saturating_add(1).max(*end);
    }
    let (owned, token_there) = (config.clone(), token.clone());
    let look = move || {
        let looker = Looker::new(&owned)?;
        let started = Instant::now();
        loop {
            let committed = looker.committed(&owned.topic, ends.keys().copied())?;
            let is_passed = |(partition, end): (&i32, &i64)| committed.get(partition).is_some_and(|at| at >= end);
            let is_empty = || looker.group().is_ok_and(|group| group.is_some_and(|group| group.is_empty()));
            if ends.iter().all(is_passed) || started.elapsed() >= wait || token_there.is_cancelled() || is_empty() {
                return Ok(committed);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    };
    let committed = blocking("waiting for the group", look).await?;
    let is_passed =
        |published: &Published| committed.get(&published.partition).is_some_and(|at| *at > published.offset);
    outcome.dealt_with = outcome.published.iter().filter(|published| is_passed(published)).count();
    let names: HashSet<LetterName> =
        outcome.published.iter().filter_map(|published| published.letter.parse().ok()).collect();
    let book = read_book(config, token).await?;
    let again = book.waiting().filter(|entry| entry.letter.again.is_some_and(|name| names.contains(&name)));
    outcome.failed_again = again.map(LetterView::of).collect();
    Ok(())
}

impl Outcome {
    fn json(&self) -> serde_json::Value {
        let left = |left: &Left| json!({ "letter": left.letter.to_string(), "why": left.why });
        json!({
            "events": self.published.len(),
            "letters": self.letters,
            "published": self.published,
            "dealt_with": self.dealt_with,
            "pending": self.published.len().saturating_sub(self.dealt_with),
            "failed_again": self.failed_again,
            "left": self.left.iter().map(left).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let (events, letters) = (self.published.len(), self.letters);
        let mut text = format!("{letters} dead letters of {events} events were published again\n");
        let released = self.published.iter().filter(|published| published.released).count();
        if released > 0 {
            text.push_str(&format!("{released} of the events waited behind the ones asked for\n"));
        }
        let pending = events.saturating_sub(self.dealt_with);
        if events > 0 {
            let failed = self.failed_again.len();
            text.push_str(&format!("{} are dealt with by now, {failed} letters came back\n", self.dealt_with));
        }
        if pending > 0 {
            text.push_str(&format!("{pending} are still to be dealt with by evp process\n"));
        }
        for view in &self.failed_again {
            text.push_str(&format!("  came back: {}\n", view.summary()));
        }
        for left in &self.left {
            text.push_str(&format!("  left: {} {}\n", left.letter, left.why));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::book::tests::{book, letter};

    #[test]
    fn batches_are_bounded_and_keep_the_order() {
        let records: Vec<_> = (0..1_100).map(|at| letter(at, u128::try_from(at).unwrap() + 1, 1, None, "x")).collect();
        let book = book(&records);
        let Plan { publications, .. } = plan(&book, &LetterFilter::default(), &ReplayChoices::default(), "g");
        let sizes: Vec<_> = batches(&publications).map(<[_]>::len).collect();
        assert_eq!(sizes, [500, 500, 100]);
        let offsets: Vec<_> = batches(&publications).flatten().map(|publication| publication.letter.offset).collect();
        assert!(offsets.is_sorted());
    }
}
