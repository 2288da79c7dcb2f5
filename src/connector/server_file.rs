//! `application.properties` of Debezium Server: a connector's properties under names of its own.

use std::collections::BTreeMap;

const SOURCE: &str = "debezium.source.";
const SINK_TYPE: &str = "debezium.sink.type";
const KAFKA_PRODUCER: &str = "debezium.sink.kafka.producer.";
const FORMAT: &str = "debezium.format.";

/// Whether this is such a file.
pub(super) fn is_of_server(properties: &BTreeMap<String, String>) -> bool {
    properties.contains_key("debezium.source.connector.class")
}

/// The properties as they are posted to Kafka Connect. What is for the server alone keeps its name.
pub(super) fn posted(properties: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if let Some(sink) = properties.get(SINK_TYPE).filter(|sink| *sink != "kafka") {
        return Err(format!("has the sink {sink}, and evp writes to Kafka: set {SINK_TYPE}=kafka"));
    }
    let mut posted = BTreeMap::new();
    for (name, value) in properties {
        if let Some(format) = name.strip_prefix(FORMAT) {
            posted.extend(of_format(format, value)?);
            continue;
        }
        let (source, producer) = (name.strip_prefix(SOURCE), name.strip_prefix(KAFKA_PRODUCER));
        let transform = name.strip_prefix("debezium.").filter(|rest| is_of_transforms(rest));
        let name = match (source.or(transform), producer) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => format!("producer.override.{name}"),
            (None, None) => name,
        };
        posted.insert(name, value);
    }
    Ok(posted)
}

fn is_of_transforms(name: &str) -> bool {
    let of = name.split_once('.').map_or(name, |(of, _)| of);
    matches!(of, "transforms" | "predicates")
}

/// `value`, `key`, `value.…`, `key.…` and, of both, `schemas.enable`.
fn of_format(name: &str, value: String) -> Result<Vec<(String, String)>, String> {
    Ok(match name.split_once('.') {
        None if matches!(name, "value" | "key") => vec![(format!("{name}.converter"), converter(name, &value)?)],
        Some((of @ ("value" | "key"), rest)) => vec![(format!("{of}.converter.{rest}"), value)],
        _ if name == "schemas.enable" => {
            ["value", "key"].map(|of| (format!("{of}.converter.{name}"), value.clone())).into()
        }
        _ => vec![(format!("{FORMAT}{name}"), value)],
    })
}

fn converter(of: &str, format: &str) -> Result<String, String> {
    let class = match format.trim().to_ascii_lowercase().as_str() {
        "json" => "org.apache.kafka.connect.json.JsonConverter",
        "simplestring" => "org.apache.kafka.connect.storage.StringConverter",
        "binary" => "io.debezium.converters.BinaryDataConverter",
        _ => return Err(format!("has {FORMAT}{of}={format}, and evp writes json, simplestring and binary")),
    };
    Ok(class.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        posted(lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn names_of_the_server_become_those_of_kafka_connect() {
        let posted = of(&[
            ("debezium.source.connector.class", "P"),
            ("debezium.source.slot.name", "s"),
            ("debezium.transforms", "outbox"),
            ("debezium.transforms.outbox.type", "T"),
            ("debezium.predicates", "p"),
            ("debezium.format.value", "json"),
            ("debezium.format.key", "simplestring"),
            ("debezium.format.schemas.enable", "false"),
            ("debezium.sink.type", "kafka"),
            ("debezium.sink.kafka.producer.linger.ms", "5"),
            ("quarkus.log.level", "INFO"),
        ])
        .unwrap();
        let posted: Vec<(&str, &str)> = posted.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            posted,
            [
                ("connector.class", "P"),
                ("debezium.sink.type", "kafka"),
                ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
                ("key.converter.schemas.enable", "false"),
                ("predicates", "p"),
                ("producer.override.linger.ms", "5"),
                ("quarkus.log.level", "INFO"),
                ("slot.name", "s"),
                ("transforms", "outbox"),
                ("transforms.outbox.type", "T"),
                ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
                ("value.converter.schemas.enable", "false"),
            ]
        );
    }

    #[test]
    fn another_sink_or_format_is_refused_by_its_name() {
        for (name, value) in [("debezium.sink.type", "pubsub"), ("debezium.format.value", "avro")] {
            let told = of(&[("debezium.source.connector.class", "P"), (name, value)]).unwrap_err();
            assert!(told.contains(value) && told.contains("evp writes"), "{told}");
        }
    }
}
