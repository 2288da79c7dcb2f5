//! Connector files as people post them, and what becomes of each.

use std::path::Path;

use super::{Connector, ConnectorSettings, SnapshotMode};
use crate::config::Variables;
use crate::connect::Converter;
use crate::envelope::Profile;

/// The settings and what is said of the file, or the sentences of its refusal.
type Outcome = Result<(ConnectorSettings, Said), Vec<String>>;

/// What is said when a file is taken.
struct Said {
    renamed: Vec<String>,
    without_effect: Vec<String>,
}

fn posted(file: &str) -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors").join(file).with_extension("json");
    let mut variables = Variables::of(&[("LEDGER_USER", "cdc"), ("LEDGER_PASSWORD", "hunter2")]);
    let connector = Connector::load(&mut variables, Some(&path), &[]).unwrap();
    let settings = connector.settings(&mut variables, Profile::V3_6);
    connector.postgres(&mut variables);
    let said = Said {
        renamed: connector.renamed().map(|(old, today)| format!("{old} {today}")).collect(),
        without_effect: connector.without_effect().into_values().flatten().map(str::to_owned).collect(),
    };
    match variables.finish() {
        Ok(()) => Ok((settings, said)),
        Err(error) => Err(error.to_string().lines().map(str::to_owned).collect()),
    }
}

fn taken(file: &str) -> (ConnectorSettings, Said) {
    posted(file).unwrap_or_else(|sentences| panic!("{file}: {sentences:?}"))
}

#[test]
fn files_that_people_post_are_taken_and_what_has_no_effect_is_named() {
    for (file, renamed, without_effect) in [
        (
            "old-whitelists",
            &[
                "column.blacklist column.exclude.list",
                "database.server.name topic.prefix",
                "schema.whitelist schema.include.list",
                "slot.drop_on_stop slot.drop.on.stop",
                "table.whitelist table.include.list",
            ][..],
            &["database.history.kafka.bootstrap.servers", "database.history.kafka.topic", "tasks.max"][..],
        ),
        ("bare-defaults", &[], &["publication.autocreate.mode"]),
        (
            "worker-properties",
            &[],
            &["bootstrap.servers", "internal.key.converter", "plugin.path", "producer.override.acks", "rest.port"],
        ),
        (
            "from-another-database",
            &[],
            &["database.include.list", "database.server.id", "database.server.name", "snapshot.new.tables"],
        ),
        ("sink-properties", &[], &["connection.url", "errors.deadletterqueue.topic.name", "key.ignore", "topics"]),
        ("secret-references", &[], &[]),
        ("heartbeat-query", &[], &["max.batch.size", "max.queue.size"]),
        ("leftover-transforms", &[], &["predicates.isCart.type", "transforms.unwrap.type"]),
        ("event-router", &[], &[]),
        (
            "unwrap",
            &[
                "transforms.unwrap.delete.handling.mode transforms.unwrap.delete.tombstone.handling.mode",
                "transforms.unwrap.drop.tombstones transforms.unwrap.delete.tombstone.handling.mode",
            ],
            &[],
        ),
        (
            "first-debezium",
            &[
                "database.server.name topic.prefix",
                "table.whitelist table.include.list",
                "transforms.unwrap.add.source.fields transforms.unwrap.add.fields",
                "transforms.unwrap.drop.tombstones transforms.unwrap.delete.tombstone.handling.mode",
                "transforms.unwrap.operation.header transforms.unwrap.add.headers",
                "transforms.unwrap.type=io.debezium.transforms.UnwrapFromEnvelope \
                 transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState",
            ],
            &["errors.tolerance", "slot.drop.on.stop"],
        ),
        ("strimzi", &[], &["_aiven.restart.on.failure"]),
        ("groovy-filter", &[], &[]),
        ("tutorial-keys", &["transforms.unwrap.drop.tombstones transforms.unwrap.delete.tombstone.handling.mode"], &[]),
        ("shards", &[], &[]),
    ] {
        let (_, said) = taken(file);
        assert_eq!(said.renamed, renamed, "{file}");
        let missing = without_effect.iter().filter(|name| !said.without_effect.iter().any(|said| said == *name));
        assert_eq!(missing.count(), 0, "{file}: {:?}", said.without_effect);
    }
}

#[test]
fn files_that_cannot_be_are_refused_with_one_sentence_for_each_reason() {
    for (file, parts) in [
        ("avro-registry", &["`key.converter=", "`value.converter="][..]),
        ("wal2json", &["plugin.name=wal2json"]),
        ("groovy-code", &["`toLowerCase`"]),
        ("own-java-class", &["`converters`", "com.acme.connect.MaskField"]),
        ("unwrap-two-nulls", &["use `delete.tombstone.handling.mode`"]),
        ("confluent-cloud", &["connector.class=PostgresCdcSource"]),
        ("own-converter", &["`converters` is refused"]),
        (
            "transform-mistakes",
            &[
                "`route` twice",
                "`transforms.bare` is refused: it needs `type`",
                "no property `color`; it needs `replacement`",
            ],
        ),
        (
            "misspelt",
            &[
                "decimal.handling.mode=exact",
                "snapshot.mode=alway",
                "`table.includelist` is not known; did you mean `table.include.list`",
                "`public.a.(b`",
            ],
        ),
    ] {
        let sentences = posted(file).err().unwrap_or_else(|| panic!("{file} is taken"));
        assert_eq!(sentences.len(), parts.len(), "{file}: {sentences:?}");
        assert!(parts.iter().all(|part| sentences.iter().any(|said| said.contains(part))), "{file}: {sentences:?}");
        assert!(!sentences.iter().any(|said| said.contains("hunter2")), "{file}: {sentences:?}");
    }
}

#[test]
fn what_is_absent_is_debeziums_default() {
    let (settings, _) = taken("bare-defaults");
    assert_eq!(settings.snapshot.mode, SnapshotMode::Initial);
    assert_eq!(
        [settings.key_converter, settings.value_converter],
        [Converter::Json { with_schema: true, nulls: Default::default() }; 2]
    );
    assert!(settings.tombstones_on_delete && settings.heartbeat_interval.is_none());
    assert_eq!((settings.slot_name.as_str(), settings.publication_name.as_str()), ("debezium", "dbz_publication"));
    let modes = [("secret-references", SnapshotMode::Initial), ("old-whitelists", SnapshotMode::NoData)];
    for (file, mode) in modes.into_iter().chain([("always-snapshot", SnapshotMode::Always)]) {
        assert_eq!(taken(file).0.snapshot.mode, mode, "{file}");
    }
}

#[test]
fn lists_are_read_as_java_reads_them() {
    let (settings, _) = taken("old-whitelists");
    assert_eq!(settings.topic_prefix, "billing");
    assert!(settings.tables.accepts("billing", "invoice") && !settings.tables.accepts("billing", "invoices"));
    assert!(!settings.tables.accepts_column("billing", "payment", "card_number"));
    let (settings, _) = taken("heartbeat-query");
    assert!(settings.tables.accepts("public", "visit") && !settings.tables.accepts("public", "AUDIT_log"));
    assert!(!settings.tables.accepts_column("public", "customer", "iban"));
    assert!(settings.heartbeat_query.is_some());
}
