//! `producer.override.*`: properties of Kafka's Java producer that librdkafka has as well.

use super::Connector;
use crate::config::{Secret, Variables};

const PREFIX: &str = "producer.override.";
/// The system's own choice, or for ever; librdkafka says 0.
const JAVAS_DEFAULT: i32 = -1;

/// Java's names, and those of librdkafka.
const REACHING: &[(&str, &str)] = &[
    ("client.dns.lookup", "client.dns.lookup"),
    ("client.id", "client.id"),
    ("compression.type", "compression.type"),
    ("connections.max.idle.ms", "connections.max.idle.ms"),
    ("linger.ms", "linger.ms"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("reconnect.backoff.max.ms", "reconnect.backoff.max.ms"),
    ("reconnect.backoff.ms", "reconnect.backoff.ms"),
    ("request.timeout.ms", "request.timeout.ms"),
    ("retry.backoff.max.ms", "retry.backoff.max.ms"),
    ("retry.backoff.ms", "retry.backoff.ms"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.ms"),
];

impl Connector {
    /// What the file sets for the producer, by librdkafka's names.
    pub(crate) fn producer_properties(&self, variables: &mut Variables) -> Vec<(String, Secret)> {
        let mut properties = Vec::new();
        for (java, name) in REACHING {
            let Some(value) = self.get(&format!("{PREFIX}{java}")) else { continue };
            let value = value.trim();
            let is_number = [".ms", ".bytes"].iter().any(|unit| java.ends_with(unit));
            if is_number && value.parse::<i32>().map_or(true, |number| number < JAVAS_DEFAULT) {
                variables.mistake(format!("{PREFIX}{java} is `{value}`: give a whole number, 0 or more"));
                continue;
            }
            let value = if is_number && value.parse() == Ok(JAVAS_DEFAULT) { "0" } else { value };
            properties.push(((*name).to_owned(), Secret::new(value)));
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{PropertyStatus, property_status, read_from};

    #[test]
    fn the_table_of_properties_says_which_of_them_reach_the_producer() {
        for (java, _) in REACHING {
            assert_eq!(property_status(&format!("{PREFIX}{java}"), "1"), PropertyStatus::Supported, "{java}");
        }
        for java in ["acks", "enable.idempotence", "max.in.flight.requests.per.connection", "transactional.id"] {
            let status = property_status(&format!("{PREFIX}{java}"), "1");
            assert!(matches!(status, PropertyStatus::WithoutEffect(reason) if !reason.contains("worker")), "{java}");
        }
    }

    #[test]
    fn names_are_librdkafka_s() {
        let sets = [
            "producer.override.send.buffer.bytes=65536",
            "producer.override.connections.max.idle.ms=-1",
            "producer.override.compression.type=lz4",
            "producer.override.acks=1",
        ];
        let (given, said) = read_from(&sets, Connector::producer_properties);
        let given: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        let wanted =
            [("compression.type", "lz4"), ("connections.max.idle.ms", "0"), ("socket.send.buffer.bytes", "65536")];
        assert_eq!((&given[..], said.as_str()), (&wanted[..], ""));
        let (_, said) = read_from(&["producer.override.linger.ms=soon"], Connector::producer_properties);
        assert!(said.contains("producer.override.linger.ms is `soon`"), "{said}");
    }
}
