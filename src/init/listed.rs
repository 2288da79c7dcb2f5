//! The captured tables where the connector's lists do not name them in full: those of the database that the lists take.

use std::time::Duration;

use tokio_postgres::Client;

use super::{DEFAULT_TABLE, InitPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql::{connect, query_error};

/// A look that prints something about PostgreSQL anyway does not wait for it here.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Tables that can be published, partitions with the root that their rows are sent under. What belongs to an extension,
/// and the history of evp's own migrations, is nobody's data.
const THERE: &str = "\
    SELECT n.nspname, c.relname, rn.nspname, r.relname \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid) \
    LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
      AND (n.nspname, c.relname) <> ('activity', 'evp_migrations') \
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY 1, 2";

/// The plan with the tables that its lists take of those that are there.
pub(super) async fn resolved(plan: &InitPlan, client: &Client) -> Result<InitPlan> {
    let mut plan = plan.clone();
    if plan.names_tables {
        return Ok(plan);
    }
    let failed = |error| query_error("looking for the tables that the connector's lists take", &plan.postgres, error);
    let rows = client.query(THERE, &[]).await.map_err(failed)?;
    let mut tables = std::mem::take(&mut plan.tables);
    for row in &rows {
        let table: (String, String) = (row.get(0), row.get(1));
        let root: (Option<String>, Option<String>) = (row.get(2), row.get(3));
        let is_sent_as_root = matches!(&root, (Some(schema), Some(table)) if plan.lists.accepts(schema, table));
        if plan.lists.accepts(&table.0, &table.1) && !is_sent_as_root && !tables.contains(&table) {
            tables.push(table);
        }
    }
    if tables.is_empty() && plan.lists.take_all() {
        tables.push((DEFAULT_TABLE.0.to_owned(), DEFAULT_TABLE.1.to_owned()));
    }
    if tables.is_empty() {
        let message = format!(
            "database `{}` has no table that the connector's table and schema lists take: make it, or correct the lists",
            plan.postgres.database
        );
        return Err(Error::new(ErrorKind::Missing, message));
    }
    plan.event_topics = plan.connector.topics_of(&tables);
    plan.tables = tables;
    Ok(plan)
}

/// The same for a look at all servers, which tells by itself that PostgreSQL does not answer.
pub(crate) async fn resolved_if_reachable(plan: &InitPlan) -> InitPlan {
    if plan.names_tables {
        return plan.clone();
    }
    let look = async {
        let client = connect(&plan.postgres).await?;
        resolved(plan, &client).await
    };
    match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(Ok(plan)) => plan,
        _ => plan.clone(),
    }
}
