//! Speaking to MongoDB: what is written, how it is guarded, and how failures are told apart.

mod claims;
mod collections;
mod commands;
mod entries;
mod epochs;
mod expression;
mod failure;
mod fold;
mod generations;
mod known_events;
mod lists;
mod memory;
mod order;
mod owners;
mod path;
mod pins;
mod pipeline;
mod rebuilds;
mod reply;
mod sizes;
mod sources;
mod store;
mod usual;
mod write_model;
mod writer;

use std::time::Duration;

use bson::doc;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use crate::config::MongoConfig;
use crate::error::{Error, Result};

pub use collections::{CollectionSpec, ensure_collections, missing_collections};
pub use commands::commands;
pub use path::{Collection, Path, key_of};
pub use write_model::{AddOnce, BOOKKEEPING_FIELD, Change, Create, EntryList, WriteModel, joined_text};

pub(crate) use claims::{
    Claim, ClaimState, Claims, Digest, EVERY_HANDLER, FailedAt, FailedEvent, Share, TakesOver, Verdict,
};
pub(crate) use collections::ensure_bookkeeping;
pub(crate) use collections::ensure_collections_as;
pub(crate) use commands::commands_of_event;
pub(crate) use failure::client_error;
pub(crate) use fold::{Fold, Form, Position};
pub(crate) use generations::{Generations, generations};
pub(crate) use known_events::{KnownEvent, known_events};
pub(crate) use memory::{Done, KeptDocument};
pub(crate) use order::{CommitOrder, EventOrder};
pub(crate) use owners::{Owner, Ownership, ownerships};
pub(crate) use pins::{CollectionIds, are_compared, collection_ids, uuid as id_value};
pub(crate) use pipeline::PartitionPaths;
pub(crate) use rebuilds::{Ends, Gate, REBUILDS, Seen, Swap, note_begun, note_stopped, seen};
pub(crate) use reply::{Reply, WriteError, document_full};
pub(crate) use sources::{Source, SourceKey, accept_topic, note_applied, source};
pub(crate) use store::{Durability, Store, begin_command};
pub(crate) use write_model::{Step, Written};
pub(crate) use writer::Writer;

/// Connections are shared by the commands of a few batches, of each of which a handful run at once.
const POOL_SIZE_MAX: u32 = 16;

const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The database of the read models; fails if the server does not answer within the configured time.
pub async fn connect(config: &MongoConfig) -> Result<Database> {
    let (client, address) = client(config).await?;
    let database = client.database(&config.database);
    database.run_command(doc! { "ping": 1 }).await.map_err(|error| client_error("connecting", &address, error))?;
    Ok(database)
}

/// The hosts that the connection string names, without the user and password that it may hold.
pub(crate) async fn client(config: &MongoConfig) -> Result<(Client, String)> {
    let unreadable = |error: mongodb::error::Error| {
        // The driver's sentence may quote the connection string, and with it a password.
        let hint = match error.kind.as_ref() {
            mongodb::error::ErrorKind::DnsResolve { .. } => "its host cannot be resolved",
            _ => "it is not of the form mongodb://user:password@host:port/?options",
        };
        Error::configuration(format!("MONGODB_URI cannot be used: {hint}"))
    };
    let mut options = ClientOptions::parse(config.uri.expose()).await.map_err(unreadable)?;
    let address = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    options.app_name = Some("evp".to_owned());
    options.connect_timeout = Some(config.connect_timeout);
    options.server_selection_timeout = Some(config.server_selection_timeout);
    // What a secondary has not seen yet would count as not there; a verdict on it would be wrong.
    options.selection_criteria = None;
    options.read_concern = None;
    options.max_pool_size = options.max_pool_size.or(Some(POOL_SIZE_MAX));
    let client = Client::with_options(options).map_err(unreadable)?;
    Ok((client, address))
}

/// Ends the client's sessions; the driver panics if the runtime ends while it does that on its own.
pub(crate) async fn close(client: Client) {
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, client.shutdown().immediate(true)).await;
}
