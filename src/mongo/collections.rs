//! The collections and indexes that evp needs, created where they are missing.

use std::collections::HashSet;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};

use super::claims::CLAIMS;
use super::client_error;
use super::path::Collection;
use super::sources::SOURCES;
use crate::error::Result;

/// How long a claim on an event id is kept unless `evp process` is told otherwise. A repetition that arrives later is no
/// longer recognised.
const CLAIM_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a deleted document is remembered, so that nothing makes it again.
const DELETION_LIFETIME: Duration = CLAIM_LIFETIME;

/// A collection that handlers write, with its indexes; `evp init` makes what is missing of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionSpec {
    collection: Collection,
    indexes: Vec<Index>,
}

impl CollectionSpec {
    /// A collection without indexes but that of `_id`.
    pub fn new(collection: impl Into<Collection>) -> Self {
        Self { collection: collection.into(), indexes: Vec::new() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Collection {
        &self.collection
    }

    /// Whether it is that collection.
    pub(crate) fn is_of(&self, collection: &Collection) -> bool {
        self.collection == *collection
    }

    /// With an index on these keys, such as `doc! { "email": 1 }`.
    #[must_use]
    pub fn index(self, name: impl Into<String>, keys: Document) -> Self {
        self.with(Index { keys, ..Index::named(name) })
    }

    /// With an index that passes over documents without the field.
    #[must_use]
    pub fn sparse_index(self, name: impl Into<String>, keys: Document) -> Self {
        self.with(Index { keys, is_sparse: true, ..Index::named(name) })
    }

    /// With an index that takes a key once. An event that breaks it is a dead letter.
    #[must_use]
    pub fn unique_index(self, name: impl Into<String>, keys: Document) -> Self {
        self.with(Index { keys, is_unique: true, ..Index::named(name) })
    }

    /// Whether one document of it can be in the way of another.
    pub(crate) fn has_unique_index(&self) -> bool {
        self.indexes.iter().any(|index| index.is_unique)
    }

    /// Lets MongoDB remove what is left of deleted documents after 30 days. Events that are older than the deletion, and
    /// come later than that, would make the document again.
    #[must_use]
    pub fn forget_deleted(self) -> Self {
        let keys = doc! { "_evp.d": 1 };
        self.with(Index { keys, expire_after: Some(DELETION_LIFETIME), ..Index::named("evp_deleted") })
    }

    fn with(mut self, index: Index) -> Self {
        self.indexes.push(index);
        self
    }

    /// Several as one each collection.
    pub(crate) fn merged(specs: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for spec in specs {
            match merged.iter_mut().find(|known| known.collection == spec.collection) {
                Some(known) => {
                    let new = spec.indexes.into_iter().filter(|index| !known.indexes.contains(index));
                    let new: Vec<Index> = new.collect();
                    known.indexes.extend(new);
                }
                None => merged.push(spec),
            }
        }
        merged
    }
}

/// One index that has to exist.
#[derive(Debug, Clone, PartialEq)]
struct Index {
    name: String,
    keys: Document,
    is_unique: bool,
    /// Passes over documents without the field.
    is_sparse: bool,
    expire_after: Option<Duration>,
}

impl Index {
    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), keys: Document::new(), is_unique: false, is_sparse: false, expire_after: None }
    }
}

/// What evp keeps its own books in.
fn bookkeeping() -> Vec<CollectionSpec> {
    let expiry = Index { keys: doc! { "at": 1 }, expire_after: Some(CLAIM_LIFETIME), ..Index::named("expiry") };
    vec![
        CollectionSpec::new(CLAIMS)
            .with(expiry)
            .sparse_index("failed_aggregate", doc! { "a": 1 })
            .sparse_index("parked_aggregate", doc! { "k": 1 }),
        CollectionSpec::new(SOURCES).unique_index("number", doc! { "s": 1 }),
    ]
}

/// Creates what is missing of the collections and of evp's own bookkeeping; returns a line for each thing it created.
pub async fn ensure_collections(database: &Database, collections: &[CollectionSpec]) -> Result<Vec<String>> {
    let missing = Missing::find(database, wanted(collections)).await?;
    missing.create(database).await?;
    Ok(missing.lines())
}

/// Creates what is missing of a collection's indexes under another name.
pub(crate) async fn ensure_collections_as(database: &Database, spec: &CollectionSpec, name: &str) -> Result<()> {
    let spec = CollectionSpec { collection: Collection::parse(name)?, indexes: spec.indexes.clone() };
    Missing::find(database, vec![spec]).await?.create(database).await
}

/// Creates only what evp's own bookkeeping needs, and lets claims be kept for so long.
pub(crate) async fn ensure_bookkeeping(database: &Database, claim_lifetime: Duration) -> Result<()> {
    Missing::find(database, bookkeeping()).await?.create(database).await?;
    let failed = |error| client_error("setting how long events are remembered", database.name(), error);
    let listed = database.collection::<Document>(CLAIMS).list_indexes().await.map_err(failed)?;
    let indexes: Vec<IndexModel> = listed.try_collect().await.map_err(failed)?;
    let expiry = doc! { "at": 1 };
    let is_other = |index: &IndexModel| {
        let expires = index.options.as_ref().and_then(|options| options.expire_after);
        same_keys(&index.keys, &expiry) && expires != Some(claim_lifetime)
    };
    if indexes.iter().any(is_other) {
        let seconds = i64::try_from(claim_lifetime.as_secs()).unwrap_or(i64::MAX);
        let change = doc! { "collMod": CLAIMS, "index": { "keyPattern": expiry, "expireAfterSeconds": seconds } };
        database.run_command(change).await.map_err(failed)?;
        tracing::info!(
            event = "claim_lifetime_set",
            days = seconds / 86_400,
            "how long events are remembered was changed"
        );
    }
    Ok(())
}

/// What [`ensure_collections`] would create.
pub async fn missing_collections(database: &Database, collections: &[CollectionSpec]) -> Result<Vec<String>> {
    Ok(Missing::find(database, wanted(collections)).await?.lines())
}

fn wanted(collections: &[CollectionSpec]) -> Vec<CollectionSpec> {
    CollectionSpec::merged(collections.iter().cloned().chain(bookkeeping()))
}

struct Missing {
    collections: Vec<Collection>,
    indexes: Vec<(Collection, Index)>,
}

impl Missing {
    async fn find(database: &Database, wanted: Vec<CollectionSpec>) -> Result<Self> {
        let failed = |error| client_error("reading the collections", database.name(), error);
        let existing: HashSet<String> = database.list_collection_names().await.map_err(failed)?.into_iter().collect();
        let mut missing = Self { collections: Vec::new(), indexes: Vec::new() };
        for CollectionSpec { collection, indexes } in wanted {
            let mut known: Vec<Document> = Vec::new();
            if existing.contains(collection.as_str()) {
                let listed =
                    database.collection::<Document>(collection.as_str()).list_indexes().await.map_err(failed)?;
                let models: Vec<IndexModel> = listed.try_collect().await.map_err(failed)?;
                known.extend(models.into_iter().map(|model| model.keys));
            } else {
                missing.collections.push(collection.clone());
            }
            let new = indexes.into_iter().filter(|index| !known.iter().any(|keys| same_keys(keys, &index.keys)));
            missing.indexes.extend(new.map(|index| (collection.clone(), index)));
        }
        Ok(missing)
    }

    async fn create(&self, database: &Database) -> Result<()> {
        let failed = |error| client_error("creating collections", database.name(), error);
        for name in &self.collections {
            database.create_collection(name.as_str()).await.map_err(failed)?;
        }
        for (collection, index) in &self.indexes {
            let mut options = IndexOptions::builder().name(index.name.clone()).unique(index.is_unique).build();
            options.expire_after = index.expire_after;
            options.sparse = index.is_sparse.then_some(true);
            let model = IndexModel::builder().keys(index.keys.clone()).options(options).build();
            database.collection::<Document>(collection.as_str()).create_index(model).await.map_err(failed)?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let collections = self.collections.iter().map(|name| format!("collection {name}"));
        let indexes = self.indexes.iter().map(|(collection, index)| {
            let unique = if index.is_unique { "unique " } else { "" };
            format!("{unique}index {} on {collection}", index.name)
        });
        collections.chain(indexes).collect()
    }
}

/// Servers report numbers in index keys with types of their own choice.
fn same_keys(left: &Document, right: &Document) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((left_name, left_kind), (right_name, right_kind))| {
            left_name == right_name && (left_kind.as_str() == right_kind.as_str())
        })
}
