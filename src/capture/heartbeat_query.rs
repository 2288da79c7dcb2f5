//! `heartbeat.action.query`: a statement of the user's, run in the source database at each heartbeat.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;

use crate::config::PostgresConfig;
use crate::error::{Error, Result};
use crate::postgres::sql;

/// What is not answered by then is given up together with its connection.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the statement on a connection of its own, for as long as it is polled. A failure is said once and again when it
/// changes, and stops nothing.
pub(super) async fn run(config: &PostgresConfig, statement: &str, interval: Duration) -> Infallible {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection: Option<Client> = None;
    let mut told: Option<String> = None;
    loop {
        ticks.tick().await;
        let Err(error) = execute(config, statement, &mut connection).await else {
            if told.take().is_some() {
                tracing::info!(event = "heartbeat_query_runs", "heartbeat.action.query runs again");
            }
            continue;
        };
        connection = None;
        let text = error.to_string();
        if told.as_ref() != Some(&text) {
            tracing::warn!(
                event = "heartbeat_query_failed",
                error = text,
                "heartbeat.action.query failed; the stream goes on"
            );
            told = Some(text);
        }
    }
}

async fn execute(config: &PostgresConfig, statement: &str, connection: &mut Option<Client>) -> Result<()> {
    let client = match connection {
        Some(client) => client,
        None => connection.insert(sql::connect(config).await?),
    };
    let running = tokio::time::timeout(TIMEOUT, client.batch_execute(statement));
    match running.await {
        Ok(answer) => answer.map_err(|error| sql::query_error("running heartbeat.action.query", config, error)),
        Err(_) => Err(Error::unavailable("heartbeat.action.query got no answer and was given up")),
    }
}
