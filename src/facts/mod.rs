//! What the servers say of the chain: looked at side by side, each in bounded time, for `evp status` and `evp doctor`.

mod connect;
pub(crate) mod http;
mod kafka;
mod kafka_rights;
mod mongo;
mod postgres;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub(crate) use connect::ConnectorFacts;
pub(crate) use kafka::{KafkaFacts, TopicFacts};
pub(crate) use kafka_rights::MissingRight;
pub(crate) use mongo::MongoFacts;
pub(crate) use postgres::{PostgresFacts, PublicationFacts, ServerSettings, SlotFacts, TableFacts};
pub(crate) use worker::{Answer, Worker};

use crate::dead_letters::{self, DlqOptions};
use crate::error::{Error, Result};
use crate::init::InitPlan;

/// Bound of everything that one server is asked.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// What was seen, or why nothing was.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Look<T> {
    Seen(T),
    Failed {
        /// A sentence with the remedy in it.
        error: String,
    },
}

impl<T> Look<T> {
    pub(crate) fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(seen) => Some(seen),
            Self::Failed { .. } => None,
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Seen(_) => None,
            Self::Failed { error } => Some(error),
        }
    }
}

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What changes.
    Glance,
    /// Also settings, rights and the rate at which the log grows, for which a second is waited.
    Whole,
}

/// How many dead letters wait, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetterFacts {
    pub(crate) waiting: usize,
    /// Those by the handler that failed; `-` where none did.
    pub(crate) waiting_by_handler: BTreeMap<String, usize>,
    pub(crate) settled: usize,
}

/// The chain, link by link.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Facts {
    pub(crate) postgres: Look<PostgresFacts>,
    pub(crate) kafka: Look<KafkaFacts>,
    pub(crate) dead_letters: Look<DeadLetterFacts>,
    pub(crate) mongo: Look<MongoFacts>,
    /// Connectors of Kafka Connect, if it was to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<Look<Vec<ConnectorFacts>>>,
    /// When it was looked, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// Looks at everything at once.
pub(crate) async fn look(plan: &InitPlan, connect: Option<&str>, depth: Depth, token: &CancellationToken) -> Facts {
    let asking = token.child_token();
    // Whatever blocks ends with the command.
    let _guard = asking.clone().drop_guard();
    let connectors = async {
        match connect {
            Some(url) => Some(bounded("Kafka Connect", connect::look(url)).await),
            None => None,
        }
    };
    let (postgres, kafka, dead_letters, mongo, connect) = tokio::join!(
        bounded("PostgreSQL", Box::pin(postgres::look(plan, depth))),
        bounded("Kafka", Box::pin(kafka::look(plan, depth))),
        bounded("Kafka", Box::pin(dead_letters(plan, &asking))),
        bounded("MongoDB", Box::pin(mongo::look(plan, depth))),
        connectors,
    );
    Facts { postgres, kafka, dead_letters, mongo, connect, at_ms: crate::terminal::now_ms() }
}

async fn bounded<T>(server: &str, look: impl Future<Output = Result<T>>) -> Look<T> {
    let late = || {
        let seconds = LOOK_TIMEOUT.as_secs();
        Error::unavailable(format!("{server} has not answered everything within {seconds} s"))
    };
    match tokio::time::timeout(LOOK_TIMEOUT, look).await.unwrap_or_else(|_| Err(late())) {
        Ok(seen) => Look::Seen(seen),
        // The sentence has the remedy; the chain of causes is a driver's talk of several lines.
        Err(error) => Look::Failed { error: error.message().to_owned() },
    }
}

async fn dead_letters(plan: &InitPlan, token: &CancellationToken) -> Result<DeadLetterFacts> {
    let options = DlqOptions { kafka: plan.kafka.clone(), mongo: plan.mongo.clone() };
    let counts = dead_letters::count(&options, token).await?;
    Ok(DeadLetterFacts {
        waiting: counts.waiting.values().sum(),
        waiting_by_handler: counts.waiting,
        settled: counts.settled,
    })
}

/// How far another machine's clock is ahead of the middle of the question and its answer.
fn skew_ms(asked_ms: i64, theirs_ms: i64, answered_ms: i64) -> i64 {
    theirs_ms.saturating_sub(asked_ms.saturating_add(answered_ms) / 2)
}
