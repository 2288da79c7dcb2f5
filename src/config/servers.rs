//! The settings of each server and of each half, with their defaults and bounds.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Secret, Variables};

/// How TLS is asked for and checked, with libpq's names and meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Plain first; TLS if the server refuses that.
    Allow,
    /// TLS if the server has it.
    Prefer,
    /// TLS, certificate unchecked (checked like `verify-ca` if a root file is given, as libpq does).
    Require,
    /// TLS, the certificate chain is checked.
    VerifyCa,
    /// TLS, chain and host name are checked.
    VerifyFull,
}

impl SslMode {
    /// The spellings, in order of strictness.
    pub const NAMES: [&'static str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        // As Debezium reads them; libpq wants them small.
        match name.trim().to_ascii_lowercase().as_str() {
            "disable" => Ok(Self::Disable),
            "allow" => Ok(Self::Allow),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(()),
        }
    }
}

/// PEM files for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Trusted roots; without it the system's roots are used.
    pub root_certificate: Option<PathBuf>,
    /// The client's certificate chain.
    pub certificate: Option<PathBuf>,
    /// The client's private key.
    pub key: Option<PathBuf>,
}

/// The connector's properties for PostgreSQL, and the variable that stands for each.
pub(crate) const POSTGRES_VARIABLES: [(&str, &str); 9] = [
    ("database.hostname", "POSTGRES_HOST"),
    ("database.port", "POSTGRES_PORT"),
    ("database.dbname", "POSTGRES_DB"),
    ("database.user", "POSTGRES_USER"),
    ("database.password", "POSTGRES_PASSWORD"),
    ("database.sslmode", "POSTGRES_SSLMODE"),
    ("database.sslrootcert", "POSTGRES_SSLROOTCERT"),
    ("database.sslcert", "POSTGRES_SSLCERT"),
    ("database.sslkey", "POSTGRES_SSLKEY"),
];

/// A property of the connector.
#[derive(Clone)]
pub struct GivenProperty {
    /// Its value, which can be a password.
    pub value: String,
    /// Given by `--set`, so that it wins over the variable.
    pub is_override: bool,
}

/// How to reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role.
    pub user: String,
    /// Password, if the server will ask for one.
    pub password: Option<Secret>,
    /// TLS mode.
    pub ssl_mode: SslMode,
    /// TLS files.
    pub tls_files: TlsFiles,
}

impl PostgresConfig {
    /// From `POSTGRES_*` and what the connector says of `database.*`.
    pub fn from_variables(variables: &mut Variables, given: impl Fn(&str) -> Option<GivenProperty>) -> Self {
        let given_for = |name: &str| {
            let (property, _) = POSTGRES_VARIABLES.iter().find(|(_, variable)| *variable == name)?;
            given(property)
        };
        let optional = |variables: &Variables, name: &str| match given_for(name) {
            Some(property) if property.is_override => Some(property.value),
            property => variables.optional(name).or_else(|| property.map(|property| property.value)),
        };
        let text = |variables: &Variables, name: &str, default: &str| match given_for(name) {
            Some(property) if property.is_override => property.value,
            Some(property) => variables.text(name, &property.value),
            None => variables.text(name, default),
        };
        let file = |variables: &Variables, name: &str| optional(variables, name).map(PathBuf::from);
        let port_text = text(variables, "POSTGRES_PORT", "5432");
        let port = port_text.trim().parse().ok().filter(|port| *port > 0).unwrap_or_else(|| {
            variables.mistake(format!("POSTGRES_PORT (database.port) is `{port_text}`: give a number from 1 to 65535"));
            5432
        });
        let mode_text = text(variables, "POSTGRES_SSLMODE", "prefer");
        let ssl_mode = mode_text.parse().unwrap_or_else(|()| {
            let names = SslMode::NAMES.join(", ");
            variables.mistake(format!("POSTGRES_SSLMODE (database.sslmode) is `{mode_text}`: give one of {names}"));
            SslMode::Prefer
        });
        let password = match given("database.password") {
            Some(password) if password.is_override => Some(Secret::new(password.value)),
            password => {
                variables.secret("POSTGRES_PASSWORD").or_else(|| password.map(|password| Secret::new(password.value)))
            }
        };
        Self {
            host: text(variables, "POSTGRES_HOST", "localhost"),
            port,
            database: text(variables, "POSTGRES_DB", "activity"),
            user: text(variables, "POSTGRES_USER", "postgres"),
            password,
            ssl_mode,
            tls_files: TlsFiles {
                root_certificate: file(variables, "POSTGRES_SSLROOTCERT"),
                certificate: file(variables, "POSTGRES_SSLCERT"),
                key: file(variables, "POSTGRES_SSLKEY"),
            },
        }
    }

    /// `host:port/database`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

/// How to reach MongoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MongoConfig {
    /// Connection string; it may hold a password.
    pub uri: Secret,
    /// Database of the read models.
    pub database: String,
    /// Bound of one TCP connect.
    pub connect_timeout: Duration,
    /// Bound of finding a usable server.
    pub server_selection_timeout: Duration,
}

impl MongoConfig {
    /// From `MONGODB_*`.
    pub fn from_variables(variables: &mut Variables) -> Self {
        let connect_ms = variables.number("MONGODB_CONNECT_TIMEOUT_MS", 5_000_u64, 1..=600_000);
        let selection_ms = variables.number("MONGODB_SERVER_SELECTION_TIMEOUT_MS", 5_000_u64, 1..=600_000);
        Self {
            uri: variables.secret("MONGODB_URI").unwrap_or_else(|| Secret::new("mongodb://localhost:27017")),
            database: variables.text("MONGODB_DATABASE", "activity_read"),
            connect_timeout: Duration::from_millis(connect_ms),
            server_selection_timeout: Duration::from_millis(selection_ms),
        }
    }
}

/// How `process` batches, retries and stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Records applied in one round at the most.
    pub batch_records_max: usize,
    /// How often an event that may still heal is tried again.
    pub retries_max: u32,
    /// The wait between two tries.
    pub retry_delay: Duration,
    /// So many aggregates whose events are refused one after the other are no longer dead letters; 0 is no limit.
    pub refusals_max: usize,
    /// How long events are remembered by their ids.
    pub claim_lifetime: Duration,
    /// What nearly every event may take from its commit to the read models, so that larger writes can be gathered.
    pub target_p99: Option<Duration>,
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
    /// Where capture notes how far it has written, if that is not by the name of the topic.
    pub position_topic: Option<String>,
}

/// MongoDB keeps the number of seconds in 32 bits.
const DAYS_MAX: u64 = 24_000;

fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 3_600))
}

impl ProcessConfig {
    /// The same, with what flags say.
    #[must_use]
    pub fn with_flags(mut self, remember_days: Option<u64>, target_p99_ms: Option<u64>) -> Self {
        self.target_p99 = target_p99_ms.map(Duration::from_millis).or(self.target_p99);
        if let Some(count) = remember_days {
            self.claim_lifetime = days(count.min(DAYS_MAX));
        }
        self
    }

    /// From `PROCESSING_BATCH_SIZE` (else `KAFKA_MAX_POLL_RECORDS`), `MAX_RETRIES` and their like.
    pub fn from_variables(variables: &mut Variables) -> Self {
        let poll_records = variables.number("KAFKA_MAX_POLL_RECORDS", 2_000_usize, 1..=20_000);
        let delay = variables.number("RETRY_DELAY_SECONDS", 5.0_f64, 0.0..=3_600.0);
        Self {
            batch_records_max: variables.number("PROCESSING_BATCH_SIZE", poll_records, 1..=20_000),
            retries_max: variables.number("MAX_RETRIES", 3_u32, 0..=1_000),
            retry_delay: Duration::from_secs_f64(delay),
            claim_lifetime: days(variables.number("REMEMBER_DAYS", 30_u64, 1..=DAYS_MAX)),
            refusals_max: variables.number("MAX_REFUSALS_IN_A_ROW", 20_usize, 0..=100_000),
            target_p99: target_p99(variables),
            shutdown_timeout: shutdown_timeout(variables),
            position_topic: variables.optional("POSITION_TOPIC"),
        }
    }
}

/// `TARGET_P99_MS`; absent or 0 there is none.
fn target_p99(variables: &mut Variables) -> Option<Duration> {
    let millis = variables.number("TARGET_P99_MS", 0_u64, 0..=60_000);
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// `SHUTDOWN_TIMEOUT_SECONDS`, which both halves honour.
pub(crate) fn shutdown_timeout(variables: &mut Variables) -> Duration {
    Duration::from_secs(variables.number("SHUTDOWN_TIMEOUT_SECONDS", 30_u64, 1..=3_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_wins_over_variables_which_win_over_the_connector_file() {
        let pairs = ["POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_SSLROOTCERT"];
        let mut variables = Variables::of(&pairs.map(|name| (name, "variable")));
        let config = PostgresConfig::from_variables(&mut variables, |property| {
            let (value, is_override) = match property {
                "database.hostname" => ("file", false),
                "database.port" => ("6432", false),
                "database.user" | "database.password" | "database.sslrootcert" => ("set", true),
                "database.sslmode" => (" REQUIRE", true),
                _ => return None,
            };
            Some(GivenProperty { value: value.to_owned(), is_override })
        });
        assert_eq!((config.address(), config.user.as_str()), ("variable:6432/activity".to_owned(), "set"));
        assert_eq!((config.password, config.ssl_mode), (Some(Secret::new("set")), SslMode::Require));
        assert_eq!(config.tls_files.root_certificate, Some(PathBuf::from("set")));
        assert!(variables.finish().is_ok());
    }

    #[test]
    fn a_password_in_the_settings_is_never_printed() {
        let mut variables = Variables::of(&[("POSTGRES_PASSWORD", "hunter2"), ("KAFKA_SASL_PASSWORD", "hunter2")]);
        let postgres = PostgresConfig::from_variables(&mut variables, |_| None);
        let kafka =
            crate::config::KafkaConfig::from_variables(&mut variables, &["sasl.oauthbearer.config=hunter2".to_owned()]);
        assert!(!format!("{postgres:?} {kafka:?}").contains("hunter2"));
    }
}
