//! Claims on event ids: which record of which partition may apply an event, once for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};
use uuid::Uuid;

use super::epochs::Epochs;
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
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The record applies the event: with all handlers, but not those named in `except`.
    Apply { except: Vec<String> },
    /// The record applies what dead letters of an earlier record left undone: these handlers only.
    ApplyOnly { handlers: Vec<String> },
    /// Another record has applied the event.
    Duplicate,
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
    /// The clusters whose events are claimed.
    pub(crate) epochs: Epochs,
    /// The server tells no election term: it stands alone, or behind a router. Nothing then orders a claim before
    /// its effects, so claims are made durable first.
    termless: AtomicBool,
}

impl Claims {
    pub(crate) fn new(store: Arc<Store>, source: i32) -> Self {
        Self { epochs: Epochs::new(Arc::clone(&store)), store, source, termless: AtomicBool::new(false) }
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
        let mut verdicts = vec![Verdict::Apply { except: Vec::new() }; claims.len()];
        let mut taken = Vec::new();
        for error in &reply.write_errors {
            match claims.get(error.index) {
                Some(claim) if error.is_taken_id() => taken.push((error.index, *claim)),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("{CLAIMS} cannot be written: {}", error.to_error()),
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
        let mut writer = begin_command("insert", CLAIMS, durability, capacity);
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
        let ids: Vec<Bson> = taken.iter().map(|(_, claim)| Bson::from(id(claim.event_id))).collect();
        let filter = doc! { "_id": { "$in": ids } };
        let found = self.store.find(CLAIMS, filter, doc! {}).await?;
        let by_id: HashMap<Vec<u8>, Document> = found
            .into_iter()
            .filter_map(|claim| match claim.get("_id") {
                Some(Bson::Binary(binary)) => Some((binary.bytes.clone(), claim)),
                _ => None,
            })
            .collect();
        for (index, claim) in taken {
            let verdict = match by_id.get(claim.event_id.as_bytes().as_slice()) {
                Some(known) => self.verdict(claim, known).await?,
                // It expired in between; the next delivery claims it anew.
                None => Verdict::Apply { except: Vec::new() },
            };
            if let Some(place) = verdicts.get_mut(*index) {
                *place = verdict;
            }
        }
        Ok(())
    }

    async fn verdict(&self, claim: &Claim, known: &Document) -> Result<Verdict> {
        let failed = handler_names(known, "failed");
        if self.is_ours(claim, known) {
            let only = handler_names(known, "only");
            return Ok(match only.is_empty() {
                true => Verdict::Apply { except: failed },
                false => Verdict::ApplyOnly {
                    handlers: only.into_iter().filter(|handler| !failed.contains(handler)).collect(),
                },
            });
        }
        if failed.is_empty() {
            return Ok(Verdict::Duplicate);
        }
        // A dead letter was published again: this record takes over what failed. Only one record can.
        let filter = doc! { "_id": id(claim.event_id), "failed": &failed, "s": known.get("s"), "p": known.get("p"), "o": known.get("o") };
        let update = doc! {
            "$set": { "s": self.source, "p": claim.partition, "o": claim.offset, "only": &failed },
            "$unset": { "failed": "" },
        };
        self.update_claims(vec![doc! { "q": filter, "u": update }]).await?;
        // Whose it is now tells who took it over, also if the answer to the update was lost.
        let filter = doc! { "_id": id(claim.event_id) };
        let now = self.store.find(CLAIMS, filter, doc! {}).await?;
        Ok(if now.first().is_some_and(|now| self.is_ours(claim, now)) {
            Verdict::ApplyOnly { handlers: failed }
        } else {
            Verdict::Duplicate
        })
    }

    fn is_ours(&self, claim: &Claim, known: &Document) -> bool {
        known.get_i32("s").is_ok_and(|source| source == self.source)
            && known.get_i32("p").is_ok_and(|partition| partition == claim.partition)
            && known.get_i64("o").is_ok_and(|offset| offset == claim.offset)
    }

    /// Remembers which handlers of each event ended in a dead letter, so that a later record may take them over.
    pub(crate) async fn mark_failed(&self, failures: &[(Claim, Vec<String>)]) -> Result<()> {
        if failures.is_empty() {
            return Ok(());
        }
        let updates = failures.iter().map(|(claim, handlers)| {
            let filter = doc! { "_id": id(claim.event_id), "s": self.source, "p": claim.partition, "o": claim.offset };
            doc! { "q": filter, "u": { "$addToSet": { "failed": { "$each": handlers } } } }
        });
        self.update_claims(updates.collect()).await.map(|_| ())
    }

    async fn update_claims(&self, updates: Vec<Document>) -> Result<usize> {
        let mut writer = begin_command("update", CLAIMS, Durability::Majority, 1024);
        writer.value("updates", &Bson::Array(updates.into_iter().map(Bson::Document).collect()));
        Ok(self.store.write(&writer.finish()?).await?.n)
    }
}

fn id(event_id: Uuid) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: event_id.as_bytes().to_vec() }
}

fn handler_names(claim: &Document, field: &str) -> Vec<String> {
    let names = claim.get_array(field).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Bson::as_str).map(ToOwned::to_owned).collect()
}
