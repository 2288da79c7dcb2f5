//! Everything about a table that can be worked out once, before its rows come.

use super::Profile;
use super::json::write_string;
use crate::pgoutput::Relation;
use crate::typemap::{ColumnType, Handling, PgType};

/// What the catalog adds to a relation message, per column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Column name.
    pub name: String,
    /// Its type, as deep as it goes.
    pub pg_type: PgType,
    /// Declared NOT NULL.
    pub is_not_null: bool,
    /// The default's expression.
    pub default_expression: Option<String>,
}

/// How records of a table are to look.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// Whose bytes are imitated.
    pub profile: Profile,
    /// `source.name`.
    pub topic_prefix: String,
    /// `source.db`.
    pub database: String,
    /// Topic of the table.
    pub topic: String,
    /// Columns of the key in its order; empty for a table without one.
    pub key_columns: Vec<String>,
    /// Stands in for values that are not in the log.
    pub unavailable_placeholder: String,
    /// What types become where there is a choice.
    pub handling: Handling,
}

/// A table, ready to write its rows.
#[derive(Debug, Clone)]
pub struct TableEncoder {
    pub(super) topic: String,
    /// In the order of a row's values; `None` where a column is left out.
    pub(super) columns: Vec<Option<ColumnEncoder>>,
    /// Places of the key's columns, in the key's order.
    pub(super) key: Vec<usize>,
    /// `,"source":{…"ts_ms":`, up to the first value that differs between rows.
    pub(super) source_head: Vec<u8>,
    /// `,"snapshot":"false","db":"…","sequence":`.
    pub(super) source_middle: Vec<u8>,
    /// `,"schema":"…","table":"…","txId":`.
    pub(super) source_table: Vec<u8>,
    pub(super) profile: Profile,
}

/// A column, ready to write its values.
#[derive(Debug, Clone)]
pub(super) struct ColumnEncoder {
    /// `"name":`.
    pub(super) name: Vec<u8>,
    pub(super) column_type: ColumnType,
    /// Written where the value is null: `null`, the default, or the filler of a NOT NULL column.
    pub(super) null: Vec<u8>,
    /// Written where the value is not in the log.
    pub(super) unavailable: Vec<u8>,
    pub(super) plain_name: String,
}

impl TableEncoder {
    /// Prepares a table; columns of types that Debezium does not know are left out, as it does.
    pub fn new(relation: &Relation, facts: &[ColumnFacts], options: &TableOptions) -> Self {
        let mut columns = Vec::with_capacity(relation.columns.len());
        for column in &relation.columns {
            // A column that the catalog no longer has is written as nullable and without default.
            let known = facts.iter().find(|facts| facts.name == column.name).cloned().unwrap_or_default();
            let column_type = ColumnType::of(&known.pg_type, column.type_modifier, &options.handling);
            columns.push(column_type.map(|column_type| {
                let null = null_json(&column_type, &known);
                ColumnEncoder {
                    name: quoted_name(&column.name),
                    unavailable: column_type.missing(&options.unavailable_placeholder).unwrap_or_else(|| null.clone()),
                    null,
                    column_type,
                    plain_name: column.name.clone(),
                }
            }));
        }
        let is_named = |column: &Option<ColumnEncoder>, name: &String| {
            column.as_ref().is_some_and(|column| column.plain_name == *name)
        };
        let place = |name: &String| columns.iter().position(|column| is_named(column, name));
        let key = options.key_columns.iter().filter_map(place).collect();
        Self {
            topic: options.topic.clone(),
            columns,
            key,
            source_head: source_head(options),
            source_middle: source_middle(options),
            source_table: source_table(relation),
            profile: options.profile,
        }
    }

    /// The topic of the table's records.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

/// JsonConverter puts a column's default in the place of null; NOT NULL columns without one get a filler.
fn null_json(column_type: &ColumnType, facts: &ColumnFacts) -> Vec<u8> {
    let default = facts.default_expression.as_deref().and_then(|expression| column_type.default_json(expression));
    default.unwrap_or_else(|| if facts.is_not_null { column_type.filler().to_vec() } else { b"null".to_vec() })
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

fn quoted_name(name: &str) -> Vec<u8> {
    let mut out = quoted(name);
    out.push(b':');
    out
}

fn source_head(options: &TableOptions) -> Vec<u8> {
    let mut out = b",\"source\":{\"version\":".to_vec();
    write_string(&mut out, options.profile.version());
    out.extend_from_slice(b",\"connector\":\"postgresql\",\"name\":");
    write_string(&mut out, &options.topic_prefix);
    out.extend_from_slice(b",\"ts_ms\":");
    out
}

fn source_middle(options: &TableOptions) -> Vec<u8> {
    let mut out = b",\"snapshot\":\"false\",\"db\":".to_vec();
    write_string(&mut out, &options.database);
    out.extend_from_slice(b",\"sequence\":");
    out
}

fn source_table(relation: &Relation) -> Vec<u8> {
    let mut out = b",\"schema\":".to_vec();
    write_string(&mut out, &relation.schema);
    out.extend_from_slice(b",\"table\":");
    write_string(&mut out, &relation.table);
    out.extend_from_slice(b",\"txId\":");
    out
}
