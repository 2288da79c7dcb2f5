//! The table of every Debezium and Kafka Connect property and what evp does with it.

use PropertyStatus::{Refused, Supported, Unknown, WithoutEffect};

/// What evp does with a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyStatus {
    /// It has the effect that it has in Debezium.
    Supported,
    /// It means something to Kafka Connect or the JVM only.
    WithoutEffect,
    /// evp does not have it; the reason.
    Refused(&'static str),
    /// No such property.
    Unknown {
        /// The closest name that exists.
        nearest: Option<&'static str>,
    },
}

/// How the value of a known property is judged.
enum Rule {
    /// Any value; it is validated where it is read.
    Any,
    /// Any value, none has an effect.
    Idle,
    /// Only these values; others get the reason.
    Only(&'static [&'static str], &'static str),
    /// The default is accepted without effect, anything else is refused with the reason.
    Default(&'static [&'static str], &'static str),
}

use Rule::{Any, Default, Idle, Only};

const LATER: &str = "evp does not have it yet";
const JSON_ONLY: &str = "evp writes JSON only: use org.apache.kafka.connect.json.JsonConverter";
const NO_SNAPSHOT: &str = "evp takes no snapshots yet: use no_data (never)";

/// Sorted by name.
const TABLE: &[(&str, Rule)] = &[
    (
        "binary.handling.mode",
        Only(&["bytes", "base64", "base64-url-safe", "hex"], "it is bytes, base64, base64-url-safe or hex"),
    ),
    ("column.exclude.list", refused("columns cannot be left out yet; use the publication's column list")),
    ("column.include.list", refused("columns cannot be left out yet; use the publication's column list")),
    ("config.action.reload", Idle),
    (
        "connector.class",
        Only(
            &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector"],
            "evp is the PostgreSQL connector",
        ),
    ),
    ("create.slot.command.timeout", Idle),
    ("custom.metric.tags", Idle),
    ("database.dbname", Any),
    ("database.hostname", Any),
    ("database.initial.statements", refused(LATER)),
    ("database.password", Any),
    ("database.port", Any),
    ("database.query.timeout.ms", Idle),
    ("database.server.name", Any),
    ("database.sslcert", Any),
    ("database.sslfactory", refused("it names a Java class")),
    ("database.sslkey", Any),
    ("database.sslmode", Any),
    ("database.sslpassword", refused("give an unencrypted key file")),
    ("database.sslrootcert", Any),
    ("database.tcpKeepAlive", Idle),
    ("database.user", Any),
    ("decimal.handling.mode", Only(&["precise", "double", "string"], "it is precise, double or string")),
    ("errors.log.enable", Idle),
    ("errors.log.include.messages", Idle),
    ("errors.max.retries", Idle),
    ("errors.retry.delay.max.ms", Idle),
    ("errors.retry.timeout", Idle),
    ("errors.tolerance", Only(&["none"], "evp never skips a row")),
    ("event.processing.failure.handling.mode", Only(&["fail"], "evp never skips a row")),
    ("exactly.once.support", Idle),
    ("extended.headers.enabled", Any),
    ("field.name.adjustment.mode", Default(&["none"], LATER)),
    ("flush.lsn.source", Only(&["true"], "the slot would never advance")),
    ("header.converter", Only(&["org.apache.kafka.connect.storage.SimpleHeaderConverter"], LATER)),
    ("heartbeat.action.query", refused("evp needs none: the slot advances on keepalives")),
    ("heartbeat.interval.ms", Any),
    ("hstore.handling.mode", Only(&["json", "map"], "it is json or map")),
    ("include.schema.changes", Idle),
    ("include.unknown.datatypes", Any),
    ("incremental.snapshot.chunk.size", Idle),
    ("interval.handling.mode", Only(&["numeric", "string"], "it is numeric or string")),
    ("key.converter", Only(&["org.apache.kafka.connect.json.JsonConverter"], JSON_ONLY)),
    ("key.converter.schemas.enable", Any),
    ("lsn.flush.mode", Only(&["connector", "connector_and_driver"], "the slot would never advance")),
    ("max.batch.size", Idle),
    ("max.queue.size", Idle),
    ("max.queue.size.in.bytes", Idle),
    ("message.key.columns", Any),
    ("message.prefix.exclude.list", Only(&[".*"], "logical messages are not written yet, none of them: use .*")),
    ("message.prefix.include.list", refused("logical messages are not written yet")),
    ("money.fraction.digits", Any),
    ("name", Idle),
    ("offset.flush.interval.ms", Idle),
    ("plugin.name", Only(&["pgoutput"], "evp reads pgoutput only")),
    ("poll.interval.ms", Idle),
    ("predicates", Any),
    ("provide.transaction.metadata", Default(&["false"], LATER)),
    ("publication.autocreate.mode", Idle),
    ("publication.name", Any),
    ("publish.via.partition.root", Idle),
    ("replica.identity.autoset.values", refused("evp alters no tables; use ALTER TABLE … REPLICA IDENTITY")),
    ("retriable.restart.connector.wait.ms", Idle),
    ("schema.exclude.list", refused("use table.exclude.list")),
    ("schema.history.internal.kafka.bootstrap.servers", Idle),
    ("schema.history.internal.kafka.topic", Idle),
    ("schema.include.list", refused("use table.include.list")),
    ("schema.name.adjustment.mode", Default(&["none"], LATER)),
    ("schema.refresh.mode", Idle),
    ("signal.data.collection", refused("evp has no signals yet")),
    ("skip.messages.without.change", Default(&["false"], LATER)),
    (
        "skipped.operations",
        Only(
            &["t", "c,t", "u,t", "d,t", "c,u,t", "c,d,t", "u,d,t", "t,c", "t,u", "t,d"],
            "truncates are not written yet, so that `t` has to be in the list",
        ),
    ),
    ("slot.drop.on.stop", Only(&["false"], "dropping the slot loses every change until the next start")),
    ("slot.failover", Any),
    ("slot.max.retries", Any),
    ("slot.name", Any),
    ("slot.retry.delay.ms", Any),
    ("slot.stream.params", refused(LATER)),
    ("snapshot.delay.ms", Idle),
    ("snapshot.fetch.size", Idle),
    ("snapshot.isolation.mode", Idle),
    ("snapshot.locking.mode", Idle),
    ("snapshot.max.threads", Idle),
    ("snapshot.mode", Only(&["no_data", "never"], NO_SNAPSHOT)),
    ("status.update.interval.ms", Any),
    ("streaming.delay.ms", Idle),
    ("table.exclude.list", Any),
    ("table.include.list", Any),
    ("tasks.max", Idle),
    (
        "time.precision.mode",
        Only(
            &["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"],
            "it is adaptive, adaptive_time_microseconds, connect, isostring, microseconds or nanoseconds",
        ),
    ),
    ("tombstones.on.delete", Any),
    ("topic.delimiter", Default(&["."], LATER)),
    ("topic.heartbeat.name", Any),
    ("topic.heartbeat.prefix", Any),
    ("topic.naming.strategy", Default(&["io.debezium.schema.SchemaTopicNamingStrategy"], LATER)),
    ("topic.prefix", Any),
    ("transforms", Any),
    ("unavailable.value.placeholder", Any),
    ("value.converter", Only(&["org.apache.kafka.connect.json.JsonConverter"], JSON_ONLY)),
    ("value.converter.schemas.enable", Any),
    ("xmin.fetch.interval.ms", Default(&["0"], LATER)),
];

/// A property that is refused whatever its value.
const fn refused(reason: &'static str) -> Rule {
    Only(&[], reason)
}

/// What evp does with `name=value`.
pub fn property_status(name: &str, value: &str) -> PropertyStatus {
    // Judged where they are read, each transform as a whole.
    if ["transforms.", "predicates."].iter().any(|prefix| name.starts_with(prefix)) {
        return Supported;
    }
    // Settings of Connect's own clients and topics; `evp init` and `--kafka` are their counterparts.
    if ["producer.override.", "topic.creation.", "admin.override."].iter().any(|prefix| name.starts_with(prefix)) {
        return WithoutEffect;
    }
    let Ok(at) = TABLE.binary_search_by_key(&name, |(known, _)| known) else {
        return Unknown { nearest: nearest(name) };
    };
    let Some((_, rule)) = TABLE.get(at) else { return Unknown { nearest: None } };
    let is_one_of = |values: &[&str]| values.iter().any(|known| known.eq_ignore_ascii_case(value.trim()));
    match rule {
        Any => Supported,
        Idle => WithoutEffect,
        Only(values, _) if is_one_of(values) => Supported,
        Default(values, _) if is_one_of(values) => WithoutEffect,
        Only(_, reason) | Default(_, reason) => Refused(reason),
    }
}

/// Whether a property's values are words of a list, so that a wrong one may be shown.
pub(super) fn has_listed_values(name: &str) -> bool {
    TABLE.iter().any(|(known, rule)| match rule {
        Only(values, _) | Default(values, _) => *known == name && !values.is_empty(),
        Any | Idle => false,
    })
}

fn nearest(name: &str) -> Option<&'static str> {
    let scored = TABLE.iter().map(|(known, _)| (strsim::normalized_damerau_levenshtein(name, known), *known));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn old_and_new_names_of_a_mode_are_the_same() {
        assert_eq!(property_status("snapshot.mode", "never"), Supported);
        assert_eq!(property_status("snapshot.mode", "no_data"), Supported);
        assert_eq!(property_status("snapshot.mode", "initial"), Refused(NO_SNAPSHOT));
    }
}
