//! Claiming a batch: which of its records apply their events.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::create::EarlyCreates;
use super::in_flight::{Effect, InFlight};
use super::prepare::{Prepared, PreparedEvent};
use crate::error::Result;
use crate::mongo::{Claim, Claims, Store, Verdict};

/// A batch with its verdicts.
pub(super) struct Claimed {
    /// In the order of the records.
    pub(super) effects: Vec<Effect>,
    pub(super) duplicates: Vec<Arc<InFlight>>,
    pub(super) without_effect: Vec<Arc<InFlight>>,
    pub(super) skipped: Vec<Arc<InFlight>>,
    pub(super) failed: Vec<Arc<InFlight>>,
}

/// Claims the events of a batch, leaves out what other records apply, and creates documents meanwhile.
pub(super) async fn claim(
    claims: Arc<Claims>,
    store: Arc<Store>,
    prepared: Prepared,
    creates: EarlyCreates,
) -> Result<Claimed> {
    let mut claimed = Claimed {
        effects: Vec::with_capacity(prepared.events.len()),
        duplicates: Vec::new(),
        without_effect: prepared.without_effect,
        skipped: prepared.skipped,
        failed: prepared.failed,
    };
    let started = Instant::now();
    let mut events = prepared.events;
    claims.epochs.learn(events.iter().filter_map(|event| event.system)).await?;
    for event in &mut events {
        let position = &mut event.event.position;
        position.order = position.order.in_epoch(claims.epochs.of(event.system));
    }
    let (decided, created) =
        tokio::try_join!(decide(&claims, events, &mut claimed.duplicates), creates.insert(&store))?;
    metrics::histogram!("evp_process_claim_seconds").record(started.elapsed());
    for event in decided {
        if event.parts.is_empty() {
            // What its handlers refuse again gets a dead letter again, and its claim says again that they failed.
            let has_failures = event.event.has_failures();
            let list = if has_failures { &mut claimed.failed } else { &mut claimed.without_effect };
            list.push(Arc::new(event.event));
        } else {
            event.into_effects(|model| created.term_of(model), &mut claimed.effects);
        }
    }
    Ok(claimed)
}

/// The events that their records apply, in order, each with the handlers that are still to do it.
async fn decide(
    claims: &Claims,
    events: Vec<PreparedEvent>,
    duplicates: &mut Vec<Arc<InFlight>>,
) -> Result<Vec<PreparedEvent>> {
    let mut decided: Ordered = Vec::with_capacity(events.len());
    let mut is_applied = HashSet::new();
    let mut rest: Ordered = events.into_iter().enumerate().collect();
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
                    duplicates.push(Arc::new(event.event));
                    continue;
                }
                Verdict::Apply { except } => {
                    event.retain_handlers(|handler| !except.iter().any(|name| name == handler))
                }
                Verdict::ApplyOnly { handlers } => {
                    event.event.position.is_replay = true;
                    event.retain_handlers(|handler| handlers.iter().any(|name| name == handler));
                }
            }
            is_applied.insert(event.claim.event_id);
            decided.push((order, event));
        }
        for (order, event) in repeated {
            if is_applied.contains(&event.claim.event_id) {
                duplicates.push(Arc::new(event.event));
            } else {
                rest.push((order, event));
            }
        }
    }
    decided.sort_by_key(|(order, _)| *order);
    Ok(decided.into_iter().map(|(_, event)| event).collect())
}

type Ordered = Vec<(usize, PreparedEvent)>;

/// One command can claim an event once.
fn first_of_each_event(events: Ordered) -> (Ordered, Ordered) {
    let mut seen = HashSet::with_capacity(events.len());
    events.into_iter().partition(|(_, event)| seen.insert(event.claim.event_id))
}
