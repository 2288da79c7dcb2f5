//! What an orchestrator asks over HTTP: alive, ready, and the metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics::install;
use crate::error::{Error, ErrorKind, Result};

/// Observations are kept one by one until they are counted into buckets, so this bounds memory when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Whether the command does its work, and if not, why not.
#[derive(Debug, Clone)]
pub struct Health {
    /// Which of several works this tells of; they share what is told.
    part: Arc<str>,
    obstacles: Arc<Mutex<Obstacles>>,
    changes: Arc<Notify>,
}

/// Reasons why work is not being done, each of one part and of one thing that it needs.
type Obstacles = BTreeMap<(Arc<str>, Needed), String>;

const STARTING: &str = "starting";

/// What the work needs. Each has its own obstacle, so that the return of one server does not hide the loss of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    Start,
    Snapshot,
    Catalog,
    Kafka,
    Leaders,
    Commits,
    Coordinator,
    Delivery,
    DeadLetters,
    Refusals,
    MongoDb,
}

impl Needed {
    /// All of them, each with its value of the label `needed`.
    const NAMES: [(Self, &'static str); 8] = [
        (Self::Start, "start"),
        (Self::Catalog, "catalog"),
        (Self::Kafka, "kafka"),
        (Self::Leaders, "leaders"),
        (Self::Commits, "commits"),
        (Self::Delivery, "delivery"),
        (Self::DeadLetters, "dead_letters"),
        (Self::MongoDb, "mongodb"),
    ];
}

impl Default for Health {
    fn default() -> Self {
        let part = Arc::<str>::default();
        let obstacles = Obstacles::from([((Arc::clone(&part), Needed::Start), STARTING.to_owned())]);
        Self { part, obstacles: Arc::new(Mutex::new(obstacles)), changes: Arc::default() }
    }
}

impl Health {
    /// One for each of several works that are done side by side; all of them have to be started.
    pub(crate) fn parts(&self, names: &[&str]) -> Vec<Self> {
        self.set(Needed::Start, None);
        let part = |name: &&str| Self { part: Arc::from(*name), ..self.clone() };
        let parts: Vec<Self> = names.iter().map(part).collect();
        parts.iter().for_each(|part| part.set_not_ready(STARTING));
        parts
    }

    /// The work has been started.
    pub fn set_ready(&self) {
        self.set(Needed::Start, None);
    }

    /// The work cannot be started, or must be anew; `reason` is for people.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Needed::Start, Some(reason.into()));
    }

    /// Kafka keeps the work waiting for the given reason, or no longer.
    pub fn set_kafka_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Kafka, reason);
    }

    /// Partitions cannot be read because nobody leads them, or they can again.
    pub fn set_leader_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Leaders, reason);
    }

    /// Kafka does not take the group's offsets, or it does again.
    pub(crate) fn set_commit_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Commits, reason);
    }

    /// The group's coordinator does not answer, or it does again.
    pub(crate) fn set_coordinator_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Coordinator, reason);
    }

    /// A client of Kafka is replaced: what kept the former one waiting says nothing of the next.
    pub(crate) fn forget_kafka(&self) {
        let mut obstacles = self.obstacles.lock();
        let of_client =
            |needed: &Needed| !matches!(needed, Needed::Start | Needed::Catalog | Needed::Delivery | Needed::MongoDb);
        obstacles.retain(|(part, needed), _| *part != self.part || !of_client(needed));
        self.changes.notify_one();
    }

    /// Whether something of Kafka that was to be read is out of reach.
    pub(crate) fn is_kafka_away(&self) -> bool {
        let obstacles = self.obstacles.lock();
        [Needed::Kafka, Needed::Leaders].iter().any(|needed| obstacles.contains_key(&(Arc::clone(&self.part), *needed)))
    }

    /// Kafka answers, but does not acknowledge what is sent, or it does again.
    pub fn set_delivery_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Delivery, reason);
    }

    /// Dead letters wait to be taken by Kafka, or no longer.
    pub fn set_dead_letter_obstacle(&self, reason: Option<String>) {
        self.set(Needed::DeadLetters, reason);
    }

    /// Nothing is streamed until the tables are read, or now it is.
    pub(crate) fn set_snapshot_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Snapshot, reason);
    }

    /// Events are held back because each of them is refused, or no longer.
    pub(crate) fn set_refusal_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Refusals, reason);
    }

    /// PostgreSQL streams, but does not answer questions about its catalog, or it does again.
    pub fn set_catalog_obstacle(&self, reason: Option<String>) {
        self.set(Needed::Catalog, reason);
    }

    /// MongoDB keeps the work waiting for the given reason, or no longer.
    pub fn set_mongodb_obstacle(&self, reason: Option<String>) {
        self.set(Needed::MongoDb, reason);
    }

    fn set(&self, needed: Needed, reason: Option<String>) {
        let mut obstacles = self.obstacles.lock();
        let key = (Arc::clone(&self.part), needed);
        let before = match &reason {
            Some(reason) => obstacles.insert(key, reason.clone()),
            None => obstacles.remove(&key),
        };
        if before != reason {
            self.changes.notify_one();
        }
    }

    /// Waits until an obstacle has come, changed or gone since the last call; for one caller.
    pub(crate) async fn changed(&self) {
        self.changes.notified().await;
    }

    /// The reasons why work is not being done, if there are any.
    pub fn obstacle(&self) -> Option<String> {
        let obstacles = self.obstacles.lock();
        let mut reasons: Vec<&str> = obstacles.values().map(String::as_str).collect();
        // What keeps all parts waiting is said once.
        reasons.dedup();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The same for Prometheus.
    fn export(&self) {
        let obstacles = self.obstacles.lock();
        metrics::gauge!("evp_ready").set(if obstacles.is_empty() { 1.0 } else { 0.0 });
        for (needed, name) in Needed::NAMES {
            let is_missed = obstacles.keys().any(|(_, missed)| *missed == needed);
            metrics::gauge!("evp_waits", "needed" => name).set(if is_missed { 1.0 } else { 0.0 });
        }
    }
}

/// Serves `/livez`, `/readyz`, `/metrics` and `more` until `token` is cancelled; returns the address that was bound.
pub async fn serve(address: &str, health: Arc<Health>, more: Router, token: CancellationToken) -> Result<SocketAddr> {
    let listener = bind(address).await?;
    let bound = listener
        .local_addr()
        .map_err(|error| Error::with_source(ErrorKind::System, format!("cannot listen on {address}"), error))?;
    let handle = install()?;
    let routes = more
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readiness).with_state(Arc::clone(&health)))
        .route("/metrics", get(exposition).with_state((health, handle.clone())));
    let stopped = token.clone();
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stopped.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(event = "http_failed", %error, "health and metrics are not served any more");
        }
    });
    tokio::spawn(async move {
        while token.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
            handle.run_upkeep();
        }
    });
    tracing::info!(event = "http_listening", address = %bound, "serving /livez, /readyz and /metrics");
    Ok(bound)
}

async fn bind(address: &str) -> Result<TcpListener> {
    let full = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
    TcpListener::bind(&full).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::System,
            format!(
                "--http {address}: the port is in use; stop what listens there, give another port, or 0 for a free one"
            ),
        ),
        std::io::ErrorKind::PermissionDenied => Error::new(
            ErrorKind::System,
            format!("--http {address}: this port needs privileges; give one from 1024 up, or 0 for a free one"),
        ),
        std::io::ErrorKind::InvalidInput => {
            Error::configuration(format!("--http `{address}` is not of the form HOST:PORT, such as 127.0.0.1:9090"))
        }
        _ => Error::with_source(
            ErrorKind::System,
            format!("--http {address}: cannot listen there; give an address of this machine"),
            error,
        ),
    })
}

async fn readiness(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.obstacle() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn exposition(State((health, handle)): State<(Arc<Health>, PrometheusHandle)>) -> impl IntoResponse {
    health.export();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_the_work_and_liveness_does_not() {
        let (health, token) = (Arc::new(Health::default()), CancellationToken::new());
        let address = serve("127.0.0.1:0", Arc::clone(&health), Router::new(), token.clone()).await.unwrap();
        assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("starting"), "{answer}");
        health.set_ready();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        health.set_not_ready("Kafka does not answer");
        assert!(fetch(address, "/readyz").await.contains("Kafka does not answer"));
        let metrics = fetch(address, "/metrics").await;
        for line in
            ["evp_build_info{version=", "evp_ready 0", "evp_waits{needed=\"start\"} 1", "evp_waits{needed=\"kafka\"} 0"]
        {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
        token.cancel();
    }

    #[test]
    fn a_replaced_client_leaves_no_obstacle_of_kafka_behind() {
        let health = Health::default();
        health.set_ready();
        health.set_kafka_obstacle(Some("away".to_owned()));
        health.set_leader_obstacle(Some("no leader".to_owned()));
        health.set_mongodb_obstacle(Some("MongoDB".to_owned()));
        assert!(health.is_kafka_away());
        health.forget_kafka();
        assert!(!health.is_kafka_away());
        assert_eq!(health.obstacle().as_deref(), Some("MongoDB"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(&address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System);
        assert!(error.message().contains("in use") && error.message().contains(&address), "{error}");
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_a_usage_error() {
        assert_eq!(bind("localhost").await.unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[test]
    fn several_works_are_ready_when_each_is_and_one_does_not_hide_the_obstacle_of_another() {
        let health = Health::default();
        let parts = health.parts(&["a", "b"]);
        parts[0].set_ready();
        assert_eq!(health.obstacle().as_deref(), Some(STARTING));
        parts[1].set_ready();
        assert_eq!(health.obstacle(), None);
        parts.iter().for_each(|part| part.set_kafka_obstacle(Some("away".to_owned())));
        assert_eq!(health.obstacle().as_deref(), Some("away"), "said once");
        parts[0].set_kafka_obstacle(None);
        assert!(!parts[0].is_kafka_away() && parts[1].is_kafka_away() && health.obstacle().is_some());
        parts[1].forget_kafka();
        assert_eq!(health.obstacle(), None);
    }
}
