//! The forms in which people keep a connector: the JSON that is posted, its bare map, a Kubernetes resource, a properties file
//! of Kafka Connect or of Debezium Server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::references::java_properties;
use super::server_file;

/// What a file says, before any property is judged.
pub(super) struct Form {
    /// The connector's name in Kafka Connect, if the file has one.
    pub(super) name: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
}

/// Reads a file's text; the error goes on behind the file's name.
pub(super) fn read(text: &str) -> Result<Form, String> {
    // Editors on Windows begin a file so.
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    match first {
        Some(line) if line.split_once(['=', ':']).is_some_and(|(name, _)| is_property_name(name.trim())) => {
            of_lines(text)
        }
        _ => {
            let value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
            of_value(&value)
        }
    }
}

fn is_property_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A properties file, as `connect-standalone` or Debezium Server takes it.
fn of_lines(text: &str) -> Result<Form, String> {
    let properties: BTreeMap<String, String> = java_properties(text).into_iter().collect();
    if server_file::is_of_server(&properties) {
        return Ok(Form { name: None, properties: server_file::posted(properties)? });
    }
    if properties.contains_key("apiVersion") || !properties.contains_key("connector.class") {
        return Err(
            "is neither JSON nor a properties file with `connector.class`: give the connector's `config` as JSON"
                .to_owned(),
        );
    }
    Ok(Form { name: properties.get("name").cloned(), properties })
}

fn of_value(value: &Value) -> Result<Form, String> {
    let text_at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    // A `KafkaConnector` of Strimzi has class and tasks beside the rest.
    let (config, class, name) = match value.pointer("/spec/config") {
        Some(config) => (config, text_at("/spec/class"), text_at("/metadata/name")),
        None => (value.get("config").unwrap_or(value), None, text_at("/name")),
    };
    let map = config.as_object().ok_or("holds no map of properties")?;
    let mut properties = BTreeMap::new();
    for (name, value) in map {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            // For Kafka Connect, too, it is as if the property were absent.
            Value::Null => continue,
            _ => return Err(format!("gives `{name}` a value that is neither text, number nor boolean")),
        };
        properties.insert(name.clone(), text);
    }
    if let Some(class) = class {
        properties.entry("connector.class".to_owned()).or_insert(class);
    }
    Ok(Form { name, properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Form {
        read(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    #[test]
    fn one_connector_reads_the_same_in_every_form() {
        for text in [
            r#"{"name": "c", "config": {"connector.class": "P", "database.port": 5432, "slot.failover": true, "x": null}}"#,
            "\u{feff}{\"name\": \"c\", \"config\": {\"connector.class\": \"P\", \"database.port\": \"5432\", \"slot.failover\": \"true\"}}",
            r#"{"kind": "KafkaConnector", "metadata": {"name": "c", "labels": {}},
                "spec": {"class": "P", "tasksMax": 1, "config": {"database.port": 5432, "slot.failover": true}}}"#,
            "# standalone\n\nname=c\nconnector.class = P\ndatabase.port: \\\n   5432\nslot.failover=true\n",
        ] {
            let mut form = read_text(text);
            form.properties.remove("name");
            let properties: Vec<(&str, &str)> =
                form.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let wanted = [("connector.class", "P"), ("database.port", "5432"), ("slot.failover", "true")];
            assert_eq!((form.name.as_deref(), properties.as_slice()), (Some("c"), &wanted[..]), "{text}");
        }
        assert_eq!(read_text(r#"{"connector.class": "P", "name": "c"}"#).name.as_deref(), Some("c"));
    }

    #[test]
    fn a_file_of_debezium_server_has_the_connectors_properties() {
        let form = read_text("debezium.source.connector.class=P\ndebezium.source.slot.name=s\n");
        let properties: Vec<(&str, &str)> =
            form.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(properties, [("connector.class", "P"), ("slot.name", "s")]);
    }

    #[test]
    fn what_is_none_of_them_is_told() {
        for (text, told) in [
            ("", "not JSON"),
            ("[1]", "no map"),
            ("{\"a\": 1,}", "not JSON"),
            ("{\"a\": {\"b\": 1}}", "`a`"),
            ("apiVersion: kafka.strimzi.io/v1beta2\nspec:\n  config:\n    connector.class: P\n", "as JSON"),
            ("a=b\n", "connector.class"),
        ] {
            let reason = read(text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert!(reason.contains(told), "{text}: {reason}");
        }
    }
}
