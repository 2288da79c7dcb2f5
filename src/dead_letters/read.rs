//! Reading the topic of dead letters.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;

use super::DlqOptions;
use super::book::Book;
use super::format::dead_letter_topic;
use super::letter::{LetterName, RawRecord};
use crate::config::{KafkaConfig, MongoConfig};
use crate::error::Result;
use crate::kafka::headers::TopicRecord;
use crate::kafka::look::blocking;
use crate::kafka::whole::read_to_end;
use crate::mongo::{self, known_events};

/// Reads all letters, up to the end of the topic as it is now; a topic that does not exist has none.
pub(crate) async fn read_book(config: &KafkaConfig, token: &CancellationToken) -> Result<Book> {
    let (config, token) = (config.clone(), token.clone());
    blocking("reading the dead letters", move || {
        let mut book = Book::default();
        read_to_end(&config, &dead_letter_topic(&config.topic), &token, |record| {
            book.add(&raw(record));
            Ok(())
        })?;
        Ok(book.finish())
    })
    .await
}

/// The same, and what of it has been applied since.
pub(super) async fn read_settled(options: &DlqOptions, token: &CancellationToken) -> Result<Book> {
    let mut book = read_book(&options.kafka, token).await?;
    remember(&mut book, &options.kafka, &options.mongo).await?;
    Ok(book)
}

/// The same; if MongoDB does not say what has been applied, the reason.
pub(super) async fn read_as_far_as_possible(
    options: &DlqOptions,
    token: &CancellationToken,
) -> Result<(Book, Option<String>)> {
    let mut book = read_book(&options.kafka, token).await?;
    let note = remember(&mut book, &options.kafka, &options.mongo).await.err();
    let note = note.map(|error| format!("letters that were applied since are not told apart: {error}"));
    Ok((book, note))
}

async fn remember(book: &mut Book, kafka: &KafkaConfig, config: &MongoConfig) -> Result<()> {
    let event_ids = book.waiting_events();
    if event_ids.is_empty() {
        return Ok(());
    }
    let database = mongo::connect(config).await?;
    let known = known_events(&database, &event_ids).await;
    mongo::close(database.client().clone()).await;
    book.remember(&known?, &kafka.group_id);
    Ok(())
}

/// The records of these letters.
pub(super) async fn read_records(
    config: &KafkaConfig,
    names: HashSet<LetterName>,
    token: &CancellationToken,
) -> Result<HashMap<LetterName, RawRecord>> {
    let (config, token) = (config.clone(), token.clone());
    blocking("reading the dead letters", move || {
        let mut records = HashMap::with_capacity(names.len());
        read_to_end(&config, &dead_letter_topic(&config.topic), &token, |record| {
            let name = LetterName { partition: record.partition(), offset: record.offset() };
            if names.contains(&name) {
                records.insert(name, raw(record));
            }
            Ok(())
        })?;
        Ok(records)
    })
    .await
}

fn raw(record: TopicRecord<'_>) -> RawRecord {
    RawRecord {
        partition: record.partition(),
        offset: record.offset(),
        timestamp_ms: record.timestamp_ms(),
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
    }
}
