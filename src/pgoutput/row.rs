//! From a message's tables and tuples to those of [`crate::row`], without copying a value.

use super::message::{Change, OldTuple, OldTupleKind, Relation, RelationColumn, ReplicaIdentity};
use crate::row::{ColumnShape, OldRow, RowChange, TableShape};
use crate::typemap::PgType;

impl Change {
    /// The change, borrowed.
    pub fn row(&self) -> RowChange<'_> {
        match self {
            Self::Insert { new, .. } => RowChange::Create { new: new.values() },
            Self::Update { old, new, .. } => {
                RowChange::Update { old: old.as_ref().map(OldTuple::row), new: new.values() }
            }
            Self::Delete { old, .. } => RowChange::Delete { old: old.row() },
        }
    }
}

impl OldTuple {
    fn row(&self) -> OldRow<'_> {
        OldRow { values: self.tuple.values(), is_whole: self.kind == OldTupleKind::Full }
    }
}

impl Relation {
    /// The table as the stream has it, with what only the catalog knows; that may be of a later time.
    pub fn shape(&self, catalog: &TableShape) -> TableShape {
        TableShape {
            schema: self.schema.clone(),
            table: self.table.clone(),
            columns: self.columns.iter().map(|column| column.shape(catalog)).collect(),
            primary_key: self.primary_key(catalog),
        }
    }

    /// The catalog's primary key; if the table or a column of it has gone since the row was written, what the stream says.
    fn primary_key(&self, catalog: &TableShape) -> Vec<String> {
        let has = |name: &String| self.columns.iter().any(|column| column.name == *name);
        if !catalog.primary_key.is_empty() && catalog.primary_key.iter().all(has) {
            return catalog.primary_key.clone();
        }
        match self.replica_identity {
            ReplicaIdentity::Default => {
                self.columns.iter().filter(|column| column.is_key).map(|column| column.name.clone()).collect()
            }
            // It marks other columns than those of the primary key.
            ReplicaIdentity::Full | ReplicaIdentity::Index | ReplicaIdentity::Nothing => Vec::new(),
        }
    }
}

impl RelationColumn {
    /// A column that the catalog no longer has is taken as nullable and without default.
    fn shape(&self, catalog: &TableShape) -> ColumnShape {
        let known = catalog.column(&self.name);
        ColumnShape {
            name: self.name.clone(),
            type_oid: self.type_oid,
            type_modifier: self.type_modifier,
            type_name: known.map(|known| known.type_name.clone()).unwrap_or_default(),
            pg_type: PgType::default(),
            is_not_null: known.is_some_and(|known| known.is_not_null),
            default_expression: known.and_then(|known| known.default_expression.clone()),
            is_identity: self.is_key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::RelationId;
    use super::*;

    fn relation(replica_identity: ReplicaIdentity) -> Relation {
        let column =
            |name: &str, is_key| RelationColumn { is_key, name: name.to_owned(), type_oid: 25, type_modifier: -1 };
        Relation {
            id: RelationId(7),
            schema: "s".to_owned(),
            table: "t".to_owned(),
            replica_identity,
            columns: vec![column("a", true), column("b", false)],
        }
    }

    fn catalog(primary_key: &[&str]) -> TableShape {
        let column = ColumnShape {
            name: "b".to_owned(),
            type_oid: 1,
            type_modifier: 9,
            type_name: "of the catalog".to_owned(),
            pg_type: PgType::default(),
            is_not_null: true,
            default_expression: Some("1".to_owned()),
            is_identity: false,
        };
        let primary_key = primary_key.iter().map(|name| (*name).to_owned()).collect();
        TableShape { columns: vec![column], primary_key, ..TableShape::default() }
    }

    #[test]
    fn types_are_those_of_the_stream_and_the_rest_is_the_catalogs() {
        let shape = relation(ReplicaIdentity::Default).shape(&catalog(&["b", "a"]));
        let (a, b) = (shape.column("a").unwrap(), shape.column("b").unwrap());
        assert_eq!((a.type_name.as_str(), a.is_not_null, a.is_identity), ("", false, true));
        assert_eq!((b.type_oid, b.type_name.as_str(), b.is_not_null), (25, "of the catalog", true));
        assert_eq!(shape.primary_key, ["b", "a"]);
    }

    #[test]
    fn a_key_that_has_gone_is_what_the_stream_marks_if_that_was_the_key() {
        let gone = catalog(&["b", "c"]);
        assert_eq!(relation(ReplicaIdentity::Default).shape(&gone).primary_key, ["a"]);
        for other in [ReplicaIdentity::Full, ReplicaIdentity::Index, ReplicaIdentity::Nothing] {
            assert!(relation(other).shape(&gone).primary_key.is_empty());
        }
    }
}
