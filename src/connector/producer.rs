//! `producer.override.*`: properties of Kafka's Java producer that librdkafka has as well.

use super::Connector;
use crate::config::Secret;

const PREFIX: &str = "producer.override.";

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
    pub(crate) fn producer_properties(&self) -> Vec<(String, Secret)> {
        let given = |(java, name): &(&str, &str)| {
            let value = self.get(&format!("{PREFIX}{java}"))?;
            Some(((*name).to_owned(), Secret::new(value.trim())))
        };
        REACHING.iter().filter_map(given).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;
    use crate::connector::{PropertyStatus, property_status};

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
        let sets = ["producer.override.send.buffer.bytes=65536", "producer.override.compression.type=lz4"];
        let sets = [sets[0].to_owned(), sets[1].to_owned(), "producer.override.acks=1".to_owned()];
        let connector = Connector::load(&mut Variables::default(), None, &sets).unwrap();
        let given = connector.producer_properties();
        let given: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(given, [("compression.type", "lz4"), ("socket.send.buffer.bytes", "65536")]);
    }
}
