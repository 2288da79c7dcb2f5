//! Claiming a batch: which of its records apply their events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::create::EarlyCreates;
use super::in_flight::{Effect, InFlight};
use super::open_events::OpenEvents;
use super::parking::{ParkedAt, behind, parked_at};
use super::prepare::{Prepared, PreparedEvent};
use super::told::is_same;
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
    pub(super) postponed: Option<Postponed>,
    /// Events that a handler which parks has refused.
    pub(super) refused: Vec<Arc<InFlight>>,
    /// Events of which dead letters were taken over.
    pub(super) taken_over: HashSet<Uuid>,
}

/// The rest of a batch from a record on that says something else of an event than the record whose event it is. Whether
/// there is something for it to take over is known once that one is decided, and nothing may overtake it until then.
pub(super) struct Postponed {
    pub(super) events: Vec<PreparedEvent>,
    /// The event that is to be decided first.
    pub(super) until: Uuid,
}

/// Claims the events of a batch, leaves out what other records apply, and creates documents meanwhile.
pub(super) async fn claim(
    claims: Arc<Claims>,
    store: Arc<Store>,
    open: Arc<OpenEvents>,
    prepared: Prepared,
    creates: EarlyCreates,
    letters: HashMap<Arc<str>, Vec<ParkedAt>>,
) -> Result<Claimed> {
    let started = Instant::now();
    let mut events = prepared.events;
    claims.epochs.learn(events.iter().filter_map(|event| event.system)).await?;
    for event in &mut events {
        let position = &mut event.event.position;
        position.order = position.order.in_epoch(claims.epochs.of(event.system));
    }
    let (mut decided, created) = tokio::try_join!(decide(&claims, &open, events), creates.insert(&store))?;
    let taken_over: HashSet<Uuid> = decided
        .events
        .iter()
        .filter(|event| !event.event.taken_over.is_empty())
        .map(|event| event.claim.event_id)
        .collect();
    park(&claims, &mut decided.events, letters, &taken_over).await?;
    metrics::histogram!("evp_process_claim_seconds").record(started.elapsed());
    let mut claimed = Claimed {
        effects: Vec::with_capacity(decided.events.len()),
        duplicates: decided.duplicates,
        without_effect: Vec::new(),
        skipped: prepared.skipped,
        failed: prepared.failed,
        postponed: decided.postponed,
        refused: Vec::new(),
        taken_over,
    };
    for event in decided.events {
        if event.parts.is_empty() {
            // What its handlers refuse again gets a dead letter again, and its claim says again that they failed.
            let has_failures = event.event.has_failures();
            let list = if has_failures { &mut claimed.failed } else { &mut claimed.without_effect };
            list.push(Arc::new(event.event));
            claimed.refused.extend(list.last().filter(|event| event.parks()).cloned());
        } else {
            event.into_effects(|model| created.term_of(model), &mut claimed.effects);
            let event = claimed.effects.last().map(|effect| &effect.event);
            claimed.refused.extend(event.filter(|event| event.parks()).cloned());
        }
    }
    open.add(claimed.effects.iter().map(|effect| &effect.event).chain(&claimed.failed));
    Ok(claimed)
}

/// Lets events fail that stand behind a dead letter of their aggregate, as far as handlers that park serve them.
///
/// `letters` are those that MongoDB may not tell of yet.
async fn park(
    claims: &Claims,
    events: &mut [PreparedEvent],
    letters: HashMap<Arc<str>, Vec<ParkedAt>>,
    taken_over: &HashSet<Uuid>,
) -> Result<()> {
    let aggregates: HashSet<&str> =
        events.iter().filter_map(|event| event.event.ordered_aggregate.as_deref()).collect();
    if aggregates.is_empty() {
        return Ok(());
    }
    let mut parked = letters;
    for (aggregate, known) in claims.parked(&aggregates.into_iter().collect::<Vec<_>>()).await? {
        let known = known.into_iter().map(|(order, failed)| ParkedAt { order, failed });
        parked.entry(Arc::from(aggregate)).or_default().extend(known);
    }
    parked.values_mut().for_each(|letters| letters.retain(|letter| !taken_over.contains(&letter.failed.event_id)));
    for event in events {
        let Some(aggregate) = event.event.ordered_aggregate.clone() else { continue };
        let letters = parked.get(&aggregate).map(Vec::as_slice).unwrap_or_default();
        if let Some(failed) = behind(letters.iter(), &event.event) {
            event.park_behind(failed);
        }
        if let Some((aggregate, at)) = parked_at(&event.event) {
            parked.entry(aggregate).or_default().push(at);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Decided {
    /// What its records apply, in order, each with the handlers that are still to do it.
    events: Vec<PreparedEvent>,
    duplicates: Vec<Arc<InFlight>>,
    postponed: Option<Postponed>,
}

/// Events with their places in the batch.
type Ordered = Vec<(usize, PreparedEvent)>;

async fn decide(claims: &Claims, open: &OpenEvents, events: Vec<PreparedEvent>) -> Result<Decided> {
    // Before the claims are read: an event that is decided in between is decided in what is read.
    let undecided = open.find(events.iter().map(|event| event.claim.event_id));
    let mut decided = Decided::default();
    let (mut ours, mut corrections): (Ordered, Ordered) = (Vec::with_capacity(events.len()), Vec::new());
    let mut places: HashMap<Uuid, usize> = HashMap::new();
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
                Verdict::Apply(share) => {
                    event.take(share);
                    places.insert(event.claim.event_id, ours.len());
                    ours.push((order, event));
                }
                Verdict::Duplicate => {
                    let owner = undecided.get(&event.claim.event_id).map(|owner| &**owner);
                    decided.repeat(order, event, owner, &mut corrections);
                }
            }
        }
        for (order, event) in repeated {
            match places.get(&event.claim.event_id).and_then(|place| ours.get(*place)) {
                Some((_, owner)) => decided.repeat(order, event, Some(&owner.event), &mut corrections),
                None => rest.push((order, event)),
            }
        }
    }
    decided.cut(ours, corrections);
    Ok(decided)
}

impl Decided {
    /// Sorts a record of an event that `owner` applies, if that is not decided, or that was applied.
    fn repeat(&mut self, order: usize, event: PreparedEvent, owner: Option<&InFlight>, corrections: &mut Ordered) {
        match owner {
            Some(owner) if !is_same(owner, &event.event, event.claim.takes_over) => corrections.push((order, event)),
            _ => self.duplicates.push(Arc::new(event.event)),
        }
    }

    /// Keeps what stands before the first correction, and postpones the rest.
    fn cut(&mut self, mut ours: Ordered, corrections: Ordered) {
        let first = corrections.iter().map(|(order, event)| (*order, event.claim.event_id)).min();
        ours.extend(corrections);
        ours.sort_by_key(|(order, _)| *order);
        let kept = first.map_or(ours.len(), |(first, _)| ours.partition_point(|(order, _)| *order < first));
        let mut events = ours.into_iter().map(|(_, event)| event);
        self.events = events.by_ref().take(kept).collect();
        self.postponed = first.map(|(_, until)| Postponed { events: events.collect(), until });
    }
}

/// One command can claim an event once.
fn first_of_each_event(events: Ordered) -> (Ordered, Ordered) {
    let mut seen = HashSet::with_capacity(events.len());
    events.into_iter().partition(|(_, event)| seen.insert(event.claim.event_id))
}
