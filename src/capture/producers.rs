//! The producers of a session, one for each lane.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::lane::Lane;
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::producer::{DeliverySink, Producer};

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
    prompt: Arc<Producer>,
    /// Each has threads that wake now and then, so these two wait until there is a use for them.
    grouped: OnceLock<Producer>,
    bulk: OnceLock<Producer>,
}

impl Producers {
    pub(super) fn new(config: &KafkaConfig, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        let prompt = Arc::new(Producer::new(config, Duration::ZERO, Arc::clone(&sink))?);
        let config = config.clone();
        Ok(Self(Arc::new(Lanes { config, sink, prompt, grouped: OnceLock::new(), bulk: OnceLock::new() })))
    }

    /// The one that sends at once.
    pub(super) fn prompt(&self) -> &Arc<Producer> {
        &self.0.prompt
    }

    pub(super) fn by(&self, lane: Lane) -> Result<&Producer> {
        match lane {
            Lane::Prompt => Ok(&self.0.prompt),
            Lane::Grouped => self.0.made(&self.0.grouped, GROUP_LINGER),
            Lane::Bulk => self.0.made(&self.0.bulk, BULK_LINGER),
        }
    }

    /// Drops what is queued; see [`Producer::close`].
    pub(super) fn close(&self) {
        self.0.prompt.close();
        for producer in [&self.0.grouped, &self.0.bulk] {
            if let Some(producer) = producer.get() {
                producer.close();
            }
        }
    }
}

impl Lanes {
    fn made<'a>(&self, cell: &'a OnceLock<Producer>, linger: Duration) -> Result<&'a Producer> {
        if let Some(producer) = cell.get() {
            return Ok(producer);
        }
        let producer = Producer::new(&self.config, linger, Arc::clone(&self.sink))?;
        Ok(cell.get_or_init(|| producer))
    }
}
