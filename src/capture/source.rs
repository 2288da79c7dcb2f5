//! What PostgreSQL says before anything is streamed: is the server fit, what is published, where does the slot stand?

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::CaptureOptions;
use super::relations::Relations;
use crate::connector::topic_name;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{self, ServerFacts, Slot};

/// How often a slot that somebody else reads is looked at.
const SLOT_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What PostgreSQL says.
pub(super) struct SourceState {
    pub(super) catalog: Client,
    pub(super) facts: ServerFacts,
    pub(super) slot: Option<Slot>,
    pub(super) topics: Vec<String>,
}

/// Checks the server, the publication and its tables, and looks the slot up.
pub(super) async fn inspect_source(options: &CaptureOptions) -> Result<SourceState> {
    let (config, settings) = (&options.postgres, &options.settings);
    let catalog = postgres::sql::connect(config).await?;
    let facts = postgres::server_facts(&catalog, config).await?;
    if facts.is_in_recovery {
        return Err(Error::unavailable(format!(
            "PostgreSQL at {} is a standby, where the slot's position says nothing yet; set POSTGRES_HOST to the primary, \
             or promote it",
            config.address()
        )));
    }
    if facts.wal_level != "logical" {
        return Err(Error::new(
            ErrorKind::Missing,
            format!(
                "PostgreSQL at {} has wal_level = {}; set wal_level = logical in postgresql.conf and restart it",
                config.address(),
                facts.wal_level
            ),
        ));
    }
    let publication = &settings.publication_name;
    if let Err(missing) = postgres::publication_exists(&catalog, config, publication).await? {
        return Err(Error::new(ErrorKind::Missing, format!("publication {missing} does not exist; run `evp init`")));
    }
    let mut topics = Vec::new();
    let relations = Relations { settings, postgres: config, catalog: &catalog };
    for (schema, table) in postgres::published_tables(&catalog, config, publication).await? {
        if settings.tables.accepts(&schema, &table) {
            relations.check(&schema, &table).await?;
            topics.push(topic_name(&settings.topic_prefix, &schema, &table, &settings.routes));
        }
    }
    if topics.is_empty() {
        return Err(Error::new(
            ErrorKind::Missing,
            format!("publication {publication} has no table that table.include.list takes; add one, or run `evp init`"),
        ));
    }
    let slot = wait_for_slot(&catalog, options).await?;
    // Anew, because a reader that was waited for may have written what was committed meanwhile.
    let facts = postgres::server_facts(&catalog, config).await?;
    Ok(SourceState { catalog, facts, slot, topics })
}

/// Looks the slot up; one that somebody else reads is waited for, as a reader that crashed leaves it busy for a while.
async fn wait_for_slot(catalog: &Client, options: &CaptureOptions) -> Result<Option<Slot>> {
    let (config, settings) = (&options.postgres, &options.settings);
    let name = &settings.slot_name;
    let deadline = Instant::now() + settings.slot_wait;
    let mut is_told = false;
    loop {
        let slot = postgres::find_slot(catalog, config, name).await?;
        let Some(holder) = slot.as_ref().and_then(|slot| slot.holder.clone()) else {
            return check_slot(name, config, slot);
        };
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorKind::Missing,
                format!("replication slot {name} is read by process {holder}; stop that reader, a slot has only one"),
            ));
        }
        if !is_told {
            tracing::warn!(event = "slot_busy", slot = %name, holder, "the slot has another reader; waiting until it is gone");
            is_told = true;
        }
        tokio::time::sleep(SLOT_POLL_INTERVAL).await;
    }
}

fn check_slot(name: &str, config: &crate::config::PostgresConfig, slot: Option<Slot>) -> Result<Option<Slot>> {
    if let Some(slot) = &slot {
        if slot.plugin.as_deref() != Some("pgoutput") {
            let plugin = slot.plugin.as_deref().unwrap_or("none");
            let message = format!("replication slot {name} has the plugin {plugin}; evp needs one with pgoutput");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if slot.database.as_deref() != Some(config.database.as_str()) {
            let database = slot.database.as_deref().unwrap_or("none");
            let message = format!(
                "replication slot {name} belongs to database {database}, not {}; set POSTGRES_DB or another slot.name",
                config.database
            );
            return Err(Error::new(ErrorKind::Missing, message));
        }
    }
    Ok(slot)
}
