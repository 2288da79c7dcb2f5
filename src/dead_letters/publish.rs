//! Writing records of letters to their topic again, and marks to the dead-letter topic.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::book::Mark;
use super::format::{DEAD_LETTER_OF, LETTER, dead_letter_topic};
use super::letter::{LetterName, RawRecord};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{client_config, client_error, with_user_properties};

/// What a record of the source topic may take, and no limit of ours.
const MESSAGE_BYTES_MAX: &str = "100000000";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes in order; what it has sent is acknowledged before the next is sent.
pub(super) struct Publisher {
    producer: FutureProducer,
    config: KafkaConfig,
}

impl Publisher {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        let mut client = client_config(config, "evp-dlq");
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "30000")
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            // What was compressed when its topic took it must not be too large now.
            .set("compression.type", "gzip")
            .set("linger.ms", "1");
        with_user_properties(&mut client, config);
        let failed = |error| client_error("creating a producer", config, error);
        Ok(Self { producer: client.create().map_err(failed)?, config: config.clone() })
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
            let headers = record
                .original_headers()
                .chain(own)
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value }));
            let mut new = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
            new.partition = *partition;
            new.key = record.key.as_deref();
            new.payload = record.value.as_deref();
            sent.push(self.send(topic, new)?);
        }
        self.acknowledged(topic, sent).await
    }

    /// Writes marks, each into the partition of its letter, so that it goes when the letter goes.
    pub(super) async fn mark(&self, marks: &[Mark]) -> Result<()> {
        let topic = dead_letter_topic(&self.config.topic);
        let mut sent = Vec::with_capacity(marks.len());
        for mark in marks {
            let headers = mark.headers();
            let headers = headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let key = mark.letter.to_string();
            let new = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers);
            sent.push(self.send(&topic, new.partition(mark.letter.partition).key(key.as_bytes()))?);
        }
        self.acknowledged(&topic, sent).await.map(|_| ())
    }

    fn send(&self, topic: &str, record: FutureRecord<'_, [u8], [u8]>) -> Result<DeliveryFuture> {
        let failed = |(error, _)| client_error(&format!("writing to topic {topic}"), &self.config, error);
        self.producer.send_result(record).map_err(failed)
    }

    async fn acknowledged(&self, topic: &str, sent: Vec<DeliveryFuture>) -> Result<Vec<LetterName>> {
        let mut places = Vec::with_capacity(sent.len());
        for delivery in sent {
            let delivered = delivery.await.map_err(|_| Error::new(ErrorKind::System, "writing was interrupted"))?;
            let failed = |(error, _)| client_error(&format!("writing to topic {topic}"), &self.config, error);
            let place = delivered.map_err(failed)?;
            places.push(LetterName { partition: place.partition, offset: place.offset });
        }
        Ok(places)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        use rdkafka::producer::Producer as _;
        // Nothing is left in it unless the command was interrupted.
        let _ = self.producer.flush(if self.producer.in_flight_count() > 0 { FLUSH_TIMEOUT } else { Duration::ZERO });
    }
}

/// The partition that a record came from, if its topic has it.
pub(super) fn partition_of(partition: Option<i32>, topic: &str, counts: &HashMap<String, i32>) -> Option<i32> {
    partition.filter(|partition| counts.get(topic).is_some_and(|count| (0..*count).contains(partition)))
}
