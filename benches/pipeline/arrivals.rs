//! When each event was due, and when it was seen somewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use evp::generate::{Latencies, Observer, OutboxEvent};
use memchr::memmem;
use uuid::Uuid;

/// Bytes of a UUID's text.
const ID_BYTES: usize = 36;

/// The events of one measured run.
#[derive(Default)]
pub(crate) struct Expected(Mutex<ExpectedEvents>);

#[derive(Default)]
struct ExpectedEvents {
    due: HashMap<Uuid, Instant>,
    by_aggregate: HashMap<Uuid, VecDeque<Uuid>>,
}

impl Observer for Expected {
    fn scheduled(&self, event: &OutboxEvent, at: Instant) {
        let mut events = self.lock();
        events.due.insert(event.event_id, at);
        events.by_aggregate.entry(event.aggregate_id).or_default().push_back(event.event_id);
    }
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, ExpectedEvents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latencies of what was seen event by event, and how often that was: an event seen twice counts twice.
    pub(crate) fn latencies(&self, seen: &[(Uuid, Instant)]) -> (Latencies, usize) {
        let events = self.lock();
        let mut waiting = events.due.clone();
        let latencies = Latencies::default();
        for (id, at) in seen {
            if let Some(due) = waiting.remove(id) {
                latencies.record(at.saturating_duration_since(due));
            }
        }
        (latencies, seen.iter().filter(|(id, _)| events.due.contains_key(id)).count())
    }

    /// The same for sightings of documents, where a document that shows an event shows all before it as well:
    /// evp folds the events of one document in one batch into one write.
    pub(crate) fn latencies_of_documents(&self, seen: &[(Uuid, Instant)]) -> (Latencies, usize) {
        let events = self.lock();
        let aggregate_of: HashMap<Uuid, Uuid> =
            events.by_aggregate.iter().flat_map(|(aggregate, ids)| ids.iter().map(|id| (*id, *aggregate))).collect();
        let mut waiting = events.by_aggregate.clone();
        let (latencies, mut found) = (Latencies::default(), 0);
        for (id, at) in seen {
            let Some(queue) = aggregate_of.get(id).and_then(|aggregate| waiting.get_mut(aggregate)) else { continue };
            // An event that was shown already must not take the later ones with it.
            let Some(last) = queue.iter().position(|waiting| waiting == id) else { continue };
            for shown in queue.drain(..=last) {
                if let Some(due) = events.due.get(&shown) {
                    latencies.record(at.saturating_duration_since(*due));
                    found += 1;
                }
            }
        }
        (latencies, found)
    }

    /// How many events were scheduled.
    pub(crate) fn len(&self) -> usize {
        self.lock().due.len()
    }

    /// Whether `seen` shows every event, by itself or by a later one of its document.
    pub(crate) fn are_all_shown(&self, seen: &[(Uuid, Instant)]) -> bool {
        self.latencies_of_documents(seen).1 >= self.len()
    }
}

/// What a reader has seen so far, shared with it.
#[derive(Clone, Default)]
pub(crate) struct Sightings(Arc<Mutex<Vec<(Uuid, Instant)>>>);

impl Sightings {
    /// Notes that an event was seen now.
    pub(crate) fn note(&self, id: Uuid, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((id, at));
    }

    /// How many were noted.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes what was noted.
    pub(crate) fn take(&self) -> Vec<(Uuid, Instant)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of what was noted.
    pub(crate) fn snapshot(&self) -> Vec<(Uuid, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The id that stands behind the first `marker`.
pub(crate) fn id_behind(marker: &[u8], bytes: &[u8]) -> Option<Uuid> {
    let start = memmem::find(bytes, marker)? + marker.len();
    Uuid::try_parse_ascii(bytes.get(start..start + ID_BYTES)?).ok()
}

/// Finds the ids behind a marker in a stream of bytes that comes in pieces.
pub(crate) struct IdScanner {
    marker: &'static [u8],
    rest: Vec<u8>,
}

impl IdScanner {
    pub(crate) fn new(marker: &'static [u8]) -> Self {
        Self { marker, rest: Vec::new() }
    }

    /// Hands each id that is complete now to `found`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut found: impl FnMut(Uuid)) {
        self.rest.extend_from_slice(bytes);
        let length = self.marker.len() + ID_BYTES;
        let mut done = 0;
        while let Some(at) = memmem::find(self.rest.get(done..).unwrap_or_default(), self.marker) {
            let start = done + at;
            let Some(match_bytes) = self.rest.get(start..start + length) else {
                // The id itself is still to come.
                self.rest.drain(..start);
                return;
            };
            if let Some(id) = match_bytes.get(self.marker.len()..).and_then(|text| Uuid::try_parse_ascii(text).ok()) {
                found(id);
            }
            done = start + length;
        }
        // What remains may hold the beginning of a marker.
        let keep_from = done.max(self.rest.len().saturating_sub(self.marker.len() - 1));
        self.rest.drain(..keep_from);
    }
}
