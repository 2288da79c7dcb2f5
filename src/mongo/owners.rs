//! What claims say of events: which of their records have applied them, and by which handlers.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use uuid::Uuid;

use super::claims::{CLAIMS, bytes_of, handler_names};
use super::order::EventOrder;
use super::pins::uuid;
use super::store::Store;
use crate::error::Result;

/// A record whose event it was to apply, and how far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Stands for the topic.
    pub(crate) source: i32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The handlers that it was for; empty for all.
    pub(crate) only: Vec<String>,
    /// Those of them that failed.
    pub(crate) failed: Vec<String>,
}

/// What is known of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// In the order in which they had the event; what is noted of earlier ones begins with this version of evp.
    pub(crate) owners: Vec<Owner>,
    /// Where the event has its place, if one of them failed.
    pub(crate) order: Option<EventOrder>,
}

/// What claims say of these events; those that were never claimed, or whose claim has expired, are left out.
pub(crate) async fn ownerships(store: &Store, event_ids: &[Uuid]) -> Result<HashMap<Uuid, Ownership>> {
    if event_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Bson> = event_ids.iter().map(|event_id| Bson::from(uuid(*event_id))).collect();
    let found = store.find(CLAIMS, doc! { "_id": { "$in": ids } }, doc! {}).await?;
    Ok(found
        .iter()
        .filter_map(|claim| Some((Uuid::from_slice(bytes_of(claim, "_id")?).ok()?, ownership(claim)?)))
        .collect())
}

fn ownership(claim: &Document) -> Option<Ownership> {
    let past = claim.get_array("past").into_iter().flatten().filter_map(Bson::as_document);
    let owners = past.filter_map(owner).chain([owner(claim)?]).collect();
    Some(Ownership { owners, order: claim.get("order").and_then(EventOrder::from_bson) })
}

fn owner(noted: &Document) -> Option<Owner> {
    Some(Owner {
        source: noted.get_i32("s").ok()?,
        partition: noted.get_i32("p").ok()?,
        offset: noted.get_i64("o").ok()?,
        only: handler_names(noted, "only"),
        failed: handler_names(noted, "failed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_owners_come_first() {
        let past = doc! { "s": 1, "p": 0, "o": 3_i64, "failed": ["a"] };
        let claim = doc! { "s": 1, "p": 2, "o": 9_i64, "only": ["a"], "past": [past] };
        let owners = ownership(&claim).unwrap().owners;
        let first = Owner { source: 1, partition: 0, offset: 3, only: Vec::new(), failed: vec!["a".to_owned()] };
        let second = Owner { source: 1, partition: 2, offset: 9, only: vec!["a".to_owned()], failed: Vec::new() };
        assert_eq!(owners, [first, second]);
    }
}
