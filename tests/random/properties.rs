//! A random choice of connector properties.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::tables::Limits;

/// What a seed sets, and what follows from it for the rows that it may write.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) limits: Limits,
    pub(super) has_messages: bool,
    /// Rows are there before the connectors are.
    pub(super) has_snapshot: bool,
    pub(super) is_root_published: bool,
}

/// Properties with their values, of which the first is Debezium's default.
const VALUES: [(&str, &[&str]); 20] = [
    ("decimal.handling.mode", &["precise", "double", "string"]),
    (
        "time.precision.mode",
        &["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"],
    ),
    ("interval.handling.mode", &["numeric", "string"]),
    ("hstore.handling.mode", &["json", "map"]),
    ("binary.handling.mode", &["bytes", "base64", "base64-url-safe", "hex"]),
    ("money.fraction.digits", &["2", "0", "3"]),
    ("include.unknown.datatypes", &["false", "true"]),
    ("unavailable.value.placeholder", &["__debezium_unavailable_value", "ü\"n", "hex:00ff10"]),
    ("key.converter.schemas.enable", &["true", "false", "false"]),
    ("value.converter.schemas.enable", &["true", "false", "false"]),
    ("tombstones.on.delete", &["true", "false"]),
    // Inserts are not among them, as an insert tells how far either side is.
    ("skipped.operations", &["t", "none", "u", "d,t"]),
    ("skip.messages.without.change", &["false", "true"]),
    ("provide.transaction.metadata", &["false", "true"]),
    ("extended.headers.enabled", &["true", "false"]),
    ("field.name.adjustment.mode", &["none", "avro", "avro_unicode"]),
    ("schema.name.adjustment.mode", &["none", "avro", "avro_unicode"]),
    ("topic.delimiter", &[".", "-", "_"]),
    ("message.prefix.exclude.list", &["", "app", "oth.*"]),
    ("message.key.columns", &["", ".*:c.*", "random.t.*:Col.*,ü.*"]),
];

/// Lists of columns: names are numbered, so that each of these finds some.
const COLUMNS: [&str; 5] = [".*[27]", "random\\..*\\.Col.*", ".*\\.c.*1.*", ".*日本.*,.*_.", ".*[^0-8]"];

impl Choice {
    /// These, without a snapshot.
    pub(super) fn of(properties: &[(&str, &str)]) -> Self {
        let own = [("snapshot.mode", "no_data"), ("transforms", "side")];
        let properties = own.iter().chain(properties).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            properties: properties.collect(),
            limits: Limits::default(),
            has_messages: true,
            has_snapshot: false,
            is_root_published: false,
        }
    }

    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut properties = BTreeMap::new();
        for (name, values) in VALUES {
            let value = if dice.one_in(2) { dice.word(values) } else { values[0] };
            if value != values[0] || dice.one_in(4) && !value.is_empty() {
                properties.insert(name.to_owned(), value.to_owned());
            }
        }
        let mut set = |name: &str, value: &str| properties.insert(name.to_owned(), value.to_owned());
        let has_snapshot = dice.one_in(3);
        // A snapshot of Debezium's ends at a table of which a list leaves out a column of the key.
        if !has_snapshot && dice.one_in(3) {
            set(dice.word(&["column.exclude.list", "column.include.list"]), dice.word(&COLUMNS));
        }
        if dice.one_in(3) {
            set(
                dice.word(&[
                    "column.mask.with.5.chars",
                    "column.truncate.to.3.chars",
                    "column.mask.hash.v2.SHA-256.with.salt.s4lt",
                    "column.mask.hash.MD5.with.salt.s4lt",
                ]),
                dice.word(&COLUMNS),
            );
        }
        set("snapshot.mode", if has_snapshot { "initial" } else { "no_data" });
        let mut transforms = Vec::new();
        if dice.one_in(3) {
            transforms.push("unwrap");
            set("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState");
            let deletes = ["drop", "tombstone", "rewrite", "rewrite-with-tombstone", "delete-to-tombstone"];
            set("transforms.unwrap.delete.tombstone.handling.mode", dice.word(&deletes));
            set("transforms.unwrap.add.fields", dice.word(&["op", "op,lsn,source.txId", "op,table,source.ts_us"]));
            if dice.one_in(2) {
                set("transforms.unwrap.add.headers", dice.word(&["op", "db,source.schema", "lsn"]));
            }
        }
        transforms.push("side");
        set("transforms", &transforms.join(","));
        let is = |name: &str, value: &str| properties.get(name).is_some_and(|is| is.starts_with(value));
        let limits = Limits {
            are_timestamps_optional: is("time.precision.mode", "nanoseconds"),
            has_no_partitions: has_snapshot,
            are_bytes_short: is("binary.handling.mode", "base64"),
        };
        // With a message in it, Debezium's list of a transaction names a Java object by its address, in some order.
        let has_messages = !is("provide.transaction.metadata", "true");
        Self { limits, has_messages, has_snapshot, is_root_published: dice.one_in(2), properties }
    }
}
