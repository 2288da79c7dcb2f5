//! What transforms were called before, and their properties, taken for what Debezium calls them today.

use super::Connector;
use super::field_edits::REPLACE;
use super::transforms::{OUTBOX, UNWRAP};

/// Its name up to Debezium 0.9.
const OLD_UNWRAP: &str = "io.debezium.transforms.UnwrapFromEnvelope";
/// What it was called before it took buffers and arrays alike.
const OLD_BYTES: &str = "io.debezium.converters.ByteBufferConverter";
const BYTES: &str = "io.debezium.converters.BinaryDataConverter";
const REPLACE_KEY: &str = "org.apache.kafka.connect.transforms.ReplaceField$Key";
/// `ReplaceField` up to Kafka 3.
const OF_REPLACE: [(&str, &str); 2] = [("blacklist", "exclude"), ("whitelist", "include")];
const DELETES: &str = "delete.tombstone.handling.mode";

/// Properties of the outbox's router that were only renamed.
const OF_OUTBOX: [(&str, &str); 3] = [
    ("debezium.op.invalid.behavior", "table.op.invalid.behavior"),
    // Was the key where no other column was named.
    ("table.field.event.payload.id", "table.field.event.key"),
    ("table.field.schema.version", "table.field.event.schema.version"),
];

impl Connector {
    /// Takes old names in listed transforms for today's; what has no equal stays, and is refused where it is read.
    pub(super) fn take_old_transforms(&mut self) {
        let list = self.get("transforms").unwrap_or_default().to_owned();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let prefix = format!("transforms.{name}.");
            if self.of_transform(&prefix, "type") == OLD_UNWRAP {
                let property = format!("{prefix}type");
                self.renamed.insert(format!("{property}={OLD_UNWRAP}"), format!("{property}={UNWRAP}"));
                self.properties.insert(property, UNWRAP.to_owned());
            }
            match self.of_transform(&prefix, "type").as_str() {
                UNWRAP => {
                    self.take_old_deletes(&prefix);
                    self.take_old_fields(&prefix);
                }
                OUTBOX => self.take_renamed(&prefix, &OF_OUTBOX),
                REPLACE | REPLACE_KEY => self.take_renamed(&prefix, &OF_REPLACE),
                _ => {}
            }
        }
    }

    /// Takes what was only renamed.
    fn take_renamed(&mut self, prefix: &str, names: &[(&str, &str)]) {
        for (old, today) in names {
            let value = self.of_transform(prefix, old);
            self.take(prefix, &[old], today, value);
        }
    }

    fn of_transform(&self, prefix: &str, part: &str) -> String {
        self.get(&format!("{prefix}{part}")).unwrap_or_default().trim().to_owned()
    }

    /// Puts `value` in the place of old properties, unless today's is given, which counts then.
    fn take(&mut self, prefix: &str, old: &[&str], today: &str, value: String) {
        let today = format!("{prefix}{today}");
        let mut is_given = false;
        for old in old.iter().map(|old| format!("{prefix}{old}")) {
            if self.properties.remove(&old).is_some() {
                is_given = true;
                self.renamed.insert(old, today.clone());
            }
        }
        if is_given && !value.is_empty() && self.get(&today).is_none() {
            self.properties.insert(today, value);
        }
    }

    /// Two properties said up to Debezium 2 what one says now. Two nulls for each delete is what it has no word for.
    fn take_old_deletes(&mut self, prefix: &str) {
        let old = ["delete.handling.mode", "drop.tombstones"];
        let [mode, drops] = old.map(|part| self.of_transform(prefix, part).to_ascii_lowercase());
        let has_tombstones = !self.get("tombstones.on.delete").is_some_and(|text| text.eq_ignore_ascii_case("false"));
        let word = match (mode.as_str(), drops.as_str()) {
            ("" | "drop", "false") if has_tombstones => "delete-to-tombstone",
            ("" | "drop", "" | "true" | "false") => "drop",
            ("rewrite", "false") => "rewrite-with-tombstone",
            ("rewrite", "" | "true") => "rewrite",
            ("none", "" | "true") => "tombstone",
            ("none", "false") if !has_tombstones => "tombstone",
            _ => return,
        };
        self.take(prefix, &old, DELETES, word.to_owned());
    }

    /// Debezium 1.0 and 1.1 added fields of `source` and the operation so.
    fn take_old_fields(&mut self, prefix: &str) {
        let fields = self.of_transform(prefix, "add.source.fields");
        let entries = fields.split(',').map(str::trim).filter(|field| !field.is_empty());
        let entries: Vec<String> = entries.map(|field| format!("source.{field}:{field}")).collect();
        self.take(prefix, &["add.source.fields"], "add.fields", entries.join(","));
        let is_added = self.of_transform(prefix, "operation.header").eq_ignore_ascii_case("true");
        self.take(prefix, &["operation.header"], "add.headers", if is_added { "op" } else { "" }.to_owned());
    }

    /// Takes the old name of a converter for today's.
    pub(super) fn take_old_converters(&mut self) {
        for property in ["key.converter", "value.converter"] {
            if self.of_transform("", property) == OLD_BYTES {
                self.renamed.insert(format!("{property}={OLD_BYTES}"), format!("{property}={BYTES}"));
                self.properties.insert(property.to_owned(), BYTES.to_owned());
            }
        }
    }

    /// Names that Avro does not take were once made ones that it takes by a flag.
    pub(super) fn take_old_sanitizing(&mut self) {
        let old = "sanitize.field.names";
        if self.get(old).is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
            self.take("", &[old], "field.name.adjustment.mode", "avro".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::read_from;

    /// What one property of the transform `t` of this type has become.
    fn taken(class: &str, sets: &[&str], part: &str) -> (Option<String>, String) {
        // The shipped file has none.
        let mut all = vec![
            "tombstones.on.delete=true".to_owned(),
            "transforms=t".to_owned(),
            format!("transforms.t.type={class}"),
        ];
        let is_of_all = |set: &&&str| set.starts_with("tombstones");
        all.extend(sets.iter().filter(is_of_all).map(|set| (*set).to_owned()));
        all.extend(sets.iter().filter(|set| !is_of_all(set)).map(|set| format!("transforms.t.{set}")));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        read_from(&all, |connector, _| connector.get(&format!("transforms.t.{part}")).map(str::to_owned))
    }

    #[test]
    fn what_became_of_deletes_is_said_by_one_property_today() {
        for (sets, word) in [
            (&["drop.tombstones=false"][..], "delete-to-tombstone"),
            (&["drop.tombstones=false", "tombstones.on.delete=false"], "drop"),
            (&["drop.tombstones=true", "delete.handling.mode=drop"], "drop"),
            (&["drop.tombstones=false", "delete.handling.mode=Rewrite"], "rewrite-with-tombstone"),
            (&["delete.handling.mode=rewrite"], "rewrite"),
            (&["delete.handling.mode=none"], "tombstone"),
            (&["delete.handling.mode=rewrite", "delete.tombstone.handling.mode=drop"], "drop"),
        ] {
            let (found, said) = taken(UNWRAP, sets, DELETES);
            assert_eq!((found.as_deref(), said.as_str()), (Some(word), ""), "{sets:?}");
        }
        assert_eq!(taken(UNWRAP, &[], DELETES), (None, String::new()));
        let (_, said) = taken(UNWRAP, &["delete.handling.mode=none", "drop.tombstones=false"], DELETES);
        assert!(said.contains(DELETES) && said.lines().count() == 1, "{said}");
    }

    #[test]
    fn fields_and_operation_keep_the_names_that_they_had() {
        let sets = ["add.source.fields=table, lsn", "operation.header=true"];
        assert_eq!(taken(OLD_UNWRAP, &sets, "type").0.as_deref(), Some(UNWRAP));
        let (fields, said) = taken(OLD_UNWRAP, &sets, "add.fields");
        assert_eq!((fields.as_deref(), said.as_str()), (Some("source.table:table,source.lsn:lsn"), ""));
        assert_eq!(taken(OLD_UNWRAP, &sets, "add.headers").0.as_deref(), Some("op"));
        assert_eq!(taken(UNWRAP, &["operation.header=false"], "add.headers"), (None, String::new()));
    }

    #[test]
    fn the_outbox_s_router_has_its_old_names() {
        let sets = ["debezium.op.invalid.behavior=error", "table.field.event.payload.id=owner"];
        assert_eq!(taken(OUTBOX, &sets, "table.op.invalid.behavior"), (Some("error".to_owned()), String::new()));
        assert_eq!(taken(OUTBOX, &sets, "table.field.event.key").0.as_deref(), Some("owner"));
        let both = [sets[1], "table.field.event.key=id"];
        assert_eq!(taken(OUTBOX, &both, "table.field.event.key"), (Some("id".to_owned()), String::new()));
    }

    #[test]
    fn fields_that_were_listed_in_black_and_white_are_excluded_and_included() {
        assert_eq!(taken(REPLACE, &["blacklist=a,b"], "exclude"), (Some("a,b".to_owned()), String::new()));
        assert_eq!(taken(REPLACE, &["whitelist=a"], "include"), (Some("a".to_owned()), String::new()));
        assert_eq!(taken(REPLACE, &["blacklist=a", "exclude=b"], "exclude"), (Some("b".to_owned()), String::new()));
    }

    #[test]
    fn the_converter_of_bytes_has_its_old_name() {
        let set = format!("value.converter={OLD_BYTES}");
        let (class, _) = read_from(&[&set], |connector, _| connector.get("value.converter").map(str::to_owned));
        assert_eq!(class.as_deref(), Some(BYTES));
    }

    #[test]
    fn names_for_avro_are_a_mode_today() {
        let mode =
            |set| read_from(&[set], |connector, _| connector.get("field.name.adjustment.mode").map(str::to_owned));
        assert_eq!(mode("sanitize.field.names=true"), (Some("avro".to_owned()), String::new()));
        assert_eq!(mode("sanitize.field.names=false"), (None, String::new()));
    }
}
