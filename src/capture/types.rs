//! The types of columns as this run has seen them first.
//!
//! Debezium reads the types when it starts, later ones when it meets them, and none of them a second time: a label that an
//! enum is given meanwhile is in no schema until the next start.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio_postgres::Client;

use crate::config::PostgresConfig;
use crate::error::Result;
use crate::postgres;
use crate::typemap::{PgType, TypeRow};

/// Types by object id; none before the first question.
#[derive(Debug, Default)]
pub(super) struct SeenTypes(Mutex<Option<HashMap<u32, TypeRow>>>);

impl SeenTypes {
    /// The types with these object ids, in their order.
    pub(super) async fn of(&self, client: &Client, config: &PostgresConfig, oids: &[u32]) -> Result<Vec<PgType>> {
        let mut wanted = oids.to_vec();
        if self.0.lock().is_none() {
            wanted.extend(postgres::enums(client, config).await?);
        }
        let found = postgres::types(client, config, &wanted).await?;
        let mut seen = self.0.lock();
        let seen = seen.get_or_insert_default();
        for (oid, row) in found {
            seen.entry(oid).or_insert(row);
        }
        Ok(oids.iter().map(|oid| PgType::of(*oid, seen)).collect())
    }
}
