//! Writing to Kafka in order, and hearing of each record once it is acknowledged.

mod delivery;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::statistics::Statistics;

use super::error::{CodeClass, classify, named};
use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::envelope::{Headers, Record};
use crate::error::{Error, ErrorKind, Result};
pub(crate) use delivery::{DeliveryFailure, DeliverySink, Place, Receipt, Refusal};

/// The produce requests of a producer, as librdkafka counts them once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Requests {
    /// Records in requests that are sent, or about to be, and not answered.
    pub(crate) open_records: u64,
    /// Requests ever sent.
    pub(crate) sent: u64,
}

/// What is counted only while somebody wants to know.
#[derive(Default)]
struct WatchedRequests {
    is_watched: AtomicBool,
    last: Mutex<Option<Requests>>,
}

struct Context {
    sink: Arc<dyn DeliverySink>,
    is_closing: Arc<AtomicBool>,
    /// Whether a record of this producer has failed or been refused.
    has_failed: AtomicBool,
    /// Whether the credentials were good at some time: then a broker that refuses them is about to change them.
    has_delivered: AtomicBool,
    requests: Arc<WatchedRequests>,
    config: KafkaConfig,
}

impl Context {
    fn fail(&self, failure: DeliveryFailure) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.sink.failed(failure);
    }
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
            Some(code) if classify(code) == CodeClass::Credentials && !self.has_delivered.load(Ordering::Relaxed) => {
                self.fail(DeliveryFailure::Failed(client_error("writing to Kafka", &self.config, error)));
            }
            Some(Code::AllBrokersDown | Code::SSL | Code::Authentication | Code::SaslAuthenticationFailed) => {
                self.sink.unreachable(reason);
            }
            // One broker of several, whose partitions others take over; if it is the last, all are reported to be down.
            // Or a fatal error, of which the delivery report that follows says more; `poll` speaks up if none does.
            _ => tracing::debug!(event = "kafka_client_error", %error, reason),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if self.requests.is_watched.load(Ordering::Relaxed)
            && let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics)
        {
            *self.requests.last.lock() = Some(produce_requests(&statistics));
        }
    }
}

fn produce_requests(statistics: &Statistics) -> Requests {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    statistics.brokers.values().fold(Requests::default(), |requests, broker| Requests {
        open_records: requests
            .open_records
            .saturating_add(count(broker.outbuf_msg_cnt))
            .saturating_add(count(broker.waitresp_msg_cnt)),
        sent: requests.sent.saturating_add(count(broker.req.get("Produce").copied().unwrap_or(0))),
    })
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: usize) {
        match result {
            // Receipts of a closed producer could be taken for those of the next session.
            _ if self.is_closing.load(Ordering::Relaxed) => {}
            Ok(message) => {
                self.has_delivered.store(true, Ordering::Relaxed);
                let place = Place { topic: message.topic(), partition: message.partition(), offset: message.offset() };
                self.sink.delivered(Receipt::unpack(receipt), message.payload_len(), place);
            }
            Err((error, message)) => self.fail(delivery_failure(error.clone(), message.topic(), &self.config)),
        }
    }
}

/// Why a record was not written.
fn delivery_failure(error: KafkaError, topic: &str, config: &KafkaConfig) -> DeliveryFailure {
    match error.rdkafka_error_code() {
        // What was refused is another record of its batch.
        Some(Code::InvalidDifferentRecord) => {
            DeliveryFailure::Failed(Error::unavailable(format!("topic {topic} refuses a record of a batch")))
        }
        Some(code) if classify(code) == CodeClass::Unknown => {
            DeliveryFailure::Refused(Refusal { topic: topic.to_owned(), code })
        }
        _ => DeliveryFailure::Failed(client_error(&format!("writing to topic {topic}"), config, error)),
    }
}

/// An idempotent producer can write after this time at the latest, if its brokers answer, and hardly sooner: librdkafka
/// asks for its id before it is connected, and not again for half a second (`rd_kafka_idemp_pid_timer_restart`, 2.12).
pub(crate) const READY_AFTER: Duration = Duration::from_millis(600);

/// How long the delivery report that explains a fatal error may take.
const FATAL_EXPLAINED_WITHIN: Duration = Duration::from_secs(1);

/// What a producer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Records that are written once and in order, each waiting this long for others to share its batch, which holds
    /// so many bytes at the most. So many batches are on their way to a broker at once, each of another partition: of one
    /// an idempotent librdkafka sends no more while five records are.
    Stream { linger: Duration, batch_bytes: usize, in_flight: u8 },
    /// A single record, at once. A lost answer can make it two, one behind the other.
    Single,
}

/// A producer with a thread that delivers acknowledgements.
pub(crate) struct Producer {
    inner: Arc<BaseProducer<Context>>,
    is_closing: Arc<AtomicBool>,
    requests: Arc<WatchedRequests>,
    poller: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Connects in the background; nothing is sent yet.
    pub(crate) fn new(config: &KafkaConfig, purpose: Purpose, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        let (is_closing, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(WatchedRequests::default()));
        let context = Context {
            sink,
            is_closing: Arc::clone(&is_closing),
            has_failed: AtomicBool::new(false),
            has_delivered: AtomicBool::new(false),
            requests: Arc::clone(&requests),
            config: config.clone(),
        };
        let inner: BaseProducer<Context> = producer_config(config, purpose)
            .create_with_context(context)
            .map_err(|error| client_error("creating the producer", config, error))?;
        let inner = Arc::new(inner);
        let poller = std::thread::Builder::new()
            .name("kafka-acks".to_owned())
            .spawn({
                let (inner, is_closing) = (Arc::clone(&inner), Arc::clone(&is_closing));
                move || poll(&inner, &is_closing)
            })
            .map_err(|error| Error::with_source(ErrorKind::System, "cannot start a thread", error))?;
        Ok(Self { inner, is_closing, requests, poller: Mutex::new(Some(poller)) })
    }

    /// Queues a record, for a partition or for that of its key; its payload is copied.
    pub(crate) fn send(
        &self,
        record: &Record<'_>,
        partition: Option<i32>,
        receipt: Receipt,
    ) -> Result<(), DeliveryFailure> {
        let mut queued = BaseRecord::<[u8], [u8], usize>::with_opaque_to(record.topic, receipt.pack());
        queued.partition = partition;
        queued.timestamp = record.timestamp_ms;
        queued.key = record.key;
        queued.payload = record.value;
        queued.headers = owned(&record.headers);
        let config = &self.inner.context().config;
        self.inner.send(queued).map_err(|(error, _)| delivery_failure(error, record.topic, config))
    }

    /// Whether it can write no more, as after a refusal that an idempotent producer cannot get over.
    pub(crate) fn is_broken(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }

    /// Begins or ends counting requests, which takes some work each second.
    pub(crate) fn watch_requests(&self, is_watched: bool) {
        if self.requests.is_watched.swap(is_watched, Ordering::Relaxed) != is_watched {
            *self.requests.last.lock() = None;
        }
    }

    /// The last count, if there was one since counting began.
    pub(crate) fn requests(&self) -> Option<Requests> {
        *self.requests.last.lock()
    }

    /// Drops what is still queued; nothing more is heard of it.
    pub(crate) fn stop_sending(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.inner.purge(PurgeConfig::default().queue().inflight());
    }

    /// Drops what is still queued, whose transactions are not confirmed and will be read again.
    ///
    /// Once this returns, the sink hears nothing more, whoever still holds the producer.
    pub(crate) fn close(&self) {
        self.stop_sending();
        if let Some(poller) = self.poller.lock().take() {
            let _ = poller.join();
        }
        self.inner.poll(Duration::ZERO);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}

/// As many as a row of Debezium's has, with a key change and a position.
const USUAL_HEADERS: usize = 6;

fn owned(headers: &Headers<'_>) -> Option<OwnedHeaders> {
    headers.iter().fold(None, |owned, (key, value)| {
        let owned = owned.unwrap_or_else(|| OwnedHeaders::new_with_capacity(USUAL_HEADERS));
        Some(owned.insert(Header { key, value }))
    })
}

fn producer_config(config: &KafkaConfig, purpose: Purpose) -> rdkafka::ClientConfig {
    let mut client = client_config(config, "evp-capture");
    match purpose {
        Purpose::Stream { linger, batch_bytes, in_flight } => client
            .set("enable.idempotence", "true")
            // Otherwise what is queued behind a batch that a broker refuses for good is sent nevertheless, and a later
            // session takes the hole for written (`rd_kafka_handle_Produce_error`, 2.12).
            .set("enable.gapless.guarantee", "true")
            .set("linger.ms", linger.as_millis().to_string())
            .set("batch.size", batch_bytes.to_string())
            .set("max.in.flight.requests.per.connection", in_flight.to_string())
            .set("statistics.interval.ms", "1000"),
        Purpose::Single => client
            .set("enable.idempotence", "false")
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "0"),
    };
    client
        .set("acks", "all")
        // A record that times out would leave a gap behind it: wait for ever instead.
        .set("message.timeout.ms", "0")
        // Java's, so that keys stay where Debezium would put them.
        .set("partitioner", "murmur2_random")
        // The pipeline bounds what is in flight by records and bytes; this only must not be in its way.
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "2097151")
        // The topic's own limit decides what is too large.
        .set("message.max.bytes", "1000000000")
        .set("topic.metadata.refresh.interval.ms", "30000");
    if let Purpose::Stream { .. } = purpose {
        for (name, value) in &config.producer_properties {
            client.set(name, value.expose());
        }
    }
    with_user_properties(&mut client, config);
    client
}

/// Delivers acknowledgements until the producer is closed, and a fatal error that no delivery report explains.
fn poll(producer: &BaseProducer<Context>, is_closing: &AtomicBool) {
    let mut fatal_since: Option<Instant> = None;
    while !is_closing.load(Ordering::Relaxed) {
        producer.poll(Duration::from_millis(200));
        let context = producer.context();
        if context.has_failed.load(Ordering::Relaxed) {
            continue;
        }
        let Some((code, reason)) = producer.client().fatal_error() else { continue };
        let since = *fatal_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= FATAL_EXPLAINED_WITHIN {
            context.fail(DeliveryFailure::Failed(fatal_error(code, &reason, &context.config)));
        }
    }
}

/// A producer that can go on no more: for want of a right or a feature, or because its sequence is lost.
fn fatal_error(code: Code, reason: &str, config: &KafkaConfig) -> Error {
    match classify(code) {
        CodeClass::Denied | CodeClass::Unsupported | CodeClass::Credentials => {
            client_error("writing to Kafka", config, KafkaError::Global(code))
        }
        CodeClass::Transient => Error::unavailable(format!("the Kafka producer has to start anew: {reason}")),
        CodeClass::Unknown | CodeClass::MissingTopic => {
            Error::new(ErrorKind::Unknown, format!("the Kafka producer has to start anew: {} {reason}", named(code)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_what_was_handed_in() {
        for receipt in [Receipt::Heartbeat, Receipt::Single, Receipt::Transaction(0), Receipt::Transaction(7)] {
            assert_eq!(Receipt::unpack(receipt.pack()), receipt);
        }
    }
}
