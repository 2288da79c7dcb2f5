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
/// longer than a broker takes for two batches, and no longer than need be, because the first record to each partition
/// waits for it alone (`first_flights`).
const BULK_LINGER: Duration = Duration::from_millis(10);
/// The same where the broker takes long.
const DISTANT_LINGER: Duration = Duration::from_millis(200);
/// Batches on their way to a broker at once, if it is near and if it is far: no more than an idempotent producer may have.
const NEAR: u8 = 2;
const FAR: u8 = 5;

/// So much of the log, of which not all may be of captured tables, makes a backlog probable.
const BACKLOG_BYTES: u64 = 16 * 1024 * 1024;

/// All of them; cloning shares them.
#[derive(Clone)]
pub(super) struct Producers(Arc<Lanes>);

struct Lanes {
    config: KafkaConfig,
    sink: Arc<dyn DeliverySink>,
    batch_bytes: usize,
    prompt: Arc<Producer>,
    /// Each has threads that wake now and then, so these wait until there is a use for them.
    grouped: OnceLock<LateProducer>,
    bulk: OnceLock<LateProducer>,
    distant: OnceLock<LateProducer>,
}

struct LateProducer {
    producer: Producer,
    made_at: Instant,
}

impl Producers {
    /// Producers whose batches hold so many bytes at the most.
    pub(super) fn new(config: &KafkaConfig, batch_bytes: usize, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        let purpose = Purpose::Stream { linger: Duration::ZERO, batch_bytes, in_flight: NEAR };
        let prompt = Arc::new(Producer::new(config, purpose, Arc::clone(&sink))?);
        let config = config.clone();
        let (grouped, bulk, distant) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Lanes { config, sink, batch_bytes, prompt, grouped, bulk, distant })))
    }

    /// The most that a batch holds.
    pub(super) fn batch_bytes(&self) -> usize {
        self.0.batch_bytes
    }

    /// The one that sends at once.
    pub(super) fn prompt(&self) -> &Arc<Producer> {
        &self.0.prompt
    }

    /// The lane to take where `wanted` is best: until its producer, made by the first call, can write, a lesser one.
    pub(super) fn usable(&self, wanted: Lane) -> Result<Lane> {
        let lanes = &self.0;
        let (late, until_then) = match wanted {
            Lane::Prompt => return Ok(wanted),
            Lane::Grouped => (lanes.made(&lanes.grouped, GROUP_LINGER, NEAR)?, Lane::Prompt),
            Lane::Bulk => (lanes.made(&lanes.bulk, BULK_LINGER, NEAR)?, Lane::Prompt),
            Lane::Distant => (lanes.made(&lanes.distant, DISTANT_LINGER, FAR)?, Lane::Bulk),
        };
        match late.made_at.elapsed() >= READY_AFTER {
            true => Ok(wanted),
            false => self.usable(until_then),
        }
    }

    /// Makes those of a backlog, if there seems to be one, while everything else is made ready.
    pub(super) fn expect(&self, backlog_bytes: u64) -> Result<()> {
        if backlog_bytes >= BACKLOG_BYTES {
            // What the log brings more slowly than Kafka takes it is sent in groups.
            self.usable(Lane::Grouped)?;
            self.usable(Lane::Bulk)?;
        }
        Ok(())
    }

    /// The producer of a lane that is usable.
    pub(super) fn by(&self, lane: Lane) -> &Producer {
        let late = match lane {
            Lane::Prompt => None,
            Lane::Grouped => self.0.grouped.get(),
            Lane::Bulk => self.0.bulk.get(),
            Lane::Distant => self.0.distant.get(),
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
        let late = [&self.0.grouped, &self.0.bulk, &self.0.distant].into_iter().filter_map(OnceLock::get);
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
    fn made<'a>(&self, cell: &'a OnceLock<LateProducer>, linger: Duration, in_flight: u8) -> Result<&'a LateProducer> {
        if let Some(late) = cell.get() {
            return Ok(late);
        }
        let purpose = Purpose::Stream { linger, batch_bytes: self.batch_bytes, in_flight };
        let producer = Producer::new(&self.config, purpose, Arc::clone(&self.sink))?;
        Ok(cell.get_or_init(|| LateProducer { producer, made_at: Instant::now() }))
    }
}
