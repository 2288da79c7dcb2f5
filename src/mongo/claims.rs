//! Claims on event ids: which record of which partition may apply an event, once for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};
use uuid::Uuid;

use super::epochs::Epochs;
use super::order::EventOrder;
use super::pins::uuid;
use super::store::{Durability, Store, begin_command};
use crate::error::{Error, ErrorKind, Result};

/// The collection of claims.
pub(crate) const CLAIMS: &str = "evp_applied_events";

/// Bytes of one claim as BSON, rounded up.
const CLAIM_BYTES: usize = 112;

/// A record that wants to apply an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) event_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) takes_over: TakesOver,
}

/// Tells what one record says of an event from what another one says.
pub(crate) type Digest = [u8; 16];

/// Whether a record takes over what dead letters of an earlier record left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesOver {
    /// It publishes the event again.
    Always,
    /// It tells of the row again, and is worth another attempt if its content is not what failed.
    IfChanged(Digest),
    /// It does not hold the event whole.
    Never,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The record applies the event.
    Apply(Share),
    /// Another record has applied the event, or its failure is known.
    Duplicate,
}

/// What of an event is a record's to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// What dead letters of an earlier record left undone; empty if there was none.
    pub(crate) taken_over: Vec<String>,
    /// Handlers that have failed.
    pub(crate) except: Vec<String>,
    /// Where the event has its place, if its first record is not this one.
    pub(crate) order: Option<EventOrder>,
}

impl Share {
    /// Whether it includes a handler.
    pub(crate) fn has(&self, handler: &str) -> bool {
        let is_ours = self.taken_over.is_empty() || names(&self.taken_over, handler);
        is_ours && !names(&self.except, handler)
    }

    /// Whether it is every handler's part.
    pub(crate) fn is_whole(&self) -> bool {
        self.taken_over.is_empty() && self.except.is_empty()
    }

    fn is_nothing(&self) -> bool {
        let is_done = |handler: &String| names(&self.except, handler);
        names(&self.except, EVERY_HANDLER) || (!self.taken_over.is_empty() && self.taken_over.iter().all(is_done))
    }
}

fn names(list: &[String], handler: &str) -> bool {
    list.iter().any(|name| name == handler || name == EVERY_HANDLER)
}

/// In the place of a handler's name: the event could not be given to any.
pub(crate) const EVERY_HANDLER: &str = "*";

/// An event that became a dead letter.
#[derive(Debug)]
pub(crate) struct FailedEvent {
    pub(crate) claim: Claim,
    pub(crate) handlers: Vec<String>,
    pub(crate) order: EventOrder,
    pub(crate) digest: Option<Digest>,
    /// Set if the failure may leave its document uncreated.
    pub(crate) aggregate_id: Option<String>,
    /// The aggregate whose later events follow it into the dead letters, if they do.
    pub(crate) parks: Option<String>,
}

/// Where the dead letter of an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailedAt {
    pub(crate) event_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Which record an event is of, and which of its handlers have failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimState {
    /// Stands for the topic.
    pub(crate) source: i32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) failed: Vec<String>,
}

/// The verdicts for a batch of claims, and the election term in which the new ones were written.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) term: Option<i64>,
}

/// The claims of one topic.
#[derive(Debug)]
pub(crate) struct Claims {
    store: Arc<Store>,
    source: i32,
    /// The collection of the claims.
    name: String,
    /// The clusters whose events are claimed.
    pub(crate) epochs: Epochs,
    /// The server tells no election term: it stands alone, or behind a router. Nothing then orders a claim before
    /// its effects, so claims are made durable first.
    termless: AtomicBool,
}

impl Claims {
    pub(crate) fn new(store: Arc<Store>, source: i32) -> Self {
        Self::named(store, source, CLAIMS.to_owned())
    }

    /// Claims of a topic for another purpose than its processing, in a collection of their own.
    pub(crate) fn named(store: Arc<Store>, source: i32, name: String) -> Self {
        Self { epochs: Epochs::new(Arc::clone(&store)), store, source, name, termless: AtomicBool::new(false) }
    }

    /// Claims each event for its record. Event ids must differ from each other.
    pub(crate) async fn claim(&self, claims: &[Claim]) -> Result<Claimed> {
        if claims.is_empty() {
            return Ok(Claimed { verdicts: Vec::new(), term: None });
        }
        let mut reply = self.store.write(&self.insert_command(claims, self.durability())?).await?;
        if reply.term.is_none() && !self.termless.swap(true, Ordering::Relaxed) {
            // Once more, now durable: our own claims are recognised.
            reply = self.store.write(&self.insert_command(claims, self.durability())?).await?;
        }
        let mut verdicts = vec![Verdict::Apply(Share::default()); claims.len()];
        let mut taken = Vec::new();
        for error in &reply.write_errors {
            match claims.get(error.index) {
                Some(claim) if error.is_taken_id() => taken.push((error.index, *claim)),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("{} cannot be written: {}", self.name, error.to_error()),
                    ));
                }
            }
        }
        if !taken.is_empty() {
            self.resolve(&taken, &mut verdicts).await?;
        }
        Ok(Claimed { verdicts, term: reply.term })
    }

    /// Writes claims again that a change of primary may have undone, this time for good; those that
    /// survived stay as they are.
    pub(crate) async fn reassert(&self, claims: &[Claim]) -> Result<()> {
        self.store.write(&self.insert_command(claims, Durability::Majority)?).await.map(|_| ())
    }

    fn durability(&self) -> Durability {
        if self.termless.load(Ordering::Relaxed) { Durability::Majority } else { Durability::Primary }
    }

    fn insert_command(&self, claims: &[Claim], durability: Durability) -> Result<RawDocumentBuf> {
        let capacity = claims.len().saturating_mul(CLAIM_BYTES).saturating_add(256);
        let mut writer = begin_command("insert", &self.name, durability, capacity);
        let now = DateTime::now();
        writer.begin_array("documents");
        for claim in claims {
            writer.begin_document("");
            writer.uuid("_id", claim.event_id);
            writer.int32("s", self.source);
            writer.int32("p", claim.partition);
            writer.int64("o", claim.offset);
            writer.date("at", now);
            writer.end();
        }
        writer.end();
        writer.finish()
    }

    async fn resolve(&self, taken: &[(usize, Claim)], verdicts: &mut [Verdict]) -> Result<()> {
        let ids: Vec<Bson> = taken.iter().map(|(_, claim)| Bson::from(uuid(claim.event_id))).collect();
        let filter = doc! { "_id": { "$in": ids } };
        let found = self.store.find(&self.name, filter, doc! {}).await?;
        let by_id: HashMap<&[u8], &Document> =
            found.iter().filter_map(|claim| Some((bytes_of(claim, "_id")?, claim))).collect();
        for (index, claim) in taken {
            let verdict = match by_id.get(claim.event_id.as_bytes().as_slice()) {
                Some(known) => self.verdict(claim, known).await?,
                // It expired in between; the next delivery claims it anew.
                None => Verdict::Apply(Share::default()),
            };
            if let Some(place) = verdicts.get_mut(*index) {
                *place = verdict;
            }
        }
        Ok(())
    }

    async fn verdict(&self, claim: &Claim, known: &Document) -> Result<Verdict> {
        let failed = handler_names(known, "failed");
        let order = known.get("order").and_then(EventOrder::from_bson);
        if self.is_ours(claim, known) {
            let share = Share { taken_over: handler_names(known, "only"), except: failed, order };
            return Ok(if share.is_nothing() { Verdict::Duplicate } else { Verdict::Apply(share) });
        }
        let is_worth_it = match claim.takes_over {
            TakesOver::Always => true,
            TakesOver::IfChanged(digest) => bytes_of(known, "digest") != Some(digest.as_slice()),
            TakesOver::Never => false,
        };
        if failed.is_empty() || !is_worth_it {
            return Ok(Verdict::Duplicate);
        }
        // A dead letter was published again or its row corrected: this record takes over what failed. Only one can.
        let filter = doc! { "_id": uuid(claim.event_id), "failed": &failed, "s": known.get("s"), "p": known.get("p"), "o": known.get("o") };
        // How far the records before it came is what `evp rebuild` has to know to do the same.
        let names = ["s", "p", "o", "only", "failed"];
        let past: Document =
            names.iter().filter_map(|name| Some(((*name).to_owned(), known.get(name)?.clone()))).collect();
        let update = doc! {
            "$set": { "s": self.source, "p": claim.partition, "o": claim.offset, "only": &failed, "at": DateTime::now() },
            "$unset": { "failed": "", "digest": "", "a": "", "k": "" },
            "$push": { "past": past },
        };
        self.update_claims(vec![doc! { "q": filter, "u": update }]).await?;
        // Whose it is now tells who took it over, also if the answer to the update was lost.
        let filter = doc! { "_id": uuid(claim.event_id) };
        let now = self.store.find(&self.name, filter, doc! {}).await?;
        Ok(if now.first().is_some_and(|now| self.is_ours(claim, now)) {
            Verdict::Apply(Share { taken_over: failed, except: Vec::new(), order })
        } else {
            Verdict::Duplicate
        })
    }

    fn is_ours(&self, claim: &Claim, known: &Document) -> bool {
        known.get_i32("s").is_ok_and(|source| source == self.source)
            && known.get_i32("p").is_ok_and(|partition| partition == claim.partition)
            && known.get_i64("o").is_ok_and(|offset| offset == claim.offset)
    }

    /// Remembers what of each event ended in a dead letter, so that a later record may take it over.
    ///
    /// A claim that a change of primary has undone is written again; one that another record has taken over stays.
    pub(crate) async fn mark_failed(&self, failures: &[FailedEvent]) -> Result<()> {
        if failures.is_empty() {
            return Ok(());
        }
        let updates = failures.iter().map(|failed| {
            let claim = failed.claim;
            let filter =
                doc! { "_id": uuid(claim.event_id), "s": self.source, "p": claim.partition, "o": claim.offset };
            let mut facts = doc! { "order": failed.order.to_bson() };
            if let Some(digest) = failed.digest {
                facts.insert("digest", Binary { subtype: BinarySubtype::Generic, bytes: digest.to_vec() });
            }
            facts.extend(failed.aggregate_id.as_ref().map(|aggregate_id| ("a".to_owned(), aggregate_id.into())));
            facts.extend(failed.parks.as_ref().map(|aggregate_id| ("k".to_owned(), aggregate_id.into())));
            let mut update = doc! { "$addToSet": { "failed": { "$each": &failed.handlers } }, "$set": facts };
            match failed.parks {
                // It must not expire: its aggregate would go on by itself.
                Some(_) => update.insert("$unset", doc! { "at": "" }),
                None => update.insert("$setOnInsert", doc! { "at": DateTime::now() }),
            };
            doc! { "q": filter, "u": update, "upsert": true }
        });
        self.update_claims(updates.collect()).await.map(|_| ())
    }

    /// What is known of events, whichever topic they came from.
    pub(crate) async fn states(&self, event_ids: &[Uuid]) -> Result<HashMap<Uuid, ClaimState>> {
        if event_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Bson> = event_ids.iter().map(|event_id| Bson::from(uuid(*event_id))).collect();
        let projection = doc! { "s": 1, "p": 1, "o": 1, "failed": 1 };
        let found = self.store.find(&self.name, doc! { "_id": { "$in": ids } }, projection).await?;
        let state = |claim: &Document| {
            let (source, partition, offset) =
                (claim.get_i32("s").ok()?, claim.get_i32("p").ok()?, claim.get_i64("o").ok()?);
            let event_id = Uuid::from_slice(bytes_of(claim, "_id")?).ok()?;
            Some((event_id, ClaimState { source, partition, offset, failed: handler_names(claim, "failed") }))
        };
        Ok(found.iter().filter_map(state).collect())
    }

    /// The first event of each aggregate that became a dead letter and may have been to create its document.
    pub(crate) async fn first_failed(&self, aggregate_ids: &[&str]) -> Result<HashMap<String, FailedAt>> {
        if aggregate_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let projection = doc! { "a": 1, "p": 1, "o": 1, "order": 1 };
        let found = self.store.find(&self.name, doc! { "a": { "$in": aggregate_ids } }, projection).await?;
        let mut known: Vec<_> = found.iter().filter_map(|claim| failed_at(claim, "a")).collect();
        known.sort_by_key(|(_, order, _)| std::cmp::Reverse(*order));
        Ok(known.into_iter().map(|(aggregate_id, _, failed)| (aggregate_id, failed)).collect())
    }

    /// The dead letters that later events of their aggregates stand behind.
    pub(crate) async fn parked(&self, aggregate_ids: &[&str]) -> Result<HashMap<String, Vec<(EventOrder, FailedAt)>>> {
        let mut parked: HashMap<String, Vec<_>> = HashMap::new();
        if aggregate_ids.is_empty() {
            return Ok(parked);
        }
        let projection = doc! { "k": 1, "p": 1, "o": 1, "order": 1 };
        for claim in self.store.find(&self.name, doc! { "k": { "$in": aggregate_ids } }, projection).await? {
            let found = failed_at(&claim, "k");
            found
                .into_iter()
                .for_each(|(aggregate_id, order, at)| parked.entry(aggregate_id).or_default().push((order, at)));
        }
        Ok(parked)
    }

    async fn update_claims(&self, updates: Vec<Document>) -> Result<usize> {
        let mut writer = begin_command("update", &self.name, Durability::Majority, 1024);
        writer.value("updates", &Bson::Array(updates.into_iter().map(Bson::Document).collect()));
        Ok(self.store.write(&writer.finish()?).await?.n)
    }
}

/// The aggregate that `field` names, and the place of the dead letter.
fn failed_at(claim: &Document, field: &str) -> Option<(String, EventOrder, FailedAt)> {
    let event_id = Uuid::from_slice(bytes_of(claim, "_id")?).ok()?;
    let failed = FailedAt { event_id, partition: claim.get_i32("p").ok()?, offset: claim.get_i64("o").ok()? };
    Some((claim.get_str(field).ok()?.to_owned(), EventOrder::from_bson(claim.get("order")?)?, failed))
}

pub(super) fn bytes_of<'a>(claim: &'a Document, field: &str) -> Option<&'a [u8]> {
    match claim.get(field)? {
        Bson::Binary(binary) => Some(&binary.bytes),
        _ => None,
    }
}

pub(super) fn handler_names(claim: &Document, field: &str) -> Vec<String> {
    let names = claim.get_array(field).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Bson::as_str).map(ToOwned::to_owned).collect()
}
