//! A topic that a row has named for the first time: found or made, and put on record before anything is written to it.

use std::time::{Duration, Instant};

use super::sink::Sink;
use crate::capture::CaptureOptions;
use crate::capture::confirmation::Confirmer;
use crate::capture::topic_ends::{MetTopic, meet_topic};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::create_routed_topic;

/// How long a topic that was made may take to be seen by all brokers, and how often it is looked for.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Sink<'_> {
    /// A later start reads the ends of the topics that are on record, so that this one has to be among them by then.
    pub(super) async fn meet(
        &mut self,
        (options, confirmer): (&CaptureOptions, &Confirmer),
        topic: String,
    ) -> Result<()> {
        let MetTopic { partition_count, tails } = match self.look_for(options, &topic).await? {
            Some(met) => met,
            None => self.made(options, &topic).await?,
        };
        for (partition, tail) in tails {
            self.tails.insert(topic.clone(), partition, tail);
        }
        self.partition_counts.insert(topic.clone(), partition_count);
        self.lineage.add_topic(topic.clone(), partition_count);
        confirmer.lineage.lock().add_topic(topic.clone(), partition_count);
        confirmer.write(confirmer.confirmed.get()).await?;
        tracing::info!(event = "topic_met", topic, partitions = partition_count, "rows name a new topic");
        self.met.insert(topic);
        Ok(())
    }

    async fn made(&self, options: &CaptureOptions, topic: &str) -> Result<MetTopic> {
        let how = options.settings.topic_creation.of(topic);
        create_routed_topic(&options.kafka, topic, (how.partitions, how.replicas), &how.settings).await?;
        let started = Instant::now();
        loop {
            if let Some(met) = self.look_for(options, topic).await? {
                return Ok(met);
            }
            if started.elapsed() > SEEN_WITHIN {
                return Err(Error::unavailable(format!("topic {topic} was made and is not seen yet")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn look_for(&self, options: &CaptureOptions, topic: &str) -> Result<Option<MetTopic>> {
        let (options, lineage, topic) = (options.clone(), self.lineage.clone(), topic.to_owned());
        let looked = tokio::task::spawn_blocking(move || meet_topic(&options, &lineage, &topic)).await;
        looked.map_err(|error| Error::with_source(ErrorKind::System, "looking for a topic was interrupted", error))?
    }
}
