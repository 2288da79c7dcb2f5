//! How far an incremental snapshot is, as it is kept in Kafka.
//!
//! What signals and chunks change is true for a later run only once the transaction that brought it is confirmed: what is
//! not confirmed is sent again, signal and window included. So each state waits here for the confirmation of its commit.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::blocking::Occasion;
use super::signal::Execution;
use crate::lsn::Lsn;
use crate::pattern::Pattern;

/// A snapshot that is taken while the stream goes on; without tables there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncrementalProgress {
    /// Commit and row of the last signal that was taken from the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<(Lsn, u64)>,
    /// Commit and row of the last signal whose blocking snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked: Option<(Lsn, u64)>,
    /// The offset of the next signal in the signal topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_offset: Option<i64>,
    #[serde(default)]
    pub(crate) is_paused: bool,
    /// Rows read since the first table.
    #[serde(default)]
    pub(crate) rows: u64,
    /// The tables that are not wholly read, the one that is being read first.
    #[serde(default)]
    pub(crate) tables: VecDeque<TableTurn>,
}

/// A table that is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableTurn {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Only rows that meet this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<String>,
    /// The column before the primary key in the order of reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) surrogate: Option<String>,
    /// How far it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
}

/// How far a table is read: columns of its key with the texts of their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// The last row that was read; empty before the first.
    pub(crate) after: Vec<(String, String)>,
    /// The last row that there was when the table's turn came: what is inserted behind it comes by the stream.
    pub(crate) until: Vec<(String, String)>,
}

impl TableTurn {
    /// `schema.table`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

impl IncrementalProgress {
    /// Whether tables are to be read now.
    pub(crate) fn is_running(&self) -> bool {
        !self.tables.is_empty() && !self.is_paused
    }

    /// Notes a signal of the stream; false if it was taken in an earlier run.
    pub(crate) fn is_new(&mut self, commit_lsn: Lsn, row: u64) -> bool {
        let place = Some((commit_lsn, row));
        let is_new = place > self.signal;
        self.signal = self.signal.max(place);
        is_new
    }

    /// Whether the blocking snapshot of a row's signal is still to be taken.
    pub(crate) fn is_due(&self, commit_lsn: Lsn, row: u64) -> bool {
        self.blocked < Some((commit_lsn, row))
    }

    /// The blocking snapshot of a signal was taken.
    pub(crate) fn carried_out(&mut self, occasion: Occasion) {
        match occasion {
            Occasion::Row(commit_lsn, row) => self.blocked = Some((commit_lsn, row)),
            Occasion::Topic(next_offset) => self.next_offset = Some(next_offset),
        }
    }

    /// Adds the tables of a request, of those that are `captured`; gives back the expressions that match none, or are none.
    pub(crate) fn add(&mut self, asked: &Execution, captured: &[(String, String)]) -> Vec<String> {
        if self.tables.is_empty() {
            self.rows = 0;
        }
        let (mut idle, mut added): (Vec<String>, Vec<TableTurn>) = (Vec::new(), Vec::new());
        for collection in &asked.collections {
            let matching = matching(collection, captured);
            if matching.is_empty() {
                idle.push(collection.clone());
            }
            for (schema, table) in matching {
                let turn = TableTurn {
                    schema: schema.clone(),
                    table: table.clone(),
                    condition: asked.condition(schema, table).map(str::to_owned),
                    surrogate: asked.surrogate.clone(),
                    reading: None,
                };
                if !added.contains(&turn) {
                    added.push(turn);
                }
            }
        }
        self.tables.extend(added);
        idle
    }

    /// Takes tables out, all of them if there are no expressions; gives back their names.
    pub(crate) fn stop(&mut self, collections: &[String]) -> Vec<String> {
        let is_stopped = |turn: &TableTurn| {
            collections.is_empty() || collections.iter().any(|collection| matches(collection, &turn.name()))
        };
        let (stopped, kept): (VecDeque<_>, VecDeque<_>) = self.tables.drain(..).partition(is_stopped);
        self.tables = kept;
        self.forget_idle_pause();
        stopped.iter().map(TableTurn::name).collect()
    }

    /// Pauses what there is to read, or lets it go on.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.forget_idle_pause();
    }

    /// A pause ends with what it holds up: what is asked for later is read at once.
    fn forget_idle_pause(&mut self) {
        self.is_paused &= !self.tables.is_empty();
    }

    /// Kafka is to have `rows` more: so many tables at the front are read, and the next one as far as `reading` says.
    pub(crate) fn read(&mut self, finished: usize, rows: u64, reading: Option<Reading>) {
        self.tables.drain(..finished.min(self.tables.len()));
        self.rows = self.rows.saturating_add(rows);
        if let Some(turn) = self.tables.front_mut() {
            turn.reading = reading;
        }
        self.forget_idle_pause();
    }
}

impl Execution {
    /// The condition of a table, or the statement that reads it.
    pub(crate) fn condition(&self, schema: &str, table: &str) -> Option<&str> {
        let name = format!("{schema}.{table}");
        self.conditions.iter().find(|(pattern, _)| matches(pattern, &name)).map(|(_, filter)| filter.as_str())
    }

    /// The tables that it names, of those that are `captured`, and the expressions that match none, or are none.
    pub(crate) fn tables(&self, captured: &[(String, String)]) -> (Vec<(String, String)>, Vec<String>) {
        let is_idle = |collection: &&String| matching(collection, captured).is_empty();
        let is_named = |(schema, table): &&(String, String)| {
            self.collections.iter().any(|collection| matches(collection, &format!("{schema}.{table}")))
        };
        let idle = self.collections.iter().filter(is_idle).cloned().collect();
        (captured.iter().filter(is_named).cloned().collect(), idle)
    }
}

/// The captured tables that a collection names, by an expression or as they are called.
fn matching<'c>(collection: &str, captured: &'c [(String, String)]) -> Vec<&'c (String, String)> {
    captured.iter().filter(|(schema, table)| matches(collection, &format!("{schema}.{table}"))).collect()
}

fn matches(expression: &str, name: &str) -> bool {
    expression == name || Pattern::whole_in_any_case(expression).is_ok_and(|pattern| pattern.matches(name))
}

/// The state on record, and those that wait for the confirmation of their commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ledger {
    recorded: IncrementalProgress,
    #[serde(skip)]
    waiting: VecDeque<(Lsn, IncrementalProgress)>,
}

impl Ledger {
    /// The state that a later run would find.
    pub(crate) fn recorded(&self) -> &IncrementalProgress {
        &self.recorded
    }

    /// A state that the transaction of this commit has brought.
    pub(crate) fn note(&mut self, commit_lsn: Lsn, state: IncrementalProgress) {
        match self.waiting.back_mut().filter(|(last, _)| *last >= commit_lsn) {
            Some((_, last)) => *last = state,
            None => self.waiting.push_back((commit_lsn, state)),
        }
    }

    /// Everything before `flushed` is with Kafka.
    pub(crate) fn passed(&mut self, flushed: Lsn) {
        while let Some((_, state)) = self.waiting.pop_front_if(|(commit_lsn, _)| *commit_lsn < flushed) {
            self.recorded = state;
        }
    }

    /// Changes what is on record, and what waits, at once.
    pub(crate) fn amend(&mut self, change: impl Fn(&mut IncrementalProgress)) {
        change(&mut self.recorded);
        self.waiting.iter_mut().for_each(|(_, state)| change(state));
    }

    /// The same without what waits.
    #[must_use]
    pub(crate) fn alone(&self) -> Self {
        Self { recorded: self.recorded.clone(), waiting: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured() -> Vec<(String, String)> {
        ["a", "b1", "b2"].map(|table| ("s".to_owned(), table.to_owned())).into()
    }

    fn asked(collections: &[&str]) -> Execution {
        let collections = collections.iter().map(|text| (*text).to_owned()).collect();
        Execution { collections, ..Execution::default() }
    }

    fn names(progress: &IncrementalProgress) -> Vec<String> {
        progress.tables.iter().map(TableTurn::name).collect()
    }

    fn reading(after: &str) -> Option<Reading> {
        let key = |text: &str| vec![("id".to_owned(), text.to_owned())];
        Some(Reading { after: key(after), until: key("9") })
    }

    #[test]
    fn expressions_become_captured_tables_each_once_and_the_others_are_told() {
        let mut progress = IncrementalProgress::default();
        let mut request = asked(&["s.b.*", "s.none", "S.A", "s.b1"]);
        request.conditions = vec![("s.b.".to_owned(), "v > 1".to_owned())];
        assert_eq!(progress.add(&request, &captured()), ["s.none"]);
        assert_eq!(names(&progress), ["s.b1", "s.b2", "s.a"]);
        let conditions: Vec<_> = progress.tables.iter().map(|turn| turn.condition.as_deref()).collect();
        assert_eq!(conditions, [Some("v > 1"), Some("v > 1"), None]);
        assert_eq!(progress.add(&asked(&["s.("]), &captured()), ["s.("], "no expression");
    }

    #[test]
    fn chunks_take_tables_from_the_front_and_stopping_takes_any() {
        let mut progress = IncrementalProgress::default();
        progress.add(&asked(&["s.*"]), &captured());
        progress.read(0, 3, reading("3"));
        progress.read(1, 2, reading("2"));
        assert_eq!((names(&progress), progress.rows), (vec!["s.b1".to_owned(), "s.b2".to_owned()], 5));
        assert_eq!(progress.tables.front().unwrap().reading, reading("2"));
        assert_eq!(progress.stop(&["s.b2".to_owned()]), ["s.b2"]);
        assert_eq!(progress.stop(&[]), ["s.b1"]);
        assert!(!progress.is_running());
    }

    #[test]
    fn only_a_snapshot_that_runs_is_paused() {
        let mut progress = IncrementalProgress::default();
        progress.set_paused(true);
        progress.add(&asked(&["s.a"]), &captured());
        assert!(progress.is_running());
        progress.set_paused(true);
        assert!(!progress.is_running());
        progress.set_paused(false);
        assert!(progress.is_running());
    }

    #[test]
    fn a_pause_ends_with_what_it_holds_up() {
        for is_stopped in [true, false] {
            let mut progress = IncrementalProgress::default();
            progress.add(&asked(&["s.a"]), &captured());
            progress.set_paused(true);
            if is_stopped {
                progress.stop(&[]);
            } else {
                progress.read(1, 0, None);
            }
            progress.add(&asked(&["s.b1"]), &captured());
            assert!(progress.is_running(), "{is_stopped}");
        }
    }

    #[test]
    fn a_signal_is_taken_once_however_often_the_stream_tells_it() {
        let mut progress = IncrementalProgress::default();
        assert!(progress.is_new(Lsn::new(10), 1) && progress.is_new(Lsn::new(10), 2));
        assert!(!progress.is_new(Lsn::new(10), 2) && !progress.is_new(Lsn::new(9), 7));
        assert!(progress.is_new(Lsn::new(11), 1));
    }

    #[test]
    fn a_blocking_snapshot_is_taken_once_and_that_is_on_record_at_once() {
        let mut ledger = Ledger::default();
        ledger.note(Lsn::new(10), IncrementalProgress { rows: 1, ..IncrementalProgress::default() });
        ledger.amend(|state| state.carried_out(Occasion::Row(Lsn::new(10), 2)));
        ledger.amend(|state| state.carried_out(Occasion::Topic(7)));
        let recorded = ledger.recorded();
        assert_eq!((recorded.rows, recorded.next_offset), (0, Some(7)), "the rest waits for its commit");
        assert!(!recorded.is_due(Lsn::new(10), 2) && recorded.is_due(Lsn::new(10), 3));
        ledger.passed(Lsn::new(11));
        assert!(ledger.recorded().rows == 1 && !ledger.recorded().is_due(Lsn::new(10), 2));
    }

    #[test]
    fn a_state_is_on_record_once_its_commit_is_confirmed() {
        let state = |rows| IncrementalProgress { rows, ..IncrementalProgress::default() };
        let mut ledger = Ledger::default();
        ledger.note(Lsn::new(10), state(1));
        ledger.note(Lsn::new(20), state(2));
        ledger.note(Lsn::new(20), state(3));
        let json = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), Ledger::default(), "nothing is confirmed");
        ledger.passed(Lsn::new(20));
        assert_eq!(ledger.recorded().rows, 1, "the commit record stands at 20 and ends behind it");
        ledger.passed(Lsn::new(21));
        assert_eq!(ledger.recorded().rows, 3);
        let json = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger.alone());
    }
}
