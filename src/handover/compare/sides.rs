//! Both sides at work, one after the other: Debezium up to some place of the log, then evp at least as far.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::progress::{Judgement, Look, Progress};
use super::read::topics;
use super::stage::Stage;
use crate::capture::{self, CaptureOptions, Standing};
use crate::error::{Error, Result};
use crate::handover::offset::DebeziumOffset;
use crate::handover::wait_for_offset;
use crate::lsn::Lsn;
use crate::telemetry::Health;
use crate::terminal::now_ms;

const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How much is compared.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Debezium stops once it has written so many records.
    pub records_max: i64,
    /// Wait for so long for what is written meanwhile; nothing for what the slot holds.
    pub live_for: Option<Duration>,
}

/// How far Debezium has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// The last of its records is not beyond this.
    pub(super) reached: Lsn,
    /// All that was committed before this is in its topics.
    pub(super) covered: Lsn,
}

/// Lets the connector write, from where its copy of the slot stands, and stops it.
pub(super) async fn debezium(
    stage: &Stage<'_>,
    (prefix, heartbeat_topic): (&str, &str),
    from: Lsn,
    range: Range,
) -> Result<Written> {
    let offset = DebeziumOffset::behind(from, now_ms().saturating_mul(1_000));
    stage.connector.set_offset(prefix, &offset).await?;
    wait_for_offset(&stage.connector, prefix, from).await?;
    stage.connector.resume().await?;
    let bar = spinner("Debezium");
    let started = Instant::now();
    let mut progress = Progress::new(range.records_max);
    let mut target = if range.live_for.is_some() { None } else { Some(stage.log_end().await?) };
    let covered = loop {
        stage.connector.check().await?;
        if target.is_none() && range.live_for.is_some_and(|time| started.elapsed() >= time) {
            target = Some(stage.log_end().await?);
        }
        let look = look(stage, heartbeat_topic, started).await?;
        bar.set_message(format!("{} records", look.records));
        bar.tick();
        match progress.judge(look, target) {
            Judgement::GoOn => tokio::time::sleep(LOOK_INTERVAL).await,
            Judgement::Written(covered) => break covered,
            Judgement::Stuck => {
                return Err(Error::unavailable(format!(
                    "connector {} does not get on: for two minutes it has received and written nothing, of {} records; \
                     Connect's log may say why",
                    stage.names.connector, look.records
                )));
            }
        }
    };
    stage.connector.stop().await?;
    bar.finish_and_clear();
    let offset = stage.connector.offset(prefix).await?;
    let committed = offset.as_ref().and_then(|offset| offset.committed).unwrap_or_default();
    let furthest = offset.map(|offset| offset.furthest()).unwrap_or_default();
    Ok(Written { reached: furthest.max(covered), covered: committed.max(covered) })
}

async fn look(stage: &Stage<'_>, heartbeat_topic: &str, started: Instant) -> Result<Look> {
    // What is received first, for the heartbeats that count come after it.
    let (is_reading, received) = stage.received().await?;
    let topics = topics(stage.kafka, &stage.names.debezium_topics()).await?;
    let count = |is_wanted: &dyn Fn(&str) -> bool| {
        topics.iter().filter(|(topic, _)| is_wanted(topic)).map(|(_, (_, records))| *records).sum()
    };
    Ok(Look {
        is_reading,
        received,
        records: count(&|topic| topic != heartbeat_topic),
        heartbeats: count(&|topic| topic == heartbeat_topic),
        at: started.elapsed(),
    })
}

/// Lets evp write from the same place, at least as far as Debezium has.
pub(super) async fn evp(
    stage: &Stage<'_>,
    options: &CaptureOptions,
    (from, written): (Lsn, Written),
    token: &CancellationToken,
) -> Result<()> {
    let options = Arc::new(options.beside(stage.names.position_topic(), written.reached));
    let bar = spinner("evp");
    bar.enable_steady_tick(LOOK_INTERVAL);
    // As of the other side it is known where the last commit ended, which records tell.
    Standing::look(&options).await?.adopt(&options, from).await?;
    capture::run((*options).clone(), Arc::new(Health::default()), token.clone()).await?;
    bar.finish_and_clear();
    Ok(())
}

/// Seen on a terminal alone.
fn spinner(side: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_prefix(format!("{side} writes"));
    match ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
