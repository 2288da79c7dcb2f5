//! Putting the new collection in the place of the old one.
//!
//! Members of the group stop between two batches; all that they have applied is committed then, and the new collection
//! is brought as far. So readers find in it what they found in the old one. That nothing is lost does not rest on this: it rests on
//! the ids that writes name, and on what is noted here before the swap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::options::WriteConcern;
use uuid::Uuid;

use super::RebuildChoices;
use super::compare::Differences;
use super::job::Job;
use super::shadow::rename;
use super::topics::{self, Group, Progress, stopped};
use crate::error::{Error, Result};
use crate::mongo::{Ends, REBUILDS, client_error, collection_ids, id_value, seen};

/// From the request to stop to the swap; members go on by themselves a while after that.
const STOPPED_MAX: Duration = Duration::from_secs(10);
/// Between two requests.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(150);
/// How long members may take to see that the collection is another one.
const SEEN_WITHIN: Duration = Duration::from_millis(1_200);
/// How long an answer of the server that was lost is looked for.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

impl Job {
    /// Tries until it is done; says how long members have stood still.
    pub(super) async fn swap(&mut self, choices: RebuildChoices, differences: &mut Differences) -> Result<Duration> {
        let deadline = Instant::now().checked_add(Duration::from_secs(choices.wait_seconds));
        loop {
            let gate = Uuid::new_v4().simple().to_string();
            let since = Instant::now();
            self.lease
                .update(doc! { "$set": { "gate": { "token": &gate, "id": id_value(self.live_id), "members": {} } } })
                .await?;
            let outcome = self.try_swap(&gate, since, choices, differences).await;
            if let Ok(true) = outcome {
                let paused = since.elapsed();
                tokio::time::sleep(SEEN_WITHIN).await;
                return Ok(paused);
            }
            self.lease.update(doc! { "$unset": { "gate": "" } }).await?;
            outcome?;
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                return Err(Error::unavailable(format!(
                    "the members of the group did not stop in time to replace `{}`: look which does not answer, or has events that wait \
                     (`evp status`), and whether all are of this version; or stop them all, and rebuild then",
                    self.live
                )));
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
                return Err(stopped());
            }
            self.catch_up().await?;
        }
    }

    async fn try_swap(
        &mut self,
        gate: &str,
        since: Instant,
        choices: RebuildChoices,
        differences: &mut Differences,
    ) -> Result<bool> {
        if !self.have_stopped(gate, since).await? {
            return Ok(false);
        }
        // What is committed is asked for after all have stopped.
        self.catch_up().await?;
        differences.look_again(&self.pair()).await?;
        if !choices.accepts_loss {
            self.check_final_loss(differences)?;
        }
        self.note_swap().await?;
        // Whoever has taken over makes a collection of another name.
        self.lease.update(doc! { "$set": { "swapping": true } }).await?;
        if since.elapsed() >= STOPPED_MAX || self.stop.is_cancelled() {
            return Ok(false);
        }
        self.rename().await?;
        Ok(true)
    }

    /// Waits until members that have all partitions say that they have stopped.
    async fn have_stopped(&self, gate: &str, since: Instant) -> Result<bool> {
        while since.elapsed() < STOPPED_MAX {
            if self.stop.is_cancelled() {
                return Err(stopped());
            }
            let progress = topics::progress(&self.topics).await?;
            let seen = seen(&self.database, &self.group).await?;
            let stopped =
                seen.gates.into_iter().find(|found| found.token == gate).map(|found| found.stopped).unwrap_or_default();
            let all_stopped = is_covered(&progress, &self.sources, |source, partition| {
                stopped.get(&source).is_some_and(|stopped| stopped.contains(&partition))
            });
            let is_nobody_there = match progress.group {
                Group::Empty => true,
                Group::Untold => stopped.is_empty() && since.elapsed() >= STOPPED_MAX / 2,
                Group::Stable | Group::Balancing => false,
            };
            if is_nobody_there || (all_stopped && progress.group != Group::Balancing) {
                return Ok(true);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(false)
    }

    /// Notes up to where the new collection holds the topics; members that write to it begin there at the latest.
    async fn note_swap(&self) -> Result<()> {
        let failed = |error| client_error("noting the swap", self.database.name(), error);
        let ends: Ends = self.sources.iter().copied().zip(self.at.iter().cloned()).collect();
        let by_partition = |ends: &BTreeMap<i32, i64>| {
            ends.iter().map(|(partition, end)| (partition.to_string(), (*end).into())).collect::<Document>()
        };
        let ends: Document =
            ends.iter().map(|(source, ends)| (source.to_string(), by_partition(ends).into())).collect();
        let swaps = self.database.collection::<Document>(REBUILDS);
        let this = doc! { "_id": id_value(self.shadow_id) };
        let keep = doc! { "copy": &self.kept.0, "as": &self.kept.1 };
        let noted = swaps
            .update_one(this, doc! { "$set": { "collection": &self.live, "ends": ends, "keep": keep } })
            .upsert(true);
        noted.write_concern(WriteConcern::majority()).await.map_err(failed).map(|_| ())
    }

    async fn rename(&self) -> Result<()> {
        let Err(error) = rename(&self.database, &self.shadow, &self.live, true).await else { return Ok(()) };
        // It may have been done although its answer was lost.
        tokio::time::sleep(ANSWER_WAIT).await;
        if collection_ids(&self.database).await?.get(&self.live) == Some(&self.shadow_id) {
            return Ok(());
        }
        Err(client_error("putting the new collection in place", self.database.name(), error))
    }
}

/// Whether each partition of each topic is among those.
fn is_covered(progress: &Progress, sources: &[i32], has: impl Fn(i32, i32) -> bool) -> bool {
    let of_topics = sources.iter().zip(&progress.committed);
    of_topics.into_iter().all(|(source, offsets)| offsets.keys().all(|partition| has(*source, *partition)))
}
