//! A topic that a row has named for the first time: found or made, and put on record before anything is written to it.

use std::time::{Duration, Instant};

use super::Pipeline;
use crate::capture::topic_ends::{MetTopic, meet_topic};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_routed_topic;

/// How long a topic that was made may take to be seen by all brokers, and how often it is looked for.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Pipeline<'_> {
    /// A later start reads the ends of the topics that are on record, so that this one has to be among them by then.
    pub(super) async fn meet(&mut self, topic: String) -> Result<()> {
        let MetTopic { partition_count, tails } = match self.look_for(&topic).await? {
            Some(met) => met,
            None => self.made(&topic).await?,
        };
        for (partition, tail) in tails {
            self.sink.tails.insert(topic.clone(), partition, tail);
        }
        self.sink.partition_counts.insert(topic.clone(), partition_count);
        self.sink.lineage.add_topic(topic.clone(), partition_count);
        self.confirmer.lineage.lock().add_topic(topic.clone(), partition_count);
        self.confirmer.write(self.confirmed.get()).await?;
        tracing::info!(event = "topic_met", topic, partitions = partition_count, "rows name a new topic");
        self.sink.met.insert(topic);
        Ok(())
    }

    async fn made(&self, topic: &str) -> Result<MetTopic> {
        let how = &self.options.settings.topic_creation;
        create_routed_topic(&self.options.kafka, topic, (how.partitions, how.replicas), &how.settings).await?;
        let started = Instant::now();
        loop {
            if let Some(met) = self.look_for(topic).await? {
                return Ok(met);
            }
            if started.elapsed() > SEEN_WITHIN {
                return Err(Error::unavailable(format!("topic {topic} was made and is not seen yet")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn look_for(&self, topic: &str) -> Result<Option<MetTopic>> {
        let (options, lineage, topic) = (self.options.clone(), self.sink.lineage.clone(), topic.to_owned());
        let looked = tokio::task::spawn_blocking(move || meet_topic(&options, &lineage, &topic)).await;
        looked.map_err(|error| Error::with_source(ErrorKind::System, "looking for a topic was interrupted", error))?
    }
}
