//! Every property of Debezium and Kafka Connect, and what evp does with it.

mod reasons;
mod table;

use PropertyStatus::{Refused, Supported, Unknown, WithoutEffect};

/// What evp does with a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyStatus {
    /// It has the effect that it has in Debezium.
    Supported,
    /// It is accepted and changes nothing; the reason.
    WithoutEffect(&'static str),
    /// evp does not have it; the reason.
    Refused(&'static str),
    /// No such property.
    Unknown {
        /// The closest name that exists.
        nearest: Option<&'static str>,
    },
}

/// How the value of a known property is judged.
pub(super) enum Rule {
    /// Any value; it is validated where it is read.
    Any,
    /// Any value, none has an effect; the reason.
    Idle(&'static str),
    /// Only these values; others get the reason.
    Only(&'static [&'static str], &'static str),
    /// Only these values, none of which has an effect; the reason of that.
    Either(&'static [&'static str], &'static str),
    /// The default is accepted without effect, anything else is refused with the reason.
    Default(&'static [&'static str], &'static str),
}

use Rule::{Any, Default, Either, Idle, Only};
use reasons::{CONNECT, CONVERTER, DRIVER, OTHER, SERVER, SINK, WORKER};
pub(super) use table::TABLE;

/// Families of names; what the table has by its whole name is judged there.
pub(super) const FAMILIES: &[(&str, Rule)] = &[
    ("_aiven.", Idle("it is for Aiven's Kafka Connect")),
    ("admin.", Idle(WORKER)),
    ("auto.register.schemas", Idle(CONVERTER)),
    ("binlog.", Idle(OTHER)),
    ("column.mask.", Any),
    ("column.truncate.to.", Any),
    ("config.providers", Idle(WORKER)),
    ("config.storage.", Idle(WORKER)),
    ("confluent.", Idle("it is for Confluent's Kafka Connect")),
    ("consumer.", Idle(WORKER)),
    ("database.history", Idle(OTHER)),
    ("database.preparedStatement", Idle(DRIVER)),
    ("database.ssl.", Idle(OTHER)),
    ("debezium.", Idle(SERVER)),
    ("driver.options", refused("give database.initial.statements instead")),
    (
        "driver.ssl",
        refused("give database.sslmode, database.sslrootcert, database.sslcert and database.sslkey instead"),
    ),
    ("driver.", Idle(DRIVER)),
    ("errors.deadletterqueue.", Idle(SINK)),
    ("group.", Idle(WORKER)),
    ("gtid.", Idle(OTHER)),
    ("header.converter.", Idle(CONVERTER)),
    ("internal.", Idle(CONNECT)),
    ("key.converter.", Idle(CONVERTER)),
    ("log.mining.", Idle(OTHER)),
    ("max.poll.", Idle(WORKER)),
    ("mongodb.", Idle(OTHER)),
    ("offset.storage", Idle(WORKER)),
    ("openlineage.integration.", Idle("openlineage.integration.enabled is refused")),
    ("producer.", Idle(WORKER)),
    ("quarkus.", Idle(SERVER)),
    ("rest.", Idle(WORKER)),
    ("sasl.", Idle(WORKER)),
    ("schema.history", Idle(OTHER)),
    ("security.", Idle(WORKER)),
    ("signal.consumer.", Idle(WORKER)),
    ("snapshot.select.statement.overrides.", Any),
    ("ssl.", Idle(WORKER)),
    ("status.storage.", Idle(WORKER)),
    ("topic.creation.", Any),
    ("value.converter.", Idle(CONVERTER)),
    ("worker.", Idle(WORKER)),
];

/// Names that older Debeziums had, and the ones that they have now.
pub(super) const OLD_NAMES: &[(&str, &str)] = &[
    ("column.blacklist", "column.exclude.list"),
    ("column.whitelist", "column.include.list"),
    ("heartbeat.topics.prefix", "topic.heartbeat.prefix"),
    ("schema.blacklist", "schema.exclude.list"),
    ("schema.whitelist", "schema.include.list"),
    ("slot.drop_on_stop", "slot.drop.on.stop"),
    ("table.blacklist", "table.exclude.list"),
    ("table.whitelist", "table.include.list"),
    ("toasted.value.placeholder", "unavailable.value.placeholder"),
];

/// A property that is refused whatever its value.
const fn refused(reason: &'static str) -> Rule {
    Only(&[], reason)
}

/// What evp does with `name=value`.
pub fn property_status(name: &str, value: &str) -> PropertyStatus {
    let Some(rule) = rule(name) else {
        return Unknown { nearest: nearest(name, TABLE.iter().map(|(known, _)| *known)) };
    };
    let is_one_of = |values: &[&str]| values.iter().any(|known| known.eq_ignore_ascii_case(value.trim()));
    match rule {
        Any => Supported,
        Idle(reason) => WithoutEffect(reason),
        Only(..) | Default(..) | Either(..) if value.trim().is_empty() => {
            WithoutEffect("it is empty, as if it were absent")
        }
        Only(values, _) if is_one_of(values) => Supported,
        Default(values, _) if is_one_of(values) => WithoutEffect("it is as evp does it anyway"),
        Either(values, reason) if is_one_of(values) => WithoutEffect(reason),
        Either(..) => Refused("it has another word than Debezium knows"),
        Only(_, reason) | Default(_, reason) => Refused(reason),
    }
}

fn rule(name: &str) -> Option<&'static Rule> {
    let exact = TABLE.binary_search_by_key(&name, |(known, _)| known).ok().and_then(|at| TABLE.get(at));
    let family = || FAMILIES.iter().find(|(beginning, _)| name.starts_with(beginning));
    exact.or_else(family).map(|(_, rule)| rule)
}

/// Today's name of a property.
pub(super) fn todays_name(name: &str) -> &str {
    OLD_NAMES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new)
}

/// Whether a property's values are words of a list, so that a wrong one may be shown.
pub(super) fn has_listed_values(name: &str) -> bool {
    TABLE.iter().any(|(known, rule)| match rule {
        Only(values, _) | Default(values, _) | Either(values, _) => *known == name && !values.is_empty(),
        Any | Idle(_) => false,
    })
}

/// The one of these names that a misspelt one is closest to, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::reasons::SNAPSHOT_MODE;
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(OLD_NAMES.iter().all(|(old, new)| rule(old).is_none() && rule(new).is_some()));
    }

    #[test]
    fn old_and_new_names_of_a_mode_are_the_same() {
        assert_eq!(property_status("snapshot.mode", "never"), Supported);
        assert_eq!(property_status("snapshot.mode", "no_data"), Supported);
        assert_eq!(property_status("snapshot.mode", "custom"), Refused(SNAPSHOT_MODE));
    }

    #[test]
    fn what_is_meant_for_others_is_accepted_with_a_reason_and_what_is_misspelt_is_not() {
        for name in [
            "bootstrap.servers",
            "producer.override.max.block.ms",
            "database.history.kafka.topic",
            "topics.regex",
            "driver.socketTimeout",
            "database.prepareThreshold",
            "schema.include",
        ] {
            assert!(matches!(property_status(name, "x"), WithoutEffect(_)), "{name}");
        }
        let factory = |name| property_status("database.sslfactory", name);
        assert!(matches!(factory("org.postgresql.ssl.NonValidatingFactory"), WithoutEffect(_)));
        assert!(matches!(factory("com.example.Factory"), Refused(_)));
        assert!(matches!(property_status("driver.sslmode", "require"), Refused(_)));
        assert_eq!(property_status("column.mask.with.5.chars", "a.b.c"), Supported);
        assert_eq!(property_status("table.includelist", "x"), Unknown { nearest: Some("table.include.list") });
    }

    /// As Debezium 3.6.1 itself lists them when it is asked to validate a file.
    #[test]
    fn every_property_of_debezium_is_known() {
        let names = include_str!("../../tests/connectors/debezium-3.6-properties.txt").lines();
        let unknown: Vec<&str> = names.filter(|name| rule(todays_name(name)).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
