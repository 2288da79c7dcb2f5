//! Names and servers of one test, and the commands that use them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{DEADLINE, Finished, OwnStack, Running};

/// Where the servers are; evp reads the same variables.
const SERVER_VARIABLES: [&str; 6] =
    ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"];

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Everything that one test has for itself. Dropping it removes the slot and both databases.
pub(crate) struct World {
    variables: BTreeMap<String, String>,
    directory: tempfile::TempDir,
    admin_database: String,
    name: String,
}

impl World {
    /// A world on the servers that the environment names.
    pub(crate) async fn new(test: &str) -> Self {
        let find = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set, so there is no server to test with: run `make test`, which starts its own")
            })
        };
        let variables = SERVER_VARIABLES.map(|name| (name.to_owned(), find(name)));
        let admin_database = std::env::var("POSTGRES_DB").unwrap_or_else(|_| "postgres".to_owned());
        Self::with_variables(test, variables.into(), admin_database).await
    }

    /// A world on servers that this test has started for itself.
    pub(crate) async fn on_stack(test: &str, stack: &OwnStack) -> Self {
        let mut variables = stack.variables().clone();
        let admin_database = variables.remove("POSTGRES_DB").expect("the stack names its database");
        Self::with_variables(test, variables, admin_database).await
    }

    async fn with_variables(test: &str, mut variables: BTreeMap<String, String>, admin_database: String) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{test}_{}_{number}", std::process::id());
        assert!(name.len() <= 63, "PostgreSQL cuts names at 63 bytes: {name}");
        for (variable, value) in [
            ("POSTGRES_DB", name.clone()),
            ("KAFKA_TOPIC", format!("{name}.activity.event_outbox")),
            ("KAFKA_GROUP_ID", format!("{name}-group")),
            ("MONGODB_DATABASE", name.clone()),
        ] {
            variables.insert(variable.to_owned(), value);
        }
        let world = Self { variables, directory: tempfile::tempdir().unwrap(), admin_database, name };
        world.create_database(&world.admin_database).await;
        world
    }

    /// Makes this world's database, through one that is there.
    pub(crate) async fn create_database(&self, admin_database: &str) {
        let admin = self.connect(admin_database).await;
        admin.batch_execute(&format!("CREATE DATABASE {}", self.name)).await.unwrap();
    }

    /// Makes its database anew, as one that takes any bytes for a text.
    pub(crate) async fn without_encoding(&self) {
        let admin = self.admin_sql().await;
        admin.batch_execute(&format!("DROP DATABASE {}", self.name)).await.unwrap();
        let statement = format!("CREATE DATABASE {} ENCODING 'SQL_ASCII' TEMPLATE template0", self.name);
        admin.batch_execute(&statement).await.unwrap();
    }

    /// The name that databases, slot and topic prefix have in common.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The topic of the outbox.
    pub(crate) fn topic(&self) -> &str {
        self.variable("KAFKA_TOPIC")
    }

    /// The working directory of the commands.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A variable as evp sees it.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Changes a variable for the commands that follow.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// `evp` with this world's variables and no others.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evp"));
        command.env_clear().envs(&self.variables).current_dir(self.directory.path()).args(arguments);
        // These read the connector's own names for slot and topics.
        let named = ["capture", "init", "doctor", "handover", "status", "top", "trace"];
        if arguments.first().is_some_and(|command| named.contains(command)) {
            command.arg("--set").arg(format!("topic.prefix={}", self.name));
            command.arg("--set").arg(format!("slot.name={}", self.name));
        }
        command
    }

    /// Runs `evp` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        Running::spawn(self.command(arguments)).wait(DEADLINE)
    }

    /// Starts `evp`; dropping the handle kills it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::spawn(self.command(arguments))
    }

    /// Runs `evp init` with so many partitions.
    pub(crate) fn init(&self, partitions: u32) {
        let finished = self.run(&["init", "--partitions", &partitions.to_string()]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }

    /// A connection to this world's database.
    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        self.connect(&self.name).await
    }

    /// A connection to the database that was there before.
    pub(crate) async fn admin_sql(&self) -> tokio_postgres::Client {
        self.connect(&self.admin_database).await
    }

    async fn connect(&self, database: &str) -> tokio_postgres::Client {
        connect(&self.variables, database).await.expect("PostgreSQL answers")
    }

    /// This world's read models.
    pub(crate) async fn mongo(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(self.variable("MONGODB_URI")).await.unwrap();
        client.database(&self.name)
    }
}

async fn connect(
    variables: &BTreeMap<String, String>,
    database: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&variables["POSTGRES_HOST"])
        .port(variables["POSTGRES_PORT"].parse().unwrap())
        .user(&variables["POSTGRES_USER"])
        .password(&variables["POSTGRES_PASSWORD"])
        .connect_timeout(Duration::from_secs(10))
        .dbname(database);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Drop for World {
    fn drop(&mut self) {
        let (variables, name) = (self.variables.clone(), self.name.clone());
        let admin_database = self.admin_database.clone();
        // A runtime of its own, because the test's cannot be blocked on from inside.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // Servers that the test itself has stopped keep nothing that matters.
                if let Ok(admin) = connect(&variables, &admin_database).await {
                    remove_database(&admin, &name).await;
                }
                if let Ok(client) = mongodb::Client::with_uri_str(&variables["MONGODB_URI"]).await {
                    let _ = tokio::time::timeout(Duration::from_secs(5), client.database(&name).drop()).await;
                }
            });
        });
        let _ = cleaner.join();
    }
}

/// The slot goes first: it is of no use without its database, and there are few of them.
async fn remove_database(admin: &tokio_postgres::Client, name: &str) {
    let slots = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                 WHERE database = $1 AND active_pid IS NOT NULL";
    let _ = admin.execute(slots, &[&name]).await;
    for _ in 0..100 {
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1";
        if admin.execute(drop, &[&name]).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
}

/// Lets PostgreSQL send again what was confirmed, as it does after a crash of its own.
pub(crate) async fn slot_as_it_was(world: &World, run: impl AsyncFnOnce()) {
    let sql = world.sql().await;
    let copy = async |from: &str, to: &str| {
        sql.execute("SELECT pg_copy_logical_replication_slot($1, $2)", &[&from, &to]).await.unwrap();
    };
    let kept = format!("{}_kept", world.name());
    copy(world.name(), &kept).await;
    run().await;
    let remove = "SELECT pg_drop_replication_slot($1)";
    sql.execute(remove, &[&world.name()]).await.unwrap();
    copy(&kept, world.name()).await;
    sql.execute(remove, &[&kept]).await.unwrap();
}
