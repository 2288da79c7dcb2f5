//! One session: from the first connection to the last status update.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::companions::Companions;
use super::confirmation::{Confirmer, WrittenLineage};
use super::first_flights::FirstFlights;
use super::incremental::Incremental;
use super::lineage::END_LOST;
use super::meter::Meter;
use super::pipeline::{BlockingTries, Ending, Pipeline, Sink};
use super::preparation::{HeldStream, Past, Prepared, prepare};
use super::producers::Producers;
use super::refused_rows::{RefusedRows, RowName, stopped};
use super::transaction::TransactionState;
use super::{CaptureOptions, CaptureSummary, catalog_watch, heartbeat_query, snapshot, stall};
use crate::connector::SnapshotMode;
use crate::envelope::{ContextHeaders, Position, PositionKind, RecordOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_first_compacted_topic;
use crate::kafka::limits::usual_batch_bytes;
use crate::kafka::producer::{DeliveryFailure, DeliverySink, Producer, Purpose, Refusal};
use crate::lsn::Lsn;
use crate::shutdown::Until;
use crate::telemetry::Health;

/// How long a loss may take to be put on record.
const LOSS_NOTED_WITHIN: Duration = Duration::from_secs(2);
/// A topic whose limit is not known and that refuses a batch gets smaller ones, but none smaller than this.
const LEARNED_BATCH_BYTES_MIN: usize = 16 * 1024;

/// What outlives a session.
pub(super) struct Capture {
    options: Arc<CaptureOptions>,
    health: Arc<Health>,
    pub(super) meter: Meter,
    acknowledgements: Arc<Acknowledgements>,
    producers: Option<Producers>,
    /// What every topic takes, as far as is known.
    batch_bytes: usize,
    context_headers: Option<ContextHeaders>,
    /// The target of `--until caught-up`, fixed at the first session.
    target: Option<Lsn>,
    past: Past,
    /// Up to this commit records are sent one by one, because a batch was refused.
    careful_until: Option<Lsn>,
    /// The record that was sent last, of those.
    last_alone: Option<RowName>,
    /// Records by their positions that are known to be refused, with the reason.
    refused: HashMap<Position, String>,
    blocking_tries: BlockingTries,
    is_drained: bool,
}

impl Capture {
    pub(super) fn new(options: CaptureOptions, health: Arc<Health>) -> Self {
        Self {
            context_headers: options.context_headers(),
            past: Past { accepts_gap: options.accept_gap, ..Past::default() },
            acknowledgements: Arc::new(Acknowledgements::new(Arc::clone(&health))),
            meter: Meter::new(),
            producers: None,
            batch_bytes: usual_batch_bytes(),
            target: None,
            careful_until: None,
            last_alone: None,
            refused: HashMap::new(),
            blocking_tries: BlockingTries::default(),
            is_drained: false,
            options: Arc::new(options),
            health,
        }
    }

    /// How many rows' records Kafka has acknowledged in this run.
    pub(super) fn acknowledged_rows(&self) -> u64 {
        let [rows, ..] = self.acknowledgements.standing();
        rows.acknowledged
    }

    /// Runs one session to its end.
    pub(super) async fn run_session(&mut self, shutdown: &CancellationToken) -> Result<Ending> {
        // First, because it takes half a second until it can write.
        let producers = self.producers()?;
        let preparing = Box::pin(prepare(&self.options, (&self.acknowledgements, &producers), self.past));
        let Some(prepared) = shutdown.run_until_cancelled(preparing).await else { return Ok(Ending::Stopped) };
        let prepared = prepared?;
        self.past.may_arrive = false;
        let producers = self.producers_for(&prepared)?;
        self.acknowledgements.start_session(prepared.slot_lsn, prepared.topics.ends.clone());
        let outcome = Box::pin(self.stream(prepared, producers, shutdown)).await;
        let Err(error) = outcome else { return outcome };
        self.meter.connected.set(0.0);
        let error = match self.acknowledgements.take_failure() {
            Some(DeliveryFailure::Refused(refusal)) => self.refused(&refusal),
            Some(DeliveryFailure::Failed(failed)) => failed,
            None => error,
        };
        self.health.set_not_ready(error.to_string());
        self.settle_or_drop_producer(shutdown).await;
        Err(error)
    }

    /// Producers whose batches the session's topics take.
    fn producers_for(&mut self, prepared: &Prepared) -> Result<Producers> {
        let known = prepared.limits.batch_bytes(
            prepared
                .topics
                .partition_counts
                .keys()
                .filter(|topic| prepared.topics.ends.contains_key(&((*topic).clone(), 0))),
        );
        self.batch_bytes = self.batch_bytes.min(known);
        self.producers()
    }

    async fn stream(
        &mut self,
        prepared: Prepared,
        producers: Producers,
        shutdown: &CancellationToken,
    ) -> Result<Ending> {
        let Prepared { mut stream, catalog, facts, slot_lsn, topics, limits, lineage, tables, takes_snapshot } =
            prepared;
        let identity = stream.identity.clone();
        let known =
            topics.confirmation.as_ref().filter(|record| record.system_identifier == identity.system_identifier);
        let written = known.map(|record| WrittenLineage::known(record.lineage.clone()));
        let last_commit_end = known.and_then(|record| record.last_commit_end);
        let confirmed_before = known.map(|record| record.confirmed_lsn);
        let lineage = Arc::new(Mutex::new(lineage));
        let confirmer = Arc::new(Confirmer {
            acknowledgements: Arc::clone(&self.acknowledgements),
            producer: Arc::clone(producers.prompt()),
            topic: self.options.position_topic.clone(),
            slot_name: self.options.settings.slot_name.clone(),
            system_identifier: identity.system_identifier,
            lineage: Arc::clone(&lineage),
            confirmed: Arc::clone(&stream.confirmed),
            turn: tokio::sync::Mutex::new(written),
        });
        if let Some(end) = last_commit_end {
            confirmer.confirmed.note_commit_end(end);
        }
        self.establish(&confirmer, confirmed_before, topics.has_position_topic, slot_lsn, shutdown).await?;
        match self.options.until {
            Until::Stopped => {}
            Until::CaughtUp => self.target = self.target.or(Some(facts.flushed_lsn)),
            Until::Reached(lsn) => self.target = Some(lsn),
        }
        let mut partitions: Vec<(String, i32)> = topics.ends.keys().cloned().collect();
        partitions.insert(0, (confirmer.topic.clone(), 0));
        let watched = catalog_watch::connect(&self.options).await?;
        let mut companions =
            Companions::start(&self.acknowledgements, &confirmer, &producers, (&self.options.kafka, partitions));
        self.health.set_ready();
        self.meter.connected.set(1.0);
        let fixed_lineage = lineage.lock().clone();
        let is_there = |topic: &&String| topics.partition_counts.contains_key(*topic);
        let met = fixed_lineage.topics().filter(is_there).cloned().collect();
        let mut pipeline = Pipeline {
            options: &self.options,
            catalog: &catalog,
            confirmed: Arc::clone(&stream.confirmed),
            confirmer: Arc::clone(&confirmer),
            sink: Sink {
                acknowledgements: Arc::clone(&self.acknowledgements),
                producers,
                meter: &self.meter,
                tails: topics.tails,
                partition_counts: topics.partition_counts.into_iter().collect(),
                met,
                lineage: fixed_lineage,
                limits,
                first_flights: FirstFlights::new(Instant::now()),
                careful_until: self.careful_until,
                refused: &self.refused,
                last_alone: None,
            },
            transaction: TransactionState::resuming_after(last_commit_end),
            incremental: Incremental::start(&self.options, &lineage, &tables),
            reads_carefully: self.careful_until.is_some(),
            blocking_tries: &self.blocking_tries,
            system_identifier: identity.system_identifier,
            records: RecordOptions {
                with_tombstones: self.options.settings.tombstones_on_delete,
                with_position: self.options.with_position_header,
                context_headers: self.context_headers.clone(),
                skips_unchanged: self.options.settings.skips_unchanged,
                skipped_operations: self.options.settings.skipped_operations.clone(),
            },
            silence_max: stream.silence_max,
            target: self.target,
        };
        let version = facts.version_number;
        let HeldStream { reader, feedback, .. } = &mut stream;
        let mut has_snapshot = false;
        let reading = snapshot::Context {
            options: &self.options,
            confirmer: &confirmer,
            system_identifier: identity.system_identifier,
            tables: &tables,
        };
        let working = async {
            if takes_snapshot {
                if Box::pin(snapshot::take(&reading, &mut pipeline, shutdown)).await? == snapshot::Taken::Stopped {
                    return Ok(Ending::Stopped);
                }
                has_snapshot = true;
            }
            if self.options.settings.snapshot.mode == SnapshotMode::InitialOnly {
                return Ok(Ending::Read);
            }
            tracing::info!(
                event = "streaming_started",
                slot = self.options.settings.slot_name,
                from = %slot_lsn,
                timeline = identity.timeline,
                "streaming"
            );
            pipeline.run(reader, shutdown).await
        };
        let outcome = tokio::select! {
            outcome = working => outcome,
            error = companions.failure(feedback) => Err(error),
            never = self.heartbeat_query() => match never {},
            error = catalog_watch::watch(&watched, &self.options, version, &lineage, &self.meter, &self.health) => Err(error),
        };
        (self.careful_until, self.last_alone) = (pipeline.sink.careful_until, pipeline.sink.last_alone.take());
        self.past.has_snapshot |= has_snapshot;
        self.health.set_catalog_obstacle(None);
        match outcome {
            Ok(ending) => {
                self.is_drained = self.drain(&confirmer, companions, stream).await;
                Ok(ending)
            }
            Err(error) => {
                companions.abort();
                if self.acknowledgements.ends().values().any(|end| *end == END_LOST) {
                    // So that the next start refuses it as well, whatever the topic holds by then.
                    let noting = confirmer.write_lineage_alone(&self.options.kafka);
                    let _ = tokio::time::timeout(LOSS_NOTED_WITHIN, noting).await;
                }
                Err(error)
            }
        }
    }

    /// Runs `heartbeat.action.query`, if there is one and there are heartbeats.
    async fn heartbeat_query(&self) -> Infallible {
        let settings = &self.options.settings;
        match (&settings.heartbeat_query, settings.heartbeat_interval) {
            (Some(statement), Some(interval)) => {
                heartbeat_query::run(&self.options.postgres, statement, interval).await
            }
            _ => std::future::pending().await,
        }
    }

    /// Makes sure that the slot's position is on record before anything is streamed.
    async fn establish(
        &mut self,
        confirmer: &Confirmer,
        confirmed_before: Option<Lsn>,
        has_position_topic: bool,
        slot_lsn: Lsn,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        if confirmed_before.is_some_and(|before| before >= slot_lsn) && !confirmer.has_changed_lineage().await {
            confirmer.confirmed.set(slot_lsn);
            (self.past.accepts_gap, self.past.has_confirmation) = (false, true);
            return Ok(());
        }
        if !has_position_topic {
            create_first_compacted_topic(&self.options.kafka, &confirmer.topic).await?;
        }
        let sink: Arc<dyn DeliverySink> = Arc::<Acknowledgements>::clone(&self.acknowledgements);
        let producer = Producer::new(&self.options.kafka, Purpose::Single, sink)?;
        let written = shutdown.run_until_cancelled(confirmer.write_by(&producer, slot_lsn)).await;
        // Its thread takes a moment to end, which matters only if it could still speak of this record in the next session.
        let closing = tokio::task::spawn_blocking(move || drop(producer));
        if !matches!(written, Some(Ok(()))) {
            let _ = closing.await;
        }
        written.unwrap_or_else(|| Err(Error::unavailable("stopped before streaming began")))?;
        (self.past.accepts_gap, self.past.has_confirmation) = (false, true);
        Ok(())
    }

    /// What follows from a refusal: the record is found by sending those that may be it one by one; then it is named.
    fn refused(&mut self, refusal: &Refusal) -> Error {
        let alone = self.last_alone.take().filter(|row| self.careful_until.is_some() && row.topic == refusal.topic);
        let remedy = refusal.remedy();
        let Some(row) = alone else {
            if refusal.topic != self.options.position_topic {
                self.careful_until = Some(self.acknowledgements.last_begun());
                self.batch_bytes = (self.batch_bytes / 2).max(LEARNED_BATCH_BYTES_MIN);
            }
            return Error::unavailable(format!("a batch is refused, so its records are sent one by one: {remedy}"));
        };
        if !refusal.is_of_the_record() {
            return Error::new(ErrorKind::Unknown, format!("{} cannot be written: {remedy}", row.describe()));
        }
        // The rows of a chunk that is read again have other positions, and those of a blocking snapshot have one.
        let is_read_again = matches!(row.position.kind, PositionKind::Incremental | PositionKind::Blocking);
        if is_read_again || self.options.refused_rows == RefusedRows::Stop {
            return stopped(&row, &remedy);
        }
        let told = Error::unavailable(format!("{} is refused and becomes a dead letter: {remedy}", row.describe()));
        self.refused.insert(row.position, remedy);
        told
    }

    /// Waits for what is in flight, confirms it, tells PostgreSQL and says goodbye, all within the time that is left.
    async fn drain(&self, confirmer: &Confirmer, companions: Companions, mut stream: HeldStream) -> bool {
        let finishing = async {
            self.acknowledgements.wait_for(|now| now.in_flight().records == 0).await;
            let (_, flushed) = self.acknowledgements.positions();
            // A signal of a topic moves nothing but the lineage.
            confirmer.lineage.lock().incremental.passed(flushed);
            if flushed > stream.confirmed.get() || confirmer.has_changed_lineage().await {
                confirmer.write(flushed.max(stream.confirmed.get())).await?;
            }
            Ok::<_, Error>(())
        };
        let outcome = tokio::time::timeout(self.options.stopping.for_kafka(), finishing).await;
        companions.abort();
        stream.say_goodbye(self.options.stopping.for_goodbye()).await;
        match outcome {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(event = "drain_failed", %error, "not everything is confirmed; the next start resumes exactly");
                false
            }
            Err(_) => {
                tracing::warn!(
                    event = "drain_timeout",
                    in_flight = self.acknowledgements.in_flight().records,
                    "Kafka did not acknowledge in time; the next start resumes exactly"
                );
                false
            }
        }
    }

    /// After a failure: what Kafka can still take it takes, however long that lasts, so that the topic's tail is final
    /// when it is read again; unless its producer is stuck.
    async fn settle_or_drop_producer(&mut self, shutdown: &CancellationToken) {
        let Some(producers) = self.producers.clone() else { return };
        if !self.acknowledgements.is_stuck() {
            let (acknowledgements, config) = (Arc::clone(&self.acknowledgements), self.options.kafka.clone());
            let settled = self.acknowledgements.wait_for(|now| now.in_flight().records == 0);
            tokio::select! {
                _ = shutdown.run_until_cancelled(settled) => {}
                _ = stall::watch(acknowledgements, producers, config, Vec::new()) => {}
            }
        }
        self.health.set_delivery_obstacle(None);
        let is_open = self.acknowledgements.in_flight().records > 0;
        if (is_open || self.acknowledgements.is_stuck() || self.acknowledgements.has_failed())
            && let Some(producers) = self.producers.take()
        {
            self.past.may_arrive = is_open;
            // It waits for threads to end.
            let _ = tokio::task::spawn_blocking(move || producers.close()).await;
        }
    }

    /// The producers, made anew where they can write no more or their batches are not what the topics take.
    fn producers(&mut self) -> Result<Producers> {
        let is_unfit = |producers: &Producers| producers.are_broken() || producers.batch_bytes() != self.batch_bytes;
        if self.producers.as_ref().is_some_and(is_unfit)
            && let Some(unfit) = self.producers.take()
        {
            unfit.close();
        }
        if let Some(producers) = &self.producers {
            return Ok(producers.clone());
        }
        let sink: Arc<dyn DeliverySink> = Arc::<Acknowledgements>::clone(&self.acknowledgements);
        let producers = Producers::new(&self.options.kafka, self.batch_bytes, sink)?;
        Ok(self.producers.insert(producers).clone())
    }

    pub(super) fn summary(&self, uptime: Duration, is_caught_up: bool) -> CaptureSummary {
        let latency = self.acknowledgements.latency().summary();
        CaptureSummary { uptime, is_drained: self.is_drained || is_caught_up, latency }
    }
}
