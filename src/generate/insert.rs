//! One connection that inserts what it is given, without waiting for one transaction to send the next.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc::Receiver;
use tokio_postgres::{Client, Statement};

use super::OutboxEvent;
use super::counters::{Counters, Transaction};
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::sql;

/// How much one connection takes on; what is beyond makes the generator late, and that is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// Transactions that wait for the connection.
    pub(super) queued: usize,
    /// Transactions sent and not yet committed.
    pub(super) in_flight: usize,
}

impl Depth {
    /// At a fixed rate a stall of the database must not stop the clock.
    const AT_A_RATE: Self = Self { queued: 4_096, in_flight: 1_024 };
    /// At full speed a deeper queue only makes each transaction wait longer.
    const AT_FULL_SPEED: Self = Self { queued: 1, in_flight: 64 };

    pub(super) fn at(rate: f64) -> Self {
        if rate > 0.0 { Self::AT_A_RATE } else { Self::AT_FULL_SPEED }
    }
}

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[])";

/// A connection with its prepared statement.
pub(super) struct Inserter {
    client: Client,
    statement: Statement,
    config: PostgresConfig,
    counters: Arc<Counters>,
    in_flight_max: usize,
}

impl Inserter {
    pub(super) async fn open(config: &PostgresConfig, depth: Depth, counters: Arc<Counters>) -> Result<Self> {
        let client = sql::connect(config).await?;
        let statement = client.prepare(INSERT).await.map_err(|error| insert_error(config, error))?;
        Ok(Self { client, statement, config: config.clone(), counters, in_flight_max: depth.in_flight })
    }

    /// Inserts until the queue ends and everything is committed.
    pub(super) async fn run(self, mut queue: Receiver<Transaction>) -> Result<()> {
        let mut in_flight = FuturesOrdered::new();
        let mut is_open = true;
        while is_open || !in_flight.is_empty() {
            tokio::select! {
                // First, so that each statement is on the wire before the next one is taken.
                biased;
                Some(outcome) = in_flight.next(), if !in_flight.is_empty() => {
                    let done: Transaction = outcome?;
                    let types: Vec<_> = done.events.iter().map(|event| event.event_type).collect();
                    self.counters.commit(&types, done.due);
                }
                next = queue.recv(), if is_open && in_flight.len() < self.in_flight_max => match next {
                    Some(transaction) => {
                        self.counters.lateness.record_since(transaction.due);
                        in_flight.push_back(self.insert(transaction));
                    }
                    None => is_open = false,
                },
            }
        }
        Ok(())
    }

    async fn insert(&self, transaction: Transaction) -> Result<Transaction> {
        let column = |of: fn(&OutboxEvent) -> &'static str| transaction.events.iter().map(of).collect::<Vec<_>>();
        let event_ids: Vec<_> = transaction.events.iter().map(|event| event.event_id).collect();
        let aggregate_ids: Vec<_> = transaction.events.iter().map(|event| event.aggregate_id).collect();
        let aggregate_types = column(|event| event.aggregate_type);
        let event_types = column(|event| event.event_type);
        let payloads: Vec<_> = transaction.events.iter().map(|event| &event.payload).collect();
        self.client
            .execute(&self.statement, &[&event_ids, &aggregate_ids, &aggregate_types, &event_types, &payloads])
            .await
            .map_err(|error| insert_error(&self.config, error))?;
        Ok(transaction)
    }
}

fn insert_error(config: &PostgresConfig, error: tokio_postgres::Error) -> Error {
    match error.as_db_error().map(|server| server.code().code()) {
        Some("42P01" | "3F000") => Error::new(
            ErrorKind::Missing,
            format!("there is no table activity.event_outbox in {}: run `evp init`", config.address()),
        ),
        Some("23505") => Error::new(
            ErrorKind::Configuration,
            "these events are in the outbox already: give another --seed, or none".to_owned(),
        ),
        _ => sql::query_error("inserting an event", config, error),
    }
}
