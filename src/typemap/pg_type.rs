//! A PostgreSQL type, as deep as it goes: domains down to their base, arrays down to their element.

use std::collections::HashMap;

/// A row of `pg_type`, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeRow {
    /// Object id.
    pub oid: u32,
    /// `typname`.
    pub name: String,
    /// The same in Java's driver: with its schema where that is not on the path.
    pub driver_name: String,
    /// `typbasetype`, 0 if the type is no domain.
    pub base_oid: u32,
    /// `typtypmod`, the modifier that a domain gives its base; -1 if none.
    pub base_modifier: i32,
    /// `typelem` of an array, else 0.
    pub element_oid: u32,
    /// The labels of an enum in their order.
    pub labels: Option<Vec<String>>,
}

/// A type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PgType {
    /// `typname`.
    pub name: String,
    /// The same in Java's driver.
    pub driver_name: String,
    /// One of PostgreSQL's own, not made by a user or an extension.
    pub is_built_in: bool,
    /// What it is made of.
    pub kind: PgTypeKind,
}

/// What a type is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PgTypeKind {
    /// Nothing that is seen from outside.
    #[default]
    Plain,
    /// One of these labels.
    Enum(Vec<String>),
    /// Another type, with a modifier of its own (-1 if none).
    Domain(Box<PgType>, i32),
    /// Elements of a type.
    Array(Box<PgType>),
}

/// Types refer to each other at most so often; the catalog has no circles, but nobody checks that.
const DEPTH_MAX: u8 = 32;
/// Object ids from here on are given by a running server.
const FIRST_USER_OID: u32 = 16_384;

impl PgType {
    /// A built-in type that is not made of others.
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), driver_name: name.to_owned(), is_built_in: true, kind: PgTypeKind::Plain }
    }

    /// The type of an object id, by the rows of the catalog; a type without a name if it is not there.
    pub fn of(oid: u32, rows: &HashMap<u32, TypeRow>) -> Self {
        Self::at_depth(oid, rows, DEPTH_MAX)
    }

    fn at_depth(oid: u32, rows: &HashMap<u32, TypeRow>, depth: u8) -> Self {
        let (Some(row), Some(depth)) = (rows.get(&oid), depth.checked_sub(1)) else { return Self::default() };
        let inner = |oid| Box::new(Self::at_depth(oid, rows, depth));
        let kind = match row {
            TypeRow { labels: Some(labels), .. } => PgTypeKind::Enum(labels.clone()),
            TypeRow { base_oid: 1.., .. } => PgTypeKind::Domain(inner(row.base_oid), row.base_modifier),
            TypeRow { element_oid: 1.., .. } => PgTypeKind::Array(inner(row.element_oid)),
            TypeRow { .. } => PgTypeKind::Plain,
        };
        let (name, driver_name) = (row.name.clone(), row.driver_name.clone());
        Self { name, driver_name, is_built_in: oid < FIRST_USER_OID, kind }
    }

    /// The type below all domains, and the modifier that the outermost of them gives it if the column has none.
    pub fn root(&self, modifier: i32) -> (&Self, i32) {
        let (mut root, mut modifier) = (self, modifier);
        while let PgTypeKind::Domain(base, own) = &root.kind {
            if modifier == -1 {
                modifier = *own;
            }
            root = base;
        }
        (root, modifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(oid: u32, name: &str) -> TypeRow {
        TypeRow { oid, name: name.to_owned(), driver_name: name.to_owned(), base_modifier: -1, ..TypeRow::default() }
    }

    #[test]
    fn domains_give_their_base_the_first_modifier_that_is_known() {
        let rows = [
            row(1700, "numeric"),
            TypeRow { base_oid: 1700, base_modifier: 7, ..row(1, "inner") },
            TypeRow { base_oid: 1, ..row(2, "outer") },
            TypeRow { element_oid: 2, ..row(3, "_outer") },
        ];
        let rows = rows.into_iter().map(|row| (row.oid, row)).collect();
        let outer = PgType::of(2, &rows);
        assert_eq!(outer.root(-1), (&PgType::plain("numeric"), 7));
        assert_eq!(outer.root(9), (&PgType::plain("numeric"), 9));
        assert_eq!(PgType::of(3, &rows).kind, PgTypeKind::Array(Box::new(outer)));
        assert_eq!(PgType::of(4, &rows), PgType::default());
    }
}
