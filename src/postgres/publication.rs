//! One look at the publications and at the slot, in one statement, so that its parts are of one moment.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::sql::answered;
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// A publication, and what tells it from another of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPublication {
    /// Object id.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Object id of its owner.
    pub owner: u32,
    /// Transaction that wrote its row in the catalog.
    pub row_version: String,
    /// Letters of the operations that it sends, of `cud`.
    pub operations: String,
}

/// A table that one of the publications sends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PublishedTable {
    /// Object id.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Object ids of the entries, schemas' entries and publications of all tables that make it published.
    pub covered_by: Vec<u32>,
    /// Whether only entries for tables do.
    pub is_listed: bool,
}

/// A table of the catalog, published or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Relation {
    /// Object id.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Whether it is a partition of another table.
    pub is_partition: bool,
    /// Object ids of the tables that it is a partition of, however deep.
    pub ancestors: Vec<u32>,
}

/// What the slot is doing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SlotLook {
    /// Process id of its reader.
    pub active_pid: Option<i32>,
    /// Log written since the position that the slot's reader has confirmed, in bytes.
    pub unconfirmed_bytes: i64,
    /// Log kept on the server's disk for the slot, which includes transactions that were open at that position.
    pub retained_bytes: i64,
    /// What PostgreSQL says of that log: `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Log that may still be written before the slot is lost; none without a limit.
    pub safe_bytes: Option<i64>,
}

/// The look.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PublicationLook {
    /// End of the log.
    pub lsn: Lsn,
    /// The publications, by name.
    pub publications: Vec<SeenPublication>,
    /// Object ids of all entries of the publications.
    pub entries: Vec<u32>,
    /// What they send.
    pub tables: Vec<PublishedTable>,
    /// The tables of the catalog that were asked for by object id or name.
    pub relations: Vec<Relation>,
    /// The slot, if it is there.
    pub slot: Option<SlotLook>,
}

impl PublicationLook {
    /// The object id of the table that has this name now.
    pub fn oid_of(&self, schema: &str, table: &str) -> Option<u32> {
        let found = self.relations.iter().find(|relation| relation.schema == schema && relation.table == table);
        found.map(|relation| relation.oid)
    }
}

/// What a look is about.
#[derive(Debug)]
pub struct LookAt<'a> {
    /// Comma separated list.
    pub publications: &'a str,
    /// Replication slot.
    pub slot: &'a str,
    /// Tables to look for, by object id.
    pub oids: &'a [u32],
    /// Tables to look for, as `schema.table`.
    pub names: &'a [String],
}

/// Takes a look.
pub async fn look_at_publications(
    client: &Client,
    config: &PostgresConfig,
    version_number: i32,
    at: &LookAt<'_>,
) -> Result<PublicationLook> {
    let publications: Vec<&str> = at.publications.split(',').map(str::trim).collect();
    let parameters: [&(dyn ToSql + Sync); 4] = [&publications, &at.slot, &at.oids, &at.names];
    let what = "looking at the publications";
    let row = answered(what, config, client.query_one(&statement(version_number), &parameters)).await?;
    serde_json::from_str(row.get(0)).map_err(|error| {
        Error::with_source(ErrorKind::Protocol, format!("{what}: the answer is not as asked for"), error)
    })
}

/// Before version 15 there are no publications of schemas.
fn statement(version_number: i32) -> String {
    let (schemas, schema_entries) = if version_number >= 150_000 {
        (
            "UNION ALL SELECT n.oid, false FROM pg_publication_namespace n \
             WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace",
            "UNION ALL SELECT n.oid FROM pg_publication_namespace n WHERE n.pnpubid IN (SELECT oid FROM pubs)",
        )
    } else {
        ("", "")
    };
    format!(
        "WITH pubs AS (SELECT xmin AS row_version, * FROM pg_publication WHERE pubname = ANY($1)), \
              published AS ( \
                  SELECT c.oid, c.relname, s.nspname, \
                         array_agg(DISTINCT cover.oid::int8) AS covered_by, bool_and(cover.is_entry) AS is_listed \
                  FROM pg_publication_tables t JOIN pubs p ON p.pubname = t.pubname \
                  JOIN pg_namespace s ON s.nspname = t.schemaname \
                  JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = t.tablename \
                  CROSS JOIN LATERAL ( \
                      SELECT r.oid, true FROM pg_publication_rel r WHERE r.prpubid = p.oid \
                         AND (r.prrelid = c.oid OR r.prrelid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) a)) \
                      UNION ALL SELECT p.oid, false WHERE p.puballtables {schemas} \
                  ) AS cover(oid, is_entry) \
                  GROUP BY 1, 2, 3), \
              relations AS ( \
                  SELECT c.oid, s.nspname, c.relname, c.relispartition, \
                         ARRAY(SELECT a.relid::int8 FROM pg_partition_ancestors(c.oid) a WHERE a.relid <> c.oid) AS ancestors \
                  FROM pg_class c \
                  JOIN pg_namespace s ON s.oid = c.relnamespace \
                  WHERE c.relkind IN ('r', 'p') \
                    AND (c.oid = ANY($3) OR (s.nspname || '.' || c.relname) = ANY($4))) \
         SELECT json_build_object( \
             'lsn', CASE WHEN pg_is_in_recovery() \
                         THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text \
                         ELSE pg_current_wal_flush_lsn()::text END, \
             'publications', (SELECT coalesce(json_agg(json_build_object( \
                  'oid', oid::int8, 'name', pubname, 'owner', pubowner::int8, 'row_version', row_version::text, \
                  'operations', concat(CASE WHEN pubinsert THEN 'c' END, CASE WHEN pubupdate THEN 'u' END, \
                                       CASE WHEN pubdelete THEN 'd' END)) ORDER BY pubname), '[]') FROM pubs), \
             'entries', (SELECT coalesce(json_agg(entry::int8), '[]') FROM ( \
                  SELECT r.oid AS entry FROM pg_publication_rel r WHERE r.prpubid IN (SELECT oid FROM pubs) \
                  UNION ALL SELECT oid FROM pubs WHERE puballtables {schema_entries}) AS entries), \
             'tables', (SELECT coalesce(json_agg(json_build_object( \
                  'oid', oid::int8, 'schema', nspname, 'table', relname, 'covered_by', covered_by, \
                  'is_listed', is_listed) ORDER BY oid), '[]') FROM published), \
             'relations', (SELECT coalesce(json_agg(json_build_object( \
                  'oid', oid::int8, 'schema', nspname, 'table', relname, 'is_partition', relispartition, \
                  'ancestors', ancestors) \
                  ORDER BY oid), '[]') FROM relations), \
             'slot', (SELECT json_build_object( \
                  'active_pid', active_pid, \
                  'unconfirmed_bytes', coalesce(pg_current_wal_flush_lsn() - confirmed_flush_lsn, 0)::int8, \
                  'retained_bytes', coalesce(pg_current_wal_flush_lsn() - restart_lsn, 0)::int8, \
                  'wal_status', wal_status, 'safe_bytes', safe_wal_size) \
                  FROM pg_replication_slots WHERE slot_name = $2) \
         )::text"
    )
}
