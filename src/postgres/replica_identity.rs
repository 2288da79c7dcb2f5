//! What a table tells of a row before its change.

use tokio_postgres::Client;

use super::sql::query_error;
use crate::config::PostgresConfig;
use crate::error::Result;

/// The letter of a table's replica identity and the name of its index; `None` if there is no such table.
pub(crate) async fn replica_identity(
    client: &Client,
    config: &PostgresConfig,
    (schema, table): (&str, &str),
) -> Result<Option<(String, Option<String>)>> {
    let statement = "\
        SELECT c.relreplident::text, \
               (SELECT r.relname::text FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid \
                WHERE i.indrelid = c.oid AND i.indisreplident) \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
    let failed = |error| query_error("looking at replica identities", config, error);
    let found = client.query_opt(statement, &[&schema, &table]).await.map_err(failed)?;
    Ok(found.map(|row| (row.get(0), row.get(1))))
}
