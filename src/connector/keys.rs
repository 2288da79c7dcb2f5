//! `message.key.columns`: which columns make the key of a table's records, and in which order.

use super::lists::noted;
use crate::config::Variables;
use crate::envelope::Profile;
use crate::pattern::Pattern;
use crate::row::TableShape;

const PROPERTY: &str = "message.key.columns";

/// The property, as one pattern for each column that it lists.
#[derive(Debug, Clone, Default)]
pub struct MessageKeys {
    patterns: Vec<KeyPattern>,
    /// As in Debezium 2.4; later ones keep the listed order.
    is_in_table_order: bool,
}

/// One listed column of one entry.
#[derive(Debug, Clone)]
struct KeyPattern {
    text: String,
    table: Pattern,
    /// Matches `schema.table.column`, as Debezium joins them.
    column: Pattern,
    /// Its table is a name, so that it has to find its column there.
    is_named: bool,
}

impl MessageKeys {
    /// Reads `schema.table:column,column;…`, both parts being regular expressions; mistakes are noted.
    pub(super) fn parse(variables: &mut Variables, text: &str, profile: Profile) -> Self {
        let mut patterns = Vec::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let Some((table, columns)) = entry.rsplit_once(':') else {
                variables.mistake(format!(
                    "the property `{PROPERTY}` has `{entry}`, which is not of the form schema.table:column,column"
                ));
                continue;
            };
            let table = table.trim();
            for column in columns.split(',').map(str::trim) {
                let text = format!("{table}.{column}");
                let patterns_of = (noted(variables, PROPERTY, table), noted(variables, PROPERTY, &text));
                if let (Some(table_pattern), Some(column)) = patterns_of {
                    let is_named = table.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '\\'));
                    patterns.push(KeyPattern { text, table: table_pattern, column, is_named });
                }
            }
        }
        Self { patterns, is_in_table_order: profile == Profile::V2_4 }
    }

    /// The key of a table's records: the columns listed for it, else its primary key, which may be none.
    ///
    /// The error is a listed column that a table named in full does not have.
    pub fn of_table(&self, table: &TableShape) -> Result<Vec<String>, String> {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let listed = self.columns(&table.schema, &table.table, &names)?;
        Ok(listed.unwrap_or_else(|| table.primary_key.clone()))
    }

    /// The key of a table with these columns, as Debezium forms it: pattern by pattern, what each finds in table order.
    ///
    /// `None` leaves the table to its primary key. The error is a listed column that a table named in full does not have.
    pub(super) fn columns(&self, schema: &str, table: &str, columns: &[&str]) -> Result<Option<Vec<String>>, String> {
        let name = format!("{schema}.{table}");
        let mut key: Vec<String> = Vec::new();
        for pattern in &self.patterns {
            let is_found = |column: &&&str| pattern.column.matches(&format!("{name}.{column}"));
            let found: Vec<&str> = columns.iter().filter(is_found).copied().collect();
            if found.is_empty() && pattern.is_named && pattern.table.matches(&name) {
                return Err(pattern.text.clone());
            }
            for column in found {
                if !key.iter().any(|known| known == column) {
                    key.push(column.to_owned());
                }
            }
        }
        if self.is_in_table_order {
            key.sort_by_key(|name| columns.iter().position(|column| column == name));
        }
        Ok((!key.is_empty()).then_some(key))
    }
}

/// The key of a table without a primary key, of the columns of its unique indexes in Debezium's order, each with its index:
/// the columns of the first index that has no expression, be they null or the index partial.
///
/// Debezium tells an expression by what it looks like, so one that is a mere cast is taken for a column; there is none of
/// that name, and the key is without it.
pub fn key_of_indexes(columns: Vec<(String, String)>) -> Vec<String> {
    let mut indexes: Vec<(String, Vec<String>)> = Vec::new();
    for (index, column) in columns {
        match indexes.last_mut().filter(|(last, _)| *last == index) {
            Some((_, columns)) => columns.push(column),
            None => indexes.push((index, vec![column])),
        }
    }
    let has_no_expression = |(_, columns): &(String, Vec<String>)| !columns.iter().any(|column| is_expression(column));
    indexes.into_iter().find(has_no_expression).map(|(_, columns)| columns).unwrap_or_default()
}

/// A call, or an operator in parentheses.
fn is_expression(text: &str) -> bool {
    let Some(text) = text.strip_suffix(')') else { return false };
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    let called = text.strip_prefix('(').unwrap_or(text).split_once('(');
    if called.is_some_and(|(name, _)| is_name(name)) {
        return true;
    }
    let Some(inner) = text.strip_prefix('(') else { return false };
    let operator = inner.char_indices().skip(1).find(|(_, c)| "+ */<>=~!@#%^&|`?".contains(*c));
    operator.is_some_and(|(at, _)| inner.len() > at.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(property: &str, table: &str) -> Result<Option<Vec<String>>, String> {
        key_of(property, table, Profile::V3_6)
    }

    fn key_of(property: &str, table: &str, profile: Profile) -> Result<Option<Vec<String>>, String> {
        let mut variables = Variables::default();
        let keys = MessageKeys::parse(&mut variables, property, profile);
        assert!(variables.finish().is_ok(), "{property}");
        keys.columns("s", table, &["a", "b", "p_id", "q_id"])
    }

    #[test]
    fn all_entries_of_a_table_are_merged_in_the_listed_order() {
        let listed = |columns: &[&str]| Ok(Some(columns.iter().map(|column| (*column).to_owned()).collect()));
        assert_eq!(key("s.t:b,a", "t"), listed(&["b", "a"]));
        assert_eq!(key("s.t:q_id; s.(t|u):b", "t"), listed(&["q_id", "b"]));
        assert_eq!(key("S.T:(P|q)_ID,a", "t"), listed(&["p_id", "q_id", "a"]));
        assert_eq!(key("s.t:a;s.t:a,b", "t"), listed(&["a", "b"]));
        assert_eq!(key_of("s.t:b,a", "t", Profile::V2_4), listed(&["a", "b"]));
    }

    #[test]
    fn a_table_that_no_entry_speaks_of_has_its_primary_key() {
        assert_eq!(key("s.t:a", "u"), Ok(None));
        assert_eq!(key(".*:tenant", "t"), Ok(None), "a pattern for many tables need not fit all");
        assert_eq!(key("s.t:tenant", "t"), Err("s.t.tenant".to_owned()));
    }

    #[test]
    fn the_first_unique_index_without_an_expression_is_the_key() {
        let key = |columns: &[(&str, &str)]| {
            let columns = columns.iter().map(|(index, column)| ((*index).to_owned(), (*column).to_owned()));
            key_of_indexes(columns.collect())
        };
        assert_eq!(key(&[("a", "x"), ("a", "y"), ("b", "z")]), ["x", "y"]);
        assert_eq!(key(&[("a", "x"), ("a", "lower(y)"), ("b", "z")]), ["z"]);
        assert_eq!(key(&[("a", "(x || 'v'::text)"), ("b", "((y + 1))"), ("c", "z")]), ["z"]);
        assert_eq!(key(&[("a", "((x)::text)"), ("b", "z")]), ["((x)::text)"]);
        assert_eq!(key(&[("a", "Odd (name)")]), ["Odd (name)"]);
        assert_eq!(key(&[]), [""; 0]);
    }
}
