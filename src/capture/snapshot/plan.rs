//! What is read, and in which order: tables, statements, and the marks of rows.

use crate::connector::ConnectorSettings;
use crate::envelope::SnapshotMark;
use crate::postgres::SnapshotTable;
use crate::row::TableShape;

/// Whether a captured table is read. The rows of the signal table are told by the stream alone.
pub(super) fn is_included(settings: &ConnectorSettings, schema: &str, table: &str) -> bool {
    settings.snapshot.includes(schema, table) && !settings.tables.is_signal_table(schema, table)
}

/// The tables of a snapshot in Debezium's order: that of the table list's expressions, else that of their names.
pub(super) fn ordered(mut tables: Vec<SnapshotTable>, settings: &ConnectorSettings) -> Vec<SnapshotTable> {
    tables.retain(|table| is_included(settings, &table.schema, &table.table));
    in_order(tables, settings)
}

/// All of them in that order.
pub(in crate::capture) fn in_order(mut tables: Vec<SnapshotTable>, settings: &ConnectorSettings) -> Vec<SnapshotTable> {
    let place = |table: &SnapshotTable| settings.tables.place_in_list(&table.schema, &table.table);
    tables.sort_by_cached_key(|table| (place(table), table.schema.clone(), table.table.clone()));
    tables
}

/// How a table is read.
pub(in crate::capture) struct TableRead<'a> {
    pub(in crate::capture) table: &'a SnapshotTable,
    /// The connector's own statement for it, or a signal's.
    pub(in crate::capture) statement: Option<&'a str>,
}

impl TableRead<'_> {
    /// The columns by whose order it can be read bit by bit: its primary key, if the server compares it by operators of
    /// its own, which are found whatever the search path is.
    pub(in crate::capture) fn key<'s>(&self, shape: &'s TableShape) -> &'s [String] {
        if self.table.has_ordered_key && self.statement.is_none() { &shape.primary_key } else { &[] }
    }

    /// Copies the rows behind the key `after`, or all.
    pub(in crate::capture) fn copy_statement(&self, shape: &TableShape, after: &[(String, String)]) -> String {
        let columns: Vec<String> = shape.columns.iter().map(|column| column.name.clone()).collect();
        let source = self.source();
        let key = self.key(shape);
        let mut conditions: Vec<String> = self
            .table
            .row_filter
            .iter()
            .filter(|_| self.statement.is_none())
            .map(|filter| format!("({filter})"))
            .collect();
        if !after.is_empty() {
            let values: Vec<String> = after.iter().map(|(name, text)| literal(shape, name, text)).collect();
            conditions.push(format!("({}) > ({})", names(key), values.join(", ")));
        }
        let condition = where_all(&conditions);
        let order = if key.is_empty() { String::new() } else { format!(" ORDER BY {}", names(key)) };
        format!("COPY (SELECT {} FROM {source}{condition}{order}) TO STDOUT", names(&columns))
    }

    /// Asks whether there is a row at all.
    pub(in crate::capture) fn exists_statement(&self) -> String {
        let filter = self.table.row_filter.as_ref().filter(|_| self.statement.is_none());
        let condition = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        format!("SELECT EXISTS (SELECT FROM {}{condition})", self.source())
    }

    fn source(&self) -> String {
        match self.statement {
            Some(statement) => format!("({}) AS evp_rows", statement.trim().trim_end_matches(';')),
            None => rows_of(self.table),
        }
    }
}

/// Tables that inherit from a table are published, and read, under their own names.
pub(in crate::capture) fn rows_of(table: &SnapshotTable) -> String {
    let only = if table.is_partitioned { "" } else { "ONLY " };
    format!("{only}{}.{}", identifier(&table.schema), identifier(&table.table))
}

pub(in crate::capture) fn literal(shape: &TableShape, column: &str, text: &str) -> String {
    let type_name = shape.column(column).map_or("text", |column| column.type_name.as_str());
    format!("'{}'::{type_name}", text.replace('\'', "''"))
}

pub(in crate::capture) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(in crate::capture) fn names(names: &[String]) -> String {
    names.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ")
}

pub(in crate::capture) fn where_all(conditions: &[String]) -> String {
    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture) struct RowPlace {
    /// Its table is the first one, which may have no rows.
    pub(in crate::capture) is_in_first_table: bool,
    pub(in crate::capture) is_first_of_table: bool,
    pub(in crate::capture) is_last_of_table: bool,
    /// No row follows in any table.
    pub(in crate::capture) is_last: bool,
}

impl RowPlace {
    /// Debezium's word for it.
    pub(in crate::capture) fn mark(self) -> SnapshotMark {
        match self {
            Self { is_last: true, .. } => SnapshotMark::Last,
            Self { is_in_first_table: true, is_first_of_table: true, .. } => SnapshotMark::First,
            Self { is_last_of_table: true, .. } => SnapshotMark::LastInTable,
            Self { is_first_of_table: true, .. } => SnapshotMark::FirstInTable,
            _ => SnapshotMark::True,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ColumnShape;

    fn table() -> (SnapshotTable, TableShape) {
        let (schema, name) = ("s".to_owned(), "Odd \"t\"".to_owned());
        let columns = vec![
            ColumnShape::named("v", "text"),
            ColumnShape::named("id", "integer"),
            ColumnShape::named("at", "timestamp with time zone"),
        ];
        let shape = TableShape {
            schema: schema.clone(),
            table: name.clone(),
            columns,
            primary_key: vec!["id".to_owned(), "at".to_owned()],
        };
        let table = SnapshotTable {
            oid: 1,
            schema,
            table: name,
            is_partitioned: false,
            has_ordered_key: true,
            row_filter: None,
            estimated_rows: 0,
        };
        (table, shape)
    }

    #[test]
    fn a_table_is_read_in_the_order_of_its_key_from_where_it_was_left() {
        let (mut table, shape) = table();
        let after = [("id".to_owned(), "7".to_owned()), ("at".to_owned(), "it's".to_owned())];
        let read = TableRead { table: &table, statement: None };
        let from = "COPY (SELECT \"v\", \"id\", \"at\" FROM ONLY \"s\".\"Odd \"\"t\"\"\"";
        assert_eq!(read.copy_statement(&shape, &[]), format!("{from} ORDER BY \"id\", \"at\") TO STDOUT"));
        let behind = "(\"id\", \"at\") > ('7'::integer, 'it''s'::timestamp with time zone)";
        assert_eq!(
            read.copy_statement(&shape, &after),
            format!("{from} WHERE {behind} ORDER BY \"id\", \"at\") TO STDOUT")
        );
        table.row_filter = Some("id > 3 OR true".to_owned());
        let read = TableRead { table: &table, statement: None };
        assert!(read.copy_statement(&shape, &after).contains(&format!("WHERE (id > 3 OR true) AND {behind}")));
        assert!(read.exists_statement().ends_with("WHERE id > 3 OR true)"));
    }

    #[test]
    fn what_the_server_cannot_order_by_itself_is_read_at_once() {
        let (mut table, shape) = table();
        (table.has_ordered_key, table.is_partitioned) = (false, true);
        let read = TableRead { table: &table, statement: None };
        assert_eq!(
            read.copy_statement(&shape, &[]),
            "COPY (SELECT \"v\", \"id\", \"at\" FROM \"s\".\"Odd \"\"t\"\"\") TO STDOUT"
        );
        table.has_ordered_key = true;
        let read = TableRead { table: &table, statement: Some("SELECT * FROM x ORDER BY 1; ") };
        assert!(read.key(&shape).is_empty());
        assert!(read.copy_statement(&shape, &[]).contains("FROM (SELECT * FROM x ORDER BY 1) AS evp_rows) TO"));
    }

    /// As Debezium 3.6.1 marked rows of tables with none, one and several of them.
    #[test]
    fn rows_are_marked_as_debezium_marks_them() {
        let mark = |flags: [bool; 4]| {
            let [is_in_first_table, is_first_of_table, is_last_of_table, is_last] = flags;
            RowPlace { is_in_first_table, is_first_of_table, is_last_of_table, is_last }.mark().word()
        };
        assert_eq!(mark([true, true, true, true]), "last", "the only row of all");
        assert_eq!(mark([true, true, true, false]), "first", "the only row of the first table");
        assert_eq!(mark([false, true, true, false]), "last_in_data_collection", "the only row of another");
        assert_eq!(mark([false, true, false, false]), "first_in_data_collection");
        assert_eq!(mark([true, false, false, false]), "true");
        assert_eq!(mark([true, false, true, false]), "last_in_data_collection");
    }
}
