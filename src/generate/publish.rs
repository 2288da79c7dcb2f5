//! Events straight to the topic, as records of capture's: several streams of them by one producer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::counters::{Counters, Transaction};
use super::record::RecordWriter;
use crate::config::{KafkaConfig, Variables};
use crate::connector::{Connector, ConnectorSettings};
use crate::envelope::{EncodeError, Profile, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::limits::{RecordLimits, batch_bytes_alone, record_limits};
use crate::kafka::look::{Looker, blocking};
use crate::kafka::producer::{DeliveryFailure, DeliverySink, Place, Producer, Purpose, READY_AFTER, Receipt};

/// Records sent and not yet acknowledged: some 10 MB, and more than brokers need to be kept busy.
const IN_FLIGHT_MAX: usize = 20_000;
/// At full speed a batch waits so long to be filled; at a rate nothing waits.
const BULK_LINGER: Duration = Duration::from_millis(10);
/// Once a record has failed, or at a signal, what becomes of the others is waited for so long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A topic of records in the form of the shipped connector file.
#[derive(Debug, Clone)]
pub struct KafkaTarget {
    kafka: KafkaConfig,
    settings: ConnectorSettings,
    /// What `source.db` says.
    database: String,
}

impl KafkaTarget {
    /// From `KAFKA_*`, `--kafka` and `POSTGRES_DB`; mistakes are noted in `variables`.
    pub fn load(variables: &mut Variables, kafka: &[String]) -> Result<Self> {
        Ok(Self {
            kafka: KafkaConfig::from_variables(variables, kafka),
            settings: Connector::load(variables, None, &[])?.settings(variables, Profile::V3_6),
            database: variables.text("POSTGRES_DB", "activity"),
        })
    }

    /// The brokers and the topic.
    pub fn kafka(&self) -> &KafkaConfig {
        &self.kafka
    }
}

/// The producer and what it writes; cloning shares them.
#[derive(Clone)]
pub(super) struct Publisher {
    topic: Arc<str>,
    producer: Arc<Producer>,
    /// Held for a whole transaction, so that the topic has them one after the other.
    writer: Arc<tokio::sync::Mutex<RecordWriter>>,
    deliveries: Arc<Deliveries>,
    counters: Arc<Counters>,
    limits: Arc<RecordLimits>,
}

impl Publisher {
    /// Finds the topic and waits until its producer can write; a failed delivery cancels `stop`.
    pub(super) async fn open(
        target: &KafkaTarget,
        rate: f64,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Result<Self> {
        let (config, topic) = (&target.kafka, target.kafka.topic.clone());
        check_topic(config).await?;
        let topics = [topic];
        let limits = record_limits(config, &topics).await?;
        let batch_bytes = limits.batch_bytes(&topics);
        let linger = if rate > 0.0 { Duration::ZERO } else { BULK_LINGER };
        let deliveries = Arc::new(Deliveries::new(Arc::clone(&counters), stop));
        let sink: Arc<dyn DeliverySink> = Arc::<Deliveries>::clone(&deliveries);
        let producer = Producer::new(config, Purpose::Stream { linger, batch_bytes, in_flight: 2 }, sink)?;
        tokio::time::sleep(READY_AFTER).await;
        let run_id = Uuid::new_v4().to_string();
        let writer = RecordWriter::new(&target.settings, &target.database, &run_id, now_us())?;
        let [topic] = topics;
        Ok(Self {
            topic: topic.into(),
            producer: Arc::new(producer),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            deliveries,
            counters,
            limits: Arc::new(limits),
        })
    }

    /// Sends until the queue ends, and everything sent is acknowledged or has failed.
    pub(super) async fn run(self, mut queue: Receiver<Transaction>) -> Result<()> {
        while let Some(transaction) = queue.recv().await {
            self.counters.lateness.record_since(transaction.due);
            if !self.send(transaction).await? {
                break;
            }
        }
        self.deliveries.settled().await;
        Ok(())
    }

    /// Whether more can be sent.
    async fn send(&self, transaction: Transaction) -> Result<bool> {
        let (events, due) = (transaction.events, transaction.due);
        let mut writer = self.writer.lock().await;
        let number = self.deliveries.begin(&events, due);
        let mut open = writer.begin(events.len() as u64, now_us());
        for event in &events {
            if !self.deliveries.admit().await {
                return Ok(false);
            }
            let sent = writer.write(&mut open, event, |record| {
                let record = Record { topic: &self.topic, ..record };
                if let Some(error) = too_large(&self.limits, &record) {
                    return Err(Stop::Send(DeliveryFailure::Failed(error)));
                }
                self.producer.send(&record, None, Receipt::Transaction(number)).map_err(Stop::Send)
            });
            match sent {
                Ok(()) => {}
                Err(Stop::Send(failure)) => self.deliveries.failed(failure),
                Err(Stop::Encode(error)) => {
                    let message = format!("an event cannot be written as a record: {error}");
                    return Err(Error::new(ErrorKind::Data, message));
                }
            }
        }
        Ok(true)
    }

    /// Ends the producer, which takes its thread a moment.
    pub(super) async fn close(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// What can stop a record before it is queued.
enum Stop {
    Encode(EncodeError),
    Send(DeliveryFailure),
}

impl From<EncodeError> for Stop {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// A refusal by the broker would end the producer, and be told by its other records alone.
fn too_large(limits: &RecordLimits, record: &Record<'_>) -> Option<Error> {
    let (limit, name) = limits.of_record(record.topic);
    let bytes = batch_bytes_alone(record);
    (bytes > limit).then(|| {
        let message =
            format!("a record takes {bytes} bytes and topic {} takes {limit}; raise its {name}", record.topic);
        Error::new(ErrorKind::Unknown, message)
    })
}

/// A topic that is missing would be made by some brokers with one partition.
async fn check_topic(config: &KafkaConfig) -> Result<()> {
    let (config, topic) = (config.clone(), config.topic.clone());
    let topics = blocking("looking at Kafka", move || Looker::new(&config)?.topics()).await?;
    if topics.contains_key(&topic) {
        return Ok(());
    }
    let message = format!(
        "topic {topic} (KAFKA_TOPIC) does not exist: make it with `evp init --partitions N`, or with Kafka's own \
         kafka-topics.sh --create where there is no PostgreSQL"
    );
    Err(Error::new(ErrorKind::Missing, message))
}

/// What is on its way, and what became of it.
struct Deliveries {
    counters: Arc<Counters>,
    stop: CancellationToken,
    permits: Semaphore,
    open: Mutex<HashMap<u64, OpenDelivery>>,
    next: AtomicU64,
    in_flight: AtomicU64,
    settled: Notify,
    is_told_unreachable: AtomicBool,
}

/// A transaction of which records are not acknowledged.
struct OpenDelivery {
    types: Vec<&'static str>,
    due: Instant,
    left: usize,
}

impl Deliveries {
    fn new(counters: Arc<Counters>, stop: CancellationToken) -> Self {
        Self {
            counters,
            stop,
            permits: Semaphore::new(IN_FLIGHT_MAX),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            settled: Notify::new(),
            is_told_unreachable: AtomicBool::new(false),
        }
    }

    /// The number of a transaction whose records are about to be sent.
    fn begin(&self, events: &[super::OutboxEvent], due: Instant) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
        self.open.lock().insert(number, OpenDelivery { left: types.len(), types, due });
        number
    }

    /// Waits for room for one record more; whether there is a use in sending it.
    async fn admit(&self) -> bool {
        let Ok(permit) = self.permits.acquire().await else { return false };
        if self.counters.has_failed() {
            return false;
        }
        permit.forget();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Waits until nothing is on its way; once told to stop, for a bounded time.
    async fn settled(&self) {
        let settled = async {
            loop {
                let changed = self.settled.notified();
                if self.in_flight.load(Ordering::Relaxed) == 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::pin!(settled);
        tokio::select! {
            () = &mut settled => {}
            () = self.stop.cancelled() => {
                let _ = tokio::time::timeout(SETTLE_TIMEOUT, settled).await;
            }
        }
        let unheard = self.in_flight.swap(0, Ordering::Relaxed);
        if unheard > 0 {
            let seconds = SETTLE_TIMEOUT.as_secs();
            let reason = format!("Kafka has not acknowledged it within {seconds} s of the end");
            self.counters.fail(unheard, Error::unavailable(reason));
        }
    }

    fn one_less(&self) {
        let before = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        self.permits.add_permits(usize::from(before.is_ok()));
        if before == Ok(1) {
            self.settled.notify_waiters();
        }
    }
}

impl DeliverySink for Deliveries {
    fn delivered(&self, receipt: Receipt, _: usize, _: Place<'_>) {
        if let Receipt::Transaction(number) = receipt {
            let mut open = self.open.lock();
            let left = open.get_mut(&number).map(|delivery| {
                delivery.left = delivery.left.saturating_sub(1);
                delivery.left
            });
            if left == Some(0)
                && let Some(done) = open.remove(&number)
            {
                self.counters.commit(&done.types, done.due);
            }
        }
        self.one_less();
    }

    fn failed(&self, failure: DeliveryFailure) {
        self.counters.fail(1, failure.into_error("a record is not written"));
        self.stop.cancel();
        self.one_less();
    }

    fn unreachable(&self, problem: &str) {
        if !self.is_told_unreachable.swap(true, Ordering::Relaxed) {
            tracing::warn!(event = "kafka_unreachable", problem, "Kafka does not answer; what was sent waits for it");
        }
    }
}

/// The clock, microseconds since 1970.
fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
