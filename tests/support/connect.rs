//! Looking at Kafka Connect from outside.

use std::process::Command;

use serde_json::Value;

use super::{World, http_get};

/// What ended a connector's task, if something did.
pub(crate) async fn connector_failure(connect: &str, name: &str) -> Option<String> {
    let address = connect.trim_start_matches("http://").trim_end_matches('/');
    let (_, body) = http_get(address, &format!("/connectors/{name}/status")).await?;
    body.contains("FAILED").then(|| body.replace("\\n", "\n").replace("\\t", "  "))
}

/// Kafka Connect's answer to a request, by the program that everybody has.
pub(crate) fn connect(world: &World, method: &str, path: &str, body: Option<&Value>) -> Value {
    let url = format!("{}{path}", world.variable("CONNECT_URL"));
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "-X", method, "-H", "Content-Type: application/json", &url]);
    if let Some(body) = body {
        command.args(["--data", &body.to_string()]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
