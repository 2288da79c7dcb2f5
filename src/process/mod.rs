//! From the topic to the read models: parse, ask the handlers, claim, apply, commit.
//!
//! [`run`] connects the parts; the loop is in `dispatcher`, what is pure in `prepare`, `waiting` and `event`.

mod applied;
pub(crate) mod apply;
mod breaker;
mod busy;
mod claim;
pub(crate) mod collection;
mod context;
pub(crate) mod coordinates;
mod create;
mod dead_letter;
mod dispatcher;
mod event;
mod first_records;
mod frontier;
mod gathered;
mod given_up;
mod handler;
pub(crate) mod in_flight;
mod open_events;
pub(crate) mod order;
mod pace;
mod parking;
mod plan;
pub(crate) mod prepare;
mod progress;
mod projections;
mod read_models;
mod settle;
mod shape;
mod source;
mod swaps;
mod tally;
mod tasks;
mod told;
mod topics;
mod waiting;
mod withheld;
mod write_paths;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::{Client, Database};
use tokio_util::sync::CancellationToken;

use crate::config::{KafkaConfig, MongoConfig, ProcessConfig};
use crate::error::{Error, ErrorKind, Reaction, Result, TRIES_MAX};
use crate::kafka::consumer::{self, ConsumerHandle, EndOfPartition};
use crate::kafka::identity::superseded;
use crate::mongo::{self, Claims, SourceKey, Store};
use crate::shutdown::Until;
use crate::telemetry::{Health, LatencySummary};

pub use crate::dead_letters::dead_letter_topic;
pub use crate::envelope::decode::{Column, Ids, OutboxColumns};
pub use crate::mongo::{AddOnce, Change, Collection, CollectionSpec, Create, EntryList, Path, WriteModel, key_of};
pub use crate::row::Operation;
pub use applied::{Answer, PartitionReach, Question, Questions, Reach, SetAside};
pub use context::EventContext;
pub use event::Event;
pub use handler::{AfterFailure, Handler, HandlerRegistry};
pub use plan::{PlanSummary, plan};
pub use projections::ProjectionFile;
pub use read_models::{Place, ReadModels};

use applied::Desk;
pub(crate) use applied::routes;
use dispatcher::{Dispatcher, Parts};
use prepare::Preparation;
use projections::Replacement;
use source::SourceTopic;
use swaps::Swaps;
use tally::Tally;

/// Batches that may wait to be taken, so that the next one is there when one is done.
const BACKLOG_BATCHES: usize = 3;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Everything that [`run`] needs to know.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// Where the events come from.
    pub kafka: KafkaConfig,
    /// Where the read models are.
    pub mongo: MongoConfig,
    /// Batches, retries, time limits.
    pub process: ProcessConfig,
    /// The operations that are processed; others are skipped.
    pub operations: HashSet<Operation>,
    /// What happens to event types without a handler.
    pub unknown_events: UnknownEvents,
    /// The columns of the outbox.
    pub columns: OutboxColumns,
    /// When to end.
    pub until: Until,
    /// Take a topic that is not the one that was applied for right, once, at the start.
    pub accept_new_topic: bool,
    /// Go on although the topic begins with nothing but records of a foreign shape.
    pub accept_shape: bool,
    /// Where it is asked how far the topic is applied.
    pub questions: Questions,
    /// Where the handlers come from, if that is a file; it is followed.
    pub projections: Option<ProjectionFile>,
}

impl ProcessOptions {
    /// The operations processed by default: rows that were inserted or updated.
    pub fn default_operations() -> HashSet<Operation> {
        HashSet::from([Operation::Create, Operation::Update])
    }
}

/// What happens to an event type without a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownEvents {
    /// It becomes a dead letter.
    DeadLetter,
    /// It is passed over.
    Skip,
}

/// What [`run`] has done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessSummary {
    /// Events applied.
    pub processed: u64,
    /// Events that had been applied before under the same id.
    pub duplicates: u64,
    /// Records that are no events to process.
    pub skipped: u64,
    /// Events in the dead-letter topic.
    pub dead_lettered: u64,
    /// From start to end.
    pub uptime: Duration,
    /// From commit in PostgreSQL to applied in MongoDB; of several topics that of the one with most events.
    pub latency: LatencySummary,
}

/// Applies the topic's events to the read models until told to stop, or until the end as it is at start.
pub async fn run(
    options: ProcessOptions,
    registry: HandlerRegistry,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> Result<ProcessSummary> {
    let started = Instant::now();
    tracing::info!(
        event = "application_starting",
        topic = options.kafka.topic,
        group = options.kafka.group_id,
        "starting"
    );
    if registry.is_empty() {
        return Err(Error::configuration("no handler is registered: every event would become a dead letter"));
    }
    options.questions.expect(&options.kafka.topics());
    let followed = options.projections.as_ref().map(ProjectionFile::follow).transpose()?;
    let (client, address) = mongo::client(&options.mongo).await?;
    let outcome = topics::work(options, registry, health, shutdown, started, (&client, address)).await;
    mongo::close(client).await;
    if let Some(followed) = followed {
        followed.abort();
    }
    outcome
}

/// Applies one topic.
async fn work(
    options: ProcessOptions,
    registry: HandlerRegistry,
    health: Arc<Health>,
    shutdown: CancellationToken,
    started: Instant,
    (client, address): (&Client, String),
) -> Result<ProcessSummary> {
    let mut tally = Tally::new(started);
    let ended = loop {
        let ended;
        (tally, ended) =
            work_once(&options, registry.clone(), &health, &shutdown, tally, (client, address.clone())).await;
        match ended {
            Err(error) if error.kind() == ErrorKind::Unavailable && !shutdown.is_cancelled() => {
                health.forget_kafka();
                health.set_not_ready(error.to_string());
                tracing::warn!(event = "kafka_client_replaced", %error, "beginning anew behind the committed offsets");
                let _ = shutdown.run_until_cancelled(tokio::time::sleep(RETRY_FIRST)).await;
            }
            ended => break ended,
        }
    };
    ended.map(|()| tally.summary())
}

/// Works with one client of Kafka.
async fn work_once(
    options: &ProcessOptions,
    registry: HandlerRegistry,
    health: &Arc<Health>,
    shutdown: &CancellationToken,
    tally: Tally,
    (client, address): (&Client, String),
) -> (Tally, Result<()>) {
    let replacement = Replacement::of(options.projections.as_ref());
    let registry = options.projections.as_ref().map_or(registry, ProjectionFile::handlers);
    let prepared = async {
        let (store, consumer, source, swaps) = connect(options, health, client, address).await?;
        let names = registry.names();
        let generations =
            wait_for("MongoDB", health, async || mongo::generations(store.database(), &names).await).await?;
        Ok((store, consumer, source, swaps, generations))
    };
    let (store, consumer, source, swaps, generations) = match shutdown.run_until_cancelled(prepared).await {
        None => return (tally, Ok(())),
        Some(Err(error)) => return (tally, Err(error)),
        Some(Ok(prepared)) => prepared,
    };
    let handlers = registry.len();
    tracing::info!(event = "handlers_registered", handlers, "handlers registered");
    tracing::info!(event = "handlers_ready", event_types = ?registry.event_types(), "handlers ready");
    tracing::info!(event = "application_started", "started");
    let parts = Parts {
        preparation: Preparation::new(options, registry, generations),
        replacement,
        claims: Arc::new(Claims::new(Arc::clone(&store), source.number())),
        dead_letters: Arc::new(dead_letter::DeadLetters::new(&options.kafka, Arc::clone(health))),
        source,
        swaps,
        store,
        health: Arc::clone(health),
        process: options.process.clone(),
        until: options.until,
        accept_shape: options.accept_shape,
    };
    let desk = Desk::open(options.questions.clone(), &options.kafka, options.process.position_topic.clone());
    Dispatcher::new(parts, consumer, tally, desk).run(shutdown).await
}

async fn connect(
    options: &ProcessOptions,
    health: &Arc<Health>,
    client: &Client,
    address: String,
) -> Result<(Arc<Store>, ConsumerHandle, SourceTopic, Swaps)> {
    let database = client.database(&options.mongo.database);
    prepare_database(&database, health, &address, options.process.claim_lifetime).await?;
    tracing::info!(event = "mongodb_connected", database = options.mongo.database, address, "connected to MongoDB");

    let end = if options.until == Until::CaughtUp { EndOfPartition::Report } else { EndOfPartition::Ignore };
    let backlog_records_max = options.process.batch_records_max.saturating_mul(BACKLOG_BATCHES);
    let mut consumer = consumer::start(&options.kafka, backlog_records_max, end, Arc::clone(health))?;
    let cluster = wait_for("Kafka", health, async || consumer.cluster_id().await).await?;
    let key = SourceKey { cluster, topic: options.kafka.topic.clone(), group: options.kafka.group_id.clone() };
    let mut source = wait_for("MongoDB", health, async || mongo::source(&database, &key).await).await?;
    if options.accept_new_topic && source::is_another(&source, &consumer, health).await? {
        wait_for("MongoDB", health, async || mongo::accept_topic(&database, &key, &source).await).await?;
        source = wait_for("MongoDB", health, async || mongo::source(&database, &key).await).await?;
        tracing::warn!(
            event = "new_topic_accepted",
            topic = key.topic,
            "what was applied of it before was another topic"
        );
    }
    if source.is_superseded {
        return Err(superseded(&options.kafka));
    }
    // What names stand for is read first: then each swap that has taken place is seen.
    let ids = wait_for("MongoDB", health, async || mongo::collection_ids(&database).await).await?;
    let are_compared = wait_for("MongoDB", health, async || mongo::are_compared(&database).await).await?;
    let seen = wait_for("MongoDB", health, async || mongo::seen(&database, &key.group).await).await?;
    let store = Arc::new(Store::new(database, address, Arc::clone(health)));
    if are_compared {
        store.pins.replace(ids.clone());
    }
    let number = source.number;
    let swaps = Swaps::begin(Arc::clone(&store), (&key.group, number), consumer.known(), ids, seen)?;
    consumer.join(source.known)?;
    tracing::info!(
        event = "kafka_consumer_started",
        topic = key.topic,
        group = key.group,
        cluster = key.cluster,
        "joined the group"
    );
    let source = SourceTopic::new(Arc::clone(&store), key, number, &consumer);
    Ok((store, consumer, source, swaps))
}

/// Waits for MongoDB, and makes what evp keeps its own bookkeeping in.
async fn prepare_database(database: &Database, health: &Health, address: &str, claim_lifetime: Duration) -> Result<()> {
    wait_for("MongoDB", health, async || {
        let pinged = database.run_command(bson::doc! { "ping": 1 }).await;
        pinged.map_err(|error| mongo::client_error("connecting", address, error))
    })
    .await?;
    wait_for("MongoDB", health, async || mongo::ensure_bookkeeping(database, claim_lifetime).await).await
}

/// Tries until a server answers; says once that it does not.
async fn wait_for<T>(server: &str, health: &Health, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut delay = RETRY_FIRST;
    let mut told = false;
    for tries in 0_u32.. {
        match attempt().await {
            Err(error) if error.kind().reaction() == Reaction::Retry || is_tried_again(&error, tries) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(event = "server_unavailable", server, %error, "waiting for it");
                    health.set_not_ready(format!("{server}: {error}"));
                }
            }
            answer => return answer,
        }
        tokio::time::sleep(delay).await;
        delay = delay.saturating_mul(2).min(RETRY_MAX);
    }
    Err(Error::unavailable(format!("{server} does not answer")))
}

/// An answer that evp does not know, and that has not come too often yet.
fn is_tried_again(error: &Error, tries: u32) -> bool {
    error.kind().reaction() == Reaction::RetryBriefly && tries < TRIES_MAX
}
