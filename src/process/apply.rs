//! Writing the effects of a batch, its collections at the same time, and making them durable.
//!
//! On a replica set the primary answers alone, and only the last commands wait for a majority, which then has all that
//! stands before them in the log: each such wait costs several times what the writes of a small batch cost. A change
//! of primary in between shows in the election terms, and the batch is written again. What survived is recognised by
//! its guards; what was lost has nothing behind it that could hide it, because a document is in one write at a time.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::collection::{CollectionWork, Outcome};
use super::in_flight::Effect;
use crate::error::Result;
use crate::mongo::{Collection, Durability, Store, WriteModel};

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) effects: Vec<Effect>,
    pub(crate) outcomes: Vec<Outcome>,
    /// The election terms in which the effects were written.
    pub(crate) terms: Vec<i64>,
}

/// Writes the effects of the topic that has the small number `source`, and makes them durable.
pub(crate) async fn apply(store: &Store, source: i32, effects: Vec<Effect>) -> Result<Applied> {
    let mut effects = effects;
    loop {
        let Written { outcomes, terms, is_durable } = write(store, source, &effects).await?;
        if is_durable || store.make_durable(&terms).await? {
            return Ok(Applied { effects, outcomes, terms });
        }
        tracing::info!(event = "effects_rewritten", effects = effects.len(), "the primary has changed; writing again");
        effects.iter_mut().for_each(|effect| effect.created_term = None);
    }
}

/// What became of the effects of a batch in one go.
struct Written {
    outcomes: Vec<Outcome>,
    /// The election terms of the replies, each once.
    terms: Vec<i64>,
    /// No further wait is needed.
    is_durable: bool,
}

async fn write(store: &Store, source: i32, effects: &[Effect]) -> Result<Written> {
    let mut by_collection: BTreeMap<&Collection, Vec<usize>> = BTreeMap::new();
    for (index, effect) in effects.iter().enumerate() {
        by_collection.entry(effect.model.collection()).or_default().push(index);
    }
    let durability = changes_durability(store, effects);
    let works = by_collection
        .into_iter()
        .map(|(collection, indexes)| CollectionWork::new(store, source, collection, effects).run(indexes, durability));
    let mut outcomes: Vec<Outcome> = effects.iter().map(|_| Outcome::Deferred).collect();
    let (mut terms, mut has_waited) = (Vec::new(), false);
    for work in try_join_all(works).await? {
        for (index, outcome) in work.outcomes {
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        terms.extend(work.terms);
        has_waited |= work.has_waited;
    }
    terms.sort_unstable();
    terms.dedup();
    let is_durable = durability == Durability::Majority && has_waited && terms.len() == 1;
    Ok(Written { outcomes, terms, is_durable })
}

/// Changes with nothing left to create are one round of commands, so each of them can wait for the majority itself;
/// in the log they stand behind the documents that were created early.
fn changes_durability(store: &Store, effects: &[Effect]) -> Durability {
    let is_change = |effect: &Effect| matches!(effect.model, WriteModel::Change(_));
    let is_one_round = effects.iter().all(|effect| is_change(effect) || effect.created_term.is_some());
    if is_one_round { Durability::Majority } else { store.batch_durability() }
}
