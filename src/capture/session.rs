//! One session: from the first connection to the last status update.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::acknowledgements::Acknowledgements;
use super::confirmation::{Confirmed, Confirmer, position_topic};
use super::meter::Meter;
use super::pipeline::{Ending, Pipeline};
use super::preparation::{Prepared, prepare};
use super::producers::Producers;
use super::relations::Relations;
use super::slot_watch::watch_slot;
use super::source::SourceState;
use super::topic_ends::TopicState;
use super::transaction::TransactionState;
use super::{CaptureOptions, CaptureSummary, Obstacle, feedback};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_compacted_topic;
use crate::kafka::producer::{DeliverySink, Producer, Purpose};
use crate::lsn::Lsn;
use crate::postgres::{self, ReplicationReader, Session, StartPoint, SystemIdentity};
use crate::shutdown::Until;
use crate::telemetry::Health;

/// How long the server may take to end the stream after we did.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What outlives a session.
pub(super) struct Capture {
    options: Arc<CaptureOptions>,
    health: Arc<Health>,
    pub(super) meter: Meter,
    acknowledgements: Arc<Acknowledgements>,
    producers: Option<Producers>,
    context_headers: Option<OwnedHeaders>,
    /// The target of `--until caught-up`, fixed at the first session.
    target: Option<Lsn>,
    /// `--accept-gap` holds until a session has begun.
    accepts_gap: bool,
    is_drained: bool,
}

/// The tasks beside the pipeline.
struct Companions {
    token: CancellationToken,
    feedback: JoinHandle<Result<()>>,
    confirmation: JoinHandle<Result<()>>,
}

impl Capture {
    pub(super) fn new(options: CaptureOptions, health: Arc<Health>) -> Self {
        Self {
            context_headers: context_headers(&options),
            accepts_gap: options.accept_gap,
            acknowledgements: Arc::new(Acknowledgements::new(Arc::clone(&health))),
            meter: Meter::new(),
            producers: None,
            target: None,
            is_drained: false,
            options: Arc::new(options),
            health,
        }
    }

    /// Runs one session to its end.
    pub(super) async fn run_session(
        &mut self,
        shutdown: &CancellationToken,
        obstacle: &mut Obstacle,
    ) -> Result<Ending> {
        // First, because it takes half a second until it can write.
        let producers = self.producers()?;
        let prepared = shutdown.run_until_cancelled(prepare(&self.options, self.accepts_gap)).await;
        let Some(prepared) = prepared else { return Ok(Ending::Stopped) };
        let Prepared { source, topics, identity, lineage, session } = prepared?;
        let slot_lsn = source.slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn).unwrap_or_default();
        self.acknowledgements.start_session(slot_lsn);
        let confirmed = Arc::new(Confirmed::default());
        let confirmer = Arc::new(Confirmer {
            acknowledgements: Arc::clone(&self.acknowledgements),
            producer: Arc::clone(producers.prompt()),
            topic: position_topic(&self.options.settings.topic_prefix),
            slot_name: self.options.settings.slot_name.clone(),
            system_identifier: identity.system_identifier,
            lineage,
            confirmed: Arc::clone(&confirmed),
            turn: tokio::sync::Mutex::default(),
        });
        self.establish(&confirmer, &topics, &identity, slot_lsn, shutdown).await?;
        if self.options.until == Until::CaughtUp {
            self.target.get_or_insert(source.facts.flushed_lsn);
        }
        let mut streaming = Streaming { confirmer, confirmed, producers, identity };
        let outcome = Box::pin(self.stream(&mut streaming, &source, topics, session, shutdown, obstacle)).await;
        if let Err(error) = &outcome {
            self.meter.connected.set(0.0);
            self.health.set_not_ready(error.to_string());
            self.settle_or_drop_producer(shutdown).await;
        }
        outcome
    }

    /// Makes sure that the slot's position is on record before anything is streamed.
    async fn establish(
        &mut self,
        confirmer: &Confirmer,
        topics: &TopicState,
        identity: &SystemIdentity,
        slot_lsn: Lsn,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let known =
            topics.confirmation.as_ref().filter(|record| record.system_identifier == identity.system_identifier);
        if let Some(end) = known.and_then(|record| record.last_commit_end) {
            confirmer.confirmed.note_commit_end(end);
        }
        if known.is_some_and(|record| record.confirmed_lsn >= slot_lsn && record.lineage == confirmer.lineage) {
            confirmer.confirmed.set(slot_lsn);
            self.accepts_gap = false;
            return Ok(());
        }
        if !topics.has_position_topic {
            create_compacted_topic(&self.options.kafka, &confirmer.topic).await?;
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
        self.accepts_gap = false;
        Ok(())
    }

    async fn stream(
        &mut self,
        streaming: &mut Streaming,
        source: &SourceState,
        topics: TopicState,
        mut session: Session,
        shutdown: &CancellationToken,
        obstacle: &mut Obstacle,
    ) -> Result<Ending> {
        let settings = &self.options.settings;
        let start = StartPoint { slot: settings.slot_name.clone(), publications: settings.publication_name.clone() };
        let starting = async {
            let sender_timeout = postgres::wal_sender_timeout(&mut session).await?;
            Ok::<_, Error>((sender_timeout, postgres::start_replication(session, &start).await?))
        };
        let Some(started) = shutdown.run_until_cancelled(starting).await else { return Ok(Ending::Stopped) };
        let (sender_timeout, (mut reader, writer)) = started?;
        let interval = feedback::status_interval(settings.status_interval, sender_timeout);
        let mut companions = self.start_companions(streaming, writer, interval);
        obstacle.gone();
        self.health.set_ready();
        self.meter.connected.set(1.0);
        tracing::info!(
            event = "streaming_started",
            slot = settings.slot_name,
            from = %self.acknowledgements.positions().1,
            timeline = streaming.identity.timeline,
            "streaming"
        );
        let last_commit_end = topics.confirmation.as_ref().and_then(|record| record.last_commit_end);
        let mut pipeline = Pipeline {
            settings,
            relations: Relations { settings, postgres: &self.options.postgres, catalog: &source.catalog },
            acknowledgements: Arc::clone(&self.acknowledgements),
            confirmed: Arc::clone(&streaming.confirmed),
            producers: streaming.producers.clone(),
            meter: &self.meter,
            tails: topics.tails,
            partition_counts: topics.partition_counts,
            lineage: streaming.confirmer.lineage.clone(),
            transaction: TransactionState::resuming_after(last_commit_end),
            system_identifier: streaming.identity.system_identifier,
            context_headers: self.context_headers.clone(),
            with_position_header: self.options.with_position_header,
            silence_max: feedback::silence_max(interval, sender_timeout),
            target: self.target,
        };
        let outcome = tokio::select! {
            outcome = pipeline.run(&mut reader, shutdown) => outcome,
            error = companions.failure() => Err(error),
            never = watch_slot(&source.catalog, &self.options, &self.meter) => match never {},
        };
        match outcome {
            Ok(ending) => {
                self.is_drained = self.drain(streaming, companions, &mut reader).await;
                Ok(ending)
            }
            Err(error) => {
                companions.abort();
                Err(error)
            }
        }
    }

    fn start_companions(
        &self,
        streaming: &Streaming,
        writer: postgres::ReplicationWriter,
        interval: Duration,
    ) -> Companions {
        let token = CancellationToken::new();
        let acknowledgements = Arc::clone(&self.acknowledgements);
        let confirmed = Arc::clone(&streaming.confirmed);
        let confirmer = Arc::clone(&streaming.confirmer);
        let confirming = token.child_token();
        Companions {
            feedback: tokio::spawn(feedback::run(writer, acknowledgements, confirmed, interval, token.clone())),
            confirmation: tokio::spawn(async move { confirmer.run(confirming).await }),
            token,
        }
    }

    /// Waits for what is in flight, confirms it, tells PostgreSQL and says goodbye, all within the drain deadline.
    async fn drain(&self, streaming: &Streaming, companions: Companions, reader: &mut ReplicationReader) -> bool {
        let finishing = async {
            self.acknowledgements.wait_for(|now| now.in_flight().records == 0).await;
            let (_, flushed) = self.acknowledgements.positions();
            if flushed > streaming.confirmed.get() {
                streaming.confirmer.write(flushed).await?;
            }
            Ok::<_, Error>(())
        };
        let outcome = tokio::time::timeout(self.options.shutdown_timeout, finishing).await;
        companions.token.cancel();
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, companions.feedback).await;
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, reader.read_to_end()).await;
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
    /// when it is read again.
    async fn settle_or_drop_producer(&mut self, shutdown: &CancellationToken) {
        let settled = self.acknowledgements.wait_for(|now| now.in_flight().records == 0);
        let _ = shutdown.run_until_cancelled(settled).await;
        let is_settled = self.acknowledgements.in_flight().records == 0 && !self.acknowledgements.has_failed();
        if !is_settled && let Some(producers) = self.producers.take() {
            producers.close();
        }
    }

    fn producers(&mut self) -> Result<Producers> {
        if self.producers.as_ref().is_some_and(Producers::are_broken)
            && let Some(broken) = self.producers.take()
        {
            broken.close();
        }
        if let Some(producers) = &self.producers {
            return Ok(producers.clone());
        }
        let sink: Arc<dyn DeliverySink> = Arc::<Acknowledgements>::clone(&self.acknowledgements);
        let producers = Producers::new(&self.options.kafka, sink)?;
        Ok(self.producers.insert(producers).clone())
    }

    pub(super) fn summary(&self, uptime: Duration, is_caught_up: bool) -> CaptureSummary {
        let latency = self.acknowledgements.latency().summary();
        CaptureSummary { uptime, is_drained: self.is_drained || is_caught_up, latency }
    }
}

/// What the parts of a running session share.
struct Streaming {
    confirmer: Arc<Confirmer>,
    confirmed: Arc<Confirmed>,
    producers: Producers,
    identity: SystemIdentity,
}

impl Companions {
    /// Resolves when one of the tasks has failed.
    async fn failure(&mut self) -> Error {
        let ended = tokio::select! {
            ended = &mut self.feedback => ended,
            ended = &mut self.confirmation => ended,
        };
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::unavailable("a task of the session ended early"),
            Err(error) => Error::with_source(ErrorKind::System, "a task of the session was interrupted", error),
        }
    }

    fn abort(self) {
        self.token.cancel();
        self.feedback.abort();
        self.confirmation.abort();
    }
}

/// Debezium's context headers; the run's id tells restarts apart.
fn context_headers(options: &CaptureOptions) -> Option<OwnedHeaders> {
    if !options.settings.with_context_headers {
        return None;
    }
    let run_id = Uuid::new_v4().to_string();
    let pairs = [
        ("__debezium.context.connectorLogicalName", options.settings.topic_prefix.as_str()),
        ("__debezium.context.taskId", "0"),
        ("__debezium.context.connectorName", "postgresql"),
        ("__debezium.context.runId", run_id.as_str()),
    ];
    let headers = OwnedHeaders::new_with_capacity(pairs.len() + 1);
    Some(pairs.iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) })))
}
