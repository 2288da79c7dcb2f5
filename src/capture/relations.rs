//! From a relation message and the catalog to a table that can be written.

use tokio_postgres::Client;

use crate::config::PostgresConfig;
use crate::connector::{ConnectorSettings, topic_name};
use crate::envelope::{ColumnFacts, TableEncoder, TableOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::pgoutput::{Relation, RelationColumn, RelationId, ReplicaIdentity};
use crate::postgres::{self, CatalogColumn, CatalogTable, published_columns, table_facts};
use crate::typemap::PgType;

/// Makes encoders for the tables that the connector includes.
pub(super) struct Relations<'a> {
    pub(super) settings: &'a ConnectorSettings,
    pub(super) postgres: &'a PostgresConfig,
    pub(super) catalog: &'a Client,
}

impl Relations<'_> {
    /// The encoder of a table, or `None` if the connector leaves the table out.
    pub(super) async fn encoder(&self, relation: &Relation) -> Result<Option<TableEncoder>> {
        if !self.settings.tables.accepts(&relation.schema, &relation.table) {
            return Ok(None);
        }
        let facts = table_facts(self.catalog, self.postgres, &relation.schema, &relation.table).await?;
        self.prepare(relation, &facts).await.map(Some)
    }

    /// Refuses before anything is streamed what could not be written once it comes.
    pub(super) async fn check(&self, schema: &str, table: &str) -> Result<()> {
        let facts = table_facts(self.catalog, self.postgres, schema, table).await?;
        let publications = &self.settings.publication_name;
        let published = published_columns(self.catalog, self.postgres, publications, (schema, table)).await?;
        let is_published = |column: &&CatalogColumn| published.contains(&column.name);
        let columns = facts.columns.iter().filter(is_published).map(|column| RelationColumn {
            is_key: false,
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
        });
        let relation = Relation {
            id: RelationId(0),
            schema: schema.to_owned(),
            table: table.to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: columns.collect(),
        };
        self.prepare(&relation, &facts).await.map(|_| ())
    }

    async fn prepare(&self, relation: &Relation, facts: &CatalogTable) -> Result<TableEncoder> {
        let settings = self.settings;
        let (schema, table) = (&relation.schema, &relation.table);
        let names: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        let chosen = settings.message_keys.columns(schema, table, &names).map_err(|missing| {
            Error::configuration(format!(
                "message.key.columns names {missing}, a column that {schema}.{table} does not have or does not publish"
            ))
        })?;
        let key_columns = chosen.unwrap_or_else(|| primary_key(relation, facts));
        if key_columns.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("table {schema}.{table} has no primary key; name its key in message.key.columns"),
            ));
        }
        let options = TableOptions {
            profile: settings.profile,
            topic_prefix: settings.topic_prefix.clone(),
            database: self.postgres.database.clone(),
            topic: topic_name(&settings.topic_prefix, schema, table, &settings.routes),
            key_columns,
            unavailable_placeholder: settings.unavailable_placeholder.clone(),
            handling: settings.handling,
        };
        // The stream's types: the catalog may have others by now.
        let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
        let types = postgres::types(self.catalog, self.postgres, &oids).await?;
        let columns = relation.columns.iter().map(|column| {
            let known = facts.columns.iter().find(|known| known.name == column.name);
            ColumnFacts {
                name: column.name.clone(),
                pg_type: PgType::of(column.type_oid, &types),
                is_not_null: known.is_some_and(|known| known.is_not_null),
                default_expression: known.and_then(|known| known.default_expression.clone()),
            }
        });
        Ok(TableEncoder::new(relation, &columns.collect::<Vec<_>>(), &options))
    }
}

/// The catalog's primary key; if the table or a column of it has gone since the row was written, what the stream says.
fn primary_key(relation: &Relation, facts: &CatalogTable) -> Vec<String> {
    let has = |name: &String| relation.columns.iter().any(|column| column.name == *name);
    if !facts.primary_key.is_empty() && facts.primary_key.iter().all(has) {
        return facts.primary_key.clone();
    }
    match relation.replica_identity {
        ReplicaIdentity::Default => {
            relation.columns.iter().filter(|column| column.is_key).map(|column| column.name.clone()).collect()
        }
        // It marks other columns than those of the primary key.
        ReplicaIdentity::Full | ReplicaIdentity::Index | ReplicaIdentity::Nothing => Vec::new(),
    }
}
