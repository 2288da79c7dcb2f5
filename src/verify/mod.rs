//! `evp verify`: compares the read models with what the outbox says they must be.
//!
//! The expectation is folded from the rows by code of its own, straight from the documented effects and without
//! the handlers, so that a mistake in a handler shows. Rows and documents are read side by side, both sorted by id
//! ([`first_look`]); what differs is folded once more in the order of the commits, with the events that only the topic still
//! has ([`second_look`]). Run it once capture and process have caught up, because the sides are read one after the other.

mod compare;
mod dead_letters;
mod documents;
mod first_look;
mod fold;
mod judge;
mod report;
mod rows;
mod second_look;
mod topic;

use bson::{Bson, Document, doc};
use mongodb::Database;
use tokio_util::sync::CancellationToken;

pub use report::{Finding, FindingKind, VerifyReport};

use crate::config::{KafkaConfig, MongoConfig, PostgresConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::mongo;
use crate::postgres::sql;
use dead_letters::DeadLetters;
use first_look::FirstLook;

/// Where to look.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The outbox.
    pub postgres: PostgresConfig,
    /// The read models.
    pub mongo: MongoConfig,
    /// The topic and its dead letters.
    pub kafka: KafkaConfig,
}

/// Compares everything and reports what differs.
pub async fn run(options: &VerifyOptions, token: &CancellationToken) -> Result<VerifyReport> {
    let database = mongo::connect(&options.mongo).await?;
    let outcome = token.run_until_cancelled(compare(options, &database)).await;
    mongo::close(database.client().clone()).await;
    outcome.unwrap_or_else(|| Err(Error::new(ErrorKind::System, "stopped by a signal before it was done")))
}

async fn compare(options: &VerifyOptions, database: &Database) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let dead_letters = match dead_letters::read(&options.kafka).await {
        Ok(dead_letters) => dead_letters,
        Err(error) => {
            report.note(format!("dead letters are not looked at: {error}"));
            DeadLetters::default()
        }
    };
    report.dead_letters = dead_letters.records;
    if dead_letters.without_event_id > 0 {
        report.add(
            FindingKind::DeadLetter,
            &options.kafka.topic,
            format!("{} dead letters do not name an event", dead_letters.without_event_id),
        );
    }
    let client = sql::connect(&options.postgres).await?;
    let source = (&client, &options.postgres);
    let mut first = first_look::look(source, database, &dead_letters, &mut report).await?;
    let statistics = statistics(database).await?;
    let counts_users = statistics.differ_from(&first);
    if !first.suspects.is_empty() || counts_users {
        second_look::look(source, database, &options.kafka, &dead_letters, &mut first, counts_users, &mut report)
            .await?;
    }
    statistics.report(&first, &mut report);
    Ok(report)
}

/// The counter of all users.
struct Statistics {
    total_users: i64,
    last_updated: Option<bson::DateTime>,
}

async fn statistics(database: &Database) -> Result<Statistics> {
    let found = database
        .collection::<Document>("statistics")
        .find_one(doc! { "_id": "global_stats" })
        .await
        .map_err(|error| mongo::client_error("reading the read models", database.name(), error))?
        .unwrap_or_default();
    let total_users = match found.get("total_users") {
        Some(Bson::Int32(total)) => i64::from(*total),
        Some(Bson::Int64(total)) => *total,
        _ => 0,
    };
    Ok(Statistics { total_users, last_updated: found.get_datetime("last_updated").ok().copied() })
}

impl Statistics {
    fn is_wrong_count(&self, first: &FirstLook) -> bool {
        let highest = first.total_users.saturating_add(first.total_users_uncertain);
        !(first.total_users..=highest).contains(&self.total_users)
    }

    fn is_wrong_date(&self, first: &FirstLook) -> bool {
        first.total_users_uncertain == 0 && self.last_updated != first.last_updated
    }

    fn differ_from(&self, first: &FirstLook) -> bool {
        self.is_wrong_count(first) || self.is_wrong_date(first)
    }

    fn report(&self, first: &FirstLook, report: &mut VerifyReport) {
        report.total_users = (first.total_users, self.total_users);
        if self.is_wrong_count(first) {
            let message = format!("total_users is {}, but {} users were created", self.total_users, first.total_users);
            report.add(FindingKind::Count, "global_stats", message);
        }
        if self.is_wrong_date(first) {
            let message = "last_updated is not the date of the last created user".to_owned();
            report.add(FindingKind::Different, "global_stats", message);
        }
    }
}
