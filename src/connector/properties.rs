//! The table of every Debezium and Kafka Connect property and what evp does with it.

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
    /// The default is accepted without effect, anything else is refused with the reason.
    Default(&'static [&'static str], &'static str),
}

use Rule::{Any, Default, Idle, Only};

const LATER: &str = "evp does not have it yet";
const JAVA: &str = "it names a Java class";
const JSON_ONLY: &str = "evp writes JSON and texts only: use org.apache.kafka.connect.json.JsonConverter";
const SNAPSHOT_MODE: &str = "evp has always, initial, initial_only, when_needed and no_data";

const CONNECT: &str = "it is for Kafka Connect, which evp does without";
const TIMEOUT: &str = "evp has bounds of its own for each request";
const METRICS: &str = "evp's metrics have names of their own";
const RETRY: &str = "evp goes on by itself after an outage, for as long as it lasts";
const MEMORY: &str = "evp bounds its memory by itself";
const CONFIGURED: &str = "snapshot.mode=configuration_based is refused";
const ONE_READER: &str = "evp reads one table after the other, row by row, in one transaction";
const PRODUCER: &str = "evp writes each record once, in order and to all replicas, which rests on its own value";
const LOGGED: &str = "evp logs each failure once, and no values";
const INIT: &str = "`evp init` makes the topics";
const WORKER: &str = "it is for Kafka Connect's worker and its clients: KAFKA_BOOTSTRAP_SERVERS, KAFKA_… and --kafka NAME=VALUE are evp's";
const SINK: &str = "it is for a sink";
const OTHER: &str = "it is for the connector of another database";
const CONVERTER: &str = "it is for another converter than the one that evp has";

/// Sorted by name.
pub(super) const TABLE: &[(&str, Rule)] = &[
    ("access.control.allow.methods", Idle(WORKER)),
    ("access.control.allow.origin", Idle(WORKER)),
    ("acks", Idle(WORKER)),
    ("advanced.metrics.enable", Idle(METRICS)),
    ("auto.create", Idle(SINK)),
    ("auto.evolve", Idle(SINK)),
    ("auto.offset.reset", Idle(WORKER)),
    ("batch.size", Idle(WORKER)),
    ("behavior.on.malformed.documents", Idle(SINK)),
    ("behavior.on.null.values", Idle(SINK)),
    ("bigint.unsigned.handling.mode", Idle(OTHER)),
    (
        "binary.handling.mode",
        Only(&["bytes", "base64", "base64-url-safe", "hex"], "it is bytes, base64, base64-url-safe or hex"),
    ),
    ("bootstrap.servers", Idle(WORKER)),
    ("buffer.memory", Idle(WORKER)),
    ("capture.mode", Idle(OTHER)),
    ("client.id", Idle(WORKER)),
    ("collection", Idle(SINK)),
    ("collection.exclude.list", Idle(OTHER)),
    ("collection.include.list", Idle(OTHER)),
    ("column.exclude.list", Any),
    ("column.include.list", Any),
    ("column.propagate.source.type", Any),
    ("compression.type", Idle(WORKER)),
    ("config.action.reload", Idle(CONNECT)),
    ("connect.keep.alive", Idle(OTHER)),
    ("connect.keep.alive.interval.ms", Idle(OTHER)),
    ("connection.password", Idle(SINK)),
    ("connection.uri", Idle(SINK)),
    ("connection.url", Idle(SINK)),
    ("connection.user", Idle(SINK)),
    ("connection.username", Idle(SINK)),
    ("connection.validation.timeout.ms", Idle(TIMEOUT)),
    (
        "connector.class",
        Only(
            &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector"],
            "evp is the PostgreSQL connector",
        ),
    ),
    ("connector.client.config.override.policy", Idle(WORKER)),
    ("connector.plugin.version", Idle(CONNECT)),
    ("converters", refused(JAVA)),
    ("create.slot.command.timeout", Idle(TIMEOUT)),
    ("custom.metric.tags", Idle(METRICS)),
    ("custom.retriable.exception", Idle(RETRY)),
    ("custom.sanitize.pattern", Idle(LOGGED)),
    ("database.allowPublicKeyRetrieval", Idle(OTHER)),
    ("database.applicationIntent", Idle(OTHER)),
    ("database.blacklist", Idle(OTHER)),
    ("database.connection.adapter", Idle(OTHER)),
    ("database.connection.factory.class", refused(JAVA)),
    ("database.connectionTimeZone", Idle(OTHER)),
    ("database.dbname", Any),
    ("database.encrypt", Idle(OTHER)),
    ("database.exclude.list", Idle(OTHER)),
    ("database.hostname", Any),
    ("database.include.list", Idle(OTHER)),
    ("database.initial.statements", Any),
    ("database.instance", Idle(OTHER)),
    ("database.names", Idle(OTHER)),
    ("database.password", Any),
    ("database.pdb.name", Idle(OTHER)),
    ("database.port", Any),
    ("database.query.timeout.ms", Idle(TIMEOUT)),
    ("database.server.id", Idle(OTHER)),
    ("database.server.id.offset", Idle(OTHER)),
    ("database.server.name", Idle("an older name; topic.prefix is what counts where both are given")),
    ("database.serverTimezone", Idle(OTHER)),
    ("database.ssl.mode", Idle(OTHER)),
    ("database.sslcert", Any),
    ("database.sslfactory", refused(JAVA)),
    ("database.sslkey", Any),
    ("database.sslmode", Any),
    ("database.sslpassword", refused("give an unencrypted key file")),
    ("database.sslrootcert", Any),
    ("database.tcpKeepAlive", Idle(TIMEOUT)),
    ("database.trustServerCertificate", Idle(OTHER)),
    ("database.url", Idle(OTHER)),
    ("database.user", Any),
    ("database.whitelist", Idle(OTHER)),
    ("datatype.propagate.source.type", Any),
    ("decimal.handling.mode", Only(&["precise", "double", "string"], "it is precise, double or string")),
    ("delete.enabled", Idle(SINK)),
    ("delivery.timeout.ms", Idle(WORKER)),
    ("dialect.name", Idle(SINK)),
    ("enable.time.adjuster", Idle(OTHER)),
    ("errors.log.enable", Idle(LOGGED)),
    ("errors.log.include.messages", Idle(LOGGED)),
    ("errors.max.retries", Idle(RETRY)),
    ("errors.retry.delay.max.ms", Idle(RETRY)),
    ("errors.retry.timeout", Idle(RETRY)),
    ("errors.tolerance", Only(&["none"], "evp never skips a row")),
    (
        "event.converting.failure.handling.mode",
        Idle("a value that cannot be written ends capture, or becomes a dead letter with --refused-rows"),
    ),
    ("event.deserialization.failure.handling.mode", Idle(OTHER)),
    ("event.processing.failure.handling.mode", Only(&["fail"], "evp never skips a row")),
    ("exactly.once.support", Idle(CONNECT)),
    ("executor.shutdown.timeout.ms", Idle(CONNECT)),
    ("extended.headers.enabled", Any),
    ("field.exclude.list", Idle(OTHER)),
    ("field.name.adjustment.mode", Any),
    ("fields.whitelist", Idle(SINK)),
    ("flush.lsn.source", Only(&["true"], "the slot would never advance")),
    ("guardrail.collections.limit.action", Idle("the lists say what is streamed")),
    ("guardrail.collections.max", Idle("the lists say what is streamed")),
    (
        "header.converter",
        Only(
            &[
                "org.apache.kafka.connect.storage.SimpleHeaderConverter",
                "org.apache.kafka.connect.storage.StringConverter",
            ],
            LATER,
        ),
    ),
    ("header.converter.plugin.version", Idle(CONNECT)),
    ("heartbeat.action.query", Any),
    ("heartbeat.interval.ms", Any),
    ("hstore.handling.mode", Only(&["json", "map"], "it is json or map")),
    ("include.query", Idle(OTHER)),
    ("include.schema.changes", Idle("the connector writes no schema history")),
    ("include.schema.comments", Default(&["false"], LATER)),
    ("include.unknown.datatypes", Any),
    ("inconsistent.schema.handling.mode", Idle(OTHER)),
    (
        "incremental.snapshot.allow.schema.changes",
        Idle("each chunk is read, and written, with the columns that its table has at that moment"),
    ),
    ("incremental.snapshot.chunk.size", Any),
    (
        "incremental.snapshot.watermarking.strategy",
        Only(&["insert_insert", "insert_delete"], "it is insert_insert or insert_delete"),
    ),
    ("insert.mode", Idle(SINK)),
    ("interval.handling.mode", Only(&["numeric", "string"], "it is numeric or string")),
    (
        "key.converter",
        Only(
            &["org.apache.kafka.connect.json.JsonConverter", "org.apache.kafka.connect.storage.StringConverter"],
            JSON_ONLY,
        ),
    ),
    ("key.converter.decimal.format", Default(&["BASE64"], LATER)),
    ("key.converter.plugin.version", Idle(CONNECT)),
    ("key.converter.replace.null.with.default", Default(&["true"], LATER)),
    ("key.converter.schemas.cache.size", Idle(MEMORY)),
    ("key.converter.schemas.enable", Any),
    ("key.ignore", Idle(SINK)),
    ("key.serializer", Idle(WORKER)),
    ("legacy.snapshot.max.threads", Idle(ONE_READER)),
    ("linger.ms", Idle(WORKER)),
    ("listeners", Idle(WORKER)),
    ("lob.enabled", Idle(OTHER)),
    ("lsn.flush.mode", Only(&["connector", "connector_and_driver"], "the slot would never advance")),
    ("lsn.flush.timeout.action", Idle("evp tells the slot its position by a task of its own")),
    ("lsn.flush.timeout.ms", Idle("evp tells the slot its position by a task of its own")),
    ("max.batch.size", Idle(MEMORY)),
    ("max.in.flight.requests.per.connection", Idle(WORKER)),
    ("max.queue.size", Idle(MEMORY)),
    ("max.queue.size.in.bytes", Idle(MEMORY)),
    ("max.request.size", Idle(WORKER)),
    ("max.retries", Idle(SINK)),
    ("memory.management.schemas.class", Idle("tables are kept in memory, one plan each")),
    ("memory.management.tables.class", Idle("tables are kept in memory, one plan each")),
    ("message.key.columns", Any),
    ("message.prefix.exclude.list", Any),
    ("message.prefix.include.list", Any),
    ("min.row.count.to.stream.results", Idle(OTHER)),
    ("money.fraction.digits", Any),
    ("name", Idle(CONNECT)),
    ("notification.enabled.channels", Default(&["log", "jmx", "log,jmx", "jmx,log"], LATER)),
    ("notification.sink.topic.name", Idle("notifications to the sink are refused")),
    ("offset.flush.interval.ms", Idle(CONNECT)),
    ("offset.flush.timeout.ms", Idle(CONNECT)),
    ("offset.mismatch.strategy", Idle("evp refuses a position that the slot has passed")),
    ("offsets.storage.topic", Idle(CONNECT)),
    ("openlineage.integration.enabled", Default(&["false"], LATER)),
    ("pk.fields", Idle(SINK)),
    ("pk.mode", Idle(SINK)),
    ("plugin.discovery", Idle(WORKER)),
    ("plugin.name", Only(&["pgoutput"], "evp reads pgoutput only")),
    ("plugin.path", Idle(WORKER)),
    ("poll.interval.ms", Idle(CONNECT)),
    ("post.processors", refused(JAVA)),
    ("predicates", Any),
    ("primary.key.fields", Idle(SINK)),
    ("primary.key.mode", Idle(SINK)),
    ("producer.override.acks", Idle(PRODUCER)),
    ("producer.override.batch.size", Idle("evp makes batches as large as the topics take")),
    ("producer.override.buffer.memory", Idle(MEMORY)),
    ("producer.override.client.dns.lookup", Any),
    ("producer.override.client.id", Any),
    ("producer.override.compression.type", Any),
    ("producer.override.connections.max.idle.ms", Any),
    ("producer.override.delivery.timeout.ms", Idle(PRODUCER)),
    ("producer.override.enable.idempotence", Idle(PRODUCER)),
    ("producer.override.linger.ms", Any),
    ("producer.override.max.block.ms", Idle(RETRY)),
    ("producer.override.max.in.flight.requests.per.connection", Idle(PRODUCER)),
    ("producer.override.max.request.size", Idle("the topic's own limit decides what is too large")),
    ("producer.override.partitioner.class", Idle(PRODUCER)),
    ("producer.override.receive.buffer.bytes", Any),
    ("producer.override.reconnect.backoff.max.ms", Any),
    ("producer.override.reconnect.backoff.ms", Any),
    ("producer.override.request.timeout.ms", Any),
    ("producer.override.retries", Idle(PRODUCER)),
    ("producer.override.retry.backoff.max.ms", Any),
    ("producer.override.retry.backoff.ms", Any),
    ("producer.override.send.buffer.bytes", Any),
    ("producer.override.socket.connection.setup.timeout.ms", Any),
    ("producer.override.transactional.id", Idle(PRODUCER)),
    ("provide.transaction.metadata", Any),
    ("publication.autocreate.mode", Idle("`evp init` makes the publication, and capture changes none")),
    ("publication.name", Any),
    ("publish.via.partition.root", Idle("`evp init` makes the publication, and capture changes none")),
    ("query.fetch.size", Idle(TIMEOUT)),
    ("rac.nodes", Idle(OTHER)),
    ("read.only", Default(&["false"], "evp marks the windows of incremental snapshots in the signal table")),
    ("replica.identity.autoset.values", refused("evp alters no tables; use ALTER TABLE … REPLICA IDENTITY")),
    ("request.timeout.ms", Idle(WORKER)),
    ("response.http.headers.config", Idle(WORKER)),
    ("retriable.restart.connector.wait.ms", Idle(RETRY)),
    ("retries", Idle(WORKER)),
    ("retry.backoff.ms", Idle(SINK)),
    ("sanitize.field.names", Default(&["false"], LATER)),
    ("schema.evolution", Idle(SINK)),
    ("schema.exclude.list", Any),
    ("schema.ignore", Idle(SINK)),
    ("schema.include.list", Any),
    ("schema.name.adjustment.mode", Any),
    ("schema.refresh.mode", Idle("the stream tells every change of a table's columns")),
    ("signal.data.collection", Any),
    ("signal.enabled.channels", Any),
    ("signal.file", Idle("signal.enabled.channels=file is refused")),
    ("signal.kafka.bootstrap.servers", Any),
    ("signal.kafka.groupId", Any),
    ("signal.kafka.poll.timeout.ms", Idle(TIMEOUT)),
    ("signal.kafka.topic", Any),
    ("signal.poll.interval.ms", Any),
    ("skip.messages.without.change", Any),
    ("skipped.operations", Any),
    ("slot.drop.on.stop", Only(&["false"], "dropping the slot loses every change until the next start")),
    ("slot.failover", Any),
    ("slot.max.retries", Any),
    ("slot.name", Any),
    ("slot.retry.delay.ms", Any),
    ("slot.stream.params", Any),
    ("snapshot.delay.ms", Any),
    ("snapshot.fetch.size", Idle(ONE_READER)),
    ("snapshot.include.collection.list", Any),
    ("snapshot.isolation.mode", Idle("evp reads all tables as they are at one moment (REPEATABLE READ)")),
    ("snapshot.lock.timeout.ms", Any),
    (
        "snapshot.locking.mode",
        Idle("evp keeps tables from being rewritten until they are read (ACCESS SHARE), and from nothing else"),
    ),
    ("snapshot.locking.mode.custom.name", Idle("evp locks tables in one way")),
    ("snapshot.max.threads", Idle(ONE_READER)),
    ("snapshot.max.threads.multiplier", Idle(ONE_READER)),
    (
        "snapshot.mode",
        Only(
            &["always", "initial", "initial_only", "when_needed", "no_data", "never", "when_needed_no_data"],
            SNAPSHOT_MODE,
        ),
    ),
    ("snapshot.mode.configuration.based.snapshot.data", Idle(CONFIGURED)),
    ("snapshot.mode.configuration.based.snapshot.on.data.error", Idle(CONFIGURED)),
    ("snapshot.mode.configuration.based.snapshot.on.schema.error", Idle(CONFIGURED)),
    ("snapshot.mode.configuration.based.snapshot.schema", Idle(CONFIGURED)),
    ("snapshot.mode.configuration.based.start.stream", Idle(CONFIGURED)),
    ("snapshot.mode.custom.name", Idle("snapshot.mode=custom is refused")),
    ("snapshot.new.tables", Idle(OTHER)),
    ("snapshot.query.mode", Default(&["select_all"], JAVA)),
    ("snapshot.query.mode.custom.name", Idle("snapshot.query.mode=custom is refused")),
    ("snapshot.select.statement.overrides", Any),
    ("snapshot.tables.order.by.row.count", Default(&["disabled"], LATER)),
    ("sourceinfo.struct.maker", Default(&["io.debezium.connector.postgresql.PostgresSourceInfoStructMaker"], JAVA)),
    ("statistics.metrics.enabled", Idle(METRICS)),
    ("status.update.interval.ms", Any),
    ("streaming.delay.ms", Default(&["0"], LATER)),
    ("table.exclude.list", Any),
    ("table.ignore.builtin", Idle("only published tables are streamed")),
    ("table.include.list", Any),
    ("table.name.format", Idle(SINK)),
    ("tasks.max", Idle(CONNECT)),
    ("tasks.max.enforce", Idle(CONNECT)),
    (
        "time.precision.mode",
        Only(
            &["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"],
            "it is adaptive, adaptive_time_microseconds, connect, isostring, microseconds or nanoseconds",
        ),
    ),
    ("tombstones.on.delete", Any),
    ("topic.cache.size", Idle(MEMORY)),
    ("topic.creation.groups", Idle(INIT)),
    ("topic.delimiter", Any),
    ("topic.heartbeat.name", Any),
    ("topic.heartbeat.prefix", Any),
    (
        "topic.naming.strategy",
        Default(
            &["io.debezium.schema.SchemaTopicNamingStrategy", "io.debezium.schema.DefaultTopicNamingStrategy"],
            LATER,
        ),
    ),
    ("topic.prefix", Any),
    ("topic.tracking.enable", Idle(WORKER)),
    ("topic.transaction", Any),
    ("topics", Idle(SINK)),
    ("topics.regex", Idle(SINK)),
    ("transaction.boundary", Idle(CONNECT)),
    ("transaction.boundary.interval.ms", Idle(CONNECT)),
    (
        "transaction.metadata.factory",
        Default(&["io.debezium.pipeline.txmetadata.DefaultTransactionMetadataFactory"], JAVA),
    ),
    ("transforms", Any),
    ("type.name", Idle(SINK)),
    ("unavailable.value.placeholder", Any),
    (
        "value.converter",
        Only(
            &[
                "org.apache.kafka.connect.json.JsonConverter",
                "org.apache.kafka.connect.storage.StringConverter",
                "org.apache.kafka.connect.converters.ByteArrayConverter",
                "io.debezium.converters.BinaryDataConverter",
            ],
            JSON_ONLY,
        ),
    ),
    ("value.converter.decimal.format", Default(&["BASE64"], LATER)),
    ("value.converter.plugin.version", Idle(CONNECT)),
    ("value.converter.replace.null.with.default", Default(&["true"], LATER)),
    ("value.converter.schemas.cache.size", Idle(MEMORY)),
    ("value.converter.schemas.enable", Any),
    ("value.serializer", Idle(WORKER)),
    ("xmin.fetch.interval.ms", Default(&["0"], LATER)),
];

/// Families of names; what the table has by its whole name is judged there.
pub(super) const FAMILIES: &[(&str, Rule)] = &[
    ("admin.", Idle(WORKER)),
    ("binlog.", Idle(OTHER)),
    ("column.mask.", Any),
    ("column.truncate.to.", Any),
    ("config.providers", Idle(WORKER)),
    ("config.storage.", Idle(WORKER)),
    ("consumer.", Idle(WORKER)),
    ("database.history.", Idle(OTHER)),
    ("errors.deadletterqueue.", Idle(SINK)),
    ("group.", Idle(WORKER)),
    ("gtid.", Idle(OTHER)),
    ("header.converter.", Idle(CONVERTER)),
    ("internal.", Idle(CONNECT)),
    ("key.converter.", Idle(CONVERTER)),
    ("log.mining.", Idle(OTHER)),
    ("mongodb.", Idle(OTHER)),
    ("offset.storage", Idle(WORKER)),
    ("openlineage.integration.", Idle("openlineage.integration.enabled is refused")),
    ("producer.", Idle(WORKER)),
    ("rest.", Idle(WORKER)),
    ("sasl.", Idle(WORKER)),
    ("schema.history.internal", Idle(OTHER)),
    ("security.", Idle(WORKER)),
    ("signal.consumer.", Idle(WORKER)),
    ("snapshot.select.statement.overrides.", Any),
    ("ssl.", Idle(WORKER)),
    ("status.storage.", Idle(WORKER)),
    ("topic.creation.default.", Any),
    ("topic.creation.", Idle(INIT)),
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
    let Some(rule) = rule(name) else { return Unknown { nearest: nearest(name) } };
    let is_one_of = |values: &[&str]| values.iter().any(|known| known.eq_ignore_ascii_case(value.trim()));
    match rule {
        Any => Supported,
        Idle(reason) => WithoutEffect(reason),
        Only(..) | Default(..) if value.trim().is_empty() => WithoutEffect("it is empty, as if it were absent"),
        Only(values, _) if is_one_of(values) => Supported,
        Default(values, _) if is_one_of(values) => WithoutEffect("it is as evp does it anyway"),
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
        Only(values, _) | Default(values, _) => *known == name && !values.is_empty(),
        Any | Idle(_) => false,
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
        for name in
            ["bootstrap.servers", "producer.override.max.block.ms", "database.history.kafka.topic", "topics.regex"]
        {
            assert!(matches!(property_status(name, "x"), WithoutEffect(_)), "{name}");
        }
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
