//! Looking at Kafka Connect from outside.

use super::http_get;

/// What ended a connector's task, if something did.
pub(crate) async fn connector_failure(connect: &str, name: &str) -> Option<String> {
    let address = connect.trim_start_matches("http://").trim_end_matches('/');
    let (_, body) = http_get(address, &format!("/connectors/{name}/status")).await?;
    body.contains("FAILED").then(|| body.replace("\\n", "\n").replace("\\t", "  "))
}
