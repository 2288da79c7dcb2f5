//! The statements by which a table is read in chunks.

use super::progress::{Reading, TableTurn};
use crate::capture::snapshot::{identifier, literal, names, rows_of, where_all};
use crate::postgres::SnapshotTable;
use crate::row::TableShape;

/// A table as its chunks are read.
pub(crate) struct ChunkedTable<'a> {
    table: &'a SnapshotTable,
    shape: &'a TableShape,
    condition: Option<&'a str>,
    /// Columns by whose order it is read: each row has another place in it.
    key: Vec<String>,
}

impl<'a> ChunkedTable<'a> {
    /// The error says why the table cannot be read in chunks.
    pub(crate) fn new(
        turn: &'a TableTurn,
        table: &'a SnapshotTable,
        shape: &'a TableShape,
    ) -> Result<Self, &'static str> {
        if shape.primary_key.is_empty() {
            return Err("it has no primary key");
        }
        if !table.has_ordered_key {
            return Err("its primary key has a type of an extension, whose order is not that of its operators");
        }
        let mut key = shape.primary_key.clone();
        if let Some(surrogate) = &turn.surrogate {
            let column = shape.column(surrogate).ok_or("it does not have the column of surrogate-key")?;
            if !column.is_not_null {
                return Err("the column of surrogate-key may be null");
            }
            key.retain(|column| column != surrogate);
            key.insert(0, surrogate.clone());
        }
        Ok(Self { table, shape, condition: turn.condition.as_deref(), key })
    }

    /// The columns by whose order it is read.
    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    /// Whether a place in the table is of this order.
    pub(crate) fn knows(&self, reading: &Reading) -> bool {
        let is_of_key = |place: &[(String, String)]| place.iter().map(|(name, _)| name).eq(&self.key);
        (reading.after.is_empty() || is_of_key(&reading.after)) && is_of_key(&reading.until)
    }

    /// The table with the columns of the key alone, in its order.
    pub(crate) fn key_shape(&self) -> TableShape {
        let columns = self.key.iter().filter_map(|name| self.shape.column(name).cloned());
        TableShape { columns: columns.collect(), ..self.shape.clone() }
    }

    /// Copies the key of the last row.
    pub(crate) fn last_key(&self) -> String {
        let backwards: Vec<String> = self.key.iter().map(|name| format!("{} DESC", identifier(name))).collect();
        let conditions = where_all(&self.shared_conditions());
        format!(
            "COPY (SELECT {} FROM {}{conditions} ORDER BY {} LIMIT 1) TO STDOUT",
            names(&self.key),
            rows_of(self.table),
            backwards.join(", ")
        )
    }

    /// Copies the rows behind the last one that was read, so many at the most.
    pub(crate) fn next_rows(&self, reading: &Reading, rows_max: u64) -> String {
        let columns: Vec<String> = self.shape.columns.iter().map(|column| column.name.clone()).collect();
        let mut all = self.shared_conditions();
        if !reading.after.is_empty() {
            all.push(self.compared(">", &reading.after));
        }
        all.push(self.compared("<=", &reading.until));
        let conditions = where_all(&all);
        let (columns, order) = (names(&columns), names(&self.key));
        let source = rows_of(self.table);
        format!("COPY (SELECT {columns} FROM {source}{conditions} ORDER BY {order} LIMIT {rows_max}) TO STDOUT")
    }

    /// The publication's filter, and what the signal asks for.
    fn shared_conditions(&self) -> Vec<String> {
        let given = [self.table.row_filter.as_deref(), self.condition];
        given.into_iter().flatten().map(|condition| format!("({condition})")).collect()
    }

    fn compared(&self, operator: &str, place: &[(String, String)]) -> String {
        let values: Vec<String> = place.iter().map(|(name, text)| literal(self.shape, name, text)).collect();
        format!("({}) {operator} ({})", names(&self.key), values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ColumnShape;

    fn table() -> (SnapshotTable, TableShape) {
        let mut columns = vec![ColumnShape::named("v", "text"), ColumnShape::named("n", "integer")];
        columns.push(ColumnShape::named("Id", "character varying(9)"));
        columns.iter_mut().for_each(|column| column.is_not_null = column.name != "v");
        let primary_key = vec!["Id".to_owned()];
        let shape = TableShape { schema: "s".to_owned(), table: "t".to_owned(), columns, primary_key };
        let table = SnapshotTable {
            oid: 1,
            schema: "s".to_owned(),
            table: "t".to_owned(),
            is_partitioned: false,
            has_ordered_key: true,
            row_filter: None,
            estimated_rows: 0,
        };
        (table, shape)
    }

    fn place(place: &[(&str, &str)]) -> Vec<(String, String)> {
        place.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn chunks_follow_each_other_in_the_order_of_the_key_up_to_the_last_row_of_the_beginning() {
        let (table, shape) = table();
        let turn = TableTurn::default();
        let chunked = ChunkedTable::new(&turn, &table, &shape).unwrap();
        assert_eq!(
            chunked.last_key(),
            "COPY (SELECT \"Id\" FROM ONLY \"s\".\"t\" ORDER BY \"Id\" DESC LIMIT 1) TO STDOUT"
        );
        let until = place(&[("Id", "z'z")]);
        let first = chunked.next_rows(&Reading { after: Vec::new(), until: until.clone() }, 3);
        let from = "COPY (SELECT \"v\", \"n\", \"Id\" FROM ONLY \"s\".\"t\" WHERE ";
        let up_to = "(\"Id\") <= ('z''z'::character varying(9)) ORDER BY \"Id\" LIMIT 3) TO STDOUT";
        assert_eq!(first, format!("{from}{up_to}"));
        let next = chunked.next_rows(&Reading { after: place(&[("Id", "b")]), until }, 3);
        assert_eq!(next, format!("{from}(\"Id\") > ('b'::character varying(9)) AND {up_to}"));
    }

    #[test]
    fn conditions_are_those_of_the_publication_and_of_the_signal() {
        let (mut table, shape) = table();
        table.row_filter = Some("n > 1 OR true".to_owned());
        let turn = TableTurn { condition: Some("n < 9 OR false".to_owned()), ..TableTurn::default() };
        let chunked = ChunkedTable::new(&turn, &table, &shape).unwrap();
        assert!(chunked.last_key().contains(" WHERE (n > 1 OR true) AND (n < 9 OR false) ORDER BY "));
        let rows = chunked.next_rows(&Reading { after: Vec::new(), until: place(&[("Id", "z")]) }, 3);
        assert!(rows.contains(" WHERE (n > 1 OR true) AND (n < 9 OR false) AND (\"Id\") <= "));
    }

    #[test]
    fn a_surrogate_key_orders_and_the_primary_key_tells_rows_apart_that_share_it() {
        let (table, shape) = table();
        let turn = TableTurn { surrogate: Some("n".to_owned()), ..TableTurn::default() };
        let chunked = ChunkedTable::new(&turn, &table, &shape).unwrap();
        assert_eq!(chunked.key(), ["n", "Id"]);
        assert_eq!(chunked.key_shape().columns.len(), 2);
        let reading = Reading { after: place(&[("n", "4"), ("Id", "b")]), until: place(&[("n", "9"), ("Id", "z")]) };
        assert!(chunked.knows(&reading));
        assert!(chunked.next_rows(&reading, 3).contains("(\"n\", \"Id\") > ('4'::integer, 'b'::character varying(9))"));
        let turn = TableTurn::default();
        assert!(!ChunkedTable::new(&turn, &table, &shape).unwrap().knows(&reading), "the key has changed");
    }

    #[test]
    fn a_table_that_cannot_be_read_in_chunks_says_why() {
        let (mut table, mut shape) = table();
        let refused = |table: &SnapshotTable, shape: &TableShape, surrogate: Option<&str>| {
            let turn = TableTurn { surrogate: surrogate.map(str::to_owned), ..TableTurn::default() };
            ChunkedTable::new(&turn, table, shape).err()
        };
        assert!(refused(&table, &shape, Some("v")).unwrap().contains("may be null"));
        assert!(refused(&table, &shape, Some("none")).unwrap().contains("surrogate-key"));
        table.has_ordered_key = false;
        assert!(refused(&table, &shape, None).unwrap().contains("extension"));
        shape.primary_key.clear();
        assert!(refused(&table, &shape, None).unwrap().contains("no primary key"));
    }
}
