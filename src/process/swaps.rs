//! Collections that `evp rebuild` puts in the place of others, seen by a member of the group.
//!
//! A session writes to the collections that were there when it began, and to no others. Once one of them is replaced, it
//! goes on with the new one if it has stopped for that, and else begins anew: behind the offsets up to which the
//! new one holds the topic, if those that are committed are higher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::consumer::ConsumerHandle;
use crate::kafka::known::KnownTopic;
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::{CollectionIds, Gate, Seen, Store, Swap, collection_ids, note_begun, note_stopped, seen};

/// How soon it is noticed that a collection is to be replaced, or was.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while this member has stopped for it.
const STOPPED_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A rebuild that is not done by then is dead, or has given up.
const STOPPED_MAX: Duration = Duration::from_secs(15);

/// What a session knows of replaced collections.
#[derive(Debug)]
pub(super) struct Swaps {
    store: Arc<Store>,
    group: String,
    /// Stands for the topic.
    source: i32,
    /// Tells this session from others.
    member: String,
    known: Arc<Mutex<KnownTopic>>,
    seen: Seen,
    /// What names stand for to this session.
    ids: CollectionIds,
    looking: Option<JoinHandle<Result<Look>>>,
    looked: Instant,
    stop: Option<Stop>,
    /// What was waited for in vain is not waited for again.
    expired: Option<String>,
    /// Failed commits before the last one, and what it began.
    sent: Option<(u64, Vec<i32>)>,
}

/// A gate that this member keeps to.
#[derive(Debug)]
struct Stop {
    gate: Gate,
    since: Instant,
    /// The partitions that were told to have stopped.
    told: Option<Vec<i32>>,
}

#[derive(Debug)]
struct Look {
    seen: Seen,
    /// What names stand for, asked if something has changed.
    ids: Option<CollectionIds>,
}

impl Swaps {
    /// Begins a session that writes to the collections `ids`, which were read before `seen`.
    pub(super) fn begin(
        store: Arc<Store>,
        (group, source): (&str, i32),
        known: &Arc<Mutex<KnownTopic>>,
        ids: CollectionIds,
        seen: Seen,
    ) -> Result<Self> {
        let mut swaps = Self {
            store,
            group: group.to_owned(),
            source,
            member: Uuid::new_v4().simple().to_string(),
            known: Arc::clone(known),
            seen: Seen::default(),
            ids,
            looking: None,
            looked: Instant::now(),
            stop: None,
            expired: None,
            sent: None,
        };
        // Of a collection that is not there, or on a server that does not compare ids.
        let has_none = |gate: &&Gate| swaps.store.pins.of(&gate.collection).is_none();
        swaps.expired = seen.gates.iter().find(has_none).map(|gate| gate.token.clone());
        swaps.learn(seen)?;
        Ok(swaps)
    }

    /// Whether nothing new is to be begun.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Looks now and then; `is_idle` if all that was begun is decided and committed. [`ErrorKind::Unavailable`] if the
    /// session has to begin anew.
    pub(super) fn watch(&mut self, is_idle: bool, tracker: &OffsetTracker) -> Result<()> {
        if let Some(looking) = self.looking.take_if(|looking| looking.is_finished()) {
            self.looked = Instant::now();
            match futures_util::FutureExt::now_or_never(looking) {
                Some(Ok(Ok(look))) => self.looked(look, is_idle, tracker)?,
                Some(Ok(Err(error))) => {
                    tracing::debug!(event = "rebuilds_not_seen", %error, "they are looked for later");
                }
                Some(Err(error)) => {
                    return Err(Error::with_source(ErrorKind::System, "looking for rebuilds panicked", error));
                }
                None => {}
            }
        }
        if let Some(stop) = self.stop.take_if(|stop| stop.since.elapsed() >= STOPPED_MAX) {
            tracing::warn!(
                event = "rebuild_given_up",
                collection = stop.gate.collection,
                "it did not replace the collection; going on"
            );
            self.expired = Some(stop.gate.token);
        }
        if is_idle {
            self.tell_stopped(tracker);
        }
        let interval = if self.is_stopped() { STOPPED_LOOK_INTERVAL } else { LOOK_INTERVAL };
        if self.looking.is_none() && self.looked.elapsed() >= interval {
            self.looking = Some(tokio::spawn(look(Arc::clone(&self.store), self.group.clone(), self.ids.clone())));
        }
        Ok(())
    }

    fn looked(&mut self, look: Look, is_idle: bool, tracker: &OffsetTracker) -> Result<()> {
        if let Some(ids) = look.ids {
            let is_new = |swap: &&Swap| self.ids.get(&swap.collection) != Some(&swap.id);
            let new: Vec<&Swap> = look.seen.done(&ids).filter(is_new).collect();
            if let Some(swap) = new.first() {
                let has_stopped =
                    is_idle && self.stop.as_ref().is_some_and(|stop| stop.told == Some(assigned(tracker)));
                if !has_stopped || !new.iter().all(|swap| swap.holds(self.source, tracker)) {
                    return Err(replaced(&swap.collection));
                }
                tracing::info!(
                    event = "collection_replaced",
                    collection = swap.collection,
                    "going on with the rebuilt one"
                );
                self.store.pins.replace(ids.clone());
                self.ids = ids;
            }
        }
        self.learn(look.seen)
    }

    fn learn(&mut self, seen: Seen) -> Result<()> {
        self.known.lock().floors = seen.floors(&self.ids, self.source);
        let gate = seen.gates.iter().find(|gate| self.expired.as_ref() != Some(&gate.token));
        match gate.map(|gate| (gate, self.store.pins.of(&gate.collection))) {
            Some((gate, Some(id))) if id == gate.id => {
                if self.stop.as_ref().is_none_or(|stop| stop.gate.token != gate.token) {
                    tracing::info!(
                        event = "rebuild_waits",
                        collection = gate.collection,
                        "stopping until it is replaced"
                    );
                    self.stop = Some(Stop { gate: gate.clone(), since: Instant::now(), told: None });
                }
            }
            // It was made since the session began, so that writes to it name none.
            Some((gate, None)) if self.store.pins.are_named() => return Err(replaced(&gate.collection)),
            _ => self.stop = None,
        }
        self.seen = seen;
        Ok(())
    }

    /// Tells the rebuild that this member has stopped, again if it has got other partitions since.
    fn tell_stopped(&mut self, tracker: &OffsetTracker) {
        let partitions = assigned(tracker);
        let Some(stop) = self.stop.as_mut().filter(|stop| stop.told.as_ref() != Some(&partitions)) else { return };
        stop.told = Some(partitions.clone());
        let (store, gate, member) = (Arc::clone(&self.store), stop.gate.clone(), self.member.clone());
        let (group, source) = (self.group.clone(), self.source);
        tokio::spawn(async move {
            if let Err(error) = note_stopped(&store, &gate, &member, (&group, source), &partitions).await {
                tracing::debug!(event = "stop_not_told", %error, "the rebuild will try again");
            }
        });
    }

    /// Notes offsets that are being committed.
    pub(super) fn sent(&mut self, offsets: &[(i32, i64)], consumer: &ConsumerHandle) {
        let known = self.known.lock();
        let begun: Vec<i32> = offsets
            .iter()
            .map(|(partition, _)| *partition)
            .filter(|partition| known.floors.contains_key(partition))
            .collect();
        drop(known);
        if !begun.is_empty() {
            self.sent = Some((consumer.failed_commits(), begun));
        }
    }

    /// A commit of this session that was taken stands for all that the partition's earlier readers have committed:
    /// what comes behind it is read again, by whomever, and need not be begun a second time.
    pub(super) fn confirm(&mut self, consumer: &ConsumerHandle) {
        let Some((failed, partitions)) = self.sent.take_if(|_| !consumer.is_committing()) else { return };
        if consumer.failed_commits() != failed {
            return;
        }
        self.known.lock().floors.retain(|partition, _| !partitions.contains(partition));
        let has_any = |swap: &&Swap| {
            swap.ends
                .get(&self.source)
                .is_some_and(|ends| partitions.iter().any(|partition| ends.contains_key(partition)))
        };
        let swaps: Vec<Uuid> = self.seen.done(&self.ids).filter(has_any).map(|swap| swap.id).collect();
        let (store, group, source) = (Arc::clone(&self.store), self.group.clone(), self.source);
        tokio::spawn(async move {
            if let Err(error) = note_begun(&store, &swaps, (&group, source), &partitions).await {
                tracing::debug!(event = "begun_not_noted", %error, "the next session begins there again, without effect");
            }
        });
    }
}

async fn look(store: Arc<Store>, group: String, known: CollectionIds) -> Result<Look> {
    let first = seen(store.database(), &group).await?;
    if first.swaps.iter().all(|swap| known.get(&swap.collection) == Some(&swap.id)) {
        return Ok(Look { seen: first, ids: None });
    }
    let ids = collection_ids(store.database()).await?;
    // A swap is noted before it takes place, so it is seen of all that has.
    Ok(Look { seen: seen(store.database(), &group).await?, ids: Some(ids) })
}

fn assigned(tracker: &OffsetTracker) -> Vec<i32> {
    tracker.partitions().collect()
}

fn replaced(collection: &str) -> Error {
    Error::unavailable(format!("collection `{collection}` was replaced by `evp rebuild`"))
}
