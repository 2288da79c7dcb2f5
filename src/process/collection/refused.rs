//! What follows where a statement is refused, and where a document takes no more.

use std::collections::HashMap;

use super::{CollectionWork, Outcome, Statement};
use crate::error::{Error, Result};
use crate::mongo::{Durability, WriteError, document_full};

/// Why a statement is not applied.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) is_full: bool,
}

impl Refusal {
    pub(super) fn of(error: &WriteError) -> Self {
        Self { error: error.to_error(), is_full: error.is_too_large() }
    }

    fn outcome(&self) -> Outcome {
        let error = Error::new(self.error.kind(), self.error.message());
        if self.is_full { Outcome::Full(error) } else { Outcome::Failed(error) }
    }
}

impl<'a> CollectionWork<'a> {
    /// Gives up what would add to documents that are full, without another attempt; what stands behind it waits.
    pub(super) fn leave_full(&mut self, indexes: Vec<usize>) -> Vec<usize> {
        let mut full: HashMap<&str, bool> = HashMap::new();
        let mut rest = Vec::with_capacity(indexes.len());
        for index in indexes {
            let Some(model) = self.model(index) else { continue };
            let is_deferring = full.get(model.id()).copied();
            if is_deferring != Some(true) && model.grows() && self.store.sizes.is_full(model) {
                full.insert(model.id(), false);
                self.outcomes.push((index, Outcome::Full(document_full())));
            } else if is_deferring.is_some() {
                full.insert(model.id(), true);
                self.outcomes.push((index, Outcome::Deferred));
            } else {
                rest.push(index);
            }
        }
        rest
    }

    /// A statement was refused: apply its effects one at a time up to the one that is to blame.
    pub(super) async fn one_by_one(&mut self, statements: Vec<Statement<'a>>, refusal: &Refusal) -> Result<()> {
        if let [statement] = statements.as_slice()
            && let Some((indexes, [])) = self.split_event(&statement.indexes)
        {
            if refusal.is_full {
                indexes
                    .iter()
                    .filter_map(|index| self.model(*index))
                    .for_each(|model| self.store.sizes.is_full_now(model));
            }
            self.outcomes.extend(indexes.iter().map(|index| (*index, refusal.outcome())));
            return Ok(());
        }
        for statement in statements {
            let mut rest = statement.indexes.as_slice();
            while let Some((event, later)) = self.split_event(rest) {
                Box::pin(self.change(self.fold(event), Durability::Majority)).await?;
                rest = later;
                if !matches!(self.outcomes.last(), Some((_, Outcome::Applied))) {
                    break;
                }
            }
            let rest = self.leave_full(rest.to_vec());
            self.outcomes.extend(rest.iter().map(|index| (*index, Outcome::Deferred)));
        }
        Ok(())
    }

    /// The effects of the first event, and those of the later ones. The watermark counts events, so that the effects
    /// of one event on one document can only be applied together.
    fn split_event<'b>(&self, indexes: &'b [usize]) -> Option<(&'b [usize], &'b [usize])> {
        let offset = |index: &usize| self.effects.get(*index).map(|effect| effect.event.position.offset);
        let first = offset(indexes.first()?);
        let count = indexes.iter().take_while(|index| offset(index) == first).count();
        indexes.split_at_checked(count)
    }
}
