//! The topics of tables, made before anything is written where the connector says how, as Kafka Connect makes them.
//!
//! Where it does not say it, `evp init` has made them, or the brokers do with their own defaults.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::CaptureOptions;
use crate::error::{Error, Result};
use crate::kafka::admin::{Admin, create_routed_topic};

/// How long topics that were made may take to be seen by all brokers, and how often they are looked for.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Makes those of these topics that are not among the `known` ones, which they join; says whether there were any.
pub(super) async fn make_missing(
    options: &CaptureOptions,
    topics: &[String],
    known: &mut HashMap<String, u32>,
) -> Result<bool> {
    let how = &options.settings.topic_creation;
    let missing: Vec<&String> = topics.iter().filter(|topic| !known.contains_key(*topic)).collect();
    if !how.is_for_tables || missing.is_empty() {
        return Ok(false);
    }
    for topic in &missing {
        let rule = how.of(topic);
        create_routed_topic(&options.kafka, topic, (rule.partitions, rule.replicas), &rule.settings).await?;
        tracing::info!(event = "topic_made", topic, "as topic.creation says");
    }
    let (admin, started) = (Admin::new(&options.kafka)?, Instant::now());
    loop {
        let counts = admin.partition_counts().await?;
        let seen = missing.iter().filter_map(|topic| {
            let count = counts.get(*topic).and_then(|count| u32::try_from(*count).ok())?;
            Some(((*topic).clone(), count))
        });
        known.extend(seen);
        if missing.iter().all(|topic| known.contains_key(*topic)) {
            return Ok(true);
        }
        if started.elapsed() > SEEN_WITHIN {
            return Err(Error::unavailable("topics of tables were made and are not seen yet"));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
