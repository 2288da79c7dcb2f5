//! What PostgreSQL says of itself, of the role, the publication, its tables and the slot.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::{Depth, skew_ms};
use crate::error::{Error, ErrorKind, Result};
use crate::init::{InitPlan, table_states};
use crate::postgres::sql::{connect, query_error};
use crate::postgres::{Session, identify_system};
use crate::terminal::now_ms;

/// How long the growth of the log is watched.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of the server and rights of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerSettings {
    pub(crate) version_number: i32,
    pub(crate) version: String,
    pub(crate) wal_level: String,
    pub(crate) is_in_recovery: bool,
    pub(crate) max_wal_senders: i64,
    pub(crate) used_wal_senders: i64,
    pub(crate) max_replication_slots: i64,
    pub(crate) used_replication_slots: i64,
    /// `max_slot_wal_keep_size` in bytes; none if there is no limit.
    pub(crate) wal_keep_bytes: Option<i64>,
    pub(crate) wal_sender_timeout_ms: i64,
    /// `idle_replication_slot_timeout`, from version 18 on.
    pub(crate) idle_slot_timeout: Option<i64>,
    pub(crate) synchronous_standby_names: String,
    pub(crate) role: String,
    pub(crate) is_superuser: bool,
    pub(crate) can_replicate: bool,
    clock_ms: i64,
}

/// The slot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SlotFacts {
    pub(crate) plugin: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) active_pid: Option<i32>,
    pub(crate) application: Option<String>,
    pub(crate) wal_status: Option<String>,
    /// Bytes that the log may still grow by until the slot is lost; none without a limit.
    pub(crate) safe_wal_bytes: Option<i64>,
    /// Log since the position that the reader has confirmed.
    pub(crate) lag_bytes: Option<i64>,
    /// Log on the server's disk for the slot.
    pub(crate) retained_bytes: Option<i64>,
    pub(crate) invalidation_reason: Option<String>,
}

/// The publication.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PublicationFacts {
    pub(crate) is_ours: bool,
    pub(crate) inserts: bool,
    pub(crate) updates: bool,
    pub(crate) deletes: bool,
}

/// A captured table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TableFacts {
    /// Schema and name, quoted where SQL needs it.
    pub(crate) name: String,
    pub(crate) is_published: bool,
    pub(crate) is_published_in_parts: bool,
    /// A partition, or the table itself, in which published updates and deletes fail.
    pub(crate) unidentified: Option<String>,
    pub(crate) can_select: bool,
    pub(crate) has_full_identity: bool,
    /// Columns whose values are left out of an update if they are large and unchanged.
    pub(crate) toastable: Vec<String>,
    /// The widest of the first rows as text.
    pub(crate) widest_row_bytes: Option<i64>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PostgresFacts {
    pub(crate) address: String,
    pub(crate) server: ServerSettings,
    pub(crate) slot_name: String,
    pub(crate) slot: Option<SlotFacts>,
    pub(crate) publication_name: String,
    pub(crate) publication: Option<PublicationFacts>,
    pub(crate) tables: Vec<TableFacts>,
    /// Captured tables that do not exist.
    pub(crate) missing_tables: Vec<String>,
    pub(crate) clock_skew_ms: i64,
    /// Log written a second; none if that was not watched.
    pub(crate) wal_bytes_a_second: Option<i64>,
    /// Why no replication connection can be made.
    pub(crate) replication_login_error: Option<String>,
}

const SERVER: &str = "\
    SELECT jsonb_build_object(\
        'version_number', current_setting('server_version_num')::int, \
        'version', split_part(current_setting('server_version'), ' ', 1), \
        'wal_level', current_setting('wal_level'), 'is_in_recovery', pg_is_in_recovery(), \
        'max_wal_senders', current_setting('max_wal_senders')::int, \
        'used_wal_senders', (SELECT count(*) FROM pg_stat_replication), \
        'max_replication_slots', current_setting('max_replication_slots')::int, \
        'used_replication_slots', (SELECT count(*) FROM pg_replication_slots), \
        'wal_keep_bytes', (SELECT CASE WHEN setting::int8 >= 0 THEN setting::int8 * 1048576 END \
                           FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
        'wal_sender_timeout_ms', (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout'), \
        'idle_slot_timeout', (SELECT setting::int8 FROM pg_settings WHERE name = 'idle_replication_slot_timeout'), \
        'synchronous_standby_names', current_setting('synchronous_standby_names'), \
        'role', rolname, 'is_superuser', rolsuper, 'can_replicate', rolreplication, \
        'clock_ms', (extract(epoch FROM clock_timestamp()) * 1000)::int8) \
    FROM pg_roles WHERE rolname = current_user";
const SLOT: &str = "\
    SELECT jsonb_build_object(\
        'plugin', plugin, 'database', database, 'active_pid', active_pid, 'wal_status', wal_status, \
        'application', (SELECT nullif(application_name, '') FROM pg_stat_activity WHERE pid = active_pid), \
        'safe_wal_bytes', safe_wal_size, 'lag_bytes', pg_wal_lsn_diff(log_end, confirmed_flush_lsn)::int8, \
        'retained_bytes', pg_wal_lsn_diff(log_end, restart_lsn)::int8, \
        'invalidation_reason', to_jsonb(s) ->> 'invalidation_reason') \
    FROM pg_replication_slots s, \
         (SELECT CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
                     ELSE pg_current_wal_lsn() END AS log_end) w \
    WHERE slot_name = $1";
const PUBLICATION: &str = "\
    SELECT jsonb_build_object('is_ours', pg_has_role(pubowner, 'USAGE'), 'inserts', pubinsert, 'updates', pubupdate, \
                              'deletes', pubdelete) \
    FROM pg_publication WHERE pubname = $1";
const TABLE: &str = "\
    SELECT c.oid::regclass::text, has_table_privilege(c.oid, 'SELECT'), c.relreplident = 'f', \
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped \
                                                          AND attstorage IN ('x', 'e') ORDER BY attnum) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

struct Asking<'a> {
    plan: &'a InitPlan,
    client: Client,
}

impl Asking<'_> {
    fn failed(&self, what: &str) -> impl Fn(tokio_postgres::Error) -> Error {
        let (what, config) = (what.to_owned(), self.plan.postgres.clone());
        move |error| query_error(&what, &config, error)
    }

    /// The answer to a statement whose one column is JSON.
    async fn json<T: DeserializeOwned>(
        &self,
        what: &str,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<T>> {
        let row = self.client.query_opt(statement, parameters).await.map_err(self.failed(what))?;
        let parse = |row: tokio_postgres::Row| serde_json::from_value(row.get(0));
        let unclear = |error| Error::with_source(ErrorKind::Protocol, format!("{what}: an unexpected answer"), error);
        row.map(parse).transpose().map_err(unclear)
    }
}

pub(super) async fn look(plan: &InitPlan, depth: Depth) -> Result<PostgresFacts> {
    let client = connect(&plan.postgres).await?;
    let asking = Asking { plan, client };
    let failed = asking.failed("limiting the time of a statement");
    asking.client.batch_execute("SET statement_timeout = '10s'").await.map_err(failed)?;
    let asked_ms = now_ms();
    let server: Option<ServerSettings> = asking.json("reading the server's settings", SERVER, &[]).await?;
    let answered_ms = now_ms();
    let server = server.ok_or_else(|| Error::protocol("PostgreSQL does not know the role that is connected"))?;
    let mut facts = PostgresFacts {
        address: plan.postgres.address(),
        clock_skew_ms: skew_ms(asked_ms, server.clock_ms, answered_ms),
        server,
        slot_name: plan.slot.clone(),
        slot: asking.json("reading the slot", SLOT, &[&plan.slot]).await?,
        publication_name: plan.publication.clone(),
        publication: asking.json("reading the publication", PUBLICATION, &[&plan.publication]).await?,
        tables: Vec::new(),
        missing_tables: Vec::new(),
        wal_bytes_a_second: None,
        replication_login_error: None,
    };
    if depth == Depth::Whole {
        asking.look_closer(&mut facts).await?;
    }
    Ok(facts)
}

impl Asking<'_> {
    async fn look_closer(&self, facts: &mut PostgresFacts) -> Result<()> {
        let states = table_states(self.plan, &self.client).await?;
        for (schema, table) in &self.plan.tables {
            let state = states.iter().find(|state| state.name == (schema.clone(), table.clone()));
            let failed = self.failed("looking at the captured tables");
            let row = self.client.query_opt(TABLE, &[schema, table]).await.map_err(failed)?;
            let (Some(state), Some(row)) = (state, row) else {
                facts.missing_tables.push(format!("{schema}.{table}"));
                continue;
            };
            let (name, can_select): (String, bool) = (row.get(0), row.get(1));
            facts.tables.push(TableFacts {
                widest_row_bytes: if can_select { self.widest_row(&name).await } else { None },
                name,
                is_published: state.is_published,
                is_published_in_parts: state.is_published_in_parts,
                unidentified: state.unidentified.clone(),
                can_select,
                has_full_identity: row.get(2),
                toastable: row.get(3),
            });
        }
        facts.wal_bytes_a_second = if facts.server.is_in_recovery { None } else { self.wal_rate().await? };
        facts.replication_login_error = self.replication_login().await.err().map(|error| error.to_string());
        Ok(())
    }

    /// A large table is not read to its end, and one that is locked not at all.
    async fn widest_row(&self, table: &str) -> Option<i64> {
        let statement = format!("SELECT max(octet_length(t::text))::int8 FROM (SELECT * FROM {table} LIMIT 20000) t");
        self.client.query_one(&statement, &[]).await.ok()?.get(0)
    }

    async fn wal_rate(&self) -> Result<Option<i64>> {
        let end = async || -> Result<i64> {
            let statement = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8";
            let failed = self.failed("reading the end of the log");
            Ok(self.client.query_one(statement, &[]).await.map_err(failed)?.get(0))
        };
        let before = end().await?;
        tokio::time::sleep(RATE_INTERVAL).await;
        Ok(Some(end().await?.saturating_sub(before)))
    }

    /// Whether pg_hba.conf and the role's rights let a walsender in.
    async fn replication_login(&self) -> Result<()> {
        let mut session = Session::open(&self.plan.postgres).await?;
        identify_system(&mut session).await.map(|_| ())
    }
}
