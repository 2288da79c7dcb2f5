//! Creating documents while their events are claimed, which saves a small batch a round trip.
//!
//! A create needs no claim: its id is its guard, and whichever of two events comes first stays. What cannot be
//! created here, for whatever reason, is tried again among the other effects and judged there.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::RawDocumentBuf;
use futures_util::future::try_join_all;

use super::collection::insert_command;
use super::prepare::PreparedEvent;
use crate::error::{ErrorKind, Result};
use crate::mongo::{Collection, Create, Durability, Store, WriteModel};

/// The documents that the events of a batch create, by collection.
#[derive(Debug, Default)]
pub(super) struct EarlyCreates(Vec<Insert>);

#[derive(Debug)]
struct Insert {
    collection: Collection,
    command: RawDocumentBuf,
    ids: Vec<String>,
}

/// The documents that exist now, with the election term in which that was answered.
#[derive(Debug, Default)]
pub(super) struct Created(HashMap<(Collection, String), i64>);

impl EarlyCreates {
    /// Writes one command for each collection; what changes wait for is created among them.
    pub(super) fn of(store: &Store, events: &[PreparedEvent], waits: impl Fn(&WriteModel) -> bool) -> Self {
        let mut by_collection: BTreeMap<&Collection, Vec<&Create>> = BTreeMap::new();
        let mut made: HashSet<(&Collection, &str)> = HashSet::new();
        for PreparedEvent { event, parts, .. } in events {
            // Whether a replay has anything to create depends on its claim, and whether one of a handler that parks comes
            // behind a dead letter is known after the claim.
            let early = parts.iter().filter(|(handler, _)| !event.position.is_replay && !handler.parks());
            for model in early.flat_map(|(_, models)| models) {
                if let WriteModel::Create(create) = model
                    && !made.contains(&(&create.collection, create.id.as_str()))
                    && !waits(model)
                {
                    by_collection.entry(&create.collection).or_default().push(create);
                }
            }
            let makers = parts.iter().flat_map(|(_, models)| models).filter(|model| model.makes_document());
            made.extend(makers.map(|model| (model.collection(), model.id())));
        }
        Self(
            by_collection
                .into_iter()
                .filter_map(|(collection, creates)| Insert::new(store, collection, &creates))
                .collect(),
        )
    }

    /// Inserts them, on the primary alone.
    pub(super) async fn insert(self, store: &Store) -> Result<Created> {
        let inserted = try_join_all(self.0.into_iter().map(|insert| insert.run(store))).await?;
        Ok(Created(inserted.into_iter().flatten().collect()))
    }
}

impl Insert {
    fn new(store: &Store, collection: &Collection, creates: &[&Create]) -> Option<Self> {
        // What one command does not take is created among the other effects.
        let (command, count) = insert_command(store, collection, Durability::Primary, creates.iter().copied());
        let ids = creates.iter().take(count).map(|create| create.id.clone()).collect();
        Some(Self { collection: collection.clone(), command: command.ok()?, ids })
    }

    async fn run(self, store: &Store) -> Result<Vec<((Collection, String), i64)>> {
        let reply = match store.write(&self.command).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::Data => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let Some(term) = reply.term else { return Ok(Vec::new()) };
        let refusals = reply.write_errors.iter().filter(|error| !error.is_taken_id());
        let refused: HashSet<String> = refusals.filter_map(|error| self.ids.get(error.index).cloned()).collect();
        let created = self.ids.into_iter().filter(|id| !refused.contains(id));
        Ok(created.map(|id| ((self.collection.clone(), id), term)).collect())
    }
}

impl Created {
    /// The term of the document that the model creates; `None` if it was not created here.
    pub(super) fn term_of(&self, model: &WriteModel) -> Option<i64> {
        match model {
            WriteModel::Create(create) if !self.0.is_empty() => {
                self.0.get(&(create.collection.clone(), create.id.clone())).copied()
            }
            _ => None,
        }
    }
}
