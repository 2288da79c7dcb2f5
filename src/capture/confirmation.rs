//! The confirmation record: what capture is about to confirm to PostgreSQL, written to Kafka first.
//!
//! A slot cannot tell who moved it. This record can: it is acknowledged before PostgreSQL hears of the
//! position, so that at the next start a slot beyond it was moved by somebody else. One small record a
//! second at the most, in a compacted topic, keyed by slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::message::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::{Acknowledgements, CONFIRMATION_TICKET};
use super::lineage::Lineage;
use super::resume::Confirmation;
use crate::error::{Error, Result};
use crate::kafka::producer::Producer;
use crate::kafka::tail::TailReader;
use crate::lsn::Lsn;

/// The time between two confirmations while events flow.
const INTERVAL: Duration = Duration::from_secs(1);

/// The topic of the confirmation records of a connector.
pub fn position_topic(topic_prefix: &str) -> String {
    format!("__evp-position.{topic_prefix}")
}

#[derive(Serialize, Deserialize)]
struct Value {
    system_identifier: String,
    confirmed_lsn: String,
    last_commit_end: Option<String>,
    #[serde(default)]
    lineage: Lineage,
}

fn key(slot_name: &str) -> Vec<u8> {
    serde_json::json!({ "slot": slot_name }).to_string().into_bytes()
}

fn parse(payload: &[u8]) -> Option<Confirmation> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    Some(Confirmation {
        system_identifier: value.system_identifier.parse().ok()?,
        confirmed_lsn: value.confirmed_lsn.parse().ok()?,
        last_commit_end: value.last_commit_end.and_then(|text| text.parse().ok()),
        lineage: value.lineage,
    })
}

/// Reads the slot's last confirmation record.
pub(super) fn read(reader: &TailReader, topic: &str, slot_name: &str) -> Result<Option<Confirmation>> {
    let key = key(slot_name);
    let folded = reader.fold_tail(topic, 0, 0, |found, message| {
        let is_ours = message.key() == Some(key.as_slice());
        if is_ours { message.payload().and_then(parse).or(found) } else { found }
    });
    folded.map(|folded| folded.last)
}

/// Writes confirmation records and says what may be confirmed.
pub(super) struct Confirmer {
    pub(super) acknowledgements: Arc<Acknowledgements>,
    pub(super) producer: Arc<Producer>,
    pub(super) topic: String,
    pub(super) slot_name: String,
    pub(super) system_identifier: u64,
    pub(super) lineage: Lineage,
    pub(super) confirmed: Arc<Confirmed>,
    /// An acknowledgement does not say of which record it is, so that one is written at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// The position that PostgreSQL may be told, and the call to tell it.
#[derive(Default)]
pub(super) struct Confirmed {
    lsn: AtomicU64,
    last_commit_end: AtomicU64,
    pub(super) changed: Notify,
}

impl Confirmed {
    pub(super) fn get(&self) -> Lsn {
        Lsn::new(self.lsn.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.get(), Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Notes the end of the last commit, which goes into the next record.
    pub(super) fn note_commit_end(&self, lsn: Lsn) {
        self.last_commit_end.store(lsn.get(), Ordering::Relaxed);
    }
}

impl Confirmer {
    /// Writes a record for `lsn` and waits for its acknowledgement, however long Kafka takes.
    pub(super) async fn write(&self, lsn: Lsn) -> Result<()> {
        self.write_by(&self.producer, lsn).await
    }

    /// The same by another producer.
    pub(super) async fn write_by(&self, producer: &Producer, lsn: Lsn) -> Result<()> {
        let _turn = self.turn.lock().await;
        let last_commit_end = Lsn::new(self.confirmed.last_commit_end.load(Ordering::Relaxed));
        let value = Value {
            system_identifier: self.system_identifier.to_string(),
            confirmed_lsn: lsn.to_string(),
            last_commit_end: (last_commit_end != Lsn::ZERO && last_commit_end <= lsn)
                .then(|| last_commit_end.to_string()),
            lineage: self.lineage.clone(),
        };
        let value = serde_json::json!(value).to_string();
        let before = self.acknowledgements.confirmations();
        let key = key(&self.slot_name);
        producer.send(&self.topic, Some(0), Some(&key), Some(value.as_bytes()), None, CONFIRMATION_TICKET)?;
        let is_written = |acknowledgements: &Acknowledgements| acknowledgements.confirmations() > before;
        self.acknowledgements.wait_for(is_written).await;
        match self.acknowledgements.take_failure() {
            Some(error) => Err(error),
            // The failure that ended the wait is told by another task.
            None if !is_written(&self.acknowledgements) => Err(Error::unavailable("a position was not confirmed")),
            None => {
                self.confirmed.set(lsn);
                Ok(())
            }
        }
    }

    /// Follows the flushed position until `token` is cancelled.
    pub(super) async fn run(&self, token: CancellationToken) -> Result<()> {
        loop {
            if token.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return Ok(());
            }
            let (_, flushed) = self.acknowledgements.positions();
            if flushed > self.confirmed.get() {
                match token.run_until_cancelled(self.write(flushed)).await {
                    Some(outcome) => outcome?,
                    None => return Ok(()),
                }
            }
        }
    }
}
