//! What may be put right without asking: what is missing is made, and nothing that is there is changed but for how long
//! dead letters are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;

use super::checks::Fix;
use crate::dead_letters::dead_letter_topic;
use crate::error::Result;
use crate::init::{self, InitPlan};
use crate::kafka::look::{Looker, blocking};
use crate::kafka::{client_config, client_error, with_user_properties};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn apply(plan: &InitPlan, fixes: &BTreeSet<Fix>) -> Result<()> {
    for fix in fixes {
        match fix {
            Fix::Topics => make_topics(plan).await?,
            Fix::Collections => init::make_collections(plan).await?,
            Fix::KeepDeadLetters => keep_dead_letters(plan).await?,
        }
    }
    Ok(())
}

/// Topics of events are left out: how many partitions they are to have is not for us to say.
async fn make_topics(plan: &InitPlan) -> Result<()> {
    let config = plan.kafka.clone();
    let there = blocking("reading the topics", move || Looker::new(&config)?.topics()).await?;
    if plan.event_topics.iter().all(|topic| there.contains_key(topic)) {
        init::make_topics(plan).await?;
    }
    Ok(())
}

/// The brokers forget every setting that a change does not name, so it names all.
async fn keep_dead_letters(plan: &InitPlan) -> Result<()> {
    use rdkafka::admin::ConfigSource;
    let config = &plan.kafka;
    let failed = |error| client_error("changing the dead-letter topic", config, error);
    let mut client = client_config(config, "evp-admin");
    with_user_properties(&mut client, config);
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(failed)?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    for topic in plan.event_topics.iter().map(|topic| dead_letter_topic(topic)) {
        let resource = ResourceSpecifier::Topic(&topic);
        let described = admin.describe_configs([&resource], &options).await.map_err(failed)?;
        let Some(described) = described.into_iter().next() else { continue };
        let described = described.map_err(|code| failed(KafkaError::AdminOp(code)))?;
        let own = described.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let own: Vec<(&str, &str)> =
            own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
        let kept = own.into_iter().filter(|(name, _)| *name != "retention.ms").chain([("retention.ms", "-1")]);
        let change = kept.fold(AlterConfig::new(resource), |change, (name, value)| change.set(name, value));
        let changed = admin.alter_configs([&change], &options).await.map_err(failed)?;
        for outcome in changed {
            outcome.map_err(|(_, code)| failed(KafkaError::AdminOp(code)))?;
        }
    }
    Ok(())
}
