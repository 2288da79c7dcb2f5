//! Small numbers for topics, so that bookkeeping in documents stays short.

use bson::{Document, doc};
use mongodb::Database;
use mongodb::options::WriteConcern;

use super::failure::{DUPLICATE_KEY, client_error};
use crate::error::{Error, Result};

/// The collection of topics that were ever applied to this database.
pub(crate) const SOURCES: &str = "evp_sources";

const ATTEMPTS_MAX: u32 = 20;

/// Gives `topic` a number that it never had, because its offsets mean other events than they did.
///
/// Watermarks under the former number would hide the events that now have these offsets; repetitions are still
/// recognised by their event ids.
pub(crate) async fn renew_source(database: &Database, cluster: &str, topic: &str) -> Result<()> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("giving a topic a new number", database.name(), error);
    let name = format!("{cluster}/{topic}");
    let highest = sources.find_one(doc! {}).sort(doc! { "s": -1 }).await.map_err(failed)?;
    let number = highest.and_then(|known| known.get_i32("s").ok()).unwrap_or(0).saturating_add(1);
    let update = sources.update_one(doc! { "_id": name }, doc! { "$set": { "s": number } });
    update.write_concern(WriteConcern::majority()).await.map_err(failed).map(|_| ())
}

/// The number of `topic` on `cluster` in this database, given to it the first time it is seen.
///
/// Offsets of another cluster's topic of the same name mean other events, so the cluster is part of the name.
pub(crate) async fn source_number(database: &Database, cluster: &str, topic: &str) -> Result<i32> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("reading the topics known to the database", database.name(), error);
    let name = format!("{cluster}/{topic}");
    for _ in 0..ATTEMPTS_MAX {
        if let Some(known) = sources.find_one(doc! { "_id": &name }).await.map_err(failed)? {
            return known
                .get_i32("s")
                .map_err(|_| Error::protocol(format!("{SOURCES} holds `{name}` without a number")));
        }
        let highest = sources.find_one(doc! {}).sort(doc! { "s": -1 }).await.map_err(failed)?;
        let number = highest.and_then(|known| known.get_i32("s").ok()).unwrap_or(0).saturating_add(1);
        let insert = sources.insert_one(doc! { "_id": &name, "s": number });
        match insert.write_concern(WriteConcern::majority()).await {
            Ok(_) => return Ok(number),
            // Another process has just taken the name or the number.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Error::unavailable(format!("no number could be had for topic `{topic}` in {SOURCES}")))
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}
