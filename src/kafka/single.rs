//! Writing one record and waiting until it is on its brokers.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::producer::{DeliveryFailure, DeliverySink, Place, Producer, Purpose, Receipt};
use crate::config::KafkaConfig;
use crate::envelope::Record;
use crate::error::{Error, Result};

/// Writes the record by a producer of its own, however long Kafka takes.
pub(crate) async fn send_one(config: &KafkaConfig, record: &Record<'_>, partition: Option<i32>) -> Result<()> {
    let (sender, written) = oneshot::channel();
    let producer = Producer::new(config, Purpose::Single, Arc::new(OneSink(Mutex::new(Some(sender)))))?;
    let topic = record.topic;
    let told = |failure: DeliveryFailure| failure.into_error(&format!("writing to topic {topic}"));
    producer.send(record, partition, Receipt::Single).map_err(told)?;
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
    fn delivered(&self, _: Receipt, _: usize, _: Place<'_>) {
        self.answer(Ok(()));
    }

    fn failed(&self, failure: DeliveryFailure) {
        self.answer(Err(failure));
    }

    fn unreachable(&self, problem: &str) {
        tracing::debug!(event = "record_waits", problem, "Kafka does not answer");
    }
}
