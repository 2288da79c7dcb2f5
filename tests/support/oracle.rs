//! What a topic must hold, by the word of PostgreSQL alone.

use std::collections::HashMap;

use bytes::Bytes;
use evp::pgoutput::{Change, Message, Tuple, decode};
use serde_json::Value;
use tokio_postgres::Client;

use super::{Record, World, records};

/// A second slot over the same log, whose changes are in commit order.
pub(crate) struct Oracle {
    slot: String,
    publication: String,
}

/// One committed change of the outbox: operation, event id, status.
pub(crate) type Committed = (char, String, String);

impl Oracle {
    /// Starts to watch; make it before the first write.
    pub(crate) async fn watch(client: &Client, name: &str, publication: &str) -> Self {
        let slot = format!("{name}_oracle");
        let statement = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
        client.execute(statement, &[&slot]).await.unwrap();
        Self { slot, publication: publication.to_owned() }
    }

    /// Every change committed since then, in commit order.
    pub(crate) async fn committed(&self, client: &Client) -> Vec<Committed> {
        let statement = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', \
                         'publication_names', $2)";
        let rows = client.query(statement, &[&self.slot, &self.publication]).await.unwrap();
        let messages = rows.iter().map(|row| decode(Bytes::from(row.get::<_, Vec<u8>>(0))).unwrap());
        messages
            .filter_map(|message| match message {
                Message::Change(Change::Insert { new, .. }) => Some(described('c', &new)),
                Message::Change(Change::Update { new, .. }) => Some(described('u', &new)),
                Message::Change(Change::Delete { old, .. }) => Some(described('d', &old.tuple)),
                _ => None,
            })
            .collect()
    }
}

fn described(operation: char, tuple: &Tuple) -> Committed {
    let text = |at: usize| match tuple.columns().nth(at) {
        Some(evp::row::Value::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
        _ => String::new(),
    };
    let status = if operation == 'd' { "pending".to_owned() } else { text(6) };
    (operation, text(0), status)
}

/// Operation, event id and status of a record, as the oracle gives them.
fn written(record: &Record) -> (char, String, String) {
    let value: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    let operation = value["op"].as_str().unwrap().chars().next().unwrap();
    let row = if operation == 'd' { &value["before"] } else { &value["after"] };
    (operation, row["event_id"].as_str().unwrap().to_owned(), row["status"].as_str().unwrap().to_owned())
}

/// Each partition holds a sub-sequence of the commits, and together they hold every commit once.
pub(crate) async fn assert_topic_equals_commits(world: &World, oracle: &Oracle) {
    let committed = oracle.committed(&world.sql().await).await;
    let mut places: HashMap<_, Vec<usize>> = HashMap::new();
    for (place, change) in committed.iter().enumerate().rev() {
        places.entry(change.clone()).or_default().push(place);
    }
    let records = records(world, world.topic());
    assert_eq!(records.len(), committed.len(), "as many records as committed changes");
    let mut last: HashMap<i32, usize> = HashMap::new();
    for record in &records {
        let change = written(record);
        let place = places.get_mut(&change).and_then(Vec::pop).unwrap_or_else(|| panic!("not committed: {change:?}"));
        let before = last.insert(record.partition, place);
        assert!(before < Some(place), "partition {} is out of order at offset {}", record.partition, record.offset);
    }
}
