//! The producers of a session, one for each lane.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::lane::Lane;
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::producer::{DeliverySink, Producer, Purpose, READY_AFTER, Requests};

/// What a burst waits for the rest of it to be queued.
const GROUP_LINGER: Duration = Duration::from_millis(1);
/// What a backlog waits for its batch to fill. Beyond it librdkafka polls in a busy loop, so that it has to be
/// longer than a broker takes for two batches.
const BULK_LINGER: Duration = Duration::from_millis(10);

/// All of them; cloning shares them.
#[derive(Clone)]
pub(super) struct Producers(Arc<Lanes>);

struct Lanes {
    config: KafkaConfig,
    sink: Arc<dyn DeliverySink>,
    batch_bytes: usize,
    prompt: Arc<Producer>,
    /// Each has threads that wake now and then, so these two wait until there is a use for them.
    grouped: OnceLock<LateProducer>,
    bulk: OnceLock<LateProducer>,
}

struct LateProducer {
    producer: Producer,
    made_at: Instant,
}

impl Producers {
    /// Producers whose batches hold so many bytes at the most.
    pub(super) fn new(config: &KafkaConfig, batch_bytes: usize, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        let purpose = Purpose::Stream { linger: Duration::ZERO, batch_bytes };
        let prompt = Arc::new(Producer::new(config, purpose, Arc::clone(&sink))?);
        let config = config.clone();
        Ok(Self(Arc::new(Lanes { config, sink, batch_bytes, prompt, grouped: OnceLock::new(), bulk: OnceLock::new() })))
    }

    /// The most that a batch holds.
    pub(super) fn batch_bytes(&self) -> usize {
        self.0.batch_bytes
    }

    /// The one that sends at once.
    pub(super) fn prompt(&self) -> &Arc<Producer> {
        &self.0.prompt
    }

    /// The lane to take where `wanted` is best: until its producer, made by the first call, can write, the prompt one.
    pub(super) fn usable(&self, wanted: Lane) -> Result<Lane> {
        let late = match wanted {
            Lane::Prompt => return Ok(wanted),
            Lane::Grouped => self.0.made(&self.0.grouped, GROUP_LINGER)?,
            Lane::Bulk => self.0.made(&self.0.bulk, BULK_LINGER)?,
        };
        Ok(if late.made_at.elapsed() >= READY_AFTER { wanted } else { Lane::Prompt })
    }

    /// The producer of a lane that is usable.
    pub(super) fn by(&self, lane: Lane) -> &Producer {
        let late = match lane {
            Lane::Prompt => None,
            Lane::Grouped => self.0.grouped.get(),
            Lane::Bulk => self.0.bulk.get(),
        };
        late.map_or(&*self.0.prompt, |late| &late.producer)
    }

    /// Whether one of them can write no more.
    pub(super) fn are_broken(&self) -> bool {
        self.all().any(Producer::is_broken)
    }

    /// Begins or ends counting the requests of all of them.
    pub(super) fn watch_requests(&self, is_watched: bool) {
        self.all().for_each(|producer| producer.watch_requests(is_watched));
    }

    /// The requests of all of them, once each was counted.
    pub(super) fn requests(&self) -> Option<Requests> {
        self.all().map(Producer::requests).try_fold(Requests::default(), |sum, requests| {
            let requests = requests?;
            Some(Requests {
                open_records: sum.open_records.saturating_add(requests.open_records),
                sent: sum.sent.saturating_add(requests.sent),
            })
        })
    }

    fn all(&self) -> impl Iterator<Item = &Producer> {
        let late = [&self.0.grouped, &self.0.bulk].into_iter().filter_map(OnceLock::get);
        std::iter::once(&*self.0.prompt).chain(late.map(|late| &late.producer))
    }

    /// Drops what is queued; see [`Producer::close`].
    pub(super) fn close(&self) {
        // First of all nothing more is sent by any of them, then each takes its time to end.
        self.all().for_each(Producer::stop_sending);
        self.all().for_each(Producer::close);
    }
}

impl Lanes {
    fn made<'a>(&self, cell: &'a OnceLock<LateProducer>, linger: Duration) -> Result<&'a LateProducer> {
        if let Some(late) = cell.get() {
            return Ok(late);
        }
        let purpose = Purpose::Stream { linger, batch_bytes: self.batch_bytes };
        let producer = Producer::new(&self.config, purpose, Arc::clone(&self.sink))?;
        Ok(cell.get_or_init(|| LateProducer { producer, made_at: Instant::now() }))
    }
}
