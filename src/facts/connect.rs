//! Which connectors a Kafka Connect runs, and on which slots.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http;
use crate::error::{Error, ErrorKind, Result};

const TIMEOUT: Duration = Duration::from_secs(5);

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
    let late = |_| Error::unavailable(format!("Kafka Connect at {url} does not answer within {} s", TIMEOUT.as_secs()));
    let answer =
        tokio::time::timeout(TIMEOUT, get(url, "/connectors?expand=info&expand=status")).await.map_err(late)??;
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

async fn get(url: &str, path: &str) -> Result<Vec<u8>> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let (status, body) = http::get(authority, path).await.map_err(|error| {
        Error::with_source(ErrorKind::Unavailable, format!("Kafka Connect at {url} does not answer"), error)
    })?;
    if status != "200" {
        return Err(Error::new(ErrorKind::Protocol, format!("Kafka Connect at {url} answers with status {status}")));
    }
    Ok(body)
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
