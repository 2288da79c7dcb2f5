//! Refusals that hit one aggregate after the other without a success between: then no event is to blame, but a validation
//! rule, an index, or a handler as it was deployed. Its events are held back instead of becoming dead letters, one of them
//! is tried now and then, and what was held goes on as soon as one succeeds.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handler::Handler;
use super::in_flight::Effect;
use super::told::Facts;
use super::waiting::after;
use crate::error::{Error, ErrorKind};
use crate::mongo::Collection;
use crate::telemetry::Health;

/// What is held back is not tried more often than this, however short the delay.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// What is refused: the events of a handler by itself, or what it writes to a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused<'a> {
    pub(super) event_type: &'a str,
    pub(super) handler: &'a str,
    pub(super) collection: Option<&'a Collection>,
}

impl<'a> Refused<'a> {
    /// Events, by the handler itself.
    pub(super) fn by(handler: &'a dyn Handler) -> Self {
        Self { event_type: handler.event_type(), handler: handler.name(), collection: None }
    }

    /// What an effect wants.
    pub(super) fn of(effect: &'a Effect) -> Self {
        Self { collection: Some(effect.model.collection()), ..Self::by(&*effect.handler.0) }
    }

    /// Whether the handler is one of these.
    pub(super) fn is_one_of(&self, handlers: &[Arc<dyn Handler>]) -> bool {
        handlers.iter().any(|handler| handler.event_type() == self.event_type && handler.name() == self.handler)
    }
}

/// Counts the refusals in a row of each handler.
#[derive(Debug)]
pub(super) struct Breaker {
    refusals_max: usize,
    interval: Duration,
    health: Arc<Health>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    event_type: String,
    handler: String,
    collection: Option<Collection>,
    /// Of which events were refused, until there are too many.
    aggregates: HashSet<String>,
    reason: String,
    open: Option<Open>,
}

/// Events are held back.
#[derive(Debug)]
struct Open {
    /// When one is tried next.
    next: Instant,
    tries: u32,
}

impl Run {
    fn is_of(&self, refused: Refused<'_>) -> bool {
        self.refused() == refused
    }

    fn refused(&self) -> Refused<'_> {
        Refused { event_type: &self.event_type, handler: &self.handler, collection: self.collection.as_ref() }
    }

    fn sentence(&self) -> String {
        let Self { event_type, handler, reason, .. } = self;
        let (who, remedy) = match &self.collection {
            Some(collection) => (
                format!("whatever handler `{handler}` writes to `{collection}` is refused"),
                "repair the collection's rule or index",
            ),
            None => (format!("handler `{handler}` refuses every `{event_type}`"), "deploy one that does not"),
        };
        format!(
            "{who}, one aggregate after the other: {reason}. No more of it becomes dead letters, and one event is tried now and \
             then; {remedy}, or set MAX_REFUSALS_IN_A_ROW=0"
        )
    }
}

impl Breaker {
    /// `refusals_max` aggregates in a row are too many; 0 lets all of them become dead letters.
    pub(super) fn new(refusals_max: usize, interval: Duration, health: Arc<Health>) -> Self {
        Self { refusals_max, interval: interval.max(PROBE_INTERVAL_MIN), health, runs: Vec::new() }
    }

    /// Notes an event that would become a dead letter.
    pub(super) fn refused(
        &mut self,
        refused: Refused<'_>,
        aggregate: impl FnOnce() -> String,
        reason: &impl fmt::Display,
        now: Instant,
    ) {
        if self.refusals_max == 0 {
            return;
        }
        let place = self.runs.iter().position(|run| run.is_of(refused)).unwrap_or_else(|| {
            self.runs.push(Run {
                event_type: refused.event_type.to_owned(),
                handler: refused.handler.to_owned(),
                collection: refused.collection.cloned(),
                aggregates: HashSet::new(),
                reason: reason.to_string(),
                open: None,
            });
            self.runs.len().saturating_sub(1)
        });
        let Some(run) = self.runs.get_mut(place).filter(|run| run.open.is_none()) else { return };
        run.aggregates.insert(aggregate());
        if run.aggregates.len() < self.refusals_max {
            return;
        }
        run.reason = reason.to_string();
        run.open = Some(Open { next: after(now, self.interval), tries: 0 });
        tracing::error!(event = "refusals_in_a_row", handler = run.handler, "{}", run.sentence());
        self.tell();
    }

    /// Notes a success; whatever was refused before is to blame by itself.
    pub(super) fn succeeded(&mut self, succeeded: Refused<'_>) {
        if let Some(place) = self.runs.iter().position(|run| run.is_of(succeeded)) {
            let run = self.runs.swap_remove(place);
            if run.open.is_some() {
                tracing::info!(event = "refusals_over", handler = run.handler, "what was held back goes on");
                self.tell();
            }
        }
    }

    /// Whether an effect is one of those that are held back.
    pub(super) fn holds(&self, effect: &Effect) -> bool {
        !self.runs.is_empty() && self.is_open(Refused::of(effect))
    }

    pub(super) fn is_open(&self, refused: Refused<'_>) -> bool {
        self.runs.iter().any(|run| run.open.is_some() && run.is_of(refused))
    }

    /// Whether nothing was refused that is worth remembering.
    pub(super) fn has_only_successes(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether anything is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.runs.iter().any(|run| run.open.is_some())
    }

    /// Whether whole events are held back because their handler refuses them.
    pub(super) fn holds_events(&self) -> bool {
        self.runs.iter().any(|run| run.open.is_some() && run.collection.is_none())
    }

    /// When something that is held back is to be tried next.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.runs.iter().filter_map(|run| run.open.as_ref()).map(|open| open.next).min()
    }

    /// Tries what is due: `attempt` finds something of it to be tried.
    pub(super) fn try_due(&mut self, now: Instant, mut attempt: impl FnMut(Refused<'_>) -> bool) {
        for run in &mut self.runs {
            if run.open.as_ref().is_some_and(|open| open.next <= now) {
                let is_tried = attempt(run.refused());
                if let Some(open) = &mut run.open {
                    open.next = after(now, self.interval);
                    open.tries = open.tries.saturating_add(u32::from(is_tried));
                }
            }
        }
    }

    /// Why it is hopeless, if something was tried so often in vain.
    pub(super) fn exhausted(&self, tries_max: u32) -> Option<Error> {
        let has_failed = |run: &&Run| run.open.as_ref().is_some_and(|open| open.tries >= tries_max.max(1));
        let run = self.runs.iter().find(has_failed)?;
        Some(Error::new(ErrorKind::Data, run.sentence()))
    }

    /// Forgets refusals of which nothing is held back here any more.
    pub(super) fn retain(&mut self, is_held: impl Fn(Refused<'_>) -> bool) {
        self.runs.retain(|run| run.open.is_none() || is_held(run.refused()));
        self.tell();
    }

    fn tell(&self) {
        let open: Vec<String> = self.runs.iter().filter(|run| run.open.is_some()).map(Run::sentence).collect();
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("evp_process_refused_handlers").set(open.len() as f64);
        self.health.set_refusal_obstacle((!open.is_empty()).then(|| open.join("; ")));
    }
}

/// What an effect is about. A document may belong to many aggregates, as that of a counter does.
pub(super) fn aggregate_of(effect: &Effect) -> String {
    Facts::of(&effect.event).aggregate_id.unwrap_or_else(|| effect.model.id().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_USERS: Collection = Collection::new("users");

    fn breaker() -> (Breaker, Arc<Health>, Instant) {
        let health = Arc::new(Health::default());
        health.set_ready();
        (Breaker::new(3, Duration::from_secs(5), Arc::clone(&health)), health, Instant::now())
    }

    fn users() -> Refused<'static> {
        const USERS: &Collection = &OF_USERS;
        Refused { event_type: "UserCreated", handler: "user_created", collection: Some(USERS) }
    }

    fn refuse(breaker: &mut Breaker, aggregates: &[&str], now: Instant) {
        for aggregate in aggregates {
            breaker.refused(users(), || (*aggregate).to_owned(), &Error::data("code 121"), now);
        }
    }

    #[test]
    fn refusals_of_different_aggregates_in_a_row_are_held_back_and_told_until_one_succeeds() {
        let (mut breaker, health, now) = breaker();
        refuse(&mut breaker, &["a", "b", "b", "b"], now);
        assert!(!breaker.is_holding() && health.obstacle().is_none(), "two aggregates are not three");
        refuse(&mut breaker, &["c"], now);
        assert!(breaker.is_open(users()) && !breaker.holds_events());
        assert!(health.obstacle().is_some_and(|told| told.contains("`users`") && told.contains("code 121")));
        breaker.succeeded(Refused { handler: "user_updated", ..users() });
        assert!(breaker.is_holding(), "another handler says nothing of it");
        breaker.succeeded(users());
        assert!(!breaker.is_holding() && health.obstacle().is_none());
    }

    #[test]
    fn a_success_between_begins_the_count_anew_and_none_is_counted_without_a_limit() {
        let (mut breaker, _, now) = breaker();
        refuse(&mut breaker, &["a", "b"], now);
        breaker.succeeded(users());
        refuse(&mut breaker, &["c", "d"], now);
        assert!(!breaker.is_holding());
        breaker.refusals_max = 0;
        refuse(&mut breaker, &["e", "f", "g", "h"], now);
        assert!(!breaker.is_holding());
    }

    #[test]
    fn one_event_is_tried_each_interval_and_too_many_tries_are_hopeless() {
        let (mut breaker, _, now) = breaker();
        refuse(&mut breaker, &["a", "b", "c"], now);
        breaker.try_due(now, |_| unreachable!("not yet"));
        let mut due = now;
        for tries in 1..=3 {
            due = after(due, Duration::from_secs(5));
            assert_eq!(breaker.next_try(), Some(due));
            assert!(breaker.exhausted(3).is_none(), "{tries}");
            breaker.try_due(due, |refused| refused == users());
        }
        assert!(breaker.exhausted(3).is_some_and(|error| error.kind().exit_code() == 1));
        breaker.retain(|_| false);
        assert!(!breaker.is_holding());
    }
}
