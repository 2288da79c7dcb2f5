//! The publication and the replication slot.

use tokio_postgres::Client;

use super::tables::table_states;
use super::{InitPlan, Report, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql::query_error;
use crate::postgres::{find_slot, server_facts};

const PLUGIN: &str = "pgoutput";

/// A slot waits for every transaction that is open when it is made; this bounds the wait.
const SLOT_TIMEOUT: &str = "SET statement_timeout = '60s'";

/// Refuses a server that cannot be captured from before anything is made on it.
pub(super) async fn check_server(plan: &InitPlan, client: &Client) -> Result<()> {
    let facts = server_facts(client, &plan.postgres).await?;
    let address = plan.postgres.address();
    if facts.version_number < 140_000 {
        let version = facts.version_number / 10_000;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("PostgreSQL at {address} is version {version}: evp needs 14 or later"),
        ));
    }
    if plan.failover && facts.version_number < 170_000 {
        let version = facts.version_number / 10_000;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "slot.failover=true needs PostgreSQL 17 or later, and {address} is version {version}: set it to false"
            ),
        ));
    }
    if facts.is_in_recovery {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("PostgreSQL at {address} is a standby: set POSTGRES_HOST to the primary"),
        ));
    }
    if facts.wal_level != "logical" {
        return Err(Error::new(
            ErrorKind::Missing,
            format!(
                "PostgreSQL at {address} runs with wal_level = {}: set wal_level = logical in postgresql.conf \
                 (or ALTER SYSTEM SET wal_level = 'logical') and restart it",
                facts.wal_level
            ),
        ));
    }
    Ok(())
}

/// Makes the publication, or adds the tables that it lacks if this role owns it. Says whether there is one.
///
/// What was written between the making of a slot and of its publication can make the slot unreadable, because it is
/// decoded with the catalog of its time.
pub(super) async fn ensure_publication(plan: &InitPlan, client: &Client, report: &mut Report) -> Result<bool> {
    let name = &plan.publication;
    let failed = |error| query_error("reading the publication", &plan.postgres, error);
    let found = client
        .query_opt("SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = $1", &[name])
        .await
        .map_err(failed)?;
    let Some(row) = found else {
        // A partitioned table is streamed under its own name, as its topic is.
        let statement = format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
            quoted(name),
            table_list(&plan.tables)
        );
        return execute(plan, client, report, &statement, &format!("publication {name}")).await;
    };
    let is_ours: bool = row.get(0);
    let states = table_states(plan, client).await?;
    let state = |table: &(String, String)| states.iter().find(|state| state.name == *table);
    let is_missing = |table: &&(String, String)| {
        state(table).is_none_or(|state| !state.is_published && !state.is_published_in_parts)
    };
    let missing: Vec<_> = plan.tables.iter().filter(is_missing).cloned().collect();
    report.step(Step::Exists, format_args!("publication {name}"));
    if let Some(parts) = states.iter().find(|state| state.is_published_in_parts) {
        report.step(
            Step::Left,
            format_args!(
                "publication {name} sends the partitions of {} under their own names, which capture leaves out: its owner runs \
                 ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
                table_list(std::slice::from_ref(&parts.name)),
                quoted(name)
            ),
        );
    }
    if missing.is_empty() {
        return Ok(true);
    }
    let statement = format!("ALTER PUBLICATION {} ADD TABLE {}", quoted(name), table_list(&missing));
    if is_ours {
        let what = format!("publication {name}: table {}", table_list(&missing));
        execute(plan, client, report, &statement, &what).await?;
    } else {
        report.step(Step::Left, format_args!("the owner of publication {name} runs: {statement};"));
    }
    Ok(true)
}

/// Makes the slot; one that exists must be of the right kind and of this database.
pub(super) async fn ensure_slot(plan: &InitPlan, client: &Client, report: &mut Report) -> Result<()> {
    let name = &plan.slot;
    if let Some(slot) = find_slot(client, &plan.postgres, name).await? {
        let plugin = slot.plugin.as_deref().unwrap_or("none, it is a physical slot");
        if plugin != PLUGIN {
            let message =
                format!("slot `{name}` exists with plugin {plugin}, not {PLUGIN}: set slot.name to another name");
            return Err(Error::refused(message));
        }
        if slot.database.as_deref() != Some(plan.postgres.database.as_str()) {
            let database = slot.database.unwrap_or_default();
            let message = format!("slot `{name}` belongs to database `{database}`: set slot.name to another name");
            return Err(Error::refused(message));
        }
        report.step(Step::Exists, format_args!("slot {name}"));
        return if plan.failover { check_failover(plan, client, report).await } else { Ok(()) };
    }
    client
        .batch_execute(SLOT_TIMEOUT)
        .await
        .map_err(|error| query_error("creating the slot", &plan.postgres, error))?;
    let failover = if plan.failover { ", failover => true" } else { "" };
    let statement = format!("SELECT pg_create_logical_replication_slot({}, '{PLUGIN}'{failover})", literal(name));
    execute(plan, client, report, &statement, &format!("slot {name}")).await.map(|_| ())
}

/// A slot is made over only by a command of the replication protocol; anew it would lose what it holds.
async fn check_failover(plan: &InitPlan, client: &Client, report: &mut Report) -> Result<()> {
    let name = &plan.slot;
    let statement = "SELECT failover FROM pg_replication_slots WHERE slot_name = $1";
    let failed = |error| query_error("looking the slot up", &plan.postgres, error);
    let found = client.query_opt(statement, &[name]).await.map_err(failed)?;
    if found.is_some_and(|row| !row.get::<_, bool>(0)) {
        report.step(
            Step::Left,
            format_args!(
                "slot {name} exists without failover: while capture is stopped, a role with REPLICATION runs \
                 psql 'dbname={} replication=database' -c 'ALTER_REPLICATION_SLOT {name} (FAILOVER true)'",
                plan.postgres.database
            ),
        );
    }
    Ok(())
}

/// Runs a statement unless this is a dry run; one that needs more privileges is left for a DBA, and the answer is no.
pub(super) async fn execute(
    plan: &InitPlan,
    client: &Client,
    report: &mut Report,
    statement: &str,
    what: &str,
) -> Result<bool> {
    if plan.is_dry_run {
        report.step(Step::Created, what);
        return Ok(true);
    }
    let Err(error) = client.batch_execute(statement).await else {
        report.step(Step::Created, what);
        return Ok(true);
    };
    match error.as_db_error().map(|server| (server.code().code().to_owned(), server.message().to_owned())) {
        Some((code, message)) if code == "42501" => {
            let user = &plan.postgres.user;
            report.step(
                Step::Left,
                format_args!("{what} (role `{user}` gets `{message}`): a DBA runs, in this database, {statement};"),
            );
            Ok(false)
        }
        Some((code, _)) if code == "57014" => Err(Error::unavailable(format!(
            "{what} waits for transactions that were open before it: end them (pg_stat_activity) and run `evp init` again"
        ))),
        Some((code, message)) if code == "53400" => Err(Error::new(
            ErrorKind::Missing,
            format!(
                "{what}: PostgreSQL says `{message}`: drop a slot that nobody reads, or raise max_replication_slots"
            ),
        )),
        _ => Err(query_error(&format!("creating {what}"), &plan.postgres, error)),
    }
}

fn table_list(tables: &[(String, String)]) -> String {
    let names: Vec<_> = tables.iter().map(|(schema, table)| format!("{}.{}", quoted(schema), quoted(table))).collect();
    names.join(", ")
}

/// An identifier as SQL wants it, quoted only where it must be.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_would_misread_them() {
        assert_eq!(quoted("event_outbox"), "event_outbox");
        assert_eq!(quoted("Event Outbox"), "\"Event Outbox\"");
        assert_eq!(quoted("a\"; DROP TABLE b"), "\"a\"\"; DROP TABLE b\"");
        assert_eq!(quoted("1st"), "\"1st\"");
        assert_eq!(literal("o'clock"), "'o''clock'");
    }
}
