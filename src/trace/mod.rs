//! `evp trace`: one event on its way from the outbox to the documents, or where it waits and behind what.

mod find;
mod story;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Result;
use crate::facts::{self, Depth};
use crate::init::{self, InitPlan};
use crate::process::HandlerRegistry;
use crate::terminal::print;
use story::Story;

/// Which event, and how it is told.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// Where everything is.
    pub plan: InitPlan,
    /// The event.
    pub event_id: Uuid,
    /// For programs.
    pub is_json: bool,
}

/// Follows the event and prints what is known of it; says whether anything is.
pub async fn run(options: &TraceOptions, registry: &HandlerRegistry, token: &CancellationToken) -> Result<bool> {
    let plan = &Box::pin(init::resolved_if_reachable(&options.plan)).await;
    let event_id = options.event_id;
    let (facts, row, records, letters, remembered) = tokio::join!(
        Box::pin(facts::look(plan, None, Depth::Glance, token)),
        find::row(plan, event_id),
        find::records(plan, event_id, token),
        find::letters(plan, event_id, token),
        find::remembered(plan, event_id),
    );
    let mut story = Story::of(event_id);
    story.take_facts(&facts);
    story.row = story.seen(row).flatten();
    story.records = story.seen(records).unwrap_or_default();
    story.letters = story.seen(letters).unwrap_or_default();
    story.remembered = story.seen(remembered).flatten();
    if let Some(aggregate_id) = story.aggregate_id() {
        let found = find::documents(plan, &aggregate_id, event_id).await;
        story.documents = story.seen(found).unwrap_or_default();
    }
    if let Some(event_type) = story.event_type() {
        let handlers = registry.handlers(&event_type);
        story.handlers = handlers.iter().map(|handler| handler.name().to_owned()).collect();
    }
    if options.is_json {
        print(story.json());
    } else {
        print(story.text().trim_end());
    }
    story.take_failure().map_or_else(|| Ok(story.is_known()), Err)
}
