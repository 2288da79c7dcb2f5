//! Speaking to Kafka, through librdkafka.

pub(crate) mod admin;
pub(crate) mod backlog;
pub(crate) mod chunk;
pub(crate) mod consumer;
pub(crate) mod group;
pub(crate) mod headers;
pub(crate) mod offsets;
pub(crate) mod partition;
pub(crate) mod producer;
pub(crate) mod tail;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind};

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

/// The error of a client call, with its kind and the remedy.
pub(crate) fn client_error(what: &str, config: &KafkaConfig, error: KafkaError) -> Error {
    if let KafkaError::ClientConfig(_, description, name, _) = &error {
        return Error::configuration(format!("the Kafka property `{name}` is refused: {description}"));
    }
    let code = error.rdkafka_error_code();
    let servers = &config.bootstrap_servers;
    match code {
        Some(RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication) => Error::with_source(
            ErrorKind::Denied,
            format!(
                "{what}: Kafka at {servers} refuses the credentials; check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            ),
            error,
        ),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => Error::with_source(
            ErrorKind::Denied,
            format!("{what}: Kafka at {servers} denies access; grant the principal its topics and group"),
            error,
        ),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Error::with_source(ErrorKind::Missing, format!("{what}: the topic does not exist; run `evp init`"), error)
        }
        _ => Error::with_source(
            ErrorKind::Unavailable,
            format!("{what}: Kafka at {servers} does not answer; check KAFKA_BOOTSTRAP_SERVERS and the broker"),
            error,
        ),
    }
}
