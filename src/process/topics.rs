//! Several topics at once: each is applied by itself, and they end together.
//!
//! To documents two topics are what two partitions are: the guards tell them apart, and the later commit wins.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use mongodb::Client;
use tokio_util::sync::CancellationToken;

use super::{HandlerRegistry, ProcessOptions, ProcessSummary, prepare_database};
use crate::error::Result;
use crate::telemetry::Health;

/// Applies the topics of `options`; the failure of one ends all.
pub(super) async fn work(
    options: ProcessOptions,
    registry: HandlerRegistry,
    health: Arc<Health>,
    shutdown: CancellationToken,
    started: Instant,
    (client, address): (&Client, String),
) -> Result<ProcessSummary> {
    let topics = options.kafka.topics();
    if let [topic] = topics.as_slice() {
        let mut options = options.clone();
        options.kafka.topic = (*topic).to_owned();
        return super::work(options, registry, health, shutdown, started, (client, address)).await;
    }
    let database = client.database(&options.mongo.database);
    let prepare = prepare_database(&database, &health, &address, options.process.claim_lifetime);
    let prepared = shutdown.run_until_cancelled(prepare).await;
    prepared.transpose()?;
    let stop = shutdown.child_token();
    let works = topics.iter().zip(health.parts(&topics)).map(|(topic, health)| {
        let options = ProcessOptions { kafka: options.kafka.of_topic(topic), ..options.clone() };
        let (registry, address, stop) = (registry.clone(), address.clone(), stop.clone());
        async move {
            let done = super::work(options, registry, Arc::new(health), stop.clone(), started, (client, address)).await;
            if done.is_err() {
                stop.cancel();
            }
            done
        }
    });
    let mut summaries = join_all(works).await.into_iter().collect::<Result<Vec<_>>>()?;
    summaries.sort_by_key(|summary| summary.latency.count);
    let sum = |count: fn(&ProcessSummary) -> u64| summaries.iter().map(count).fold(0, u64::saturating_add);
    let [processed, duplicates, skipped, dead_lettered] = [
        sum(|summary| summary.processed),
        sum(|summary| summary.duplicates),
        sum(|summary| summary.skipped),
        sum(|summary| summary.dead_lettered),
    ];
    let busiest = summaries.pop().ok_or_else(|| crate::error::Error::configuration("KAFKA_TOPIC names no topic"))?;
    Ok(ProcessSummary { processed, duplicates, skipped, dead_lettered, ..busiest })
}
