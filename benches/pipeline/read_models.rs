//! MongoDB from outside: its replication log as far as a majority has it, which shows each write the moment that others
//! may read it.
//!
//! A change stream tells the same and takes more of mongod's time for it, which on a small machine delays what is
//! measured; asking for documents one by one would be a query for each event.

use std::time::Instant;

use futures_util::StreamExt;
use mongodb::Client;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::options::{CursorType, ReadConcern};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Result;
use crate::arrivals::{Sightings, id_behind};
use crate::servers::Servers;

/// What stands before the id of the event that changed a document last, and of the one that created it: the tag of
/// a text, the field, the length of the text.
const CHANGED_BY: &[u8] = b"\x02last_event_id\0\x25\0\0\0";
const CREATED_BY: &[u8] = b"\x02source_event_id\0\x25\0\0\0";

/// Sees the events in the read models of one database.
pub(crate) struct ReadModelReader {
    client: Client,
    stop: CancellationToken,
    reader: JoinHandle<()>,
    pub(crate) seen: Sightings,
}

impl ReadModelReader {
    /// What is written from now on is seen. The statistics document is not watched.
    pub(crate) async fn start(servers: &Servers, database: &str) -> Result<Self> {
        let client = servers.mongo().await?;
        let log = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
        let watched: Vec<String> = ["users", "activities"].map(|name| format!("{database}.{name}")).to_vec();
        let mut entries = log
            .find(doc! { "ts": { "$gte": last_write(&client).await? }, "ns": { "$in": watched } })
            .read_concern(ReadConcern::majority())
            .cursor_type(CursorType::TailableAwait)
            .await?;
        let (stop, seen) = (CancellationToken::new(), Sightings::default());
        let (token, sightings) = (stop.clone(), seen.clone());
        let reader = tokio::spawn(async move {
            while let Some(Some(entry)) = token.run_until_cancelled(entries.next()).await {
                match entry.map(|entry| last_event(&entry)) {
                    Ok(Some(id)) => sightings.note(id, Instant::now()),
                    Ok(None) => {}
                    Err(error) => {
                        eprintln!("MongoDB's log cannot be read any further: {error}");
                        break;
                    }
                }
            }
        });
        Ok(Self { client, stop, reader, seen })
    }

    /// Closes the cursor on the server.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        let _ = self.reader.await;
        self.client.shutdown().await;
    }
}

/// Where the log ends now, as far as a majority has it.
async fn last_write(client: &Client) -> Result<Timestamp> {
    let hello: Document = client.database("admin").run_command(doc! { "hello": 1 }).await?;
    let time = hello.get_document("lastWrite").and_then(|last| last.get_document("majorityOpTime"));
    let time = time.and_then(|time| time.get_timestamp("ts"));
    time.map_err(|_| "watching MongoDB's log needs a replica set; one node is enough".into())
}

/// The event that a document says it was changed by last.
fn last_event(entry: &RawDocument) -> Option<Uuid> {
    id_behind(CHANGED_BY, entry.as_bytes()).or_else(|| id_behind(CREATED_BY, entry.as_bytes()))
}
