//! Where slot and topics stand while nobody reads the slot, and the record by which capture takes it from there.

use std::sync::Arc;

use tokio_postgres::Client;

use super::CaptureOptions;
use super::confirmation::write_position;
use super::gap::{Evidence, Promotion, check_for_gap, check_history};
use super::preparation::{inspected, is_readable, promotion};
use super::source::inspect_source;
use super::topic_ends::TopicState;
use crate::config::{KafkaConfig, PostgresConfig};
use crate::connector::ConnectorSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_first_compacted_topic;
use crate::lsn::Lsn;
use crate::postgres::{self, Session};
use crate::telemetry::Health;

/// Slot and topics, at rest.
pub(crate) struct Standing {
    /// To the database of the slot.
    pub(crate) client: Arc<Client>,
    /// Up to here PostgreSQL will send nothing again.
    pub(crate) slot_lsn: Lsn,
    /// How far the topics are known to reach.
    pub(crate) topics_lsn: Lsn,
    /// The slot was never confirmed beyond this by evp, if evp has read it at all.
    pub(crate) confirmed_lsn: Option<Lsn>,
    system_identifier: u64,
    server_lsn: Lsn,
    promotion: Option<Promotion>,
    topics: TopicState,
}

impl Standing {
    /// Looks at both sides, and refuses topics that the server's history does not have. The slot must be free, which is
    /// not waited for here.
    pub(crate) async fn look(options: &Arc<CaptureOptions>) -> Result<Self> {
        let mut session = Session::open(&options.postgres).await?;
        let identity = postgres::identify_system(&mut session).await?;
        let timeline = postgres::timeline(&mut session, identity.timeline).await?;
        let source = inspect_source(options, &Health::default()).await?;
        let slot_name = &options.settings.slot_name;
        let Some(slot) = source.slot else {
            let message = format!("replication slot {slot_name} does not exist, so there is nothing to hand over");
            return Err(Error::new(ErrorKind::Missing, message));
        };
        if !is_readable(&slot) {
            return Err(Error::refused(format!(
                "PostgreSQL has given replication slot {slot_name} up: what it held is in no topic; make it again with \
                 `evp init`, and repair what is missing"
            )));
        }
        let topics = inspected(options, &source.topics, false).await?;
        let standing = Self {
            client: source.catalog.client().await?,
            slot_lsn: slot.confirmed_flush_lsn.unwrap_or_default(),
            topics_lsn: topics.tails.last_lsn(),
            confirmed_lsn: topics.confirmation.as_ref().map(|record| record.confirmed_lsn),
            system_identifier: identity.system_identifier,
            promotion: promotion(&topics, &identity, &timeline),
            server_lsn: source.facts.inserted_lsn,
            topics,
        };
        check_history(&standing.evidence(slot_name))?;
        Ok(standing)
    }

    fn evidence<'a>(&'a self, slot_name: &'a str) -> Evidence<'a> {
        Evidence {
            slot_name,
            system_identifier: self.system_identifier,
            server_lsn: self.server_lsn,
            slot_lsn: Some(self.slot_lsn),
            is_slot_lost: false,
            lost_reason: None,
            promotion: self.promotion,
            confirmation: self.topics.confirmation.as_ref(),
            tails: &self.topics.tails,
            shortened: None,
        }
    }

    /// Refuses a slot that was moved beyond where evp left it by anybody but Debezium.
    pub(crate) fn check_for_gap(&self, options: &CaptureOptions) -> Result<()> {
        check_for_gap(&self.evidence(&options.settings.slot_name))
    }

    /// Whether rows of a snapshot of evp's are missing from the topics, or changes behind `slot_lsn` are on them by one.
    pub(crate) fn is_within_snapshot(&self) -> bool {
        let snapshot = self.topics.confirmation.as_ref().and_then(|record| record.lineage.snapshot.as_ref());
        snapshot.is_some_and(|snapshot| !snapshot.is_completed() || self.slot_lsn < snapshot.reach())
    }

    /// Whether an incremental snapshot of evp's is not finished.
    pub(crate) fn is_within_incremental_snapshot(&self) -> bool {
        let lineage = self.topics.confirmation.as_ref().map(|record| &record.lineage);
        lineage.is_some_and(|lineage| !lineage.incremental.recorded().tables.is_empty())
    }

    /// Whether the last record of some partition is Debezium's and lies behind `lsn`.
    pub(crate) fn debezium_is_beyond(&self, lsn: Lsn) -> bool {
        self.topics.tails.debezium_is_beyond(lsn)
    }

    /// Puts on record that the slot may stand at `lsn`, where somebody else has brought it with everything written.
    pub(crate) async fn adopt(&self, options: &CaptureOptions, lsn: Lsn) -> Result<()> {
        let topic = &options.position_topic;
        if !self.topics.has_position_topic {
            create_first_compacted_topic(&options.kafka, topic).await?;
        }
        let published = self.topics.confirmation.as_ref().and_then(|record| record.lineage.published.as_ref());
        let seen_at = published.map(|published| published.seen_at);
        let slot_name = &options.settings.slot_name;
        write_position(&options.kafka, topic, slot_name, (self.system_identifier, lsn, seen_at)).await
    }
}

/// The topics of the captured tables, but of those whose rows name theirs.
pub(crate) async fn table_topics(options: &CaptureOptions) -> Result<Vec<String>> {
    inspect_source(options, &Health::default()).await.map(|source| source.topics)
}

impl CaptureOptions {
    /// What the connector's properties say.
    pub(crate) fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// Where the topics are.
    pub(crate) fn kafka(&self) -> &KafkaConfig {
        &self.kafka
    }

    /// Where the tables are.
    pub(crate) fn postgres(&self) -> &PostgresConfig {
        &self.postgres
    }
}
