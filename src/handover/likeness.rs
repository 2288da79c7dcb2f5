//! Whether evp's properties and those of a connector make the same records out of the same rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// What slot and topics are known by: two that differ are two pipelines.
const IDENTITY: [(&str, &str); 4] =
    [("topic.prefix", ""), ("slot.name", "debezium"), ("publication.name", "dbz_publication"), ("database.dbname", "")];

/// Properties, or beginnings of them, that decide topics, keys and bytes.
const SHAPING: [&str; 24] = [
    "binary.handling.mode",
    "column.",
    "decimal.handling.mode",
    "hstore.handling.mode",
    "include.unknown.datatypes",
    "interval.handling.mode",
    "key.converter",
    "message.",
    "money.fraction.digits",
    "predicates",
    "provide.transaction.metadata",
    "schema.exclude.list",
    "schema.include.list",
    "schema.name.adjustment.mode",
    "field.name.adjustment.mode",
    "skipped.operations",
    "table.exclude.list",
    "table.include.list",
    "time.precision.mode",
    "tombstones.on.delete",
    "topic.delimiter",
    "transforms",
    "unavailable.value.placeholder",
    "value.converter",
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
    let is_shaping = |name: &&String| SHAPING.iter().any(|shaping| name.starts_with(shaping));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(is_shaping).collect();
    names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
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
        let ours =
            properties(&[("transforms", "route"), ("heartbeat.interval.ms", "5"), ("tombstones.on.delete", "false")]);
        let theirs = properties(&[("heartbeat.interval.ms", "9"), ("tombstones.on.delete", "false")]);
        assert_eq!(shaping_differences(&ours, &theirs), ["transforms"]);
    }
}
