//! `evp verify`: compares the read models with what the events of the outbox make them.
//!
//! The expectation is folded by code of its own, straight from the documented effects and without the handlers, so that
//! a mistake in a handler shows. Rows, records and documents are read side by side in the order of aggregates' ids
//! ([`join`]), for which the topic is sorted in a temporary file ([`spill`]); so one aggregate is held at a time. Its events are
//! those of the table and of the topic together, in the order of their commits ([`history`]). Run it once capture and
//! process have caught up, because the sides are read one after the other.

mod compare;
mod dead_letters;
mod documents;
mod fold;
mod history;
mod join;
mod judge;
mod payload;
mod record;
mod report;
mod rows;
mod spill;
mod totals;

use std::time::Duration;

use bson::{Bson, Document, doc};
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;
use tokio_util::sync::CancellationToken;

pub(crate) use documents::Documents;
pub use report::{Finding, FindingKind, VerifyReport};

use crate::config::{KafkaConfig, MongoConfig, PostgresConfig};
use crate::dead_letters::DEAD_LETTER_OF;
use crate::envelope::POSITION_HEADER;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::whole::{Reach, read_to_end};
use crate::mongo::{self, CollectionSpec, client_error};
use dead_letters::DeadLetters;
use join::Sides;
use judge::{COLLECTIONS, Judge};
use record::{Place, Record, Systems};
use spill::{Sorted, Spill};
use totals::Totals;

/// Where the clusters that events come from are listed.
const SOURCES: &str = "evp_sources";
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Rows or records after which a terminal is told how far it is.
const TELL_EVERY: u64 = 1_000;

/// Where to look.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The outbox.
    pub postgres: PostgresConfig,
    /// The read models.
    pub mongo: MongoConfig,
    /// The topic and its dead letters.
    pub kafka: KafkaConfig,
    /// The collections of the handlers.
    pub collections: Vec<CollectionSpec>,
}

impl VerifyOptions {
    /// Collections that other handlers than those of the activity application write. What these make of events is known to
    /// them alone, so that they are compared by running them.
    fn others(&self) -> Result<Vec<&str>> {
        let own = crate::activity::registry().collections();
        let is = |one: &CollectionSpec, other: &CollectionSpec| one.name() == other.name();
        let others = self.collections.iter().filter(|spec| !own.iter().any(|own| is(own, spec)));
        let others: Vec<&str> = others.map(|spec| spec.name().as_str()).collect();
        if own.iter().all(|own| self.collections.iter().any(|spec| is(spec, own))) {
            return Ok(others);
        }
        let instead =
            others.iter().map(|name| format!("`evp rebuild {name} --dry-run`")).collect::<Vec<_>>().join(", ");
        Err(Error::configuration(format!(
            "evp verify folds the events of the activity application, whose handlers these are not: {}",
            if instead.is_empty() { "there is nothing to compare".to_owned() } else { format!("use {instead}") }
        )))
    }
}

/// Compares everything and reports what differs.
pub async fn run(options: &VerifyOptions, token: &CancellationToken) -> Result<VerifyReport> {
    let others = options.others()?;
    let database = mongo::connect(&options.mongo).await?;
    let progress = Progress::start();
    let outcome = token.run_until_cancelled(Box::pin(compare(options, &database, &progress.0, token))).await;
    drop(progress);
    mongo::close(database.client().clone()).await;
    let stopped = || Err(Error::new(ErrorKind::System, "stopped by a signal before it was done"));
    let mut report = outcome.unwrap_or_else(stopped)?;
    for other in others {
        report.note(format!("{other} is of other handlers: `evp rebuild {other} --dry-run` compares it"));
    }
    Ok(report)
}

async fn compare(
    options: &VerifyOptions,
    database: &Database,
    progress: &ProgressBar,
    token: &CancellationToken,
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut dead_letters = DeadLetters::default();
    let (mut records, mut reach) = (Sorted::empty(), Reach::Nothing);
    match dead_letters::read(&options.kafka, database, token).await {
        Ok(read) => {
            dead_letters = read;
            (records, reach) = records_of(options, database, progress, token, &mut report).await?;
        }
        Err(error) if token.is_cancelled() => return Err(error),
        Err(error) => report.note(format!("neither the topic nor its dead letters are looked at: {error}")),
    }
    dead_letters.report(&options.kafka.topic, &mut report);
    let is_topic_whole = reach == Reach::Whole;
    let mut judge = Judge { dead_letters, is_topic_whole, totals: Totals::default(), report };
    let mut sides = Sides::open(&options.postgres, records, database).await?;
    while let Some(aggregate) = sides.next().await? {
        if sides.rows.count % TELL_EVERY == 0 {
            progress.set_message(format!("{} rows", sides.rows.count));
        }
        match aggregate.events {
            Some(events) => judge.judge(&aggregate.id, events, &aggregate.documents),
            None => judge.pass_over(&aggregate.documents),
        }
    }
    judge.report.outbox_events = sides.rows.count;
    report_nameless(&sides, &mut judge.report).await?;
    judge.totals.compare(database, &mut judge.report).await?;
    judge.report.note_what_is_not_compared();
    Ok(judge.report)
}

/// The records of the topic in the order of their aggregates; without the topic the rows have to do.
async fn records_of(
    options: &VerifyOptions,
    database: &Database,
    progress: &ProgressBar,
    token: &CancellationToken,
    report: &mut VerifyReport,
) -> Result<(Sorted, Reach)> {
    let systems = systems(database).await?;
    let (config, progress, token) = (options.kafka.clone(), progress.clone(), token.clone());
    let read = tokio::task::spawn_blocking(move || sort_records(&config, systems, &progress, &token));
    let read = read
        .await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the topic was interrupted", error))?;
    match read {
        Ok((_, Reach::Nothing)) => {
            report.note(format!("topic {} does not exist, so that rows alone count", options.kafka.topic));
            Ok((Sorted::empty(), Reach::Nothing))
        }
        // What Kafka does not give can be done without; this machine's own faults cannot.
        Err(error) if error.kind() != ErrorKind::System => {
            report.note(format!("the topic is not looked at: {error}"));
            Ok((Sorted::empty(), Reach::Nothing))
        }
        read => read,
    }
}

fn sort_records(
    config: &KafkaConfig,
    mut systems: Systems,
    progress: &ProgressBar,
    token: &CancellationToken,
) -> Result<(Sorted, Reach)> {
    let failed = |error| {
        let message =
            "sorting the topic in a temporary file fails; point TMPDIR to where there is room for its payloads";
        Error::with_source(ErrorKind::System, message, error)
    };
    let (mut spill, mut count) = (Spill::default(), 0_u64);
    let reach = read_to_end(config, &config.topic, token, |told| {
        count = count.saturating_add(1);
        if count % TELL_EVERY == 0 {
            progress.set_message(format!("{count} records"));
        }
        let place = Place {
            partition: told.partition(),
            offset: told.offset(),
            position: told.header(POSITION_HEADER),
            is_republished: told.has_header(DEAD_LETTER_OF),
        };
        let record = told.value().and_then(|value| Record::read(value, place, &mut systems));
        match record {
            Some(record) => spill.push(record.key(), &record.to_bytes()?).map_err(failed),
            None => Ok(()),
        }
    })?;
    Ok((spill.sorted().map_err(failed)?, reach))
}

/// The clusters in the order in which process has met them.
async fn systems(database: &Database) -> Result<Systems> {
    let found = database.collection::<Document>(SOURCES).find_one(doc! { "_id": "systems" }).await;
    let found = found.map_err(|error| client_error("reading the read models", database.name(), error))?;
    let known = found.iter().flat_map(|found| found.get_array("systems").into_iter().flatten());
    Ok(Systems::new(known.filter_map(Bson::as_i64).map(i64::cast_unsigned).collect()))
}

/// What has no place in the order of the ids.
async fn report_nameless(sides: &Sides<'_>, report: &mut VerifyReport) -> Result<()> {
    if sides.rows.nameless > 0 {
        let detail = format!("{} rows have no event_id or no aggregate_id", sides.rows.nameless);
        report.add(FindingKind::LostEvent, "activity.event_outbox", detail);
    }
    for (collection, documents) in COLLECTIONS.into_iter().zip(&sides.documents) {
        let nameless = documents.nameless().await?;
        let count = report.collections.entry(collection).or_default();
        count.actual = count.actual.saturating_add(usize::try_from(nameless).unwrap_or(usize::MAX));
        if nameless > 0 {
            let detail = format!("the _id of {nameless} documents is not a text");
            report.add(FindingKind::Unexpected, collection, detail);
        }
    }
    Ok(())
}

/// Draws on a terminal, and nothing elsewhere; cleared at the end, so that the report starts on a clean line.
struct Progress(ProgressBar);

impl Progress {
    fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(PROGRESS_INTERVAL);
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    fn others(names: &[&'static str]) -> std::result::Result<Vec<String>, String> {
        let mut variables = Variables::default();
        let options = VerifyOptions {
            postgres: PostgresConfig::from_variables(&mut variables, |_| None),
            mongo: MongoConfig::from_variables(&mut variables),
            kafka: KafkaConfig::from_variables(&mut variables, &[]),
            collections: names.iter().map(|name| CollectionSpec::new(*name)).collect(),
        };
        let others = options.others().map(|others| others.into_iter().map(str::to_owned).collect());
        others.map_err(|error| error.to_string())
    }

    #[test]
    fn collections_of_other_handlers_are_left_to_a_rebuild() {
        assert_eq!(others(&["activities", "statistics", "users"]), Ok(Vec::new()));
        assert_eq!(others(&["activities", "orders", "statistics", "users"]), Ok(vec!["orders".to_owned()]));
        let refused = others(&["orders"]).unwrap_err();
        assert!(refused.contains("`evp rebuild orders --dry-run`"), "{refused}");
    }
}
