//! The loop of `process`: while some batches are written, the next is parsed and claimed.
//!
//! Every wait is a branch of one `select!`, so that rebalances, time limits and the request to stop are
//! answered whatever MongoDB and the dead-letter topic do. Batches are claimed one after the other, and a document
//! is in one write at a time, which keeps its order.

mod claiming;
mod dead_letters;
mod deliveries;
mod held;
mod room;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::applied::{Desk, Turn};
use super::apply::Applied;
use super::breaker::Breaker;
use super::busy::Busy;
use super::claim::{Claimed, Postponed};
use super::dead_letter::DeadLetters;
use super::first_records::FirstRecords;
use super::frontier::Frontier;
use super::gathered::Gathered;
use super::given_up::GivenUp;
use super::in_flight::{Effect, InFlight};
use super::open_events::OpenEvents;
use super::pace::Pace;
use super::parking::Parking;
use super::prepare::Preparation;
use super::progress::Progress;
use super::projections::Replacement;
use super::source::SourceTopic;
use super::swaps::Swaps;
use super::tally::{End, Tally};
use super::tasks::{DeadLettered, Pulse, join, join_first};
use super::waiting::Waiting;
use super::withheld::Withheld;
use crate::config::ProcessConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::consumer::{ConsumerHandle, Delivery};
use crate::mongo::{Claims, Store};
use crate::shutdown::Until;
use crate::telemetry::Health;
use room::Looking;

/// What a client gets to say good-bye whose brokers it cannot reach.
const REPLACED_WITHIN: Duration = Duration::from_secs(2);
/// What a drain leaves of its time for the last commit, at the most.
const DRAIN_RESERVE: Duration = Duration::from_secs(5);
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// What the dispatcher works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) preparation: Preparation,
    pub(super) replacement: Replacement,
    pub(super) claims: Arc<Claims>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) store: Arc<Store>,
    pub(super) source: SourceTopic,
    pub(super) swaps: Swaps,
    pub(super) health: Arc<Health>,
    pub(super) process: ProcessConfig,
    pub(super) until: Until,
    /// Records that are no events are set aside, however many the topic begins with.
    pub(super) accept_shape: bool,
}

pub(super) struct Dispatcher {
    parts: Parts,
    consumer: ConsumerHandle,
    progress: Progress,
    waiting: Waiting,
    parking: Parking,
    frontier: Frontier,
    looking: Option<Looking>,
    gathered: Gathered,
    pace: Pace,
    /// When the next batch is to be claimed, if its records still gather.
    gathers_until: Option<Instant>,
    /// What is to be claimed before anything else.
    postponed: Option<Postponed>,
    breaker: Breaker,
    withheld: Withheld,
    open: Arc<OpenEvents>,
    claiming: Option<JoinHandle<Result<Claimed>>>,
    /// Claimed, not being written.
    claimed: Option<Vec<Effect>>,
    /// Writes on their way, of different documents.
    writes: JoinSet<Result<Applied>>,
    busy: Busy,
    /// From when on few records are claimed though writes are on their way; `None` if there are none.
    overlaps_from: Option<Instant>,
    first_records: FirstRecords,
    /// Events without hope, not yet in the dead-letter topic.
    given_up: GivenUp,
    giving_up: Option<JoinHandle<Result<DeadLettered>>>,
    tally: Tally,
    pulse: Pulse,
    /// Who asks how far all this is.
    desk: Desk,
}

enum Next {
    Delivery(Option<Delivery>),
    Claimed(Result<Claimed>),
    Applied(Result<Applied>),
    DeadLettered(Result<DeadLettered>),
    Desk(Turn),
    Tick,
    Due,
    Stop,
}

impl Dispatcher {
    pub(super) fn new(parts: Parts, consumer: ConsumerHandle, tally: Tally, desk: Desk) -> Self {
        let gathered = Gathered::new(Arc::clone(&consumer.backlog));
        let ProcessConfig { refusals_max, retry_delay, .. } = parts.process;
        let pace = Pace::new(parts.process.target_p99, Instant::now());
        let breaker = Breaker::new(refusals_max, retry_delay, Arc::clone(&parts.health));
        let mut busy = Busy::default();
        busy.keep_whole(parts.preparation.registry.collections_with_unique_index());
        let first_records = FirstRecords::new(parts.accept_shape || parts.source.has_events());
        Self {
            parts,
            consumer,
            progress: Progress::default(),
            waiting: Waiting::default(),
            parking: Parking::default(),
            frontier: Frontier::default(),
            looking: None,
            gathered,
            pace,
            gathers_until: None,
            postponed: None,
            breaker,
            withheld: Withheld::default(),
            open: Arc::default(),
            claiming: None,
            claimed: None,
            writes: JoinSet::new(),
            busy,
            overlaps_from: None,
            first_records,
            given_up: GivenUp::default(),
            giving_up: None,
            tally,
            pulse: Pulse::default(),
            desk,
        }
    }

    /// Runs until told to stop, until the end is reached, or until something cannot be healed. It may be run anew after
    /// [`ErrorKind::Unavailable`]: the client was of no use any more.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> (Tally, Result<()>) {
        tracing::info!(event = "starting_event_consumption", "consuming");
        let worked = self.work(shutdown).await;
        tracing::info!(event = "kafka_consumer_shutting_down", "draining");
        let is_replaced = worked.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        let limit = if is_replaced { REPLACED_WITHIN } else { self.parts.process.shutdown_timeout };
        // What is left after the end is for the clients to close.
        let end = tokio::time::Instant::now() + limit * 5 / 6;
        let drained = match worked {
            Ok(()) => {
                tokio::time::timeout_at(end - (limit / 3).min(DRAIN_RESERVE), self.drain()).await.unwrap_or_else(|_| {
                    tracing::warn!(
                        event = "drain_incomplete",
                        "not drained in time; the rest is applied at the next start"
                    );
                    Ok(())
                })
            }
            Err(error) => Err(error),
        };
        self.writes.abort_all();
        if let Some(giving_up) = self.giving_up.take() {
            giving_up.abort();
        }
        self.commit_last(end - limit / 8).await;
        self.consumer.stop(end).await;
        let summary = self.tally.summary();
        if !is_replaced {
            tracing::info!(
                event = "kafka_consumer_stopped",
                total_processed = summary.processed,
                total_errors = summary.dead_lettered,
                duplicates = summary.duplicates,
                skipped = summary.skipped,
                uptime_seconds = summary.uptime.as_secs_f64(),
                "stopped"
            );
        }
        (self.tally, drained)
    }

    /// Commits and notes what is applied; without an answer of Kafka in time, that is applied again without effect.
    async fn commit_last(&mut self, deadline: tokio::time::Instant) {
        let committed = tokio::time::timeout_at(deadline, self.progress.commit_now(&self.consumer)).await;
        match committed {
            Ok(Ok(offsets)) => self.parts.source.note_last(&offsets).await,
            Ok(Err(error)) => {
                tracing::warn!(event = "kafka_commit_failed", %error, "the next start applies these events again, without effect");
            }
            Err(_elapsed) => {
                tracing::warn!(
                    event = "kafka_commit_failed",
                    "Kafka has not confirmed the last offsets in time; the next start applies these events again, without effect"
                );
            }
        }
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<()> {
        let mut commit_tick = tokio::time::interval(COMMIT_INTERVAL);
        commit_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_claiming()?;
            self.start_writing();
            self.start_giving_up();
            if self.parts.until == Until::CaughtUp && self.has_caught_up() {
                if !self.first_records.is_holding() {
                    return Ok(());
                }
                self.given_up.extend(self.first_records.decide()?);
                continue;
            }
            match self.next(&mut commit_tick, shutdown).await {
                Next::Stop => return Ok(()),
                next => self.handle(next).await?,
            }
        }
    }

    async fn handle(&mut self, next: Next) -> Result<()> {
        match next {
            Next::Stop | Next::Due => Ok(()),
            Next::Tick => self.tick(),
            Next::Claimed(claimed) => {
                self.claims_answered(claimed?);
                Ok(())
            }
            Next::Applied(applied) => self.settle(applied?),
            Next::DeadLettered(outcome) => {
                self.dead_lettered(outcome?);
                Ok(())
            }
            Next::Desk(turn) => {
                let claims = (&self.parts.claims, self.parts.source.number());
                self.desk.take(turn, &self.progress.tracker, &self.consumer, claims);
                Ok(())
            }
            Next::Delivery(None) => Err(Error::new(ErrorKind::System, "the consumer thread has ended")),
            Next::Delivery(Some(delivery)) => self.receive(delivery).await,
        }
    }

    fn tick(&mut self) -> Result<()> {
        self.check_hopeless()?;
        self.judge_pace();
        if let Some((registry, generations)) = self.parts.replacement.ready(&self.parts.store) {
            self.busy.keep_whole(registry.collections_with_unique_index());
            self.parts.preparation.replace(registry, generations);
        }
        self.desk.advance(&self.progress.tracker);
        self.parts.swaps.confirm(&self.consumer);
        let committed = self.progress.commit(&self.consumer);
        self.parts.swaps.sent(&committed, &self.consumer);
        self.parts.source.committed(&committed);
        self.parts.source.check(&self.consumer)?;
        self.look_at_topic();
        self.given_up.extend(self.first_records.take_due(Instant::now())?);
        let is_idle = self.claiming.is_none() && self.writes.is_empty();
        let is_committed = is_idle && self.claimed.is_none() && self.progress.is_committed(&self.consumer);
        self.parts.swaps.watch(is_committed, &self.progress.tracker)?;
        self.pulse.beat(&self.parts.store, is_idle);
        self.pulse.look_at_sizes(&self.parts.store);
        Ok(())
    }

    async fn next(&mut self, commit_tick: &mut tokio::time::Interval, shutdown: &CancellationToken) -> Next {
        let due = if self.may_write() { self.next_due() } else { None };
        let due = due.into_iter().chain(self.gathers_until).min();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Next::Stop,
            applied = join_first(&mut self.writes), if !self.writes.is_empty() => Next::Applied(applied),
            claimed = join(&mut self.claiming), if self.claiming.is_some() => Next::Claimed(claimed),
            outcome = join(&mut self.giving_up), if self.giving_up.is_some() => Next::DeadLettered(outcome),
            turn = self.desk.turn() => Next::Desk(turn),
            delivery = self.consumer.deliveries.recv() => Next::Delivery(delivery),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Next::Due,
            _ = commit_tick.tick() => Next::Tick,
        }
    }

    fn has_caught_up(&self) -> bool {
        let idle = self.gathered.is_empty()
            && self.postponed.is_none()
            && self.withheld.is_empty()
            && self.claiming.is_none()
            && self.claimed.is_none()
            && self.writes.is_empty()
            && !self.busy.has_released()
            && self.giving_up.is_none()
            && self.given_up.is_empty()
            && self.parking.len() == 0
            && !self.parking.has_released();
        idle && self.progress.is_at_end() && self.waiting.is_empty()
    }

    fn end(&mut self, event: &InFlight, end: End) {
        self.open.remove(event);
        self.parking.decided(event);
        self.progress.done(event);
        self.desk.decided(event, end);
        self.tally.ended(event, end);
    }

    /// Finishes what was claimed, is being written or is given up; takes nothing new.
    async fn drain(&mut self) -> Result<()> {
        let mut commit_tick = tokio::time::interval(COMMIT_INTERVAL);
        let never = CancellationToken::new();
        loop {
            self.start_writing();
            self.start_giving_up();
            let is_done = self.claiming.is_none()
                && self.writes.is_empty()
                && self.giving_up.is_none()
                && self.given_up.is_empty();
            if is_done {
                return Ok(());
            }
            let next = self.next(&mut commit_tick, &never).await;
            self.handle(next).await?;
        }
    }
}
