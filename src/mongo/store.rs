//! Running write commands until MongoDB has answered them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use parking_lot::Mutex;

use super::claims::CLAIMS;
use super::failure::{CodeClass, classify_code, client_error, error_class, refusal};
use super::path::Collection;
use super::pins::Pins;
use super::reply::{Reply, WriteError, parse_reply};
use super::sizes::Sizes;
use super::sources::SOURCES;
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::Health;

/// A command that the server has not answered by then is given up and sent again; guards make that harmless.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that has not answered for so long is told of, while its answer is still waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the server may wait for the write concern before it says so.
const WRITE_CONCERN_TIMEOUT_MS: i32 = 20_000;
/// The id of what is inserted to see whether anything can be.
const PROBE: &str = "probe";
/// A refusal once is none.
const REFUSED_TRIES: u32 = 2;
/// How often a command is sent whose refusal evp does not know, before it is asked whether the server takes others.
const UNKNOWN_TRIES: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How durable a write has to be before its command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// In the primary's log, which orders it before everything written later.
    Primary,
    /// On a majority of the replica set, or in the journal of a standalone server.
    Majority,
}

/// A command without an answer, or with none that says what became of its writes.
struct FailedCommand {
    class: CodeClass,
    error: Error,
}

/// The database of the read models, and whether it answers.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    address: String,
    health: Arc<Health>,
    outage: Mutex<Option<Instant>>,
    /// Whether replies carry the election term, as those of a replica set's primary do.
    has_terms: AtomicBool,
    pub(crate) sizes: Sizes,
    /// The collections that are written.
    pub(crate) pins: Pins,
}

impl Store {
    pub(crate) fn new(database: Database, address: String, health: Arc<Health>) -> Self {
        Self {
            database,
            address,
            health,
            outage: Mutex::new(None),
            has_terms: AtomicBool::new(false),
            sizes: Sizes::default(),
            pins: Pins::default(),
        }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Runs a write command, waiting out whatever time or an administrator heals.
    ///
    /// Because a command may have been applied although its answer was lost, it must be one that is
    /// harmless when repeated. [`ErrorKind::Data`] is its own fault: the server takes other writes. [`ErrorKind::Unavailable`]:
    /// its collection was replaced since the session began.
    pub(crate) async fn write(&self, command: &RawDocumentBuf) -> Result<Reply> {
        let (mut delay, mut refusals) = (BACKOFF_FIRST, 0_u32);
        loop {
            let cause = match self.attempt(command).await {
                Ok(reply) if reply.write_errors.iter().any(WriteError::is_of_another) => return Err(replaced()),
                Ok(reply) => match self.waits_for(&reply, command).await {
                    Some(cause) => cause,
                    None => {
                        self.answered();
                        return Ok(reply);
                    }
                },
                Err(failed) => {
                    refusals = refusals.saturating_add(1);
                    match failed.class {
                        CodeClass::Transient | CodeClass::Forbidden => failed.error,
                        CodeClass::Denied | CodeClass::Unsupported => return Err(failed.error),
                        CodeClass::Replaced => return Err(replaced()),
                        CodeClass::Refused if refusals < REFUSED_TRIES => continue,
                        CodeClass::Unknown if refusals < UNKNOWN_TRIES => failed.error,
                        CodeClass::Unknown | CodeClass::Refused if self.takes_others(command).await => {
                            return Err(failed.error);
                        }
                        CodeClass::Unknown | CodeClass::Refused => failed.error,
                    }
                }
            };
            self.unanswered(&cause);
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2).min(BACKOFF_MAX);
        }
    }

    /// Why an answered command has to be sent again: a write of it may be taken later.
    async fn waits_for(&self, reply: &Reply, command: &RawDocumentBuf) -> Option<Error> {
        let first = |class| reply.write_errors.iter().find(|error| classify_code(error.code) == class);
        if let Some(transient) = first(CodeClass::Transient) {
            return Some(transient.to_error());
        }
        let unknown = first(CodeClass::Unknown)?;
        (!self.takes_others(command).await).then(|| unknown.to_error())
    }

    /// Whether the server takes a write of the same kind that has nothing to do with any event. If it does not, no event
    /// is to blame for a refusal.
    async fn takes_others(&self, command: &RawDocumentBuf) -> bool {
        let probe = match command.iter().next() {
            Some(Ok((name, RawBsonRef::String(collection)))) if name.as_str() == "update" => {
                // Matches nothing; ids are never null.
                let change = doc! { "q": { "_id": Bson::Null }, "u": { "$set": { "_evp.probe": 0 } } };
                one_statement("update", collection, "updates", change)
            }
            _ => one_statement("insert", CLAIMS, "documents", doc! { "_id": PROBE, "at": bson::DateTime::now() }),
        };
        let Ok(probe) = probe else { return true };
        let reply = self.attempt(&probe).await;
        let is_taken = reply.is_ok_and(|reply| reply.write_errors.iter().all(WriteError::is_taken_id));
        if is_taken
            && let Ok(removal) = one_statement("delete", CLAIMS, "deletes", doc! { "q": { "_id": PROBE }, "limit": 1 })
        {
            // Left behind it expires like a claim.
            let _ = self.attempt(&removal).await;
        }
        is_taken
    }

    async fn attempt(&self, command: &RawDocumentBuf) -> std::result::Result<Reply, FailedCommand> {
        let command = self.database.run_raw_command(command.clone());
        let transient = |error| FailedCommand { class: CodeClass::Transient, error };
        match tokio::time::timeout(COMMAND_TIMEOUT, self.patiently(command.into_future())).await {
            Err(_elapsed) => Err(transient(Error::unavailable(format!(
                "MongoDB at {} did not answer within {} s",
                self.address,
                COMMAND_TIMEOUT.as_secs()
            )))),
            Ok(Err(error)) => {
                let class = error_class(&error);
                let error = match class {
                    CodeClass::Refused | CodeClass::Unknown => Error::data(refusal(&self.address, &error)),
                    _ => client_error("writing read models", &self.address, error),
                };
                Err(FailedCommand { class, error })
            }
            Ok(Ok(document)) => {
                let reply = parse_reply(&document).map_err(|error| match error.kind() {
                    ErrorKind::Unavailable => transient(error),
                    _ => FailedCommand { class: CodeClass::Unsupported, error },
                })?;
                self.has_terms.store(reply.term.is_some(), Ordering::Relaxed);
                Ok(reply)
            }
        }
    }

    /// Whether replies carry the election term, which is known from the first of them on.
    pub(crate) fn tells_terms(&self) -> bool {
        self.has_terms.load(Ordering::Relaxed)
    }

    /// Starts a command on a read model: that of the name, if another one has not taken its place.
    pub(crate) fn begin(&self, name: &str, collection: &Collection, durability: Durability, capacity: usize) -> Writer {
        let mut writer = begin_command(name, collection.as_str(), durability, capacity);
        if let Some(id) = self.pins.of(collection.as_str()) {
            writer.uuid("collectionUUID", id);
        }
        writer
    }

    /// How durable each command of a batch has to be, given that [`Self::make_durable`] follows.
    pub(crate) fn batch_durability(&self) -> Durability {
        if self.tells_terms() { Durability::Primary } else { Durability::Majority }
    }

    /// Waits until a majority has everything that was written in the election terms given; false if some of it may
    /// be lost, because the primary has changed.
    ///
    /// A write that changes nothing waits for all that the primary has written before it.
    pub(crate) async fn make_durable(&self, terms: &[i64]) -> Result<bool> {
        if terms.is_empty() {
            return Ok(true);
        }
        let mut writer = begin_command("update", SOURCES, Durability::Majority, 256);
        writer.begin_array("updates");
        writer.begin_document("");
        writer.begin_document("q");
        // Ids are texts there.
        writer.null("_id");
        writer.end();
        writer.begin_document("u");
        writer.begin_document("$set");
        writer.int32("s", 0);
        let reply = self.write(&writer.finish()?).await?;
        Ok(terms.iter().all(|term| reply.term == Some(*term)))
    }

    /// The documents of a collection that match, asked for until the server answers.
    pub(crate) async fn find(&self, collection: &str, filter: Document, projection: Document) -> Result<Vec<Document>> {
        let mut delay = BACKOFF_FIRST;
        loop {
            let collection = self.database.collection::<Document>(collection);
            let query = async {
                collection
                    .find(filter.clone())
                    .projection(projection.clone())
                    .await?
                    .try_collect::<Vec<Document>>()
                    .await
            };
            let cause = match tokio::time::timeout(COMMAND_TIMEOUT, self.patiently(query)).await {
                Ok(Ok(documents)) => {
                    self.answered();
                    return Ok(documents);
                }
                Ok(Err(error)) => {
                    let waits = error_class(&error) == CodeClass::Forbidden;
                    let cause = client_error("reading", &self.address, error);
                    if !waits && cause.kind() != ErrorKind::Unavailable {
                        return Err(cause);
                    }
                    cause
                }
                Err(_elapsed) => Error::unavailable(format!("MongoDB at {} did not answer in time", self.address)),
            };
            self.unanswered(&cause);
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2).min(BACKOFF_MAX);
        }
    }

    /// What a pipeline gives, asked once.
    pub(super) async fn aggregate(&self, collection: &Collection, pipeline: Vec<Document>) -> Result<Vec<Document>> {
        let collection = self.database.collection::<Document>(collection.as_str());
        let query = async { collection.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        match tokio::time::timeout(COMMAND_TIMEOUT, query).await {
            Ok(found) => found.map_err(|error| client_error("looking at documents", &self.address, error)),
            Err(_elapsed) => Err(Error::unavailable("MongoDB does not answer")),
        }
    }

    /// Whether the server answers, asked when there is nothing else to ask it.
    pub(crate) async fn ping(&self) {
        let ping = self.database.run_command(doc! { "ping": 1 });
        match tokio::time::timeout(COMMAND_TIMEOUT, self.patiently(ping.into_future())).await {
            Ok(Ok(_)) => self.answered(),
            Ok(Err(error)) => self.unanswered(&client_error("asking", &self.address, error)),
            Err(_elapsed) => {}
        }
    }

    /// Waits for an answer, and says so when that takes long.
    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answer).await {
            return answer;
        }
        let (address, seconds) = (&self.address, PATIENCE.as_secs());
        self.unanswered(&Error::unavailable(format!("MongoDB at {address} has not answered for {seconds} s")));
        answer.await
    }

    fn unanswered(&self, cause: &Error) {
        let mut outage = self.outage.lock();
        if outage.is_none() {
            *outage = Some(Instant::now());
            self.health.set_mongodb_obstacle(Some(format!("MongoDB: {cause}")));
            tracing::warn!(event = "mongodb_unavailable", error = %cause, "waiting for MongoDB; nothing is lost");
        }
    }

    fn answered(&self) {
        let mut outage = self.outage.lock();
        if let Some(since) = outage.take() {
            let seconds = since.elapsed().as_secs_f64();
            self.health.set_mongodb_obstacle(None);
            tracing::info!(event = "mongodb_available", outage_seconds = seconds, "MongoDB answers again");
        }
    }
}

/// Starts `{name: collection, ordered: false, writeConcern}`; the array of statements is to follow.
pub(crate) fn begin_command(name: &str, collection: &str, durability: Durability, capacity: usize) -> Writer {
    let mut writer = Writer::with_capacity(capacity);
    writer.string(name, collection);
    writer.boolean("ordered", false);
    writer.begin_document("writeConcern");
    match durability {
        Durability::Primary => writer.int32("w", 1),
        Durability::Majority => {
            writer.string("w", "majority");
            writer.boolean("j", true);
            writer.int32("wtimeout", WRITE_CONCERN_TIMEOUT_MS);
        }
    }
    writer.end();
    writer
}

/// What it means that the collection is another one.
fn replaced() -> Error {
    Error::unavailable("a collection was replaced by `evp rebuild` since this session began")
}

fn one_statement(name: &str, collection: &str, field: &str, statement: Document) -> Result<RawDocumentBuf> {
    let mut writer = begin_command(name, collection, Durability::Primary, 256);
    writer.value(field, &Bson::Array(vec![Bson::Document(statement)]));
    writer.finish()
}
