//! A window: between its two marks in the stream what the stream tells of a row is newer than the chunk, and wins.
//!
//! A chunk is read while the stream goes on. The mark before it and the mark behind it, rows of the signal table, say which
//! of the stream's changes the chunk may or may not show. Rows that one of these has touched are left out of the chunk: the
//! stream has told of them, and tells it in order.
//!
//! What commits before the first mark has to show in the chunk. A commit is in the log a moment before it shows, and for
//! longer where it waits for a synchronous standby; so the ids of transactions that came before the mark are kept until a
//! chunk has shown them, and a chunk that does not is read again.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::capture::snapshot::Visibility;
use crate::pgoutput::{RelationId, Xid};
use crate::row::{RowChange, TableShape, Value, Values};

/// So many rows may be touched within one window; beyond that its chunk is read again.
const TOUCHED_MAX: usize = 100_000;
/// So many transactions before a window are remembered.
const TRANSACTIONS_MAX: usize = 65_536;

/// The window of the chunk that is being read.
#[derive(Debug)]
pub(crate) struct Window {
    id: String,
    is_open: bool,
    touched: HashMap<RelationId, Touched>,
    touched_rows: usize,
    is_spoilt: bool,
}

/// Which rows of a table were touched.
#[derive(Debug, Default)]
struct Touched {
    is_all: bool,
    /// Rows by columns, each set of columns with the values that were met.
    rows: HashMap<Vec<String>, HashSet<Vec<u8>>>,
}

impl Window {
    /// A window that is not open yet.
    pub(crate) fn new(id: String) -> Self {
        Self { id, is_open: false, touched: HashMap::new(), touched_rows: 0, is_spoilt: false }
    }

    /// Whether it is the one of this id.
    pub(crate) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    /// The first mark has come.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    /// Whether changes are to be noted.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The stream has told of a change.
    pub(crate) fn touch(&mut self, relation: RelationId, shape: &TableShape, change: RowChange<'_>) {
        if shape.primary_key.is_empty() {
            return;
        }
        let (new, old) = match change {
            RowChange::Create { new } | RowChange::Read { new } => (Some(new), None),
            RowChange::Update { old, new } => (Some(new), old.map(|old| old.values)),
            RowChange::Delete { old } => (None, Some(old.values)),
        };
        let identity: Vec<String> =
            shape.columns.iter().filter(|column| column.is_identity).map(|column| column.name.clone()).collect();
        for values in [new, old].into_iter().flatten() {
            let by_key = values_of(shape, &shape.primary_key, values).map(|key| (shape.primary_key.clone(), key));
            // The primary key of the row as it was is not told where the replica identity is another one.
            let by_identity = if identity.iter().eq(&shape.primary_key) || identity.len() == shape.columns.len() {
                None
            } else {
                values_of(shape, &identity, values).map(|key| (identity.clone(), key))
            };
            if by_key.is_none() && by_identity.is_none() {
                // A part of the key that is not told, as it is too large, has not changed and is told with the old row.
                self.is_spoilt |= old.is_none();
            }
            by_key.into_iter().chain(by_identity).for_each(|(columns, key)| self.note(relation, columns, key));
        }
    }

    fn note(&mut self, relation: RelationId, columns: Vec<String>, key: Vec<u8>) {
        if self.touched_rows >= TOUCHED_MAX {
            self.is_spoilt = true;
            return;
        }
        let rows = self.touched.entry(relation).or_default().rows.entry(columns).or_default();
        self.touched_rows = self.touched_rows.saturating_add(usize::from(rows.insert(key)));
    }

    /// The stream has told that a table was emptied.
    pub(crate) fn touch_all(&mut self, relation: RelationId) {
        self.touched.entry(relation).or_default().is_all = true;
    }

    /// Whether it cannot be said which rows of a chunk were touched, so that it is of no use.
    pub(crate) fn is_spoilt_for(&self, relation: RelationId, shape: &TableShape) -> bool {
        let has_all = |columns: &Vec<String>| columns.iter().all(|name| shape.column(name).is_some());
        let touched = self.touched.get(&relation);
        self.is_spoilt || touched.is_some_and(|touched| !touched.rows.keys().all(has_all))
    }

    /// Whether a row of the chunk is to be left out.
    pub(crate) fn has_touched(&self, relation: RelationId, shape: &TableShape, row: Values<'_>) -> bool {
        let Some(touched) = self.touched.get(&relation) else { return false };
        let is_met = |(columns, keys): (&Vec<String>, &HashSet<Vec<u8>>)| {
            values_of(shape, columns, row).is_some_and(|key| keys.contains(&key))
        };
        touched.is_all || touched.rows.iter().any(is_met)
    }
}

/// The values of these columns in one text, or nothing if one of them is not told or null.
fn values_of(shape: &TableShape, columns: &[String], values: Values<'_>) -> Option<Vec<u8>> {
    if columns.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    for name in columns {
        let at = shape.columns.iter().position(|column| column.name == *name)?;
        let Some(Value::Text(value)) = values.columns().nth(at) else { return None };
        text.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
        text.extend_from_slice(value);
    }
    Some(text)
}

/// The transactions that have come by the stream and that no chunk has shown yet.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Before the first mark of the window.
    before: VecDeque<Xid>,
    since: VecDeque<Xid>,
}

impl Unseen {
    /// The stream has brought a transaction.
    pub(crate) fn came(&mut self, xid: Xid) {
        if self.since.len() >= TRANSACTIONS_MAX {
            self.since.pop_front();
        }
        self.since.push_back(xid);
    }

    /// A window opens: what has come so far has to show in its chunk.
    pub(crate) fn window_opens(&mut self) {
        let mut since = std::mem::take(&mut self.since);
        self.before.append(&mut since);
        let excess = self.before.len().saturating_sub(TRANSACTIONS_MAX);
        self.before.drain(..excess);
    }

    /// Whether a chunk shows all that it has to. What it shows is forgotten.
    pub(crate) fn is_shown_by(&mut self, chunk: &Visibility) -> bool {
        self.before.retain(|xid| !chunk.sees(*xid));
        self.since.retain(|xid| !chunk.sees(*xid));
        self.before.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::row::{ColumnShape, CopiedRow, OldRow};

    const TABLE: RelationId = RelationId(7);

    fn shape(identity: &[&str]) -> TableShape {
        let column =
            |name: &str| ColumnShape { is_identity: identity.contains(&name), ..ColumnShape::named(name, "text") };
        TableShape {
            schema: "s".to_owned(),
            table: "t".to_owned(),
            columns: ["v", "a", "b", "u"].map(column).into(),
            primary_key: vec!["b".to_owned(), "a".to_owned()],
        }
    }

    fn line(columns: [Option<&str>; 4]) -> CopiedRow {
        let text = columns.map(|column| column.unwrap_or("\\N")).join("\t");
        let mut row = CopiedRow::default();
        row.read(text.as_bytes(), 4).unwrap();
        row
    }

    fn touched(window: &Window, shape: &TableShape, columns: [&str; 4]) -> bool {
        let mut row = CopiedRow::default();
        window.has_touched(TABLE, shape, row.read(columns.join("\t").as_bytes(), 4).unwrap())
    }

    fn window() -> Window {
        let mut window = Window::new("w".to_owned());
        window.open();
        window
    }

    #[test]
    fn both_keys_of_a_change_are_touched_and_values_do_not_run_together() {
        let (shape, mut window) = (shape(&["a", "b"]), window());
        let (old, new) = (line([None, Some("1"), Some("2"), None]), line([Some("x"), Some("1"), Some("23"), None]));
        let old = OldRow { values: old.values(), is_whole: false };
        window.touch(TABLE, &shape, RowChange::Update { old: Some(old), new: new.values() });
        assert!(touched(&window, &shape, ["y", "1", "2", "9"]) && touched(&window, &shape, ["y", "1", "23", "9"]));
        assert!(!touched(&window, &shape, ["x", "12", "3", "9"]) && !touched(&window, &shape, ["x", "2", "1", "9"]));
    }

    #[test]
    fn a_row_is_known_by_a_replica_identity_that_is_not_the_primary_key() {
        let (shape, mut window) = (shape(&["u"]), window());
        let old = line([None, None, None, Some("u1")]);
        window.touch(TABLE, &shape, RowChange::Delete { old: OldRow { values: old.values(), is_whole: false } });
        assert!(touched(&window, &shape, ["x", "1", "2", "u1"]) && !touched(&window, &shape, ["x", "1", "2", "u2"]));
        assert!(!window.is_spoilt_for(TABLE, &shape));
    }

    #[test]
    fn a_chunk_with_other_columns_than_the_stream_had_is_read_again() {
        let (streamed, mut window) = (shape(&["a", "b"]), window());
        let mut read = streamed.clone();
        read.columns.retain(|column| column.name != "a");
        assert!(!window.is_spoilt_for(TABLE, &read));
        let new = line([None, Some("1"), Some("2"), None]);
        window.touch(TABLE, &streamed, RowChange::Create { new: new.values() });
        assert!(window.is_spoilt_for(TABLE, &read) && !window.is_spoilt_for(RelationId(8), &read));
    }

    #[test]
    fn a_change_that_names_no_row_spoils_the_chunk_and_a_truncate_takes_all() {
        let (shape, mut spoilt) = (shape(&["a", "b"]), window());
        let new = line([None, None, Some("2"), None]);
        spoilt.touch(TABLE, &shape, RowChange::Create { new: new.values() });
        assert!(spoilt.is_spoilt_for(TABLE, &shape));
        let mut emptied = window();
        emptied.touch_all(TABLE);
        assert!(touched(&emptied, &shape, ["x", "1", "2", "u"]) && !emptied.is_spoilt_for(TABLE, &shape));
    }

    #[test]
    fn more_than_can_be_kept_spoils_the_chunk() {
        let (shape, mut window) = (shape(&["a", "b"]), window());
        for n in 0..=TOUCHED_MAX {
            let text = n.to_string();
            let new = line([None, Some(&text), Some("2"), None]);
            window.touch(TABLE, &shape, RowChange::Create { new: new.values() });
        }
        assert!(window.is_spoilt_for(TABLE, &shape));
    }

    #[test]
    fn a_chunk_shows_what_came_before_its_window() {
        let sees = |text: &str| text.parse::<Visibility>().unwrap();
        let mut unseen = Unseen::default();
        unseen.came(Xid(5));
        unseen.came(Xid(8));
        unseen.window_opens();
        unseen.came(Xid(9));
        assert!(!unseen.is_shown_by(&sees("8:9:8")), "8 had committed and did not show yet");
        unseen.window_opens();
        assert!(unseen.is_shown_by(&sees("10:10:")));
    }

    /// What happens to rows, in the order of their commits.
    #[derive(Debug, Clone)]
    enum Step {
        Write(u8),
        Delete(u8),
        Opens,
        Reads,
        Closes,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let change = || {
            prop::collection::vec(prop_oneof![(0..6_u8).prop_map(Step::Write), (0..6_u8).prop_map(Step::Delete)], 0..8)
        };
        (change(), change(), change(), change()).prop_map(|(before, first, second, behind)| {
            [before, vec![Step::Opens], first, vec![Step::Reads], second, vec![Step::Closes], behind].concat()
        })
    }

    proptest! {
        /// Whoever folds the records of a topic has the table in the end, if it is told of each row that was there before.
        #[test]
        fn rows_and_changes_fold_to_the_table(steps in steps(), there in prop::collection::btree_map(0..6_u8, Just(0_u32), 0..6)) {
            let (shape, mut window) = (shape(&["a", "b"]), Window::new("w".to_owned()));
            let (mut table, mut fold, mut chunk) = (there, BTreeMap::new(), BTreeMap::new());
            for (version, step) in (1..).zip(steps) {
                match step {
                    Step::Write(id) => {
                        table.insert(id, version);
                        fold.insert(id, version);
                        let text = id.to_string();
                        let row = line([None, Some(&text), Some("k"), None]);
                        if window.is_open() {
                            window.touch(TABLE, &shape, RowChange::Update { old: None, new: row.values() });
                        }
                    }
                    Step::Delete(id) => {
                        table.remove(&id);
                        fold.remove(&id);
                        let text = id.to_string();
                        let row = line([None, Some(&text), Some("k"), None]);
                        if window.is_open() {
                            let old = OldRow { values: row.values(), is_whole: false };
                            window.touch(TABLE, &shape, RowChange::Delete { old });
                        }
                    }
                    Step::Opens => window.open(),
                    Step::Reads => chunk = table.clone(),
                    Step::Closes => {
                        let is_kept = |id: u8| !touched(&window, &shape, ["v", &id.to_string(), "k", "u"]);
                        fold.extend(std::mem::take(&mut chunk).into_iter().filter(|(id, _)| is_kept(*id)));
                        window = Window::new("another".to_owned());
                    }
                }
            }
            prop_assert_eq!(fold, table);
        }
    }
}
