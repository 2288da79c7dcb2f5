//! What follows from the outcomes of a batch: finished, waiting, or given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::Applied;
use super::breaker::{Breaker, Refused, aggregate_of};
use super::collection::Outcome;
use super::frontier::MissingSince;
use super::in_flight::{Blamed, Effect, Failure, InFlight, Stage};
use super::waiting::{DocumentKey, after, key};
use crate::dead_letters::PREDECESSOR_MISSING;
use crate::error::{Error, Reaction, Result};

/// What does not count is not tried more often than this, however short the delay.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// How often and when an effect that may still heal is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    pub(super) retries_max: u32,
    pub(super) delay: Duration,
    /// What an effect waits for may be where nobody can read it, so that waiting counts for nothing.
    pub(super) is_suspended: bool,
}

impl RetryPolicy {
    /// Whether it counts that an effect was tried in vain. A document that is missing may be created by an event that is
    /// still to be read, and until all has been tried that was there when the waiting began, nobody can say.
    fn counts(&self, effect: &Effect, is_missing: bool, has_passed: impl Fn(MissingSince) -> bool) -> bool {
        !self.is_suspended && (!is_missing || effect.missing_since().is_some_and(has_passed))
    }
}

/// The events and effects of a batch by what happens to them next.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Events whose last effect is applied.
    pub(super) applied: Vec<Arc<InFlight>>,
    /// Effects to be tried again, in their order, and when.
    pub(super) parked: Vec<(Effect, Instant)>,
    /// Events that need a dead letter and have nothing left to be tried.
    pub(super) given_up: Vec<Arc<InFlight>>,
    /// Documents on which an effect is given up, with its event.
    pub(super) held: Vec<(DocumentKey, Arc<InFlight>)>,
}

/// What follows from one outcome.
enum Next {
    Done,
    TryAtOnce,
    /// Again after the delay, as often as the policy says.
    MayHeal(Error),
    GiveUp(Error),
}

fn next(effect: &Effect, outcome: Outcome) -> Result<Next> {
    Ok(match outcome {
        Outcome::Applied => Next::Done,
        Outcome::Deferred => Next::TryAtOnce,
        Outcome::Missing => {
            let what = effect.model.collection();
            Next::MayHeal(Error::data(format!(
                "{PREDECESSOR_MISSING}: the document in `{what}` that the event changes does not exist"
            )))
        }
        Outcome::Full(error) => Next::GiveUp(error),
        Outcome::Failed(error) => match error.kind().reaction() {
            Reaction::Halt => return Err(error),
            Reaction::Retry | Reaction::RetryBriefly => Next::MayHeal(error),
            Reaction::DeadLetter => Next::GiveUp(error),
        },
    })
}

/// What is to become of an effect.
enum Verdict {
    Done,
    Again(Instant),
    GiveUp(Error),
}

/// What is the matter with an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its one document is not there.
    Missing,
    /// Its one document takes no more.
    Full,
    Other,
}

impl Cause {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Missing => Self::Missing,
            Outcome::Full(_) => Self::Full,
            _ => Self::Other,
        }
    }
}

/// An effect with its verdict.
type Judged = (Effect, Verdict, Cause);

/// Sorts a batch; effects of partitions that are read by somebody else now are left out.
pub(super) fn settle(
    applied: Applied,
    is_current: impl Fn(&InFlight) -> bool,
    policy: RetryPolicy,
    has_passed: impl Fn(MissingSince) -> bool,
    breaker: &mut Breaker,
    now: Instant,
) -> Result<Settled> {
    let mut judged: Vec<Judged> = Vec::with_capacity(applied.effects.len());
    for (mut effect, outcome) in applied.effects.into_iter().zip(applied.outcomes) {
        if !is_current(&effect.event) {
            continue;
        }
        let cause = Cause::of(&outcome);
        let verdict = judge(&mut effect, outcome, policy, &has_passed, now)?;
        match &verdict {
            Verdict::Done => breaker.succeeded(Refused::of(&effect)),
            // What was held back before, and what is published again, has been judged by itself.
            Verdict::GiveUp(error) if cause == Cause::Other && !effect.was_held && !effect.event.position.is_replay => {
                breaker.refused(Refused::of(&effect), || aggregate_of(&effect), error, now);
            }
            Verdict::GiveUp(_) | Verdict::Again(_) => {}
        }
        judged.push((effect, verdict, cause));
    }
    if breaker.is_holding() {
        hold_back(&mut judged, breaker, now);
    }
    let mut settled = Settled::default();
    for (effect, verdict, cause) in judged {
        match verdict {
            Verdict::Done if effect.event.effect_applied() => {
                let has_failures = effect.event.has_failures();
                let list = if has_failures { &mut settled.given_up } else { &mut settled.applied };
                list.push(effect.event);
            }
            Verdict::Done => {}
            Verdict::Again(due) => settled.parked.push((effect, due)),
            Verdict::GiveUp(error) => settled.give_up(effect, error, cause),
        }
    }
    Ok(settled)
}

fn judge(
    effect: &mut Effect,
    outcome: Outcome,
    policy: RetryPolicy,
    has_passed: impl Fn(MissingSince) -> bool,
    now: Instant,
) -> Result<Verdict> {
    let is_missing = matches!(outcome, Outcome::Missing);
    Ok(match next(effect, outcome)? {
        Next::Done => Verdict::Done,
        Next::TryAtOnce => Verdict::Again(now),
        Next::GiveUp(error) => Verdict::GiveUp(error),
        Next::MayHeal(error) => {
            let counts = policy.counts(effect, is_missing, has_passed);
            if counts && effect.attempts >= policy.retries_max {
                return Ok(Verdict::GiveUp(error));
            }
            effect.attempts = effect.attempts.saturating_add(u32::from(counts));
            if is_missing {
                effect.missing_since.get_or_insert(now);
            }
            Verdict::Again(after(now, if counts { policy.delay } else { policy.delay.max(RETRY_MIN) }))
        }
    })
}

/// Holds back what is refused one after the other.
fn hold_back(judged: &mut [Judged], breaker: &Breaker, now: Instant) {
    for (effect, verdict, cause) in judged {
        if matches!(verdict, Verdict::GiveUp(_)) && *cause == Cause::Other && breaker.holds(effect) {
            effect.was_held = true;
            effect.attempts = effect.attempts.saturating_add(1);
            *verdict = Verdict::Again(now);
        }
    }
}

impl Settled {
    fn give_up(&mut self, effect: Effect, error: Error, cause: Cause) {
        self.held.push((key(&effect.model), Arc::clone(&effect.event)));
        let handler = Some(effect.handler.0.name().to_owned());
        let parks = effect.handler.parks();
        let attempts = effect.attempts.saturating_add(1);
        let document = (cause != Cause::Other).then(|| Blamed {
            id: effect.model.id().to_owned(),
            is_missing: cause == Cause::Missing,
            creation: None,
        });
        if effect.event.effect_failed(Failure { handler, stage: Stage::Apply, attempts, error, document, parks }) {
            self.given_up.push(effect.event);
        }
    }
}
