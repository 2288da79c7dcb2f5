//! The order of an event by the commit that brought it: from evp's own header, or from Debezium's `source` block.

use crate::envelope::Position;
use crate::envelope::decode::Source;
use crate::mongo::{CommitOrder, EventOrder};

/// The cluster that a header names, and the place in its stream; the epoch is given to it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) system: Option<u64>,
    pub(crate) order: EventOrder,
}

/// The place of a record by its header, else by its `source` block; `None` if neither tells one.
///
/// A transaction that committed before the record's own ended at or before the end that `source` names, and the
/// record's own commit lies beyond both that end and `lsn`. So the higher of the two is not below any earlier commit
/// and below the own one: it compares rightly with exact commits and with others of its kind.
pub(crate) fn placed(header: Option<&[u8]>, source: &Source<'_>, sequence: i64) -> Option<Placed> {
    let header = header.and_then(|text| std::str::from_utf8(text).ok()?.parse::<Position>().ok());
    let commit = |commit, within| EventOrder::Commit(CommitOrder { epoch: 0, commit, within, sequence });
    if let Some(position) = header {
        let order = commit(position.commit_lsn.get(), position.within());
        return Some(Placed { system: Some(position.system_identifier), order });
    }
    let lsn = source.lsn()?;
    let previous_end = source.previous_commit_end().unwrap_or(0);
    Some(Placed { system: None, order: commit(lsn.max(previous_end), lsn) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::decode::decode;
    use proptest::prelude::*;

    fn of_debezium(previous_end: Option<u64>, lsn: u64, sequence: i64) -> EventOrder {
        let previous = previous_end.map_or("null".to_owned(), |end| format!("\\\"{end}\\\""));
        let json = format!(r#"{{"op":"c","source":{{"lsn":{lsn},"sequence":"[{previous},\"{lsn}\"]"}}}}"#);
        placed(None, &decode(json.as_bytes()).unwrap().source, sequence).unwrap().order
    }

    fn of_evp(commit: u64, index: u64) -> EventOrder {
        placed(Some(format!("7:{commit}:{index}").as_bytes()), &Source::default(), 0).unwrap().order
    }

    #[test]
    fn the_header_counts_and_without_any_place_there_is_no_order() {
        let source = decode(br#"{"op":"c","source":{"lsn":5}}"#).unwrap().source;
        let order = |commit, within| EventOrder::Commit(CommitOrder { epoch: 0, commit, within, sequence: 3 });
        let by_header = placed(Some(b"9:8:2"), &source, 3).unwrap();
        assert_eq!((by_header.system, by_header.order), (Some(9), order(8, 2)));
        assert_eq!(placed(Some(b"nonsense"), &source, 3), Some(Placed { system: None, order: order(5, 5) }));
        assert_eq!(placed(None, &Source::default(), 3), None);
    }

    /// What one transaction writes: the positions of its changes and of its commit.
    #[derive(Debug, Clone)]
    struct Transaction {
        changes: Vec<u64>,
        commit: u64,
    }

    /// Transactions that overlap as they like, in the order of their commits.
    fn history() -> impl Strategy<Value = Vec<Transaction>> {
        prop::collection::vec(0..4_usize, 1..40).prop_map(|log| {
            let (mut open, mut done) = (vec![Vec::<u64>::new(); 4], Vec::new());
            for (at, writer) in log.into_iter().enumerate() {
                let at = 100 + 10 * at as u64;
                // The third record of a transaction is its commit.
                if open[writer].len() == 2 {
                    done.push(Transaction { changes: std::mem::take(&mut open[writer]), commit: at });
                } else {
                    open[writer].push(at);
                }
            }
            done
        })
    }

    proptest! {
        /// Each transaction by evp or by Debezium, as one takes over from the other.
        #[test]
        fn orders_are_those_of_the_commits_whoever_wrote_the_record(history in history(), by_evp: Vec<bool>) {
            let mut previous_end = None;
            let mut orders = Vec::new();
            for (place, transaction) in history.iter().enumerate() {
                for (index, lsn) in transaction.changes.iter().enumerate() {
                    orders.push(if by_evp.get(place).copied().unwrap_or_default() {
                        of_evp(transaction.commit, index as u64)
                    } else {
                        of_debezium(previous_end, *lsn, 0)
                    });
                }
                // The commit's end may be where the next change begins.
                previous_end = Some(transaction.commit + 10);
            }
            prop_assert!(orders.is_sorted_by(|left, right| left < right), "{orders:?}");
        }
    }

    #[test]
    fn rows_of_one_log_record_are_told_apart_by_their_sequence() {
        assert!(of_debezium(Some(50), 60, 1) < of_debezium(Some(50), 60, 2));
        assert!(of_debezium(None, 60, 9) < of_debezium(Some(65), 61, 1));
    }
}
