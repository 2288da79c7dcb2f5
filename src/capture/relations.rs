//! From a relation message and the catalog to a table that can be written.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::CaptureOptions;
use super::snapshot::Visibility;
use crate::connector::{ConnectorSettings, key_of_indexes};
use crate::envelope::TablePlan;
use crate::error::{Error, ErrorKind, Result};
use crate::pgoutput::{Relation, Xid};
use crate::postgres::{self, published_columns, table_shape, unique_index_columns};
use crate::row::{Operation, TableShape};
use crate::transform::RecordKind;
use crate::typemap::Handling;

/// A commit that a synchronous standby holds up shows when that answers, which may be never.
const SHOWN_WAIT: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Makes plans for the tables that the connector includes.
pub(super) struct Relations<'a> {
    pub(super) options: &'a CaptureOptions,
    pub(super) catalog: &'a Client,
}

impl Relations<'_> {
    /// The plan of a table that the transaction `xid` tells of, or `None` if the connector leaves the table out.
    pub(super) async fn plan(&self, relation: &Relation, xid: Option<Xid>) -> Result<Option<TablePlan>> {
        if !self.options.settings.tables.accepts(&relation.schema, &relation.table) {
            return Ok(None);
        }
        if let Some(xid) = xid {
            self.wait_until_shown(xid).await?;
        }
        let catalog = table_shape(self.catalog, &self.options.postgres, &relation.schema, &relation.table).await?;
        self.prepare(relation.shape(&catalog), self.options.settings.handling).await.map(Some)
    }

    /// The stream brings a commit a moment before it shows. What the transaction has done to its tables shows with it, and no other
    /// message would tell of that.
    async fn wait_until_shown(&self, xid: Xid) -> Result<()> {
        let started = Instant::now();
        loop {
            let shown = postgres::shown_transactions(self.catalog, &self.options.postgres).await?;
            if Visibility::told(&shown)?.sees(xid) {
                return Ok(());
            }
            if started.elapsed() >= SHOWN_WAIT {
                tracing::warn!(
                    event = "commit_not_shown",
                    xid = xid.0,
                    "a transaction is committed and does not show, perhaps because a synchronous standby is away; what it has done \
                     to nullability and defaults of tables is not known to the records that follow"
                );
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Refuses before anything is streamed what could not be written once it comes.
    pub(super) async fn check(&self, schema: &str, table: &str) -> Result<TablePlan> {
        let plan = self.of_catalog(schema, table, self.options.settings.handling).await?;
        for column in self.options.settings.bare_columns(plan.shape()) {
            tracing::warn!(
                event = "column_not_masked",
                table = plan.shape().name(),
                column,
                "its type is told (column.propagate.source.type or datatype.propagate.source.type), and Debezium masks no such column: \
                 take it out of that list"
            );
        }
        Ok(plan)
    }

    /// The plan of a table whose rows a snapshot reads.
    pub(super) async fn of_snapshot(&self, schema: &str, table: &str) -> Result<TablePlan> {
        self.of_catalog(schema, table, Handling { is_snapshot: true, ..self.options.settings.handling }).await
    }

    async fn of_catalog(&self, schema: &str, table: &str, handling: Handling) -> Result<TablePlan> {
        let CaptureOptions { postgres, settings, .. } = self.options;
        let shape = table_shape(self.catalog, postgres, schema, table).await?;
        let publications = &settings.publication_name;
        let published = published_columns(self.catalog, postgres, publications, (schema, table)).await?;
        self.prepare(shape.with_columns(&published), handling).await
    }

    async fn prepare(&self, mut shape: TableShape, handling: Handling) -> Result<TablePlan> {
        let CaptureOptions { postgres, settings, types, .. } = self.options;
        let table = shape.name();
        let mut key_columns = settings.message_keys.of_table(&shape).map_err(|missing| {
            Error::configuration(format!(
                "message.key.columns names {missing}, a column that {table} does not have or does not publish"
            ))
        })?;
        if key_columns.is_empty() {
            let columns = unique_index_columns(self.catalog, postgres, &shape.schema, &shape.table).await?;
            key_columns = key_of_indexes(columns);
            key_columns.retain(|name| shape.column(name).is_some());
        }
        // The stream's types: the catalog may have others by now.
        let oids: Vec<u32> = shape.columns.iter().map(|column| column.type_oid).collect();
        let types = types.of(self.catalog, postgres, &oids).await?;
        for (column, pg_type) in shape.columns.iter_mut().zip(types) {
            column.pg_type = pg_type;
        }
        let options = settings.plan_options(&shape, &postgres.database, key_columns, handling);
        let plan = TablePlan::new(shape, &options).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("the connector does not fit table {table}: {error}"))
        })?;
        warn_of_failing(settings, &plan);
        Ok(plan)
    }
}

/// Says of which of a table's records capture would end, if it ever met one.
fn warn_of_failing(settings: &ConnectorSettings, plan: &TablePlan) {
    let is_told = |(kind, _): &(RecordKind, &str)| {
        let operation = if *kind == RecordKind::Truncate { Operation::Truncate } else { Operation::Delete };
        let is_written = settings.tombstones_on_delete || !kind.is_tombstone();
        is_written && !settings.skipped_operations.contains(&operation)
    };
    if let Some((kind, why)) = plan.failing().find(is_told) {
        let table = plan.shape().name();
        tracing::warn!(event = "records_cannot_be", table, ?kind, why, "capture will stop at such a record of {table}");
    }
}
