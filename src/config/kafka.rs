//! How to reach Kafka, and what can be told of it before anything is contacted.

use super::kafka_properties::{Given, judge};
use super::kafka_security::check_security;
use super::{Secret, Variables};

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
    /// The topic that `process` reads, or several, separated by commas.
    pub topic: String,
    /// The consumer group of `process`.
    pub group_id: String,
    /// Where a new group starts.
    pub offset_reset: OffsetReset,
    /// librdkafka properties for security and whatever `--kafka NAME=VALUE` adds; later ones win.
    pub properties: Vec<(String, Secret)>,
    /// Those of the producer alone, which the former win over.
    pub producer_properties: Vec<(String, Secret)>,
}

impl KafkaConfig {
    /// The user whose password is given.
    pub(crate) fn user(&self) -> Option<&str> {
        let last = self.properties.iter().rev().find(|(name, _)| name == "sasl.username");
        last.map(|(_, user)| user.expose())
    }

    /// From `KAFKA_*` and the `NAME=VALUE` pairs of `--kafka`; mistakes are noted in `variables`.
    pub fn from_variables(variables: &mut Variables, extra: &[String]) -> Self {
        if variables.optional("KAFKA_ENABLE_AUTO_COMMIT").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            variables.mistake(
                "KAFKA_ENABLE_AUTO_COMMIT=true would commit offsets of events that are not applied yet and so lose them \
                 in a crash: unset it, evp commits by itself"
                    .to_owned(),
            );
        }
        let mut properties = security_properties(variables);
        for pair in extra {
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => add(variables, &mut properties, name.trim(), value),
                _ => variables.mistake(format!("--kafka `{}` is not of the form NAME=VALUE", name_part(pair))),
            }
        }
        let protocol = check_security(variables, &properties);
        let bootstrap_servers = variables.text("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092");
        check_servers(variables, &bootstrap_servers, &protocol);
        let topic = variables.text("KAFKA_TOPIC", "postgres.activity.event_outbox");
        if topic.split(',').all(|topic| topic.trim().is_empty()) {
            variables.mistake("KAFKA_TOPIC names no topic: give one, or several with commas between them".to_owned());
        }
        let reset = variables.choice("KAFKA_AUTO_OFFSET_RESET", "earliest", &["earliest", "latest"]);
        Self {
            bootstrap_servers,
            topic,
            group_id: variables.text("KAFKA_GROUP_ID", "event-processor-group"),
            offset_reset: if reset == "latest" { OffsetReset::Latest } else { OffsetReset::Earliest },
            properties,
            producer_properties: Vec::new(),
        }
    }

    /// The topics that `process` reads, each once.
    pub fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self.topic.split(',').map(str::trim).filter(|topic| !topic.is_empty()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The same for one of several topics, whose consumers are members of their own.
    pub(crate) fn of_topic(&self, topic: &str) -> Self {
        let mut config = Self { topic: topic.to_owned(), ..self.clone() };
        let names = config.properties.iter_mut().filter(|(property, _)| property == "group.instance.id");
        names.for_each(|(_, name)| *name = Secret::new(format!("{}-{topic}", name.expose())));
        config
    }

    /// The value of the last of the properties that has one of these names.
    pub fn property(&self, names: &[&str]) -> Option<&Secret> {
        last_of(&self.properties, names)
    }
}

/// The value that wins, of a property and its aliases.
pub(super) fn last_of<'a>(properties: &'a [(String, Secret)], names: &[&str]) -> Option<&'a Secret> {
    properties.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value)
}

fn security_properties(variables: &mut Variables) -> Vec<(String, Secret)> {
    let protocol = variables.text("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT").to_ascii_lowercase();
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
    properties
}

fn add(variables: &mut Variables, properties: &mut Vec<(String, Secret)>, name: &str, value: &str) {
    match judge(name, value.trim()) {
        Given::Free => properties.push((name.to_owned(), Secret::new(value))),
        Given::AsEvpSetsIt => {}
        Given::Refused(reason) => variables.mistake(format!("--kafka {name} is refused: {reason}")),
        Given::OutOfBounds(low, high, reason) => {
            variables.mistake(format!("--kafka {name} has to be a number from {low} to {high}: {reason}"));
        }
        Given::Unknown { nearest } => {
            let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
            variables.mistake(format!("--kafka {} is no property of librdkafka{hint}", name_part(name)));
        }
    }
}

/// The text up to what cannot be in a property's name, as what follows can be a secret.
fn name_part(pair: &str) -> &str {
    let end = pair.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'));
    end.and_then(|end| pair.get(..end)).unwrap_or(pair)
}

/// librdkafka passes over what it cannot read here, and then finds no broker at all.
fn check_servers(variables: &mut Variables, servers: &str, protocol: &str) {
    for server in servers.split(',').map(str::trim) {
        if let Some(wrong) = wrong_server(server, protocol) {
            // An address can hold a user and a password by mistake.
            let shown = server.rsplit('@').next().unwrap_or_default();
            variables
                .mistake(format!("KAFKA_BOOTSTRAP_SERVERS has `{shown}`, which {wrong}: give host:port, host:port, …"));
        }
    }
}

fn wrong_server(server: &str, protocol: &str) -> Option<String> {
    let address = match server.split_once("://") {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case(protocol) => address,
        Some(_) => return Some(format!("begins with another protocol than {}", protocol.to_ascii_uppercase())),
        None => server,
    };
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Some("is empty".to_owned());
    }
    if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@')) {
        return Some("is no host and port".to_owned());
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    (!port.is_none_or(is_port)).then(|| "has no port from 1 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(pairs: &[(&str, &str)], extra: &[&str]) -> String {
        let mut variables = Variables::of(pairs);
        let extra: Vec<String> = extra.iter().map(|pair| (*pair).to_owned()).collect();
        KafkaConfig::from_variables(&mut variables, &extra);
        variables.finish().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn auto_commit_is_refused_with_the_reason() {
        assert!(mistakes(&[("KAFKA_ENABLE_AUTO_COMMIT", "true")], &[]).contains("lose them"));
    }

    #[test]
    fn servers_that_librdkafka_would_pass_over_are_named() {
        for servers in ["kafka", "kafka:9092", "a:1, b:2", "PLAINTEXT://a:1", "[::1]:9092", "[::1]", "10.0.0.1:9092"] {
            assert_eq!(mistakes(&[("KAFKA_BOOTSTRAP_SERVERS", servers)], &[]), "", "{servers}");
        }
        for servers in
            ["http://a:1", "a:1,", "a:http", "a:0", "a:99999", "SASL_SSL://a:1", "::1", "a b:1", ":9092", ","]
        {
            let said = mistakes(&[("KAFKA_BOOTSTRAP_SERVERS", servers)], &[]);
            assert!(said.contains("KAFKA_BOOTSTRAP_SERVERS"), "{servers}: {said}");
        }
        let said = mistakes(&[("KAFKA_BOOTSTRAP_SERVERS", "kafka://evp:hunter2@a:1")], &[]);
        assert!(said.contains("KAFKA_BOOTSTRAP_SERVERS") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_property_that_evp_rests_on_is_refused_by_name_and_one_as_evp_sets_it_is_taken() {
        let given =
            ["acks=1", "group.id=g", "enable.idempotence=true", "linger.ms=5", "linger=5", "max.poll.interval.ms=999"];
        let said = mistakes(&[], &given);
        assert!(said.contains("--kafka acks") && said.contains("KAFKA_GROUP_ID"), "{said}");
        assert!(said.contains("`linger.ms`?") && said.contains("60000"), "{said}");
        assert_eq!(said.lines().count(), 4, "{said}");
    }

    #[test]
    fn several_topics_are_a_list_and_their_consumers_have_names_of_their_own() {
        let mut variables = Variables::of(&[("KAFKA_TOPIC", "b, a,,b")]);
        let config = KafkaConfig::from_variables(&mut variables, &["group.instance.id=one".to_owned()]);
        assert_eq!(config.topics(), ["a", "b"]);
        let of_a = config.of_topic("a");
        assert_eq!((of_a.topic.as_str(), of_a.property(&["group.instance.id"]).unwrap().expose()), ("a", "one-a"));
        assert!(mistakes(&[("KAFKA_TOPIC", " , ")], &[]).contains("KAFKA_TOPIC"));
    }

    #[test]
    fn what_follows_a_name_in_a_malformed_pair_is_not_shown() {
        let said = mistakes(&[], &["sasl.password:hunter2", "acks"]);
        assert!(said.contains("`sasl.password`") && said.contains("`acks`") && !said.contains("hunter2"), "{said}");
    }
}
