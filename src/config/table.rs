//! Every variable: name, default, values and meaning in one table, from which `docs/configuration.md` is written.

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name in the environment and in `.env`.
    pub name: &'static str,
    /// What holds where it is unset; empty if that is nothing.
    pub default: &'static str,
    /// What it may be.
    pub values: &'static str,
    /// One line for people.
    pub meaning: &'static str,
    /// It may hold a password, is never printed, and can be given as a file: `NAME_FILE`.
    pub is_secret: bool,
}

/// Variables about one thing.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What they are about, and who reads them.
    pub title: &'static str,
    /// They themselves.
    pub variables: &'static [Variable],
}

const fn variable(name: &'static str, default: &'static str, values: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, values, meaning, is_secret: false }
}

const fn secret(name: &'static str, default: &'static str, values: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, values, meaning, is_secret: true }
}

/// All variables.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "PostgreSQL, the outbox: all commands but `process` and `dlq`",
        variables: &[
            variable("POSTGRES_HOST", "localhost", "host name or address", "The server of the outbox"),
            variable("POSTGRES_PORT", "5432", "1 to 65535", "Its port"),
            variable("POSTGRES_DB", "activity", "name", "Its database"),
            variable("POSTGRES_USER", "postgres", "name", "The role that logs in"),
            secret("POSTGRES_PASSWORD", "", "text", "The role's password, where the server asks for one"),
            variable(
                "POSTGRES_SSLMODE",
                "prefer",
                "disable, allow, prefer, require, verify-ca, verify-full",
                "TLS, with libpq's meanings",
            ),
            variable(
                "POSTGRES_SSLROOTCERT",
                "",
                "path of a PEM file",
                "CAs for verify-ca and verify-full; without it those of the system",
            ),
            variable("POSTGRES_SSLCERT", "", "path of a PEM file", "Certificate with which evp shows who it is"),
            variable("POSTGRES_SSLKEY", "", "path of a PEM file", "Its private key"),
        ],
    },
    Section {
        title: "Kafka: all commands",
        variables: &[
            variable("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092", "host:port, host:port, …", "Brokers to ask first"),
            variable(
                "KAFKA_TOPIC",
                "postgres.activity.event_outbox",
                "name, name, …",
                "The topic that `evp process` reads, or several",
            ),
            variable("KAFKA_GROUP_ID", "event-processor-group", "name", "The consumer group of `evp process`"),
            variable(
                "KAFKA_AUTO_OFFSET_RESET",
                "earliest",
                "earliest, latest",
                "Where a group that has never read the topic begins",
            ),
            variable(
                "KAFKA_MAX_POLL_RECORDS",
                "2000",
                "1 to 20000",
                "Stands in for PROCESSING_BATCH_SIZE where that is unset",
            ),
            variable(
                "KAFKA_ENABLE_AUTO_COMMIT",
                "",
                "false",
                "true is refused: an offset is committed once its event is applied, and never by a timer",
            ),
            variable(
                "KAFKA_SECURITY_PROTOCOL",
                "PLAINTEXT",
                "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
                "TLS and credentials, or not",
            ),
            variable("KAFKA_SASL_MECHANISM", "", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", "How credentials are shown"),
            variable("KAFKA_SASL_USERNAME", "", "name", "The user"),
            secret("KAFKA_SASL_PASSWORD", "", "text", "The user's password"),
            variable("KAFKA_SSL_CA_LOCATION", "", "path of a PEM file", "CAs; without it those of the system"),
            variable(
                "KAFKA_SSL_CERTIFICATE_LOCATION",
                "",
                "path of a PEM file",
                "Certificate with which evp shows who it is",
            ),
            variable("KAFKA_SSL_KEY_LOCATION", "", "path of a PEM file", "Its private key"),
        ],
    },
    Section {
        title: "The outbox's rows on Kafka: `process`",
        variables: &[
            variable(
                "OUTBOX_COLUMNS",
                "",
                "debezium, or pairs such as event_id=id,created_at=",
                "Columns of an outbox that is not evp's own",
            ),
            variable("OUTBOX_IDS", "uuid", "uuid, any", "What ids of events and aggregates are"),
        ],
    },
    Section {
        title: "MongoDB, the read models: all commands but `capture`",
        variables: &[
            secret(
                "MONGODB_URI",
                "mongodb://localhost:27017",
                "connection string",
                "The servers, with user and password",
            ),
            variable("MONGODB_DATABASE", "activity_read", "name", "Database of the read models"),
            variable("MONGODB_CONNECT_TIMEOUT_MS", "5000", "1 to 600000", "Bound of one TCP connect"),
            variable(
                "MONGODB_SERVER_SELECTION_TIMEOUT_MS",
                "5000",
                "1 to 600000",
                "Bound of finding a server that can be written to",
            ),
        ],
    },
    Section {
        title: "Processing: `process`, the last one `capture` as well",
        variables: &[
            variable(
                "PROCESSING_BATCH_SIZE",
                "KAFKA_MAX_POLL_RECORDS",
                "1 to 20000",
                "Events written to MongoDB in one round, at the most",
            ),
            variable("MAX_RETRIES", "3", "0 to 1000", "Attempts after the first before an event is a dead letter"),
            variable("RETRY_DELAY_SECONDS", "5", "0 to 3600", "The wait between two attempts"),
            variable(
                "MAX_REFUSALS_IN_A_ROW",
                "20",
                "0 to 100000",
                "So many aggregates refused one after the other are held back instead of becoming dead letters; 0 is no limit",
            ),
            variable(
                "TARGET_P99_MS",
                "0",
                "0 to 60000",
                "What 99 of 100 events may take from commit to read model, so that larger writes are gathered; 0 waits for nothing",
            ),
            variable("REMEMBER_DAYS", "30", "1 to 24000", "How many days an event is remembered by its id"),
            variable(
                "PROJECTIONS",
                "",
                "path of a YAML file",
                "Handlers instead of the program's (also `init`, `doctor`, `trace`, `rebuild`)",
            ),
            variable(
                "POSITION_TOPIC",
                "",
                "name",
                "Where `evp capture` notes how far it is, for `/applied`; by default __evp-position. and the prefix of KAFKA_TOPIC",
            ),
            variable(
                "SHUTDOWN_TIMEOUT_SECONDS",
                "30",
                "1 to 3600",
                "How long a drain may take after SIGTERM; a supervisor has to wait longer than this",
            ),
        ],
    },
    Section {
        title: "Kafka Connect: `handover`",
        variables: &[variable("CONNECT_URL", "http://localhost:8083", "http://host:port", "REST address of a worker")],
    },
    Section {
        title: "Logs: all commands",
        variables: &[variable("LOG_LEVEL", "info", "error, warn, info, debug, trace", "Least level that is logged")],
    },
];

/// All variables, section by section.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    SECTIONS.iter().flat_map(|section| section.variables)
}

/// The variable of that name; a secret's is also found by the name of its file.
pub fn find(name: &str) -> Option<&'static Variable> {
    let of_file = name.strip_suffix("_FILE");
    variables().find(|variable| variable.name == name || (variable.is_secret && Some(variable.name) == of_file))
}
