//! The two producers of a session, one for each lane.

use std::sync::Arc;
use std::time::Duration;

use super::lane::Lane;
use crate::config::KafkaConfig;
use crate::error::Result;
use crate::kafka::producer::{DeliverySink, Producer};

/// What a backlog waits for its batch to fill. Beyond it librdkafka polls in a busy loop, so that it has to be
/// longer than a broker takes for two batches.
const BULK_LINGER: Duration = Duration::from_millis(10);

/// Both producers; cloning shares them.
#[derive(Clone)]
pub(super) struct Producers {
    pub(super) prompt: Arc<Producer>,
    bulk: Arc<Producer>,
}

impl Producers {
    pub(super) fn new(config: &KafkaConfig, sink: Arc<dyn DeliverySink>) -> Result<Self> {
        Ok(Self {
            prompt: Arc::new(Producer::new(config, Duration::ZERO, Arc::clone(&sink))?),
            bulk: Arc::new(Producer::new(config, BULK_LINGER, sink)?),
        })
    }

    pub(super) fn by(&self, lane: Lane) -> &Producer {
        match lane {
            Lane::Prompt => &self.prompt,
            Lane::Bulk => &self.bulk,
        }
    }

    /// Drops what is queued; see [`Producer::close`].
    pub(super) fn close(&self) {
        self.prompt.close();
        self.bulk.close();
    }
}
