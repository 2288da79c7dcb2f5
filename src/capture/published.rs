//! What the publications send, so that a table that leaves them is noticed although the stream says nothing of it.
//!
//! PostgreSQL decodes each change by the publication as it was then, so that the rows of a table that is taken out, be it
//! for a moment, are nowhere in the stream. The catalog shows it: an entry that is made anew has another object id, and so
//! has a table or a publication. What was seen is kept with the confirmations, which is how a change between two looks or
//! two runs shows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::postgres::{PublicationLook, PublishedTable, SeenPublication};
use crate::row::Operation;

/// What was seen of the publications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// Everything was in order at this position of the log.
    pub(crate) seen_at: Lsn,
    publications: Vec<SeenPublication>,
    /// Captured tables by their object ids.
    tables: BTreeMap<u32, SeenTable>,
    /// Captured tables that were dropped.
    dropped: BTreeSet<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeenTable {
    schema: String,
    table: String,
    /// Object ids of what makes it published: its entry, its schema's, or a publication of all tables.
    covered_by: BTreeSet<u32>,
    /// Whether only entries of its own, or of a table that it is a partition of, do.
    is_listed: bool,
}

/// Rows that the stream does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departure {
    /// What happened, in a sentence.
    pub(crate) what: String,
    /// The tables whose rows are not sent, as schema and name.
    pub(crate) tables: Vec<(String, String)>,
    /// Where it was noticed to be in order last, and where not.
    pub(crate) range: (Lsn, Lsn),
}

/// Which tables and operations the connector writes.
pub(crate) struct Wanted<'a> {
    pub(crate) accepts: &'a dyn Fn(&str, &str) -> bool,
    /// Letters of operations that are left out.
    pub(crate) skipped_operations: &'a [Operation],
}

impl Published {
    /// What is seen now, with nothing to compare it with.
    pub(crate) fn first(look: &PublicationLook, wanted: &Wanted<'_>) -> Self {
        let mut published = Self { seen_at: look.lsn, publications: look.publications.clone(), ..Self::default() };
        published.add_tables(look, wanted);
        published
    }

    /// The captured tables, as schema and name.
    pub(crate) fn captured(&self) -> Vec<(String, String)> {
        let mut tables: Vec<_> = self.tables.values().map(|seen| (seen.schema.clone(), seen.table.clone())).collect();
        tables.sort();
        tables
    }

    /// The object ids and names that a look has to cover.
    pub(crate) fn known_tables(&self) -> (Vec<u32>, Vec<String>) {
        let names = self.tables.values().map(|known| (&known.schema, &known.table));
        let dropped = self.dropped.iter().map(|(schema, table)| (schema, table));
        let names = names.chain(dropped).map(|(schema, table)| format!("{schema}.{table}"));
        (self.tables.keys().copied().collect(), names.collect())
    }

    /// What is seen now, if nothing has left the publications since.
    ///
    /// `since` is the position of the look before, as a change can commit while a look is taken.
    pub(crate) fn followed(&self, look: &PublicationLook, since: Lsn, wanted: &Wanted<'_>) -> Result<Self, Departure> {
        let departed = |what: String, tables: Vec<(String, String)>| {
            Err(Departure { what, tables, range: (self.seen_at, look.lsn) })
        };
        if let Some(what) = self.altered_publication(look, wanted) {
            let tables = self.tables.values().map(|known| (known.schema.clone(), known.table.clone())).collect();
            return departed(what, tables);
        }
        let mut dropped = self.dropped.clone();
        for (oid, known) in &self.tables {
            match known.departure(*oid, look, wanted) {
                Stay::Here => {}
                Stay::Dropped => {
                    dropped.insert((known.schema.clone(), known.table.clone()));
                }
                Stay::Gone(what) => return departed(what, vec![(known.schema.clone(), known.table.clone())]),
            }
        }
        for (schema, table) in &self.dropped {
            if look.oid_of(schema, table).is_some() {
                let what = format!("table {schema}.{table} was dropped and made anew");
                return departed(what, vec![(schema.clone(), table.clone())]);
            }
        }
        let seen_at = self.seen_at.max(since);
        let mut published = Self { seen_at, publications: look.publications.clone(), dropped, ..Self::default() };
        published.add_tables(look, wanted);
        Ok(published)
    }

    /// Whether more than the position differs.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        *self != Self { seen_at: self.seen_at, ..other.clone() }
    }

    fn add_tables(&mut self, look: &PublicationLook, wanted: &Wanted<'_>) {
        for table in look.tables.iter().filter(|table| (wanted.accepts)(&table.schema, &table.table)) {
            let (schema, name) = (table.schema.clone(), table.table.clone());
            let covered_by = table.covered_by.iter().copied().collect();
            let known = SeenTable { schema, table: name, covered_by, is_listed: table.is_listed };
            self.tables.insert(table.oid, known);
        }
    }

    fn altered_publication(&self, look: &PublicationLook, wanted: &Wanted<'_>) -> Option<String> {
        self.publications.iter().find_map(|known| {
            let name = &known.name;
            let Some(now) = look.publications.iter().find(|now| now.oid == known.oid) else {
                let is_there = look.publications.iter().any(|now| now.name == *name);
                let how = if is_there { "was dropped and made anew" } else { "was dropped" };
                return Some(format!("publication {name} {how}"));
            };
            let is_wanted =
                |letter: &char| !wanted.skipped_operations.iter().any(|skipped| skipped.letter() == *letter);
            let lost: String =
                known.operations.chars().filter(is_wanted).filter(|letter| !now.operations.contains(*letter)).collect();
            if !lost.is_empty() {
                return Some(format!("publication {name} publishes no more operations of kind {lost}"));
            }
            // A new owner changes the row as well; nothing else that does leaves the operations as they are.
            let is_altered = now.row_version != known.row_version && now.owner == known.owner;
            (is_altered && now.operations == known.operations)
                .then(|| format!("publication {name} was altered, and its operations may have been fewer for a while"))
        })
    }
}

/// What became of a table.
enum Stay {
    Here,
    /// With all that it held.
    Dropped,
    Gone(String),
}

impl SeenTable {
    fn departure(&self, oid: u32, look: &PublicationLook, wanted: &Wanted<'_>) -> Stay {
        let name = format!("{}.{}", self.schema, self.table);
        let Some(relation) = look.relations.iter().find(|relation| relation.oid == oid) else {
            return match look.oid_of(&self.schema, &self.table) {
                // A publication of all tables has held the new one from its first row on.
                Some(_) if self.is_listed => Stay::Gone(format!("table {name} was dropped and made anew")),
                Some(_) => Stay::Here,
                None if self.is_listed => Stay::Dropped,
                None => Stay::Here,
            };
        };
        let Some(now) = look.tables.iter().find(|now| now.oid == oid) else {
            let stays = match relation.is_partition {
                true => self.is_sent_as(&relation.ancestors, look, wanted),
                // What wrote to it as a partition writes to the others.
                false => self.is_covered_in(look),
            };
            return match stays {
                true => Stay::Here,
                false => Stay::Gone(format!("table {name} has left the publication")),
            };
        };
        if !(wanted.accepts)(&now.schema, &now.table) {
            return Stay::Gone(format!(
                "table {name} was renamed to {}.{}, which the connector's lists leave out",
                now.schema, now.table
            ));
        }
        match self.shares_cover(now) {
            true => Stay::Here,
            false => Stay::Gone(format!(
                "the entry of table {name} in its publication is another one: it was taken out and put back, or its \
                 columns or rows were chosen anew"
            )),
        }
    }

    /// Whether its rows are sent as those of a table that it was attached to, without a moment at which they were not.
    fn is_sent_as(&self, ancestors: &[u32], look: &PublicationLook, wanted: &Wanted<'_>) -> bool {
        let published = look.tables.iter().find(|table| ancestors.contains(&table.oid));
        published.is_some_and(|root| {
            (wanted.accepts)(&root.schema, &root.table) && (self.shares_cover(root) || self.is_covered_in(look))
        })
    }

    fn shares_cover(&self, now: &PublishedTable) -> bool {
        now.covered_by.iter().any(|cover| self.covered_by.contains(cover))
    }

    /// Whether the entry is there, though not for this table any more: it was a partition and was detached.
    fn is_covered_in(&self, look: &PublicationLook) -> bool {
        look.entries.iter().any(|entry| self.covered_by.contains(entry))
    }
}
