//! What the properties say of records beside the rows of tables, and of how all of them are written.

use super::{Connector, ConnectorSettings};
use crate::config::Variables;
use crate::connect::{Adjustment, Converter, Nulls};
use crate::envelope::{Mask, Profile};
use crate::row::{ColumnShape, Operation, TableShape};

/// The statements of a list; two semicolons in a row are one that is part of a statement.
pub(super) fn statements(list: &str) -> Vec<String> {
    let (mut statements, mut statement) = (Vec::new(), String::new());
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ';' if chars.next_if_eq(&';').is_some() => statement.push(';'),
            ';' => statements.push(std::mem::take(&mut statement)),
            c => statement.push(c),
        }
    }
    statements.push(statement);
    statements.iter().map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

impl ConnectorSettings {
    /// The masks of a table's columns.
    pub fn masks_of(&self, table: &TableShape, is_snapshot: bool) -> Vec<(String, Mask)> {
        let mask_of = |column: &ColumnShape| {
            let type_name = column.source_type(is_snapshot).name;
            self.masks.of_column(&table.schema, &table.table, (&column.name, &type_name)).cloned()
        };
        table.columns.iter().filter_map(|column| Some((column.name.clone(), mask_of(column)?))).collect()
    }

    /// Columns that are listed to be masked and are not, because their types are told.
    pub fn bare_columns<'t>(&self, table: &'t TableShape) -> impl Iterator<Item = &'t str> {
        let is_bare = |column: &&ColumnShape| {
            let type_name = column.source_type(false).name;
            self.masks.is_left_bare(&table.schema, &table.table, (&column.name, &type_name))
        };
        table.columns.iter().filter(is_bare).map(|column| column.name.as_str())
    }

    /// What is no table's has other fields, at which Debezium ends.
    pub(super) fn refuse_misfits(&self, variables: &mut Variables) {
        let heartbeats = self.heartbeat_interval.is_some().then_some(&self.heartbeat_topic);
        let others = heartbeats.into_iter().chain(&self.transaction_topic);
        for topic in others.filter(|topic| self.transforms.misfits_others(topic)) {
            variables.mistake(format!(
                "a transform of keys or headers asks for a field of records of topic {topic}, which are of no table: give it a \
                 predicate that names the topics of tables"
            ));
        }
    }

    /// Whether records that are of no table with one topic can go to this topic.
    pub fn is_topic_beside_tables(&self, topic: &str) -> bool {
        let own = [&self.transaction_topic, &self.message_topic].into_iter().flatten();
        let mut own = own.map(|own| self.transforms.topic_of_others(own));
        self.transforms.has_outbox() || own.any(|own| own == topic)
    }
}

impl Connector {
    /// The converter of a side; others have been refused before.
    pub(super) fn converter(&self, variables: &mut Variables, side: &str) -> Converter {
        let class = self.get(&format!("{side}.converter")).unwrap_or_default();
        match class.rsplit('.').next() {
            Some("StringConverter") => Converter::Text,
            Some("ByteArrayConverter" | "BinaryDataConverter") => Converter::Bytes,
            _ => Converter::Json {
                with_schema: self.flag(variables, &format!("{side}.converter.schemas.enable"), true),
                nulls: match self.flag(variables, &format!("{side}.converter.replace.null.with.default"), true) {
                    true => Nulls::Replaced,
                    false => Nulls::Kept,
                },
            },
        }
    }

    /// Whether the converter of a side writes decimals as numbers.
    pub(super) fn decimals_are_numbers(&self, side: &str) -> bool {
        let format = self.get(&format!("{side}.converter.decimal.format"));
        format.is_some_and(|format| format.trim().eq_ignore_ascii_case("NUMERIC"))
    }

    pub(super) fn value_converter(&self, variables: &mut Variables, has_heartbeats: bool) -> Converter {
        let converter = self.converter(variables, "value");
        if converter == Converter::Bytes && has_heartbeats {
            variables.mistake(
                "the property `value.converter` writes bytes as they are, and heartbeats are none: set heartbeat.interval.ms=0"
                    .to_owned(),
            );
        }
        converter
    }

    pub(super) fn skipped_operations(&self, variables: &mut Variables) -> Vec<Operation> {
        let list = self.get("skipped.operations").unwrap_or("t");
        let letters: Vec<&str> = list.split(',').map(str::trim).filter(|letter| !letter.is_empty()).collect();
        if letters == ["none"] {
            return Vec::new();
        }
        if let Some(other) = letters.iter().find(|letter| !matches!(**letter, "c" | "u" | "d" | "t")) {
            variables.mistake(format!(
                "the property `skipped.operations` has `{other}`: it lists c, u, d and t, or is none"
            ));
        }
        letters.into_iter().filter_map(Operation::from_letter).collect()
    }

    pub(super) fn transaction_topic(
        &self,
        variables: &mut Variables,
        profile: Profile,
        prefix: &str,
    ) -> Option<String> {
        if !self.flag(variables, "provide.transaction.metadata", false) {
            return None;
        }
        if profile == Profile::V2_4 {
            variables.mistake(
                "the property `provide.transaction.metadata` is refused: evp has it as Debezium 3.6 does, use --compat 3.6"
                    .to_owned(),
            );
        }
        if !self.converter(variables, "value").is_json() {
            variables.mistake(
                "the property `provide.transaction.metadata` needs JsonConverter as its `value.converter`".to_owned(),
            );
        }
        let name = self.get("topic.transaction").unwrap_or("transaction");
        Some(format!("{prefix}{}{name}", self.topic_delimiter()))
    }

    /// How Debezium 2.4 writes them is not known here, and Java's text of one tells nothing of its content.
    pub(super) fn message_topic(&self, variables: &mut Variables, profile: Profile) -> Option<String> {
        let is_written = profile == Profile::V3_6 && self.converter(variables, "value").is_json();
        is_written.then(|| format!("{}.message", self.topic_prefix().unwrap_or_default()))
    }

    /// The one option of the output plugin that leaves the stream one that evp reads.
    pub(super) fn stream_origin(&self, variables: &mut Variables) -> Option<String> {
        let list = self.get("slot.stream.params").unwrap_or_default();
        let mut origin = None;
        for param in list.split(';').map(str::trim).filter(|param| !param.is_empty()) {
            match param.split_once('=') {
                Some(("origin", value)) => origin = Some(value.trim().to_owned()),
                _ => variables.mistake(
                    "the property `slot.stream.params` has another option than `origin`, and evp sets all others itself"
                        .to_owned(),
                ),
            }
        }
        origin
    }

    pub(super) fn topic_delimiter(&self) -> &str {
        self.get("topic.delimiter").unwrap_or(".")
    }

    pub(super) fn adjustment(&self, variables: &mut Variables, property: &str) -> Adjustment {
        self.get(property).map_or(Some(Adjustment::None), Adjustment::from_word).unwrap_or_else(|| {
            variables.mistake(format!("the property `{property}` is none, avro or avro_unicode"));
            Adjustment::None
        })
    }

    /// What they add to the schemas of values is seen where values show them, and not recorded of Debezium 2.4.
    pub(super) fn refuse_propagated_types(&self, variables: &mut Variables, profile: Profile) {
        let has_schemas = profile == Profile::V2_4 && self.converter(variables, "value").shows_schemas();
        for name in ["column.propagate.source.type", "datatype.propagate.source.type"] {
            if has_schemas && self.get(name).is_some() {
                variables.mistake(format!(
                    "the property `{name}` is refused where value.converter.schemas.enable is true: evp has it as Debezium 3.6 does, use --compat 3.6"
                ));
            }
        }
    }

    /// Bytes that are not recorded of Debezium 2.4 are not guessed.
    pub(super) fn only_of_3_6(&self, variables: &mut Variables, profile: Profile) {
        let prefixes = ["column.mask.", "column.truncate.to.", "schema.name.adjustment", "field.name.adjustment"];
        let is_one = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        for name in self.properties.keys().filter(|name| is_one(name) && self.get(name) != Some("none")) {
            if profile == Profile::V2_4 {
                let shown = name.split_once(".with.salt.").map_or(name.as_str(), |(head, _)| head);
                variables.mistake(format!(
                    "the property `{shown}` is refused: evp has it as Debezium 3.6 does, use --compat 3.6"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sets: &[&str], profile: Profile) -> Result<ConnectorSettings, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let mut variables = Variables::default();
        let connector = Connector::load(&mut variables, None, &sets).unwrap();
        let settings = connector.settings(&mut variables, profile);
        variables.finish().map(|()| settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_stands_beside_rows_has_debeziums_topics() {
        let plain = settings(&[], Profile::V3_6).unwrap();
        assert_eq!((plain.transaction_topic, plain.message_topic.as_deref()), (None, Some("postgres.message")));
        let sets = ["provide.transaction.metadata=true", "topic.delimiter=_", "skipped.operations=none"];
        let told = settings(&sets, Profile::V3_6).unwrap();
        assert_eq!(told.transaction_topic.as_deref(), Some("postgres_transaction"));
        assert_eq!(told.heartbeat_topic, "__debezium-heartbeat_postgres");
        assert!(told.skipped_operations.is_empty() && told.is_topic_beside_tables("postgres_transaction"));
        assert!(!told.is_topic_beside_tables("postgres.activity.event_outbox"));
        assert_eq!(settings(&[], Profile::V2_4).unwrap().message_topic, None);
    }

    #[test]
    fn of_the_plugins_options_the_origin_can_be_given() {
        let given = settings(&["slot.stream.params=origin=none;"], Profile::V3_6).unwrap();
        assert_eq!(given.stream_origin.as_deref(), Some("none"));
        let refused = settings(&["slot.stream.params=origin=none;streaming=on"], Profile::V3_6).unwrap_err();
        assert!(refused.contains("slot.stream.params"), "{refused}");
    }

    #[test]
    fn statements_are_parted_as_debezium_parts_them() {
        assert_eq!(statements("SET a = 1; SELECT 'x;;y' ;"), ["SET a = 1", "SELECT 'x;y'"]);
        assert_eq!(statements(" ; "), [""; 0]);
    }

    #[test]
    fn what_cannot_be_written_so_is_refused() {
        let bytes = "value.converter=org.apache.kafka.connect.converters.ByteArrayConverter";
        let text = "value.converter=org.apache.kafka.connect.storage.StringConverter";
        assert!(settings(&[bytes], Profile::V3_6).unwrap_err().contains("heartbeat.interval.ms"));
        assert!(settings(&[text], Profile::V3_6).unwrap().message_topic.is_none());
        let told = settings(&[text, "provide.transaction.metadata=true"], Profile::V3_6);
        assert!(told.unwrap_err().contains("JsonConverter"));
        assert!(settings(&["skipped.operations=x"], Profile::V3_6).unwrap_err().contains("skipped.operations"));
        let old = settings(&["column.mask.hash.MD5.with.salt.hunter2=a.b.c"], Profile::V2_4).unwrap_err();
        assert!(old.contains("--compat 3.6") && !old.contains("hunter2"), "{old}");
        let propagated = "column.propagate.source.type=.*";
        assert!(settings(&[propagated], Profile::V3_6).is_ok(), "without schemas nothing shows it");
        let with_schemas = [propagated, "value.converter.schemas.enable=true"];
        assert!(settings(&with_schemas, Profile::V3_6).is_ok());
        let with_schemas = settings(&with_schemas, Profile::V2_4);
        assert!(with_schemas.unwrap_err().contains("column.propagate.source.type"));
        assert!(settings(&["field.name.adjustment.mode=ascii"], Profile::V3_6).unwrap_err().contains("avro_unicode"));
    }
}
