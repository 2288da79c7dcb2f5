//! What may be put right without asking: what is missing is made, and nothing that is there is changed but for how long
//! dead letters are kept.

use std::collections::BTreeSet;

use super::checks::Fix;
use crate::dead_letters::dead_letter_topic;
use crate::error::Result;
use crate::init::{self, InitPlan};
use crate::kafka::admin::{Admin, KEPT};
use crate::kafka::look::{Looker, blocking};

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

async fn keep_dead_letters(plan: &InitPlan) -> Result<()> {
    let admin = Admin::new(&plan.kafka)?;
    for topic in &plan.event_topics {
        admin.set(&dead_letter_topic(topic), KEPT).await?;
    }
    Ok(())
}
