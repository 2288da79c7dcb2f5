//! How far a snapshot is, as it is kept in Kafka, and what of the stream it stands for.
//!
//! A table is read in the order of its primary key, so that its last key says what is read. A snapshot that was
//! interrupted goes on in another one of PostgreSQL's, which shows more. What changed between the two still comes by the
//! stream, because the slot held it, provided that the stream leaves out only what the *earliest* of a table's snapshots
//! shows: then no change is lost or there twice, whichever of them a row was read in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::visibility::Visibility;
use crate::capture::lineage::Ends;
use crate::capture::tails::Tail;
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// The last records of partitions.
pub(crate) type TailsByTopic = BTreeMap<String, BTreeMap<i32, Tail>>;

/// A snapshot, begun or completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotProgress {
    /// The position in the headers of its records, once it has begun.
    id: Option<Lsn>,
    is_completed: bool,
    /// What tables show that are read for the first time need not come by the stream.
    is_first: bool,
    /// Rows read, whether or not they were written.
    rows: u64,
    tables: Vec<TableProgress>,
    /// What was read from, each attempt's, as far as it still matters.
    views: Vec<View>,
    /// By a table's object id, the view of which the stream leaves out what it shows.
    shown: BTreeMap<u32, usize>,
    /// The last records of partitions before the first row of the snapshot.
    before: TailsByTopic,
}

/// A snapshot of PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) visible: Visibility,
    /// Whatever commits behind this position does not show.
    pub(crate) horizon: Lsn,
}

/// A table of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableProgress {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
    #[serde(default)]
    pub(crate) is_done: bool,
}

/// How far a table is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Columns of the key with the texts of the last row that Kafka has; empty before the first.
    pub(crate) after: Vec<(String, String)>,
    /// Where the partitions of its topic ended then.
    pub(crate) ends: Ends,
    /// Rows read by then.
    pub(crate) rows: u64,
}

impl SnapshotProgress {
    /// One that is to be taken, behind a former one.
    pub(crate) fn due(former: Option<&Self>, before: TailsByTopic, is_first: bool) -> Self {
        let (views, shown) = former.map(|former| (former.views.clone(), former.shown.clone())).unwrap_or_default();
        Self { id: None, is_completed: false, is_first, rows: 0, tables: Vec::new(), views, shown, before }
    }

    /// Forgets what matters no more, as the slot has passed it.
    #[must_use]
    pub(crate) fn passed(mut self, confirmed: Lsn) -> Self {
        let views = &self.views;
        self.shown.retain(|_, at| views.get(*at).is_some_and(|view| view.horizon > confirmed));
        self.compact()
    }

    /// Another attempt begins, from `view`, whose rows have `lsn`.
    pub(crate) fn attempt(&mut self, lsn: Lsn, view: View) {
        *self = self.clone().compact();
        self.id.get_or_insert(lsn);
        self.views.push(view);
    }

    /// Drops views that no table shows, and numbers the others anew.
    fn compact(mut self) -> Self {
        let used: BTreeSet<usize> = self.shown.values().copied().collect();
        let place: HashMap<usize, usize> = used.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        self.views = used.iter().filter_map(|at| self.views.get(*at).cloned()).collect();
        self.shown.values_mut().for_each(|at| *at = place.get(at).copied().unwrap_or(*at));
        self
    }

    /// The tables in the order in which they are read, if they are known yet.
    pub(crate) fn tables(&self) -> &[TableProgress] {
        &self.tables
    }

    /// The tables to read are these.
    pub(crate) fn set_tables(&mut self, tables: impl Iterator<Item = (u32, String, String)>) {
        let table = |(oid, schema, table)| TableProgress { oid, schema, table, reading: None, is_done: false };
        self.tables = tables.map(table).collect();
    }

    /// A table is read from the last view, from its first row or on. Topics end at `ends`.
    pub(crate) fn begin_table(&mut self, at: usize, ends: Ends) {
        let Some(table) = self.tables.get_mut(at) else { return };
        if table.reading.is_none() {
            table.reading = Some(Reading { after: Vec::new(), ends, rows: 0 });
        }
        if let Some(view) = self.views.len().checked_sub(1).filter(|_| self.is_first) {
            self.shown.entry(table.oid).or_insert(view);
        }
    }

    /// A table is to be read again from its first row.
    pub(crate) fn restart_table(&mut self, at: usize) {
        if let Some(reading) = self.tables.get_mut(at).and_then(|table| table.reading.as_mut()) {
            reading.after.clear();
            self.rows = self.rows.saturating_sub(std::mem::take(&mut reading.rows));
        }
    }

    /// Kafka has `rows` more of a table, and all up to the key `after`.
    pub(crate) fn note_rows(&mut self, at: usize, rows: u64, after: Vec<(String, String)>, ends: Ends) {
        self.rows = self.rows.saturating_add(rows);
        if let Some(reading) = self.tables.get_mut(at).and_then(|table| table.reading.as_mut()) {
            let rows = reading.rows.saturating_add(rows);
            *reading = Reading { after, ends, rows };
        }
    }

    /// Kafka has all of a table.
    pub(crate) fn finish_table(&mut self, at: usize, rows: u64) {
        self.rows = self.rows.saturating_add(rows);
        if let Some(table) = self.tables.get_mut(at) {
            table.reading = None;
            table.is_done = true;
        }
    }

    /// Kafka has everything.
    #[must_use]
    pub(crate) fn completed(self) -> Self {
        Self { is_completed: true, tables: Vec::new(), ..self }
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.is_completed
    }

    /// The position in the headers of its records, once it has begun.
    pub(crate) fn id(&self) -> Option<Lsn> {
        self.id
    }

    /// Rows that Kafka has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The last record of a partition before the snapshot.
    pub(crate) fn tail_before(&self, topic: &str, partition: i32) -> Option<&Tail> {
        self.before.get(topic).and_then(|partitions| partitions.get(&partition))
    }

    /// Whether the topic has what a transaction did to a table, because its rows were read behind it.
    pub(crate) fn shows(&self, table: u32, commit_lsn: Lsn, xid: Xid) -> bool {
        let view = self.shown.get(&table).and_then(|at| self.views.get(*at));
        view.is_some_and(|view| commit_lsn < view.horizon && view.visible.sees(xid))
    }

    /// How far the topics reach by it.
    pub(crate) fn reach(&self) -> Lsn {
        self.views.iter().map(|view| view.horizon).max().max(self.id).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(xmax: u64, horizon: u64) -> View {
        View { visible: format!("{xmax}:{xmax}:").parse().unwrap(), horizon: Lsn::new(horizon) }
    }

    fn begun() -> SnapshotProgress {
        let mut progress = SnapshotProgress::due(None, TailsByTopic::new(), true);
        progress.attempt(Lsn::new(90), view(10, 100));
        progress.set_tables([(1, "s".to_owned(), "a".to_owned()), (2, "s".to_owned(), "b".to_owned())].into_iter());
        progress
    }

    fn shows(progress: &SnapshotProgress, table: u32, xid: u32) -> bool {
        progress.shows(table, Lsn::new(95), Xid(xid))
    }

    #[test]
    fn the_stream_leaves_out_what_the_earliest_snapshot_of_a_table_shows() {
        let mut progress = begun();
        progress.begin_table(0, Ends::new());
        progress.note_rows(0, 5, vec![("id".to_owned(), "5".to_owned())], Ends::new());
        assert!(shows(&progress, 1, 9) && !shows(&progress, 1, 10));
        assert!(!shows(&progress, 2, 9), "it is not read yet");
        progress.attempt(Lsn::new(190), view(20, 200));
        progress.begin_table(0, Ends::new());
        progress.finish_table(0, 3);
        progress.begin_table(1, Ends::new());
        assert!(!shows(&progress, 1, 10), "what changed between the two comes by the stream");
        assert!(shows(&progress, 2, 19) && !shows(&progress, 2, 20));
        assert!(!progress.shows(2, Lsn::new(200), Xid(19)), "an id of another round");
        assert_eq!((progress.rows(), progress.id(), progress.reach()), (8, Some(Lsn::new(90)), Lsn::new(200)));
    }

    #[test]
    fn attempts_that_read_nothing_leave_nothing() {
        let mut progress = begun();
        (0..50).for_each(|attempt| progress.attempt(Lsn::new(190), view(20 + attempt, 200)));
        assert_eq!(progress.views.len(), 1);
        progress.begin_table(0, Ends::new());
        (0..50).for_each(|attempt| progress.attempt(Lsn::new(290), view(200 + attempt, 300)));
        assert_eq!(progress.views.len(), 2);
        assert!(shows(&progress, 1, 68) && !shows(&progress, 1, 69));
    }

    #[test]
    fn a_later_snapshot_hides_nothing_of_the_stream_and_keeps_what_the_first_one_hides() {
        let mut first = begun();
        first.begin_table(0, Ends::new());
        let mut second = SnapshotProgress::due(Some(&first.completed()), TailsByTopic::new(), false);
        second.attempt(Lsn::new(190), view(20, 200));
        second.set_tables([(1, "s".to_owned(), "a".to_owned()), (2, "s".to_owned(), "b".to_owned())].into_iter());
        second.begin_table(0, Ends::new());
        second.begin_table(1, Ends::new());
        assert!(shows(&second, 1, 9) && !shows(&second, 1, 15) && !shows(&second, 2, 15));
        let passed = second.completed().passed(Lsn::new(100));
        assert!(passed.views.is_empty() && !shows(&passed, 1, 9));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut progress = begun();
        progress.begin_table(0, Ends::from([("t".to_owned(), BTreeMap::from([(2, 70)]))]));
        progress.note_rows(0, 5, vec![("id".to_owned(), "it's 5".to_owned())], Ends::new());
        let json = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotProgress>(&json).unwrap(), progress);
        progress.restart_table(0);
        assert_eq!((progress.rows(), progress.tables()[0].reading.as_ref().unwrap().after.len()), (0, 0));
        assert!(progress.completed().tables().is_empty());
    }
}
