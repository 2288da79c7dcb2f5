//! Everything about a table that can be worked out once, before its rows come.

use super::Profile;
use super::defaults::default_json;
use super::json::write_string;
use super::types::{ColumnType, UnsupportedColumn};
use crate::row::{ColumnShape, TableShape};

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
}

/// A table, ready to write its rows.
#[derive(Debug, Clone)]
pub struct TableEncoder {
    shape: TableShape,
    pub(super) topic: String,
    pub(super) columns: Vec<ColumnEncoder>,
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
    /// Prepares a table; every column has to be of a type that is known exactly.
    pub fn new(shape: TableShape, options: &TableOptions) -> Result<Self, UnsupportedColumn> {
        let mut columns = Vec::with_capacity(shape.columns.len());
        for column in &shape.columns {
            let column_type = ColumnType::of(column.type_oid, column.type_modifier, &column.type_name);
            let column_type = column_type.ok_or_else(|| UnsupportedColumn::Type {
                table: shape.name(),
                column: column.name.clone(),
                type_name: if column.type_name.is_empty() {
                    format!("with object id {}", column.type_oid)
                } else {
                    column.type_name.clone()
                },
            })?;
            columns.push(ColumnEncoder {
                name: quoted_name(&column.name),
                null: null_json(column_type, column),
                column_type,
                unavailable: quoted(&options.unavailable_placeholder),
                plain_name: column.name.clone(),
            });
        }
        let place = |name: &String| columns.iter().position(|column| column.plain_name == *name);
        let key = options.key_columns.iter().filter_map(place).collect();
        Ok(Self {
            topic: options.topic.clone(),
            columns,
            key,
            source_head: source_head(options),
            source_middle: source_middle(options),
            source_table: source_table(&shape),
            profile: options.profile,
            shape,
        })
    }

    /// The table.
    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    /// The topic of the table's records.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

/// JsonConverter puts a column's default in the place of null; NOT NULL columns without one get a filler.
fn null_json(column_type: ColumnType, column: &ColumnShape) -> Vec<u8> {
    let default = column.default_expression.as_deref().and_then(|expression| default_json(column_type, expression));
    default.unwrap_or_else(|| if column.is_not_null { column_type.filler().to_vec() } else { b"null".to_vec() })
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

fn source_table(shape: &TableShape) -> Vec<u8> {
    let mut out = b",\"schema\":".to_vec();
    write_string(&mut out, &shape.schema);
    out.extend_from_slice(b",\"table\":");
    write_string(&mut out, &shape.table);
    out.extend_from_slice(b",\"txId\":");
    out
}
