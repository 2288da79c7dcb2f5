//! Applying events to the new collection as processing has applied them to the old one.
//!
//! Handlers, folds and guards are those of processing. What is claimed is read and never written; only events that are
//! remembered no more are claimed in a collection that the rebuild has for itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::decide::{Decision, Telling, decide};
use crate::error::{Error, Reaction, Result};
use crate::kafka::chunk::Chunk;
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::{Claim, Claims, Collection, Share, Store, Verdict, WriteModel, ownerships};
use crate::process::apply::apply;
use crate::process::collection::Outcome;
use crate::process::in_flight::Effect;
use crate::process::prepare::{Preparation, PreparedEvent};

/// Changes that may wait for documents that no event before them has made.
const WAITING_MAX: usize = 200_000;
/// How often effects are tried that stand behind others of their batch.
const ROUNDS_MAX: u32 = 4;
/// Events that are named.
const EXAMPLES_MAX: usize = 5;

/// A topic, and what is remembered of its events.
pub(super) struct Topic {
    pub(super) preparation: Preparation,
    /// The collection that is rebuilt.
    pub(super) live: Collection,
    /// Stands for the topic.
    pub(super) source: i32,
    /// Those of all topics that are read.
    pub(super) sources: Arc<[i32]>,
    /// Those of processing.
    pub(super) claims: Claims,
    /// Those of this rebuild.
    pub(super) own: Claims,
}

/// What has been done.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// Effects in the collection.
    pub(super) effects: u64,
    /// Effects that were left out, for another reason than that processing has left them out.
    pub(super) left_out: u64,
    /// Some of these.
    pub(super) examples: Vec<String>,
}

impl Tally {
    fn leave_out(&mut self, what: impl FnOnce() -> String) {
        self.left_out = self.left_out.saturating_add(1);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what());
        }
    }
}

/// An effect with the place of its topic.
type Placed = (usize, Effect);

/// The new collection as far as it is.
pub(super) struct Replay {
    /// Pins the new collection.
    pub(super) store: Arc<Store>,
    pub(super) shadow: Collection,
    pub(super) topics: Vec<Topic>,
    pub(super) tally: Tally,
    /// Changes of documents that are not there yet, by id and in their order.
    waiting: HashMap<String, Vec<Placed>>,
    waiting_count: usize,
}

impl Replay {
    pub(super) fn new(store: Arc<Store>, shadow: Collection, topics: Vec<Topic>) -> Self {
        Self { store, shadow, topics, tally: Tally::default(), waiting: HashMap::new(), waiting_count: 0 }
    }

    /// Applies the records of a batch, by topic.
    pub(super) async fn take(&mut self, chunks: Vec<Chunk>) -> Result<()> {
        let mut effects: Vec<Placed> = Vec::new();
        for (place, chunk) in chunks.into_iter().enumerate().filter(|(_, chunk)| chunk.len() > 0) {
            self.tally.records = self.tally.records.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            let Some(topic) = self.topics.get(place) else { continue };
            let events = topic.events(chunk, &self.shadow)?;
            let events = topic.decide(&self.store, events).await?;
            for Decided { mut event, share, refused } in events {
                for handler in refused.iter().filter(|handler| share.has(handler)) {
                    self.tally.leave_out(|| {
                        let reason = event.event.refusal_of(handler).unwrap_or_default();
                        format!("{}: handler {handler} refuses it: {reason}", named(&event.claim))
                    });
                }
                event.take(share);
                let mut of_event = Vec::new();
                event.into_effects(|_| None, &mut of_event);
                effects.extend(of_event.into_iter().map(|effect| (place, effect)));
            }
        }
        let batch = self.admit(effects);
        self.write(batch).await
    }

    /// How many effects are left out, together with those that wait for documents which no event has made, and some of them.
    pub(super) fn lost(&self) -> (u64, Vec<String>) {
        let waiting = self.waiting.values().flatten();
        let told = waiting.map(|(_, effect)| format!("{}: the document that it changes does not exist", name(effect)));
        let examples = self.tally.examples.iter().cloned().chain(told).take(EXAMPLES_MAX).collect();
        let count = u64::try_from(self.waiting_count).unwrap_or(u64::MAX);
        (self.tally.left_out.saturating_add(count), examples)
    }

    /// Keeps changes behind those that wait for the same document, and takes these out once it is made.
    fn admit(&mut self, effects: Vec<Placed>) -> Vec<Placed> {
        if self.waiting.is_empty() {
            return effects;
        }
        let mut batch = Vec::with_capacity(effects.len());
        for (place, effect) in effects {
            let makes = effect.model.makes_document() || matches!(effect.model, WriteModel::Create(_));
            match self.waiting.get_mut(effect.model.id()) {
                Some(waiting) if !makes => {
                    effect.event.detach_record();
                    waiting.push((place, effect));
                    self.waiting_count = self.waiting_count.saturating_add(1);
                }
                Some(_) => {
                    let waiting = self.waiting.remove(effect.model.id()).unwrap_or_default();
                    self.waiting_count = self.waiting_count.saturating_sub(waiting.len());
                    batch.extend(waiting);
                    batch.push((place, effect));
                }
                None => batch.push((place, effect)),
            }
        }
        batch
    }

    async fn write(&mut self, batch: Vec<Placed>) -> Result<()> {
        let mut batch = batch;
        for _ in 0..ROUNDS_MAX {
            let mut by_topic: BTreeMap<usize, Vec<Effect>> = BTreeMap::new();
            for (place, effect) in batch {
                by_topic.entry(place).or_default().push(effect);
            }
            let mut is_worth_another = by_topic.len() > 1;
            batch = Vec::new();
            for (place, effects) in by_topic {
                let Some(topic) = self.topics.get(place) else { continue };
                let applied = apply(&self.store, topic.source, effects).await?;
                for (effect, outcome) in applied.effects.into_iter().zip(applied.outcomes) {
                    is_worth_another |= matches!(outcome, Outcome::Deferred);
                    match outcome {
                        Outcome::Applied => self.tally.effects = self.tally.effects.saturating_add(1),
                        Outcome::Missing | Outcome::Deferred => batch.push((place, effect)),
                        Outcome::Failed(error) if error.kind().reaction() == Reaction::Halt => return Err(error),
                        Outcome::Failed(error) | Outcome::Full(error) => {
                            self.tally.leave_out(|| format!("{}: {error}", name(&effect)));
                        }
                    }
                }
            }
            if batch.is_empty() || !is_worth_another {
                break;
            }
        }
        self.wait(batch)
    }

    fn wait(&mut self, batch: Vec<Placed>) -> Result<()> {
        for (place, effect) in batch {
            effect.event.detach_record();
            self.waiting.entry(effect.model.id().to_owned()).or_default().push((place, effect));
            self.waiting_count = self.waiting_count.saturating_add(1);
        }
        if self.waiting_count > WAITING_MAX {
            return Err(Error::refused(format!(
                "more than {WAITING_MAX} changes concern documents that no event before them makes: the topic does not hold what \
                 the collection was made of"
            )));
        }
        Ok(())
    }
}

/// An event with what its record applies of it.
struct Decided {
    event: PreparedEvent,
    share: Share,
    /// Handlers of the collection that refuse it.
    refused: Vec<String>,
}

impl Topic {
    /// The events that concern the collection, with their effects on the new one.
    fn events(&self, chunk: Chunk, shadow: &Collection) -> Result<Vec<PreparedEvent>> {
        let mut tracker = OffsetTracker::default();
        chunk.records().for_each(|record| {
            if !tracker.partitions().any(|known| known == record.partition()) {
                tracker.assign(record.partition(), None);
            }
        });
        let mut prepared = self.preparation.prepare(vec![chunk], &mut tracker);
        if let Some(conflict) = prepared.conflict.take() {
            return Err(conflict);
        }
        for event in &mut prepared.events {
            for (_, models) in &mut event.parts {
                let kept = std::mem::take(models).into_iter().filter(|model| *model.collection() == self.live);
                models.extend(kept.map(|model| model.in_collection(shadow)));
            }
            event.parts.retain(|(_, models)| !models.is_empty());
        }
        prepared.events.retain(|event| !event.parts.is_empty() || !event.refused_for(&self.live).is_empty());
        Ok(prepared.events)
    }

    async fn decide(&self, store: &Store, mut events: Vec<PreparedEvent>) -> Result<Vec<Decided>> {
        self.claims.epochs.learn(events.iter().filter_map(|event| event.system)).await?;
        let ids: Vec<Uuid> = events.iter().map(|event| event.claim.event_id).collect();
        let known = ownerships(store, &ids).await?;
        let mut decided: Vec<(PreparedEvent, Decision)> = Vec::with_capacity(events.len());
        for mut event in events.drain(..) {
            let position = &mut event.event.position;
            position.order = position.order.in_epoch(self.claims.epochs.of(event.system));
            let telling = Telling {
                source: self.source,
                partition: event.claim.partition,
                offset: event.claim.offset,
                order: position.order,
                is_replay: position.is_replay,
            };
            let decision = decide(&telling, known.get(&event.claim.event_id), &self.sources);
            decided.push((event, decision));
        }
        let unsure: Vec<Claim> = decided
            .iter()
            .filter(|(_, decision)| matches!(decision, Decision::AppliesIfFirst(_)))
            .map(|(event, _)| event.claim)
            .collect();
        let mut verdicts = self.own.claim(&unsure).await?.verdicts.into_iter();
        Ok(decided
            .into_iter()
            .filter_map(|(event, decision)| {
                let share = match decision {
                    Decision::Applies(share) => share,
                    Decision::AppliesIfFirst(share) => {
                        matches!(verdicts.next()?, Verdict::Apply(_)).then_some(share)?
                    }
                    Decision::Repeats => return None,
                };
                let refused = event.refused_for(&self.live);
                Some(Decided { event, share, refused })
            })
            .collect())
    }
}

fn named(claim: &Claim) -> String {
    format!("event {} (partition {}, offset {})", claim.event_id, claim.partition, claim.offset)
}

fn name(effect: &Effect) -> String {
    let event = effect.event.claim.as_ref().map_or_else(String::new, named);
    format!("{event}, handler {}", effect.handler.0.name())
}
