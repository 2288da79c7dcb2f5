//! The first records of a topic that the group has never found an event in: if they all are of one foreign shape, the whole
//! topic would go to the dead letters, so they are held back until an event is found or it is told what they look like.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::prepare::Prepared;
use super::shape::Shape;
use super::waiting::after;
use crate::error::{Error, ErrorKind, Result};

/// So many records without an event among them decide.
const RECORDS_MAX: usize = 20;
/// Fewer than this are too few to say what the others are.
const ALIKE_MIN: usize = 3;
/// How long more records are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the first records were, until that is decided.
#[derive(Debug)]
pub(super) struct FirstRecords {
    is_decided: bool,
    shapes: Vec<Option<Shape>>,
    held: Vec<Arc<InFlight>>,
    due: Option<Instant>,
}

impl FirstRecords {
    /// `is_decided` if the records of the topic are to be taken as they are.
    pub(super) fn new(is_decided: bool) -> Self {
        Self { is_decided, shapes: Vec::new(), held: Vec::new(), due: None }
    }

    /// Whether records are held back.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Holds back the records of a batch that are no events, or gives back all once there is an event; true if there is.
    pub(super) fn judge(&mut self, prepared: &mut Prepared, now: Instant) -> Result<bool> {
        if self.is_decided {
            return Ok(false);
        }
        let has_event = !prepared.events.is_empty() || prepared.failed.iter().any(|event| !event.is_no_event());
        let held = std::mem::take(&mut prepared.failed);
        if has_event {
            self.is_decided = true;
            prepared.failed = std::mem::take(&mut self.held);
            prepared.failed.extend(held);
            return Ok(true);
        }
        if held.is_empty() {
            return Ok(false);
        }
        self.due = Some(after(now, PATIENCE));
        for event in held {
            event.detach_record();
            let kept = event.record();
            self.shapes
                .push(kept.chunk.record(kept.index).and_then(|record| Shape::of(record.value()?, &kept.columns)));
            self.held.push(event);
        }
        if self.shapes.len() >= RECORDS_MAX {
            prepared.failed = self.decide()?;
            self.is_decided = true;
        }
        Ok(false)
    }

    /// Gives back what was held for long enough, unless it is of one foreign shape.
    pub(super) fn take_due(&mut self, now: Instant) -> Result<Vec<Arc<InFlight>>> {
        if self.due.is_some_and(|due| due <= now) { self.decide() } else { Ok(Vec::new()) }
    }

    /// Gives back what is held, because no more records come, unless it is of one foreign shape.
    pub(super) fn decide(&mut self) -> Result<Vec<Arc<InFlight>>> {
        self.due = None;
        if let Some(Some(first)) = self.shapes.first()
            && self.shapes.len() >= ALIKE_MIN
            && self.shapes.iter().all(|shape| *shape == Some(*first))
        {
            let (count, sentence) = (self.shapes.len(), first.sentence());
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the first {count} records of the topic are no events of the outbox. They look like {sentence}. Nothing \
                     was applied or set aside; --accept-shape makes a dead letter of each such record and goes on"
                ),
            ));
        }
        Ok(std::mem::take(&mut self.held))
    }

    /// Forgets records, such as those of a partition that somebody else reads now.
    pub(super) fn retain(&mut self, keep: impl Fn(&InFlight) -> bool) {
        self.held.retain(|event| keep(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::chunk::Chunk;
    use crate::kafka::offsets::Assignment;
    use crate::mongo::Position;
    use crate::process::in_flight::{Failure, KeptRecord, Stage};

    const TEXT: &[u8] = b"text";

    fn failed(stage: Stage, value: &[u8]) -> Arc<InFlight> {
        let chunk = Arc::new(Chunk::of(&[(0, 1, value)]));
        let record = KeptRecord { chunk, index: 0, columns: Arc::default() };
        let position = Position { offset: 1, order: crate::mongo::EventOrder::Sequence(0), is_replay: false };
        let event = InFlight::new(0, Assignment::default(), position, record);
        event.fail(Failure::of_all(stage, Error::data("refused")));
        Arc::new(event)
    }

    fn batch(values: &[&[u8]]) -> Prepared {
        let failed = values.iter().map(|value| failed(Stage::Parse, value)).collect();
        Prepared { failed, records: values.len(), ..Prepared::default() }
    }

    #[test]
    fn a_topic_of_one_foreign_shape_is_refused_with_what_it_looks_like() {
        let (mut first, now) = (FirstRecords::new(false), Instant::now());
        let mut prepared = batch(&[TEXT; RECORDS_MAX - 1]);
        assert!(!first.judge(&mut prepared, now).unwrap());
        assert!(prepared.failed.is_empty() && first.is_holding());
        let error = first.judge(&mut batch(&[TEXT]), now).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("--accept-shape"), "{error}");
    }

    #[test]
    fn one_event_gives_everything_back_and_ends_the_doubt() {
        let (mut first, now) = (FirstRecords::new(false), Instant::now());
        first.judge(&mut batch(&[TEXT; 3]), now).unwrap();
        let mut prepared = batch(&[TEXT]);
        prepared.failed.push(failed(Stage::Handle, b"an event that its handler refuses"));
        assert!(first.judge(&mut prepared, now).unwrap());
        assert_eq!(prepared.failed.len(), 5);
        let mut later = batch(&[TEXT; 50]);
        assert!(!first.judge(&mut later, now).unwrap());
        assert_eq!(later.failed.len(), 50);
    }

    #[test]
    fn few_or_different_records_become_dead_letters_after_a_while() {
        let (mut first, now) = (FirstRecords::new(false), Instant::now());
        first.judge(&mut batch(&[TEXT; 2]), now).unwrap();
        assert!(first.take_due(now).unwrap().is_empty());
        let later = after(now, PATIENCE);
        assert_eq!(first.take_due(later).unwrap().len(), 2);
        first.judge(&mut batch(&[TEXT]), later).unwrap();
        assert!(first.take_due(after(later, PATIENCE)).is_err(), "the third of the same shape decides");
        let mut first = FirstRecords::new(false);
        let mut prepared = batch(&[TEXT; RECORDS_MAX - 1]);
        prepared.failed.push(failed(Stage::Parse, b"{"));
        first.judge(&mut prepared, now).unwrap();
        assert_eq!(prepared.failed.len(), RECORDS_MAX);
    }

    #[test]
    fn a_topic_that_is_known_or_accepted_is_not_judged() {
        let mut prepared = batch(&[TEXT; RECORDS_MAX]);
        FirstRecords::new(true).judge(&mut prepared, Instant::now()).unwrap();
        assert_eq!(prepared.failed.len(), RECORDS_MAX);
    }
}
