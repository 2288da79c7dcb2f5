//! One rebuild, from the first record to the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::compare::{Differences, Pair, compare_all, compare_some, sources_of};
use super::replay::{Replay, Topic};
use super::report::Report;
use super::shadow::{self, EVENTS_SUFFIX, Lease, OLD_SUFFIX};
use super::topics::{self, Group, Offsets, Progress, stopped};
use super::{RebuildChoices, RebuildOptions};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::identity::superseded;
use crate::kafka::look::{Looker, blocking};
use crate::mongo::{self, Claims, Collection, SourceKey, Store, are_compared, collection_ids};
use crate::process::prepare::Preparation;
use crate::process::{CollectionSpec, HandlerRegistry, ProcessOptions};
use crate::telemetry::Health;

/// So close behind the group the rest is left to the moment of the swap.
const NEAR_RECORDS: u64 = 2_000;
/// How often documents that differ are looked at again, and how long after each other.
const LOOKS: u32 = 5;
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A document whose event is applied and not committed is looked for again while the group has members, for as long as it takes
/// until the partitions of one that stands still are read by another.
const UNCOMMITTED_MAX: Duration = Duration::from_secs(45);
const TELL_EVERY: u64 = 1_000;

/// A rebuild at work.
pub(super) struct Job {
    pub(super) topics: Vec<KafkaConfig>,
    pub(super) sources: Vec<i32>,
    pub(super) group: String,
    pub(super) database: Database,
    pub(super) live: String,
    /// The collection that is replaced.
    pub(super) live_id: Uuid,
    pub(super) shadow: String,
    pub(super) shadow_id: Uuid,
    /// Where the claims of this rebuild are.
    own: String,
    /// The copy of the old collection, and its name once that is replaced.
    pub(super) kept: (String, String),
    pub(super) lease: Arc<Lease>,
    pub(super) replay: Replay,
    /// How far the new collection is.
    pub(super) at: Vec<Offsets>,
    bar: ProgressBar,
    pub(super) stop: CancellationToken,
    started: Instant,
}

impl Job {
    /// Looks at the topics, drops what a killed rebuild has left, and makes the new collection.
    pub(super) async fn begin(
        options: &RebuildOptions,
        registry: HandlerRegistry,
        spec: CollectionSpec,
        (database, address): (&Database, &str),
        lease: &Arc<Lease>,
        stop: CancellationToken,
    ) -> Result<Self> {
        let live = options.collection.clone();
        let kafka = &options.process.kafka;
        let topics: Vec<KafkaConfig> = kafka.topics().into_iter().map(|topic| kafka.of_topic(topic)).collect();
        topics::check_whole(&topics).await?;
        if topics::progress(&topics).await?.group != Group::Empty && !are_compared(database).await? {
            return Err(Error::refused(format!(
                "beside running processes `evp rebuild` needs MongoDB 6.0 or newer, which tells the collection that was meant from \
                 another of its name: stop every process of group `{}`, and start them again afterwards",
                kafka.group_id
            )));
        }
        let (_, live_id) = shadow::clean(database, &live).await?;
        let live_id = live_id.ok_or_else(|| missing(database, &live))?;
        let name = format!("{}{}", shadow::shadow_prefix(&live), lease.name());
        let shadow_id = shadow::make(database, &live, &name, &spec).await?;
        let own = format!("{name}{EVENTS_SUFFIX}");
        let store = Arc::new(Store::new(database.clone(), address.to_owned(), Arc::new(Health::default())));
        store.pins.replace([(name.clone(), shadow_id)].into());
        let generations = mongo::generations(database, &registry.names()).await?;
        let mut sources = Vec::new();
        for config in &topics {
            sources.push(source(database, config).await?);
        }
        let (all, mut of_topics) = (Arc::<[i32]>::from(sources.as_slice()), Vec::new());
        let live_collection = Collection::parse(&live)?;
        for (config, source) in topics.iter().zip(sources.iter().copied()) {
            let process = ProcessOptions { kafka: config.clone(), ..options.process.clone() };
            of_topics.push(Topic {
                preparation: Preparation::new(&process, registry.clone(), generations.clone()),
                live: live_collection.clone(),
                source,
                sources: Arc::clone(&all),
                claims: Claims::new(Arc::clone(&store), source),
                own: Claims::named(Arc::clone(&store), source, own.clone()),
            });
        }
        let replay = Replay::new(store, Collection::parse(&name)?, of_topics);
        let at = topics.iter().map(|_| Offsets::new()).collect();
        let kept = (format!("{name}{OLD_SUFFIX}"), format!("{}{}", shadow::kept_prefix(&live), now()));
        let (database, started) = (database.clone(), Instant::now());
        let (bar, lease) = (bar(), Arc::clone(lease));
        let group = kafka.group_id.clone();
        Ok(Self {
            topics,
            sources,
            group,
            database,
            live,
            live_id,
            shadow: name,
            shadow_id,
            own,
            kept,
            lease,
            replay,
            at,
            bar,
            stop,
            started,
        })
    }

    /// Everything up to the swap, and the swap.
    pub(super) async fn run(&mut self, choices: RebuildChoices) -> Result<Report> {
        tracing::info!(event = "rebuild_started", collection = self.live, shadow = self.shadow, "reading the topic");
        loop {
            let (_, read) = self.catch_up().await?;
            if read < NEAR_RECORDS {
                break;
            }
        }
        let mut differences = self.compare(choices.sample).await?;
        self.check_sources(choices).await?;
        if choices.is_dry_run {
            return Ok(self.report(&differences));
        }
        if !choices.accepts_loss {
            self.check_loss(&differences)?;
        }
        self.bar.set_message("keeping the old collection");
        let keeping = shadow::keep(&self.database, &self.live, &self.kept.0);
        self.stop.run_until_cancelled(keeping).await.ok_or_else(stopped)??;
        self.catch_up().await?;
        self.bar.set_message("waiting for the members to stop");
        let paused = self.swap(choices, &mut differences).await?;
        shadow::keep_after_swap(&self.database, Some(self.shadow_id)).await?;
        Ok(Report { kept: Some(self.kept.1.clone()), paused: Some(paused), ..self.report(&differences) })
    }

    /// Drops what was made for the rebuild alone. After the swap there is none of the other names.
    pub(super) async fn end(self) -> Result<()> {
        self.bar.finish_and_clear();
        shadow::drop_all(&self.database, &[self.shadow, self.own, self.kept.0]).await?;
        let id = collection_ids(&self.database).await?.get(&self.live).copied();
        shadow::forget_swaps(&self.database, &self.live, id).await
    }

    fn report(&self, differences: &Differences) -> Report {
        let (lost, examples) = self.replay.lost();
        Report {
            collection: self.live.clone(),
            records: self.replay.tally.records,
            effects: self.replay.tally.effects,
            lost,
            examples,
            differences: differences.clone(),
            kept: None,
            paused: None,
            elapsed: self.started.elapsed(),
        }
    }

    /// Applies what the group has committed since; says how far it is, and how many records were read.
    pub(super) async fn catch_up(&mut self) -> Result<(Progress, u64)> {
        let progress = topics::progress(&self.topics).await?;
        let before = self.replay.tally.records;
        let open = self.at.iter().zip(&progress.committed).flat_map(|(at, to)| {
            to.iter().map(|(partition, to)| to.saturating_sub(at.get(partition).copied().unwrap_or_default()).max(0))
        });
        let open = open.fold(0_i64, i64::saturating_add);
        self.bar.set_length(before.saturating_add(u64::try_from(open).unwrap_or_default()));
        let mut batches = topics::read(&self.topics, &self.at, &progress.committed, &self.stop);
        while let Some(batch) = batches.recv().await {
            self.replay.take(batch?).await?;
            self.bar.set_position(self.replay.tally.records);
        }
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        for (at, committed) in self.at.iter_mut().zip(&progress.committed) {
            for (partition, committed) in committed {
                let at = at.entry(*partition).or_default();
                *at = (*at).max(*committed);
            }
        }
        Ok((progress, self.replay.tally.records.saturating_sub(before)))
    }

    pub(super) fn pair(&self) -> Pair<'_> {
        Pair { database: &self.database, live: &self.live, shadow: &self.shadow }
    }

    async fn compare(&mut self, sample: Option<u32>) -> Result<Differences> {
        self.bar.set_message("comparing");
        let tell = |count: u64| {
            if count.is_multiple_of(TELL_EVERY) {
                self.bar.set_message(format!("comparing, {count} documents"));
            }
        };
        let mut differences = match sample {
            Some(count) => compare_some(&self.pair(), count).await?,
            None => compare_all(&self.pair(), &self.stop, tell).await?,
        };
        let (mut looks, began) = (0_u32, Instant::now());
        loop {
            let (progress, _) = self.catch_up().await?;
            differences.look_again(&self.pair()).await?;
            looks = looks.saturating_add(1);
            let may_be_committed = differences.missing() > 0 && progress.group != Group::Empty;
            let is_worth_it = looks < LOOKS || (may_be_committed && began.elapsed() < UNCOMMITTED_MAX);
            if differences.is_none() || !is_worth_it {
                break;
            }
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await;
        }
        self.bar.set_message("");
        Ok(differences)
    }

    /// Refuses a collection that is made of more than the topics that are read.
    async fn check_sources(&self, choices: RebuildChoices) -> Result<()> {
        let others: Vec<String> = sources_of(&self.database, &self.live)
            .await?
            .into_iter()
            .filter(|source| !self.sources.contains(source))
            .map(|source| source.to_string())
            .collect();
        if others.is_empty() || choices.accepts_loss {
            return Ok(());
        }
        Err(Error::refused(format!(
            "`{}` holds effects of other topics than KAFKA_TOPIC names (numbers {} in evp_sources), which would be missing: name \
             them all, or, if these are gone for good and so may be their effects, give --accept-loss",
            self.live,
            others.join(", ")
        )))
    }

    /// Refuses a collection that would lack what the old one has.
    pub(super) fn check_loss(&self, differences: &Differences) -> Result<()> {
        let (left_out, examples) = (self.replay.tally.left_out, &self.replay.tally.examples);
        self.check(left_out, examples, differences)
    }

    /// The same at a moment at which everything is decided, so that what still waits is left out.
    pub(super) fn check_final_loss(&self, differences: &Differences) -> Result<()> {
        let (lost, examples) = self.replay.lost();
        self.check(lost, &examples, differences)
    }

    fn check(&self, lost: u64, examples: &[String], differences: &Differences) -> Result<()> {
        let missing = differences.missing();
        let mut reasons = Vec::new();
        if lost > 0 {
            reasons.push(format!(
                "{lost} effects that processing has applied cannot be applied now ({})",
                examples.join("; ")
            ));
        }
        if missing > 0 {
            let ids: Vec<&str> = differences.removed.iter().take(3).map(String::as_str).collect();
            reasons.push(format!(
                "{missing} documents of the old collection have no event in the topic ({})",
                ids.join(", ")
            ));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Error::refused(format!(
            "`{}` is left as it is: {}. Let `evp process` catch up, look at these, and give --accept-loss if they may be gone",
            self.live,
            reasons.join(", and ")
        )))
    }
}

pub(super) fn missing(database: &Database, collection: &str) -> Error {
    let message = format!("there is no collection `{collection}` in {} to rebuild: run `evp init`", database.name());
    Error::new(ErrorKind::Missing, message)
}

/// The number of a topic.
async fn source(database: &Database, config: &KafkaConfig) -> Result<i32> {
    let looked = config.clone();
    let cluster = blocking("asking for the cluster", move || Looker::new(&looked)?.cluster_id()).await?;
    let key = SourceKey { cluster, topic: config.topic.clone(), group: config.group_id.clone() };
    let source = mongo::source(database, &key).await?;
    if source.is_superseded {
        return Err(superseded(config));
    }
    Ok(source.number)
}

fn now() -> String {
    let now = crate::terminal::instant(crate::terminal::now_ms());
    now.chars().filter(char::is_ascii_alphanumeric).take(15).collect()
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
