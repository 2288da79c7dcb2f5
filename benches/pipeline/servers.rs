//! The servers that the environment names, and what one measurement has for itself on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evp::config::{PostgresConfig, Variables};
use evp::generate::{GenerateOptions, GenerateSummary, Length, Mix, Observer, Target};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::child::Running;
use crate::kafka::delete_topics_of;

/// Where the servers are; evp reads the same variables.
const SERVER_VARIABLES: [&str; 6] =
    ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"];
const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);
/// What writing may take beyond its own time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// A slot is freed a moment after its reader has gone.
const SLOT_TRIES: u32 = 200;
const SLOT_LOOK_INTERVAL: Duration = Duration::from_millis(5);
const SLOT_RETRY: Duration = Duration::from_millis(50);

/// The program under test and the servers that it works with.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) evp: PathBuf,
    variables: BTreeMap<String, String>,
    admin_database: String,
}

impl Servers {
    /// From the environment.
    pub(crate) fn from_environment(evp: &Path) -> Result<Self> {
        let mut variables = BTreeMap::new();
        for name in SERVER_VARIABLES {
            let value = std::env::var(name).map_err(|_| {
                format!(
                    "{name} is not set: run `make bench`, which starts servers of its own, or see benches/README.md"
                )
            })?;
            variables.insert(name.to_owned(), value);
        }
        let evp = std::fs::canonicalize(evp)
            .map_err(|error| format!("there is no program at {}: {error}; give one with --evp", evp.display()))?;
        let admin_database = std::env::var("POSTGRES_DB").unwrap_or_else(|_| "postgres".to_owned());
        Ok(Self { evp, variables, admin_database })
    }

    /// One of the variables.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A connection to the database that was there before.
    pub(crate) async fn admin(&self) -> Result<Client> {
        Ok(evp::postgres::sql::connect(&self.postgres(&self.admin_database)?).await?)
    }

    /// MongoDB.
    pub(crate) async fn mongo(&self) -> Result<mongodb::Client> {
        Ok(mongodb::Client::with_uri_str(self.variable("MONGODB_URI")).await?)
    }

    fn postgres(&self, database: &str) -> Result<PostgresConfig> {
        let mut variables = Variables::load();
        let config = PostgresConfig::from_variables(&mut variables, |_| None);
        variables.finish()?;
        Ok(PostgresConfig { database: database.to_owned(), ..config })
    }
}

/// A database with the outbox, and the names that belong to it.
pub(crate) struct World {
    pub(crate) servers: Servers,
    pub(crate) name: String,
    directory: tempfile::TempDir,
}

/// What one run has for itself: each run starts where nothing was read or written before.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Slot, topic prefix, group and MongoDB database are called alike.
    pub(crate) name: String,
}

impl Names {
    /// The topic of the outbox.
    pub(crate) fn topic(&self) -> String {
        format!("{}.activity.event_outbox", self.name)
    }
}

impl World {
    /// Creates the database and what `evp init` makes, with so many partitions.
    pub(crate) async fn create(servers: &Servers, label: &str, partitions: i32) -> Result<Self> {
        let name = format!("bench_{label}_{}", std::process::id());
        let world = Self { servers: servers.clone(), name, directory: tempfile::tempdir()? };
        let admin = servers.admin().await?;
        admin.batch_execute(&format!("CREATE DATABASE {}", world.name)).await?;
        match world.init(&world.names(""), partitions).await {
            Ok(()) => Ok(world),
            Err(error) => {
                world.remove().await?;
                Err(error)
            }
        }
    }

    /// The names of a run.
    pub(crate) fn names(&self, run: &str) -> Names {
        Names { name: if run.is_empty() { self.name.clone() } else { format!("{}_{run}", self.name) } }
    }

    /// Runs `evp init` for the names of a run: slot, topic, collections, indexes.
    pub(crate) async fn init(&self, names: &Names, partitions: i32) -> Result<()> {
        self.run(names, &["init", "--partitions", &partitions.to_string()]).await
    }

    /// `evp` with this world's variables and no others.
    pub(crate) fn command(&self, names: &Names, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.servers.evp);
        command.env_clear().envs(&self.servers.variables).current_dir(self.directory.path()).args(arguments);
        command.env("POSTGRES_DB", &self.name);
        command.env("KAFKA_TOPIC", names.topic());
        command.env("KAFKA_GROUP_ID", format!("{}-group", names.name));
        command.env("MONGODB_DATABASE", &names.name);
        command.env("SHUTDOWN_TIMEOUT_SECONDS", "30");
        command.args(["--log-format", "json"]);
        if matches!(arguments.first(), Some(&"capture" | &"init")) {
            command.arg("--set").arg(format!("topic.prefix={}", names.name));
            command.arg("--set").arg(format!("slot.name={}", names.name));
        }
        command
    }

    /// Starts `evp`.
    pub(crate) fn start(&self, names: &Names, arguments: &[&str]) -> Result<Running> {
        let what = format!("evp {}", arguments.first().copied().unwrap_or_default());
        Running::spawn(&what, self.command(names, arguments), None)
    }

    /// Runs `evp` to its end, which must be a good one.
    pub(crate) async fn run(&self, names: &Names, arguments: &[&str]) -> Result<()> {
        let running = self.start(names, arguments)?;
        running.wait_for_end(COMMAND_TIMEOUT).await?;
        running.reap()
    }

    /// A connection to the database.
    pub(crate) async fn sql(&self) -> Result<Client> {
        Ok(evp::postgres::sql::connect(&self.servers.postgres(&self.name)?).await?)
    }

    /// Writes events of the application's shape, as `evp generate` does; a rate of 0 is as fast as possible.
    pub(crate) async fn generate(&self, load: Load) -> Result<GenerateSummary> {
        let options = GenerateOptions {
            target: Target::Postgres(self.servers.postgres(&self.name)?),
            watch: None,
            rate: load.rate,
            length: load.length,
            connections: load.connections,
            batch_rows: load.transaction_rows,
            seed: load.seed,
            mix: Mix::default(),
            observer: load.observer,
        };
        let planned = match load.length {
            Length::Time(time) => time,
            Length::Events(_) => Duration::ZERO,
        };
        let limit = planned + WRITE_TIMEOUT;
        let written = tokio::time::timeout(limit, evp::generate::run(options, CancellationToken::new())).await;
        Ok(written.map_err(|_| format!("the writer was not done within {limit:?}"))??)
    }

    /// Makes a slot that reads the same log as `source` from the same place.
    pub(crate) async fn copy_slot(&self, source: &str, names: &Names) -> Result<()> {
        let statement = "SELECT pg_copy_logical_replication_slot($1, $2)";
        self.sql().await?.execute(statement, &[&source, &names.name]).await?;
        Ok(())
    }

    /// Drops a slot once its reader has gone.
    pub(crate) async fn drop_slot(&self, name: &str) -> Result<()> {
        let sql = self.sql().await?;
        for _ in 0..SLOT_TRIES {
            let statement = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                             WHERE slot_name = $1 AND NOT active";
            if sql.execute(statement, &[&name]).await.is_ok_and(|count| count == 1) {
                return Ok(());
            }
            tokio::time::sleep(SLOT_RETRY).await;
        }
        Err(format!("slot {name} is still in use after {:?}", SLOT_RETRY * SLOT_TRIES).into())
    }

    /// Drops the slots, the databases and the topics.
    pub(crate) async fn remove(self) -> Result<()> {
        let admin = self.servers.admin().await?;
        let rows =
            admin.query("SELECT slot_name::text FROM pg_replication_slots WHERE database = $1", &[&self.name]).await?;
        for row in rows {
            self.drop_slot(row.get(0)).await?;
        }
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await?;
        drop_mongo(&self.servers, &self.name).await?;
        delete_topics_of(&self.servers, &self.name).await
    }
}

/// Looks whether a slot is read.
pub(crate) struct SlotWatch {
    sql: Client,
    slot: String,
}

impl SlotWatch {
    /// Of the slot of a run.
    pub(crate) async fn of(world: &World, names: &Names) -> Result<Self> {
        Ok(Self { sql: world.sql().await?, slot: names.name.clone() })
    }

    /// Waits until somebody reads the slot, and says since when; fails if `reader` ends before.
    pub(crate) async fn wait_until_read(&self, reader: &Running, limit: Duration) -> Result<Instant> {
        let statement = self.sql.prepare("SELECT active FROM pg_replication_slots WHERE slot_name = $1").await?;
        let deadline = Instant::now() + limit;
        loop {
            let row = self.sql.query_one(&statement, &[&self.slot]).await?;
            if row.get(0) {
                return Ok(Instant::now());
            }
            if reader.has_ended() {
                return Err(format!("the reader of slot {} ended{}", self.slot, reader.last_words()).into());
            }
            if Instant::now() >= deadline {
                return Err(format!("nobody reads slot {} after {limit:?}{}", self.slot, reader.last_words()).into());
            }
            tokio::time::sleep(SLOT_LOOK_INTERVAL).await;
        }
    }
}

/// Drops the read models of the names that begin so.
pub(crate) async fn drop_mongo(servers: &Servers, prefix: &str) -> Result<()> {
    let client = servers.mongo().await?;
    for name in client.list_database_names().await? {
        if name.starts_with(prefix) {
            client.database(&name).drop().await?;
        }
    }
    client.shutdown().await;
    Ok(())
}

/// What is written into the outbox.
pub(crate) struct Load {
    pub(crate) rate: f64,
    pub(crate) length: Length,
    pub(crate) connections: u16,
    pub(crate) transaction_rows: u32,
    pub(crate) seed: u64,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}
