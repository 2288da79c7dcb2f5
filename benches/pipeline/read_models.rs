//! MongoDB from outside: a change stream, which shows a write once a majority has it.
//!
//! One stream for all documents costs mongod one more reader of its log, however high the rate; asking for
//! documents one by one would be a query for each event. The statistics document is not watched.

use std::time::Instant;

use futures_util::StreamExt;
use mongodb::Client;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Result;
use crate::arrivals::Sightings;
use crate::servers::Servers;

/// Sees the events in the read models of one database.
pub(crate) struct ReadModelReader {
    client: Client,
    stop: CancellationToken,
    reader: JoinHandle<()>,
    pub(crate) seen: Sightings,
}

impl ReadModelReader {
    /// What is written from now on is seen.
    pub(crate) async fn start(servers: &Servers, database: &str) -> Result<Self> {
        let client = servers.mongo().await?;
        let pipeline: [Document; 2] = [
            doc! { "$match": {
                "ns.coll": { "$in": ["users", "activities"] },
                "operationType": { "$in": ["insert", "update", "replace"] },
            } },
            doc! { "$project": { "fullDocument.metadata": 1, "updateDescription.updatedFields": 1 } },
        ];
        let stream = client.database(database).watch().pipeline(pipeline).await?;
        let mut stream = stream.with_type::<RawDocumentBuf>();
        let (stop, seen) = (CancellationToken::new(), Sightings::default());
        let (token, sightings) = (stop.clone(), seen.clone());
        let reader = tokio::spawn(async move {
            while let Some(Some(Ok(change))) = token.run_until_cancelled(stream.next()).await {
                if let Some(id) = last_event(&change) {
                    sightings.note(id, Instant::now());
                }
            }
        });
        Ok(Self { client, stop, reader, seen })
    }

    /// Closes the stream on the server.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        let _ = self.reader.await;
        self.client.shutdown().await;
    }
}

/// The event that a document says it was changed by last.
fn last_event(change: &RawDocument) -> Option<Uuid> {
    let text =
        |document: &RawDocument, field: &str| document.get_str(field).ok().and_then(|text| Uuid::try_parse(text).ok());
    if let Ok(metadata) = change.get_document("fullDocument").and_then(|full| full.get_document("metadata")) {
        return text(metadata, "last_event_id").or_else(|| text(metadata, "source_event_id"));
    }
    let updated = change.get_document("updateDescription").ok()?.get_document("updatedFields").ok()?;
    text(updated, "metadata.last_event_id")
        .or_else(|| updated.get_document("metadata").ok().and_then(|metadata| text(metadata, "last_event_id")))
}
