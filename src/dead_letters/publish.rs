//! Writing records of letters to their topic again, and marks to the dead-letter topic.

use std::collections::HashMap;

use super::book::Mark;
use super::format::{DEAD_LETTER_OF, LETTER, dead_letter_topic};
use super::letter::{LetterName, RawRecord};
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::letters::{Letter, LetterProducer, Repetition, Sent};

/// Writes in order; what it has sent is acknowledged before the next is sent.
pub(super) struct Publisher {
    producer: LetterProducer,
    topic: String,
}

impl Publisher {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        let producer = LetterProducer::new(config, "evp-dlq", Repetition::Prevented)?;
        Ok(Self { producer, topic: dead_letter_topic(&config.topic) })
    }

    /// Publishes records of letters to `topic`, each to the partition that it came from if there is one; says where they are.
    pub(super) async fn republish(
        &self,
        records: &[(&RawRecord, Option<i32>)],
        topic: &str,
    ) -> Result<Vec<LetterName>> {
        let mut sent = Vec::with_capacity(records.len());
        for (record, partition) in records {
            let letter = record.name().to_string();
            let own = [(DEAD_LETTER_OF, topic.as_bytes()), (LETTER, letter.as_bytes())];
            let own = own.map(|(name, value)| (name, Some(value)));
            let headers = record.original_headers().chain(own);
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let sending = self.producer.send(Letter { topic, partition: *partition, key, value }, headers);
            sent.push(sending.map_err(|not_taken| self.producer.error(topic, not_taken))?);
        }
        self.acknowledged(topic, sent).await
    }

    /// Writes marks, each into the partition of its letter, so that it goes when the letter goes.
    pub(super) async fn mark(&self, marks: &[Mark]) -> Result<()> {
        let topic = self.topic.as_str();
        let mut sent = Vec::with_capacity(marks.len());
        for mark in marks {
            let (headers, key) = (mark.headers(), mark.letter.to_string());
            let partition = Some(mark.letter.partition);
            let letter = Letter { topic, partition, key: Some(key.as_bytes()), value: None };
            let headers = headers.iter().map(|(name, value)| (&**name, Some(value.as_ref())));
            let sending = self.producer.send(letter, headers);
            sent.push(sending.map_err(|not_taken| self.producer.error(topic, not_taken))?);
        }
        self.acknowledged(topic, sent).await.map(|_| ())
    }

    async fn acknowledged(&self, topic: &str, sent: Vec<Sent>) -> Result<Vec<LetterName>> {
        let mut places = Vec::with_capacity(sent.len());
        for sent in sent {
            let place = sent.acknowledged().await;
            let (partition, offset) = place.map_err(|not_taken| self.producer.error(topic, not_taken))?;
            places.push(LetterName { partition, offset });
        }
        Ok(places)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.producer.finish();
    }
}

/// The partition that a record came from, if its topic has it.
pub(super) fn partition_of(partition: Option<i32>, topic: &str, counts: &HashMap<String, i32>) -> Option<i32> {
    partition.filter(|partition| counts.get(topic).is_some_and(|count| (0..*count).contains(partition)))
}
