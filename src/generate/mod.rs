//! `evp generate`: realistic outbox events at an exact rate.
//!
//! The load is an open loop: event *i* is due at *start + i / rate*, whether or not earlier ones are done, and
//! every latency counts from that moment. So a stall of the system shows in full instead of slowing the load down.
//!
//! Each connection has a random source of its own, and an aggregate's later events come from the source that
//! created it. Its connection commits in order, so references are always valid and an aggregate's
//! order is the order of its commits.
//!
//! Instead of the outbox the topic can be written, by the encoder of capture: to load `evp process` alone.

mod counters;
mod insert;
mod latencies;
mod pace;
mod publish;
mod record;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use latencies::Latencies;
pub use publish::KafkaTarget;
pub use report::{print_json, print_text};
pub use watch::{Watch, Watched};

pub use crate::activity::{EventSource, Mix, OutboxEvent};
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::LatencySummary;
use counters::Counters;
use insert::{Depth, Inserter};
use pace::Schedule;
use publish::Publisher;

/// How long new documents are waited for after the last insert.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(60);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After so many events.
    Events(u64),
    /// After this time.
    Time(Duration),
}

/// Where events go.
#[derive(Debug, Clone)]
pub enum Target {
    /// Into the outbox.
    Postgres(PostgresConfig),
    /// Onto the topic, as capture writes them.
    Kafka(Box<KafkaTarget>),
}

/// Is told of every event before it is written.
pub trait Observer: Send + Sync {
    /// `event` is due `at`.
    fn scheduled(&self, event: &OutboxEvent, at: Instant);
}

/// What to generate, and where.
pub struct GenerateOptions {
    /// The database, or the topic.
    pub target: Target,
    /// Where new documents are waited for, if they are.
    pub watch: Option<Watched>,
    /// Events a second; 0 is as fast as possible.
    pub rate: f64,
    /// When to stop.
    pub length: Length,
    /// Connections that insert, or streams of events for the topic.
    pub connections: u16,
    /// Rows of one transaction.
    pub batch_rows: u32,
    /// Start of the random sources.
    pub seed: u64,
    /// What share of the events concerns what.
    pub mix: Mix,
    /// Further listener, used by benches.
    pub observer: Option<Arc<dyn Observer>>,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct GenerateSummary {
    /// Committed events by type.
    pub events: BTreeMap<&'static str, u64>,
    /// From the first due event to the last commit.
    pub elapsed: Duration,
    /// Events of the last whole second, and of the best one.
    pub seconds: Option<(u64, u64)>,
    /// How late events were sent, which is the generator's own fault.
    pub lateness: LatencySummary,
    /// From due to committed.
    pub committed: LatencySummary,
    /// From due to visible in MongoDB, if that was watched.
    pub visible: Option<VisibleSummary>,
    /// Events that Kafka did not take, and why.
    pub failures: Option<(u64, String)>,
}

/// Which of the new documents were seen.
#[derive(Debug, Clone, Copy)]
pub struct VisibleSummary {
    /// New users and activities.
    pub expected: u64,
    /// From due to seen.
    pub latency: LatencySummary,
}

impl GenerateSummary {
    /// Committed events.
    pub fn event_count(&self) -> u64 {
        self.events.values().sum()
    }

    /// Events a second.
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let count = self.event_count() as f64;
        count / self.elapsed.as_secs_f64().max(1e-6)
    }

    /// Written events among those that were sent, in percent.
    pub fn success_percent(&self) -> f64 {
        let failed = self.failures.as_ref().map_or(0, |(count, _)| *count);
        #[allow(clippy::cast_precision_loss)]
        let (written, sent) = (self.event_count() as f64, self.event_count().saturating_add(failed) as f64);
        if sent > 0.0 { written / sent * 100.0 } else { 100.0 }
    }

    /// Fails if an event was not written, or documents that were watched for did not appear.
    pub fn check(&self) -> Result<()> {
        if let Some((count, reason)) = &self.failures {
            let message = format!("{count} events were sent and are not on the topic: {reason}");
            return Err(Error::new(ErrorKind::Unknown, message));
        }
        match self.visible {
            Some(visible) if visible.latency.count < visible.expected => {
                let missing = visible.expected.saturating_sub(visible.latency.count);
                let seconds = VISIBLE_TIMEOUT.as_secs();
                let message = format!(
                    "{missing} of {} new documents were not visible when watching ended, at a signal or {seconds} s after the \
                     last insert: see whether `evp capture` and `evp process` run and use the same servers",
                    visible.expected
                );
                Err(Error::new(ErrorKind::Missing, message))
            }
            _ => Ok(()),
        }
    }
}

/// Generates until the length is reached or `token` is cancelled.
pub async fn run(options: GenerateOptions, token: CancellationToken) -> Result<GenerateSummary> {
    let watch = match &options.watch {
        Some(watched) => Some(Arc::new(Watch::open(watched).await?)),
        None => None,
    };
    let summary = run_watched(&options, watch.clone(), &token).await;
    if let Some(watch) = watch {
        watch.close().await;
    }
    summary
}

/// Who takes the events.
enum Writer<'a> {
    /// Each a connection of its own.
    Inserters(&'a PostgresConfig),
    /// All of them share it.
    Publisher(Publisher),
}

async fn run_watched(
    options: &GenerateOptions,
    watch: Option<Arc<Watch>>,
    token: &CancellationToken,
) -> Result<GenerateSummary> {
    let counters = Arc::new(Counters::default());
    let depth = Depth::at(options.rate);
    let stop = token.child_token();
    let mut senders = Vec::new();
    let mut writers = JoinSet::new();
    let writer = match &options.target {
        Target::Postgres(config) => Writer::Inserters(config),
        Target::Kafka(target) => {
            Writer::Publisher(Publisher::open(target, options.rate, Arc::clone(&counters), stop.clone()).await?)
        }
    };
    for _ in 0..options.connections.max(1) {
        let (sender, receiver) = tokio::sync::mpsc::channel(depth.queued);
        match &writer {
            Writer::Inserters(config) => {
                let inserter = Inserter::open(config, depth, Arc::clone(&counters)).await?;
                writers.spawn(inserter.run(receiver));
            }
            Writer::Publisher(publisher) => {
                writers.spawn(publisher.clone().run(receiver));
            }
        }
        senders.push(sender);
    }
    let schedule = Schedule {
        rate: options.rate,
        length: options.length,
        batch_rows: options.batch_rows.max(1),
        seed: options.seed,
        mix: options.mix,
        observer: options.observer.clone(),
        watch: watch.clone(),
    };
    let progress = tokio::spawn(show_progress(progress_bar(options), Arc::clone(&counters)));
    let pace_stop = stop.clone();
    let pacer = tokio::task::spawn_blocking(move || pace::run(&schedule, &senders, &pace_stop));
    let written = all_written(writers, &stop).await;
    let started =
        pacer.await.map_err(|error| Error::with_source(ErrorKind::System, "the pacing thread ended", error))?;
    let elapsed = started.elapsed();
    let seconds = counters.last_and_best_second();
    progress.abort();
    written?;
    if let Writer::Publisher(publisher) = writer {
        publisher.close().await;
    }
    let failures = counters.failures();
    let visible = match watch {
        // What is not written does not become visible.
        Some(watch) if failures.is_some() => Some(watch.finish(Duration::ZERO, token).await?),
        Some(watch) => Some(watch.finish(VISIBLE_TIMEOUT, token).await?),
        None => None,
    };
    let (lateness, committed) = (counters.lateness.summary(), counters.committed.summary());
    Ok(GenerateSummary { events: counters.events(), elapsed, seconds, lateness, committed, visible, failures })
}

/// Waits for all connections; the first failure stops the schedule.
async fn all_written(mut writers: JoinSet<Result<()>>, stop: &CancellationToken) -> Result<()> {
    let mut outcome = Ok(());
    while let Some(joined) = writers.join_next().await {
        let done = joined.unwrap_or_else(|error| {
            Err(Error::with_source(ErrorKind::System, "a writing task ended unexpectedly", error))
        });
        if done.is_err() {
            stop.cancel();
            outcome = outcome.and(done);
        }
    }
    outcome
}

fn progress_bar(options: &GenerateOptions) -> ProgressBar {
    let bar = match options.length {
        Length::Events(count) => ProgressBar::new(count),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Length::Time(time) if options.rate > 0.0 => ProgressBar::new((time.as_secs_f64() * options.rate) as u64),
        Length::Time(_) => ProgressBar::no_length(),
    };
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} events, {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Draws on a terminal; elsewhere the bar is hidden and this costs nothing worth saving.
async fn show_progress(bar: ProgressBar, counters: Arc<Counters>) {
    /// Clears the bar also when the task is aborted, so that the summary starts on a clean line.
    struct Cleared(ProgressBar);
    impl Drop for Cleared {
        fn drop(&mut self) {
            self.0.finish_and_clear();
        }
    }
    let bar = Cleared(bar);
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        bar.0.set_position(counters.event_count());
    }
}
