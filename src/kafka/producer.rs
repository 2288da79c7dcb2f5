//! Writing to Kafka in order, and hearing of each record once it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

/// Receives what becomes of each record, on the producer's own thread.
pub(crate) trait DeliverySink: Send + Sync + 'static {
    /// The record with this ticket and payload size is on its brokers.
    fn delivered(&self, ticket: usize, payload_bytes: usize);
    /// It is not and never will be, so nothing after it may be confirmed.
    fn failed(&self, ticket: usize, error: Error);
    /// Kafka is out of reach; librdkafka goes on trying, this is for people and readiness only.
    fn unreachable(&self, problem: &str);
}

struct Context {
    sink: Arc<dyn DeliverySink>,
    is_closing: Arc<AtomicBool>,
    config: KafkaConfig,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka repeats what `error` reports, so its log is for debugging only.
        tracing::debug!(event = "kafka_client_log", ?level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.is_closing.load(Ordering::Relaxed) {
            return;
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => {
                self.sink
                    .failed(usize::MAX, Error::unavailable(format!("the Kafka producer has to start anew: {reason}")));
            }
            Some(RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication) => {
                self.sink.failed(usize::MAX, client_error("writing to Kafka", &self.config, error));
            }
            _ => self.sink.unreachable(reason),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        match result {
            // Tickets of a closed producer could be taken for those of the next session.
            _ if self.is_closing.load(Ordering::Relaxed) => {}
            Ok(message) => self.sink.delivered(ticket, message.payload_len()),
            Err((error, message)) => {
                self.sink.failed(
                    ticket,
                    delivery_error(error.clone(), message.topic(), message.payload_len(), &self.config),
                );
            }
        }
    }
}

/// Why a record was not written, with the remedy.
fn delivery_error(error: KafkaError, topic: &str, payload_bytes: usize, config: &KafkaConfig) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::with_source(
            ErrorKind::Data,
            format!(
                "a record of {payload_bytes} bytes is larger than topic {topic} takes; raise its max.message.bytes, then start again"
            ),
            error,
        ),
        _ => client_error(&format!("writing to topic {topic}"), config, error),
    }
}

/// An idempotent producer can write after this time at the latest, if its brokers answer, and hardly sooner: librdkafka
/// asks for its id before it is connected, and not again for half a second (`rd_kafka_idemp_pid_timer_restart`, 2.12).
pub(crate) const READY_AFTER: Duration = Duration::from_millis(600);

/// What a producer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Records that are written once and in order, each waiting this long for others to share its batch.
    Stream { linger: Duration },
    /// A single record, at once. A lost answer can make it two, one behind the other.
    Single,
}

/// A producer with a thread that delivers acknowledgements.
pub(crate) struct Producer {
    inner: Arc<BaseProducer<Context>>,
    is_closing: Arc<AtomicBool>,
    poller: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Connects in the background; nothing is sent yet.
    pub(crate) fn new(config: &KafkaConfig, purpose: Purpose, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        let mut client = client_config(config, "evp-capture");
        let (idempotence, linger) = match purpose {
            Purpose::Stream { linger } => ("true", linger),
            Purpose::Single => ("false", Duration::ZERO),
        };
        client
            .set("enable.idempotence", idempotence)
            .set("acks", "all")
            // A record that times out would leave a gap behind it: wait for ever instead.
            .set("message.timeout.ms", "0")
            // Java's, so that keys stay where Debezium would put them.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", linger.as_millis().to_string())
            .set("max.in.flight.requests.per.connection", "2")
            .set("batch.size", "1000000")
            // The pipeline bounds what is in flight by records and bytes; this only must not be in its way.
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "2097151")
            // The broker's own limit decides what is too large, and its answer names the topic.
            .set("message.max.bytes", "1000000000")
            .set("topic.metadata.refresh.interval.ms", "30000");
        with_user_properties(&mut client, config);
        let is_closing = Arc::new(AtomicBool::new(false));
        let context = Context { sink, is_closing: Arc::clone(&is_closing), config: config.clone() };
        let inner: BaseProducer<Context> = client
            .create_with_context(context)
            .map_err(|error| client_error("creating the producer", config, error))?;
        let inner = Arc::new(inner);
        let poller = std::thread::Builder::new()
            .name("kafka-acks".to_owned())
            .spawn({
                let (inner, is_closing) = (Arc::clone(&inner), Arc::clone(&is_closing));
                move || {
                    while !is_closing.load(Ordering::Relaxed) {
                        inner.poll(Duration::from_millis(200));
                    }
                }
            })
            .map_err(|error| Error::with_source(ErrorKind::System, "cannot start a thread", error))?;
        Ok(Self { inner, is_closing, poller: Mutex::new(Some(poller)) })
    }

    /// Queues a record; its payload is copied.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
        ticket: usize,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, ticket);
        record.partition = partition;
        record.key = key;
        record.payload = value;
        record.headers = headers;
        self.inner.send(record).map_err(|(error, record)| {
            let payload_bytes = record.payload.map_or(0, <[u8]>::len);
            delivery_error(error, topic, payload_bytes, &self.inner.context().config)
        })
    }

    /// Whether it can write no more, as after a refusal that an idempotent producer cannot get over.
    pub(crate) fn is_broken(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }

    /// Drops what is still queued, whose transactions are not confirmed and will be read again.
    ///
    /// Once this returns, the sink hears nothing more, whoever still holds the producer.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        if let Some(poller) = self.poller.lock().take() {
            let _ = poller.join();
        }
        self.inner.purge(PurgeConfig::default().queue().inflight());
        self.inner.poll(Duration::ZERO);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}
