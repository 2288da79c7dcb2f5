//! What is kept of the topic beside the read models, so that another topic of its name is not taken for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::kafka::consumer::ConsumerHandle;
use crate::mongo::{Source, Store, note_committed, renew_source};

/// Between two notes. A topic that was re-created is recognised while it is shorter than the last of them.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);
/// The last note is worth no longer wait at the end.
const LAST_NOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// The topic as the database of the read models knows it.
#[derive(Debug)]
pub(super) struct SourceTopic {
    store: Arc<Store>,
    cluster: String,
    topic: String,
    known: Source,
    committed: BTreeMap<i32, i64>,
    noted: Option<Instant>,
}

impl SourceTopic {
    pub(super) fn new(store: Arc<Store>, cluster: String, topic: String, known: Source) -> Self {
        Self { store, cluster, topic, known, committed: BTreeMap::new(), noted: None }
    }

    /// Stands for the topic in documents.
    pub(super) fn number(&self) -> i32 {
        self.known.number
    }

    /// Gives the topic a new number, because its offsets mean other events than they did.
    pub(super) async fn renew(&self) -> Result<()> {
        renew_source(self.store.database(), &self.cluster, &self.topic).await
    }

    /// Refuses a partition of which the group has forgotten offsets that are not in it: brokers delete them with a topic.
    pub(super) async fn check(&self, consumer: &ConsumerHandle, partition: i32, bounds: (i64, i64)) -> Result<()> {
        match self.known.committed.get(&partition) {
            Some(committed) if *committed > bounds.1 => {
                self.renew().await?;
                consumer.check_committed(partition, *committed, bounds)
            }
            _ => Ok(()),
        }
    }

    /// Notes offsets that were committed, now and then and in the background.
    pub(super) fn note(&mut self, offsets: &[(i32, i64)]) {
        self.known.committed.extend(offsets.iter().copied());
        self.committed.extend(offsets.iter().copied());
        let is_due = self.noted.is_none_or(|noted| noted.elapsed() >= NOTE_INTERVAL);
        if is_due && !self.committed.is_empty() {
            self.noted = Some(Instant::now());
            tokio::spawn(self.write());
        }
    }

    /// Notes the offsets that were committed last.
    pub(super) async fn note_last(&mut self, offsets: &[(i32, i64)]) {
        self.committed.extend(offsets.iter().copied());
        if !self.committed.is_empty() {
            let _ = tokio::time::timeout(LAST_NOTE_TIMEOUT, self.write()).await;
        }
    }

    fn write(&mut self) -> impl Future<Output = ()> + use<> {
        let offsets: Vec<(i32, i64)> = std::mem::take(&mut self.committed).into_iter().collect();
        let (store, cluster, topic) = (Arc::clone(&self.store), self.cluster.clone(), self.topic.clone());
        async move {
            if let Err(error) = note_committed(store.database(), &cluster, &topic, &offsets).await {
                tracing::debug!(event = "offsets_not_noted", %error, "they are noted with later ones");
            }
        }
    }
}
