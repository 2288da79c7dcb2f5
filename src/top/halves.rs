//! Asking running halves for their health and metrics.

use std::time::Duration;

use super::exposition::Exposition;
use super::screen::HalfLook;
use crate::facts::http;

/// A half on this machine or near it answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks each of the addresses, side by side.
pub(super) async fn look(addresses: &[String]) -> Vec<HalfLook> {
    let asked = addresses.iter().map(async |address| {
        let late = || format!("does not answer within {} s", TIMEOUT.as_secs());
        let answer = tokio::time::timeout(TIMEOUT, ask(address)).await.unwrap_or_else(|_| Err(late()));
        HalfLook { address: address.clone(), answer }
    });
    futures_util::future::join_all(asked).await
}

/// Why the half does not work, if so, and its metrics.
async fn ask(address: &str) -> Result<(Option<String>, Exposition), String> {
    let authority = address.trim_start_matches("http://").trim_end_matches('/');
    // `:9101` is an address to listen at, so it is one to ask.
    let authority = if authority.starts_with(':') { format!("localhost{authority}") } else { authority.to_owned() };
    let failed = |error: crate::error::Cause| format!("does not answer: {error}");
    let readiness = http::get(&authority, "/readyz").await.map_err(failed)?;
    let obstacle = match readiness.status {
        200 => None,
        503 => Some(String::from_utf8_lossy(&readiness.body).trim().to_owned()),
        other => return Err(format!("answers /readyz with {other}: give the --http address of an evp")),
    };
    let metrics = http::get(&authority, "/metrics").await.map_err(failed)?;
    Ok((obstacle, Exposition::parse(&String::from_utf8_lossy(&metrics.body))))
}
