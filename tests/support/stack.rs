//! Servers that one test has for itself, to stop and to break.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::free_address;

/// Sixteen bytes in URL-safe base64, as Kafka wants them.
const CLUSTER_OF_TWO: &str = "evp-two-brokers-of-one";

/// A stack started by `compose/native`; dropping it removes the servers and their data.
pub(crate) struct OwnStack {
    directory: tempfile::TempDir,
    settings: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
}

impl OwnStack {
    /// Starts the services; `settings` are variables such as `EVP_WAL_LEVEL`.
    pub(crate) fn up(services: &[&str], settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut stack = Self { directory, settings, variables: BTreeMap::new() };
        stack.call("up", services);
        let exports = stack.call("env", &[]);
        for line in String::from_utf8_lossy(&exports.stdout).lines() {
            if let Some((name, value)) = line.strip_prefix("export ").and_then(|line| line.split_once('=')) {
                stack.variables.insert(name.to_owned(), value.trim_matches('\'').to_owned());
            }
        }
        stack
    }

    /// The variables that point evp at this stack.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Stops services in order; [`Self::start`] continues with their data.
    pub(crate) fn stop(&self, services: &[&str]) {
        self.call("stop", services);
    }

    /// Starts services that were stopped or killed.
    pub(crate) fn start(&self, services: &[&str]) {
        self.call("start", services);
    }

    /// Ends services at once, as a crash would.
    pub(crate) fn kill(&self, services: &[&str]) {
        self.call("kill", services);
    }

    /// Freezes services.
    pub(crate) fn pause(&self, services: &[&str]) {
        self.call("pause", services);
    }

    /// Lets frozen services go on.
    pub(crate) fn resume(&self, services: &[&str]) {
        self.call("resume", services);
    }

    /// Changes what may be done on the broker.
    pub(crate) fn acl(&self, arguments: &[&str]) {
        let server = &self.variables["KAFKA_BOOTSTRAP_SERVERS"];
        let tool = ["org.apache.kafka.tools.AclCommand", "--bootstrap-server", server, "--force"];
        self.call("java", &[&tool[..], arguments].concat());
    }

    /// Keeps a copy of the stopped PostgreSQL.
    pub(crate) fn copy_postgres(&self) {
        self.replace("data/postgres", "copy");
    }

    /// Puts the copy in the place of the stopped PostgreSQL.
    pub(crate) fn restore_postgres(&self) {
        self.replace("copy", "data/postgres");
    }

    /// Lets the stopped PostgreSQL begin a new timeline at its next start, as a promotion does.
    pub(crate) fn begin_timeline(&self) {
        std::fs::write(self.directory.path().join("data/postgres/recovery.signal"), "").unwrap();
    }

    fn replace(&self, from: &str, to: &str) {
        let [from, to] = [from, to].map(|name| self.directory.path().join(name));
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        // With owners and permissions, on which PostgreSQL insists.
        assert!(Command::new("cp").arg("-a").args([&from, &to]).status().unwrap().success());
    }

    pub(super) fn command(&self) -> Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compose/native");
        let mut command = Command::new(script);
        command.env("EVP_STACK_DIR", self.directory.path());
        // These live too short for what the second compiler of Java's machine costs: with it a start takes twice the time.
        command.env("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn call(&self, verb: &str, services: &[&str]) -> Output {
        let output = self.command().arg(verb).args(services).output().expect("compose/native runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose/native {verb} {services:?} fails:\n{said}");
        output
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        // Not asserted: a panic while another one unwinds would hide the first.
        let _ = self.command().arg("wipe").output();
    }
}

/// A broker that wants a password on its second listener; its address, and where anybody may enter.
pub(crate) fn sasl_broker() -> (OwnStack, String) {
    sasl_broker_with("")
}

/// Has a command speak to such a broker as `evp`.
pub(crate) fn as_user(command: &mut Command, sasl: &str) {
    command.envs([
        ("KAFKA_BOOTSTRAP_SERVERS", sasl),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_SASL_USERNAME", "evp"),
        ("KAFKA_SASL_PASSWORD", "right"),
    ]);
}

/// The same, and what `evp` may do there can be denied to it.
pub(crate) fn authorizing_broker() -> (OwnStack, String) {
    sasl_broker_with(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS",
    )
}

fn sasl_broker_with(more: &str) -> (OwnStack, String) {
    let [plain, sasl, controller] = [(); 3].map(|()| free_address());
    let settings = format!(
        "listeners=PLAINTEXT://{plain},SASL://{sasl},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{plain},SASL://{sasl}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_evp=\"right\";\n{more}"
    );
    let ports = [("EVP_KAFKA_PORT", port_of(&plain)), ("EVP_KAFKA_CONTROLLER_PORT", port_of(&controller))];
    (OwnStack::up(&["kafka"], &[ports[0], ports[1], ("EVP_KAFKA_SETTINGS", &settings)]), sasl)
}

/// A broker with a second listener, whose clients are sent to another address; that of the listener, and the other.
pub(crate) fn distant_broker() -> (OwnStack, String, String) {
    let [plain, distant, relayed, controller] = [(); 4].map(|()| free_address());
    let settings = format!(
        "listeners=PLAINTEXT://{plain},DISTANT://{distant},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{plain},DISTANT://{relayed}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DISTANT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    );
    let ports = [("EVP_KAFKA_PORT", port_of(&plain)), ("EVP_KAFKA_CONTROLLER_PORT", port_of(&controller))];
    (OwnStack::up(&["kafka"], &[ports[0], ports[1], ("EVP_KAFKA_SETTINGS", &settings)]), distant, relayed)
}

/// A cluster that a second broker can join: PostgreSQL, MongoDB and the first one, and where its controller listens.
pub(crate) fn first_broker() -> (OwnStack, String) {
    let controller = free_address();
    let settings = [("EVP_KAFKA_CLUSTER_ID", CLUSTER_OF_TWO), ("EVP_KAFKA_CONTROLLER_PORT", port_of(&controller))];
    (OwnStack::up(&["postgres", "kafka", "mongo"], &settings), controller)
}

/// The second broker, number 2. What the cluster holds already stays with the first one.
pub(crate) fn second_broker(controller: &str) -> OwnStack {
    let address = free_address();
    let settings = format!(
        "process.roles=broker\nnode.id=2\ncontroller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{address}\nadvertised.listeners=PLAINTEXT://{address}"
    );
    let settings = [
        ("EVP_KAFKA_CLUSTER_ID", CLUSTER_OF_TWO),
        ("EVP_KAFKA_PORT", port_of(&address)),
        ("EVP_KAFKA_SETTINGS", &settings),
    ];
    OwnStack::up(&["kafka"], &settings)
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}
