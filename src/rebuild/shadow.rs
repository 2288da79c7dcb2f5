//! The collections that a rebuild makes, and the right to be the only one that makes them.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::options::WriteConcern;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::topics::stopped;
use crate::error::{Error, ErrorKind, Result};
use crate::mongo::{REBUILDS, client_error, collection_ids, ensure_collections_as, id_value};
use crate::process::CollectionSpec;

/// How often a rebuild shows that it is alive, and after how long without that it is dead.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const DEAD_AFTER_MS: i64 = 8_000;
/// How long another one is waited for that may be dead.
const OTHER_WAIT: Duration = Duration::from_secs(12);
const OTHER_POLL: Duration = Duration::from_millis(500);
const DUPLICATE_KEY: i32 = 11_000;
/// What stands behind the name of a new collection in that of the old one's copy, and of the events that are claimed.
pub(super) const OLD_SUFFIX: &str = ".old";
pub(super) const EVENTS_SUFFIX: &str = ".events";

/// What the names of new collections, and of kept old ones, begin with.
pub(super) fn shadow_prefix(collection: &str) -> String {
    format!("{collection}.rebuild_")
}

pub(super) fn kept_prefix(collection: &str) -> String {
    format!("{collection}.before_")
}

/// The right to rebuild a collection, for as long as it lives.
pub(super) struct Lease {
    database: Database,
    collection: String,
    token: String,
    alive: JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.alive.abort();
    }
}

impl Lease {
    /// Takes it, once no other rebuild is alive. `stop` ends the wait, and is cancelled if another one takes it nevertheless.
    pub(super) async fn take(database: &Database, collection: &str, stop: CancellationToken) -> Result<Self> {
        let token = Uuid::new_v4().simple().to_string();
        let deadline = tokio::time::Instant::now() + OTHER_WAIT;
        while !try_take(database, collection, &token).await? {
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::refused(format!(
                    "another `evp rebuild {collection}` is at work; wait until it is done"
                )));
            }
            if stop.run_until_cancelled(tokio::time::sleep(OTHER_POLL)).await.is_none() {
                return Err(stopped());
            }
        }
        let alive = tokio::spawn(stay_alive(database.clone(), collection.to_owned(), token.clone(), stop));
        Ok(Self { database: database.clone(), collection: collection.to_owned(), token, alive })
    }

    /// The first part of it tells one rebuild's collections from another's.
    pub(super) fn name(&self) -> &str {
        self.token.get(..8).unwrap_or(&self.token)
    }

    /// Changes the state of the rebuild; refused if another one has taken over.
    pub(super) async fn update(&self, update: Document) -> Result<()> {
        let failed = |error| client_error("noting the state of the rebuild", self.database.name(), error);
        let states = self.database.collection::<Document>(REBUILDS);
        let this = doc! { "_id": &self.collection, "token": &self.token };
        let updated = states.update_one(this, update).write_concern(WriteConcern::majority()).await.map_err(failed)?;
        if updated.matched_count == 0 {
            return Err(Error::refused(format!("another `evp rebuild {}` has taken over", self.collection)));
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) async fn give_back(&self) -> Result<()> {
        self.alive.abort();
        let failed = |error| client_error("ending the rebuild", self.database.name(), error);
        let states = self.database.collection::<Document>(REBUILDS);
        let this = doc! { "_id": &self.collection, "token": &self.token };
        states.delete_one(this).write_concern(WriteConcern::majority()).await.map_err(failed)?;
        Ok(())
    }
}

async fn try_take(database: &Database, collection: &str, token: &str) -> Result<bool> {
    let failed = |error| client_error("beginning the rebuild", database.name(), error);
    let states = database.collection::<Document>(REBUILDS);
    // By the server's clock.
    let is_dead = doc! { "$lt": ["$at", { "$subtract": ["$$NOW", DEAD_AFTER_MS] }] };
    let take = doc! { "$set": { "token": token }, "$currentDate": { "at": true }, "$unset": { "gate": "" } };
    let dead = states.update_one(doc! { "_id": collection, "$expr": is_dead }, take);
    if dead.write_concern(WriteConcern::majority()).await.map_err(failed)?.matched_count > 0 {
        return Ok(true);
    }
    let new = states.insert_one(doc! { "_id": collection, "token": token, "at": DateTime::now() });
    match new.write_concern(WriteConcern::majority()).await {
        Ok(_) => Ok(true),
        Err(error) if is_taken(&error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn is_taken(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

async fn stay_alive(database: Database, collection: String, token: String, stop: CancellationToken) {
    let states = database.collection::<Document>(REBUILDS);
    loop {
        let beat =
            states.update_one(doc! { "_id": &collection, "token": &token }, doc! { "$currentDate": { "at": true } });
        if beat.await.is_ok_and(|beat| beat.matched_count == 0) {
            stop.cancel();
            return;
        }
        tokio::time::sleep(ALIVE_INTERVAL).await;
    }
}

/// Makes the new collection with what the old one has: options, rules, indexes; and the indexes that handlers ask for.
pub(super) async fn make(database: &Database, live: &str, shadow: &str, spec: &CollectionSpec) -> Result<Uuid> {
    let failed = |error| client_error("making the new collection", database.name(), error);
    let listed = doc! { "listCollections": 1, "filter": { "name": live } };
    let listed = database.run_cursor_command(listed).await.map_err(failed)?;
    let listed: Vec<Document> = listed.try_collect().await.map_err(failed)?;
    let mut create = doc! { "create": shadow };
    create.extend(listed.first().and_then(|found| found.get_document("options").ok()).cloned().unwrap_or_default());
    database.run_command(create).await.map_err(failed)?;
    let indexes = database.run_cursor_command(doc! { "listIndexes": live }).await.map_err(failed)?;
    let indexes: Vec<Document> = indexes.try_collect().await.map_err(failed)?;
    let mut wanted = Vec::new();
    for mut index in indexes {
        index.remove("ns");
        if index.get_str("name").is_ok_and(|name| name != "_id_") {
            wanted.push(Bson::Document(index));
        }
    }
    if !wanted.is_empty() {
        database.run_command(doc! { "createIndexes": shadow, "indexes": wanted }).await.map_err(failed)?;
    }
    ensure_collections_as(database, spec, shadow).await?;
    let ids = collection_ids(database).await?;
    ids.get(shadow)
        .copied()
        .ok_or_else(|| Error::new(ErrorKind::Missing, format!("the new collection {shadow} was removed")))
}

/// Drops what rebuilds that were killed have left of a collection; says what that was, and what the name stands for.
pub(super) async fn clean(database: &Database, live: &str) -> Result<(Vec<String>, Option<Uuid>)> {
    let left = named(database, &shadow_prefix(live)).await?;
    // Once the new collections are gone, nobody who has slept can put one in place.
    let is_part = |name: &&String| name.ends_with(OLD_SUFFIX) || name.ends_with(EVENTS_SUFFIX);
    let (parts, shadows): (Vec<_>, Vec<_>) = left.iter().partition(is_part);
    drop_all(database, shadows).await?;
    let id = collection_ids(database).await?.get(live).copied();
    keep_after_swap(database, id).await?;
    drop_all(database, parts).await?;
    forget_swaps(database, live, id).await?;
    Ok((left, id))
}

/// Forgets swaps of a collection that did not take place, or that others came after.
pub(super) async fn forget_swaps(database: &Database, live: &str, id: Option<Uuid>) -> Result<()> {
    let failed = |error| client_error("forgetting earlier swaps", database.name(), error);
    let others = doc! { "collection": live, "_id": { "$ne": id.map(id_value) } };
    database.collection::<Document>(REBUILDS).delete_many(others).await.map_err(failed).map(|_| ())
}

/// The collections whose names begin so.
pub(super) async fn named(database: &Database, prefix: &str) -> Result<Vec<String>> {
    let failed = |error| client_error("reading the collections", database.name(), error);
    let mut names = database.list_collection_names().await.map_err(failed)?;
    names.retain(|name| name.starts_with(prefix));
    names.sort_unstable();
    Ok(names)
}

/// Drops collections.
pub(super) async fn drop_all(database: &Database, names: impl IntoIterator<Item = &String>) -> Result<()> {
    let failed = |error| client_error("dropping a collection", database.name(), error);
    for name in names {
        database.collection::<Document>(name).drop().await.map_err(failed)?;
    }
    Ok(())
}

/// Copies the live collection, on the server.
pub(super) async fn keep(database: &Database, live: &str, name: &str) -> Result<()> {
    let failed = |error| client_error("keeping the old collection", database.name(), error);
    let live = database.collection::<Document>(live);
    let copied = live.aggregate([doc! { "$out": name }]).allow_disk_use(true).write_concern(WriteConcern::majority());
    copied.await.map_err(failed)?.try_collect::<Vec<_>>().await.map_err(failed).map(|_| ())
}

/// Gives the copy of a replaced collection its name; a rebuild that was killed after the swap has not come to it.
pub(super) async fn keep_after_swap(database: &Database, live: Option<Uuid>) -> Result<()> {
    let failed = |error| client_error("keeping the old collection", database.name(), error);
    let Some(live) = live else { return Ok(()) };
    let swaps = database.collection::<Document>(REBUILDS);
    let swap = swaps.find_one(doc! { "_id": id_value(live) }).await.map_err(failed)?;
    let Some(keep) = swap.as_ref().and_then(|swap| swap.get_document("keep").ok()) else { return Ok(()) };
    let (Ok(copy), Ok(name)) = (keep.get_str("copy"), keep.get_str("as")) else { return Ok(()) };
    if named(database, copy).await?.iter().any(|found| found == copy) {
        rename(database, copy, name, false).await.map_err(failed)?;
    }
    Ok(())
}

/// Gives a collection another name, at once.
pub(super) async fn rename(database: &Database, from: &str, to: &str, drops: bool) -> mongodb::error::Result<()> {
    let name = |collection: &str| format!("{}.{collection}", database.name());
    let rename = doc! {
        "renameCollection": name(from), "to": name(to), "dropTarget": drops, "writeConcern": { "w": "majority" },
    };
    database.client().database("admin").run_command(rename).await.map(|_| ())
}
