//! The Debezium connector file, which is capture's configuration.
//!
//! The same JSON that is posted to Kafka Connect is read here: `{"name", "config"}` or the bare map.
//! Every property is supported, accepted without effect, or refused by name; none is ignored.

mod event_router;
mod field_edits;
mod filter;
mod form;
mod key_edits;
mod keys;
mod lists;
mod masks;
mod old_names;
#[cfg(test)]
mod page;
mod plan;
#[cfg(test)]
mod posted;
mod producer;
mod properties;
mod records;
mod references;
mod replica_identity;
mod route;
mod server_file;
mod settings;
mod signals;
mod snapshot;
mod topic_creation;
mod transforms;
mod value_edits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

pub use keys::{MessageKeys, key_of_indexes};
pub use lists::{CaptureLists, MessagePrefixes};
pub use masks::ColumnMasks;
pub use properties::{PropertyStatus, property_status};
use properties::{has_listed_values, todays_name};
pub use replica_identity::{WantedIdentities, WantedIdentity};
pub use route::topic_name;
pub use settings::ConnectorSettings;
pub use signals::{SignalSettings, SignalTopic};
pub use snapshot::{SnapshotMode, SnapshotSettings};
pub use topic_creation::{TopicCreation, TopicRule};

use crate::config::{GivenProperty, POSTGRES_VARIABLES, PostgresConfig, Variables};
use crate::error::{Error, Result};
use crate::pattern::listed;

/// The file that is used where none is given.
const SHIPPED: &str = include_str!("../../debezium/postgres-event-outbox-connector.json");

const CLASS: &str = "connector.class";

/// The connector's properties, checked one by one.
#[derive(Clone)]
pub struct Connector {
    /// Its name in Kafka Connect, if the file gives one.
    name: Option<String>,
    properties: BTreeMap<String, String>,
    /// The same with references to secrets as they were given.
    posted: BTreeMap<String, String>,
    /// Names of those that `--set` gave.
    overridden: BTreeSet<String>,
    /// Old names that were given, each with today's.
    renamed: BTreeMap<String, String>,
}

impl fmt::Debug for Connector {
    /// Names only: values can be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.properties.keys()).finish()
    }
}

impl Connector {
    /// Reads `file` (or the shipped one) and applies the `property=value` pairs of `--set`.
    pub fn load(variables: &mut Variables, file: Option<&Path>, sets: &[String]) -> Result<Self> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Error::configuration(format!("the connector file {} cannot be read: {error}", path.display()))
            })?,
            None => SHIPPED.to_owned(),
        };
        let name = file.map_or_else(|| "the shipped connector file".into(), |path| path.display().to_string());
        Self::read(variables, (&name, &text), sets)
    }

    /// The same from a text, under the name by which mistakes in it are told.
    pub fn read(variables: &mut Variables, (name, text): (&str, &str), sets: &[String]) -> Result<Self> {
        let mut connector = Self::parse(text).map_err(|reason| Error::configuration(format!("{name} {reason}")))?;
        for pair in sets {
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    let name = connector.named_today(name.trim());
                    connector.properties.insert(name.clone(), value.to_owned());
                    connector.overridden.insert(name);
                }
                _ => {
                    // What follows a name can be a secret.
                    let name = pair.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')).next();
                    let name = name.unwrap_or_default();
                    variables.mistake(format!("--set `{name}` is not of the form property=value"));
                }
            }
        }
        connector.name_prefix();
        connector.take_old_sanitizing();
        connector.take_old_converters();
        connector.take_old_transforms();
        connector.posted.clone_from(&connector.properties);
        connector.check(variables);
        connector.resolve(variables);
        connector.transforms(variables);
        Ok(connector)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let form = form::read(text)?;
        let mut connector = Self {
            name: form.name,
            properties: BTreeMap::new(),
            posted: BTreeMap::new(),
            overridden: BTreeSet::new(),
            renamed: BTreeMap::new(),
        };
        for (name, value) in &form.properties {
            // Where both are given today's name counts.
            if todays_name(name) == name || !form.properties.contains_key(todays_name(name)) {
                let name = connector.named_today(name);
                connector.properties.insert(name, value.clone());
            }
        }
        Ok(connector)
    }

    /// Today's name of a property, remembered where another was given.
    fn named_today(&mut self, name: &str) -> String {
        let today = todays_name(name).to_owned();
        if today != name {
            self.renamed.insert(name.to_owned(), today.clone());
        }
        today
    }

    /// Debezium 1 called the prefix `database.server.name`, which many files have beside it.
    fn name_prefix(&mut self) {
        let old = "database.server.name";
        if self.get("topic.prefix").is_none()
            && let Some(prefix) = self.properties.remove(old)
        {
            self.properties.insert("topic.prefix".to_owned(), prefix);
            self.renamed.insert(old.to_owned(), "topic.prefix".to_owned());
        }
    }

    /// What evp does with a property, given all others.
    fn status(&self, name: &str, value: &str) -> PropertyStatus {
        match self.is_unlisted(name) {
            Some(true) => PropertyStatus::WithoutEffect("neither `transforms` nor `predicates` lists its name"),
            Some(false) => PropertyStatus::Supported,
            None if self.is_of_unlisted_group(name) => {
                PropertyStatus::WithoutEffect("`topic.creation.groups` does not list its group")
            }
            None => match property_status(name, value) {
                PropertyStatus::Unknown { .. } if self.is_of_refused_class(name) => {
                    PropertyStatus::WithoutEffect("it belongs to a Java class, which is refused")
                }
                status => status,
            },
        }
    }

    /// Whether it is a property of one of the classes that `converters` or `post.processors` name.
    fn is_of_refused_class(&self, property: &str) -> bool {
        let lists = ["converters", "post.processors"].into_iter().filter_map(|list| self.get(list));
        let mut names = lists.flat_map(|list| list.split(',').map(str::trim)).filter(|name| !name.is_empty());
        names.any(|name| property.strip_prefix(name).is_some_and(|part| part.starts_with('.')))
    }

    /// Notes every property that is refused or unknown; of another connector's that it is another's alone.
    fn check(&self, variables: &mut Variables) {
        let is_another = |name: &str, value: &str| matches!(self.status(name, value), PropertyStatus::Refused(_));
        let class = self.properties.get_key_value(CLASS).filter(|(name, value)| is_another(name, value));
        for (name, value) in class.map_or_else(|| self.properties.iter().collect(), |class| vec![class]) {
            match self.status(name, value) {
                PropertyStatus::Supported | PropertyStatus::WithoutEffect(_) => {}
                PropertyStatus::Refused(reason) => {
                    let shown = if has_listed_values(name) { format!("{name}={value}") } else { name.clone() };
                    variables.mistake(format!("the property `{shown}` is refused: {reason}"));
                }
                PropertyStatus::Unknown { nearest } => {
                    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
                    variables.mistake(format!("the property `{name}` is not known{hint}"));
                }
            }
        }
    }

    /// Resolves the references to secrets in the values that are used, and notes those that cannot be.
    fn resolve(&mut self, variables: &mut Variables) {
        let is_idle = |(name, value): (&String, &String)| {
            matches!(self.status(name, value), PropertyStatus::WithoutEffect(_)).then(|| name.clone())
        };
        let idle: BTreeSet<String> = self.properties.iter().filter_map(is_idle).collect();
        for (name, value) in &mut self.properties {
            let replaces = |(property, variable): &(&str, &str)| property == name && variables.is_given(variable);
            let is_replaced = !self.overridden.contains(name) && POSTGRES_VARIABLES.iter().any(replaces);
            if idle.contains(name) || is_replaced || !references::refers(value) {
                continue;
            }
            match references::resolved(variables, value) {
                Ok(text) => *value = text,
                Err(reason) => {
                    variables.mistake(format!("the property `{name}` {reason}"));
                    value.clear();
                }
            }
        }
    }

    /// The properties that are accepted without effect, by the reason, to be said once.
    pub fn without_effect(&self) -> BTreeMap<&'static str, Vec<&str>> {
        let mut idle: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.properties {
            if let PropertyStatus::WithoutEffect(reason) = self.status(name, value) {
                idle.entry(reason).or_default().push(name);
            }
        }
        idle
    }

    /// The properties that were given by an old name, each with today's.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.renamed.iter().map(|(old, today)| (old.as_str(), today.as_str()))
    }

    /// Its name in Kafka Connect.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The properties as they would be posted, under today's names, with the database that evp would reach; references to
    /// secrets stay references.
    pub fn posted(&self, postgres: &PostgresConfig) -> BTreeMap<String, String> {
        let mut posted = self.posted.clone();
        posted.remove("name");
        let mut set = |property: &str, value: String| posted.insert(property.to_owned(), value);
        set("database.hostname", postgres.host.clone());
        set("database.port", postgres.port.to_string());
        set("database.dbname", postgres.database.clone());
        set("database.user", postgres.user.clone());
        if let Some(password) = &postgres.password
            && !self.posted.get("database.password").is_some_and(|given| references::refers(given))
        {
            set("database.password", password.expose().to_owned());
        }
        posted
    }

    /// The properties as they were given, under today's names; references to secrets stay references.
    pub fn given(&self) -> BTreeMap<String, String> {
        self.posted.clone()
    }

    /// The text of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How to reach PostgreSQL: `--set database.*` over `POSTGRES_*` over the file.
    pub fn postgres(&self, variables: &mut Variables) -> PostgresConfig {
        PostgresConfig::from_variables(variables, |property| {
            let value = self.get(property)?.to_owned();
            Some(GivenProperty { value, is_override: self.overridden.contains(property) })
        })
    }

    /// `topic.prefix`.
    pub fn topic_prefix(&self) -> Option<&str> {
        self.get("topic.prefix")
    }

    /// `slot.name`.
    pub fn slot_name(&self) -> &str {
        self.get("slot.name").unwrap_or("debezium")
    }

    /// `publication.name`.
    pub fn publication_name(&self) -> &str {
        self.get("publication.name").unwrap_or("dbz_publication")
    }

    /// The entries of `table.include.list` that are plain `schema.table` names, for set-up.
    pub fn plain_tables(&self) -> Vec<(String, String)> {
        let list = self.get("table.include.list").unwrap_or_default();
        let is_plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        list.split(',')
            .filter_map(|entry| entry.trim().split_once('.'))
            .map(|(schema, table)| (schema.trim_end_matches('\\').to_owned(), table.to_owned()))
            .filter(|(schema, table)| is_plain(schema) && is_plain(table))
            .collect()
    }

    /// Whether `table.include.list` names all captured tables in full.
    pub fn names_tables(&self) -> bool {
        let entries = listed(self.get("table.include.list").unwrap_or_default());
        !entries.is_empty() && entries.len() == self.plain_tables().len()
    }

    /// The topic of a table, after the transforms; `None` where each of its rows says its own.
    pub fn topic_of(&self, schema: &str, table: &str) -> Option<String> {
        let prefix = self.topic_prefix().unwrap_or_default();
        let transforms = self.transforms(&mut Variables::default());
        transforms.topic_of_rows(&topic_name(self.topic_delimiter(), prefix, schema, table))
    }

    /// The topics of tables, each once.
    pub fn topics_of(&self, tables: &[(String, String)]) -> Vec<String> {
        let mut topics: Vec<String> = Vec::new();
        for topic in tables.iter().filter_map(|(schema, table)| self.topic_of(schema, table)) {
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

/// What `read` makes of the shipped file with these properties, and the mistakes that it notes, for tests.
#[cfg(test)]
fn read_from<T>(sets: &[&str], read: impl FnOnce(&Connector, &mut Variables) -> T) -> (T, String) {
    let mut variables = Variables::default();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let connector = Connector::load(&mut variables, None, &sets).unwrap();
    let read = read(&connector, &mut variables);
    (read, variables.finish().err().map(|error| error.to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::envelope::Profile;

    fn load(sets: &[&str]) -> Result<ConnectorSettings> {
        let mut variables = Variables::default();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let connector = Connector::load(&mut variables, None, &sets)?;
        let settings = connector.settings(&mut variables, Profile::V3_6);
        variables.finish().map(|()| settings)
    }

    #[test]
    fn the_shipped_file_is_understood() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.slot_name, "debezium_slot");
        assert_eq!(settings.publication_name, "debezium_publication");
        assert!(settings.tables.accepts("activity", "event_outbox"));
        assert!(!settings.tables.accepts("activity", "event_outbox_archive"));
        assert_eq!(settings.heartbeat_interval, Some(Duration::from_secs(5)));
        assert_eq!(settings.heartbeat_topic, "__debezium-heartbeat.postgres");
        let key = settings.message_keys.columns("activity", "event_outbox", &["event_id", "aggregate_id"]);
        assert_eq!(key, Ok(Some(vec!["aggregate_id".to_owned()])));
    }

    #[test]
    fn a_misspelt_property_is_named_with_its_neighbour() {
        let error = load(&["slot.nmae=other"]).unwrap_err().to_string();
        assert!(error.contains("`slot.nmae`") && error.contains("`slot.name`"), "{error}");
    }

    #[test]
    fn every_refusal_is_reported_together() {
        let error = load(&["value.converter=com.example.Avro", "plugin.name=decoderbufs"]).unwrap_err().to_string();
        assert!(error.contains("value.converter") && error.contains("plugin.name"), "{error}");
    }

    #[test]
    fn modes_are_read_and_others_refused() {
        use crate::typemap::{DecimalMode, TimeMode};
        let handling = load(&["decimal.handling.mode=STRING", "time.precision.mode=isostring"]).unwrap().handling;
        assert_eq!((handling.decimal, handling.time), (DecimalMode::Text, TimeMode::IsoText));
        let error = load(&["time.precision.mode=structured", "money.fraction.digits=two"]).unwrap_err().to_string();
        assert!(
            error.contains("`time.precision.mode=structured`") && error.contains("money.fraction.digits"),
            "{error}"
        );
    }

    #[test]
    fn topics_follow_the_table_and_the_transform() {
        let sets = ["transforms.route.replacement=$1-$3".to_owned()];
        let connector = Connector::load(&mut Variables::default(), None, &sets).unwrap();
        assert_eq!(connector.topic_of("activity", "event_outbox").as_deref(), Some("postgres-event_outbox"));
        assert_eq!(connector.plain_tables(), [("activity".to_owned(), "event_outbox".to_owned())]);
    }
}
