//! `snapshot.*`: whether, when and of which tables a snapshot is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Connector;
use super::lists::noted;
use crate::config::Variables;
use crate::pattern::{Pattern, listed};

/// `snapshot.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotMode {
    /// At every start.
    Always,
    /// Before anything is streamed, once.
    #[default]
    Initial,
    /// The same, and nothing is streamed.
    InitialOnly,
    /// Once, and where changes are missing.
    WhenNeeded,
    /// Never.
    NoData,
}

impl SnapshotMode {
    /// From the property; other words are refused before.
    fn from_word(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "always" => Self::Always,
            "initial_only" => Self::InitialOnly,
            "when_needed" => Self::WhenNeeded,
            "no_data" | "never" | "when_needed_no_data" => Self::NoData,
            _ => Self::Initial,
        }
    }
}

/// What the connector says of snapshots.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSettings {
    /// When one is taken.
    pub mode: SnapshotMode,
    /// `snapshot.include.collection.list`; empty for all captured tables.
    include: Vec<Pattern>,
    /// `snapshot.select.statement.overrides`, by `schema.table`.
    statements: BTreeMap<String, String>,
    /// Between taking the slot and reading the first table.
    pub delay: Duration,
    /// How long a table that is being altered is waited for.
    pub lock_timeout: Duration,
}

impl SnapshotSettings {
    /// From the properties; mistakes are noted.
    pub(super) fn of(connector: &Connector, variables: &mut Variables) -> Self {
        let list = "snapshot.include.collection.list";
        let entries = listed(connector.get(list).unwrap_or_default());
        let include = entries.iter().filter_map(|entry| noted(variables, list, entry)).collect();
        let delay_ms = connector.number(variables, "snapshot.delay.ms", 0);
        let lock_ms = connector.number(variables, "snapshot.lock.timeout.ms", 10_000);
        Self {
            mode: SnapshotMode::from_word(connector.get("snapshot.mode").unwrap_or_default()),
            include,
            statements: statements(connector, variables),
            delay: Duration::from_millis(delay_ms),
            lock_timeout: Duration::from_millis(lock_ms),
        }
    }

    /// Whether a snapshot reads a captured table.
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        let name = format!("{schema}.{table}");
        self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(&name))
    }

    /// The statement that reads a table in the place of one that reads all of it.
    pub fn statement(&self, schema: &str, table: &str) -> Option<&str> {
        self.statements.get(&format!("{schema}.{table}")).map(String::as_str)
    }
}

fn statements(connector: &Connector, variables: &mut Variables) -> BTreeMap<String, String> {
    let property = "snapshot.select.statement.overrides";
    let mut statements = BTreeMap::new();
    for table in listed(connector.get(property).unwrap_or_default()) {
        match connector.get(&format!("{property}.{table}")) {
            Some(statement) => drop(statements.insert(table, statement.to_owned())),
            None => variables.mistake(format!(
                "the property `{property}` names {table}, but there is no `{property}.{table}` with its statement"
            )),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::read_from;

    fn settings(sets: &[&str]) -> (SnapshotSettings, String) {
        read_from(sets, SnapshotSettings::of)
    }

    #[test]
    fn old_and_new_words_of_a_mode_are_the_same_and_none_means_initial() {
        let words = [("", SnapshotMode::Initial), ("NEVER", SnapshotMode::NoData), ("no_data", SnapshotMode::NoData)];
        for (word, mode) in words.into_iter().chain([("initial_only", SnapshotMode::InitialOnly)]) {
            assert_eq!(settings(&[&format!("snapshot.mode={word}")]).0.mode, mode, "{word}");
        }
    }

    #[test]
    fn tables_are_included_by_expression_and_read_by_a_statement_of_their_own() {
        let (settings, _) = settings(&[
            "snapshot.include.collection.list=app\\.ORDERS, app.v.*",
            "snapshot.select.statement.overrides=app.orders",
            "snapshot.select.statement.overrides.app.orders=SELECT * FROM app.orders WHERE id > 1",
        ]);
        assert!(settings.includes("app", "orders") && settings.includes("app", "visits"));
        assert!(!settings.includes("app", "users"));
        assert!(settings.statement("app", "orders").is_some_and(|text| text.ends_with("> 1")));
        assert_eq!(settings.statement("app", "visits"), None);
    }

    #[test]
    fn a_table_without_its_statement_and_an_expression_that_does_not_compile_are_mistakes() {
        let (_, said) = settings(&["snapshot.select.statement.overrides=a.b", "snapshot.include.collection.list=a.("]);
        assert!(said.contains("`snapshot.select.statement.overrides.a.b`") && said.contains("`a.(`"), "{said}");
    }
}
