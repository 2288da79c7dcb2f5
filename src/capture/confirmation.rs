//! The confirmation record: what capture is about to confirm to PostgreSQL, written to Kafka first.
//!
//! A slot cannot tell who moved it. This record can: it is acknowledged before PostgreSQL hears of the
//! position, so that at the next start a slot beyond it was moved by somebody else. One small record a
//! second at the most, in a compacted topic, keyed by slot. What a later session needs beside the position, its
//! [`Lineage`], may be large and seldom changes, so it is a record of its own, written before the position.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::gap::Confirmation;
use super::lineage::Lineage;
use crate::config::KafkaConfig;
use crate::envelope::Record;
use crate::error::{Error, Result};
use crate::kafka::captured::POSITION_TOPICS;
use crate::kafka::producer::{Producer, Receipt};
use crate::kafka::single::send_one;
use crate::kafka::tail::{TailReader, WantedTail};
use crate::lsn::Lsn;

/// The time between two confirmations while events flow.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time between two records of a lineage in which only the ends of topics have changed.
const LINEAGE_INTERVAL: Duration = Duration::from_secs(60);

/// The topic of the confirmation records of a connector.
pub fn position_topic(topic_prefix: &str) -> String {
    format!("{POSITION_TOPICS}{topic_prefix}")
}

#[derive(Serialize, Deserialize)]
struct PositionValue {
    system_identifier: String,
    confirmed_lsn: String,
    last_commit_end: Option<String>,
    /// The publications were in order at this position.
    #[serde(default)]
    published_at: Option<Lsn>,
    /// Releases before 0.2 have written it here.
    #[serde(default, skip_serializing)]
    lineage: Option<Lineage>,
}

#[derive(Serialize, Deserialize)]
struct LineageValue {
    system_identifier: String,
    lineage: Lineage,
}

/// The keys of a slot's two records.
struct Keys {
    position: Vec<u8>,
    lineage: Vec<u8>,
}

impl Keys {
    fn of(slot_name: &str) -> Self {
        let bytes = |key: serde_json::Value| key.to_string().into_bytes();
        Self {
            position: bytes(serde_json::json!({ "slot": slot_name })),
            lineage: bytes(serde_json::json!({ "slot": slot_name, "part": "lineage" })),
        }
    }
}

/// What a topic holds for a slot.
#[derive(Default)]
struct Found {
    position: Option<PositionValue>,
    lineage: Option<LineageValue>,
}

impl Found {
    fn is_whole(&self) -> bool {
        let has_lineage_within = self.position.as_ref().is_some_and(|position| position.lineage.is_some());
        self.position.is_some() && (self.lineage.is_some() || has_lineage_within)
    }

    fn note(&mut self, keys: &Keys, key: &[u8], payload: &[u8]) {
        if key == keys.position {
            self.position = serde_json::from_slice(payload).ok().or(self.position.take());
        } else if key == keys.lineage {
            self.lineage = serde_json::from_slice(payload).ok().or(self.lineage.take());
        }
    }

    fn confirmation(self) -> Option<Confirmation> {
        let position = self.position?;
        let of_this_system = self.lineage.filter(|value| value.system_identifier == position.system_identifier);
        let mut lineage = of_this_system.map(|value| value.lineage).or(position.lineage).unwrap_or_default();
        if let (Some(published), Some(at)) = (&mut lineage.published, position.published_at) {
            published.seen_at = published.seen_at.max(at);
        }
        Some(Confirmation {
            system_identifier: position.system_identifier.parse().ok()?,
            confirmed_lsn: position.confirmed_lsn.parse().ok()?,
            last_commit_end: position.last_commit_end.and_then(|text| text.parse().ok()),
            lineage,
        })
    }
}

/// Reads the slot's last records.
pub(super) fn read(reader: &TailReader, topic: &str, slot_name: &str) -> Result<Option<Confirmation>> {
    let (keys, mut found) = (Keys::of(slot_name), Found::default());
    // The position may be the only one, as where somebody else has noted it.
    let wanted = [WantedTail { topic: topic.to_owned(), partition: 0, first: 0 }];
    reader.search_tails(&wanted, |whole, record| {
        if let (Some(key), Some(payload)) = (record.key(), record.value()) {
            found.note(&keys, key, payload);
        }
        whole.or(found.is_whole().then_some(()))
    })?;
    Ok(found.confirmation())
}

/// Writes the record of a slot's position while no session does; everything before `lsn` is written.
pub(super) async fn write_position(
    config: &KafkaConfig,
    topic: &str,
    slot_name: &str,
    (system_identifier, lsn, published_at): (u64, Lsn, Option<Lsn>),
) -> Result<()> {
    let value = PositionValue {
        system_identifier: system_identifier.to_string(),
        confirmed_lsn: lsn.to_string(),
        last_commit_end: Some(lsn.to_string()),
        published_at,
        lineage: None,
    };
    let (key, payload) = (Keys::of(slot_name).position, serde_json::json!(value).to_string());
    let record = Record { topic, key: Some(&key), value: Some(payload.as_bytes()), ..Record::default() };
    send_one(config, &record, Some(0)).await
}

/// Writes confirmation records and says what may be confirmed.
pub(super) struct Confirmer {
    pub(super) acknowledgements: Arc<Acknowledgements>,
    pub(super) producer: Arc<Producer>,
    pub(super) topic: String,
    pub(super) slot_name: String,
    pub(super) system_identifier: u64,
    pub(super) lineage: Arc<Mutex<Lineage>>,
    pub(super) confirmed: Arc<Confirmed>,
    /// The lineage as it was written last. An acknowledgement does not say of which record it is, so that one is
    /// written at a time.
    pub(super) turn: tokio::sync::Mutex<Option<WrittenLineage>>,
}

/// The lineage on record.
pub(super) struct WrittenLineage {
    lineage: Lineage,
    at: Instant,
}

impl WrittenLineage {
    /// What an earlier session has left.
    pub(super) fn known(lineage: Lineage) -> Self {
        Self { lineage, at: Instant::now() }
    }

    /// Whether `now` has to be written.
    fn is_outdated(&self, now: &Lineage) -> bool {
        self.lineage.differs_from(now) || (self.at.elapsed() >= LINEAGE_INTERVAL && self.lineage.ends != now.ends)
    }
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
        let mut written = self.turn.lock().await;
        let lineage = {
            let mut lineage = self.lineage.lock();
            lineage.note_ends(&self.acknowledgements.ends());
            lineage.incremental.passed(lsn);
            lineage.clone()
        };
        let keys = Keys::of(&self.slot_name);
        let published_at = lineage.published.as_ref().map(|published| published.seen_at);
        if written.as_ref().is_none_or(|written| written.is_outdated(&lineage)) {
            let system_identifier = self.system_identifier.to_string();
            let value = LineageValue { system_identifier, lineage };
            self.write_record(producer, &keys.lineage, &serde_json::json!(value)).await?;
            *written = Some(WrittenLineage::known(value.lineage));
        }
        let last_commit_end = Lsn::new(self.confirmed.last_commit_end.load(Ordering::Relaxed));
        let value = PositionValue {
            system_identifier: self.system_identifier.to_string(),
            confirmed_lsn: lsn.to_string(),
            last_commit_end: (last_commit_end != Lsn::ZERO && last_commit_end <= lsn)
                .then(|| last_commit_end.to_string()),
            published_at,
            lineage: None,
        };
        self.write_record(producer, &keys.position, &serde_json::json!(value)).await?;
        self.confirmed.set(lsn);
        Ok(())
    }

    /// Writes the lineage although the session has failed.
    pub(super) async fn write_lineage_alone(&self, config: &KafkaConfig) -> Result<()> {
        let lineage = {
            let mut lineage = self.lineage.lock();
            lineage.note_ends(&self.acknowledgements.ends());
            lineage.clone()
        };
        let value = LineageValue { system_identifier: self.system_identifier.to_string(), lineage };
        let (keys, payload) = (Keys::of(&self.slot_name), serde_json::json!(value).to_string());
        send_one(config, &self.record(&keys.lineage, payload.as_bytes()), Some(0)).await
    }

    /// Whether the lineage on record is another one than that of now.
    pub(super) async fn has_changed_lineage(&self) -> bool {
        let written = self.turn.lock().await;
        let lineage = self.lineage.lock();
        written.as_ref().is_none_or(|written| written.is_outdated(&lineage))
    }

    fn record<'a>(&'a self, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        Record { topic: &self.topic, key: Some(key), value: Some(value), ..Record::default() }
    }

    async fn write_record(&self, producer: &Producer, key: &[u8], value: &serde_json::Value) -> Result<()> {
        let before = self.acknowledgements.confirmations();
        self.acknowledgements.confirmation_sent();
        let payload = value.to_string();
        producer
            .send(&self.record(key, payload.as_bytes()), Some(0), Receipt::Single)
            .map_err(|failure| failure.into_error("the record of a position"))?;
        let is_written = |acknowledgements: &Acknowledgements| acknowledgements.confirmations() > before;
        self.acknowledgements.wait_for(is_written).await;
        // Why it failed is told by whoever ends the session.
        match is_written(&self.acknowledgements) && !self.acknowledgements.has_failed() {
            true => Ok(()),
            false => Err(Error::unavailable("a position was not confirmed")),
        }
    }

    /// Follows the flushed position and the lineage until `token` is cancelled.
    pub(super) async fn run(&self, token: CancellationToken) -> Result<()> {
        loop {
            if token.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return Ok(());
            }
            let (_, flushed) = self.acknowledgements.positions();
            let writing = async {
                let confirmed = self.confirmed.get();
                if flushed > confirmed || self.has_changed_lineage().await {
                    self.write(flushed.max(confirmed)).await
                } else {
                    Ok(())
                }
            };
            match token.run_until_cancelled(writing).await {
                Some(outcome) => outcome?,
                None => return Ok(()),
            }
        }
    }
}
