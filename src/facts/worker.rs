//! Requests to the REST interface of a Kafka Connect worker.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::http;
pub(crate) use super::http::Answer;
use crate::error::{Error, ErrorKind, Result};

/// A worker forwards a request to its leader, and changes of a connector wait for a rebalance.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A worker of Kafka Connect.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    url: String,
    authority: String,
    prefix: String,
}

impl Answer {
    /// Connect's own sentence about a request that it refuses.
    pub(crate) fn reason(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Refusal {
            message: String,
        }
        match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(refusal) => format!("{} ({})", refusal.message, self.status),
            Err(_) => format!("status {}", self.status),
        }
    }
}

impl Worker {
    /// The worker at `url`, of the form `http://host:port`.
    pub(crate) fn at(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").or_else(|| (!url.contains("://")).then_some(url));
        let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains('@')) else {
            return Err(Error::configuration(format!("`{url}` is no address of Kafka Connect: give http://HOST:PORT")));
        };
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { url: url.to_owned(), authority: authority.to_owned(), prefix })
    }

    /// Its address, as it was given.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The answer to a request, whatever its status is.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> Result<Answer> {
        let answer = tokio::time::timeout(
            TIMEOUT,
            http::exchange(&self.authority, method, &format!("{}{path}", self.prefix), body),
        )
        .await;
        answer
            .map_err(|_| {
                Error::unavailable(format!(
                    "Kafka Connect at {} does not answer within {} s",
                    self.url,
                    TIMEOUT.as_secs()
                ))
            })?
            .map_err(|cause| {
                let message = format!("Kafka Connect at {} does not answer; check its REST address", self.url);
                Error::with_source(ErrorKind::Unavailable, message, cause)
            })
    }

    /// The same for what must succeed with status 200.
    pub(crate) async fn read(&self, path: &str) -> Result<Bytes> {
        let answer = self.ask(Method::GET, path, None).await?;
        if answer.status != 200 {
            let message = format!("Kafka Connect at {} refuses {path}: {}", self.url, answer.reason());
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(answer.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_path_and_no_scheme_but_no_password() {
        let worker = Worker::at("http://connect:8083/rest/").unwrap();
        assert_eq!((worker.authority.as_str(), worker.prefix.as_str()), ("connect:8083", "/rest"));
        let worker = Worker::at("localhost:8083").unwrap();
        assert_eq!((worker.authority.as_str(), worker.prefix.as_str()), ("localhost:8083", ""));
        for url in ["https://connect", "http://", "http://me:secret@connect:8083"] {
            assert_eq!(Worker::at(url).unwrap_err().kind(), ErrorKind::Configuration, "{url}");
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_connects_own() {
        let answer = |body: &'static str| Answer { status: 409, body: Bytes::from_static(body.as_bytes()) };
        assert_eq!(answer(r#"{"error_code":409,"message":"rebalance"}"#).reason(), "rebalance (409)");
        assert_eq!(answer("<html>").reason(), "status 409");
    }
}
