//! What is kept of the topic beside the read models, so that another topic of its name is not taken for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::wait_for;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::chunk::Chunk;
use crate::kafka::consumer::ConsumerHandle;
use crate::kafka::identity::Identity;
use crate::kafka::known::{Expected, KnownTopic};
use crate::kafka::witness::Witness;
use crate::mongo::{Source, SourceKey, Store, note_applied};
use crate::telemetry::Health;

/// Between two notes of a partition; the first is written at once, so that also a short run leaves one.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);
/// The last note is worth no longer wait at the end.
const LAST_NOTE_TIMEOUT: Duration = Duration::from_millis(500);
/// How soon a topic is noticed that was made anew and has grown past where it was read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Whether the topic is none that was applied under its number; waits until Kafka can tell.
pub(super) async fn is_another(source: &Source, consumer: &ConsumerHandle, health: &Health) -> Result<bool> {
    if source.is_superseded {
        return Ok(true);
    }
    let checked = wait_for("Kafka", health, async || {
        let (identity, known) = (Arc::clone(consumer.identity()), source.known.clone());
        tokio::task::spawn_blocking(move || identity.check_whole(&known))
            .await
            .map_err(|error| Error::with_source(ErrorKind::System, "comparing the topic panicked", error))?
    });
    match checked.await {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Refused => {
            tracing::warn!(event = "another_topic", %error, "accepted by --accept-new-topic");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// The topic as the database of the read models knows it.
#[derive(Debug)]
pub(super) struct SourceTopic {
    store: Arc<Store>,
    key: SourceKey,
    number: i32,
    known: Arc<Mutex<KnownTopic>>,
    identity: Arc<Identity>,
    noted: Option<Instant>,
    noted_partitions: BTreeSet<i32>,
    checked: Instant,
    checking: Option<JoinHandle<Checked>>,
}

/// What was looked for, what is confirmed by that, and whether it was found.
type Checked = (Vec<(Expected, Option<Witness>)>, Result<()>);

impl SourceTopic {
    pub(super) fn new(store: Arc<Store>, key: SourceKey, number: i32, consumer: &ConsumerHandle) -> Self {
        Self {
            store,
            key,
            number,
            known: Arc::clone(consumer.known()),
            identity: Arc::clone(consumer.identity()),
            noted: None,
            noted_partitions: BTreeSet::new(),
            checked: Instant::now(),
            checking: None,
        }
    }

    /// Stands for the topic in documents.
    pub(super) fn number(&self) -> i32 {
        self.number
    }

    /// Whether the group has found events in the topic.
    pub(super) fn has_events(&self) -> bool {
        self.known.lock().has_events
    }

    /// The group has found an event in the topic.
    pub(super) fn found_event(&self) {
        self.known.lock().has_events = true;
    }

    /// Notes what is read, before it is applied.
    pub(super) fn received(&self, chunks: &[Chunk]) {
        self.known.lock().received(chunks);
    }

    /// Notes what is applied, now and then and in the background.
    pub(super) fn committed(&mut self, offsets: &[(i32, i64)]) {
        let mut known = self.known.lock();
        known.committed(offsets);
        let is_due = self.noted.is_none_or(|noted| noted.elapsed() >= NOTE_INTERVAL);
        if known.has_unnoted(|partition| is_due || !self.noted_partitions.contains(&partition)) {
            drop(known);
            self.noted = Some(Instant::now());
            tokio::spawn(self.write());
        }
    }

    /// Forgets what was read of partitions and is not applied.
    pub(super) fn revoked(&self, partitions: &[i32]) {
        self.known.lock().revoked(partitions);
    }

    /// Notes the offsets that were committed last.
    pub(super) async fn note_last(&mut self, offsets: &[(i32, i64)]) {
        self.known.lock().committed(offsets);
        if self.known.lock().has_unnoted(|_| true) {
            let _ = tokio::time::timeout(LAST_NOTE_TIMEOUT, self.write()).await;
        }
    }

    /// Looks now and then, in the background, whether the topic that is read is the one that was read before.
    pub(super) fn check(&mut self, consumer: &ConsumerHandle) -> Result<()> {
        if let Some(checking) = self.checking.take_if(|checking| checking.is_finished()) {
            self.checked = Instant::now();
            match futures_util::FutureExt::now_or_never(checking) {
                Some(Ok((checked, Ok(())))) => self.known.lock().confirm(&checked),
                Some(Ok((_, Err(error)))) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(event = "topic_not_compared", %error, "it will be compared later");
                }
                Some(Ok((_, Err(error)))) => return Err(error),
                Some(Err(error)) => {
                    return Err(Error::with_source(ErrorKind::System, "comparing the topic panicked", error));
                }
                None => {}
            }
        }
        if self.checking.is_none() && self.checked.elapsed() >= CHECK_INTERVAL && !consumer.is_unreachable() {
            let (identity, checks) = (Arc::clone(&self.identity), self.known.lock().to_check());
            let expected: Vec<Expected> = checks.iter().map(|(expected, _)| *expected).collect();
            if !expected.is_empty() {
                self.checking = Some(tokio::task::spawn_blocking(move || (checks, identity.check(&expected))));
            }
        }
        Ok(())
    }

    fn write(&mut self) -> impl Future<Output = ()> + use<> {
        let (notes, has_events) = {
            let mut known = self.known.lock();
            (known.take_notes(), known.has_events)
        };
        self.noted_partitions.extend(notes.iter().map(|note| note.partition));
        let (store, key, number, known) =
            (Arc::clone(&self.store), self.key.clone(), self.number, Arc::clone(&self.known));
        async move {
            if let Err(error) = note_applied(store.database(), &key, number, has_events, &notes).await {
                tracing::debug!(event = "offsets_not_noted", %error, "they are noted with later ones");
                known.lock().not_noted(&notes);
            }
        }
    }
}
