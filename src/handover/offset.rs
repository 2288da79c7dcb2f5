//! The offset that Debezium keeps in Kafka Connect, as far as it says where the other half goes on.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// What a connector's task has stored with its last record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DebeziumOffset {
    /// Position of the last change that it has written, `lsn_proc`.
    pub(super) processed: Option<Lsn>,
    /// End of the last commit that it has read, `lsn_commit`. A record is built before the commit behind it is read, so that
    /// this is mostly the commit before the last change.
    pub(super) committed: Option<Lsn>,
    /// Transaction of the last record.
    pub(super) xid: Option<Xid>,
    /// Why the offset stands in the midst of something, if it does.
    unfinished: Option<&'static str>,
    furthest: Lsn,
}

impl DebeziumOffset {
    /// From the offset's map, in which 2.4 and 3.x differ by the values of `snapshot` alone.
    pub(super) fn parse(offset: &Map<String, Value>) -> Self {
        let lsn = |name: &str| offset.get(name).and_then(Value::as_i64).map(|lsn| Lsn::new(lsn.cast_unsigned()));
        let (processed, committed) = (lsn("lsn_proc"), lsn("lsn_commit"));
        // The low half, which is what the log's messages hold.
        let xid = offset.get("txId").and_then(Value::as_u64).and_then(|id| u32::try_from(id & 0xFFFF_FFFF).ok());
        Self {
            processed,
            committed,
            xid: xid.map(Xid),
            unfinished: unfinished(offset),
            furthest: [processed, committed, lsn("lsn")].into_iter().flatten().max().unwrap_or_default(),
        }
    }

    /// Everything that was committed before this and is captured is in the topics, up to the transaction in which it lies.
    pub(super) fn furthest(&self) -> Lsn {
        self.furthest
    }

    /// Refuses an offset behind which rows are missing that no log holds.
    pub(super) fn check_finished(&self, connector: &str) -> Result<()> {
        match self.unfinished {
            None => Ok(()),
            Some(what) => Err(Error::refused(format!(
                "connector {connector} stopped within {what}: the rows that it has not read yet are in no log; let it finish, \
                 stop it, and hand over then"
            ))),
        }
    }

    /// The offset of a Debezium that has written every transaction that ends at `end` or before, and of none behind it.
    pub(super) fn behind(end: Lsn, time_us: i64) -> Value {
        let lsn = end.as_i64();
        json!({
            "lsn_proc": lsn, "lsn_commit": lsn, "lsn": lsn, "ts_usec": time_us, "messageType": "COMMIT"
        })
    }
}

fn unfinished(offset: &Map<String, Value>) -> Option<&'static str> {
    let is_set = |name: &str| {
        offset.get(name).is_some_and(|value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !matches!(text.as_str(), "" | "[]" | "false"),
            _ => true,
        })
    };
    if is_set("incremental_snapshot_collections") || is_set("incremental_snapshot_primary_key") {
        return Some("an incremental snapshot");
    }
    let is_complete = is_set("snapshot_completed") || is_set("last_snapshot_record");
    (is_set("snapshot") && !is_complete).then_some("a snapshot")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(offset: Value) -> DebeziumOffset {
        DebeziumOffset::parse(offset.as_object().unwrap())
    }

    #[test]
    fn the_usual_offset_stands_within_its_last_transaction() {
        let offset = parsed(json!({
            "lsn_proc": 26_217_256, "lsn_commit": 26_217_000, "lsn": 26_217_256, "txId": 4_294_968_040_u64,
            "messageType": "INSERT", "ts_usec": 5, "transaction_id": null
        }));
        assert_eq!((offset.processed, offset.committed), (Some(Lsn::new(26_217_256)), Some(Lsn::new(26_217_000))));
        assert_eq!(offset.xid, Some(Xid(744)), "without the epoch");
        assert_eq!(offset.furthest(), Lsn::new(26_217_256));
        offset.check_finished("c").unwrap();
    }

    #[test]
    fn an_unfinished_snapshot_is_refused_in_the_form_of_each_version() {
        for (offset, is_finished) in [
            (json!({ "lsn": 5, "snapshot": "INITIAL" }), false),
            (json!({ "lsn": 5, "snapshot": true, "last_snapshot_record": false }), false),
            (json!({ "lsn": 5, "snapshot": true, "last_snapshot_record": true }), true),
            (json!({ "lsn": 5, "snapshot": "INITIAL", "snapshot_completed": true }), true),
            (json!({ "lsn": 5, "incremental_snapshot_collections": "[{\"a\":1}]" }), false),
            (json!({ "lsn": 5, "incremental_snapshot_collections": "[]" }), true),
        ] {
            let outcome = parsed(offset.clone()).check_finished("orders");
            assert_eq!(outcome.is_ok(), is_finished, "{offset}");
            assert!(outcome.err().is_none_or(|error| error.kind() == crate::error::ErrorKind::Refused));
        }
    }

    #[test]
    fn what_is_written_is_read_back_as_a_place_between_transactions() {
        let written = DebeziumOffset::behind(Lsn::new(900), 7);
        let offset = parsed(written);
        assert_eq!((offset.processed, offset.committed), (Some(Lsn::new(900)), Some(Lsn::new(900))));
        assert_eq!(offset.xid, None);
    }
}
