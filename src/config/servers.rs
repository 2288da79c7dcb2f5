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
        match name {
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
    /// From `POSTGRES_*`; `fallback` gives what the connector file says for a variable that is unset.
    pub fn from_variables(variables: &mut Variables, fallback: impl Fn(&str) -> Option<String>) -> Self {
        let text = |variables: &Variables, name: &str, property: &str, default: &str| {
            variables.optional(name).or_else(|| fallback(property)).unwrap_or_else(|| default.to_owned())
        };
        let file = |variables: &Variables, name: &str, property: &str| {
            variables.optional(name).or_else(|| fallback(property)).map(PathBuf::from)
        };
        let port_text = text(variables, "POSTGRES_PORT", "database.port", "5432");
        let port = port_text.trim().parse().ok().filter(|port| *port > 0).unwrap_or_else(|| {
            variables.mistake(format!("POSTGRES_PORT (database.port) is `{port_text}`: give a number from 1 to 65535"));
            5432
        });
        let mode_text = text(variables, "POSTGRES_SSLMODE", "database.sslmode", "prefer");
        let ssl_mode = mode_text.parse().unwrap_or_else(|()| {
            let names = SslMode::NAMES.join(", ");
            variables.mistake(format!("POSTGRES_SSLMODE (database.sslmode) is `{mode_text}`: give one of {names}"));
            SslMode::Prefer
        });
        Self {
            host: text(variables, "POSTGRES_HOST", "database.hostname", "localhost"),
            port,
            database: text(variables, "POSTGRES_DB", "database.dbname", "activity"),
            user: text(variables, "POSTGRES_USER", "database.user", "postgres"),
            password: variables.secret("POSTGRES_PASSWORD").or_else(|| fallback("database.password").map(Secret::new)),
            ssl_mode,
            tls_files: TlsFiles {
                root_certificate: file(variables, "POSTGRES_SSLROOTCERT", "database.sslrootcert"),
                certificate: file(variables, "POSTGRES_SSLCERT", "database.sslcert"),
                key: file(variables, "POSTGRES_SSLKEY", "database.sslkey"),
            },
        }
    }

    /// `host:port/database`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

/// Where a consumer group without a committed offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the oldest record.
    Earliest,
    /// At the end.
    Latest,
}

/// How to reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// The topic that `process` reads.
    pub topic: String,
    /// The consumer group of `process`.
    pub group_id: String,
    /// Where a new group starts.
    pub offset_reset: OffsetReset,
    /// librdkafka properties for security and whatever `--kafka NAME=VALUE` adds; later ones win.
    pub properties: Vec<(String, Secret)>,
}

impl KafkaConfig {
    /// From `KAFKA_*` and the `NAME=VALUE` pairs of `--kafka`.
    pub fn from_variables(variables: &mut Variables, extra: &[String]) -> Self {
        if variables.optional("KAFKA_ENABLE_AUTO_COMMIT").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            variables.mistake(
                "KAFKA_ENABLE_AUTO_COMMIT=true would commit offsets of events that are not applied yet and so lose them \
                 in a crash: unset it, evp commits by itself"
                    .to_owned(),
            );
        }
        let protocol = variables.text("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT").to_ascii_lowercase();
        let protocols = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
        if !protocols.contains(&protocol.as_str()) {
            let names = protocols.join(", ").to_ascii_uppercase();
            variables.mistake(format!("KAFKA_SECURITY_PROTOCOL is `{protocol}`: give one of {names}"));
        }
        let mut properties = vec![("security.protocol".to_owned(), Secret::new(protocol))];
        for (name, property) in [
            ("KAFKA_SASL_MECHANISM", "sasl.mechanism"),
            ("KAFKA_SASL_USERNAME", "sasl.username"),
            ("KAFKA_SSL_CA_LOCATION", "ssl.ca.location"),
            ("KAFKA_SSL_CERTIFICATE_LOCATION", "ssl.certificate.location"),
            ("KAFKA_SSL_KEY_LOCATION", "ssl.key.location"),
        ] {
            if let Some(value) = variables.optional(name) {
                properties.push((property.to_owned(), Secret::new(value)));
            }
        }
        if let Some(password) = variables.secret("KAFKA_SASL_PASSWORD") {
            properties.push(("sasl.password".to_owned(), password));
        }
        for pair in extra {
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    properties.push((name.trim().to_owned(), Secret::new(value)));
                }
                _ => variables.mistake(format!("--kafka `{pair}` is not of the form NAME=VALUE")),
            }
        }
        let reset = variables.choice("KAFKA_AUTO_OFFSET_RESET", "earliest", &["earliest", "latest"]);
        Self {
            bootstrap_servers: variables.text("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
            topic: variables.text("KAFKA_TOPIC", "postgres.activity.event_outbox"),
            group_id: variables.text("KAFKA_GROUP_ID", "event-processor-group"),
            offset_reset: if reset == "latest" { OffsetReset::Latest } else { OffsetReset::Earliest },
            properties,
        }
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
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
}

impl ProcessConfig {
    /// From `PROCESSING_BATCH_SIZE` (else `KAFKA_MAX_POLL_RECORDS`), `MAX_RETRIES` and their like.
    pub fn from_variables(variables: &mut Variables) -> Self {
        let poll_records = variables.number("KAFKA_MAX_POLL_RECORDS", 2_000_usize, 1..=20_000);
        let delay = variables.number("RETRY_DELAY_SECONDS", 5.0_f64, 0.0..=3_600.0);
        Self {
            batch_records_max: variables.number("PROCESSING_BATCH_SIZE", poll_records, 1..=20_000),
            retries_max: variables.number("MAX_RETRIES", 3_u32, 0..=1_000),
            retry_delay: Duration::from_secs_f64(delay),
            shutdown_timeout: shutdown_timeout(variables),
        }
    }
}

/// `SHUTDOWN_TIMEOUT_SECONDS`, which both halves honour.
pub(crate) fn shutdown_timeout(variables: &mut Variables) -> Duration {
    Duration::from_secs(variables.number("SHUTDOWN_TIMEOUT_SECONDS", 30_u64, 1..=3_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_override_the_connector_file_and_defaults_fill_the_rest() {
        let mut variables = Variables::of(&[("POSTGRES_HOST", "db")]);
        let file = |property: &str| match property {
            "database.hostname" => Some("ignored".to_owned()),
            "database.port" => Some("6432".to_owned()),
            _ => None,
        };
        let config = PostgresConfig::from_variables(&mut variables, file);
        assert_eq!(config.address(), "db:6432/activity");
        assert_eq!(config.ssl_mode, SslMode::Prefer);
        assert!(variables.finish().is_ok());
    }

    #[test]
    fn auto_commit_is_refused_with_the_reason() {
        let mut variables = Variables::of(&[("KAFKA_ENABLE_AUTO_COMMIT", "true")]);
        KafkaConfig::from_variables(&mut variables, &[]);
        assert!(variables.finish().unwrap_err().to_string().contains("lose them"));
    }

    #[test]
    fn a_password_in_the_settings_is_never_printed() {
        let mut variables = Variables::of(&[("POSTGRES_PASSWORD", "hunter2"), ("KAFKA_SASL_PASSWORD", "hunter2")]);
        let postgres = PostgresConfig::from_variables(&mut variables, |_| None);
        let kafka = KafkaConfig::from_variables(&mut variables, &["sasl.oauthbearer.config=hunter2".to_owned()]);
        assert!(!format!("{postgres:?} {kafka:?}").contains("hunter2"));
    }
}
