//! When new documents become visible in MongoDB, by a change stream, which shows only what a majority has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mongodb::Client;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Latencies, VisibleSummary};
use crate::config::MongoConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::mongo::{self, CollectionSpec};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Where new documents are waited for.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The database.
    pub mongo: MongoConfig,
    /// The collections of the handlers.
    pub collections: Vec<CollectionSpec>,
}

/// Documents that are waited for, and how long those that came have taken.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    client: Client,
    stop: CancellationToken,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<HashMap<Uuid, Instant>>,
    expected: AtomicU64,
    latencies: Latencies,
    failure: Mutex<Option<Error>>,
}

impl Watch {
    /// Opens the stream; what is inserted from now on is seen.
    pub async fn open(watched: &Watched) -> Result<Self> {
        let database = mongo::connect(&watched.mongo).await?;
        let names: Vec<&str> = watched.collections.iter().map(|spec| spec.name().as_str()).collect();
        let failed = |error| {
            let message = "watching MongoDB fails; a change stream needs a replica set (one node is enough)";
            Error::with_source(ErrorKind::Unavailable, message, error)
        };
        let pipeline: [Document; 2] = [
            doc! { "$match": {
                "ns.coll": { "$in": names },
                "operationType": { "$in": ["insert", "update", "replace"] },
            } },
            doc! { "$project": { "documentKey": 1 } },
        ];
        let stream = database.watch().pipeline(pipeline).await.map_err(failed)?;
        let mut stream = stream.with_type::<RawDocumentBuf>();
        let shared = Arc::new(Shared::default());
        let (reader_shared, stop) = (Arc::clone(&shared), CancellationToken::new());
        let reader_stop = stop.clone();
        let reader = tokio::spawn(async move {
            while let Some(Some(change)) = reader_stop.run_until_cancelled(stream.next()).await {
                match change {
                    Ok(change) => reader_shared.see(&change),
                    Err(error) => {
                        *reader_shared.failure.lock() = Some(failed(error));
                        return;
                    }
                }
            }
        });
        let client = database.client().clone();
        Ok(Self { shared, client, stop, reader: Mutex::new(Some(reader)) })
    }

    /// Document `id` will be created by an event that is due `at`.
    pub fn expect(&self, id: Uuid, at: Instant) {
        self.shared.expected.fetch_add(1, Ordering::Relaxed);
        self.shared.pending.lock().insert(id, at);
    }

    /// Waits until everything expected was seen, `timeout` passes, or `token` is cancelled.
    pub async fn finish(&self, timeout: Duration, token: &CancellationToken) -> Result<VisibleSummary> {
        let started = Instant::now();
        while !self.shared.pending.lock().is_empty() && started.elapsed() < timeout && !token.is_cancelled() {
            if let Some(error) = self.shared.failure.lock().take() {
                return Err(error);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let expected = self.shared.expected.load(Ordering::Relaxed);
        Ok(VisibleSummary { expected, latency: self.shared.latencies.summary() })
    }

    /// Closes the stream on the server.
    pub async fn close(&self) {
        self.stop.cancel();
        let reader = self.reader.lock().take();
        if let Some(reader) = reader {
            let _ = reader.await;
        }
        mongo::close(self.client.clone()).await;
    }
}

impl Shared {
    fn see(&self, change: &RawDocumentBuf) {
        let id = change
            .get_document("documentKey")
            .and_then(|key| key.get_str("_id"))
            .ok()
            .and_then(|text| Uuid::try_parse(text).ok());
        // Later changes of the same document, and other people's documents, are not waited for.
        if let Some(due) = id.and_then(|id| self.pending.lock().remove(&id)) {
            self.latencies.record_since(due);
        }
    }
}
