//! What a comparison puts beside the live connector, and takes away again: two copies of its slot, a connector, topics.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::properties::{Names, PARTITIONS};
use crate::config::{KafkaConfig, PostgresConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::handover::connector::Connector;
use crate::kafka::admin::{Admin, TopicPlan};
use crate::lsn::Lsn;
use crate::postgres;
use crate::postgres::sql::{connect, query_error};

/// A reader that has just been stopped frees the slot within this.
const SLOT_WAIT: Duration = Duration::from_secs(20);
/// Topics that were deleted are gone within this.
const TOPIC_WAIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Where the comparison takes place.
pub(super) struct Stage<'a> {
    /// Holds the lock by which there is one comparison of a slot at a time.
    client: Client,
    pub(super) postgres: &'a PostgresConfig,
    pub(super) kafka: &'a KafkaConfig,
    pub(super) connector: Connector<'a>,
    pub(super) names: &'a Names,
}

impl<'a> Stage<'a> {
    /// Takes it for itself, and removes what an earlier comparison has left that was killed.
    pub(super) async fn take(
        (postgres, kafka): (&'a PostgresConfig, &'a KafkaConfig),
        connector: Connector<'a>,
        names: &'a Names,
    ) -> Result<Self> {
        let client = connect(postgres).await?;
        let statement = "SELECT pg_try_advisory_lock(hashtextextended('evp handover --compare ' || $1, 0))";
        let failed = |error| query_error("asking for the comparison's lock", postgres, error);
        let row = client.query_one(statement, &[&names.evp_slot]).await.map_err(failed)?;
        if !row.get::<_, bool>(0) {
            return Err(Error::refused("another `evp handover --compare` of this slot runs: let it end first"));
        }
        let stage = Self { client, postgres, kafka, connector, names };
        match stage.clear(false).await.as_slice() {
            [] => Ok(stage),
            left => Err(Error::unavailable(format!("of an earlier comparison there is left: {}", left.join("; ")))),
        }
    }

    /// Copies the slot twice, and returns where both copies stand.
    pub(super) async fn copy_slot(&self, source: &str) -> Result<Lsn> {
        let found = postgres::find_slot(&self.client, self.postgres, source).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Missing,
                format!("replication slot {source} does not exist, so there is nothing to compare"),
            )
        })?;
        if found.wal_status.as_deref() == Some("lost") || found.invalidation_reason.is_some() {
            return Err(Error::refused(format!(
                "PostgreSQL has given replication slot {source} up: what it held is gone, so that nobody can read a copy of it"
            )));
        }
        self.check_room().await?;
        let Names { debezium_slot, evp_slot, .. } = self.names;
        postgres::copy_slot(&self.client, self.postgres, (source, debezium_slot)).await?;
        // Nobody moves the first copy, as the live connector may move its slot.
        postgres::copy_slot(&self.client, self.postgres, (debezium_slot, evp_slot)).await?;
        let copy = postgres::find_slot(&self.client, self.postgres, evp_slot).await?;
        copy.and_then(|slot| slot.confirmed_flush_lsn).ok_or_else(|| {
            Error::new(ErrorKind::Unknown, format!("replication slot {evp_slot} was made and is not there"))
        })
    }

    async fn check_room(&self) -> Result<()> {
        let statement = "SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int8, \
                                (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int8";
        let failed = |error| query_error("counting replication slots", self.postgres, error);
        let row = self.client.query_one(statement, &[]).await.map_err(failed)?;
        let [slots, slots_max, senders, senders_max] = [0, 1, 2, 3].map(|column| row.get::<_, i64>(column));
        for (name, used, needed, limit) in
            [("max_replication_slots", slots, 2, slots_max), ("max_wal_senders", senders, 1, senders_max)]
        {
            if used.saturating_add(needed) > limit {
                return Err(Error::new(
                    ErrorKind::Missing,
                    format!(
                        "{name} is {limit}, of which {used} are in use and a comparison needs {needed} more: raise it"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Makes a topic for either side, with the partitions that the live one has.
    pub(super) async fn make_topics(&self, evp_topics: &[String]) -> Result<()> {
        let admin = Admin::new(self.kafka)?;
        let live = admin.partition_counts().await?;
        let beginning = self.names.evp_topics();
        for topic in evp_topics.iter().filter_map(|topic| topic.strip_prefix(&beginning)) {
            let partitions = live.get(topic).copied().unwrap_or(PARTITIONS);
            for side in [self.names.debezium_topics(), beginning.clone()] {
                let name = format!("{side}{topic}");
                let plan = TopicPlan { name: &name, partitions, replicas: -1, settings: Vec::new() };
                admin.create(&plan, "").await?;
            }
        }
        Ok(())
    }

    /// Whether Debezium's copy has a reader, and how much of the log that has received, which is not told to everybody.
    pub(super) async fn received(&self) -> Result<(bool, Option<Lsn>)> {
        let statement = "SELECT s.active, r.write_lsn::text FROM pg_replication_slots s \
                         LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1";
        let failed = |error| query_error("asking how far Debezium is", self.postgres, error);
        let row = self.client.query_opt(statement, &[&self.names.debezium_slot]).await.map_err(failed)?;
        let Some(row) = row else { return Ok((false, None)) };
        Ok((row.get(0), row.get::<_, Option<String>>(1).and_then(|text| text.parse().ok())))
    }

    /// The end of the log as it is now.
    pub(super) async fn log_end(&self) -> Result<Lsn> {
        postgres::server_facts(&self.client, self.postgres).await.map(|facts| facts.flushed_lsn)
    }

    /// Takes everything away, and returns what could not be.
    pub(super) async fn clear(&self, keeps_topics: bool) -> Vec<String> {
        let mut left = Vec::new();
        if let Err(error) = self.connector.remove().await {
            left.push(format!("connector {}: {error}", self.names.connector));
        }
        for slot in [&self.names.debezium_slot, &self.names.evp_slot] {
            if let Err(error) = self.drop_slot(slot).await {
                left.push(format!("replication slot {slot}: {error}"));
            }
        }
        if !keeps_topics && let Err(error) = self.delete_topics().await {
            left.push(format!("topics {}*: {error}", self.names.topics));
        }
        left
    }

    async fn drop_slot(&self, name: &str) -> Result<()> {
        // The comparison's own connection may be what has broken.
        let fresh;
        let client = if self.client.is_closed() {
            fresh = connect(self.postgres).await?;
            &fresh
        } else {
            &self.client
        };
        let started = Instant::now();
        loop {
            match postgres::find_slot(client, self.postgres, name).await? {
                None => return Ok(()),
                Some(slot) if slot.holder.is_some() && started.elapsed() < SLOT_WAIT => {}
                Some(_) => return postgres::drop_slot(client, self.postgres, name).await,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn delete_topics(&self) -> Result<()> {
        let admin = Admin::new(self.kafka)?;
        let started = Instant::now();
        loop {
            let topics = admin.partition_counts().await?;
            let own: Vec<&str> =
                topics.keys().map(String::as_str).filter(|topic| topic.starts_with(&self.names.topics)).collect();
            if own.is_empty() {
                return Ok(());
            }
            if started.elapsed() > TOPIC_WAIT {
                return Err(Error::unavailable(format!("{} are still there", own.join(", "))));
            }
            admin.delete(&own).await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
