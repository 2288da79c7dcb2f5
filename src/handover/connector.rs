//! A connector in Kafka Connect: its state, its properties, its offset.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::offset::DebeziumOffset;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{Answer, Worker};

/// Tasks that stop write what they hold, for which Connect gives them time.
const STATE_WAIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A request is refused while the workers share their connectors out anew.
const CONFLICT: u16 = 409;
const CONFLICT_WAIT: Duration = Duration::from_secs(30);

/// A connector by name.
pub(super) struct Connector<'a> {
    pub(super) worker: &'a Worker,
    pub(super) name: &'a str,
}

/// What Connect says of its state.
#[derive(Debug, Deserialize)]
struct Status {
    connector: State,
    tasks: Vec<State>,
}

#[derive(Debug, Deserialize)]
struct State {
    state: String,
    #[serde(default)]
    trace: String,
}

impl Status {
    fn is_stopped(&self) -> bool {
        self.connector.state == "STOPPED" && self.tasks.is_empty()
    }

    fn is_running(&self) -> bool {
        let mut states = [&self.connector].into_iter().chain(&self.tasks);
        !self.tasks.is_empty() && states.all(|state| state.state == "RUNNING")
    }

    /// The first line of why it failed, if it did.
    fn failure(&self) -> Option<&str> {
        let failed = [&self.connector].into_iter().chain(&self.tasks).find(|state| state.state == "FAILED")?;
        Some(failed.trace.lines().next().unwrap_or("no reason is given"))
    }
}

#[derive(Deserialize)]
struct Offsets {
    offsets: Vec<Kept>,
}

#[derive(Deserialize)]
struct Kept {
    partition: Map<String, Value>,
    offset: Option<Map<String, Value>>,
}

impl Connector<'_> {
    /// Its properties; nothing if there is no such connector.
    pub(super) async fn properties(&self) -> Result<Option<BTreeMap<String, String>>> {
        let answer = self.ask(Method::GET, "/config", None).await?;
        match answer.status {
            200 => Ok(Some(self.parsed(&answer)?)),
            404 => Ok(None),
            _ => Err(self.refused("show its properties", &answer)),
        }
    }

    /// Puts it on the worker without letting it run.
    pub(super) async fn create_stopped(&self, properties: &BTreeMap<String, String>) -> Result<()> {
        let request = json!({ "name": self.name, "config": properties, "initial_state": "STOPPED" });
        let answer = self.unhindered(|| self.worker.ask(Method::POST, "/connectors", Some(&request))).await?;
        match answer.status {
            201 => self.wait_until("stopped", Status::is_stopped).await,
            _ => Err(self.refused("be created; Kafka Connect 3.7 or later can create one stopped", &answer)),
        }
    }

    /// Stops it, forgets its offset and deletes it, whatever state it is in; nothing if it is not there.
    pub(super) async fn remove(&self) -> Result<()> {
        let is_there = self.ask(Method::PUT, "/stop", None).await?.status != 404;
        let started = Instant::now();
        while is_there && !self.is_stopped().await? && started.elapsed() < STATE_WAIT {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        // One that has none, or is not there, is as good.
        self.ask(Method::DELETE, "/offsets", None).await?;
        let answer = self.ask(Method::DELETE, "", None).await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(self.refused("go away", &answer)),
        }
    }

    /// The version of its class.
    pub(super) async fn version(&self, class: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Plugin {
            class: String,
            version: Option<String>,
        }
        let answer = self.worker.ask(Method::GET, "/connector-plugins", None).await?;
        let plugins: Vec<Plugin> = self.parsed(&answer)?;
        let version = plugins.into_iter().find(|plugin| plugin.class == class).and_then(|plugin| plugin.version);
        Ok(version.unwrap_or_else(|| "of an unknown version".to_owned()))
    }

    /// Fails if it has failed.
    pub(super) async fn check(&self) -> Result<()> {
        match self.status().await?.as_ref().and_then(Status::failure) {
            Some(reason) => Err(self.failed(reason)),
            None => Ok(()),
        }
    }

    /// Whether it is stopped, with no task left.
    pub(super) async fn is_stopped(&self) -> Result<bool> {
        Ok(self.status().await?.is_some_and(|status| status.is_stopped()))
    }

    /// Stops it: its tasks write what they have and store where they are.
    pub(super) async fn stop(&self) -> Result<()> {
        let answer = self.ask(Method::PUT, "/stop", None).await?;
        match answer.status {
            202 | 204 => self.wait_until("stopped", Status::is_stopped).await,
            _ => Err(self.refused("stop; Kafka Connect 3.5 or later can stop one and keep its offset", &answer)),
        }
    }

    /// Lets it run, and waits until it does.
    pub(super) async fn resume(&self) -> Result<()> {
        let answer = self.ask(Method::PUT, "/resume", None).await?;
        match answer.status {
            202 | 204 => self.wait_until("running", Status::is_running).await,
            _ => Err(self.refused("run", &answer)),
        }
    }

    /// The offset that is kept for it under a topic prefix.
    pub(super) async fn offset(&self, topic_prefix: &str) -> Result<Option<DebeziumOffset>> {
        let answer = self.ask(Method::GET, "/offsets", None).await?;
        if answer.status != 200 {
            return Err(self.refused("show its offset; Kafka Connect 3.5 or later does", &answer));
        }
        let kept: Offsets = self.parsed(&answer)?;
        let is_of_prefix = |kept: &Kept| kept.partition.get("server").and_then(Value::as_str) == Some(topic_prefix);
        let offset = kept.offsets.into_iter().find(is_of_prefix).and_then(|kept| kept.offset);
        Ok(offset.map(|offset| DebeziumOffset::parse(&offset)))
    }

    /// Puts `offset` in the place of what is kept; it has to be stopped.
    pub(super) async fn set_offset(&self, topic_prefix: &str, offset: &Value) -> Result<()> {
        let request = json!({ "offsets": [{ "partition": { "server": topic_prefix }, "offset": offset }] });
        let answer = self.ask(Method::PATCH, "/offsets", Some(&request)).await?;
        match answer.status {
            200 => Ok(()),
            _ => Err(self.refused("take an offset; Kafka Connect 3.6 or later does", &answer)),
        }
    }

    async fn status(&self) -> Result<Option<Status>> {
        let answer = self.ask(Method::GET, "/status", None).await?;
        match answer.status {
            200 => Ok(Some(self.parsed(&answer)?)),
            // It is known a moment before its state is.
            404 => Ok(None),
            _ => Err(self.refused("show its state", &answer)),
        }
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            let status = self.status().await?;
            if status.as_ref().is_some_and(&is_so) {
                return Ok(());
            }
            if let Some(reason) = status.as_ref().and_then(Status::failure) {
                return Err(self.failed(reason));
            }
            if started.elapsed() > STATE_WAIT {
                let message = format!("connector {} was not {what} within {} s", self.name, STATE_WAIT.as_secs());
                return Err(Error::unavailable(message));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn ask(&self, method: Method, what: &str, body: Option<&Value>) -> Result<Answer> {
        let path = format!("/connectors/{}{what}", encoded(self.name));
        self.unhindered(|| self.worker.ask(method.clone(), &path, body)).await
    }

    /// Asks again while the workers are busy with themselves.
    async fn unhindered(&self, ask: impl AsyncFn() -> Result<Answer>) -> Result<Answer> {
        let started = Instant::now();
        loop {
            let answer = ask().await?;
            if answer.status != CONFLICT || started.elapsed() > CONFLICT_WAIT {
                return Ok(answer);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!("{} does not answer as Kafka Connect does", self.worker.url());
            Error::with_source(ErrorKind::Protocol, message, error)
        })
    }

    fn failed(&self, reason: &str) -> Error {
        let message = format!("connector {} failed: {reason}; Connect's log has more", self.name);
        Error::new(ErrorKind::Unknown, message)
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
        let message = format!("connector {} on {} does not {what}: {}", self.name, self.worker.url(), answer.reason());
        Error::new(ErrorKind::Unknown, message)
    }
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_stopped_once_its_tasks_are_gone_and_runs_once_they_do() {
        let status = |connector: &str, tasks: &[&str]| {
            let state = |state: &str| State { state: state.to_owned(), trace: "why\nat x".to_owned() };
            Status { connector: state(connector), tasks: tasks.iter().map(|task| state(task)).collect() }
        };
        assert!(status("STOPPED", &[]).is_stopped() && !status("STOPPED", &["RUNNING"]).is_stopped());
        assert!(status("RUNNING", &["RUNNING"]).is_running() && !status("RUNNING", &[]).is_running());
        assert_eq!(status("RUNNING", &["FAILED"]).failure(), Some("why"));
        assert_eq!(status("RUNNING", &["UNASSIGNED"]).failure(), None);
    }

    #[test]
    fn a_name_cannot_leave_its_part_of_the_path() {
        assert_eq!(encoded("orders-1"), "orders-1");
        assert_eq!(encoded("a b/..?"), "a%20b%2F..%3F");
    }
}
