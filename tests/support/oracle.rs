//! What a topic must hold, by the word of PostgreSQL alone.

use bytes::Bytes;
use evp::pgoutput::{Change, ColumnData, Message, Tuple, decode};
use tokio_postgres::Client;

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
        Some(ColumnData::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
        _ => String::new(),
    };
    let status = if operation == 'd' { "pending".to_owned() } else { text(6) };
    (operation, text(0), status)
}
