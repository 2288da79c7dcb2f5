//! What runs beside the dispatcher, so that it can answer while a server does not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use super::apply::{Applied, apply};
use super::dead_letter::DeadLetters;
use super::in_flight::{Blamed, Effect, Failure, InFlight};
use super::told::Facts;
use crate::error::{Error, ErrorKind, Result};
use crate::mongo::{Claim, Claims, EVERY_HANDLER, FailedEvent, Store};

const PULSE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at the documents that grow most.
const SIZE_INTERVAL: Duration = Duration::from_secs(10);

/// What became of events that needed dead letters.
#[derive(Debug, Default)]
pub(super) struct DeadLettered {
    pub(super) written: Vec<Arc<InFlight>>,
    /// Kafka did not take their letters.
    pub(super) refused: Vec<Arc<InFlight>>,
}

/// Writes dead letters and remembers which handlers failed; only then may the offsets of the events go.
pub(super) async fn write_dead_letters(
    dead_letters: Arc<DeadLetters>,
    claims: Arc<Claims>,
    events: Vec<Arc<InFlight>>,
) -> Result<DeadLettered> {
    let mut letters: Vec<(&InFlight, Vec<Failure>)> =
        events.iter().map(|event| (&**event, event.take_failures())).collect();
    name_creations(&claims, &mut letters).await?;
    let is_written = dead_letters.write(&letters).await?;
    let mut failed = Vec::new();
    for ((event, failures), is_written) in letters.into_iter().zip(&is_written) {
        if !is_written {
            failures.into_iter().for_each(|failure| event.fail(failure));
        } else if let Some(claim) = event.claim {
            failed.push(failed_event(event, claim, failures));
        }
    }
    claims.mark_failed(&failed).await?;
    let mut outcome = DeadLettered::default();
    for (event, is_written) in events.into_iter().zip(is_written) {
        if is_written { &mut outcome.written } else { &mut outcome.refused }.push(event);
    }
    Ok(outcome)
}

/// Says of events that waited for a document in vain in which dead letter its creation may be.
async fn name_creations(claims: &Claims, letters: &mut [(&InFlight, Vec<Failure>)]) -> Result<()> {
    let mut missing: Vec<&mut Blamed> = letters
        .iter_mut()
        .flat_map(|(_, failures)| failures)
        .filter_map(|failure| failure.document.as_mut())
        .filter(|document| document.is_missing)
        .collect();
    let ids: HashSet<&str> = missing.iter().map(|missing| missing.id.as_str()).collect();
    let creations = claims.first_failed(&ids.into_iter().collect::<Vec<_>>()).await?;
    missing.iter_mut().for_each(|missing| missing.creation = creations.get(&missing.id).copied());
    Ok(())
}

/// What is to be remembered of an event whose dead letters are safe.
fn failed_event(event: &InFlight, claim: Claim, failures: Vec<Failure>) -> FailedEvent {
    let facts = Facts::of(event);
    let parks = event.ordered_aggregate.as_deref().filter(|_| event.parks()).map(ToOwned::to_owned);
    let aggregate_id = facts.aggregate_id.filter(|_| failures.iter().all(|failure| failure.document.is_none()));
    let mut handlers = Vec::new();
    for failure in failures {
        match failure.handler {
            Some(handler) => handlers.push(handler),
            // No handler was asked, so that those failed whose turn it was.
            None if event.taken_over.is_empty() => handlers.push(EVERY_HANDLER.to_owned()),
            None => handlers.extend(event.taken_over.iter().cloned()),
        }
    }
    FailedEvent { claim, handlers, order: event.position.order, digest: facts.digest, aggregate_id, parks }
}

/// Writes the effects of a batch.
pub(super) async fn write_effects(
    store: Arc<Store>,
    claims: Arc<Claims>,
    source: i32,
    effects: Vec<Effect>,
) -> Result<Applied> {
    let started = Instant::now();
    let applied = apply(&store, source, effects).await?;
    metrics::histogram!("evp_process_write_seconds").record(started.elapsed());
    // A change of primary since the claims were written may have undone them.
    let undone = |event: &InFlight| applied.terms.iter().any(|term| Some(*term) != event.claim_term);
    if applied.terms.is_empty() || !applied.effects.iter().any(|effect| undone(&effect.event)) {
        return Ok(applied);
    }
    let mut reasserted: Vec<Claim> = applied.effects.iter().filter_map(|effect| effect.event.claim).collect();
    reasserted.dedup();
    let count = reasserted.len();
    tracing::info!(event = "claims_reasserted", claims = count, "the primary has changed; claims are written again");
    claims.reassert(&reasserted).await?;
    Ok(applied)
}

/// Asks MongoDB now and then whether it is there while there is nothing to write, so that readiness is true then, too.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    asked: Option<Instant>,
    asking: Option<JoinHandle<()>>,
    looked: Option<Instant>,
    looking: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(super) fn beat(&mut self, store: &Arc<Store>, is_idle: bool) {
        let is_asking = self.asking.as_ref().is_some_and(|asking| !asking.is_finished());
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= PULSE_INTERVAL);
        if is_idle && is_due && !is_asking {
            let store = Arc::clone(store);
            self.asked = Some(Instant::now());
            self.asking = Some(tokio::spawn(async move { store.ping().await }));
        }
    }

    /// Looks now and then, beside all else, how large the documents are that grow most.
    pub(super) fn look_at_sizes(&mut self, store: &Arc<Store>) {
        let is_looking = self.looking.as_ref().is_some_and(|looking| !looking.is_finished());
        if self.looked.is_none_or(|looked| looked.elapsed() >= SIZE_INTERVAL) && !is_looking {
            let store = Arc::clone(store);
            self.looked = Some(Instant::now());
            self.looking = Some(tokio::spawn(async move { store.look_at_sizes().await }));
        }
    }
}

/// The result of a task, which then is gone.
pub(super) async fn join<T>(task: &mut Option<JoinHandle<Result<T>>>) -> Result<T> {
    let Some(running) = task.as_mut() else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    joined(result)
}

/// The result of the first of the tasks that ends.
pub(super) async fn join_first<T: 'static>(tasks: &mut JoinSet<Result<T>>) -> Result<T> {
    match tasks.join_next().await {
        Some(result) => joined(result),
        None => std::future::pending().await,
    }
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result
        .unwrap_or_else(|error| Err(Error::with_source(ErrorKind::System, "a task of the dispatcher panicked", error)))
}
