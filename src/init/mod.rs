//! `evp init`: makes what is missing on each server, keeps what exists, and says which was which.
//!
//! Nothing is ever dropped, and nothing that was adopted is changed, so it is safe to run at every deployment; only a
//! publication of this role's gets the captured tables that it lacks. What PostgreSQL does not let this role do is collected with the statement that a
//! DBA has to run, after everything else has been done.

mod collections;
mod migrations;
mod report;
mod source;
mod tables;
mod topics;

pub use report::{Report, Step};
pub(crate) use tables::table_states;

use std::path::Path;

use crate::capture::position_topic;
use crate::config::{KafkaConfig, MongoConfig, PostgresConfig, Variables};
use crate::connector::Connector;
use crate::envelope::Profile;
use crate::error::Result;
use crate::mongo::CollectionSpec;
use crate::postgres::sql;

/// What has to be there when set-up is done.
#[derive(Debug, Clone)]
pub struct InitPlan {
    /// The source database.
    pub postgres: PostgresConfig,
    /// Publication that the slot's reader asks for.
    pub publication: String,
    /// Replication slot.
    pub slot: String,
    /// The slot is to be kept by a standby as well (`slot.failover`).
    pub failover: bool,
    /// Captured tables, as schema and name.
    pub tables: Vec<(String, String)>,
    /// Topics of events, one a table.
    pub event_topics: Vec<String>,
    /// Topic of heartbeats.
    pub heartbeat_topic: String,
    /// Topic in which capture keeps its position.
    pub position_topic: String,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Partitions of a new topic of events.
    pub partitions: i32,
    /// Replicas of a new topic; -1 is the broker's default.
    pub replication_factor: i32,
    /// The read models' database.
    pub mongo: MongoConfig,
    /// The collections that handlers write, with their indexes.
    pub collections: Vec<CollectionSpec>,
    /// Change nothing, only say what would be done.
    pub is_dry_run: bool,
}

/// The tables that are captured where the connector file does not name any.
const DEFAULT_TABLE: (&str, &str) = ("activity", "event_outbox");

impl InitPlan {
    /// From the connector file and the variables, with the defaults of the command line; mistakes are noted in
    /// `variables`.
    pub fn load(
        variables: &mut Variables,
        connector: Option<&Path>,
        sets: &[String],
        kafka: &[String],
    ) -> Result<Self> {
        let connector = Connector::load(variables, connector, sets)?;
        let settings = connector.settings(variables, Profile::V3_6);
        let mut tables = connector.plain_tables();
        let has_lists = ["table.include.list", "table.exclude.list", "schema.include.list", "schema.exclude.list"]
            .iter()
            .any(|list| connector.get(list).is_some());
        if tables.is_empty() && !has_lists {
            tables.push((DEFAULT_TABLE.0.to_owned(), DEFAULT_TABLE.1.to_owned()));
        }
        if tables.is_empty() {
            variables.mistake(
                "the connector's lists name no table in full: `evp init` needs plain schema.table names in table.include.list"
                    .to_owned(),
            );
        }
        tables.extend(settings.signals.table.clone().filter(|signals| !tables.contains(signals)));
        Ok(Self {
            postgres: connector.postgres(variables),
            event_topics: tables.iter().filter_map(|(schema, table)| connector.topic_of(schema, table)).collect(),
            position_topic: position_topic(&settings.topic_prefix),
            heartbeat_topic: settings.heartbeat_topic,
            publication: settings.publication_name,
            slot: settings.slot_name,
            failover: settings.slot_failover,
            tables,
            kafka: KafkaConfig::from_variables(variables, kafka),
            partitions: 1,
            replication_factor: -1,
            mongo: MongoConfig::from_variables(variables),
            collections: Vec::new(),
            is_dry_run: false,
        })
    }
}

/// Makes the topics that are missing, without a word.
pub(crate) async fn make_topics(plan: &InitPlan) -> Result<()> {
    let mut report = Report::quiet();
    topics::ensure(plan, &mut report).await?;
    report.finish()
}

/// Makes the collections and indexes that are missing, without a word.
pub(crate) async fn make_collections(plan: &InitPlan) -> Result<()> {
    let mut report = Report::quiet();
    collections::ensure(plan, &mut report).await?;
    report.finish()
}

/// Carries the plan out, printing one line for each step.
pub async fn run(plan: &InitPlan) -> Result<()> {
    let mut report = Report::new(plan.is_dry_run);
    let mut client = sql::connect(&plan.postgres).await?;
    source::check_server(plan, &client).await?;
    tables::check_replica_identity(plan, &client).await?;
    migrations::apply(plan, &mut client, &mut report).await?;
    if source::ensure_publication(plan, &client, &mut report).await? {
        source::ensure_slot(plan, &client, &mut report).await?;
    } else {
        report.step(Step::Left, format_args!("slot {}: run `evp init` again once the publication is there", plan.slot));
    }
    topics::ensure(plan, &mut report).await?;
    collections::ensure(plan, &mut report).await?;
    report.finish()
}
