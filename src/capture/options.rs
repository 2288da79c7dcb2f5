//! What capture is told, and what it tells at its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::stopping::Stopping;
use super::types::SeenTypes;
use super::{RefusedRows, position_topic};
use crate::config::{KafkaConfig, PostgresConfig, Variables, shutdown_timeout};
use crate::connector::{Connector, ConnectorSettings};
use crate::envelope::{ContextHeaders, Profile};
use crate::error::Result;
use crate::lsn::Lsn;
use crate::shutdown::Until;
use crate::telemetry::LatencySummary;

/// Everything that `evp capture` needs, resolved and validated.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    pub(super) postgres: PostgresConfig,
    pub(super) kafka: KafkaConfig,
    pub(super) settings: ConnectorSettings,
    pub(super) types: Arc<SeenTypes>,
    /// Reasons, each with its properties.
    pub(super) without_effect: Vec<(&'static str, String)>,
    /// Old names of properties and today's.
    pub(super) renamed: Vec<(String, String)>,
    /// Where confirmations are noted.
    pub(super) position_topic: String,
    pub(super) until: Until,
    pub(super) accept_gap: bool,
    pub(super) with_position_header: bool,
    pub(super) refused_rows: RefusedRows,
    /// Tables that the connector names, as schema and name.
    pub(super) plain_tables: Vec<(String, String)>,
    pub(super) stopping: Stopping,
}

/// The choices of the command line.
#[derive(Debug, Clone, Copy)]
pub struct CaptureChoices<'a> {
    /// The connector file; the shipped one if none is given.
    pub connector: Option<&'a Path>,
    /// `property=value` pairs over it.
    pub sets: &'a [String],
    /// `NAME=VALUE` pairs for librdkafka.
    pub kafka: &'a [String],
    /// `3.6` or `2.4`.
    pub compat: &'a str,
    /// When to stop.
    pub until: Until,
    /// Go on although changes are lost.
    pub accept_gap: bool,
    /// Write `evp.position`.
    pub with_position_header: bool,
    /// What happens to a row that cannot be written.
    pub refused_rows: RefusedRows,
}

impl CaptureOptions {
    /// Debezium's headers, if records are to have them. The run's id tells restarts apart.
    pub(super) fn context_headers(&self) -> Option<ContextHeaders> {
        let settings = &self.settings;
        let headers = || ContextHeaders::new(&settings.topic_prefix, &Uuid::new_v4().to_string());
        settings.with_context_headers.then(headers)
    }

    /// Resolves the choices; mistakes are noted in `variables`.
    pub fn load(variables: &mut Variables, choices: CaptureChoices<'_>) -> Result<Self> {
        let connector = Connector::load(variables, choices.connector, choices.sets)?;
        Ok(Self::of(variables, &connector, choices))
    }

    /// The same with a connector that is read already.
    pub(crate) fn of(variables: &mut Variables, connector: &Connector, choices: CaptureChoices<'_>) -> Self {
        let profile = Profile::from_name(choices.compat).unwrap_or_else(|| {
            variables.mistake(format!("--compat is `{}`: give 3.6 or 2.4", choices.compat));
            Profile::V3_6
        });
        let settings = connector.settings(variables, profile);
        Self {
            postgres: connector.postgres(variables),
            kafka: KafkaConfig {
                producer_properties: connector.producer_properties(variables),
                ..KafkaConfig::from_variables(variables, choices.kafka)
            },
            position_topic: position_topic(&settings.topic_prefix),
            settings,
            types: Arc::default(),
            without_effect: connector
                .without_effect()
                .into_iter()
                .map(|(reason, names)| (reason, names.join(", ")))
                .collect(),
            renamed: connector.renamed().map(|(old, today)| (old.to_owned(), today.to_owned())).collect(),
            until: choices.until,
            accept_gap: choices.accept_gap,
            with_position_header: choices.with_position_header,
            refused_rows: choices.refused_rows,
            plain_tables: connector.plain_tables(),
            stopping: Stopping::within(shutdown_timeout(variables)),
        }
    }

    /// The same beside what runs: with its record of confirmations in a topic of its own, to end at `lsn`.
    pub(crate) fn beside(&self, position_topic: String, lsn: Lsn) -> Self {
        Self { position_topic, until: Until::Reached(lsn), ..self.clone() }
    }

    /// One line with everything that a reader of the log wants to know first.
    pub(super) fn log_start(&self) {
        tracing::info!(
            event = "application_starting",
            version = env!("CARGO_PKG_VERSION"),
            compat = self.settings.profile.version(),
            postgres = self.postgres.address(),
            kafka = self.kafka.bootstrap_servers,
            slot = self.settings.slot_name,
            publication = self.settings.publication_name,
            topic_prefix = self.settings.topic_prefix,
            "evp capture"
        );
        for (property, today) in &self.renamed {
            tracing::info!(event = "property_renamed", property, today, "an old name, taken for today's");
        }
        for (reason, properties) in &self.without_effect {
            tracing::info!(event = "properties_without_effect", properties, reason, "accepted, of no effect in evp");
        }
    }
}

/// What a run of capture did.
#[derive(Debug, Clone, Copy)]
pub struct CaptureSummary {
    /// How long it ran.
    pub uptime: Duration,
    /// Whether everything received is in Kafka and confirmed.
    pub is_drained: bool,
    /// From commit to acknowledgement.
    pub latency: LatencySummary,
}

impl CaptureSummary {
    pub(super) fn log(&self) {
        let latency = &self.latency;
        tracing::info!(
            event = "capture_stopped",
            drained = self.is_drained,
            transactions = latency.count,
            uptime_seconds = self.uptime.as_secs_f64(),
            commit_to_kafka_p50_ms = latency.p50_ms,
            commit_to_kafka_p99_ms = latency.p99_ms,
            commit_to_kafka_max_ms = latency.max_ms,
            "evp capture stopped"
        );
    }
}
