//! Where the producer's thread and the pipeline meet: progress, what is in flight, and the first failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::lane::{InFlight, is_relief};
use super::progress::{Progress, Ticket};
use crate::error::Error;
use crate::kafka::producer::DeliverySink;
use crate::lsn::Lsn;
use crate::telemetry::{Health, LatencyRecorder};

/// Ticket of a heartbeat, which nothing waits for.
pub(super) const HEARTBEAT_TICKET: usize = usize::MAX - 1;

/// Ticket of a confirmation record.
pub(super) const CONFIRMATION_TICKET: usize = usize::MAX - 2;

/// Shared by the pipeline, the producer's thread and the confirmation task.
pub(super) struct Acknowledgements {
    progress: Mutex<Progress>,
    in_flight_records: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    confirmations: AtomicUsize,
    failure: Mutex<Option<Error>>,
    has_failed: AtomicBool,
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
            confirmations: AtomicUsize::new(0),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            changed: Notify::new(),
            has_session: AtomicBool::new(false),
            is_kafka_away: AtomicBool::new(false),
            latency: LatencyRecorder::new("evp_capture_ack_latency_seconds"),
            health,
        }
    }

    /// Begins a session whose slot stands at `flushed`; everything of the last one is acknowledged or dropped.
    pub(super) fn start_session(&self, flushed: Lsn) {
        *self.progress.lock() = Progress::starting_at(flushed);
        self.in_flight_records.store(0, Ordering::Relaxed);
        self.in_flight_bytes.store(0, Ordering::Relaxed);
        *self.failure.lock() = None;
        self.has_failed.store(false, Ordering::Relaxed);
        self.has_session.store(true, Ordering::Relaxed);
        // The ends of the topics were read a moment ago.
        self.is_kafka_away.store(false, Ordering::Relaxed);
        self.health.set_kafka_obstacle(None);
    }

    pub(super) fn begin(&self, commit_time_us: i64) -> Ticket {
        self.progress.lock().begin(commit_time_us)
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
        self.progress.lock().commit(end, records, |time| self.latency.record_since_epoch_us(time));
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
    pub(super) fn confirmations(&self) -> usize {
        self.confirmations.load(Ordering::Acquire)
    }

    /// Whether something has failed in this session.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// The first failure, once.
    pub(super) fn take_failure(&self) -> Option<Error> {
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
    fn delivered(&self, ticket: usize, payload_bytes: usize) {
        if self.is_kafka_away.swap(false, Ordering::Relaxed) {
            self.health.set_kafka_obstacle(None);
            tracing::info!(event = "kafka_reachable", "Kafka answers again");
        }
        match ticket {
            HEARTBEAT_TICKET => {}
            CONFIRMATION_TICKET => {
                self.confirmations.fetch_add(1, Ordering::AcqRel);
                self.changed.notify_waiters();
            }
            _ => {
                let mut progress = self.progress.lock();
                progress.acknowledged(Ticket(ticket as u64), |time| self.latency.record_since_epoch_us(time));
                drop(progress);
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

    fn failed(&self, _: usize, error: Error) {
        self.failure.lock().get_or_insert(error);
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
