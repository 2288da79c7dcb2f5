//! A record as it goes to Kafka.

use super::Operation;

/// One record, borrowed from the encoder's buffers.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key, or none where the table has no key.
    pub key: Option<&'a [u8]>,
    /// Value, or none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// What the record tells.
    pub operation: Operation,
    /// The other key of a key change.
    pub key_change: Option<Headers<'a>>,
}

/// The header that links the two records of a key change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers<'a> {
    /// `__debezium.newkey`, on the delete of the old key.
    NewKey(&'a [u8]),
    /// `__debezium.oldkey`, on the create of the new key.
    OldKey(&'a [u8]),
}

impl<'a> Headers<'a> {
    /// Header name and value.
    pub fn name_and_value(self) -> (&'static str, &'a [u8]) {
        match self {
            Self::NewKey(key) => ("__debezium.newkey", key),
            Self::OldKey(key) => ("__debezium.oldkey", key),
        }
    }
}

/// The key of a heartbeat.
pub fn heartbeat_key(topic_prefix: &str) -> Vec<u8> {
    let mut out = b"{\"serverName\":".to_vec();
    super::json::write_string(&mut out, topic_prefix);
    out.push(b'}');
    out
}

/// The value of a heartbeat at `now_ms`, milliseconds since 1970.
pub fn heartbeat_value(now_ms: i64) -> Vec<u8> {
    format!("{{\"ts_ms\":{now_ms}}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_debeziums() {
        assert_eq!(heartbeat_key("postgres"), br#"{"serverName":"postgres"}"#);
        assert_eq!(heartbeat_value(1_795_252_416_255), br#"{"ts_ms":1795252416255}"#);
    }
}
