//! Comparing the new collection with the old one, while both change.
//!
//! What differs at one look may only be ahead on one side. It is looked at again, and what counts is the last look, at
//! which both hold the same events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use tokio_util::sync::CancellationToken;

use super::differences::differences;
use super::topics::stopped;
use crate::error::Result;
use crate::mongo::client_error;
use crate::verify::Documents;

/// Documents of each kind that are looked at again.
const AGAIN_MAX: usize = 5_000;
/// Ids of one question.
const CHUNK: usize = 500;

/// The two collections.
pub(super) struct Pair<'a> {
    pub(super) database: &'a Database,
    pub(super) live: &'a str,
    pub(super) shadow: &'a str,
}

/// What differs.
#[derive(Debug, Clone, Default)]
pub(super) struct Differences {
    /// Documents that were compared.
    pub(super) compared: u64,
    /// By id, the paths that differ.
    pub(super) changed: BTreeMap<String, Vec<String>>,
    /// Ids that only the old collection has.
    pub(super) removed: BTreeSet<String>,
    /// Ids that only the new collection has.
    pub(super) added: BTreeSet<String>,
    /// Documents that differed at the first look beyond those that are looked at again.
    pub(super) beyond: u64,
    /// Documents of the old collection that evp cannot have made: their ids are no texts.
    pub(super) foreign: u64,
}

impl Differences {
    fn note(&mut self, id: &str, old: Option<&Document>, new: Option<&Document>) {
        let is_full = |len: usize| len >= AGAIN_MAX;
        let is_noted = match (old, new) {
            (Some(old), Some(new)) => {
                let paths = differences(old, new);
                let takes = !is_full(self.changed.len());
                if !paths.is_empty() && takes {
                    self.changed.insert(id.to_owned(), paths.clone());
                }
                paths.is_empty() || takes
            }
            (Some(_), None) => !is_full(self.removed.len()) && self.removed.insert(id.to_owned()),
            (None, Some(_)) => !is_full(self.added.len()) && self.added.insert(id.to_owned()),
            (None, None) => true,
        };
        if !is_noted {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Whether nothing differs.
    pub(super) fn is_none(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && self.added.is_empty()
    }

    /// Documents that readers would miss.
    pub(super) fn missing(&self) -> u64 {
        u64::try_from(self.removed.len()).unwrap_or(u64::MAX).saturating_add(self.foreign)
    }

    /// Looks at what differed once more.
    pub(super) async fn look_again(&mut self, pair: &Pair<'_>) -> Result<()> {
        let ids: Vec<String> = self
            .changed
            .keys()
            .chain(&self.removed)
            .chain(&self.added)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let again = compare_ids(pair, &ids).await?;
        (self.changed, self.removed, self.added) = (again.changed, again.removed, again.added);
        Ok(())
    }
}

/// Compares all documents.
pub(super) async fn compare_all(pair: &Pair<'_>, token: &CancellationToken, tell: impl Fn(u64)) -> Result<Differences> {
    let mut found = Differences::default();
    let mut old = Documents::open(pair.database, pair.live).await?;
    let mut new = Documents::open(pair.database, pair.shadow).await?;
    while let Some(id) = old.peek().into_iter().chain(new.peek()).min().map(str::to_owned) {
        if token.is_cancelled() {
            return Err(stopped());
        }
        let (old, new) = (old.take(&id).await?, new.take(&id).await?);
        found.compared = found.compared.saturating_add(1);
        found.note(&id, old.as_ref(), new.as_ref());
        tell(found.compared);
    }
    found.foreign = old.nameless().await?;
    Ok(found)
}

/// Compares some documents, chosen at random.
pub(super) async fn compare_some(pair: &Pair<'_>, count: u32) -> Result<Differences> {
    let failed = |error| client_error("choosing documents", pair.database.name(), error);
    let pipeline = [doc! { "$sample": { "size": count } }, doc! { "$project": { "_id": 1 } }];
    let chosen = pair.database.collection::<Document>(pair.live).aggregate(pipeline).await.map_err(failed)?;
    let chosen: Vec<Document> = chosen.try_collect().await.map_err(failed)?;
    let ids: BTreeSet<String> =
        chosen.iter().filter_map(|found| found.get_str("_id").ok().map(str::to_owned)).collect();
    compare_ids(pair, &ids.into_iter().collect::<Vec<_>>()).await
}

async fn compare_ids(pair: &Pair<'_>, ids: &[String]) -> Result<Differences> {
    let mut found = Differences::default();
    for chunk in ids.chunks(CHUNK) {
        let (old, new) =
            tokio::try_join!(by_id(pair.database, pair.live, chunk), by_id(pair.database, pair.shadow, chunk))?;
        for id in chunk {
            found.compared = found.compared.saturating_add(1);
            found.note(id, old.get(id), new.get(id));
        }
    }
    Ok(found)
}

async fn by_id(database: &Database, collection: &str, ids: &[String]) -> Result<HashMap<String, Document>> {
    let failed = |error| client_error("comparing documents", database.name(), error);
    let filter = doc! { "_id": { "$in": ids.iter().map(Bson::from).collect::<Vec<_>>() } };
    let found = database.collection::<Document>(collection).find(filter).projection(doc! { "_evp": 0 }).await;
    let found: Vec<Document> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
    Ok(found.into_iter().filter_map(|document| Some((document.get_str("_id").ok()?.to_owned(), document))).collect())
}

/// The numbers of the topics whose effects are in a collection.
pub(super) async fn sources_of(database: &Database, collection: &str) -> Result<BTreeSet<i32>> {
    let failed = |error| client_error("looking which topics a collection is made of", database.name(), error);
    let pipeline = [
        doc! { "$project": { "wm": { "$objectToArray": "$_evp.wm" } } },
        doc! { "$unwind": "$wm" },
        doc! { "$group": { "_id": { "$arrayElemAt": [{ "$split": ["$wm.k", "p"] }, 0] } } },
    ];
    let found = database.collection::<Document>(collection).aggregate(pipeline).allow_disk_use(true).await;
    let found: Vec<Document> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
    Ok(found.iter().filter_map(|found| found.get_str("_id").ok()?.parse().ok()).collect())
}
