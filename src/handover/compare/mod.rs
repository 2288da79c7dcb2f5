//! `evp handover --compare`: both write what copies of the slot hold, and their bytes are compared.
//!
//! The live connector, its slot, topics and offset stay as they are: everything that is written, read and moved is a copy
//! of the comparison's own ([`stage`]), with properties from which is taken what would reach beyond it ([`properties`]).
//! One after the other the two write ([`sides`]), until Debezium says that it has come to the end ([`progress`]); evp goes
//! at least as far, and the place that each of its records bears says which of them Debezium must have. What is not
//! compared is one list ([`masks`]).

mod difference;
mod masks;
mod progress;
mod properties;
mod read;
mod record;
mod report;
mod sides;
mod stage;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::connector::Connector;
use super::likeness;
use crate::capture::{CaptureChoices, CaptureOptions, RefusedRows, table_topics};
use crate::config::Variables;
use crate::connector;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Worker;
use crate::lsn::Lsn;
use crate::shutdown::Until;
use difference::{Difference, Topic};
use masks::Masks;
use properties::{Names, Properties, sides};
use read::{Reader, topics};
use record::parting;
use report::{Report, Told, TopicReport};
pub use sides::Range;
use stage::Stage;

const CLASS: &str = "io.debezium.connector.postgresql.PostgresConnector";

/// What is compared, and how it is told.
#[derive(Debug)]
pub struct CompareOptions {
    /// By which evp would run.
    pub variables: Variables,
    /// A file for evp's side; the connector's own properties if none is given.
    pub file: Option<PathBuf>,
    /// `property=value` pairs for evp's side alone.
    pub sets: Vec<String>,
    /// `NAME=VALUE` pairs for librdkafka.
    pub kafka: Vec<String>,
    /// `3.6` or `2.4`; by the version of Debezium if it is not given.
    pub compat: Option<String>,
    /// REST address of Kafka Connect.
    pub connect: String,
    /// Name of the connector.
    pub name: String,
    /// How much is compared.
    pub range: Range,
    /// Leave the topics.
    pub keeps_topics: bool,
    /// Show the bytes around a difference.
    pub shows_values: bool,
    /// For programs.
    pub is_json: bool,
}

/// What either side runs with, checked.
struct Plan {
    version: String,
    compat: &'static str,
    slot: String,
    prefix: String,
    names: Names,
    debezium: Properties,
    capture: Arc<CaptureOptions>,
    notes: Vec<String>,
}

/// Compares, says what was found, and returns whether all was equal.
pub async fn run(mut options: CompareOptions, token: &CancellationToken) -> Result<bool> {
    let worker = Worker::at(&options.connect)?;
    let planned = token.run_until_cancelled(plan(&mut options, &worker)).await;
    let plan = planned.unwrap_or_else(|| Err(stopped()))?;
    let connector = Connector { worker: &worker, name: &plan.names.connector };
    let stage = Stage::take((plan.capture.postgres(), plan.capture.kafka()), connector, &plan.names).await?;
    // Nothing is left behind, however it ends.
    let outcome = compared(&options, &plan, &stage, token).await;
    let left = stage.clear(options.keeps_topics).await;
    if !left.is_empty() {
        tracing::warn!(
            event = "comparison_left",
            left = left.join("; "),
            "not all of the comparison could be taken away; the next one does it"
        );
    }
    let report = outcome?;
    report.print(options.is_json);
    Ok(report.is_equal)
}

fn stopped() -> Error {
    Error::new(ErrorKind::System, "stopped by a signal before it was done")
}

/// Asks for the connector's properties and makes of them what either side runs with; nothing is changed.
async fn plan(options: &mut CompareOptions, worker: &Worker) -> Result<Plan> {
    let live = Connector { worker, name: &options.name };
    let mut theirs = live.properties().await?.ok_or_else(|| {
        let message = format!("Kafka Connect at {} has no connector {}: give --name", worker.url(), options.name);
        Error::new(ErrorKind::Missing, message)
    })?;
    theirs.remove("name");
    let class = theirs.get("connector.class").map_or("", String::as_str);
    if class != CLASS {
        return Err(Error::refused(format!("connector {} is a {class}, and not {CLASS}", options.name)));
    }
    let version = live.version(CLASS).await?;
    let ours = ours(options, &theirs)?;
    likeness::check_identity(&ours, &theirs, &options.name)?;
    let slot = theirs.get("slot.name").map_or("debezium", String::as_str).to_owned();
    let names = Names::of(&options.name, &slot);
    // Those before 2.6 have other fields, and other words for snapshots.
    let is_old = ["1.", "2.0.", "2.1.", "2.2.", "2.3.", "2.4.", "2.5."].iter().any(|old| version.starts_with(old));
    let compat = match options.compat.as_deref() {
        Some("2.4") => "2.4",
        None if is_old => "2.4",
        _ => "3.6",
    };
    let with_heartbeats = theirs.get("value.converter").is_none_or(|class| !class.ends_with("ByteArrayConverter"));
    let sides = sides(&theirs, &ours, &names, (is_old, with_heartbeats));
    let mut notes = super::differing(&ours, &theirs);
    notes.extend(sides.notes);
    let text = serde_json::json!(sides.evp).to_string();
    // They stand above the variables, as on the command line.
    let overrides: Vec<String> = options.sets.iter().filter(|set| set.starts_with("database.")).cloned().collect();
    let connector =
        connector::Connector::read(&mut options.variables, ("the properties of evp's side", &text), &overrides)?;
    let choices = CaptureChoices {
        connector: None,
        sets: &[],
        kafka: &options.kafka,
        compat,
        until: Until::Stopped,
        accept_gap: false,
        with_position_header: true,
        refused_rows: RefusedRows::Stop,
    };
    let capture = Arc::new(CaptureOptions::of(&mut options.variables, &connector, choices));
    std::mem::take(&mut options.variables).finish()?;
    let prefix = theirs.get("topic.prefix").cloned().unwrap_or_default();
    Ok(Plan { version, compat, slot, prefix, names, debezium: sides.debezium, capture, notes })
}

/// The properties that evp would run with: the connector's, or a file's, with those of the command line over them.
fn ours(options: &mut CompareOptions, theirs: &Properties) -> Result<Properties> {
    let text = match &options.file {
        None => serde_json::json!(theirs).to_string(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Error::configuration(format!("the connector file {} cannot be read: {error}", path.display()))
        })?,
    };
    let name = options.file.as_ref().map_or_else(|| "the connector".to_owned(), |path| path.display().to_string());
    // What is wrong with them is told of the properties that are used in the end.
    let mut aside = Variables::default();
    connector::Connector::read(&mut aside, (&name, &text), &options.sets).map(|connector| connector.given())
}

/// Puts everything in its place, lets both write, and reads what they have written.
async fn compared(
    options: &CompareOptions,
    plan: &Plan,
    stage: &Stage<'_>,
    token: &CancellationToken,
) -> Result<Report> {
    // What is made here is not given up half way, so that it is known what there is to take away.
    let from = stage.copy_slot(&plan.slot).await?;
    stage.make_topics(&table_topics(&plan.capture).await?).await?;
    if token.is_cancelled() {
        return Err(stopped());
    }
    stage.connector.create_stopped(&plan.debezium).await?;
    let settings = plan.capture.settings();
    let heartbeats = settings.transforms.topic_of_others(&settings.heartbeat_topic);
    let heartbeats = heartbeats.strip_prefix(&plan.names.evp_topics()).unwrap_or(&heartbeats);
    let writing = Box::pin(sides::debezium(stage, (&plan.prefix, heartbeats), from, options.range));
    let written = token.run_until_cancelled(writing).await.ok_or_else(stopped)??;
    Box::pin(sides::evp(stage, &plan.capture, (from, written), token)).await?;
    if token.is_cancelled() {
        return Err(stopped());
    }
    let masks = Arc::new(Masks::of(&settings.transforms));
    let reader = Reader { config: stage.kafka.clone(), masks: Arc::clone(&masks), token: token.clone() };
    let mut report = Report {
        is_equal: true,
        connector: options.name.clone(),
        debezium: plan.version.clone(),
        compat: plan.compat,
        slot: plan.slot.clone(),
        from,
        to: written.reached,
        topics: Vec::new(),
        passed_over: masks.all().cloned().collect(),
        notes: plan.notes.clone(),
    };
    judge(&reader, plan, (written.covered, options.shows_values), &mut report).await?;
    report.is_equal = report.topics.iter().all(|topic| topic.first_difference.is_none());
    if report.is_equal && report.equal() == 0 {
        return Err(Error::new(
            ErrorKind::Missing,
            format!("slot {} holds no change behind {from} to compare: wait for some with --for SECONDS", plan.slot),
        ));
    }
    Ok(report)
}

/// Reads the topics of both sides one by one, and compares them.
async fn judge(reader: &Reader, plan: &Plan, (covered, shows_values): (Lsn, bool), report: &mut Report) -> Result<()> {
    let beginnings = [plan.names.evp_topics(), plan.names.debezium_topics()];
    let [evp_topics, debezium_topics] = &beginnings;
    let evp = topics(&reader.config, evp_topics).await?;
    let debezium = topics(&reader.config, debezium_topics).await?;
    let names: BTreeSet<&String> = evp.keys().chain(debezium.keys()).collect();
    for name in names {
        let own = beginnings.each_ref().map(|beginning| format!("{beginning}{name}"));
        let [evp_topic, debezium_topic] = own.clone();
        let (ours, theirs) = (reader.seen(evp_topic).await?, reader.seen(debezium_topic).await?);
        if ours.is_empty() && theirs.is_empty() {
            continue;
        }
        let count = |side: &BTreeMap<String, (usize, i64)>| side.get(name).map(|(partitions, _)| *partitions);
        let partitions = count(&evp).filter(|partitions| count(&debezium) == Some(*partitions));
        if partitions.is_none() && !ours.is_empty() && !theirs.is_empty() {
            report
                .notes
                .push(format!("topic {name} got other partitions on the two sides: their order is not compared"));
        }
        let found = Topic { evp: &ours, debezium: &theirs, partitions, covered }.compare();
        let first_difference = match found.first {
            None => None,
            Some(difference) => Some(told(reader, own, difference, shows_values).await?),
        };
        report.topics.push(TopicReport { topic: name.clone(), equal: found.equal, first_difference });
    }
    Ok(())
}

async fn told(reader: &Reader, topics: [String; 2], difference: Difference, shows_values: bool) -> Result<Told> {
    Ok(match difference {
        Difference::Partition(evp, debezium) => Told::Partition { evp: evp.into(), debezium: debezium.into() },
        Difference::OnlyEvp(evp) => Told::OnlyEvp { evp: evp.into() },
        Difference::OnlyDebezium(debezium) => Told::OnlyDebezium { debezium: debezium.into() },
        Difference::Content(ours, theirs) => {
            let [evp_topic, debezium_topic] = topics;
            let evp = reader.record(evp_topic, ours).await?;
            let debezium = reader.record(debezium_topic, theirs).await?;
            let parting = parting(&evp, &debezium, &reader.masks, shows_values);
            let parting = parting.ok_or_else(|| Error::unavailable("a record went away before it was read again"))?;
            Told::Content(Box::new(parting))
        }
    })
}
