//! The loop of `process`: while one batch is written, the next is parsed and claimed.
//!
//! Every wait is a branch of one `select!`, so that rebalances, time limits and the request to stop are
//! answered whatever MongoDB does. At most one batch is claimed and one written at a time, which keeps
//! the order of each document.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ProcessSummary;
use super::apply::{Applied, Outcome, apply};
use super::dead_letter::DeadLetters;
use super::in_flight::{Effect, Failure, InFlight, Stage};
use super::prepare::{Preparation, Prepared, PreparedEvent};
use super::waiting::{Waiting, after};
use crate::config::ProcessConfig;
use crate::error::{Error, ErrorKind, Reaction, Result};
use crate::kafka::chunk::Chunk;
use crate::kafka::consumer::{ConsumerHandle, Delivery};
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::{Claim, Claims, Store, Verdict};
use crate::shutdown::Until;
use crate::telemetry::{Health, LatencyRecorder, LatencySummary};

const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// A rebalance waits this long for the batch that is being written; the consumer thread waits a little longer.
const FENCE_WAIT: Duration = Duration::from_secs(8);
/// Effects that may wait for their documents before no new events are taken.
const WAITING_EFFECTS_MAX: usize = 20_000;
/// Records that may be received and not committable before no new ones are taken.
const OUTSTANDING_RECORDS_MAX: usize = 500_000;

/// What the dispatcher works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) preparation: Preparation,
    pub(super) claims: Arc<Claims>,
    pub(super) dead_letters: DeadLetters,
    pub(super) store: Arc<Store>,
    pub(super) source: i32,
    pub(super) health: Arc<Health>,
    pub(super) process: ProcessConfig,
    pub(super) until: Until,
}

pub(super) struct Dispatcher {
    parts: Parts,
    consumer: ConsumerHandle,
    tracker: OffsetTracker,
    waiting: Waiting,
    /// Taken from the consumer, not parsed.
    gathered: Vec<Chunk>,
    gathered_records: usize,
    claiming: Option<JoinHandle<Result<Claimed>>>,
    /// Claimed, not being written.
    claimed: Option<Vec<Effect>>,
    applying: Option<JoinHandle<Result<Applied>>>,
    /// Partitions whose end was reached.
    ended: HashSet<i32>,
    assigned_once: bool,
    failed_commits: u64,
    latency: LatencyRecorder,
    counts: Counts,
    started: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    processed: u64,
    duplicates: u64,
    skipped: u64,
    dead_lettered: u64,
}

/// A batch with its verdicts.
struct Claimed {
    effects: Vec<Effect>,
    duplicates: Vec<Arc<InFlight>>,
    without_effect: Vec<Arc<InFlight>>,
    skipped: Vec<Arc<InFlight>>,
    failed: Vec<Arc<InFlight>>,
}

enum Next {
    Delivery(Option<Delivery>),
    Claimed(Result<Claimed>),
    Applied(Result<Applied>),
    Tick,
    Due,
    Stop,
}

/// The summary of a run that was stopped before it began.
pub(super) fn nothing_done(started: Instant) -> ProcessSummary {
    Counts::default().summary(started, LatencyRecorder::new("evp_process_applied_latency_seconds").summary())
}

impl Counts {
    fn summary(&self, started: Instant, latency: LatencySummary) -> ProcessSummary {
        ProcessSummary {
            processed: self.processed,
            duplicates: self.duplicates,
            skipped: self.skipped,
            dead_lettered: self.dead_lettered,
            uptime: started.elapsed(),
            latency,
        }
    }
}

impl Dispatcher {
    pub(super) fn new(parts: Parts, consumer: ConsumerHandle, started: Instant) -> Self {
        Self {
            parts,
            consumer,
            tracker: OffsetTracker::default(),
            waiting: Waiting::default(),
            gathered: Vec::new(),
            gathered_records: 0,
            claiming: None,
            claimed: None,
            applying: None,
            ended: HashSet::new(),
            assigned_once: false,
            failed_commits: 0,
            latency: LatencyRecorder::new("evp_process_applied_latency_seconds"),
            counts: Counts::default(),
            started,
        }
    }

    /// Runs until told to stop, until the end is reached, or until something cannot be healed.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<ProcessSummary> {
        tracing::info!(event = "starting_event_consumption", "consuming");
        let worked = self.work(&shutdown).await;
        tracing::info!(event = "kafka_consumer_shutting_down", "draining");
        let drained = match worked {
            Ok(()) => {
                tokio::time::timeout(self.parts.process.shutdown_timeout, self.drain()).await.unwrap_or_else(|_| {
                    let timeout = self.parts.process.shutdown_timeout.as_secs();
                    tracing::warn!(
                        event = "drain_incomplete",
                        "not drained within {timeout} s; the rest is applied at the next start"
                    );
                    Ok(())
                })
            }
            Err(error) => Err(error),
        };
        if let Some(applying) = self.applying.take() {
            applying.abort();
        }
        let committed = self.commit_now().await;
        let summary = self.counts.summary(self.started, self.latency.summary());
        self.consumer.stop().await;
        tracing::info!(
            event = "kafka_consumer_stopped",
            total_processed = summary.processed,
            total_errors = summary.dead_lettered,
            duplicates = summary.duplicates,
            skipped = summary.skipped,
            uptime_seconds = summary.uptime.as_secs_f64(),
            "stopped"
        );
        drained.and(committed).map(|()| summary)
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<()> {
        let mut commit_tick = tokio::time::interval(COMMIT_INTERVAL);
        commit_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_what_can_start();
            if self.parts.until == Until::CaughtUp && self.has_caught_up() {
                return Ok(());
            }
            match self.next(&mut commit_tick, shutdown).await {
                Next::Stop => return Ok(()),
                Next::Tick => self.commit(),
                Next::Due => {}
                Next::Claimed(claimed) => self.claims_answered(claimed?).await?,
                Next::Applied(applied) => self.settle(applied?).await?,
                Next::Delivery(None) => return Err(Error::new(ErrorKind::System, "the consumer thread has ended")),
                Next::Delivery(Some(delivery)) => self.receive(delivery).await?,
            }
        }
    }

    async fn next(&mut self, commit_tick: &mut tokio::time::Interval, shutdown: &CancellationToken) -> Next {
        let takes = self.takes_records();
        let due = if self.applying.is_none() { self.waiting.next_due() } else { None };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Next::Stop,
            applied = join(&mut self.applying), if self.applying.is_some() => Next::Applied(applied),
            claimed = join(&mut self.claiming), if self.claiming.is_some() => Next::Claimed(claimed),
            delivery = self.consumer.deliveries.recv(), if takes => Next::Delivery(delivery),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Next::Due,
            _ = commit_tick.tick() => Next::Tick,
        }
    }

    fn takes_records(&self) -> bool {
        self.gathered_records < self.parts.process.batch_records_max
            && self.waiting.len() < WAITING_EFFECTS_MAX
            && self.tracker.outstanding() < OUTSTANDING_RECORDS_MAX
    }

    /// Starts claiming and writing where nothing is in the way.
    fn start_what_can_start(&mut self) {
        if self.claiming.is_none() && self.claimed.is_none() && !self.gathered.is_empty() {
            let chunks = std::mem::take(&mut self.gathered);
            self.gathered_records = 0;
            let prepared = self.parts.preparation.prepare(chunks, &mut self.tracker);
            #[allow(clippy::cast_precision_loss)]
            metrics::histogram!("evp_process_batch_records").record(prepared.records as f64);
            self.claiming = Some(tokio::spawn(claim(Arc::clone(&self.parts.claims), prepared)));
        }
        if self.applying.is_none() {
            let now = Instant::now();
            let due = self.waiting.next_due().is_some_and(|due| due <= now);
            if self.claimed.is_some() || due {
                let effects = self.claimed.take().unwrap_or_default();
                let effects = self.waiting.admit(effects, now);
                let (store, source) = (Arc::clone(&self.parts.store), self.parts.source);
                self.applying = Some(tokio::spawn(async move { apply(&store, source, effects).await }));
            }
        }
    }

    fn has_caught_up(&self) -> bool {
        let idle =
            self.gathered.is_empty() && self.claiming.is_none() && self.claimed.is_none() && self.applying.is_none();
        let at_end = self.tracker.partitions().all(|partition| self.ended.contains(&partition));
        idle && self.assigned_once && at_end && self.waiting.is_empty()
    }

    async fn receive(&mut self, delivery: Delivery) -> Result<()> {
        self.receive_one(delivery).await?;
        while self.takes_records() {
            match self.consumer.deliveries.try_recv() {
                Ok(delivery) => self.receive_one(delivery).await?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    async fn receive_one(&mut self, delivery: Delivery) -> Result<()> {
        match delivery {
            Delivery::Chunk(chunk) => {
                self.consumer.backlog.take(&chunk);
                self.gathered_records = self.gathered_records.saturating_add(chunk.len());
                self.gathered.push(chunk);
            }
            Delivery::EndOfPartition(partition) => {
                self.ended.insert(partition);
            }
            Delivery::Assigned(partitions) => {
                for partition in &partitions {
                    self.tracker.assign(*partition);
                    self.ended.remove(partition);
                }
                self.assigned_once = true;
                self.parts.health.set_ready();
                tracing::info!(event = "partitions_assigned", ?partitions, "reading");
            }
            Delivery::Revoked { partitions, answer } => {
                let offsets = self.fence(&partitions).await?;
                // The consumer thread has stopped waiting; what is not committed is applied again, without effect.
                let _ = answer.send(offsets);
            }
            Delivery::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets the batch that is being written finish, forgets what is behind it, and says what may be committed.
    async fn fence(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>> {
        tracing::info!(event = "partitions_revoked", ?partitions, "another member reads them from now on");
        if let Some(applying) = &mut self.applying
            && let Ok(applied) = tokio::time::timeout(FENCE_WAIT, applying).await
        {
            self.applying = None;
            self.settle(joined(applied)?).await?;
        }
        self.tracker.commit_failed();
        let mut offsets = self.tracker.take_committable();
        offsets.retain(|(partition, _)| partitions.contains(partition));
        for partition in partitions {
            self.tracker.revoke(*partition);
            self.ended.remove(partition);
        }
        for chunk in &mut self.gathered {
            chunk.drop_partitions(partitions);
        }
        self.gathered_records = self.gathered.iter().map(Chunk::len).sum();
        self.gathered.retain(|chunk| chunk.len() > 0);
        let tracker = &self.tracker;
        let is_ours = |effect: &Effect| tracker.is_current(effect.event.partition, effect.event.assignment);
        self.waiting.retain(is_ours);
        if let Some(claimed) = &mut self.claimed {
            claimed.retain(is_ours);
        }
        Ok(offsets)
    }

    async fn claims_answered(&mut self, mut claimed: Claimed) -> Result<()> {
        let tracker = &self.tracker;
        claimed.effects.retain(|effect| tracker.is_current(effect.event.partition, effect.event.assignment));
        for event in &claimed.skipped {
            self.finish(event, "skipped");
        }
        for event in &claimed.duplicates {
            self.finish(event, "duplicate");
        }
        for event in &claimed.without_effect {
            self.finish(event, "applied");
        }
        self.claimed = Some(claimed.effects);
        self.give_up(claimed.failed).await
    }

    /// Sorts the outcomes of a batch: finished, waiting, or given up.
    async fn settle(&mut self, applied: Applied) -> Result<()> {
        let now = Instant::now();
        let (mut given_up, mut finished, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        self.reassert_claims(&applied).await?;
        for (mut effect, outcome) in applied.effects.into_iter().zip(applied.outcomes) {
            if !self.tracker.is_current(effect.event.partition, effect.event.assignment) {
                continue;
            }
            let failure = match outcome {
                Outcome::Applied => {
                    if effect.event.effect_applied() {
                        finished.push(effect.event);
                    }
                    continue;
                }
                Outcome::Deferred => {
                    parked.push((effect, now));
                    continue;
                }
                Outcome::Missing => {
                    let what = effect.model.collection();
                    Error::data(format!(
                        "predecessor missing: the document in `{what}` that the event changes does not exist"
                    ))
                }
                Outcome::Failed(error) => error,
            };
            effect.attempts = effect.attempts.saturating_add(1);
            let final_now =
                failure.kind().reaction() == Reaction::DeadLetter && !failure.message().starts_with("predecessor");
            if failure.kind().reaction() == Reaction::Halt {
                return Err(failure);
            }
            if !final_now && effect.attempts <= self.parts.process.retries_max {
                parked.push((effect, after(now, self.parts.process.retry_delay)));
                continue;
            }
            let handler = Some(effect.handler.0.name().to_owned());
            let failure = Failure { handler, stage: Stage::Apply, attempts: effect.attempts, error: failure };
            if effect.event.effect_failed(failure) {
                given_up.push(effect.event);
            }
        }
        for event in &finished {
            if let Some(commit_us) = event.source_ts_us {
                self.latency.record_since_epoch_us(commit_us);
            }
        }
        let (partly_failed, complete): (Vec<_>, Vec<_>) = finished.into_iter().partition(|event| event.has_failures());
        for event in &complete {
            self.finish(event, "applied");
        }
        given_up.extend(partly_failed);
        for (effect, due) in parked {
            self.waiting.park(vec![effect], due);
        }
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("evp_process_waiting_events").set(self.waiting.len() as f64);
        self.give_up(given_up).await
    }

    /// A change of primary since the claims were written may have undone them.
    async fn reassert_claims(&self, applied: &Applied) -> Result<()> {
        let undone = |event: &InFlight| applied.terms.iter().any(|term| Some(*term) != event.claim_term);
        if applied.terms.is_empty() || !applied.effects.iter().any(|effect| undone(&effect.event)) {
            return Ok(());
        }
        let mut claims: Vec<Claim> = applied.effects.iter().filter_map(|effect| effect.event.claim).collect();
        claims.dedup();
        tracing::info!(
            event = "claims_reasserted",
            claims = claims.len(),
            "the primary has changed; claims are written again"
        );
        self.parts.claims.reassert(&claims).await
    }

    /// Writes dead letters, and only then lets the offsets of their events go.
    async fn give_up(&mut self, events: Vec<Arc<InFlight>>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let letters: Vec<(&InFlight, Vec<Failure>)> =
            events.iter().map(|event| (&**event, event.take_failures())).collect();
        self.parts.dead_letters.write(&letters).await?;
        let failed: Vec<(Claim, Vec<String>)> = letters
            .iter()
            .filter_map(|(event, failures)| {
                let handlers = failures.iter().filter_map(|failure| failure.handler.clone()).collect();
                Some((event.claim?, handlers))
            })
            .collect();
        self.parts.claims.mark_failed(&failed).await?;
        for event in &events {
            self.finish(event, "dead_lettered");
        }
        Ok(())
    }

    fn finish(&mut self, event: &InFlight, outcome: &'static str) {
        self.tracker.done(event.partition, event.assignment, event.position.offset);
        let count = match outcome {
            "skipped" => &mut self.counts.skipped,
            "duplicate" => &mut self.counts.duplicates,
            "dead_lettered" => &mut self.counts.dead_lettered,
            _ => &mut self.counts.processed,
        };
        *count = count.saturating_add(1);
        metrics::counter!("evp_process_events_total", "outcome" => outcome).increment(1);
        tracing::debug!(
            event = "event_processed",
            outcome,
            partition = event.partition,
            offset = event.position.offset
        );
    }

    fn commit(&mut self) {
        let failed = self.consumer.failed_commits();
        if failed != self.failed_commits {
            self.failed_commits = failed;
            self.tracker.commit_failed();
        }
        let offsets = self.tracker.take_committable();
        if offsets.is_empty() {
            return;
        }
        if let Err(error) = self.consumer.commit(&offsets) {
            tracing::debug!(event = "kafka_commit_failed", %error, "offsets will be committed again");
            self.tracker.commit_failed();
        }
    }

    async fn commit_now(&mut self) -> Result<()> {
        self.tracker.commit_failed();
        let offsets = self.tracker.take_committable();
        if offsets.is_empty() {
            return Ok(());
        }
        self.consumer.commit_now(offsets).await
    }

    /// Finishes what was claimed or is being written; takes nothing new.
    async fn drain(&mut self) -> Result<()> {
        if let Some(claiming) = self.claiming.take() {
            let claimed = joined(claiming.await)?;
            self.claims_answered(claimed).await?;
        }
        loop {
            if let Some(applying) = &mut self.applying {
                let applied = joined(applying.await)?;
                self.applying = None;
                self.settle(applied).await?;
            }
            let Some(effects) = self.claimed.take() else { return Ok(()) };
            let effects = self.waiting.admit(effects, Instant::now());
            let (store, source) = (Arc::clone(&self.parts.store), self.parts.source);
            self.applying = Some(tokio::spawn(async move { apply(&store, source, effects).await }));
        }
    }
}

/// Claims the events of a batch, and leaves out what was applied before.
async fn claim(claims: Arc<Claims>, mut prepared: Prepared) -> Result<Claimed> {
    let wanted: Vec<Claim> = prepared.events.iter().map(|event| event.claim).collect();
    let answered = claims.claim(&wanted).await?;
    let mut claimed = Claimed {
        effects: Vec::with_capacity(prepared.events.len()),
        duplicates: prepared.duplicates,
        without_effect: prepared.without_effect,
        skipped: prepared.skipped,
        failed: prepared.failed,
    };
    for (mut event, verdict) in std::mem::take(&mut prepared.events).into_iter().zip(answered.verdicts) {
        event.event.claim_term = answered.term;
        match verdict {
            Verdict::Duplicate => claimed.duplicates.push(Arc::new(event.event)),
            Verdict::Apply { except } if except.is_empty() => event.into_effects(&mut claimed.effects),
            Verdict::Apply { except } => {
                event.parts.retain(|(handler, _)| !except.iter().any(|name| name == handler.0.name()));
                into_effects_if_any(event, &mut claimed);
            }
            Verdict::ApplyOnly { handlers } => {
                event.parts.retain(|(handler, _)| handlers.iter().any(|name| name == handler.0.name()));
                into_effects_if_any(event, &mut claimed);
            }
        }
    }
    Ok(claimed)
}

fn into_effects_if_any(event: PreparedEvent, claimed: &mut Claimed) {
    if event.parts.is_empty() {
        claimed.without_effect.push(Arc::new(event.event));
    } else {
        event.into_effects(&mut claimed.effects);
    }
}

/// The result of a task, which then is gone.
async fn join<T>(task: &mut Option<JoinHandle<Result<T>>>) -> Result<T> {
    let Some(running) = task.as_mut() else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    joined(result)
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result
        .unwrap_or_else(|error| Err(Error::with_source(ErrorKind::System, "a task of the dispatcher panicked", error)))
}
