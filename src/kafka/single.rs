//! Writing one record and waiting until it is on its brokers.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::message::OwnedHeaders;
use tokio::sync::oneshot;

use super::producer::{DeliveryFailure, DeliverySink, Place, Producer, Purpose};
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

/// A record that has a producer of its own.
pub(crate) struct OneRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: Option<OwnedHeaders>,
}

/// Writes the record, however long Kafka takes.
pub(crate) async fn send_one(config: &KafkaConfig, record: OneRecord<'_>) -> Result<()> {
    let (sender, written) = oneshot::channel();
    let producer = Producer::new(config, Purpose::Single, Arc::new(OneSink(Mutex::new(Some(sender)))))?;
    let OneRecord { topic, partition, key, value, headers } = record;
    let told = |failure: DeliveryFailure| failure.into_error(&format!("writing to topic {topic}"));
    producer.send(topic, partition, key, Some(value), headers, 0).map_err(told)?;
    let outcome = written.await;
    // Its thread takes a moment to end.
    tokio::task::spawn_blocking(move || drop(producer));
    outcome.map_err(|_| Error::unavailable(format!("writing to topic {topic} was interrupted")))?.map_err(told)
}

/// Hears of one record.
struct OneSink(Mutex<Option<oneshot::Sender<Result<(), DeliveryFailure>>>>);

impl OneSink {
    fn answer(&self, outcome: Result<(), DeliveryFailure>) {
        if let Some(sender) = self.0.lock().take() {
            let _ = sender.send(outcome);
        }
    }
}

impl DeliverySink for OneSink {
    fn delivered(&self, _: usize, _: usize, _: Place<'_>) {
        self.answer(Ok(()));
    }

    fn failed(&self, failure: DeliveryFailure) {
        self.answer(Err(failure));
    }

    fn unreachable(&self, problem: &str) {
        tracing::debug!(event = "record_waits", problem, "Kafka does not answer");
    }
}
