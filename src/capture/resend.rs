//! What to do about rows that Kafka lacks: those that are still in their tables can be sent again.

use std::time::Duration;

use tokio_postgres::Client;

use super::CaptureOptions;
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind};
use crate::postgres;
use crate::row::{ColumnShape, TableShape};

/// Counting may take so long; after that it is not worth it.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);
/// As many tables are named one by one.
const TABLES_MAX: usize = 3;

/// A stream that PostgreSQL cannot decode because the publication is younger than the slot: a gap, as nothing of it can be
/// read any more by that slot.
pub(super) async fn explained(error: Error, options: &CaptureOptions) -> Error {
    if error.kind() != ErrorKind::Missing || !error.message().starts_with(postgres::NO_PUBLICATION) {
        return error;
    }
    let found = async {
        let client = postgres::sql::connect(&options.postgres).await?;
        postgres::publication_exists(&client, &options.postgres, &options.settings.publication_name).await
    };
    match found.await {
        Ok(Ok(())) => Error::refused(format!(
            "replication slot {} is older than publication {}, and PostgreSQL decodes each change with the publications of \
             its time: the rows between are not in Kafka; drop the slot, run `evp init`, and start once with --accept-gap",
            options.settings.slot_name, options.settings.publication_name
        )),
        _ => error,
    }
}

/// The refusal of a gap, with how many rows the tables hold and the statement that sends them again.
pub(super) async fn advised(error: Error, options: &CaptureOptions) -> Error {
    if error.kind() != ErrorKind::Refused || !error.message().contains("--accept-gap") {
        return error;
    }
    let advice = async {
        let client = postgres::sql::connect(&options.postgres).await.ok()?;
        advice(&client, options).await
    };
    match advice.await {
        Some(advice) => Error::new(error.kind(), format!("{error}; {advice}")),
        None => error,
    }
}

async fn advice(client: &Client, options: &CaptureOptions) -> Option<String> {
    let (config, settings) = (&options.postgres, &options.settings);
    let mut tables = postgres::published_tables(client, config, &settings.publication_name).await.ok()?;
    // A table that has left the publication is one of them.
    let named = options.plain_tables.iter().filter(|table| !tables.contains(table)).cloned().collect::<Vec<_>>();
    tables.extend(named);
    tables.retain(|(schema, table)| settings.tables.accepts(schema, table));
    let mut parts = Vec::new();
    for (schema, table) in tables.iter().take(TABLES_MAX) {
        let shape = postgres::table_shape(client, config, schema, table).await.ok()?;
        if shape.columns.is_empty() {
            continue;
        }
        let rows = row_count(client, config, schema, table).await;
        let rows = rows.map_or_else(|| "the rows".to_owned(), |rows| format!("the {rows} rows"));
        parts.push(format!("{rows} of {schema}.{table}: {}", statement(&shape)));
    }
    if parts.is_empty() {
        return None;
    }
    let rest = if tables.len() > TABLES_MAX { ", and likewise the other tables" } else { "" };
    Some(format!(
        "what is deleted from the tables by now is lost; what is still in them is sent again, as updates, once capture \
         streams: {}{rest}",
        parts.join("; ")
    ))
}

async fn row_count(client: &Client, config: &PostgresConfig, schema: &str, table: &str) -> Option<i64> {
    let statement = format!("SELECT count(*) FROM {}.{}", quoted(schema), quoted(table));
    let counted = tokio::time::timeout(COUNT_TIMEOUT, client.query_one(&statement, &[])).await;
    match counted {
        Ok(Ok(row)) => row.try_get(0).ok(),
        Ok(Err(error)) => {
            tracing::debug!(event = "rows_not_counted", error = %postgres::sql::query_error("counting", config, error));
            None
        }
        Err(_) => None,
    }
}

/// An update that changes nothing and yet puts every value into the log: a large one that is stored outside of its row is
/// left out of the log unless it is written anew.
fn statement(table: &TableShape) -> String {
    let rewritten: Vec<String> = table.columns.iter().filter_map(rewritten).collect();
    let assignments = match (rewritten.is_empty(), table.columns.first()) {
        (true, Some(first)) => {
            let name = quoted(table.primary_key.first().unwrap_or(&first.name));
            format!("{name} = {name}")
        }
        _ => rewritten.join(", "),
    };
    format!("UPDATE {}.{} SET {assignments}", quoted(&table.schema), quoted(&table.table))
}

fn rewritten(column: &ColumnShape) -> Option<String> {
    let name = quoted(&column.name);
    let plain = column.type_name.split('(').next().unwrap_or_default();
    match plain {
        "text" | "citext" | "character varying" => Some(format!("{name} = {name} || ''")),
        "json" | "jsonb" => Some(format!("{name} = {name}::text::{plain}")),
        _ => None,
    }
}

fn quoted(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_bare = name.bytes().all(is_plain) && !name.starts_with(|first: char| first.is_ascii_digit());
    if is_bare { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_stored_outside_of_its_row_is_written_anew() {
        let columns = vec![
            ColumnShape::named("event_id", "uuid"),
            ColumnShape::named("payload", "jsonb"),
            ColumnShape::named("Note", "character varying(9)"),
        ];
        let table = |schema: &str, table: &str, columns, key: &str| TableShape {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            primary_key: vec![key.to_owned()],
        };
        let outbox = table("activity", "event_outbox", columns, "event_id");
        let expected = "UPDATE activity.event_outbox SET payload = payload::text::jsonb, \"Note\" = \"Note\" || ''";
        assert_eq!(statement(&outbox), expected);
        let other = table("s", "1t", vec![ColumnShape::named("id", "integer")], "id");
        assert_eq!(statement(&other), "UPDATE s.\"1t\" SET id = id");
    }
}
