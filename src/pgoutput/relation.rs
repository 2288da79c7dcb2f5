//! What is known of the tables seen on this connection.

use std::collections::BTreeMap;

use super::message::RelationId;

/// A change named a table that no relation message has described: a protocol violation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a change names relation {} before its Relation message", .0.0)]
pub struct UnknownRelation(pub RelationId);

/// What the caller has derived from the relation message of each table.
///
/// It lives in memory by right: PostgreSQL sends every relation anew on each connection.
#[derive(Debug)]
pub struct RelationCache<T> {
    entries: BTreeMap<RelationId, T>,
}

impl<T> Default for RelationCache<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<T> RelationCache<T> {
    /// Stores or replaces a table.
    pub fn insert(&mut self, id: RelationId, derived: T) {
        self.entries.insert(id, derived);
    }

    /// The table of a change.
    pub fn get(&self, id: RelationId) -> Result<&T, UnknownRelation> {
        self.entries.get(&id).ok_or(UnknownRelation(id))
    }

    /// How many tables are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_before_its_relation_is_a_named_violation() {
        let cache = RelationCache::<()>::default();
        assert_eq!(cache.get(RelationId(7)), Err(UnknownRelation(RelationId(7))));
    }

    #[test]
    fn a_table_that_changed_replaces_the_one_before() {
        let mut cache = RelationCache::default();
        cache.insert(RelationId(7), "derived from a");
        cache.insert(RelationId(7), "derived from b");
        assert_eq!((cache.get(RelationId(7)), cache.len()), (Ok(&"derived from b"), 1));
    }
}
