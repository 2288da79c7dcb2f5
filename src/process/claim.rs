//! Claiming a batch: which of its records apply their events.

use std::collections::HashSet;
use std::sync::Arc;

use super::in_flight::{Effect, InFlight};
use super::prepare::{Prepared, PreparedEvent};
use crate::error::Result;
use crate::mongo::{Claim, Claims, Verdict};

/// A batch with its verdicts.
pub(super) struct Claimed {
    /// In the order of the records.
    pub(super) effects: Vec<Effect>,
    pub(super) duplicates: Vec<Arc<InFlight>>,
    pub(super) without_effect: Vec<Arc<InFlight>>,
    pub(super) skipped: Vec<Arc<InFlight>>,
    pub(super) failed: Vec<Arc<InFlight>>,
}

/// Claims the events of a batch, and leaves out what other records apply.
pub(super) async fn claim(claims: Arc<Claims>, prepared: Prepared) -> Result<Claimed> {
    let mut claimed = Claimed {
        effects: Vec::with_capacity(prepared.events.len()),
        duplicates: Vec::new(),
        without_effect: prepared.without_effect,
        skipped: prepared.skipped,
        failed: prepared.failed,
    };
    let mut decided: Vec<(usize, PreparedEvent)> = Vec::with_capacity(prepared.events.len());
    let mut is_applied = HashSet::new();
    let mut rest: Vec<(usize, PreparedEvent)> = prepared.events.into_iter().enumerate().collect();
    // Usually one round. A repetition in the batch is asked for only if the record before it is not the one that
    // applies the event: the repetition may have claimed it in a run that ended before it was applied.
    while !rest.is_empty() {
        let (round, repeated) = first_of_each_event(std::mem::take(&mut rest));
        let wanted: Vec<Claim> = round.iter().map(|(_, event)| event.claim).collect();
        let answered = claims.claim(&wanted).await?;
        for ((order, mut event), verdict) in round.into_iter().zip(answered.verdicts) {
            event.event.claim_term = answered.term;
            match verdict {
                Verdict::Duplicate => {
                    claimed.duplicates.push(Arc::new(event.event));
                    continue;
                }
                Verdict::Apply { except } => {
                    event.parts.retain(|(handler, _)| !except.iter().any(|name| name == handler.0.name()));
                }
                Verdict::ApplyOnly { handlers } => {
                    event.parts.retain(|(handler, _)| handlers.iter().any(|name| name == handler.0.name()));
                }
            }
            is_applied.insert(event.claim.event_id);
            decided.push((order, event));
        }
        for (order, event) in repeated {
            if is_applied.contains(&event.claim.event_id) {
                claimed.duplicates.push(Arc::new(event.event));
            } else {
                rest.push((order, event));
            }
        }
    }
    decided.sort_by_key(|(order, _)| *order);
    for (_, event) in decided {
        if event.parts.is_empty() {
            claimed.without_effect.push(Arc::new(event.event));
        } else {
            event.into_effects(&mut claimed.effects);
        }
    }
    Ok(claimed)
}

type Ordered = Vec<(usize, PreparedEvent)>;

/// One command can claim an event once.
fn first_of_each_event(events: Ordered) -> (Ordered, Ordered) {
    let mut seen = HashSet::with_capacity(events.len());
    events.into_iter().partition(|(_, event)| seen.insert(event.claim.event_id))
}
