//! Effects that wait for their document, each behind those of the same document that came before it.
//!
//! A document is held back from the moment an effect on it is given up until the dead letter is safe: with a later
//! effect the watermark would pass the event, and after a crash it would be taken for applied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{Effect, InFlight};
use crate::mongo::{Collection, WriteModel};

/// Effects by the document they wait for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    documents: HashMap<DocumentKey, WaitingDocument>,
    effects: usize,
    bytes: usize,
}

/// Which effects are held back, if any are.
pub(crate) type Held<'a> = Option<&'a dyn Fn(&Effect) -> bool>;

/// Collection and id.
pub(crate) type DocumentKey = (Collection, String);

#[derive(Debug)]
struct WaitingDocument {
    effects: Vec<Effect>,
    due: Instant,
    /// Events whose dead letters are not safe yet.
    held_by: Vec<Arc<InFlight>>,
}

impl WaitingDocument {
    fn due_at(due: Instant) -> Self {
        Self { effects: Vec::new(), due, held_by: Vec::new() }
    }

    fn is_free(&self) -> bool {
        self.held_by.is_empty()
    }

    fn is_ready(&self, held: Held<'_>) -> bool {
        self.is_free() && held.is_none_or(|held| !self.effects.iter().any(held))
    }
}

pub(super) fn key(model: &WriteModel) -> DocumentKey {
    (model.collection().clone(), model.id().to_owned())
}

/// What a waiting effect keeps in memory: its record, and about as much in its model.
fn kept_bytes(effect: &Effect) -> usize {
    effect.event.record_bytes().saturating_mul(2)
}

impl Waiting {
    /// How many effects wait.
    pub(crate) fn len(&self) -> usize {
        self.effects
    }

    pub(crate) fn has_effects(&self) -> bool {
        self.effects > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// How many bytes the waiting effects keep in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something waits for the document.
    pub(crate) fn has(&self, model: &WriteModel) -> bool {
        !self.documents.is_empty() && self.documents.contains_key(&key(model))
    }

    /// Whether a document is held back.
    pub(crate) fn is_holding(&self) -> bool {
        self.documents.values().any(|document| !document.is_free())
    }

    /// Lets an effect wait behind those of its document, which is tried again when the last of them is due.
    pub(crate) fn park(&mut self, effect: Effect, due: Instant) {
        effect.event.detach_record();
        self.effects = self.effects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(kept_bytes(&effect));
        let document = self.documents.entry(key(&effect.model)).or_insert_with(|| WaitingDocument::due_at(due));
        document.due = document.due.max(due);
        document.effects.push(effect);
    }

    /// Lets effects of a write wait ahead of what came for their documents meanwhile.
    pub(crate) fn park_ahead(&mut self, effects: Vec<(Effect, Instant)>) {
        let mut behind: HashMap<DocumentKey, Vec<Effect>> = HashMap::new();
        for (effect, due) in effects {
            let later = |document: &mut WaitingDocument| std::mem::take(&mut document.effects);
            behind
                .entry(key(&effect.model))
                .or_insert_with_key(|key| self.documents.get_mut(key).map(later).unwrap_or_default());
            self.park(effect, due);
        }
        for (key, later) in behind {
            if let Some(document) = self.documents.get_mut(&key) {
                document.effects.extend(later);
            }
        }
    }

    /// Holds a document back until the dead letter of `event` is safe.
    pub(crate) fn hold(&mut self, document: DocumentKey, event: Arc<InFlight>, now: Instant) {
        self.documents.entry(document).or_insert_with(|| WaitingDocument::due_at(now)).held_by.push(event);
    }

    /// Frees the documents that were held back for these events alone.
    pub(crate) fn release(&mut self, events: &[Arc<InFlight>]) {
        let safe: HashSet<*const InFlight> = events.iter().map(Arc::as_ptr).collect();
        for document in self.documents.values_mut() {
            document.held_by.retain(|event| !safe.contains(&Arc::as_ptr(event)));
        }
        self.forget_idle();
    }

    /// Takes what is to be tried now, and lets the new effects of waiting documents wait behind the others.
    ///
    /// A document is tried once it is due, or once one of the `effects` creates it, unless one of its effects is `held`
    /// back; of these only the `probes` are tried. What is held back of a document that `is_busy` is given back, to stand
    /// behind what is being written. `waits` hears of what is not tried.
    pub(crate) fn admit(
        &mut self,
        effects: Vec<Effect>,
        now: Instant,
        probes: Vec<DocumentKey>,
        held: Held<'_>,
        is_busy: impl Fn(&WriteModel) -> bool,
        mut waits: impl FnMut(&InFlight),
    ) -> Vec<Effect> {
        if self.documents.is_empty() && held.is_none() {
            return effects;
        }
        let is_held = |effect: &Effect| held.is_some_and(|held| held(effect));
        let is_ready = |document: &WaitingDocument| document.is_ready(held);
        let mut ready: HashSet<DocumentKey> = probes.into_iter().collect();
        let due = self.documents.iter().filter(|(_, document)| document.due <= now && is_ready(document));
        ready.extend(due.map(|(key, _)| key.clone()));
        for effect in effects.iter().filter(|effect| matches!(effect.model, WriteModel::Create(_)) && !is_held(effect))
        {
            let key = key(&effect.model);
            if self.documents.get(&key).is_some_and(is_ready) {
                ready.insert(key);
            }
        }
        let mut admitted = Vec::with_capacity(effects.len());
        for key in ready {
            if let Some(document) = self.documents.remove(&key) {
                self.effects = self.effects.saturating_sub(document.effects.len());
                self.bytes =
                    document.effects.iter().fold(self.bytes, |sum, effect| sum.saturating_sub(kept_bytes(effect)));
                admitted.extend(document.effects);
            }
        }
        for effect in effects {
            match self.documents.get_mut(&key(&effect.model)) {
                None if is_held(&effect) && !is_busy(&effect.model) => {
                    waits(&effect.event);
                    self.park(effect, now);
                }
                Some(document) => {
                    waits(&effect.event);
                    effect.event.detach_record();
                    self.effects = self.effects.saturating_add(1);
                    self.bytes = self.bytes.saturating_add(kept_bytes(&effect));
                    document.effects.push(effect);
                }
                None => admitted.push(effect),
            }
        }
        admitted
    }

    /// Takes effects out, in their order.
    pub(crate) fn extract(&mut self, is_wanted: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        let mut extracted = Vec::new();
        for document in self.documents.values_mut() {
            extracted.extend(document.effects.extract_if(.., |effect| is_wanted(effect)));
        }
        extracted.sort_by_key(|effect| effect.event.position.order);
        self.forget_idle();
        self.recount();
        extracted
    }

    /// When the next document is due that has no effect which is `held` back.
    pub(crate) fn next_due(&self, held: Held<'_>) -> Option<Instant> {
        self.documents.values().filter(|document| document.is_ready(held)).map(|document| document.due).min()
    }

    /// The document to be tried of those with an effect that is held back: one that was tried least.
    pub(crate) fn probe(&self, held: impl Fn(&Effect) -> bool) -> Option<DocumentKey> {
        let tried = |document: &WaitingDocument| {
            let effects = document.effects.iter().filter(|effect| held(effect));
            effects.map(|effect| (effect.attempts, effect.event.position.offset)).min()
        };
        let free = self.documents.iter().filter(|(_, document)| document.is_free());
        let tried = free.filter_map(|(key, document)| Some((tried(document)?, key)));
        tried.min_by_key(|(tried, _)| *tried).map(|(_, key)| key.clone())
    }

    /// Forgets events, such as those of a partition that somebody else reads now.
    pub(crate) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        for document in self.documents.values_mut() {
            document.effects.retain(|effect| keep(&effect.event));
            document.held_by.retain(|event| keep(event));
        }
        self.forget_idle();
        self.recount();
    }

    fn recount(&mut self) {
        let effects = || self.documents.values().flat_map(|document| &document.effects);
        (self.effects, self.bytes) = (effects().count(), effects().map(kept_bytes).sum());
    }

    fn forget_idle(&mut self) {
        self.documents.retain(|_, document| !document.effects.is_empty() || !document.is_free());
    }
}

/// The instant `delay` from `now`.
pub(crate) fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(offset: i64) -> Effect {
        Effect::of(offset, WriteModel::update("users", "1").set("email", "x").into())
    }

    fn offsets(effects: &[Effect]) -> Vec<i64> {
        effects.iter().map(|effect| effect.event.position.offset).collect()
    }

    #[test]
    fn what_stands_behind_a_failed_effect_does_not_shorten_its_delay() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let due = after(now, Duration::from_secs(5));
        waiting.park(update(1), due);
        waiting.park(update(2), now);
        assert_eq!((waiting.next_due(None), waiting.len()), (Some(due), 2));
        assert!(waiting.admit(vec![update(3)], now, Vec::new(), None, |_| false, |_| {}).is_empty());
        assert_eq!(offsets(&waiting.admit(vec![update(4)], due, Vec::new(), None, |_| false, |_| {})), [1, 2, 3, 4]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_document_is_held_back_until_the_dead_letters_of_its_events_are_safe() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let given_up = [Arc::new(InFlight::of(1)), Arc::new(InFlight::of(2))];
        for event in &given_up {
            waiting.hold(key(&update(1).model), Arc::clone(event), now);
        }
        waiting.park(update(3), now);
        let created = || Effect::of(4, WriteModel::create("users", "1", bson::doc! {}));
        assert!(waiting.admit(vec![created()], now, Vec::new(), None, |_| false, |_| {}).is_empty());
        assert_eq!((waiting.next_due(None), waiting.is_holding(), waiting.bytes() > 0), (None, true, true));
        waiting.release(&given_up[..1]);
        assert!(waiting.admit(Vec::new(), now, Vec::new(), None, |_| false, |_| {}).is_empty());
        waiting.release(&given_up[1..]);
        assert_eq!(waiting.next_due(None), Some(now));
        assert_eq!(offsets(&waiting.admit(Vec::new(), now, Vec::new(), None, |_| false, |_| {})), [3, 4]);
        assert_eq!((waiting.is_empty(), waiting.bytes()), (true, 0));
    }

    #[test]
    fn what_somebody_else_reads_now_holds_nothing_back() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.hold(key(&update(1).model), Arc::new(InFlight::of(1)), now);
        waiting.park(update(2), now);
        waiting.retain(|event| event.position.offset != 1);
        assert_eq!(offsets(&waiting.admit(Vec::new(), now, Vec::new(), None, |_| false, |_| {})), [2]);
        waiting.hold(key(&update(1).model), Arc::new(InFlight::of(1)), now);
        waiting.retain(|_| false);
        assert!(waiting.is_empty());
    }

    #[test]
    fn the_event_that_creates_a_document_frees_what_waits_for_it() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.park(update(2), after(now, Duration::from_secs(5)));
        let created = Effect::of(9, WriteModel::create("users", "1", bson::doc! {}));
        assert_eq!(offsets(&waiting.admit(vec![created], now, Vec::new(), None, |_| false, |_| {})), [2, 9]);
    }

    #[test]
    fn what_is_held_back_waits_without_being_tried_but_for_the_one_that_was_tried_least() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let about = |offset, id: &str| Effect::of(offset, WriteModel::update("users", id).set("email", "x").into());
        let tried = Effect { attempts: 2, ..about(1, "1") };
        waiting.park(tried, now);
        assert!(
            waiting
                .admit(vec![about(2, "2"), about(3, "1")], now, Vec::new(), Some(&|_| true), |_| false, |_| {})
                .is_empty()
        );
        assert_eq!((waiting.len(), waiting.next_due(Some(&|_| true))), (3, None));
        let probe = waiting.probe(|_| true);
        assert_eq!(probe, Some(key(&about(2, "2").model)));
        let admitted = waiting.admit(Vec::new(), now, probe.into_iter().collect(), Some(&|_| true), |_| false, |_| {});
        assert_eq!((offsets(&admitted), waiting.len()), (vec![2], 2));
        assert_eq!(offsets(&waiting.admit(Vec::new(), now, Vec::new(), None, |_| false, |_| {})), [1, 3]);
    }

    #[test]
    fn what_a_write_leaves_to_wait_stands_ahead_of_what_came_meanwhile() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let update = |offset, id: &str| Effect::of(offset, WriteModel::update("users", id).set("email", "x").into());
        // The breaker has opened while another effect on the first document was being written.
        let new = vec![update(3, "1"), update(4, "2"), update(5, "1")];
        let busy = |model: &WriteModel| model.id() == "2";
        assert_eq!(offsets(&waiting.admit(new, now, Vec::new(), Some(&|_| true), busy, |_| {})), [4]);
        waiting.park_ahead(vec![(update(1, "1"), now), (update(2, "1"), now), (update(6, "3"), now)]);
        assert_eq!(waiting.len(), 5);
        let mut admitted = offsets(&waiting.admit(vec![update(7, "1")], now, Vec::new(), None, |_| false, |_| {}));
        admitted.retain(|offset| *offset != 6);
        assert_eq!(admitted, [1, 2, 3, 5, 7]);
    }
}
