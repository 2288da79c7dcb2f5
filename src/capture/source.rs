//! What PostgreSQL says before anything is streamed: is the server fit, what is published, where does the slot stand?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::CaptureOptions;
use super::relations::Relations;
use super::snapshot::identifier;
use crate::connector::{ConnectorSettings, WantedIdentity};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql::Catalog;
use crate::postgres::{self, ServerFacts, Slot};
use crate::telemetry::Health;

/// How often a slot that somebody else reads is looked at.
const SLOT_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often the log says that it still is.
const SLOT_TOLD_INTERVAL: Duration = Duration::from_secs(60);
/// What Debezium waits for a slot by default.
const USUAL_SLOT_WAIT: Duration = Duration::from_secs(60);
/// The server keeps the slot of a reader that is gone for `wal_sender_timeout`; this is for what follows.
const SLOT_RELEASE: Duration = Duration::from_secs(30);

/// What PostgreSQL says.
pub(super) struct SourceState {
    pub(super) catalog: Arc<Catalog>,
    pub(super) facts: ServerFacts,
    pub(super) slot: Option<Slot>,
    pub(super) topics: Vec<String>,
    /// The captured tables, as (schema, table).
    pub(super) tables: Vec<(String, String)>,
    /// What the connector's lists and topics have that is worth a word.
    pub(super) notes: ListNotes,
}

/// What is odd about the lists of the connector, seen beside what is published.
#[derive(Debug, Default)]
pub(super) struct ListNotes {
    idle_entries: Vec<String>,
    /// Topics with the tables that share them.
    shared_topics: Vec<(String, String)>,
}

impl ListNotes {
    fn of(settings: &ConnectorSettings, published: &[(String, String)], captured: &[CapturedTable]) -> Self {
        let columns: Vec<String> = captured.iter().flat_map(|table| table.columns.iter().cloned()).collect();
        let mut idle_entries = settings.tables.idle_table_entries(published);
        idle_entries.extend(settings.tables.idle_column_entries(&columns));
        let mut tables_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (table, topic) in captured.iter().filter_map(|table| Some((table, table.topic.as_deref()?))) {
            tables_of.entry(topic).or_default().push(&table.name);
        }
        let shared = tables_of.into_iter().filter(|(_, tables)| tables.len() > 1);
        Self {
            idle_entries,
            shared_topics: shared.map(|(topic, tables)| (topic.to_owned(), tables.join(", "))).collect(),
        }
    }

    /// Says it, before anything is streamed.
    pub(super) fn tell(&self) {
        for entry in &self.idle_entries {
            tracing::warn!(event = "list_entry_idle", entry, "an entry of a list matches nothing that is published");
        }
        for (topic, tables) in &self.shared_topics {
            tracing::info!(event = "topic_shared", topic, tables, "several tables are written to one topic");
        }
    }
}

/// A table of the publications that the connector takes.
struct CapturedTable {
    name: String,
    /// None where its rows say theirs.
    topic: Option<String>,
    /// Its columns, each as `schema.table.column`.
    columns: Vec<String>,
}

/// Checks the server, the publication and its tables, and looks the slot up.
pub(super) async fn inspect_source(options: &CaptureOptions, health: &Health) -> Result<SourceState> {
    let (config, settings) = (&options.postgres, &options.settings);
    let catalog = Arc::new(Catalog::connect(config, &settings.initial_statements).await?);
    let client = catalog.client().await?;
    let facts = postgres::server_facts(&client, config).await?;
    check_server(&facts, options)?;
    let publication = &settings.publication_name;
    if let Err(missing) = postgres::publication_exists(&client, config, publication).await? {
        return Err(Error::new(
            ErrorKind::Missing,
            format!("publication {missing} does not exist; run `evp init` with the same connector file"),
        ));
    }
    let mut captured = Vec::new();
    let relations = Relations { options, catalog: &client };
    let published = postgres::published_tables(&client, config, publication).await?;
    let accepted = published.iter().filter(|(schema, table)| settings.tables.accepts(schema, table));
    let tables: Vec<(String, String)> = accepted.cloned().collect();
    for (schema, table) in &tables {
        check_identity(&client, options, (schema, table)).await?;
        let plan = relations.check(schema, table).await?;
        let name = format!("{schema}.{table}");
        let columns = plan.shape().columns.iter().map(|column| format!("{name}.{}", column.name)).collect();
        let topic = (!plan.is_routed()).then(|| plan.topic().to_owned());
        captured.push(CapturedTable { columns, topic, name });
    }
    let notes = ListNotes::of(settings, &published, &captured);
    let topics = captured.into_iter().filter_map(|table| table.topic).collect();
    let slot = wait_for_slot(&client, options, health).await?;
    // Anew, because a reader that was waited for may have written what was committed meanwhile.
    let facts = postgres::server_facts(&client, config).await?;
    Ok(SourceState { catalog, facts, slot, topics, tables, notes })
}

/// Refuses a server that cannot be streamed from.
fn check_server(facts: &ServerFacts, options: &CaptureOptions) -> Result<()> {
    let address = options.postgres.address();
    if facts.is_in_recovery {
        return Err(Error::unavailable(format!(
            "PostgreSQL at {address} is a standby, where the slot's position says nothing yet; set POSTGRES_HOST to the \
             primary, or promote it"
        )));
    }
    if facts.wal_level != "logical" {
        return Err(Error::new(
            ErrorKind::Missing,
            format!(
                "PostgreSQL at {address} has wal_level = {}; set wal_level = logical in postgresql.conf and restart it",
                facts.wal_level
            ),
        ));
    }
    Ok(())
}

/// Refuses a table whose replica identity is not the one that the connector wants; Debezium would alter the table.
async fn check_identity(client: &Client, options: &CaptureOptions, (schema, table): (&str, &str)) -> Result<()> {
    let Some(wanted) = options.settings.identities.of_table(schema, table).map_err(Error::configuration)? else {
        return Ok(());
    };
    match postgres::replica_identity(client, &options.postgres, (schema, table)).await? {
        Some((letter, index)) if WantedIdentity::of_catalog(&letter, index.as_deref()) != *wanted => Err(Error::new(
            ErrorKind::Missing,
            format!(
                "table {schema}.{table} has another replica identity than replica.identity.autoset.values wants, and capture alters \
                 no tables: run `evp init` with the same connector file, or \
                 ALTER TABLE {}.{} REPLICA IDENTITY {wanted}",
                identifier(schema),
                identifier(table)
            ),
        )),
        _ => Ok(()),
    }
}

/// A publication without a table to stream; said once a table that has left it is looked for.
pub(super) fn check_tables(tables: &[(String, String)], options: &CaptureOptions) -> Result<()> {
    if tables.is_empty() {
        let publication = &options.settings.publication_name;
        return Err(Error::new(
            ErrorKind::Missing,
            format!(
                "publication {publication} has no table that the connector's table and schema lists take; add one, or run `evp init`"
            ),
        ));
    }
    Ok(())
}

/// Looks the slot up; one that somebody else reads is waited for, as a reader that crashed leaves it busy for a while.
async fn wait_for_slot(client: &Client, options: &CaptureOptions, health: &Health) -> Result<Option<Slot>> {
    let (config, settings) = (&options.postgres, &options.settings);
    let name = &settings.slot_name;
    let wait = slot_wait(client, options).await?;
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let slot = postgres::find_slot(client, config, name).await?;
        let Some(holder) = slot.as_ref().and_then(|slot| slot.holder.clone()) else {
            return check_slot(name, config, slot);
        };
        if started.elapsed() >= wait {
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "replication slot {name} is read by process {holder}; stop that reader, a slot has only one, or let this \
                     one stand by for longer with slot.max.retries"
                ),
            ));
        }
        if told.is_none_or(|told| told.elapsed() >= SLOT_TOLD_INTERVAL) {
            let reason = format!("replication slot {name} is read by process {holder}; waiting until it is free");
            health.set_not_ready(reason);
            tracing::warn!(event = "slot_busy", slot = %name, holder, "the slot has another reader; waiting until it is gone");
            told = Some(Instant::now());
        }
        tokio::time::sleep(SLOT_POLL_INTERVAL).await;
    }
}

/// Unless the connector says otherwise, long enough for the server to notice that a reader is gone.
async fn slot_wait(client: &Client, options: &CaptureOptions) -> Result<Duration> {
    let wait = options.settings.slot_wait;
    if wait != USUAL_SLOT_WAIT {
        return Ok(wait);
    }
    let patience = postgres::wal_sender_patience(client, &options.postgres).await?;
    Ok(wait.max(patience.saturating_add(SLOT_RELEASE)))
}

fn check_slot(name: &str, config: &crate::config::PostgresConfig, slot: Option<Slot>) -> Result<Option<Slot>> {
    if let Some(slot) = &slot {
        if slot.plugin.as_deref() != Some("pgoutput") {
            let plugin = slot.plugin.as_deref().unwrap_or("none");
            return Err(Error::refused(format!(
                "replication slot {name} has the plugin {plugin}; evp needs one with pgoutput: set another slot.name"
            )));
        }
        if slot.database.as_deref() != Some(config.database.as_str()) {
            let database = slot.database.as_deref().unwrap_or("none");
            return Err(Error::refused(format!(
                "replication slot {name} belongs to database {database}, not {}; set POSTGRES_DB or another slot.name",
                config.database
            )));
        }
    }
    Ok(slot)
}
