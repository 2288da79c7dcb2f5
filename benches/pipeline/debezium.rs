//! Debezium on a Kafka Connect that runs already, put there and taken away by `debezium/connector`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::child::Running;
use crate::servers::{Names, World};

const DEPLOY_TIMEOUT: Duration = Duration::from_secs(120);

/// What the baseline calls tuned: it wakes at once and writes large batches.
const TUNED: [&str; 6] = [
    "poll.interval.ms=5",
    "max.batch.size=4096",
    "max.queue.size=16384",
    "producer.override.linger.ms=1",
    "producer.override.batch.size=524288",
    "producer.override.buffer.memory=134217728",
];

/// Whose settings the connector has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// Those of the connector file.
    Defaults,
    /// Those that suit throughput and latency best.
    Tuned,
}

/// A Kafka Connect that answers.
pub(crate) struct Connect {
    url: String,
    /// Known where the stack is native, and then its processor time and memory can be read.
    pub(crate) pid: Option<u32>,
}

impl Connect {
    /// From `CONNECT_URL`, which `compose/native env` exports once Connect is up.
    pub(crate) fn from_environment() -> Result<Self> {
        let url = std::env::var("CONNECT_URL").map_err(
            |_| "CONNECT_URL is not set: start Kafka Connect with `compose/native up connect`, or leave Debezium out",
        )?;
        let given = std::env::var("CONNECT_PID").ok().and_then(|text| text.parse().ok());
        let pid = given.or_else(|| {
            let path = PathBuf::from(std::env::var_os("EVP_STACK_DIR")?).join("pids/connect");
            std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
        });
        Ok(Self { url, pid })
    }

    /// Begins to put the connector there; it captures long before the script has seen it run steadily.
    pub(crate) fn begin_deploy(&self, world: &World, names: &Names, tuning: Tuning) -> Result<Running> {
        let mut command = self.command(world, names, "deploy");
        if tuning == Tuning::Tuned {
            TUNED.iter().for_each(|setting| {
                command.args(["--set", setting]);
            });
        }
        Running::spawn("debezium/connector deploy", command, None)
    }

    /// Waits until the script has said that the connector runs.
    pub(crate) async fn finish_deploy(deploying: Running) -> Result<()> {
        deploying.wait_for_end(DEPLOY_TIMEOUT).await?;
        deploying.reap()
    }

    /// Takes the connector away.
    pub(crate) async fn remove(&self, world: &World, names: &Names) -> Result<()> {
        let removing = Running::spawn("debezium/connector remove", self.command(world, names, "remove"), None)?;
        removing.wait_for_end(DEPLOY_TIMEOUT).await?;
        removing.reap()
    }

    fn command(&self, world: &World, names: &Names, verb: &str) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("debezium/connector");
        let mut command = Command::new(script);
        for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
            command.env(name, world.servers.variable(name));
        }
        command.env("POSTGRES_DB", &world.name).args([verb, "--connect", &self.url, "--yes"]);
        for (property, value) in [("name", &names.name), ("slot.name", &names.name), ("topic.prefix", &names.name)] {
            command.arg("--set").arg(format!("{property}={value}"));
        }
        command
    }
}
