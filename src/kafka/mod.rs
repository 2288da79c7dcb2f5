//! Speaking to Kafka, through librdkafka.

pub(crate) mod admin;
pub(crate) mod backlog;
pub(crate) mod captured;
pub(crate) mod chunk;
mod commits;
pub(crate) mod consumer;
pub(crate) mod ends;
mod error;
pub(crate) mod group;
pub(crate) mod headers;
pub(crate) mod identity;
pub(crate) mod known;
pub(crate) mod letters;
pub(crate) mod limits;
pub(crate) mod look;
pub(crate) mod offsets;
pub(crate) mod partition;
mod presence;
pub(crate) mod producer;
pub(crate) mod ranges;
pub(crate) mod rights;
pub(crate) mod signals;
pub(crate) mod single;
pub(crate) mod tail;
pub(crate) mod whole;
pub(crate) mod witness;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

pub(crate) use error::client_error;

use crate::config::KafkaConfig;

/// The librdkafka configuration that every client of evp starts from.
///
/// What the user gave by `KAFKA_*` and `--kafka` comes last in [`with_user_properties`], so that it wins.
pub(crate) fn client_config(config: &KafkaConfig, client_id: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", client_id)
        // The default of 100 ms to 10 s makes a broker that came back wait for us.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        // To a server whose queue of connections is full the system knocks in intervals that double; half a minute of that, the
        // default, is a wait of a quarter of one behind its return. Kafka's own clients give a connection as long as this.
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("socket.nagle.disable", "true");
    client
}

/// Adds the user's own properties last.
pub(crate) fn with_user_properties(client: &mut ClientConfig, config: &KafkaConfig) {
    for (name, value) in &config.properties {
        client.set(name, value.expose());
        // rdkafka asks the `log` crate for its level, which nobody sets here, and would keep what was asked for to itself.
        if name == "debug" {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
    }
}
