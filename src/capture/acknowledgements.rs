//! Where the producer's thread and the pipeline meet: progress, what is in flight, and the first failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::acknowledged_ends::AcknowledgedEnds;
use super::lane::{InFlight, is_relief};
use super::progress::{Progress, Ticket};
use super::stall::Standing;
use crate::error::Error;
use crate::kafka::producer::{DeliveryFailure, DeliverySink, Place, Receipt};
use crate::lsn::Lsn;
use crate::telemetry::{Health, LatencyRecorder};

/// Shared by the pipeline, the producer's thread and the confirmation task.
pub(super) struct Acknowledgements {
    progress: Mutex<Progress>,
    in_flight_records: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    last_begun: AtomicU64,
    acknowledged: AtomicU64,
    confirmations_sent: AtomicU64,
    confirmations: AtomicU64,
    is_heartbeat_open: AtomicBool,
    heartbeats: AtomicU64,
    ends: Mutex<AcknowledgedEnds>,
    failure: Mutex<Option<DeliveryFailure>>,
    has_failed: AtomicBool,
    is_stuck: AtomicBool,
    changed: Notify,
    /// Before the first session it is the inspection of the topics that says what is wrong with Kafka.
    has_session: AtomicBool,
    is_kafka_away: AtomicBool,
    latency: LatencyRecorder,
    health: Arc<Health>,
}

impl Acknowledgements {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self {
            progress: Mutex::new(Progress::default()),
            in_flight_records: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            last_begun: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            confirmations_sent: AtomicU64::new(0),
            confirmations: AtomicU64::new(0),
            is_heartbeat_open: AtomicBool::new(false),
            heartbeats: AtomicU64::new(0),
            ends: Mutex::default(),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
            changed: Notify::new(),
            has_session: AtomicBool::new(false),
            is_kafka_away: AtomicBool::new(false),
            latency: LatencyRecorder::new("evp_capture_ack_latency_seconds"),
            health,
        }
    }

    /// Begins a session whose slot stands at `flushed` and whose topics end at `ends`; everything of the last one is
    /// acknowledged or dropped.
    pub(super) fn start_session(&self, flushed: Lsn, ends: HashMap<(String, i32), i64>) {
        *self.ends.lock() = AcknowledgedEnds::starting_at(ends);
        *self.progress.lock() = Progress::starting_at(flushed);
        self.in_flight_records.store(0, Ordering::Relaxed);
        self.in_flight_bytes.store(0, Ordering::Relaxed);
        self.confirmations_sent.store(self.confirmations.load(Ordering::Relaxed), Ordering::Relaxed);
        self.is_heartbeat_open.store(false, Ordering::Relaxed);
        *self.failure.lock() = None;
        self.has_failed.store(false, Ordering::Relaxed);
        self.is_stuck.store(false, Ordering::Relaxed);
        self.has_session.store(true, Ordering::Relaxed);
        // The ends of the topics were read a moment ago.
        self.is_kafka_away.store(false, Ordering::Relaxed);
        self.health.set_kafka_obstacle(None);
        self.health.set_delivery_obstacle(None);
    }

    pub(super) fn begin(&self, commit_lsn: Lsn, commit_time_us: i64) -> Ticket {
        self.last_begun.store(commit_lsn.get(), Ordering::Relaxed);
        self.progress.lock().begin(commit_time_us)
    }

    /// The commit of the transaction that began last, beyond which nothing can be in flight.
    pub(super) fn last_begun(&self) -> Lsn {
        Lsn::new(self.last_begun.load(Ordering::Relaxed))
    }

    /// Counts a confirmation record before it is queued.
    pub(super) fn confirmation_sent(&self) {
        self.confirmations_sent.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a heartbeat before it is queued; false while the one before is not acknowledged, as nobody needs two.
    pub(super) fn heartbeat_sent(&self) -> bool {
        !self.is_heartbeat_open.swap(true, Ordering::AcqRel)
    }

    /// What waits for Kafka, and how much Kafka has acknowledged, of each kind.
    pub(super) fn standing(&self) -> [Standing; 3] {
        let confirmations = self.confirmations.load(Ordering::Acquire);
        let sent = self.confirmations_sent.load(Ordering::Acquire);
        let open = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        [
            Standing {
                open: self.in_flight_records.load(Ordering::SeqCst),
                acknowledged: self.acknowledged.load(Ordering::Relaxed),
            },
            Standing { open: open(sent.saturating_sub(confirmations)), acknowledged: confirmations },
            Standing {
                open: usize::from(self.is_heartbeat_open.load(Ordering::Acquire)),
                acknowledged: self.heartbeats.load(Ordering::Relaxed),
            },
        ]
    }

    /// Where the partitions end at least, by the acknowledgements of this run.
    pub(super) fn ends(&self) -> HashMap<(String, i32), i64> {
        self.ends.lock().all()
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Counts a record before it is queued, because its acknowledgement can come at once.
    pub(super) fn sent(&self, payload_bytes: usize) {
        self.in_flight_bytes.fetch_add(payload_bytes, Ordering::Relaxed);
        self.in_flight_records.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what [`Self::sent`] counted: the producer refused the record, so that no acknowledgement will come.
    pub(super) fn not_sent(&self, payload_bytes: usize) {
        self.in_flight_bytes.fetch_sub(payload_bytes, Ordering::Relaxed);
        self.in_flight_records.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn commit(&self, end: Lsn, records: u64) {
        self.progress.lock().commit(end, records, |time| {
            self.latency.record_since_epoch_us(time);
        });
    }

    pub(super) fn keepalive(&self, sent: Lsn) {
        self.progress.lock().keepalive(sent);
    }

    /// (received, flushed).
    pub(super) fn positions(&self) -> (Lsn, Lsn) {
        let progress = self.progress.lock();
        (progress.received(), progress.flushed())
    }

    /// What Kafka has not acknowledged.
    pub(super) fn in_flight(&self) -> InFlight {
        InFlight {
            records: self.in_flight_records.load(Ordering::SeqCst),
            bytes: self.in_flight_bytes.load(Ordering::Relaxed),
        }
    }

    /// How many confirmation records Kafka has acknowledged.
    pub(super) fn confirmations(&self) -> u64 {
        self.confirmations.load(Ordering::Acquire)
    }

    /// Whether something has failed in this session.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Notes that what is in flight will never be acknowledged.
    pub(super) fn set_stuck(&self) {
        self.is_stuck.store(true, Ordering::Release);
    }

    /// Whether what is in flight will never be acknowledged.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Acquire)
    }

    /// The first failure, once; a refusal, which tells more, comes before others.
    pub(super) fn take_failure(&self) -> Option<DeliveryFailure> {
        if self.has_failed.load(Ordering::Acquire) { self.failure.lock().take() } else { None }
    }

    /// Waits until `condition` holds or something has failed. Several may wait at once.
    pub(super) async fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) || self.has_failed.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn latency(&self) -> &LatencyRecorder {
        &self.latency
    }
}

impl DeliverySink for Acknowledgements {
    fn delivered(&self, receipt: Receipt, payload_bytes: usize, place: Place<'_>) {
        // Looked at first, because a swap for each record is dearer.
        if self.is_kafka_away.load(Ordering::Relaxed) && self.is_kafka_away.swap(false, Ordering::Relaxed) {
            self.health.set_kafka_obstacle(None);
            // What stands nevertheless is told again by its watch.
            self.health.set_delivery_obstacle(None);
            tracing::info!(event = "kafka_reachable", "Kafka answers again");
        }
        match receipt {
            Receipt::Heartbeat => {
                self.heartbeats.fetch_add(1, Ordering::Relaxed);
                self.is_heartbeat_open.store(false, Ordering::Release);
            }
            Receipt::Single => {
                self.confirmations.fetch_add(1, Ordering::AcqRel);
                self.changed.notify_waiters();
            }
            Receipt::Read | Receipt::Transaction(_) => {
                if let Receipt::Transaction(number) = receipt {
                    let mut progress = self.progress.lock();
                    progress.acknowledged(Ticket(number), |time| {
                        self.latency.record_since_epoch_us(time);
                    });
                }
                if !self.ends.lock().note(place) {
                    self.failed(DeliveryFailure::Failed(Error::refused(format!(
                        "partition {} of topic {} begins again at offset {}: the topic was deleted and made anew, and what was \
                         in it is gone; if that is acceptable, start once with --accept-gap",
                        place.partition, place.topic, place.offset
                    ))));
                }
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                // Last, because who sees nothing in flight takes the positions for final.
                let bytes = self.in_flight_bytes.fetch_sub(payload_bytes, Ordering::Relaxed);
                let records = self.in_flight_records.fetch_sub(1, Ordering::SeqCst);
                let before = InFlight { records, bytes };
                // Waking for each record would cost more than the record.
                if is_relief(
                    before,
                    InFlight { records: records.saturating_sub(1), bytes: bytes.saturating_sub(payload_bytes) },
                ) {
                    self.changed.notify_waiters();
                }
            }
        }
    }

    fn failed(&self, failure: DeliveryFailure) {
        let mut known = self.failure.lock();
        match (&*known, &failure) {
            (None, _) | (Some(DeliveryFailure::Failed(_)), DeliveryFailure::Refused(_)) => *known = Some(failure),
            _ => {}
        }
        drop(known);
        self.has_failed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn unreachable(&self, problem: &str) {
        if self.has_session.load(Ordering::Relaxed) && !self.is_kafka_away.swap(true, Ordering::Relaxed) {
            self.health.set_kafka_obstacle(Some(format!("Kafka does not answer: {problem}")));
            tracing::warn!(
                event = "kafka_unreachable",
                problem,
                "Kafka does not answer; nothing is lost, capture waits and goes on by itself"
            );
        }
    }
}
