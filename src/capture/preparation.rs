//! The state of a session before its first row: the slot is held, both sides are inspected, gaps are refused.
//!
//! The slot is taken first. Holding it is what keeps others from writing and from moving it, so that what is read of the
//! slot and of the topics afterwards stays true; and nothing is confirmed by it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::CaptureOptions;
use super::acknowledgements::Acknowledgements;
use super::catalog_watch::{departed, followed, look};
use super::confirmation::Confirmed;
use super::feedback;
use super::gap::{Evidence, Promotion, check_for_gap, check_history};
use super::lineage::Lineage;
use super::missing_topics::make_missing;
use super::producers::Producers;
use super::snapshot::{Decision, Found, SnapshotProgress, TailsByTopic, decide};
use super::source::{SourceState, check_tables, inspect_source};
use super::topic_ends::{TopicState, inspect_topics};
use crate::connector::SnapshotMode;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::limits::{RecordLimits, record_limits};
use crate::lsn::Lsn;
use crate::postgres::sql::Catalog;
use crate::postgres::{
    self, PublicationLook, ReplicationReader, ServerFacts, Session, Slot, StartPoint, SystemIdentity, Timeline,
};

/// How long the end of a stream may take to arrive that the server has ended.
const STREAM_END_WAIT: Duration = Duration::from_secs(2);

/// Both sides as they were found, fit to go on from.
pub(super) struct Prepared {
    pub(super) stream: HeldStream,
    pub(super) catalog: Arc<Catalog>,
    pub(super) facts: ServerFacts,
    pub(super) slot_lsn: Lsn,
    pub(super) topics: TopicState,
    pub(super) limits: RecordLimits,
    pub(super) lineage: Lineage,
    /// The captured tables, as (schema, table).
    pub(super) tables: Vec<(String, String)>,
    /// A snapshot is to be taken, or gone on with, before anything is streamed.
    pub(super) takes_snapshot: bool,
}

/// A stream that has begun and of which nothing is taken yet, and the task that keeps it alive.
pub(super) struct HeldStream {
    pub(super) reader: ReplicationReader,
    pub(super) identity: SystemIdentity,
    timeline: Timeline,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) silence_max: Duration,
    pub(super) feedback: JoinHandle<Result<()>>,
    pub(super) token: CancellationToken,
}

impl HeldStream {
    /// Why the slot has no reader any more: the server has ended the stream, or it is another one than the catalog's.
    async fn reason(&mut self, options: &CaptureOptions) -> Error {
        let ended = async {
            loop {
                while self.reader.buffered()?.is_some() {}
                self.reader.fill().await?;
            }
        };
        match tokio::time::timeout(STREAM_END_WAIT, ended).await {
            Ok(Err::<Infallible, Error>(error)) => error,
            Ok(Ok(never)) => match never {},
            Err(_) => Error::unavailable(format!(
                "replication slot {} streams, but has no reader where the catalog is: PostgreSQL at {} is more than one server",
                options.settings.slot_name,
                options.postgres.address()
            )),
        }
    }

    /// Sends the last status and reads on until the server has ended the stream, within `limit`.
    pub(super) async fn say_goodbye(&mut self, limit: Duration) {
        self.token.cancel();
        let goodbye = async {
            let _ = (&mut self.feedback).await;
            self.reader.read_to_end().await
        };
        let _ = tokio::time::timeout(limit, goodbye).await;
    }
}

impl Drop for HeldStream {
    fn drop(&mut self) {
        // With the task goes the connection, which frees the slot.
        self.feedback.abort();
    }
}

/// What the last session has left behind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// `--accept-gap` is in force.
    pub(super) accepts_gap: bool,
    /// Requests of a producer that was dropped may still be answered.
    pub(super) may_arrive: bool,
    /// A session of this process has seen or written a confirmation.
    pub(super) has_confirmation: bool,
    /// A session of this process has completed a snapshot.
    pub(super) has_snapshot: bool,
}

/// Takes the slot, inspects both sides and refuses gaps.
pub(super) async fn prepare(
    options: &Arc<CaptureOptions>,
    (acknowledgements, producers): (&Arc<Acknowledgements>, &Producers),
    past: Past,
) -> Result<Prepared> {
    let mut source = inspect_source(options, acknowledgements.health()).await?;
    producers.expect(backlog_bytes(&source))?;
    if !source.slot.as_ref().is_some_and(is_readable) {
        if !makes_slot(options, &source, past).await? {
            return Err(unreadable(options, source, past).await);
        }
        source = inspect_source(options, acknowledgements.health()).await?;
    }
    let mut stream = hold(options, acknowledgements).await?;
    let SourceState { catalog, facts, topics: tables, tables: names, notes, .. } = source;
    let limits = async { record_limits(&options.kafka, &tables).await };
    let (topics, mut limits) = tokio::try_join!(inspected(options, &tables, past.may_arrive), limits)?;
    let slot = match held_slot(options, &catalog).await? {
        Some(slot) => slot,
        None => return Err(stream.reason(options).await),
    };
    let published_before = topics.confirmation.as_ref().and_then(|record| record.lineage.published.as_ref());
    let look = look(&catalog, options, facts.version_number, published_before).await?;
    let server = Server {
        identity: &stream.identity,
        timeline: &stream.timeline,
        end: facts.inserted_lsn,
        slot: &slot,
        look: &look,
    };
    let mut topics = topics;
    let has_begun = past.has_confirmation || topics.has_begun();
    let (mut lineage, has_gap) = check(options, acknowledgements, past, (&server, &tables), &mut topics)?;
    check_tables(&names, options)?;
    let slot_lsn = slot.confirmed_flush_lsn.unwrap_or_default();
    let former = lineage.snapshot.take();
    let (snapshot, takes_snapshot) = due_snapshot(options, past, &topics, (has_begun, has_gap), former, slot_lsn)?;
    lineage.snapshot = snapshot;
    if !past.has_confirmation {
        notes.tell();
    }
    lineage.is_without_header = !options.with_position_header;
    if make_missing(options, &tables, &mut topics.partition_counts).await? {
        // They have limits of their own.
        limits = record_limits(&options.kafka, &tables).await?;
    }
    let present = &topics.partition_counts;
    let beside = lineage.topics().filter(|topic| options.settings.is_topic_beside_tables(topic));
    let counts = tables.iter().chain(beside).filter_map(|topic| Some((topic.clone(), *present.get(topic)?)));
    let counts = counts.collect();
    let mut lineage = lineage.continued(stream.timeline.clone(), counts, topics.tails.last_lsn());
    lineage.ends.clear();
    lineage.note_ends(&topics.ends);
    Ok(Prepared { stream, catalog, facts, slot_lsn, topics, limits, lineage, tables: names, takes_snapshot })
}

/// How much of the log the slot has not confirmed.
fn backlog_bytes(source: &SourceState) -> u64 {
    let confirmed = source.slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
    confirmed.map_or(0, |confirmed| source.facts.flushed_lsn.get().saturating_sub(confirmed.get()))
}

pub(super) fn is_readable(slot: &Slot) -> bool {
    slot.wal_status.as_deref() != Some("lost") && slot.invalidation_reason.is_none()
}

/// Why there is nothing to stream from: what is known decides whether that is a gap.
async fn unreadable(options: &Arc<CaptureOptions>, source: SourceState, past: Past) -> Error {
    let judged = async {
        let mut session = Session::open(&options.postgres).await?;
        let identity = postgres::identify_system(&mut session).await?;
        let timeline = postgres::timeline(&mut session, identity.timeline).await?;
        let topics = inspected(options, &source.topics, past.may_arrive).await?;
        let evidence = Evidence {
            slot_name: &options.settings.slot_name,
            system_identifier: identity.system_identifier,
            server_lsn: source.facts.inserted_lsn,
            slot_lsn: source.slot.as_ref().map(|slot| slot.confirmed_flush_lsn.unwrap_or_default()),
            is_slot_lost: source.slot.is_some(),
            lost_reason: source.slot.as_ref().and_then(|slot| slot.invalidation_reason.as_deref()),
            promotion: promotion(&topics, &identity, &timeline),
            confirmation: topics.confirmation.as_ref(),
            tails: &topics.tails,
            shortened: None,
        };
        // Without a slot that can be read there is nothing to go on with, whatever is accepted.
        check_history(&evidence)?;
        check_for_gap(&evidence)
    };
    match judged.await {
        Err(error) => error,
        Ok(()) => Error::unavailable("the slot cannot be read"),
    }
}

/// Starts to stream, which takes the slot, and keeps the connection alive from then on.
async fn hold(options: &Arc<CaptureOptions>, acknowledgements: &Arc<Acknowledgements>) -> Result<HeldStream> {
    let settings = &options.settings;
    let mut session = Session::open(&options.postgres).await?;
    let identity = postgres::identify_system(&mut session).await?;
    let timeline = postgres::timeline(&mut session, identity.timeline).await?;
    let sender_timeout = postgres::wal_sender_timeout(&mut session).await?;
    let start = StartPoint {
        slot: settings.slot_name.clone(),
        publications: settings.publication_name.clone(),
        origin: settings.stream_origin.clone(),
    };
    let (reader, writer) = postgres::start_replication(session, &start).await?;
    let interval = feedback::status_interval(settings.status_interval, sender_timeout);
    let (confirmed, token) = (Arc::new(Confirmed::default()), CancellationToken::new());
    let feedback = tokio::spawn(feedback::run(
        writer,
        Arc::clone(acknowledgements),
        Arc::clone(&confirmed),
        interval,
        token.clone(),
    ));
    let silence_max = feedback::silence_max(interval, sender_timeout);
    Ok(HeldStream { reader, identity, timeline, confirmed, silence_max, feedback, token })
}

pub(super) async fn inspected(
    options: &Arc<CaptureOptions>,
    topics: &[String],
    may_arrive: bool,
) -> Result<TopicState> {
    let (options, topics) = (Arc::clone(options), topics.to_vec());
    let inspection = tokio::task::spawn_blocking(move || inspect_topics(&options, &topics, may_arrive));
    inspection
        .await
        .map_err(|error| Error::with_source(ErrorKind::System, "reading the topics was interrupted", error))?
}

/// The slot as it stands now that nobody else can move it; nothing if it has no reader.
async fn held_slot(options: &CaptureOptions, catalog: &Catalog) -> Result<Option<Slot>> {
    let client = catalog.client().await?;
    let slot = postgres::find_slot(&client, &options.postgres, &options.settings.slot_name).await?;
    Ok(slot.filter(|slot| slot.holder.is_some()))
}

/// Makes the slot, or a new one in the place of one that is lost, where a snapshot makes good what it has not seen: before
/// anything was captured, and where the mode asks for one whenever changes are missing.
async fn makes_slot(options: &Arc<CaptureOptions>, source: &SourceState, past: Past) -> Result<bool> {
    let settings = &options.settings;
    let topics = inspected(options, &source.topics, past.may_arrive).await?;
    let has_begun = past.has_confirmation || topics.has_begun();
    let makes = match settings.snapshot.mode {
        SnapshotMode::NoData => false,
        SnapshotMode::WhenNeeded => true,
        SnapshotMode::Always | SnapshotMode::Initial | SnapshotMode::InitialOnly => !has_begun,
    };
    if !makes {
        return Ok(false);
    }
    let client = source.catalog.client().await?;
    if source.slot.is_some() {
        postgres::drop_slot(&client, &options.postgres, &settings.slot_name).await?;
    }
    postgres::create_slot(&client, &options.postgres, &settings.slot_name, settings.slot_failover).await?;
    tracing::info!(event = "slot_created", slot = settings.slot_name, "the slot was made; a snapshot follows");
    Ok(true)
}

/// What the lineage says of snapshots from now on, and whether one is to be taken.
fn due_snapshot(
    options: &CaptureOptions,
    past: Past,
    topics: &TopicState,
    (has_begun, has_gap): (bool, bool),
    former: Option<SnapshotProgress>,
    slot_lsn: Lsn,
) -> Result<(Option<SnapshotProgress>, bool)> {
    let found = Found {
        progress: former.as_ref(),
        has_begun,
        is_debeziums_unfinished: topics.tails.ends_within_debeziums_snapshot(),
        is_taken: past.has_snapshot,
        has_gap,
    };
    Ok(match decide(options.settings.snapshot.mode, &found)? {
        // One that was begun and is not wanted any more counts as completed, for the stream is read from here on.
        Decision::Stream => (former.map(|former| former.completed().passed(slot_lsn)), false),
        Decision::Resume => (former, true),
        Decision::Begin { is_first } => {
            (Some(SnapshotProgress::due(former.as_ref(), topics.tails.by_topic(), is_first)), true)
        }
    })
}

/// What the server says.
struct Server<'a> {
    identity: &'a SystemIdentity,
    timeline: &'a Timeline,
    /// End of its log.
    end: Lsn,
    slot: &'a Slot,
    look: &'a PublicationLook,
}

/// Refuses a gap unless it is accepted or read again, and says how the ends of the topics are to be read.
fn check(
    options: &CaptureOptions,
    acknowledgements: &Acknowledgements,
    past: Past,
    (server, tables): (&Server<'_>, &[String]),
    topics: &mut TopicState,
) -> Result<(Lineage, bool)> {
    if past.has_confirmation && topics.confirmation.is_none() {
        return Err(Error::unavailable(format!(
            "the record of what was confirmed for replication slot {} was in Kafka and is not found; waiting for it",
            options.settings.slot_name
        )));
    }
    let record = topics.confirmation.as_ref();
    let mut lineage = record.map(|record| record.lineage.clone()).unwrap_or_default();
    lineage.note_ends(&acknowledgements.ends());
    // The topic of a table that is no longer captured may go.
    let is_written_to = |topic: &String| tables.contains(topic) || options.settings.is_topic_beside_tables(topic);
    lineage.ends.retain(|topic, _| is_written_to(topic));
    let evidence = Evidence {
        slot_name: &options.settings.slot_name,
        system_identifier: server.identity.system_identifier,
        server_lsn: server.end,
        slot_lsn: Some(server.slot.confirmed_flush_lsn.unwrap_or_default()),
        is_slot_lost: false,
        lost_reason: None,
        promotion: promotion(topics, server.identity, server.timeline),
        confirmation: record,
        tails: &topics.tails,
        shortened: lineage.shortened(&topics.ends),
    };
    let mut has_gap = false;
    let accept = |error: Error| {
        if !past.accepts_gap {
            return Err(error);
        }
        tracing::warn!(event = "gap_accepted", %error, "going on as --accept-gap asks");
        Ok(())
    };
    if let Err(error) = check_history(&evidence) {
        accept(error)?;
        topics.give_up();
        let is_unfinished = lineage.snapshot.is_some_and(|snapshot| !snapshot.is_completed());
        lineage = Lineage::give_up(&topics.ends);
        lineage.snapshot = is_unfinished.then(|| SnapshotProgress::due(None, TailsByTopic::new(), false));
    } else if let Err(error) = check_for_gap(&evidence) {
        has_gap = true;
        match options.settings.snapshot.mode {
            SnapshotMode::WhenNeeded => {
                tracing::warn!(event = "gap_read_again", %error, "changes are missing; all tables are read again");
            }
            _ => accept(error)?,
        }
    }
    let published = followed(lineage.published.as_ref(), server.look, Lsn::ZERO, options).or_else(|departure| {
        accept(departed(&departure))?;
        followed(None, server.look, Lsn::ZERO, options).map_err(|departure| departed(&departure))
    });
    lineage.published = Some(published?);
    Ok((lineage, has_gap))
}

/// Whether the server's history is another than in the last session, and from where on.
pub(super) fn promotion(topics: &TopicState, identity: &SystemIdentity, timeline: &Timeline) -> Option<Promotion> {
    let known = topics.confirmation.as_ref().filter(|record| record.system_identifier == identity.system_identifier);
    let from = known.and_then(|record| record.lineage.timeline.as_ref())?;
    from.parts_from(timeline).map(|parted_at| Promotion { from: from.number, parted_at })
}
