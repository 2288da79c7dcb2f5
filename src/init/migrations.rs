//! The outbox's own tables, from the SQL files in `migrations/`.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::{InitPlan, Report, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql::query_error;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Which migrations were applied is kept beside the outbox: since PostgreSQL 15 an ordinary role may not
/// create tables in `public`, and whoever owns the outbox can create them in `activity`.
const HISTORY_TABLE: &str = "activity.evp_migrations";
const OUTBOX: (&str, &str) = ("activity", "event_outbox");
const REPLICATION_ROLE: &str = "evp_replication";

/// Any number that other programs are unlikely to lock; it keeps two set-ups of one database apart.
const SETUP_LOCK: i64 = 0x6576_705f_696e_6974;

/// Applies what has not been applied.
pub(super) async fn apply(plan: &InitPlan, client: &mut Client, report: &mut Report) -> Result<()> {
    if !plan.tables.iter().any(|(schema, table)| (schema.as_str(), table.as_str()) == OUTBOX) {
        report.step(Step::Note, "activity.event_outbox is not captured, so its migrations are not applied");
        return Ok(());
    }
    let failed = |error| query_error("applying the migrations", &plan.postgres, error);
    if !plan.is_dry_run {
        client.execute("SELECT pg_advisory_lock($1)", &[&SETUP_LOCK]).await.map_err(failed)?;
    }
    let applied = applied_versions(plan, client).await?;
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name(HISTORY_TABLE);
    let is_pending = |version: i32| !applied.contains(&version);
    let has_pending = runner.get_migrations().iter().any(|migration| is_pending(migration.version()));
    // The runner always asks for CREATE on the schema, which a role that has nothing to apply need not have.
    if has_pending && !plan.is_dry_run {
        ensure_schema(plan, client).await?;
        runner.run_async(client).await.map_err(|error| migration_error(plan, error))?;
    }
    for migration in runner.get_migrations() {
        let step = if is_pending(migration.version()) { Step::Created } else { Step::Exists };
        report.step(step, format_args!("migration V{} {}", migration.version(), migration.name()));
    }
    if !plan.is_dry_run {
        report_role(plan, client, report).await?;
        client.execute("SELECT pg_advisory_unlock($1)", &[&SETUP_LOCK]).await.map_err(failed)?;
    }
    Ok(())
}

async fn applied_versions(plan: &InitPlan, client: &Client) -> Result<HashSet<i32>> {
    let failed = |error| query_error("reading the applied migrations", &plan.postgres, error);
    let exists = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY_TABLE]).await.map_err(failed)?;
    if !exists.get::<_, bool>(0) {
        return Ok(HashSet::new());
    }
    let statement = format!("SELECT version FROM {HISTORY_TABLE}");
    let rows = client.query(&statement, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The history's schema has to be there before the first migration, which would make it.
async fn ensure_schema(plan: &InitPlan, client: &Client) -> Result<()> {
    let failed = |error| query_error("creating schema activity", &plan.postgres, error);
    let found = client.query_opt("SELECT FROM pg_namespace WHERE nspname = 'activity'", &[]).await.map_err(failed)?;
    if found.is_none() {
        client.batch_execute("CREATE SCHEMA activity").await.map_err(failed)?;
    }
    Ok(())
}

fn migration_error(plan: &InitPlan, error: refinery::Error) -> Error {
    let said = match error.kind() {
        refinery::error::Kind::Connection(_, cause) => cause
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(tokio_postgres::Error::as_db_error)
            .map(|server| (server.code().code().to_owned(), server.message().to_owned())),
        _ => None,
    };
    match said {
        Some((code, message)) if code == "42501" => Error::new(
            ErrorKind::Denied,
            format!(
                "role `{}` may not apply the migrations: PostgreSQL says `{message}`; run `evp init` as the owner of \
                 database `{}`, or as a role with CREATE on schema activity",
                plan.postgres.user, plan.postgres.database
            ),
        ),
        Some((code, _)) if code == "55P03" => Error::unavailable(
            "applying the migrations: activity.event_outbox is in use for longer than 5 s; end the transactions that hold it \
             (pg_stat_activity) and run `evp init` again",
        ),
        Some((_, message)) => Error::with_source(
            ErrorKind::Protocol,
            format!("applying the migrations: PostgreSQL says `{message}`; nothing of that migration was kept"),
            error,
        ),
        None => Error::with_source(
            ErrorKind::Protocol,
            format!("applying the migrations fails; compare {HISTORY_TABLE} with migrations/ of this version"),
            error,
        ),
    }
}

/// The second migration leaves the role out where it may not make it; capture works without it.
async fn report_role(plan: &InitPlan, client: &Client, report: &mut Report) -> Result<()> {
    let statement = "SELECT coalesce(has_table_privilege(rolname, 'activity.event_outbox', 'SELECT'), false) \
                     AND has_schema_privilege(rolname, 'activity', 'USAGE') \
                     AND has_database_privilege(rolname, current_database(), 'CONNECT') \
                     FROM pg_roles WHERE rolname = $1";
    let failed = |error| query_error("looking for the replication role", &plan.postgres, error);
    let row = client.query_opt(statement, &[&REPLICATION_ROLE]).await.map_err(failed)?;
    let database = &plan.postgres.database;
    match row.map(|row| row.get::<_, bool>(0)) {
        Some(true) => report.step(Step::Exists, format_args!("role {REPLICATION_ROLE}")),
        Some(false) => report.step(
            Step::Note,
            format_args!(
                "role {REPLICATION_ROLE} lacks privileges here; to use it, a DBA runs: \
                 GRANT CONNECT ON DATABASE \"{database}\" TO {REPLICATION_ROLE}; \
                 GRANT USAGE ON SCHEMA activity TO {REPLICATION_ROLE}; \
                 GRANT SELECT ON activity.event_outbox TO {REPLICATION_ROLE};"
            ),
        ),
        None => report.step(
            Step::Note,
            format_args!(
                "no role {REPLICATION_ROLE}: `{}` may not make it; to use it, a DBA runs: \
                 CREATE ROLE {REPLICATION_ROLE} LOGIN REPLICATION; \
                 GRANT CONNECT ON DATABASE \"{database}\" TO {REPLICATION_ROLE}; \
                 GRANT USAGE ON SCHEMA activity TO {REPLICATION_ROLE}; \
                 GRANT SELECT ON activity.event_outbox TO {REPLICATION_ROLE};",
                plan.postgres.user
            ),
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_embedded_in_order() {
        let runner = embedded::migrations::runner();
        let versions: Vec<_> = runner.get_migrations().iter().map(|migration| migration.version()).collect();
        assert!(versions.starts_with(&[1, 2, 3]), "{versions:?}");
    }
}
