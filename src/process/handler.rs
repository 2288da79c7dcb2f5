//! What turns an event into effects, and which handler serves which event type.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::Event;
use crate::error::Result;
use crate::mongo::{CollectionSpec, WriteModel};

/// What becomes of later events of an aggregate once one of its events is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// They become dead letters, too, in order, until the first is published again and applied: nothing is applied out of order.
    Park,
    /// They are applied. Right for effects that may come in any order, such as counts, and fields of which the last value counts.
    GoOn,
}

/// Turns events of one type into write models. A pure function: no server, no clock.
pub trait Handler: Send + Sync + 'static {
    /// Names the handler in logs and dead letters; unique among the handlers of one event type.
    fn name(&self) -> &str;

    /// The `event_type` it serves.
    fn event_type(&self) -> &str;

    /// Refuses an event that must not be handled; a refusal becomes a dead letter.
    fn validate(&self, event: &Event) -> Result<()> {
        let _ = event;
        Ok(())
    }

    /// What becomes of later events of the aggregate, as far as handlers that say the same serve them.
    fn after_failure(&self) -> AfterFailure {
        AfterFailure::Park
    }

    /// The effects of the event. One that increments should do nothing else, so that its dead letter can be published
    /// again without counting twice.
    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>>;

    /// The collections that it writes, with the indexes that they need; `evp init` makes what is missing.
    fn collections(&self) -> Vec<CollectionSpec> {
        Vec::new()
    }
}

/// Handlers by event type; one type may have several.
#[derive(Clone, Default)]
pub struct HandlerRegistry {
    by_event_type: HashMap<String, Arc<Vec<Arc<dyn Handler>>>>,
}

impl HandlerRegistry {
    /// No handlers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler. One with the same name and event type is replaced.
    #[must_use]
    pub fn register(mut self, handler: impl Handler) -> Self {
        let handlers = self.by_event_type.entry(handler.event_type().to_owned()).or_default();
        let handlers = Arc::make_mut(handlers);
        handlers.retain(|known| known.name() != handler.name());
        handlers.push(Arc::new(handler));
        self
    }

    /// The handlers of an event type; none if the type is unknown.
    pub fn handlers(&self, event_type: &str) -> &[Arc<dyn Handler>] {
        self.by_event_type.get(event_type).map(|handlers| handlers.as_slice()).unwrap_or_default()
    }

    /// The same, shared.
    pub(super) fn serving(&self, event_type: &str) -> Arc<Vec<Arc<dyn Handler>>> {
        self.by_event_type.get(event_type).cloned().unwrap_or_default()
    }

    /// The event types that have a handler, sorted.
    pub fn event_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.by_event_type.keys().map(String::as_str).collect();
        types.sort_unstable();
        types
    }

    /// The collections of all handlers, each once.
    pub fn collections(&self) -> Vec<CollectionSpec> {
        let mut handlers: Vec<_> = self.by_event_type.values().flat_map(|handlers| handlers.iter()).collect();
        handlers.sort_unstable_by_key(|handler| (handler.event_type().to_owned(), handler.name().to_owned()));
        CollectionSpec::merged(handlers.into_iter().flat_map(|handler| handler.collections()))
    }

    /// Those of which one document can be in the way of another.
    pub(crate) fn collections_with_unique_index(&self) -> HashSet<String> {
        let specs = self.collections();
        let unique = specs.iter().filter(|spec| spec.has_unique_index());
        unique.map(|spec| spec.name().as_str().to_owned()).collect()
    }

    /// The event type and the name of each handler.
    pub(crate) fn names(&self) -> BTreeSet<(String, String)> {
        let named = |handler: &Arc<dyn Handler>| (handler.event_type().to_owned(), handler.name().to_owned());
        self.by_event_type.values().flat_map(|handlers| handlers.iter()).map(named).collect()
    }

    /// How many handlers there are.
    pub fn len(&self) -> usize {
        self.by_event_type.values().map(|handlers| handlers.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_event_type.is_empty()
    }
}

impl fmt::Debug for HandlerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |handlers: &[Arc<dyn Handler>]| handlers.iter().map(|h| h.name().to_owned()).collect::<Vec<_>>();
        f.debug_map().entries(self.by_event_type.iter().map(|(kind, list)| (kind, names(list)))).finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Says nothing of failures.
    pub(in crate::process) struct Parks;

    impl Handler for Parks {
        fn name(&self) -> &str {
            "parks"
        }

        fn event_type(&self) -> &str {
            "Anything"
        }

        fn handle(&self, _: &Event) -> Result<Vec<WriteModel>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_handler_that_says_nothing_keeps_the_order_behind_a_failure() {
        assert_eq!(Parks.after_failure(), AfterFailure::Park);
        let builtin = crate::activity::registry();
        let handlers = builtin.by_event_type.values().flat_map(|handlers| handlers.iter());
        assert!(handlers.into_iter().all(|handler| handler.after_failure() == AfterFailure::GoOn));
    }
}
