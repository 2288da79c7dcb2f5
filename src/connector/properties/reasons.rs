//! Why properties are refused or without effect, as it is told.

pub(in crate::connector) const DECIMAL_FORMAT: &str = "it is BASE64 or NUMERIC";
pub(in crate::connector) const LATER: &str = "evp does not have it: leave it out, if the records may be without it";
pub(in crate::connector) const JAVA: &str = "it names a Java class, which evp cannot run: leave it out";
pub(in crate::connector) const JSON_ONLY: &str =
    "evp writes JSON and texts only: use org.apache.kafka.connect.json.JsonConverter";
pub(in crate::connector) const SNAPSHOT_MODE: &str = "evp has always, initial, initial_only, when_needed and no_data";

pub(in crate::connector) const CONNECT: &str = "it is for Kafka Connect, which evp does without";
pub(in crate::connector) const TIMEOUT: &str = "evp has bounds of its own for each request";
pub(in crate::connector) const METRICS: &str = "evp's metrics have names of their own";
pub(in crate::connector) const RETRY: &str = "evp goes on by itself after an outage, for as long as it lasts";
pub(in crate::connector) const MEMORY: &str = "evp bounds its memory by itself";
pub(in crate::connector) const CONFIGURED: &str = "snapshot.mode=configuration_based is refused";
pub(in crate::connector) const ONE_READER: &str = "evp reads one table after the other, row by row, in one transaction";
pub(in crate::connector) const PRODUCER: &str =
    "evp writes each record once, in order and to all replicas, which rests on its own value";
pub(in crate::connector) const NEVER_SKIPS: &str =
    "evp never skips a row: one that cannot be written ends capture, or becomes a dead letter with --refused-rows";
pub(in crate::connector) const LOGGED: &str = "evp logs each failure once, and no values";
pub(in crate::connector) const WORKER: &str = "it is for Kafka Connect's worker and its clients: KAFKA_BOOTSTRAP_SERVERS, KAFKA_… and --kafka NAME=VALUE are evp's";
pub(in crate::connector) const SINK: &str = "it is for a sink";
pub(in crate::connector) const OTHER: &str = "it is for the connector of another database";
pub(in crate::connector) const CONVERTER: &str = "it is for another converter than the one that evp has";
pub(in crate::connector) const DRIVER: &str = "it is for Java's driver of PostgreSQL, which evp does without";
pub(in crate::connector) const SERVER: &str = "it is for Debezium Server";
