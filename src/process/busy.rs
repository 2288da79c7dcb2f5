//! Documents that are being written, and what stands behind: a document is in one write at a time, so that several
//! writes can be on their way together.
//!
//! Documents are told apart by a hash. Two that share one take turns, which costs time and nothing else. Those of a
//! collection with a unique index share one: a value may be free only once the document before has given it up.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use super::in_flight::{Effect, InFlight};
use crate::mongo::WriteModel;

/// The documents of all writes that are on their way.
#[derive(Debug, Default)]
pub(super) struct Busy {
    documents: HashMap<u64, Document>,
    hasher: Hasher,
    /// Effects whose documents are free again, in order.
    released: Vec<Effect>,
    /// How many effects stand behind busy documents.
    behind: usize,
    /// The number of the last write.
    write: u64,
}

/// What tells documents apart.
#[derive(Debug, Default)]
struct Hasher {
    state: RandomState,
    /// Collections of which all documents are one.
    whole: HashSet<String>,
    /// The same from the next moment on in which nothing is busy.
    next_whole: Option<HashSet<String>>,
}

impl Hasher {
    fn hash(&self, model: &WriteModel) -> u64 {
        let collection = model.collection().as_str();
        let is_whole = self.whole.contains(collection);
        self.state.hash_one((collection, (!is_whole).then(|| model.id())))
    }
}

#[derive(Debug)]
struct Document {
    /// The write that it is in.
    write: u64,
    /// Later effects, in order.
    behind: Vec<Effect>,
}

impl Busy {
    /// Lets the documents of these collections take turns.
    pub(super) fn keep_whole(&mut self, collections: HashSet<String>) {
        self.hasher.next_whole = Some(collections);
    }

    /// Takes the effects of the next write; those of documents that are in another one stay behind it.
    pub(super) fn enter(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        self.write = self.write.saturating_add(1);
        if self.documents.is_empty()
            && let Some(whole) = self.hasher.next_whole.take()
        {
            self.hasher.whole = whole;
        }
        let mut entered = Vec::with_capacity(effects.len());
        for effect in effects {
            match self.documents.entry(self.hasher.hash(&effect.model)) {
                Entry::Vacant(document) => {
                    document.insert(Document { write: self.write, behind: Vec::new() });
                    entered.push(effect);
                }
                Entry::Occupied(document) if document.get().write == self.write => entered.push(effect),
                Entry::Occupied(mut document) => {
                    document.get_mut().behind.push(effect);
                    self.behind = self.behind.saturating_add(1);
                }
            }
        }
        entered
    }

    /// A write is answered: what stands behind its documents is released.
    pub(super) fn leave<'a>(&mut self, models: impl Iterator<Item = &'a WriteModel>) {
        for model in models {
            let Some(document) = self.documents.remove(&self.hasher.hash(model)) else { continue };
            self.behind = self.behind.saturating_sub(document.behind.len());
            self.released.extend(document.behind);
        }
    }

    /// Whether the document is being written, or has something that waits for its turn.
    pub(super) fn has(&self, model: &WriteModel) -> bool {
        let is_released =
            |effect: &Effect| effect.model.id() == model.id() && effect.model.collection() == model.collection();
        self.documents.contains_key(&self.hasher.hash(model)) || self.released.iter().any(is_released)
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    pub(super) fn take_released(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.released)
    }

    /// How many effects stand behind busy documents.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    /// Takes out effects that are not being written, in their order.
    pub(super) fn extract(&mut self, is_wanted: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        let mut extracted: Vec<Effect> = self.released.extract_if(.., |effect| is_wanted(effect)).collect();
        for document in self.documents.values_mut() {
            extracted.extend(document.behind.extract_if(.., |effect| is_wanted(effect)));
        }
        extracted.sort_by_key(|effect| effect.event.position.order);
        self.recount();
        extracted
    }

    /// Forgets events, such as those of a partition that somebody else reads now; what is being written stays busy.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        self.released.retain(|effect| keep(&effect.event));
        self.documents.values_mut().for_each(|document| document.behind.retain(|effect| keep(&effect.event)));
        self.recount();
    }

    fn recount(&mut self) {
        self.behind = self.documents.values().map(|document| document.behind.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(offset: i64, id: &str) -> Effect {
        Effect::of(offset, WriteModel::update("users", id).set("email", "x").into())
    }

    fn offsets(effects: &[Effect]) -> Vec<i64> {
        effects.iter().map(|effect| effect.event.position.offset).collect()
    }

    fn leave(busy: &mut Busy, written: &[Effect]) -> Vec<Effect> {
        busy.leave(written.iter().map(|effect| &effect.model));
        busy.take_released()
    }

    #[test]
    fn a_document_is_in_one_write_at_a_time_and_others_go_on() {
        let mut busy = Busy::default();
        let first = busy.enter(vec![effect(1, "a"), effect(2, "b"), effect(3, "a")]);
        assert_eq!(offsets(&first), [1, 2, 3]);
        let second = busy.enter(vec![effect(4, "b"), effect(5, "c"), effect(6, "b")]);
        assert_eq!((offsets(&second), busy.behind()), (vec![5], 2));
        assert_eq!(offsets(&busy.enter(vec![effect(7, "c"), effect(8, "d")])), [8]);
        // The second is answered before the first: what it held back goes on, and nothing else.
        assert_eq!((offsets(&leave(&mut busy, &second)), busy.behind()), (vec![7], 2));
        let released = leave(&mut busy, &first);
        assert_eq!((offsets(&released), busy.behind()), (vec![4, 6], 0));
        assert_eq!(offsets(&busy.enter(released)), [4, 6]);
        assert!(busy.has(&effect(0, "b").model) && busy.has(&effect(0, "d").model));
        assert!(!busy.has(&effect(0, "a").model));
    }

    #[test]
    fn a_document_whose_turn_has_come_is_not_free_for_anything_else() {
        let mut busy = Busy::default();
        let first = busy.enter(vec![effect(1, "a")]);
        busy.enter(vec![effect(2, "a")]);
        busy.leave(first.iter().map(|effect| &effect.model));
        assert!(busy.has_released() && busy.has(&effect(0, "a").model));
    }

    #[test]
    fn what_waits_can_be_taken_out_or_forgotten_and_what_is_written_stays_busy() {
        let mut busy = Busy::default();
        let first = busy.enter(vec![effect(1, "a"), effect(2, "b")]);
        busy.enter(vec![effect(5, "b"), effect(4, "a"), effect(3, "a")]);
        let taken = busy.extract(|effect| effect.event.position.offset >= 4);
        assert_eq!((offsets(&taken), busy.behind()), (vec![4, 5], 1));
        busy.retain(|event| event.position.offset != 3);
        assert_eq!(busy.behind(), 0);
        assert!(busy.has(&effect(0, "a").model));
        assert!(leave(&mut busy, &first).is_empty());
        assert!(!busy.has(&effect(0, "a").model));
    }

    #[test]
    fn documents_of_a_collection_with_a_unique_index_take_turns() {
        let mut busy = Busy::default();
        let first = busy.enter(vec![effect(1, "a")]);
        busy.keep_whole(HashSet::from(["users".to_owned()]));
        // What is on its way is still told apart as it was.
        let second = busy.enter(vec![effect(2, "b")]);
        assert_eq!(offsets(&second), [2]);
        busy.leave(first.iter().chain(&second).map(|effect| &effect.model));
        let third = busy.enter(vec![effect(3, "a"), effect(4, "b")]);
        assert_eq!(offsets(&third), [3, 4]);
        assert!(busy.enter(vec![effect(5, "c")]).is_empty());
        assert_eq!(offsets(&leave(&mut busy, &third)), [5]);
    }
}
