//! Batches that are being written at the same time.
//!
//! A batch waits for a majority, and with it everything that waits for the batch. What only waits because it came later
//! need not: no two batches that are written at once have a document in common, so that each document still has one
//! write at a time, in the order of its events, and none before the one before it is durable. Documents are told apart by
//! a hash of their name; two of one hash wait for each other, which does no harm.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::future::pending;
use std::hash::BuildHasher;

use tokio::task::JoinSet;

use super::apply::Applied;
use super::in_flight::{Effect, InFlight};
use super::tasks::joined;
use crate::error::Result;
use crate::mongo::WriteModel;

/// Batches that are written at once. With two, what waits behind a batch is given up where a partition is given back, so that the
/// next member applies again, without effect, what stands behind it.
const BATCHES_MAX: usize = 1;

/// The batches, and what came meanwhile for their documents.
#[derive(Debug, Default)]
pub(super) struct Writing {
    batches: JoinSet<Result<Applied>>,
    /// The documents that are being written, with what came for them since, in order.
    documents: HashMap<u64, Vec<Effect>>,
    queued: usize,
    /// What came for documents whose batch has ended.
    released: Vec<Effect>,
    names: RandomState,
}

impl Writing {
    /// Whether nothing is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether another batch may be written.
    pub(super) fn has_room(&self) -> bool {
        self.batches.len() < BATCHES_MAX
    }

    /// How many effects wait for the batch that writes their document.
    pub(super) fn queued(&self) -> usize {
        self.queued.saturating_add(self.released.len())
    }

    /// Whether effects may be written that waited for a batch.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Takes what waited for batches that have ended. It comes before whatever is newer.
    pub(super) fn take_released(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.released)
    }

    /// Whether the document of a write is being written, or will be by something that waits for that.
    pub(super) fn has(&self, model: &WriteModel) -> bool {
        (!self.documents.is_empty() && self.documents.contains_key(&self.hash(model)))
            || self.released.iter().any(|effect| is_same_document(&effect.model, model))
    }

    /// Takes the effects on documents that no batch writes, which then are those of the next one; the others wait.
    pub(super) fn admit(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut admitted = effects;
        if !self.documents.is_empty() {
            let (documents, names, queued) = (&mut self.documents, &self.names, &mut self.queued);
            let busy = |effect: &mut Effect| documents.contains_key(&hash(names, &effect.model));
            let busy: Vec<Effect> = admitted.extract_if(.., busy).collect();
            *queued = queued.saturating_add(busy.len());
            for effect in busy {
                self.documents.entry(hash(names, &effect.model)).or_default().push(effect);
            }
        }
        for effect in &admitted {
            self.documents.entry(hash(&self.names, &effect.model)).or_default();
        }
        admitted
    }

    /// Begins to write what was admitted.
    pub(super) fn begin(&mut self, batch: impl Future<Output = Result<Applied>> + Send + 'static) {
        self.batches.spawn(batch);
    }

    /// The next batch that is written; its documents are free once it was [`Self::ended`].
    pub(super) async fn next(&mut self) -> Result<Applied> {
        match self.batches.join_next().await {
            Some(written) => joined(written),
            None => pending().await,
        }
    }

    /// Frees the documents of a batch.
    pub(super) fn ended(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Entry::Occupied(document) = self.documents.entry(hash(&self.names, &effect.model)) {
                let waited = document.remove();
                self.queued = self.queued.saturating_sub(waited.len());
                self.released.extend(waited);
            }
        }
    }

    /// Takes waiting effects out.
    pub(super) fn extract(&mut self, is_wanted: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        let mut extracted: Vec<Effect> = self.released.extract_if(.., |effect| is_wanted(effect)).collect();
        for waiting in self.documents.values_mut().filter(|waiting| !waiting.is_empty()) {
            extracted.extend(waiting.extract_if(.., |effect| is_wanted(effect)));
        }
        self.queued = self.documents.values().map(Vec::len).sum();
        extracted
    }

    /// Forgets waiting effects, such as those of a partition that somebody else reads now.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        self.extract(|effect| !keep(&effect.event));
    }

    /// Gives up what is being written.
    pub(super) fn abort(&mut self) {
        self.batches.abort_all();
    }

    fn hash(&self, model: &WriteModel) -> u64 {
        hash(&self.names, model)
    }
}

fn is_same_document(one: &WriteModel, other: &WriteModel) -> bool {
    one.id() == other.id() && one.collection() == other.collection()
}

fn hash(names: &RandomState, model: &WriteModel) -> u64 {
    names.hash_one((model.collection().as_str(), model.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::WriteModel;

    fn update(offset: i64, id: &str) -> Effect {
        Effect::of(offset, WriteModel::update("users", id).set("email", "x").into())
    }

    fn offsets(effects: &[Effect]) -> Vec<i64> {
        effects.iter().map(|effect| effect.event.position.offset).collect()
    }

    #[test]
    fn a_document_has_one_write_at_a_time_in_the_order_of_its_events() {
        let mut writing = Writing::default();
        let first = writing.admit(vec![update(1, "a"), update(2, "a"), update(3, "b")]);
        assert_eq!(offsets(&first), [1, 2, 3]);
        let second = writing.admit(vec![update(4, "a"), update(5, "c"), update(6, "b"), update(7, "a")]);
        assert_eq!((offsets(&second), writing.queued()), (vec![5], 3));
        assert!(writing.has(&update(0, "a").model) && writing.has(&update(0, "c").model));
        assert!(!writing.has(&update(0, "d").model));
        writing.ended(&second);
        assert!(!writing.has_released() && !writing.has(&update(0, "c").model));
        writing.ended(&first);
        let released = writing.take_released();
        let of_a: Vec<Effect> = released.into_iter().filter(|effect| effect.model.id() == "a").collect();
        assert_eq!((offsets(&of_a), writing.queued()), (vec![4, 7], 0));
        assert!(!writing.has(&update(0, "a").model));
    }

    #[test]
    fn what_waits_for_a_batch_is_the_documents_until_it_is_taken() {
        let mut writing = Writing::default();
        let batch = writing.admit(vec![update(1, "a")]);
        writing.admit(vec![update(2, "a"), update(3, "a")]);
        assert_eq!(offsets(&writing.extract(|effect| effect.event.position.offset == 3)), [3]);
        writing.ended(&batch);
        assert!(writing.has(&update(0, "a").model) && writing.has_released());
        writing.retain(|event| event.position.offset != 2);
        assert_eq!((writing.queued(), writing.has(&update(0, "a").model)), (0, false));
    }

    #[tokio::test]
    async fn as_many_batches_are_written_as_there_is_room_for() {
        let mut writing = Writing::default();
        for _ in 0..BATCHES_MAX {
            assert!(writing.has_room());
            writing.begin(std::future::pending());
        }
        assert!(!writing.has_room() && !writing.is_idle());
        writing.abort();
        assert!(writing.next().await.is_err());
    }
}
