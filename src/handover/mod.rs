//! `evp handover`: from Debezium to evp and back, at the exact next row.
//!
//! Each half remembers in a place of its own how far it has come: Debezium in the offset that Kafka Connect keeps
//! ([`offset`], [`connector`]), evp in the slot and in its record of confirmations. A slot that the other has moved looks
//! like a gap to either. Handing over compares the places with what slot and topics hold ([`backlog`]), refuses what would
//! be lost, and writes where the next one goes on. What the two write can be compared before ([`compare`]).

mod backlog;
mod compare;
mod connector;
mod likeness;
mod offset;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::capture::{CaptureOptions, Standing};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Worker;
use crate::lsn::Lsn;
use crate::postgres::{self, sql};
use crate::terminal::{now_ms, print};
use backlog::IdleSlot;
use connector::Connector;
use offset::DebeziumOffset;

pub use compare::{CompareOptions, Range, run as compare};

/// A reader that has just been stopped frees the slot within this.
const SLOT_WAIT: Duration = Duration::from_secs(10);
/// A worker writes an offset to a topic and reads it back from there.
const OFFSET_WAIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Who gives, and who goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `evp capture` goes on where the connector stopped.
    FromDebezium,
    /// The connector goes on where `evp capture` stopped.
    ToDebezium,
}

/// What is handed over, and what may be done for it.
#[derive(Debug)]
pub struct HandoverOptions {
    /// What capture would be started with.
    pub capture: Arc<CaptureOptions>,
    /// The properties that a connector would be posted with.
    pub properties: BTreeMap<String, String>,
    /// Who gives, and who goes on.
    pub direction: Direction,
    /// REST address of Kafka Connect.
    pub connect: String,
    /// Name of the connector.
    pub name: String,
    /// Stop the connector if it runs.
    pub stops: bool,
    /// Let the connector run afterwards.
    pub starts: bool,
    /// Go on although rows that are on the topics already will be written once more.
    pub accepts_repeat: bool,
    /// For programs.
    pub is_json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Handover {
    to: &'static str,
    slot: String,
    /// Everything that was committed before this is on the topics.
    continues_at: Lsn,
    /// What is worth a word.
    notes: Vec<String>,
    /// What to do now.
    next: String,
}

/// Hands over, and says what was done.
pub async fn run(options: &HandoverOptions, token: &CancellationToken) -> Result<()> {
    let handing = async {
        match options.direction {
            Direction::FromDebezium => from_debezium(options).await,
            Direction::ToDebezium => to_debezium(options).await,
        }
    };
    let stopped = || Error::new(ErrorKind::System, "stopped by a signal; hand over again to complete it");
    let handover = token.run_until_cancelled(Box::pin(handing)).await.ok_or_else(stopped)??;
    if options.is_json {
        print(serde_json::to_value(&handover).unwrap_or_default());
        return Ok(());
    }
    print(format!("{} goes on at {} of slot {}", handover.to, handover.continues_at, handover.slot));
    for note in &handover.notes {
        print(format!("note: {note}"));
    }
    print(format!("next: {}", handover.next));
    Ok(())
}

async fn from_debezium(options: &HandoverOptions) -> Result<Handover> {
    let worker = Worker::at(&options.connect)?;
    let connector = Connector { worker: &worker, name: &options.name };
    let settings = options.capture.settings();
    let theirs = connector.properties().await?.ok_or_else(|| {
        let message = format!("Kafka Connect at {} has no connector {}: give --name", worker.url(), options.name);
        Error::new(ErrorKind::Missing, message)
    })?;
    likeness::check_identity(&options.properties, &theirs, &options.name)?;
    let mut notes = differing(&options.properties, &theirs);
    stop(options, &connector).await?;
    let offset = connector.offset(&settings.topic_prefix).await?.ok_or_else(|| {
        let message = format!(
            "connector {} has no offset: it has written nothing, and `evp capture` starts where the slot stands",
            options.name
        );
        Error::new(ErrorKind::Missing, message)
    })?;
    offset.check_finished(&options.name)?;
    wait_for_slot(&options.capture).await?;
    let standing = Standing::look(&options.capture).await?;
    let confirms_keepalives = theirs.get("lsn.flush.mode").is_some_and(|mode| mode == "connector_and_driver");
    if standing.slot_lsn > offset.furthest() && !confirms_keepalives {
        return Err(Error::refused(format!(
            "replication slot {} stands at {}, beyond {} where connector {} left it: it was advanced, made anew or read by \
             somebody else; changes between the two may be in no topic",
            settings.slot_name,
            standing.slot_lsn,
            offset.furthest(),
            options.name
        )));
    }
    let reached = advance(options, &standing, &offset, &mut notes).await?;
    standing.adopt(&options.capture, reached).await?;
    let next =
        "start `evp capture` with this connector file, and remove the connector when you will not go back".to_owned();
    Ok(Handover { to: "evp capture", slot: settings.slot_name.clone(), continues_at: reached, notes, next })
}

/// Moves the slot behind what Debezium has wholly written, which its own confirmations lag behind by a transaction; so that
/// nothing is repeated even where the topics have lost their records since.
async fn advance(
    options: &HandoverOptions,
    standing: &Standing,
    offset: &DebeziumOffset,
    notes: &mut Vec<String>,
) -> Result<Lsn> {
    let slot = idle_slot(options, standing);
    let mut reached = standing.slot_lsn;
    if let Some(committed) = offset.committed.filter(|committed| *committed > reached) {
        slot.advance(committed).await?;
        reached = committed;
    }
    let Some(next) = slot.next_transaction().await? else { return Ok(reached) };
    if next.is_written(offset) {
        slot.advance(next.end).await?;
        return Ok(next.end);
    }
    if offset.xid != Some(next.xid) {
        return Ok(reached);
    }
    if standing.topics_lsn < offset.furthest() && !options.accepts_repeat {
        return Err(Error::refused(format!(
            "the connector stopped within transaction {}, and the topics no longer hold what it wrote of it: up to {} rows \
             would be repeated; if that is acceptable, hand over with --accept-repeat",
            next.xid.0, next.rows
        )));
    }
    notes.push(format!(
        "the connector may have stopped within transaction {} of {} rows; the ends of the topics say which of them are there",
        next.xid.0, next.rows
    ));
    Ok(reached)
}

async fn to_debezium(options: &HandoverOptions) -> Result<Handover> {
    let worker = Worker::at(&options.connect)?;
    let connector = Connector { worker: &worker, name: &options.name };
    let settings = options.capture.settings();
    let theirs = connector.properties().await?;
    let mut notes = Vec::new();
    if let Some(theirs) = &theirs {
        likeness::check_identity(&options.properties, theirs, &options.name)?;
        notes = differing(&options.properties, theirs);
        stop(options, &connector).await?;
    }
    check_snapshot_mode(theirs.as_ref().unwrap_or(&options.properties), &options.name)?;
    wait_for_slot(&options.capture).await?;
    let standing = Standing::look(&options.capture).await?;
    check_evp_was_last(options, &standing)?;
    check_repeats(options, &standing, &mut notes).await?;
    if theirs.is_none() {
        connector.create_stopped(&options.properties).await?;
        notes.push(format!("connector {} was created", options.name));
    }
    let time_us = now_ms().saturating_mul(1_000);
    connector.set_offset(&settings.topic_prefix, &DebeziumOffset::behind(standing.slot_lsn, time_us)).await?;
    wait_for_offset(&connector, &settings.topic_prefix, standing.slot_lsn).await?;
    let next = if options.starts {
        connector.resume().await?;
        format!("connector {} runs", options.name)
    } else {
        format!("curl -X PUT {}/connectors/{}/resume", worker.url().trim_end_matches('/'), options.name)
    };
    Ok(Handover { to: "Debezium", slot: settings.slot_name.clone(), continues_at: standing.slot_lsn, notes, next })
}

/// The offset as it was given, which a worker may show a moment later.
async fn wait_for_offset(connector: &Connector<'_>, topic_prefix: &str, given: Lsn) -> Result<()> {
    let started = Instant::now();
    loop {
        let kept = connector.offset(topic_prefix).await?.map(|offset| offset.furthest());
        if kept == Some(given) {
            return Ok(());
        }
        if started.elapsed() > OFFSET_WAIT {
            let kept = kept.map_or_else(|| "none".to_owned(), |lsn| lsn.to_string());
            let message =
                format!("Kafka Connect was given the offset {given} for connector {} and keeps {kept}", connector.name);
            return Err(Error::new(ErrorKind::Unknown, message));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Modes that read the tables although an offset is kept.
fn check_snapshot_mode(properties: &BTreeMap<String, String>, name: &str) -> Result<()> {
    let mode = properties.get("snapshot.mode").map_or("initial", String::as_str);
    if matches!(mode, "initial" | "no_data" | "never" | "when_needed") {
        return Ok(());
    }
    Err(Error::refused(format!(
        "connector {name} has snapshot.mode={mode}, by which it would read the tables once more: set no_data first"
    )))
}

/// The slot's position says how far evp has come only if evp has read it last.
fn check_evp_was_last(options: &HandoverOptions, standing: &Standing) -> Result<()> {
    let slot = &options.capture.settings().slot_name;
    match standing.confirmed_lsn {
        None => Err(Error::new(
            ErrorKind::Missing,
            format!("evp capture has never read replication slot {slot}: the connector's own offset is the right one"),
        )),
        Some(confirmed) if standing.debezium_is_beyond(confirmed) => Err(Error::refused(
            "Debezium has written since evp capture stopped: the connector's own offset is the right one; resume it as it is",
        )),
        Some(_) if standing.is_within_snapshot() => Err(Error::refused(
            "evp capture stopped within its snapshot, or before it had passed what the snapshot shows: run \
             `evp capture --until caught-up` first",
        )),
        Some(_) if standing.is_within_incremental_snapshot() => Err(Error::refused(
            "an incremental snapshot of evp capture is not finished, and Debezium cannot go on with it: let capture finish it, \
             or send a stop-snapshot signal first",
        )),
        Some(_) => standing.check_for_gap(&options.capture),
    }
}

/// What was written but not confirmed, as after a kill, Debezium would write again.
async fn check_repeats(options: &HandoverOptions, standing: &Standing, notes: &mut Vec<String>) -> Result<()> {
    if standing.topics_lsn < standing.slot_lsn {
        return Ok(());
    }
    // The topics reach to the record of a commit, which ends behind it.
    let behind_last = Lsn::new(standing.topics_lsn.get().saturating_add(1));
    let slot = idle_slot(options, standing);
    let (rows, transactions) = slot.rows_up_to(behind_last).await?;
    if transactions == 0 {
        return Ok(());
    }
    let repeat = format!("up to {rows} rows of {transactions} transactions that are on the topics already");
    if !options.accepts_repeat {
        return Err(Error::refused(format!(
            "Debezium would write {repeat}, because evp capture did not end cleanly: run `evp capture --until caught-up` \
             first, or hand over with --accept-repeat"
        )));
    }
    notes.push(format!("{repeat} are written once more"));
    Ok(())
}

fn idle_slot<'a>(options: &'a HandoverOptions, standing: &'a Standing) -> IdleSlot<'a> {
    let (capture, settings) = (&options.capture, options.capture.settings());
    IdleSlot {
        client: &standing.client,
        config: capture.postgres(),
        name: &settings.slot_name,
        publications: &settings.publication_name,
    }
}

/// The names of properties by which the records will differ, as a note.
fn differing(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let names = likeness::shaping_differences(ours, theirs);
    if names.is_empty() {
        return Vec::new();
    }
    vec![format!("evp's file and the connector differ in {}: so may records", names.join(", "))]
}

async fn stop(options: &HandoverOptions, connector: &Connector<'_>) -> Result<()> {
    if connector.is_stopped().await? {
        return Ok(());
    }
    if !options.stops {
        return Err(Error::refused(format!(
            "connector {} is not stopped, and would go on to write: add --stop to have it stopped",
            options.name
        )));
    }
    connector.stop().await
}

/// The slot without a reader.
async fn wait_for_slot(capture: &CaptureOptions) -> Result<()> {
    let (config, name) = (capture.postgres(), &capture.settings().slot_name);
    let client = sql::connect(config).await?;
    let started = Instant::now();
    loop {
        let slot = postgres::find_slot(&client, config, name).await?;
        let Some(holder) = slot.and_then(|slot| slot.holder) else { return Ok(()) };
        if started.elapsed() > SLOT_WAIT {
            return Err(Error::refused(format!(
                "replication slot {name} is read by process {holder}: stop that reader first"
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
