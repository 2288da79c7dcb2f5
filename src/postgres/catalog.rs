//! What a relation message does not tell of a table: nullability, defaults, type names, primary key.
//!
//! The stream describes the past and the catalog the present, as with Debezium: between a change of
//! shape and its first row the two can differ. Keeping this apart from decoding keeps decoding pure.

use std::collections::HashMap;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::sql::answered;
use crate::config::PostgresConfig;
use crate::error::Result;
use crate::row::{ColumnShape, TableShape};
use crate::typemap::{PgType, TypeRow};

/// The tables of the publications in a comma separated list, as (schema, table).
pub async fn published_tables(
    client: &Client,
    config: &PostgresConfig,
    publications: &str,
) -> Result<Vec<(String, String)>> {
    let names: Vec<&str> = publications.split(',').map(str::trim).collect();
    let statement = "SELECT DISTINCT schemaname::text, tablename::text FROM pg_publication_tables \
                     WHERE pubname = ANY($1) ORDER BY 1, 2";
    let rows = answered("reading the publication's tables", config, client.query(statement, &[&names])).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The columns of a table that its publications send. Before version 15 these are all but generated ones.
pub async fn published_columns(
    client: &Client,
    config: &PostgresConfig,
    publications: &str,
    (schema, table): (&str, &str),
) -> Result<Vec<String>> {
    let names: Vec<&str> = publications.split(',').map(str::trim).collect();
    let statement = "SELECT DISTINCT a.attname::text FROM pg_publication_tables p \
                     JOIN pg_namespace n ON n.nspname = p.schemaname \
                     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                     WHERE p.pubname = ANY($1) AND p.schemaname = $2 AND p.tablename = $3 \
                       AND CASE WHEN to_jsonb(p) ? 'attnames' THEN (to_jsonb(p) -> 'attnames') ? a.attname::text \
                                ELSE a.attgenerated = '' END";
    let what = format!("reading the published columns of {schema}.{table}");
    let parameters: [&(dyn ToSql + Sync); 3] = [&names, &schema, &table];
    let rows = answered(&what, config, client.query(statement, &parameters)).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The columns of a table's unique indexes, each with its index, in the order in which Debezium's driver lists them: clustered
/// indexes first, then by name. Columns that an index only includes are among them; expressions are printed.
pub async fn unique_index_columns(
    client: &Client,
    config: &PostgresConfig,
    schema: &str,
    table: &str,
) -> Result<Vec<(String, String)>> {
    let statement = "SELECT ci.relname::text, trim(both '\"' from pg_get_indexdef(ci.oid, k.place::int, false)) \
                     FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class ci ON ci.oid = i.indexrelid \
                     CROSS JOIN generate_series(1, i.indnatts) AS k(place) \
                     WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique \
                     ORDER BY i.indisclustered DESC, ci.relname, k.place";
    let what = format!("reading the indexes of {schema}.{table}");
    let rows = answered(&what, config, client.query(statement, &[&schema, &table])).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Which transactions show by now, as `pg_current_snapshot()` tells it.
pub async fn shown_transactions(client: &Client, config: &PostgresConfig) -> Result<String> {
    let asked = client.query_one("SELECT pg_current_snapshot()::text", &[]);
    Ok(answered("asking which transactions show", config, asked).await?.get(0))
}

/// The shape of one table; without columns if the table is gone by now.
pub async fn table_shape(client: &Client, config: &PostgresConfig, schema: &str, table: &str) -> Result<TableShape> {
    // A domain can be NOT NULL in place of its columns. Expressions are printed in the session's style, and a role or a database can have its own.
    let columns = "WITH style AS MATERIALIZED (SELECT set_config('DateStyle', 'ISO', true), set_config('TimeZone', 'UTC', true)) \
                   SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
                          a.attnotnull OR t.typtype = 'd' AND t.typnotnull, \
                          pg_get_expr(d.adbin, d.adrelid), a.atttypid, a.atttypmod \
                   FROM style CROSS JOIN pg_attribute a \
                   JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_type t ON t.oid = a.atttypid \
                   LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = '' \
                   WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped \
                   ORDER BY a.attnum";
    let key = "SELECT a.attname::text FROM pg_index i \
               JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
               WHERE n.nspname = $1 AND c.relname = $2 AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place";
    let what = format!("reading the columns of {schema}.{table}");
    let parameters: [&(dyn ToSql + Sync); 2] = [&schema, &table];
    let column_rows = answered(&what, config, client.query(columns, &parameters)).await?;
    let key_rows = answered(&what, config, client.query(key, &parameters)).await?;
    Ok(TableShape {
        schema: schema.to_owned(),
        table: table.to_owned(),
        columns: column_rows
            .iter()
            .map(|row| ColumnShape {
                name: row.get(0),
                type_name: row.get(1),
                pg_type: PgType::default(),
                is_not_null: row.get(2),
                default_expression: row.get(3),
                type_oid: row.get(4),
                type_modifier: row.get(5),
                is_identity: false,
            })
            .collect(),
        primary_key: key_rows.iter().map(|row| row.get(0)).collect(),
    })
}

/// The object ids of all enums.
pub async fn enums(client: &Client, config: &PostgresConfig) -> Result<Vec<u32>> {
    let statement = "SELECT oid FROM pg_type WHERE typtype = 'e'";
    let rows = answered("reading the enums", config, client.query(statement, &[])).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Types by object id, with all that they are made of: the bases of domains, the elements of arrays, the labels of enums.
pub async fn types(client: &Client, config: &PostgresConfig, oids: &[u32]) -> Result<HashMap<u32, TypeRow>> {
    let statement = "WITH RECURSIVE needed(oid) AS ( \
                         SELECT unnest($1::oid[]) \
                         UNION SELECT part.oid FROM needed JOIN pg_type t USING (oid) CROSS JOIN LATERAL \
                             (VALUES (t.typbasetype), (CASE WHEN t.typcategory = 'A' THEN t.typelem END)) AS part(oid) \
                         WHERE part.oid <> 0) \
                     SELECT t.oid, t.typname::text, t.typbasetype, t.typtypmod, \
                            CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0::oid END, \
                            (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), \
                            CASE WHEN n.nspname = ANY(current_schemas(true)) THEN t.typname::text \
                                 ELSE format('\"%s\".\"%s\"', n.nspname, t.typname) END \
                     FROM needed JOIN pg_type t USING (oid) JOIN pg_namespace n ON n.oid = t.typnamespace";
    let rows = answered("reading the types of columns", config, client.query(statement, &[&oids])).await?;
    let types = rows.iter().map(|row| TypeRow {
        oid: row.get(0),
        name: row.get(1),
        base_oid: row.get(2),
        base_modifier: row.get(3),
        element_oid: row.get(4),
        labels: row.get(5),
        driver_name: row.get(6),
    });
    Ok(types.map(|row| (row.oid, row)).collect())
}
