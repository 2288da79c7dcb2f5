//! What the stream does not tell: how much log the slot holds back, and whether the publications still send the tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::CaptureOptions;
use super::lineage::Lineage;
use super::meter::Meter;
use super::published::{Departure, Published, Wanted};
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::postgres::sql::Catalog;
use crate::postgres::{self, LookAt, PublicationLook};
use crate::telemetry::Health;

const INTERVAL: Duration = Duration::from_secs(2);
/// A server that answers no questions for longer shows in readiness.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// Takes a look at what is known and at what is published now.
pub(super) async fn look(
    catalog: &Catalog,
    options: &CaptureOptions,
    version_number: i32,
    known: Option<&Published>,
) -> Result<PublicationLook> {
    let (oids, names) = known.map(Published::known_tables).unwrap_or_default();
    let at = LookAt {
        publications: &options.settings.publication_name,
        slot: &options.settings.slot_name,
        oids: &oids,
        names: &names,
    };
    let client = catalog.client().await?;
    postgres::look_at_publications(&client, &options.postgres, version_number, &at).await
}

/// What the publications send now, if nothing has left them since `known`.
pub(super) fn followed(
    known: Option<&Published>,
    look: &PublicationLook,
    since: Lsn,
    options: &CaptureOptions,
) -> std::result::Result<Published, Departure> {
    let settings = &options.settings;
    let accepts = |schema: &str, table: &str| settings.tables.accepts(schema, table);
    let wanted = Wanted { accepts: &accepts, skipped_operations: &settings.skipped_operations };
    match known {
        Some(known) => known.followed(look, since, &wanted),
        None => Ok(Published::first(look, &wanted)),
    }
}

/// The refusal of a departure.
pub(super) fn departed(departure: &Departure) -> Error {
    let tables: Vec<String> = departure.tables.iter().map(|(schema, table)| format!("{schema}.{table}")).collect();
    let (from, to) = departure.range;
    Error::refused(format!(
        "{}: rows of {} that were committed between {from} and {to} may not be in Kafka; put the publication in order, and \
         if that is acceptable, start once with --accept-gap",
        departure.what,
        tables.join(", ")
    ))
}

/// A connection of its own. To tell what is published PostgreSQL locks the tables, and behind somebody's `ALTER TABLE` that takes
/// as long as that does: what the stream asks of other tables must not stand behind it.
pub(super) async fn connect(options: &CaptureOptions) -> Result<Catalog> {
    let limit = format!("SET lock_timeout = {}", TOLD_AFTER.as_millis());
    let statements = [options.settings.initial_statements.as_slice(), &[limit]].concat();
    Catalog::connect(&options.postgres, &statements).await
}

/// Looks for as long as the session lasts; ends with a refusal once rows are not sent any more, and with the server.
pub(super) async fn watch(
    catalog: &Catalog,
    options: &CaptureOptions,
    version_number: i32,
    lineage: &Arc<Mutex<Lineage>>,
    meter: &Meter,
    health: &Health,
) -> Error {
    let mut ticker = tokio::time::interval(INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = lineage.lock().published.as_ref().map(|published| published.seen_at).unwrap_or_default();
    let mut answered = Instant::now();
    let mut is_told = false;
    loop {
        ticker.tick().await;
        let known = lineage.lock().published.clone();
        let looked = look(catalog, options, version_number, known.as_ref()).await;
        let problem = match looked {
            Ok(look) => {
                let Some(slot) = look.slot.as_ref().filter(|slot| slot.active_pid.is_some()) else {
                    let problem =
                        "the stream's slot has no reader there: it is another server than the one that streams";
                    report(options, health, answered, &mut is_told, problem);
                    continue;
                };
                meter.slot_log(slot);
                match followed(known.as_ref(), &look, before, options) {
                    Ok(published) => lineage.lock().published = Some(published),
                    Err(departure) => return departed(&departure),
                }
                before = look.lsn;
                None
            }
            // The server waits until its log is confirmed, which takes as long as Kafka is away.
            Err(error) if postgres::is_stopping(&error) && answered.elapsed() >= TOLD_AFTER => return error,
            Err(error) => Some(error.to_string()),
        };
        match problem {
            Some(problem) => report(options, health, answered, &mut is_told, &problem),
            None => {
                answered = Instant::now();
                if std::mem::take(&mut is_told) {
                    health.set_catalog_obstacle(None);
                    tracing::info!(event = "catalog_answers", "PostgreSQL answers questions about its catalog again");
                }
            }
        }
    }
}

/// Says once, and to readiness, that the catalog cannot be asked; the stream goes on.
fn report(options: &CaptureOptions, health: &Health, answered: Instant, is_told: &mut bool, problem: &str) {
    if answered.elapsed() < TOLD_AFTER {
        return;
    }
    let address = options.postgres.address();
    health.set_catalog_obstacle(Some(format!("the catalog of PostgreSQL at {address} cannot be asked: {problem}")));
    if !std::mem::replace(is_told, true) {
        tracing::warn!(
            event = "catalog_silent",
            problem,
            "the stream goes on, but nobody looks after its slot and publication"
        );
    }
}
