//! What integration tests share.
//!
//! A test makes a [`World`]: a database, a slot, topics, a consumer group and a MongoDB database of its own on the
//! servers that the environment names. Through it the test runs the real binary and looks at both ends. Nothing
//! sleeps for a fixed time: [`eventually`] waits for a condition, with a deadline.

// A helper stays although the last test that used it has gone.
#![allow(dead_code, unused_imports)]

mod connect;
pub(crate) mod envelopes;
mod forgetful;
mod frames;
pub(crate) mod items;
mod kafka;
pub(crate) mod library;
mod load;
mod oracle;
mod raw_record;
mod read_models;
mod relay;
mod replica_set;
mod running;
mod stack;
mod world;

pub(crate) use {
    connect::{connect, connector_failure},
    forgetful::{Asked, Forgetful},
    kafka::{Record, all_topics, records, topic_end, topic_ends, topic_settings, topics},
    load::Load,
    oracle::{Oracle, assert_topic_equals_commits},
    raw_record::produce_raw,
    read_models::{claim_count, document, read_models},
    relay::relay,
    replica_set::ReplicaSet,
    running::{Finished, Running},
    stack::{OwnStack, as_user, authorizing_broker, distant_broker, first_broker, sasl_broker, second_broker},
    world::{World, slot_as_it_was},
};

use std::time::{Duration, Instant};

/// Long enough for a busy two-core machine; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Waits until `condition` holds; panics with `what` after [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// An address of this machine where nothing listens at the moment.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A GET request; the status and the body, or nothing if nobody answers.
pub(crate) async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((status, body))
}
