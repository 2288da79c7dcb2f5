//! From a relation message and the catalog to a table that can be written.

use tokio_postgres::Client;

use crate::config::PostgresConfig;
use crate::connector::ConnectorSettings;
use crate::envelope::TablePlan;
use crate::error::{Error, ErrorKind, Result};
use crate::pgoutput::Relation;
use crate::postgres::{self, published_columns, table_shape};
use crate::row::TableShape;
use crate::typemap::PgType;

/// Makes plans for the tables that the connector includes.
pub(super) struct Relations<'a> {
    pub(super) settings: &'a ConnectorSettings,
    pub(super) postgres: &'a PostgresConfig,
    pub(super) catalog: &'a Client,
}

impl Relations<'_> {
    /// The plan of a table, or `None` if the connector leaves the table out.
    pub(super) async fn plan(&self, relation: &Relation) -> Result<Option<TablePlan>> {
        if !self.settings.tables.accepts(&relation.schema, &relation.table) {
            return Ok(None);
        }
        let catalog = table_shape(self.catalog, self.postgres, &relation.schema, &relation.table).await?;
        self.prepare(relation.shape(&catalog)).await.map(Some)
    }

    /// Refuses before anything is streamed what could not be written once it comes.
    pub(super) async fn check(&self, schema: &str, table: &str) -> Result<TablePlan> {
        let shape = table_shape(self.catalog, self.postgres, schema, table).await?;
        let publications = &self.settings.publication_name;
        let published = published_columns(self.catalog, self.postgres, publications, (schema, table)).await?;
        self.prepare(shape.with_columns(&published)).await
    }

    async fn prepare(&self, mut shape: TableShape) -> Result<TablePlan> {
        let settings = self.settings;
        let table = shape.name();
        let key_columns = settings.message_keys.of_table(&shape).map_err(|missing| {
            Error::configuration(format!(
                "message.key.columns names {missing}, a column that {table} does not have or does not publish"
            ))
        })?;
        // Debezium takes one of the unique indexes then, by a rule that is not known.
        if key_columns.is_empty()
            && postgres::has_unique_index(self.catalog, self.postgres, &shape.schema, &shape.table).await?
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("table {table} has unique indexes but no primary key; name its key in message.key.columns"),
            ));
        }
        let options = settings.plan_options(&shape, &self.postgres.database, key_columns);
        // The stream's types: the catalog may have others by now.
        let oids: Vec<u32> = shape.columns.iter().map(|column| column.type_oid).collect();
        let types = postgres::types(self.catalog, self.postgres, &oids).await?;
        for column in &mut shape.columns {
            column.pg_type = PgType::of(column.type_oid, &types);
        }
        TablePlan::new(shape, &options).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("the transforms do not fit table {table}: {error}"))
        })
    }
}
