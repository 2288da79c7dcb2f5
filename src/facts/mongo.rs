//! What MongoDB says of itself and of the read models.

use std::collections::BTreeMap;

use bson::{Document, doc};
use mongodb::Database;
use serde::Serialize;

use super::{Depth, skew_ms};
use crate::activity::{GLOBAL, STATISTICS};
use crate::error::Result;
use crate::init::InitPlan;
use crate::mongo::{client_error, close, connect, missing_collections};
use crate::terminal::now_ms;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MongoFacts {
    pub(crate) database: String,
    pub(crate) version: String,
    /// Name of the replica set; none of a server that stands alone or of a router.
    pub(crate) replica_set: Option<String>,
    pub(crate) is_writable: bool,
    pub(crate) clock_skew_ms: i64,
    /// Documents by collection of the handlers, as MongoDB estimates them.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The counter of the activity application, where its handlers are among them.
    pub(crate) total_users: Option<i64>,
    /// Collections and indexes that `evp init` makes and that are not there.
    pub(crate) missing: Vec<String>,
    /// The server's default write concern, if it has one of its own.
    pub(crate) default_write_concern: Option<String>,
}

pub(super) async fn look(plan: &InitPlan, depth: Depth) -> Result<MongoFacts> {
    let database = connect(&plan.mongo).await?;
    let facts = ask(&database, plan, depth).await;
    close(database.client().clone()).await;
    facts
}

async fn ask(database: &Database, plan: &InitPlan, depth: Depth) -> Result<MongoFacts> {
    let failed = |error| client_error("looking at the read models", database.name(), error);
    let asked_ms = now_ms();
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(failed)?;
    let answered_ms = now_ms();
    let info = database.run_command(doc! { "buildInfo": 1 }).await.map_err(failed)?;
    let mut counts = BTreeMap::new();
    for name in plan.collections.iter().map(|spec| spec.name().as_str()) {
        let count = database.collection::<Document>(name).estimated_document_count().await.map_err(failed)?;
        counts.insert(name.to_owned(), count);
    }
    let total_users = match counts.contains_key(STATISTICS) {
        true => {
            let found = database.collection::<Document>(STATISTICS).find_one(doc! { "_id": GLOBAL }).await;
            let found = found.map_err(failed)?.unwrap_or_default();
            Some(found.get_i64("total_users").unwrap_or_default())
        }
        false => None,
    };
    let local_ms = hello.get_datetime("localTime").map_or(asked_ms, |time| time.timestamp_millis());
    let mut facts = MongoFacts {
        database: database.name().to_owned(),
        version: info.get_str("version").unwrap_or_default().to_owned(),
        replica_set: hello.get_str("setName").ok().map(str::to_owned),
        is_writable: hello.get_bool("isWritablePrimary").unwrap_or_default(),
        clock_skew_ms: skew_ms(asked_ms, local_ms, answered_ms),
        counts,
        total_users,
        missing: Vec::new(),
        default_write_concern: None,
    };
    if depth == Depth::Whole {
        facts.missing = missing_collections(database, &plan.collections).await?;
        facts.default_write_concern = default_write_concern(database).await;
    }
    Ok(facts)
}

/// A server that does not tell, for want of a privilege or because it is old, has the usual one.
async fn default_write_concern(database: &Database) -> Option<String> {
    let admin = database.client().database("admin");
    let answer = admin.run_command(doc! { "getDefaultRWConcern": 1 }).await.ok()?;
    let concern = answer.get_document("defaultWriteConcern").ok()?.get("w")?;
    Some(concern.as_str().map_or_else(|| concern.to_string(), str::to_owned))
}
