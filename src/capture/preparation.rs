//! Before streaming: both sides are inspected at the same time, and compared.

use std::sync::Arc;

use super::CaptureOptions;
use super::lineage::Lineage;
use super::resume::{Evidence, Promotion, check_for_gap, check_history};
use super::source::{SourceState, inspect_source};
use super::topic_ends::{TopicState, inspect_topics};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{self, Session, SystemIdentity, Timeline};

/// Both sides as they were found, fit to go on from.
pub(super) struct Prepared {
    pub(super) source: SourceState,
    pub(super) topics: TopicState,
    pub(super) identity: SystemIdentity,
    pub(super) lineage: Lineage,
    pub(super) session: Session,
}

/// Inspects both sides at the same time and opens the replication session.
pub(super) async fn prepare(options: &Arc<CaptureOptions>, accepts_gap: bool) -> Result<Prepared> {
    let source = inspect_source(options).await?;
    let inspection = tokio::task::spawn_blocking({
        let (options, topics) = (Arc::clone(options), source.topics.clone());
        move || inspect_topics(&options, &topics)
    });
    let mut session = Session::open(&options.postgres).await?;
    let identity = postgres::identify_system(&mut session).await?;
    let mut topics = inspection
        .await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the topics was interrupted", error))??;
    let timeline = postgres::timeline(&mut session, identity.timeline).await?;
    let promotion = promotion(&topics, &identity, &timeline);
    let known = check(options, accepts_gap, &source, &mut topics, &identity, promotion)?;
    let present = &topics.partition_counts;
    let counts = source.topics.iter().filter_map(|topic| Some((topic.clone(), *present.get(topic)?)));
    let lineage = known.continued(timeline, counts.collect(), topics.tails.last_lsn());
    Ok(Prepared { source, topics, identity, lineage, session })
}

/// Refuses a gap unless it is accepted, and says how the ends of the topics are to be read.
fn check(
    options: &CaptureOptions,
    accepts_gap: bool,
    source: &SourceState,
    topics: &mut TopicState,
    identity: &SystemIdentity,
    promotion: Option<Promotion>,
) -> Result<Lineage> {
    let slot = source.slot.as_ref();
    // Without a slot that can be read there is nothing to go on with, whatever is accepted.
    let is_slot_lost = slot.is_some_and(|slot| slot.wal_status.as_deref() == Some("lost"));
    let may_accept = accepts_gap && slot.is_some() && !is_slot_lost;
    let evidence = Evidence {
        slot_name: &options.settings.slot_name,
        system_identifier: identity.system_identifier,
        server_lsn: source.facts.flushed_lsn,
        slot_lsn: slot.map(|slot| slot.confirmed_flush_lsn.unwrap_or_default()),
        is_slot_lost,
        promotion,
        confirmation: topics.confirmation.as_ref(),
        tails: &topics.tails,
    };
    let accept = |error: Error| {
        if !may_accept {
            return Err(error);
        }
        tracing::warn!(event = "gap_accepted", %error, "going on as --accept-gap asks");
        Ok(())
    };
    if let Err(error) = check_history(&evidence) {
        accept(error)?;
        topics.give_up();
        return Ok(Lineage::give_up(&topics.ends));
    }
    check_for_gap(&evidence).or_else(accept)?;
    Ok(topics.confirmation.as_ref().map(|record| record.lineage.clone()).unwrap_or_default())
}

/// Whether the server's history is another than in the last session, and from where on.
fn promotion(topics: &TopicState, identity: &SystemIdentity, timeline: &Timeline) -> Option<Promotion> {
    let known = topics.confirmation.as_ref().filter(|record| record.system_identifier == identity.system_identifier);
    let from = known.and_then(|record| record.lineage.timeline.as_ref())?;
    from.parts_from(timeline).map(|parted_at| Promotion { from: from.number, parted_at })
}
