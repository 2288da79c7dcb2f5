//! `evp process` as a library, with handlers of a test's own.

use std::sync::Arc;

use evp::config::{KafkaConfig, MongoConfig, ProcessConfig, Variables};
use evp::error::Result;
use evp::process::{HandlerRegistry, OutboxColumns, ProcessOptions, ProcessSummary, Questions, UnknownEvents, run};
use evp::shutdown::Until;
use evp::telemetry::Health;
use tokio_util::sync::CancellationToken;

use super::World;

/// Applies the topic up to its end, with these variables beside those of the world's servers.
pub(crate) async fn apply_topic(world: &World, registry: HandlerRegistry, settings: &[(&str, &str)]) -> ProcessSummary {
    try_apply_topic(world, registry, settings).await.unwrap()
}

/// The same, where it may fail.
pub(crate) async fn try_apply_topic(
    world: &World,
    registry: HandlerRegistry,
    settings: &[(&str, &str)],
) -> Result<ProcessSummary> {
    let names = ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "MONGODB_URI", "MONGODB_DATABASE"];
    let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, world.variable(name))).collect();
    pairs.extend(settings);
    let mut variables = Variables::of(&pairs);
    let options = ProcessOptions {
        kafka: KafkaConfig::from_variables(&mut variables, &[]),
        mongo: MongoConfig::from_variables(&mut variables),
        process: ProcessConfig::from_variables(&mut variables),
        operations: ProcessOptions::default_operations(),
        unknown_events: UnknownEvents::DeadLetter,
        columns: OutboxColumns::default(),
        until: Until::CaughtUp,
        accept_new_topic: false,
        accept_shape: false,
        questions: Questions::default(),
        projections: None,
    };
    variables.finish().unwrap();
    run(options, registry, Arc::new(Health::default()), CancellationToken::new()).await
}
