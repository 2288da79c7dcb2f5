//! What capture needs to know of a connector.

use std::str::FromStr;
use std::time::Duration;

use super::{
    CaptureLists, ColumnMasks, Connector, MessageKeys, MessagePrefixes, SignalSettings, SnapshotSettings,
    TopicCreation, WantedIdentities, records,
};
use crate::config::Variables;
use crate::connect::{Adjustment, Converter};
use crate::envelope::Profile;
use crate::envelope::decode::UNAVAILABLE_VALUE;
use crate::row::Operation;
use crate::transform::Transforms;
use crate::typemap::{Handling, Mode, Placeholder};

/// What capture needs of a connector, validated.
#[derive(Debug, Clone)]
pub struct ConnectorSettings {
    /// First part of every topic name, `source.name`.
    pub topic_prefix: String,
    /// Slot to read.
    pub slot_name: String,
    /// A new slot is kept by standbys as well.
    pub slot_failover: bool,
    /// Publications, comma separated.
    pub publication_name: String,
    /// Which tables to stream, and which columns of them.
    pub tables: CaptureLists,
    /// Which replica identities they are to have.
    pub identities: WantedIdentities,
    /// When and of what snapshots are taken.
    pub snapshot: SnapshotSettings,
    /// Where signals come from, and how they have tables read.
    pub signals: SignalSettings,
    /// Columns that make the message key, per table.
    pub message_keys: MessageKeys,
    /// Write a null value after each delete.
    pub tombstones_on_delete: bool,
    /// Operations that are not written.
    pub skipped_operations: Vec<Operation>,
    /// Between two heartbeats; none if zero.
    pub heartbeat_interval: Option<Duration>,
    /// Run in the source database at each heartbeat.
    pub heartbeat_query: Option<String>,
    /// Topic of the heartbeats.
    pub heartbeat_topic: String,
    /// Topic of the records of begins and ends of transactions; none if they are not told of.
    pub transaction_topic: Option<String>,
    /// Topic of logical messages; none if they are not written.
    pub message_topic: Option<String>,
    /// Which of them are.
    pub message_prefixes: MessagePrefixes,
    /// At most this long between two status updates.
    pub status_interval: Duration,
    /// How long a slot that someone else reads is waited for at start.
    pub slot_wait: Duration,
    /// How keys are written.
    pub key_converter: Converter,
    /// Whether decimals in keys are numbers.
    pub key_decimals_are_numbers: bool,
    /// How values are written.
    pub value_converter: Converter,
    /// Headers are texts of Java's, which differ from Connect's own for the keys of a change.
    pub with_text_headers: bool,
    /// Write Debezium's context headers.
    pub with_context_headers: bool,
    /// Stands in for values that are not in the log.
    pub unavailable_placeholder: Placeholder,
    /// Single message transforms.
    pub transforms: Transforms,
    /// What types become where there is a choice.
    pub handling: Handling,
    /// What the output plugin is to send of changes that were replicated from elsewhere.
    pub stream_origin: Option<String>,
    /// Run on each connection of capture's that asks the catalog.
    pub initial_statements: Vec<String>,
    /// Columns whose values are masked.
    pub masks: ColumnMasks,
    /// How topics that rows name are made.
    pub topic_creation: TopicCreation,
    /// Stands between the parts of a topic's name.
    pub topic_delimiter: String,
    /// What becomes of the names of schemas.
    pub schema_names: Adjustment,
    /// What becomes of the names of fields.
    pub field_names: Adjustment,
    /// Updates that change no column of the value are left out.
    pub skips_unchanged: bool,
    /// Whose bytes are imitated.
    pub profile: Profile,
}

impl Connector {
    /// Everything that capture needs; mistakes are noted in `variables`.
    pub fn settings(&self, variables: &mut Variables, profile: Profile) -> ConnectorSettings {
        let topic_prefix = self.topic_prefix().unwrap_or_else(|| {
            variables.mistake("the property `topic.prefix` is missing: it begins every topic's name".to_owned());
            ""
        });
        self.check_names(variables, topic_prefix);
        self.only_of_3_6(variables, profile);
        self.refuse_propagated_types(variables, profile);
        let heartbeat_ms: u64 = self.number(variables, "heartbeat.interval.ms", 0);
        let status_ms: u64 = self.number(variables, "status.update.interval.ms", 10_000);
        let retries: u64 = self.number(variables, "slot.max.retries", 6);
        let retry_ms: u64 = self.number(variables, "slot.retry.delay.ms", 10_000);
        let heartbeat_prefix = self.get("topic.heartbeat.prefix").unwrap_or("__debezium-heartbeat");
        let heartbeat_name = format!("{heartbeat_prefix}{}{topic_prefix}", self.topic_delimiter());
        let settings = ConnectorSettings {
            topic_prefix: topic_prefix.to_owned(),
            slot_name: self.slot_name().to_owned(),
            slot_failover: self.flag(variables, "slot.failover", false),
            publication_name: self.publication_name().to_owned(),
            tables: CaptureLists::parse(variables, |name| self.get(name)),
            identities: WantedIdentities::parse(
                variables,
                self.get("replica.identity.autoset.values").unwrap_or_default(),
            ),
            snapshot: SnapshotSettings::of(self, variables),
            signals: SignalSettings::of(self, variables),
            message_keys: MessageKeys::parse(variables, self.get("message.key.columns").unwrap_or_default(), profile),
            tombstones_on_delete: self.flag(variables, "tombstones.on.delete", true),
            skipped_operations: self.skipped_operations(variables),
            heartbeat_interval: (heartbeat_ms > 0).then(|| Duration::from_millis(heartbeat_ms)),
            heartbeat_query: self.get("heartbeat.action.query").map(str::to_owned),
            heartbeat_topic: self.get("topic.heartbeat.name").unwrap_or(&heartbeat_name).to_owned(),
            transaction_topic: self.transaction_topic(variables, profile, topic_prefix),
            message_topic: self.message_topic(variables, profile),
            message_prefixes: MessagePrefixes::parse(variables, |name| self.get(name)),
            status_interval: Duration::from_millis(status_ms.clamp(100, 3_600_000)),
            slot_wait: Duration::from_millis(retries.saturating_mul(retry_ms)),
            key_converter: self.converter(variables, "key"),
            key_decimals_are_numbers: self.decimals_are_numbers("key"),
            value_converter: self.value_converter(variables, heartbeat_ms > 0),
            with_text_headers: self.get("header.converter").is_some_and(|class| class.ends_with("StringConverter")),
            with_context_headers: profile == Profile::V3_6 && self.flag(variables, "extended.headers.enabled", true),
            unavailable_placeholder: self.placeholder(variables),
            transforms: self.transforms_of(variables, profile),
            handling: self.handling(variables, profile),
            stream_origin: self.stream_origin(variables),
            initial_statements: records::statements(self.get("database.initial.statements").unwrap_or_default()),
            masks: ColumnMasks::parse(
                variables,
                self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            ),
            topic_creation: self.topic_creation(variables),
            topic_delimiter: self.topic_delimiter().to_owned(),
            schema_names: self.adjustment(variables, "schema.name.adjustment.mode"),
            field_names: self.adjustment(variables, "field.name.adjustment.mode"),
            skips_unchanged: self.flag(variables, "skip.messages.without.change", false),
            profile,
        };
        settings.refuse_misfits(variables);
        settings.refuse_extracted_values(variables);
        settings
    }

    /// Names that Kafka or PostgreSQL would not take, which Debezium refuses as well.
    fn check_names(&self, variables: &mut Variables, topic_prefix: &str) {
        let is_of_topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !topic_prefix.chars().all(is_of_topic) {
            variables.mistake(format!(
                "the property `topic.prefix={topic_prefix}` begins names of topics: give it letters, digits, `.`, `_` and `-` alone"
            ));
        }
        let slot = self.slot_name();
        let is_of_slot = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if slot.len() > 63 || !slot.chars().all(is_of_slot) {
            variables.mistake(format!(
                "the property `slot.name={slot}` is no name of a slot: give it small letters, digits and `_`, 63 at the most"
            ));
        }
    }

    fn handling(&self, variables: &mut Variables, profile: Profile) -> Handling {
        Handling {
            decimal: self.mode(),
            decimals_are_numbers: self.decimals_are_numbers("value"),
            time: self.mode(),
            interval: self.mode(),
            hstore: self.mode(),
            binary: self.mode(),
            money_fraction_digits: self.number(variables, "money.fraction.digits", 2),
            is_snapshot: false,
            includes_unknown: self.flag(variables, "include.unknown.datatypes", false),
            profile,
        }
    }

    /// A mode; what is none of its values has been refused before.
    fn mode<M: Mode>(&self) -> M {
        self.get(M::NAME).and_then(M::from_word).unwrap_or_default()
    }

    pub(super) fn number<N: FromStr>(&self, variables: &mut Variables, name: &str, default: N) -> N {
        let Some(text) = self.get(name) else { return default };
        text.trim().parse().unwrap_or_else(|_| {
            variables.mistake(format!("the property `{name}={text}` is no whole number"));
            default
        })
    }

    pub(super) fn flag(&self, variables: &mut Variables, name: &str, default: bool) -> bool {
        match self.get(name).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(text) => {
                variables.mistake(format!("the property `{name}={text}` is neither true nor false"));
                default
            }
        }
    }

    fn placeholder(&self, variables: &mut Variables) -> Placeholder {
        let property = "unavailable.value.placeholder";
        let given = self.get(property).unwrap_or(UNAVAILABLE_VALUE);
        Placeholder::parse(given).unwrap_or_else(|| {
            variables.mistake(format!("{property} is `{given}`: hex: stands before pairs of hexadecimal digits"));
            Placeholder::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::read_from;

    fn said(sets: &[&str]) -> String {
        read_from(sets, |connector, variables| drop(connector.settings(variables, Profile::V3_6))).1
    }

    #[test]
    fn names_that_no_server_takes_are_mistakes() {
        for set in ["slot.name=MySlot", "slot.name=my-slot", "topic.prefix=my server"] {
            let said = said(&[set]);
            assert!(said.contains(set) && said.lines().count() == 1, "{said}");
        }
        assert_eq!(said(&["slot.name=my_slot_1", "topic.prefix=my-server.eu"]), "");
    }

    #[test]
    fn blanks_and_case_do_not_count_where_debezium_passes_over_them() {
        assert_eq!(said(&["tombstones.on.delete= TRUE ", "snapshot.mode= Initial", "heartbeat.interval.ms= 0"]), "");
    }
}
