//! `evp init`: makes what is missing on each server, keeps what exists, and says which was which.
//!
//! Nothing is ever dropped, and nothing that was adopted is changed, so it is safe to run at every deployment; only a
//! publication of this role's gets the captured tables that it lacks. What PostgreSQL does not let this role do is collected with the statement that a
//! DBA has to run, after everything else has been done.

mod collections;
mod identities;
mod listed;
mod migrations;
mod report;
mod source;
mod tables;
mod topics;

pub(crate) use listed::resolved_if_reachable;
pub use report::{Report, Step};
pub(crate) use tables::table_states;

use std::path::{Path, PathBuf};

use crate::capture::position_topic;
use crate::config::{KafkaConfig, MongoConfig, PostgresConfig, Variables};
use crate::connector::{CaptureLists, Connector, TopicCreation, WantedIdentities};
use crate::envelope::Profile;
use crate::error::{ErrorKind, Result};
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
    /// These are all; else the lists take more of what is in the database.
    pub names_tables: bool,
    /// The connector file, if it is not the shipped one.
    pub connector_file: Option<PathBuf>,
    /// The connector's lists.
    pub lists: CaptureLists,
    /// The replica identities that the connector wants.
    pub identities: WantedIdentities,
    /// The connector itself.
    pub connector: Connector,
    /// Topics of events, one a table.
    pub event_topics: Vec<String>,
    /// Topic of heartbeats.
    pub heartbeat_topic: String,
    /// Topic in which capture keeps its position.
    pub position_topic: String,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Partitions of a new topic of events, in the place of what the connector says.
    pub partitions: Option<i32>,
    /// Replicas of a new topic, in the place of what the connector says; -1 is the broker's default.
    pub replication_factor: Option<i32>,
    /// How the connector would have topics of events made.
    pub topic_creation: TopicCreation,
    /// The read models' database.
    pub mongo: MongoConfig,
    /// The collections that handlers write, with their indexes.
    pub collections: Vec<CollectionSpec>,
    /// Change nothing, only say what would be done.
    pub is_dry_run: bool,
}

/// The table that is made and captured where the connector has no lists and the database no tables.
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
        let connector_file = connector.map(Path::to_path_buf);
        let connector = Connector::load(variables, connector, sets)?;
        let settings = connector.settings(variables, Profile::V3_6);
        let mut tables = connector.plain_tables();
        tables.extend(settings.signals.table.clone().filter(|signals| !tables.contains(signals)));
        Ok(Self {
            postgres: connector.postgres(variables),
            event_topics: connector.topics_of(&tables),
            position_topic: position_topic(&settings.topic_prefix),
            heartbeat_topic: settings.heartbeat_topic,
            publication: settings.publication_name,
            slot: settings.slot_name,
            failover: settings.slot_failover,
            names_tables: connector.names_tables(),
            connector_file,
            lists: settings.tables,
            identities: settings.identities,
            tables,
            kafka: KafkaConfig::from_variables(variables, kafka),
            partitions: None,
            replication_factor: None,
            topic_creation: settings.topic_creation,
            mongo: MongoConfig::from_variables(variables),
            collections: Vec::new(),
            is_dry_run: false,
            connector,
        })
    }

    /// Whether capture writes what `evp process` reads.
    fn feeds_process(&self) -> bool {
        self.kafka.topics().iter().any(|topic| self.event_topics.iter().any(|written| written == topic))
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
    let plan = &listed::resolved(plan, &client).await?;
    if !plan.names_tables {
        let count = plan.tables.len();
        let what =
            format!("the connector's lists take {count} tables; for those that are made later, run `evp init` again");
        report.step(Step::Note, what);
    }
    let identified = identities::ensure(plan, &client, &mut report, &[]).await?;
    if !plan.is_dry_run || plan.identities.is_empty() {
        tables::check_replica_identity(plan, &client).await?;
    }
    migrations::apply(plan, &mut client, &mut report).await?;
    identities::ensure(plan, &client, &mut report, &identified).await?;
    if source::ensure_publication(plan, &client, &mut report).await? {
        source::ensure_slot(plan, &client, &mut report).await?;
    } else {
        report.step(Step::Left, format_args!("slot {}: run `evp init` again once the publication is there", plan.slot));
    }
    topics::ensure(plan, &mut report).await?;
    match collections::ensure(plan, &mut report).await {
        // Whoever captures other tables than process reads may have no MongoDB at all.
        Err(error) if error.kind() == ErrorKind::Unavailable && !plan.feeds_process() => report.step(
            Step::Note,
            format_args!("no collections are made, which `evp process` alone needs: {}", error.message()),
        ),
        made => made?,
    }
    report.finish()
}
