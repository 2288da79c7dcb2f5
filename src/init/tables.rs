//! The captured tables: what publishing them would do to the application, and how a partitioned one is published.

use tokio_postgres::Client;

use super::InitPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql::query_error;

/// A captured table that is there.
pub(crate) struct TableState {
    /// Schema and name.
    pub(crate) name: (String, String),
    /// A partition, or the table itself, in which published updates and deletes would fail.
    pub(crate) unidentified: Option<String>,
    /// The publication has it under its own name.
    pub(crate) is_published: bool,
    /// The publication has only its partitions, each under its own name.
    pub(crate) is_published_in_parts: bool,
}

/// PostgreSQL looks at the replica identity of the partition that a row is in, and takes no deferrable key for one.
const STATE: &str = "\
    WITH parts AS (\
        SELECT p.oid, p.oid::regclass::text AS name, ns.nspname, p.relname, CASE p.relreplident \
                 WHEN 'f' THEN true WHEN 'n' THEN false \
                 WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = p.oid AND i.indisprimary AND i.indimmediate) \
                 ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = p.oid AND i.indisreplident AND i.indisvalid) \
               END AS is_identified \
        FROM pg_class p JOIN pg_namespace ns ON ns.oid = p.relnamespace \
        WHERE p.oid = $1::oid AND p.relkind <> 'p' \
           OR p.oid IN (SELECT relid FROM pg_partition_tree($1::oid) WHERE isleaf AND relid <> $1::oid)), \
    listed AS (SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $2) \
    SELECT (SELECT name FROM parts WHERE NOT is_identified ORDER BY name LIMIT 1), \
           EXISTS (SELECT FROM listed JOIN pg_class c ON c.relname = tablename \
                   JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = schemaname WHERE c.oid = $1::oid), \
           EXISTS (SELECT FROM listed JOIN parts ON relname = tablename AND nspname = schemaname) \
        OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
                   WHERE r.prrelid = $1::oid AND p.pubname = $2)";

/// The captured tables that exist; the migrations make the outbox where it is missing.
pub(crate) async fn table_states(plan: &InitPlan, client: &Client) -> Result<Vec<TableState>> {
    let failed = |error| query_error("looking at the captured tables", &plan.postgres, error);
    let find = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
    let mut states = Vec::new();
    for (schema, table) in &plan.tables {
        let Some(found) = client.query_opt(find, &[schema, table]).await.map_err(failed)? else { continue };
        let oid: u32 = found.get(0);
        let row = client.query_one(STATE, &[&oid, &plan.publication]).await.map_err(failed)?;
        let is_published: bool = row.get(1);
        states.push(TableState {
            name: (schema.clone(), table.clone()),
            unidentified: row.get(0),
            is_published,
            is_published_in_parts: !is_published && row.get::<_, bool>(2),
        });
    }
    Ok(states)
}

/// Refuses to publish a table in which the application's updates and deletes would fail from then on.
pub(super) async fn check_replica_identity(plan: &InitPlan, client: &Client) -> Result<()> {
    let failed = |error| query_error("reading the publication", &plan.postgres, error);
    let statement = "SELECT pubupdate OR pubdelete FROM pg_publication WHERE pubname = $1";
    let publication = client.query_opt(statement, &[&plan.publication]).await.map_err(failed)?;
    if publication.is_some_and(|row| !row.get::<_, bool>(0)) {
        return Ok(());
    }
    for state in table_states(plan, client).await? {
        if state.is_published || state.is_published_in_parts {
            continue;
        }
        if let Some(table) = state.unidentified {
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "table {table} has no replica identity, so that publishing it would make each UPDATE and DELETE of the \
                     application fail: give it a primary key, run ALTER TABLE {table} REPLICA IDENTITY FULL, or, if its rows are only \
                     inserted, CREATE PUBLICATION {} FOR TABLE {table} WITH (publish = 'insert'); then run `evp init` again",
                    plan.publication
                ),
            ));
        }
    }
    Ok(())
}
