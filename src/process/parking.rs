//! The order of an aggregate's events among handlers that park: none is applied before the one before it is decided, and
//! behind a dead letter all that follow become dead letters, too, in order.
//!
//! A document has an order of its own, kept in `waiting`. This one spans the documents of an aggregate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::in_flight::{Effect, Failure, InFlight, Stage};
use super::waiting::{DocumentKey, key};
use crate::error::Error;
use crate::mongo::{EventOrder, FailedAt};

/// A dead letter that the later events of its aggregate stand behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParkedAt {
    pub(crate) order: EventOrder,
    pub(crate) failed: FailedAt,
}

/// Aggregates with events on their way, and those with dead letters that MongoDB may not tell of yet.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lines: HashMap<Arc<str>, Line>,
    /// What may be written now.
    released: Vec<Effect>,
    letters: HashMap<Arc<str>, Vec<Letter>>,
    held: usize,
    /// How many batches were given to be claimed.
    batches: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// Events that are being applied, and the only document that they are about, unless it is one event.
    ahead: Vec<Arc<InFlight>>,
    document: Option<DocumentKey>,
    /// The effects of later events, in order.
    behind: VecDeque<Vec<Effect>>,
}

#[derive(Debug)]
struct Letter {
    at: ParkedAt,
    /// The number of the last batch that may have been claimed before MongoDB told of the letter.
    told_after: Option<u64>,
}

/// Why an event is not applied: it stands behind another.
pub(crate) fn parked_behind(handler: &str, failed: FailedAt) -> Failure {
    let FailedAt { event_id, partition, offset } = failed;
    let error = Error::data(format!(
        "parked behind event {event_id} of its aggregate, the dead letter of partition {partition}, offset {offset}; it can be \
         applied once that one is"
    ));
    Failure { handler: Some(handler.to_owned()), stage: Stage::Park, attempts: 0, error, document: None, parks: true }
}

impl Parking {
    /// A batch is about to be claimed; the letters that it may not learn of from MongoDB.
    pub(super) fn next_batch(&mut self) -> HashMap<Arc<str>, Vec<ParkedAt>> {
        self.batches = self.batches.saturating_add(1);
        let at = |letters: &Vec<Letter>| letters.iter().map(|letter| letter.at).collect();
        self.letters.iter().map(|(aggregate, letters)| (Arc::clone(aggregate), at(letters))).collect()
    }

    /// The last batch is claimed: whatever MongoDB told of when that began is known to all batches from now on.
    pub(super) fn batch_claimed(&mut self) {
        let current = self.batches;
        self.retain_letters(|letter| letter.told_after.is_none_or(|last| last >= current));
    }

    /// An event is a dead letter of handlers that park, or will be one.
    pub(super) fn failed(&mut self, event: &InFlight) {
        let Some((aggregate, at)) = parked_at(event) else { return };
        let letters = self.letters.entry(aggregate).or_default();
        if !letters.iter().any(|letter| letter.at == at) {
            letters.push(Letter { at, told_after: None });
        }
    }

    /// The dead letters of these events are safe, and MongoDB tells of them.
    pub(super) fn told(&mut self, events: &[Arc<InFlight>]) {
        let batches = self.batches;
        for at in events.iter().filter_map(|event| parked_at(event)).map(|(_, at)| at) {
            let letters = self.letters.values_mut().flatten();
            letters.filter(|letter| letter.at == at).for_each(|letter| letter.told_after = Some(batches));
        }
    }

    /// Records have taken over what dead letters of these events left undone.
    pub(super) fn taken_over(&mut self, events: &HashSet<Uuid>) {
        if !events.is_empty() {
            self.retain_letters(|letter| !events.contains(&letter.at.failed.event_id));
        }
    }

    fn retain_letters(&mut self, keep: impl Fn(&Letter) -> bool) {
        self.letters.values_mut().for_each(|letters| letters.retain(&keep));
        self.letters.retain(|_, letters| !letters.is_empty());
    }

    /// How many effects are held back.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// Whether effects may be written that were held back before.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Takes what may be written now of new effects and of those that were held back; the others wait here.
    ///
    /// Events that are now known to stand behind a dead letter have failed, and are given back if nothing else is left of them.
    pub(super) fn enter(
        &mut self,
        effects: Vec<Effect>,
        mut waits: impl FnMut(&InFlight),
    ) -> (Vec<Effect>, Vec<Arc<InFlight>>) {
        let mut given_up = Vec::new();
        let mut admitted = std::mem::take(&mut self.released);
        let mut effects = effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            let event = Arc::clone(&effect.event);
            let Some(aggregate) = event.ordered_aggregate.clone() else {
                admitted.push(effect);
                continue;
            };
            // The effects of one event stand together.
            let rest = std::iter::from_fn(|| effects.next_if(|next| Arc::ptr_eq(&next.event, &event)));
            let (group, others): (Vec<_>, Vec<_>) =
                std::iter::once(effect).chain(rest).partition(|effect| effect.handler.parks());
            admitted.extend(others);
            if group.is_empty() {
                continue;
            }
            if let Some(failed) = self.letter_before(&aggregate, &event) {
                fail(group, failed, &mut given_up);
                continue;
            }
            let count = group.len();
            match self.lines.entry(aggregate).or_default().enter(group) {
                Some(group) => admitted.extend(group),
                None => {
                    waits(&event);
                    event.detach_record();
                    self.held = self.held.saturating_add(count);
                }
            }
        }
        (admitted, given_up)
    }

    fn letter_before(&self, aggregate: &str, event: &InFlight) -> Option<FailedAt> {
        let letters = self.letters.get(aggregate)?;
        behind(letters.iter().map(|letter| &letter.at), event)
    }

    /// An event is decided, so that the next one of its aggregate may be written.
    pub(super) fn decided(&mut self, event: &InFlight) {
        let Some(aggregate) = &event.ordered_aggregate else { return };
        let Some(line) = self.lines.get_mut(aggregate) else { return };
        let released = line.leave(event);
        if line.ahead.is_empty() {
            self.lines.remove(aggregate);
        }
        self.held = self.held.saturating_sub(released.len());
        self.released.extend(released);
    }

    /// Takes the effects that stand behind an event that handlers which park have given up: they have failed, too. Events of
    /// which nothing else is left are given back.
    pub(super) fn fail_behind(&mut self, event: &InFlight, waiting: Vec<Effect>) -> Vec<Arc<InFlight>> {
        let mut given_up = Vec::new();
        let Some((aggregate, at)) = parked_at(event) else { return given_up };
        fail(waiting, at.failed, &mut given_up);
        let behind = self.lines.get_mut(&aggregate).map(|line| std::mem::take(&mut line.behind)).unwrap_or_default();
        for group in behind {
            self.held = self.held.saturating_sub(group.len());
            fail(group, at.failed, &mut given_up);
        }
        given_up
    }

    /// Forgets events, such as those of a partition that somebody else reads now; of `revoked` MongoDB tells the next reader.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool, revoked: &[i32]) {
        self.released.retain(|effect| keep(&effect.event));
        for line in self.lines.values_mut() {
            line.ahead.retain(|event| keep(event));
            line.behind.retain(|group| group.first().is_some_and(|effect| keep(&effect.event)));
            if line.ahead.is_empty() {
                self.released.extend(line.next());
            }
        }
        self.lines.retain(|_, line| !line.ahead.is_empty());
        self.retain_letters(|letter| !revoked.contains(&letter.at.failed.partition));
        self.held = self.lines.values().flat_map(|line| &line.behind).map(Vec::len).sum();
    }
}

impl Line {
    /// Lets the effects of an event pass, or holds them back.
    fn enter(&mut self, group: Vec<Effect>) -> Option<Vec<Effect>> {
        let document = only_document(&group);
        let is_same = document.is_some() && document == self.document;
        if self.behind.is_empty() && (self.ahead.is_empty() || is_same) {
            self.ahead.extend(group.first().map(|effect| Arc::clone(&effect.event)));
            self.document = document;
            return Some(group);
        }
        self.behind.push_back(group);
        None
    }

    fn leave(&mut self, event: &InFlight) -> Vec<Effect> {
        self.ahead.retain(|ahead| !std::ptr::eq(&raw const **ahead, event));
        if self.ahead.is_empty() { self.next() } else { Vec::new() }
    }

    /// The next event, and those about the same document that come directly behind it.
    fn next(&mut self) -> Vec<Effect> {
        let mut passed = Vec::new();
        let behind = std::mem::take(&mut self.behind);
        behind.into_iter().for_each(|group| passed.extend(self.enter(group).into_iter().flatten()));
        passed
    }
}

fn only_document(group: &[Effect]) -> Option<DocumentKey> {
    let first = key(&group.first()?.model);
    group.iter().all(|effect| key(&effect.model) == first).then_some(first)
}

/// The first of the dead letters that an event stands behind.
pub(super) fn behind<'a>(letters: impl Iterator<Item = &'a ParkedAt>, event: &InFlight) -> Option<FailedAt> {
    let is_other = |at: &&ParkedAt| event.claim.is_some_and(|claim| claim.event_id != at.failed.event_id);
    let before = letters.filter(is_other).filter(|at| at.order < event.position.order);
    before.min_by_key(|at| at.order).map(|at| at.failed)
}

/// The place of an event that failed in a handler that parks.
pub(super) fn parked_at(event: &InFlight) -> Option<(Arc<str>, ParkedAt)> {
    let (aggregate, claim) = (event.ordered_aggregate.clone().filter(|_| event.parks())?, event.claim?);
    let failed = FailedAt { event_id: claim.event_id, partition: claim.partition, offset: claim.offset };
    Some((aggregate, ParkedAt { order: event.position.order, failed }))
}

fn fail(group: Vec<Effect>, failed: FailedAt, given_up: &mut Vec<Arc<InFlight>>) {
    for effect in group {
        if effect.event.effect_failed(parked_behind(effect.handler.0.name(), failed)) {
            given_up.push(effect.event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::{Claim, TakesOver, WriteModel};
    use crate::process::handler::tests::Parks;
    use crate::process::in_flight::HandlerName;

    fn event(number: i64) -> Arc<InFlight> {
        let mut event = InFlight::of(number);
        let event_id = Uuid::from_u128(number.unsigned_abs().into());
        event.claim = Some(Claim { event_id, partition: 0, offset: number, takes_over: TakesOver::Always });
        event.ordered_aggregate = Some(Arc::from("aggregate"));
        Arc::new(event)
    }

    /// An effect of the event on a document, by a handler that parks.
    fn effect(event: &Arc<InFlight>, document: &str) -> Effect {
        event.set_open(1);
        let model = WriteModel::update("accounts", document).set("balance", 1).into();
        let handler = HandlerName(Arc::new(Parks), 0);
        Effect { event: Arc::clone(event), handler, ..Effect::of(event.position.offset, model) }
    }

    fn offsets<'a>(events: impl IntoIterator<Item = &'a Arc<InFlight>>) -> Vec<i64> {
        events.into_iter().map(|event| event.position.offset).collect()
    }

    fn entered(parking: &mut Parking, effects: Vec<Effect>) -> (Vec<i64>, Vec<i64>) {
        let (admitted, given_up) = parking.enter(effects, |_| {});
        (offsets(admitted.iter().map(|effect| &effect.event)), offsets(&given_up))
    }

    fn refuse(event: &InFlight) {
        event.effect_failed(Failure { parks: true, ..Failure::of_all(Stage::Apply, Error::data("refused")) });
    }

    #[test]
    fn events_about_one_document_go_together_and_others_one_after_the_other() {
        let mut parking = Parking::default();
        let events: Vec<_> = (1..=4).map(event).collect();
        let effects =
            ["x", "x", "y", "x"].iter().zip(&events).map(|(document, event)| effect(event, document)).collect();
        assert_eq!(entered(&mut parking, effects), (vec![1, 2], vec![]));
        parking.decided(&events[0]);
        assert_eq!((parking.len(), parking.has_released()), (2, false));
        parking.decided(&events[1]);
        assert_eq!(entered(&mut parking, Vec::new()), (vec![3], vec![]));
        parking.decided(&events[2]);
        assert_eq!(entered(&mut parking, Vec::new()), (vec![4], vec![]));
        parking.decided(&events[3]);
        assert!(parking.lines.is_empty() && parking.len() == 0);
    }

    #[test]
    fn what_stands_behind_a_dead_letter_becomes_one_in_order() {
        let mut parking = Parking::default();
        let events: Vec<_> = (1..=4).map(event).collect();
        entered(&mut parking, vec![effect(&events[0], "x"), effect(&events[1], "y")]);
        refuse(&events[0]);
        parking.failed(&events[0]);
        let behind = parking.fail_behind(&events[0], vec![effect(&events[2], "x")]);
        assert_eq!((offsets(&behind), parking.len()), (vec![3, 2], 0));
        assert!(behind.iter().all(|event| event.parks()));
        assert_eq!(entered(&mut parking, vec![effect(&events[3], "x")]), (vec![], vec![4]));
    }

    #[test]
    fn a_letter_is_remembered_until_every_batch_hears_of_it_from_mongodb() {
        let mut parking = Parking::default();
        let failed = event(1);
        refuse(&failed);
        parking.failed(&failed);
        parking.next_batch();
        parking.told(&[failed]);
        parking.batch_claimed();
        assert_eq!(entered(&mut parking, vec![effect(&event(2), "x")]), (vec![], vec![2]));
        assert_eq!(parking.next_batch().len(), 1);
        parking.batch_claimed();
        assert_eq!(entered(&mut parking, vec![effect(&event(3), "x")]), (vec![3], vec![]));
    }

    #[test]
    fn a_letter_that_was_taken_over_holds_nothing_back_and_earlier_events_never_stood_behind_it() {
        let mut parking = Parking::default();
        let failed = event(5);
        refuse(&failed);
        parking.failed(&failed);
        assert_eq!(entered(&mut parking, vec![effect(&event(4), "x")]), (vec![4], vec![]));
        parking.taken_over(&HashSet::from([Uuid::from_u128(5)]));
        assert_eq!(entered(&mut parking, vec![effect(&event(6), "x")]), (vec![6], vec![]));
    }
}
