//! Effects that wait for their document, each behind those of the same document that came before it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::in_flight::Effect;
use crate::mongo::WriteModel;

/// Effects by the document they wait for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    documents: HashMap<DocumentKey, WaitingDocument>,
    effects: usize,
}

/// Collection and id.
pub(crate) type DocumentKey = (&'static str, String);

#[derive(Debug)]
struct WaitingDocument {
    effects: Vec<Effect>,
    due: Instant,
}

fn key(model: &WriteModel) -> DocumentKey {
    (model.collection(), model.id().to_owned())
}

impl Waiting {
    /// How many effects wait.
    pub(crate) fn len(&self) -> usize {
        self.effects
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Lets an effect wait behind those of its document, which is tried again when the last of them is due.
    pub(crate) fn park(&mut self, effect: Effect, due: Instant) {
        effect.event.detach_record();
        self.effects = self.effects.saturating_add(1);
        let new = || WaitingDocument { effects: Vec::new(), due };
        let document = self.documents.entry(key(&effect.model)).or_insert_with(new);
        document.due = document.due.max(due);
        document.effects.push(effect);
    }

    /// Takes what is to be tried now, and lets the new effects of waiting documents wait behind the others.
    ///
    /// A document is tried once it is due, or once one of the `effects` creates it.
    pub(crate) fn admit(&mut self, effects: Vec<Effect>, now: Instant) -> Vec<Effect> {
        if self.documents.is_empty() {
            return effects;
        }
        let mut ready: Vec<DocumentKey> =
            self.documents.iter().filter(|(_, document)| document.due <= now).map(|(key, _)| key.clone()).collect();
        for effect in effects.iter().filter(|effect| matches!(effect.model, WriteModel::Create(_))) {
            let key = key(&effect.model);
            if self.documents.contains_key(&key) && !ready.contains(&key) {
                ready.push(key);
            }
        }
        let mut admitted = Vec::with_capacity(effects.len());
        for key in ready {
            if let Some(document) = self.documents.remove(&key) {
                self.effects = self.effects.saturating_sub(document.effects.len());
                admitted.extend(document.effects);
            }
        }
        for effect in effects {
            match self.documents.get_mut(&key(&effect.model)) {
                Some(document) => {
                    effect.event.detach_record();
                    self.effects = self.effects.saturating_add(1);
                    document.effects.push(effect);
                }
                None => admitted.push(effect),
            }
        }
        admitted
    }

    /// When the next document is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.documents.values().map(|document| document.due).min()
    }

    /// Forgets effects, such as those of a partition that somebody else reads now.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Effect) -> bool) {
        for document in self.documents.values_mut() {
            document.effects.retain(&keep);
        }
        self.documents.retain(|_, document| !document.effects.is_empty());
        self.effects = self.documents.values().map(|document| document.effects.len()).sum();
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
        assert_eq!((waiting.next_due(), waiting.len()), (Some(due), 2));
        assert!(waiting.admit(vec![update(3)], now).is_empty());
        assert_eq!(offsets(&waiting.admit(vec![update(4)], due)), [1, 2, 3, 4]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn the_event_that_creates_a_document_frees_what_waits_for_it() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.park(update(2), after(now, Duration::from_secs(5)));
        let created = Effect::of(9, WriteModel::create("users", "1", bson::doc! {}));
        assert_eq!(offsets(&waiting.admit(vec![created], now)), [2, 9]);
    }
}
