//! The collections and indexes that evp needs, created where they are missing.

use std::collections::HashSet;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};

use super::claims::CLAIMS;
use super::client_error;
use super::sources::SOURCES;
use crate::error::Result;

/// How long a claim on an event id is kept. A repetition that arrives later is no longer recognised.
const CLAIM_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// One index that has to exist.
struct Index {
    collection: &'static str,
    name: &'static str,
    keys: Document,
    unique: bool,
    /// Passes over documents without the field.
    sparse: bool,
    expire_after: Option<Duration>,
}

fn index(collection: &'static str, name: &'static str, keys: Document) -> Index {
    Index { collection, name, keys, unique: false, sparse: false, expire_after: None }
}

fn indexes() -> Vec<Index> {
    vec![
        index("users", "email", doc! { "email": 1 }),
        index("users", "username", doc! { "username": 1 }),
        index("users", "allowed_users", doc! { "allowed_users": 1 }),
        index("users", "created_at", doc! { "metadata.created_at": 1 }),
        index("activities", "allowed_users", doc! { "allowed_users": 1 }),
        index("activities", "created_at", doc! { "metadata.created_at": 1 }),
        // Documents without valid coordinates hold null there.
        Index { sparse: true, ..index("activities", "coordinates", doc! { "location.coordinates": "2dsphere" }) },
        Index { expire_after: Some(CLAIM_LIFETIME), ..index(CLAIMS, "expiry", doc! { "at": 1 }) },
        Index { sparse: true, ..index(CLAIMS, "failed_aggregate", doc! { "a": 1 }) },
        Index { sparse: true, ..index(CLAIMS, "parked_aggregate", doc! { "k": 1 }) },
        Index { unique: true, ..index(SOURCES, "number", doc! { "s": 1 }) },
    ]
}

const COLLECTIONS: [&str; 5] = ["users", "activities", "statistics", CLAIMS, SOURCES];
const BOOKKEEPING: [&str; 2] = [CLAIMS, SOURCES];

/// Creates what is missing; returns a line for each thing it created.
pub async fn ensure_collections(database: &Database) -> Result<Vec<String>> {
    let missing = Missing::find(database).await?;
    missing.create(database).await?;
    Ok(missing.lines())
}

/// Creates only what evp's own bookkeeping needs.
pub(crate) async fn ensure_bookkeeping(database: &Database) -> Result<()> {
    let mut missing = Missing::find(database).await?;
    missing.collections.retain(|name| BOOKKEEPING.contains(name));
    missing.indexes.retain(|index| BOOKKEEPING.contains(&index.collection));
    missing.create(database).await
}

/// What [`ensure_collections`] would create.
pub async fn missing_collections(database: &Database) -> Result<Vec<String>> {
    Ok(Missing::find(database).await?.lines())
}

struct Missing {
    collections: Vec<&'static str>,
    indexes: Vec<Index>,
}

impl Missing {
    async fn find(database: &Database) -> Result<Self> {
        let failed = |error| client_error("reading the collections", database.name(), error);
        let existing: HashSet<String> = database.list_collection_names().await.map_err(failed)?.into_iter().collect();
        let collections = COLLECTIONS.into_iter().filter(|name| !existing.contains(*name)).collect();
        let mut known = HashSet::new();
        for name in COLLECTIONS.into_iter().filter(|name| existing.contains(*name)) {
            let listed = database.collection::<Document>(name).list_indexes().await.map_err(failed)?;
            let models: Vec<IndexModel> = listed.try_collect().await.map_err(failed)?;
            known.extend(models.into_iter().map(|model| (name, model.keys)));
        }
        let known: Vec<(&str, Document)> = known.into_iter().collect();
        let exists = |index: &Index| {
            known.iter().any(|(collection, keys)| *collection == index.collection && same_keys(keys, &index.keys))
        };
        let indexes = indexes().into_iter().filter(|index| !exists(index)).collect();
        Ok(Self { collections, indexes })
    }

    async fn create(&self, database: &Database) -> Result<()> {
        let failed = |error| client_error("creating collections", database.name(), error);
        for name in &self.collections {
            database.create_collection(*name).await.map_err(failed)?;
        }
        for index in &self.indexes {
            let mut options = IndexOptions::builder().name(index.name.to_owned()).unique(index.unique).build();
            options.expire_after = index.expire_after;
            options.sparse = index.sparse.then_some(true);
            let model = IndexModel::builder().keys(index.keys.clone()).options(options).build();
            database.collection::<Document>(index.collection).create_index(model).await.map_err(failed)?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let collections = self.collections.iter().map(|name| format!("collection {name}"));
        let indexes = self.indexes.iter().map(|index| {
            let unique = if index.unique { "unique " } else { "" };
            format!("{unique}index {} on {}", index.name, index.collection)
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
