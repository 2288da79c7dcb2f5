//! Small numbers for topics, so that bookkeeping in documents stays short.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongodb::Database;
use mongodb::options::WriteConcern;

use super::failure::{DUPLICATE_KEY, client_error};
use crate::error::{Error, Result};

/// The collection of topics that were ever applied to this database.
pub(crate) const SOURCES: &str = "evp_sources";

const ATTEMPTS_MAX: u32 = 20;

/// What is known of a topic.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Stands for the topic in documents.
    pub(crate) number: i32,
    /// Offsets that were committed at some time; the topic is another one if it ends before one of them.
    pub(crate) committed: BTreeMap<i32, i64>,
}

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

/// Notes committed offsets where they outlive the topic: brokers delete the group's together with it.
pub(crate) async fn note_committed(
    database: &Database,
    cluster: &str,
    topic: &str,
    offsets: &[(i32, i64)],
) -> Result<()> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("noting committed offsets", database.name(), error);
    let fields = offsets.iter().map(|(partition, offset)| (format!("committed.{partition}"), Bson::from(*offset)));
    let update = doc! { "$set": fields.collect::<Document>() };
    sources.update_one(doc! { "_id": format!("{cluster}/{topic}") }, update).await.map_err(failed).map(|_| ())
}

/// What is known of `topic` on `cluster` in this database; a number is given to it the first time it is seen.
///
/// Offsets of another cluster's topic of the same name mean other events, so the cluster is part of the name.
pub(crate) async fn source(database: &Database, cluster: &str, topic: &str) -> Result<Source> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("reading the topics known to the database", database.name(), error);
    let name = format!("{cluster}/{topic}");
    for _ in 0..ATTEMPTS_MAX {
        if let Some(known) = sources.find_one(doc! { "_id": &name }).await.map_err(failed)? {
            let number = known
                .get_i32("s")
                .map_err(|_| Error::protocol(format!("{SOURCES} holds `{name}` without a number")))?;
            return Ok(Source { number, committed: committed(&known) });
        }
        let highest = sources.find_one(doc! {}).sort(doc! { "s": -1 }).await.map_err(failed)?;
        let number = highest.and_then(|known| known.get_i32("s").ok()).unwrap_or(0).saturating_add(1);
        let insert = sources.insert_one(doc! { "_id": &name, "s": number });
        match insert.write_concern(WriteConcern::majority()).await {
            Ok(_) => return Ok(Source { number, ..Source::default() }),
            // Another process has just taken the name or the number.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Error::unavailable(format!("no number could be had for topic `{topic}` in {SOURCES}")))
}

fn committed(known: &Document) -> BTreeMap<i32, i64> {
    let offsets = known.get_document("committed").into_iter().flatten();
    offsets.filter_map(|(partition, offset)| Some((partition.parse().ok()?, offset.as_i64()?))).collect()
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}
