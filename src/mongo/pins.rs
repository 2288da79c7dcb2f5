//! Which collection a name stood for when a session began.
//!
//! `evp rebuild` puts another collection in the place of one. A write that was meant for the old one must not reach the new
//! one, which may lack what stands before it; so writes name the collection's id, and the server compares it.

use std::collections::HashMap;
use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use parking_lot::RwLock;
use uuid::Uuid;

use super::failure::{CodeClass, client_error, error_class};
use super::reply::{WriteError, parse_reply};
use super::sources::SOURCES;
use crate::error::Result;

/// How often an answer is asked for anew that evp does not know, and how long after each other.
const UNKNOWN_TRIES: u32 = 3;
const UNKNOWN_WAIT: Duration = Duration::from_millis(200);

/// The ids of collections by name.
pub(crate) type CollectionIds = HashMap<String, Uuid>;

/// The ids that writes of this session name.
#[derive(Debug, Default)]
pub(crate) struct Pins(RwLock<CollectionIds>);

impl Pins {
    /// The id that writes to the collection name; none if it was not there.
    pub(crate) fn of(&self, collection: &str) -> Option<Uuid> {
        self.0.read().get(collection).copied()
    }

    /// Whether writes name ids at all.
    pub(crate) fn are_named(&self) -> bool {
        !self.0.read().is_empty()
    }

    /// Names these from now on; nothing that names others may be in the works.
    pub(crate) fn replace(&self, ids: CollectionIds) {
        *self.0.write() = ids;
    }
}

/// What names stand for now.
pub(crate) async fn collection_ids(database: &Database) -> Result<CollectionIds> {
    let failed = |error| client_error("reading the collections", database.name(), error);
    let listed = database.run_cursor_command(doc! { "listCollections": 1 }).await.map_err(failed)?;
    let listed: Vec<Document> = listed.try_collect().await.map_err(failed)?;
    let id = |listed: &Document| {
        let id = listed.get_document("info").ok()?.get("uuid").and_then(uuid_of)?;
        Some((listed.get_str("name").ok()?.to_owned(), id))
    };
    Ok(listed.iter().filter_map(id).collect())
}

/// Whether the server compares the id that a write names, as MongoDB does from 6.0 on: it refuses one that there is not.
pub(crate) async fn are_compared(database: &Database) -> Result<bool> {
    // Would match nothing; ids are texts there.
    let change = doc! { "q": { "_id": Bson::Null }, "u": { "$set": { "s": 0 } } };
    let probe = doc! { "update": SOURCES, "updates": [change], "collectionUUID": uuid(Uuid::new_v4()) };
    for tries in 1_u32.. {
        let error = match database.run_command(probe.clone()).await {
            Ok(reply) => return Ok(parse_reply(&reply)?.write_errors.iter().any(WriteError::is_of_another)),
            Err(error) => error,
        };
        match error_class(&error) {
            CodeClass::Replaced => return Ok(true),
            CodeClass::Transient | CodeClass::Denied | CodeClass::Forbidden => {
                return Err(client_error("asking for the ids of collections", database.name(), error));
            }
            CodeClass::Unknown if tries < UNKNOWN_TRIES => tokio::time::sleep(UNKNOWN_WAIT).await,
            CodeClass::Unsupported | CodeClass::Refused | CodeClass::Unknown => break,
        }
    }
    Ok(false)
}

pub(crate) fn uuid(id: Uuid) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() }
}

pub(super) fn uuid_of(value: &Bson) -> Option<Uuid> {
    match value {
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => Uuid::from_slice(&binary.bytes).ok(),
        _ => None,
    }
}
