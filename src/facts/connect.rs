//! Which connectors a Kafka Connect runs, and on which slots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::worker::Worker;
use crate::error::{Error, ErrorKind, Result};

/// A connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ConnectorFacts {
    pub(crate) name: String,
    /// `RUNNING`, `PAUSED`, `FAILED` and so on.
    pub(crate) state: String,
    pub(crate) class: String,
    pub(crate) slot: Option<String>,
    pub(crate) database: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    info: Info,
    status: Status,
}

#[derive(Deserialize)]
struct Info {
    config: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Status {
    connector: ConnectorState,
}

#[derive(Deserialize)]
struct ConnectorState {
    state: String,
}

/// Asks the worker at `url`, which is `http://host:port`.
pub(super) async fn look(url: &str) -> Result<Vec<ConnectorFacts>> {
    let answer = Worker::at(url)?.read("/connectors?expand=info&expand=status").await?;
    parse(&answer).map_err(|error| {
        let message = format!("{url} does not answer as Kafka Connect does; give the worker's REST address");
        Error::with_source(ErrorKind::Protocol, message, error)
    })
}

fn parse(answer: &[u8]) -> serde_json::Result<Vec<ConnectorFacts>> {
    let listed: BTreeMap<String, Listed> = serde_json::from_slice(answer)?;
    let facts = listed.into_iter().map(|(name, Listed { info, status })| {
        let get = |property: &str| info.config.get(property).cloned();
        let class = get("connector.class").unwrap_or_default();
        // Debezium's own default.
        let slot = get("slot.name").or_else(|| class.contains("Postgres").then(|| "debezium".to_owned()));
        ConnectorFacts { name, state: status.connector.state, class, slot, database: get("database.dbname") }
    });
    Ok(facts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_read_with_their_slots() {
        let answer = br#"{
            "outbox": { "info": { "name": "outbox", "config": { "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
                                                               "slot.name": "debezium_slot", "database.dbname": "activity" }, "tasks": [] },
                        "status": { "connector": { "state": "RUNNING", "worker_id": "w" }, "tasks": [] } },
            "sink": { "info": { "config": { "connector.class": "Sink" } }, "status": { "connector": { "state": "PAUSED" } } }
        }"#;
        let facts = parse(answer).unwrap();
        assert_eq!((facts[0].slot.as_deref(), facts[0].state.as_str()), (Some("debezium_slot"), "RUNNING"));
        assert_eq!(facts[1].slot, None);
        assert!(parse(b"<html>").is_err());
    }
}
