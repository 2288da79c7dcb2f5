//! Which schemas, tables and columns are captured: `schema.`, `table.` and `column.include.list` and `.exclude.list`.

use super::signals::parse_table;
use crate::config::Variables;
use crate::pattern::{Pattern, listed};

/// The include or the exclude list of one property's family; at most one is given.
#[derive(Debug, Clone, Default)]
struct List {
    property: String,
    patterns: Vec<Pattern>,
    excludes: bool,
}

impl List {
    /// From the include or the exclude list of a family; mistakes are noted.
    fn parse<'a>(variables: &mut Variables, family: &str, given: &impl Fn(&str) -> Option<&'a str>) -> Self {
        let [include, exclude] = ["include", "exclude"].map(|kind| format!("{family}.{kind}.list"));
        if given(&include).is_some() && given(&exclude).is_some() {
            variables.mistake(format!(
                "the properties `{include}` and `{exclude}` are both given: Debezium takes one of them"
            ));
        }
        let excludes = given(&include).is_none();
        let property = if excludes { exclude } else { include };
        let entries = listed(given(&property).unwrap_or_default());
        let patterns = entries.iter().filter_map(|entry| noted(variables, &property, entry)).collect();
        Self { property, patterns, excludes }
    }

    fn accepts(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(name)) != self.excludes
    }

    fn is_of_includes(&self) -> bool {
        !self.property.ends_with("exclude.list")
    }

    /// Entries that match none of the names, each with its property.
    fn idle_entries<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
        let is_idle = |pattern: &&Pattern| !names.clone().any(|name| pattern.matches(name));
        let entries = self.patterns.iter().filter(is_idle);
        entries.map(|pattern| format!("`{}` of {}", pattern.text(), self.property)).collect()
    }
}

/// Which logical messages are captured: `message.prefix.include.list` and `.exclude.list`.
#[derive(Debug, Clone, Default)]
pub struct MessagePrefixes(List);

impl MessagePrefixes {
    /// From the properties that `given` knows; mistakes are noted.
    pub(super) fn parse<'a>(variables: &mut Variables, given: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self(List::parse(variables, "message.prefix", &given))
    }

    /// Whether messages of this prefix are written.
    pub fn accepts(&self, prefix: &str) -> bool {
        self.0.accepts(prefix)
    }
}

/// The lists; as in Debezium their entries are matched as a whole and in any case.
#[derive(Debug, Clone, Default)]
pub struct CaptureLists {
    schemas: List,
    tables: List,
    columns: List,
    /// The signal table, which is captured whatever the lists say.
    signals: Option<(String, String)>,
}

impl CaptureLists {
    /// From the properties that `given` knows; mistakes are noted.
    pub(super) fn parse<'a>(variables: &mut Variables, given: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut list = |family: &str| List::parse(variables, family, &given);
        let signals = given("signal.data.collection").and_then(parse_table);
        Self { schemas: list("schema"), tables: list("table"), columns: list("column"), signals }
    }

    /// Whether changes of this table are streamed.
    pub fn accepts(&self, schema: &str, table: &str) -> bool {
        let is_listed = || self.schemas.accepts(schema) && self.tables.accepts(&format!("{schema}.{table}"));
        self.is_signal_table(schema, table) || is_listed()
    }

    /// Whether there is no list of schemas or tables.
    pub fn take_all(&self) -> bool {
        self.schemas.patterns.is_empty() && self.tables.patterns.is_empty()
    }

    /// Whether it is the table of signals.
    pub fn is_signal_table(&self, schema: &str, table: &str) -> bool {
        self.signals.as_ref().is_some_and(|signals| signals.0 == schema && signals.1 == table)
    }

    /// The place of the first expression of `table.include.list` that takes this table; tables without one come last.
    pub fn place_in_list(&self, schema: &str, table: &str) -> usize {
        let name = format!("{schema}.{table}");
        let including = if self.tables.excludes { &[][..] } else { &self.tables.patterns };
        including.iter().position(|pattern| pattern.matches(&name)).unwrap_or(usize::MAX)
    }

    /// Whether values hold this column.
    pub fn accepts_column(&self, schema: &str, table: &str, column: &str) -> bool {
        self.columns.accepts(&format!("{schema}.{table}.{column}"))
    }

    /// Entries of schemas and tables that match none of the published `schema.table`s. What is to be left out need not be
    /// published.
    pub fn idle_table_entries(&self, tables: &[(String, String)]) -> Vec<String> {
        let names: Vec<String> = tables.iter().map(|(schema, table)| format!("{schema}.{table}")).collect();
        let schemas = tables.iter().map(|(schema, _)| schema.as_str());
        let mut idle = Vec::new();
        if self.schemas.is_of_includes() {
            idle.extend(self.schemas.idle_entries(schemas));
        }
        if self.tables.is_of_includes() {
            idle.extend(self.tables.idle_entries(names.iter().map(String::as_str)));
        }
        idle
    }

    /// Entries that match none of the captured `schema.table.column`s.
    pub fn idle_column_entries(&self, columns: &[String]) -> Vec<String> {
        self.columns.idle_entries(columns.iter().map(String::as_str))
    }
}

/// An entry of a list, unless it is a mistake, which is noted.
pub(super) fn noted(variables: &mut Variables, property: &str, entry: &str) -> Option<Pattern> {
    Pattern::whole_in_any_case(entry)
        .map_err(|reason| {
            variables.mistake(format!("the property `{property}` has `{entry}`, which is refused: {reason}"));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(given: &[(&str, &'static str)]) -> (CaptureLists, String) {
        let mut variables = Variables::default();
        let value = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let lists = CaptureLists::parse(&mut variables, value);
        (lists, variables.finish().err().map(|error| error.to_string()).unwrap_or_default())
    }

    #[test]
    fn a_table_has_to_pass_the_schemas_and_the_tables() {
        let (lists, _) =
            lists(&[("schema.include.list", "app, Sales.*"), ("table.exclude.list", "app\\.(log|tmp_.*)")]);
        for (schema, table, expected) in [
            ("app", "orders", true),
            ("app", "log", false),
            ("APP", "TMP_1", false),
            ("sales_eu", "log", true),
            ("public", "orders", false),
        ] {
            assert_eq!(lists.accepts(schema, table), expected, "{schema}.{table}");
        }
        assert_eq!(
            lists.idle_table_entries(&[("app".to_owned(), "log".to_owned())]),
            ["`Sales.*` of schema.include.list"]
        );
        assert!(lists.accepts_column("app", "orders", "id"), "no list takes all");
    }

    #[test]
    fn the_table_of_signals_is_captured_whatever_the_lists_say() {
        let (lists, _) = lists(&[("table.include.list", "app.orders"), ("signal.data.collection", "app.signals")]);
        assert!(lists.accepts("app", "signals") && lists.is_signal_table("app", "signals"));
        assert!(!lists.accepts("app", "others") && !lists.is_signal_table("app", "orders"));
    }

    #[test]
    fn columns_are_named_in_full() {
        let (lists, _) = lists(&[("column.exclude.list", "app.users.(password|pin), app.users.ssn")]);
        assert!(lists.accepts_column("app", "users", "name") && !lists.accepts_column("app", "users", "PIN"));
        let columns = ["app.users.name".to_owned(), "app.users.pin".to_owned()];
        assert_eq!(lists.idle_column_entries(&columns), ["`app.users.ssn` of column.exclude.list"]);
    }

    #[test]
    fn two_lists_of_one_kind_and_an_expression_that_does_not_compile_are_mistakes() {
        let (_, said) = lists(&[("table.include.list", "a.b"), ("table.exclude.list", "a.(")]);
        assert!(said.contains("both") && said.contains("`table.include.list`"), "{said}");
        let (_, said) = lists(&[("table.exclude.list", "a.(")]);
        assert!(said.contains("`a.(`") && said.lines().count() == 1, "{said}");
    }
}
