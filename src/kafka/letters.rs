//! Writing records as they once were read: dead letters, and letters that are published again.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

/// What a record of the source topic may take with the headers that are added, and no limit of ours.
const MESSAGE_BYTES_MAX: &str = "100000000";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a record may be there twice, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It may. A producer that sees to it that none is can end in a state that only a restart heals.
    Harmless,
    /// It may not.
    Prevented,
}

/// Writes records, and says of each where it is once its brokers have it.
pub(crate) struct LetterProducer {
    producer: FutureProducer,
    config: KafkaConfig,
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) topic: &'a str,
    /// That of its key if `None`.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// A record on its way.
pub(crate) struct Sent {
    delivery: DeliveryFuture,
}

/// Why Kafka has not taken a record.
#[derive(Debug)]
pub(crate) enum NotTaken {
    Kafka(KafkaError),
    Interrupted,
}

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kafka(error) => error.fmt(f),
            Self::Interrupted => f.write_str("writing was interrupted"),
        }
    }
}

impl NotTaken {
    /// Whether its topic may not exist.
    pub(crate) fn may_miss_topic(&self) -> bool {
        use RDKafkaErrorCode as Code;
        let Self::Kafka(error) = self else { return false };
        let code = error.rdkafka_error_code();
        matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::MessageTimedOut))
    }
}

impl LetterProducer {
    /// Connects in the background; nothing is sent yet.
    pub(crate) fn new(config: &KafkaConfig, client_id: &str, repetition: Repetition) -> Result<Self> {
        let mut client = client_config(config, client_id);
        client
            .set("acks", "all")
            .set("enable.idempotence", if repetition == Repetition::Prevented { "true" } else { "false" })
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "30000")
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            // What is added must not make a record too large that its own topic took, compressed as it may have been.
            .set("compression.type", "gzip")
            .set("linger.ms", "1");
        with_user_properties(&mut client, config);
        let failed = |error| client_error("creating a producer", config, error);
        Ok(Self { producer: client.create().map_err(failed)?, config: config.clone() })
    }

    /// Sends a record with these headers behind those sent before.
    pub(crate) fn send<'h>(
        &self,
        letter: Letter<'_>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Result<Sent, NotTaken> {
        let headers = headers.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value }));
        let mut record = FutureRecord::<[u8], [u8]>::to(letter.topic).headers(headers);
        record.partition = letter.partition;
        record.key = letter.key;
        record.payload = letter.value;
        let sent = self.producer.send_result(record);
        sent.map(|delivery| Sent { delivery }).map_err(|(error, _)| NotTaken::Kafka(error))
    }

    /// Waits for what is on its way, as it is where a command was interrupted.
    pub(crate) fn finish(&self) {
        let is_empty = self.producer.in_flight_count() == 0;
        let _ = self.producer.flush(if is_empty { Duration::ZERO } else { FLUSH_TIMEOUT });
    }

    /// [`NotTaken`] as an [`Error`] about writing to a topic.
    pub(crate) fn error(&self, topic: &str, not_taken: NotTaken) -> Error {
        match not_taken {
            NotTaken::Kafka(error) => client_error(&format!("writing to topic {topic}"), &self.config, error),
            NotTaken::Interrupted => Error::new(ErrorKind::System, "writing was interrupted"),
        }
    }
}

impl Sent {
    /// Partition and offset of the record, once its brokers have it.
    pub(crate) async fn acknowledged(self) -> Result<(i32, i64), NotTaken> {
        match self.delivery.await {
            Ok(Ok(place)) => Ok((place.partition, place.offset)),
            Ok(Err((error, _))) => Err(NotTaken::Kafka(error)),
            Err(_) => Err(NotTaken::Interrupted),
        }
    }
}
