//! Which handlers came to a database together.
//!
//! A watermark says of a document that an offset was applied to it, and so speaks for the handlers that were there then,
//! and for no handler that is added later. Those that come together are a generation, with watermarks of its own; the
//! first has the plain ones. One document holds the generations of all handlers, whatever topic or group they serve.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use mongodb::Database;
use mongodb::options::WriteConcern;

use super::failure::client_error;
use super::sources::{SOURCES, is_duplicate};
use crate::error::{Error, Result};

/// The document's id; those of topics have a `/`.
const HANDLERS: &str = "handlers";
/// In the place of a topic's number, of which no two may be the same.
const NO_NUMBER: i32 = -1;
const ATTEMPTS_MAX: u32 = 20;

/// The generation of each handler that is not of the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Generations(BTreeMap<(String, String), i32>);

impl Generations {
    /// The generation of the handler of that name for that type of events.
    pub(crate) fn of(&self, event_type: &str, name: &str) -> i32 {
        if self.0.is_empty() {
            return 0;
        }
        self.0.get(&(event_type.to_owned(), name.to_owned())).copied().unwrap_or_default()
    }
}

/// The generations of handlers, each given by event type and name; those that the database does not know become one.
pub(crate) async fn generations(database: &Database, handlers: &BTreeSet<(String, String)>) -> Result<Generations> {
    let failed = |error| client_error("reading the handlers known to the database", database.name(), error);
    let documents = database.collection::<Document>(SOURCES);
    for _ in 0..ATTEMPTS_MAX {
        let Some(found) = documents.find_one(doc! { "_id": HANDLERS }).await.map_err(failed)? else {
            let all = handlers.iter().map(|handler| to_bson(handler, 0)).collect::<Vec<Bson>>();
            let insert = documents.insert_one(doc! { "_id": HANDLERS, "s": NO_NUMBER, "last": 0, "known": all });
            match insert.write_concern(WriteConcern::majority()).await {
                Err(error) if !is_duplicate(&error) => return Err(failed(error)),
                // Perhaps another process was first.
                Ok(_) | Err(_) => continue,
            }
        };
        let last = found.get_i32("last").unwrap_or_default();
        let known: BTreeMap<_, _> = found.get_array("known").into_iter().flatten().filter_map(from_bson).collect();
        let added: Vec<_> = handlers.iter().filter(|handler| !known.contains_key(*handler)).collect();
        if added.is_empty() {
            return Ok(Generations(known.into_iter().filter(|(_, generation)| *generation > 0).collect()));
        }
        let next = last.saturating_add(1);
        let new = added.iter().map(|handler| to_bson(handler, next)).collect::<Vec<Bson>>();
        let update = doc! { "$set": { "last": next }, "$push": { "known": { "$each": new } } };
        let this = doc! { "_id": HANDLERS, "last": last };
        let updated =
            documents.update_one(this, update).write_concern(WriteConcern::majority()).await.map_err(failed)?;
        if updated.modified_count > 0 {
            let names: Vec<String> = added.iter().map(|(event_type, name)| format!("{event_type}/{name}")).collect();
            tracing::info!(
                event = "handlers_added",
                handlers = names.join(", "),
                "new to this database; read the topic from its beginning to apply to them what was before"
            );
        }
    }
    Err(Error::unavailable(format!("the handlers could not be noted in {SOURCES}")))
}

fn to_bson((event_type, name): &(String, String), generation: i32) -> Bson {
    doc! { "type": event_type, "name": name, "generation": generation }.into()
}

fn from_bson(known: &Bson) -> Option<((String, String), i32)> {
    let known = known.as_document()?;
    let handler = (known.get_str("type").ok()?.to_owned(), known.get_str("name").ok()?.to_owned());
    Some((handler, known.get_i32("generation").ok()?))
}
