//! Capture's metrics, with handles that are looked up once.

use metrics::{Counter, Gauge};

use crate::lsn::Lsn;
use crate::postgres::SlotLook;
use crate::row::Operation;

/// The words of `pg_replication_slots.wal_status`.
const WAL_STATUSES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// The handles.
pub(super) struct Meter {
    reads: Counter,
    creates: Counter,
    updates: Counter,
    deletes: Counter,
    pub(super) transactions: Counter,
    pub(super) dropped_duplicates: Counter,
    pub(super) reconnects: Counter,
    pub(super) connected: Gauge,
    received: Gauge,
    confirmed: Gauge,
    lag: Gauge,
    retained: Gauge,
    in_flight: Gauge,
    last_event: Gauge,
}

impl Meter {
    pub(super) fn new() -> Self {
        let events = |letter| metrics::counter!("evp_capture_events_total", "op" => letter);
        Self {
            reads: events("r"),
            creates: events("c"),
            updates: events("u"),
            deletes: events("d"),
            transactions: metrics::counter!("evp_capture_transactions_total"),
            dropped_duplicates: metrics::counter!("evp_capture_dropped_duplicates_total"),
            reconnects: metrics::counter!("evp_capture_reconnects_total"),
            connected: metrics::gauge!("evp_capture_connected"),
            received: metrics::gauge!("evp_capture_received_lsn"),
            confirmed: metrics::gauge!("evp_capture_flushed_lsn"),
            lag: metrics::gauge!("evp_capture_lag_bytes"),
            retained: metrics::gauge!("evp_capture_retained_bytes"),
            in_flight: metrics::gauge!("evp_capture_in_flight_records"),
            last_event: metrics::gauge!("evp_capture_last_event_timestamp_seconds"),
        }
    }

    pub(super) fn event(&self, operation: Operation) {
        match operation {
            Operation::Create => self.creates.increment(1),
            Operation::Update => self.updates.increment(1),
            Operation::Delete => self.deletes.increment(1),
            Operation::Read => self.reads.increment(1),
            Operation::Truncate | Operation::Message => {}
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn last_commit_time(&self, commit_time_us: i64) {
        self.last_event.set(commit_time_us as f64 / 1_000_000.0);
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn slot_log(&self, slot: &SlotLook) {
        self.lag.set(slot.unconfirmed_bytes as f64);
        self.retained.set(slot.retained_bytes as f64);
        if let Some(bytes) = slot.safe_bytes {
            metrics::gauge!("evp_capture_safe_bytes").set(bytes as f64);
        }
        for status in WAL_STATUSES {
            let is_it = slot.wal_status.as_deref() == Some(status);
            metrics::gauge!("evp_capture_wal_status", "status" => status).set(if is_it { 1.0 } else { 0.0 });
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn positions(&self, received: Lsn, confirmed: Lsn, in_flight: usize) {
        self.received.set(received.get() as f64);
        self.confirmed.set(confirmed.get() as f64);
        self.in_flight.set(in_flight as f64);
    }
}
