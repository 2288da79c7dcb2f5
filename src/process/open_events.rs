//! Events that this process has claimed and not decided: neither applied nor safe in the dead-letter topic.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

use super::in_flight::InFlight;

/// The open events by id. What nobody works on any more is not open.
#[derive(Debug, Default)]
pub(super) struct OpenEvents(Mutex<HashMap<Uuid, Weak<InFlight>>>);

impl OpenEvents {
    /// Notes events that were claimed.
    pub(super) fn add<'a>(&self, events: impl Iterator<Item = &'a Arc<InFlight>>) {
        let claimed = events.filter_map(|event| Some((event.claim?.event_id, Arc::downgrade(event))));
        self.0.lock().extend(claimed);
    }

    /// Notes that an event is decided.
    pub(super) fn remove(&self, event: &InFlight) {
        let Some(claim) = event.claim else { return };
        let mut open = self.0.lock();
        if open.get(&claim.event_id).is_some_and(|known| std::ptr::eq(known.as_ptr(), event)) {
            open.remove(&claim.event_id);
        }
    }

    /// Those of the events that are open.
    pub(super) fn find(&self, event_ids: impl Iterator<Item = Uuid>) -> HashMap<Uuid, Arc<InFlight>> {
        let open = self.0.lock();
        event_ids.filter_map(|event_id| Some((event_id, open.get(&event_id)?.upgrade()?))).collect()
    }

    pub(super) fn contains(&self, event_id: Uuid) -> bool {
        self.0.lock().get(&event_id).is_some_and(|known| known.strong_count() > 0)
    }

    /// Forgets events of partitions that somebody else reads now.
    pub(super) fn forget_abandoned(&self) {
        self.0.lock().retain(|_, event| event.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::{Claim, TakesOver};

    fn event(number: u128) -> Arc<InFlight> {
        let mut event = InFlight::of(1);
        let event_id = Uuid::from_u128(number);
        event.claim = Some(Claim { event_id, partition: 0, offset: 1, takes_over: TakesOver::Always });
        Arc::new(event)
    }

    #[test]
    fn an_event_is_open_until_it_is_decided_or_abandoned() {
        let open = OpenEvents::default();
        let (first, second) = (event(1), event(2));
        open.add([&first, &second].into_iter());
        let id = Uuid::from_u128;
        assert_eq!(open.find([id(1), id(3)].into_iter()).len(), 1);
        // Another delivery of the first is open in its place.
        let again = event(1);
        open.add([&again].into_iter());
        open.remove(&first);
        assert!(open.contains(id(1)));
        open.remove(&again);
        assert!(!open.contains(id(1)));
        drop(second);
        assert!(!open.contains(id(2)));
        open.forget_abandoned();
        assert!(open.0.lock().is_empty());
    }
}
