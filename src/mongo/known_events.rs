//! What is remembered of events: whether they are claimed, by which record, and what of them failed.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use uuid::Uuid;

use super::claims::{CLAIMS, EVERY_HANDLER, bytes_of, handler_names};
use super::client_error;
use super::pins::uuid;
use crate::error::Result;

/// Events asked for at once.
const CHUNK: usize = 1_000;

/// An event that was claimed and is not forgotten yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownEvent {
    /// The record that applies it.
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Handlers whose failure is safe in a dead letter.
    failed: Vec<String>,
}

impl KnownEvent {
    /// Whether the handler's failure still stands; without a name, whether the event could be given to none.
    pub(crate) fn has_failed(&self, handler: Option<&str>) -> bool {
        let handler = handler.unwrap_or(EVERY_HANDLER);
        self.failed.iter().any(|name| name == handler || name == EVERY_HANDLER)
    }

    /// The handlers that have failed.
    pub(crate) fn failed(&self) -> &[String] {
        &self.failed
    }

    #[cfg(test)]
    pub(crate) fn with_failed(failed: &[&str]) -> Self {
        Self { failed: failed.iter().map(|name| (*name).to_owned()).collect(), ..Self::default() }
    }
}

/// What is remembered of these events; those that are not known are left out.
pub(crate) async fn known_events(database: &Database, event_ids: &[Uuid]) -> Result<HashMap<Uuid, KnownEvent>> {
    let failed = |error| client_error("reading what is remembered of events", database.name(), error);
    let claims = database.collection::<Document>(CLAIMS);
    let mut known = HashMap::with_capacity(event_ids.len());
    for chunk in event_ids.chunks(CHUNK) {
        let ids: Vec<Bson> = chunk.iter().map(|event_id| Bson::from(uuid(*event_id))).collect();
        let mut found = claims.find(doc! { "_id": { "$in": ids } }).await.map_err(failed)?;
        while let Some(claim) = found.try_next().await.map_err(failed)? {
            let Some(event_id) = bytes_of(&claim, "_id").and_then(|bytes| Uuid::from_slice(bytes).ok()) else {
                continue;
            };
            let event = KnownEvent {
                partition: claim.get_i32("p").unwrap_or_default(),
                offset: claim.get_i64("o").unwrap_or_default(),
                failed: handler_names(&claim, "failed"),
            };
            known.insert(event_id, event);
        }
    }
    Ok(known)
}
