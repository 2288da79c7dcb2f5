//! The producers of a session, one for each lane.

use std::sync::Arc;
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
pub(super) struct Producers {
    pub(super) prompt: Arc<Producer>,
    grouped: Arc<Producer>,
    bulk: Arc<Producer>,
}

impl Producers {
    pub(super) fn new(config: &KafkaConfig, sink: &Arc<dyn DeliverySink>) -> Result<Self> {
        let producer = |linger| Producer::new(config, linger, Arc::clone(sink)).map(Arc::new);
        Ok(Self { prompt: producer(Duration::ZERO)?, grouped: producer(GROUP_LINGER)?, bulk: producer(BULK_LINGER)? })
    }

    pub(super) fn by(&self, lane: Lane) -> &Producer {
        match lane {
            Lane::Prompt => &self.prompt,
            Lane::Grouped => &self.grouped,
            Lane::Bulk => &self.bulk,
        }
    }

    /// Drops what is queued; see [`Producer::close`].
    pub(super) fn close(&self) {
        for producer in [&self.prompt, &self.grouped, &self.bulk] {
            producer.close();
        }
    }
}
