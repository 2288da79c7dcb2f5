//! Whether evp's properties and those of a connector make the same records out of the same rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::connector::{PropertyStatus, property_status};
use crate::error::{Error, Result};

/// What slot and topics are known by: two that differ are two pipelines.
const IDENTITY: [(&str, &str); 4] =
    [("topic.prefix", ""), ("slot.name", "debezium"), ("publication.name", "dbz_publication"), ("database.dbname", "")];

/// Beginnings of properties that have an effect, but none on a record of the stream.
const OPERATIONAL: [&str; 11] = [
    "connector.class",
    "database.",
    "heartbeat.",
    "plugin.name",
    "publication.",
    "slot.",
    "snapshot.",
    "status.update.interval.ms",
    "topic.creation.",
    "topic.heartbeat.",
    "topic.prefix",
];

type Properties = BTreeMap<String, String>;

/// Refuses properties that name another slot, publication, database or prefix.
pub(super) fn check_identity(ours: &Properties, theirs: &Properties, connector: &str) -> Result<()> {
    let value = |properties: &Properties, (name, default): (&str, &str)| {
        properties.get(name).map_or(default, |value| value.trim()).to_owned()
    };
    let differs = |property: &(&str, &str)| value(ours, *property) != value(theirs, *property);
    let differing: Vec<String> = IDENTITY
        .into_iter()
        .filter(differs)
        .map(|property| {
            let (name, _) = property;
            format!("{name} is `{}` there and `{}` here", value(theirs, property), value(ours, property))
        })
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "connector {connector} is another pipeline: {}; give its file with --connector, or its name with --name",
        differing.join(", ")
    )))
}

/// The names of properties that differ and by which records would.
pub(super) fn shaping_differences(ours: &Properties, theirs: &Properties) -> Vec<String> {
    let has_effect = |name: &str| {
        let given = [ours, theirs].into_iter().filter_map(|properties| properties.get(name));
        given.into_iter().any(|value| !matches!(property_status(name, value), PropertyStatus::WithoutEffect(_)))
    };
    let is_operational = |name: &str| OPERATIONAL.iter().any(|beginning| name.starts_with(beginning));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let names = names.into_iter().filter(|name| has_effect(name) && !is_operational(name));
    names.filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn another_slot_is_another_pipeline_and_a_default_is_what_is_absent() {
        let ours = properties(&[("topic.prefix", "shop"), ("slot.name", "debezium"), ("database.dbname", "shop")]);
        let theirs = properties(&[("topic.prefix", "shop"), ("database.dbname", "shop")]);
        check_identity(&ours, &theirs, "c").unwrap();
        let other = properties(&[("topic.prefix", "shop"), ("slot.name", "other"), ("database.dbname", "shop")]);
        let error = check_identity(&ours, &other, "c").unwrap_err().to_string();
        assert!(error.contains("slot.name is `other` there and `debezium` here"), "{error}");
    }

    #[test]
    fn what_shapes_records_is_named_and_what_does_not_is_passed_over() {
        let ours = properties(&[
            ("transforms", "route"),
            ("heartbeat.interval.ms", "5"),
            ("tombstones.on.delete", "false"),
            ("skip.messages.without.change", "true"),
        ]);
        let theirs = properties(&[
            ("heartbeat.interval.ms", "9"),
            ("tombstones.on.delete", "false"),
            ("tasks.max", "1"),
            ("some.property.of.tomorrow", "x"),
        ]);
        let differing = ["skip.messages.without.change", "some.property.of.tomorrow", "transforms"];
        assert_eq!(shaping_differences(&ours, &theirs), differing);
    }
}
