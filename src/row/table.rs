//! The shape of a table: what the stream and the catalog together say of it.

use crate::typemap::{PgType, SourceType};

/// A table with the columns that are told of its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableShape {
    /// Schema.
    pub schema: String,
    /// Table name.
    pub table: String,
    /// Columns in the order of the rows' values.
    pub columns: Vec<ColumnShape>,
    /// Columns of the primary key in key order, without those that its index only includes; empty if one is not told.
    pub primary_key: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnShape {
    /// Column name.
    pub name: String,
    /// Object id of the type.
    pub type_oid: u32,
    /// Type modifier, -1 if none.
    pub type_modifier: i32,
    /// Type name such as `character varying(50)`; empty if the catalog no longer has the column.
    pub type_name: String,
    /// The type, as deep as it goes; without a name until the catalog was asked for it.
    pub pg_type: PgType,
    /// Declared NOT NULL.
    pub is_not_null: bool,
    /// The default's expression as PostgreSQL prints it.
    pub default_expression: Option<String>,
    /// Part of the replica identity.
    pub is_identity: bool,
}

impl ColumnShape {
    /// What Debezium calls its type, which is known once the catalog was asked.
    pub fn source_type(&self, is_snapshot: bool) -> SourceType {
        SourceType::of(&self.pg_type, self.type_modifier, self.default_expression.as_deref(), is_snapshot)
    }
}

impl TableShape {
    /// `schema.table`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnShape> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The same with the columns of these names alone.
    #[must_use]
    pub fn with_columns(mut self, names: &[String]) -> Self {
        self.columns.retain(|column| names.contains(&column.name));
        if !self.primary_key.iter().all(|name| names.contains(name)) {
            self.primary_key.clear();
        }
        self
    }
}

#[cfg(test)]
impl ColumnShape {
    /// A column of which a test asks no more than this.
    pub(crate) fn named(name: &str, type_name: &str) -> Self {
        Self {
            name: name.to_owned(),
            type_oid: 0,
            type_modifier: -1,
            type_name: type_name.to_owned(),
            pg_type: PgType::default(),
            is_not_null: false,
            default_expression: None,
            is_identity: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_which_a_column_is_not_told_is_none() {
        let column = |name: &str| ColumnShape::named(name, "text");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = TableShape {
            columns: vec![column("a"), column("b"), column("c")],
            primary_key: names(&["b", "a"]),
            ..TableShape::default()
        };
        let whole = table.clone().with_columns(&names(&["a", "b"]));
        assert_eq!((whole.columns.len(), whole.primary_key), (2, names(&["b", "a"])));
        assert!(whole.columns.iter().all(|column| column.name != "c"));
        assert!(table.with_columns(&names(&["a", "c"])).primary_key.is_empty());
    }
}
