//! What there is to read: the topics, how far the group is, and whether they still hold everything.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::admin::Admin;
use crate::kafka::chunk::Chunk;
use crate::kafka::look::{Looker, blocking};
use crate::kafka::ranges::{Range, RangeReader};

/// Records of one batch.
const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that are read ahead.
const AHEAD: usize = 2;

/// One past the last offset of each partition.
pub(super) type Offsets = BTreeMap<i32, i64>;

/// Records of each topic.
pub(super) type Batch = Vec<Chunk>;

/// How far the group is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// By topic, 0 where nothing is committed.
    pub(super) committed: Vec<Offsets>,
    pub(super) group: Group,
}

/// Who is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Group {
    /// Nobody.
    #[default]
    Empty,
    /// Partitions are being given to members.
    Balancing,
    /// Members that have all partitions.
    Stable,
    /// The coordinator does not tell of groups of the newer protocol.
    Untold,
}

/// Refuses topics that do not hold all that was ever written to them.
pub(super) async fn check_whole(topics: &[KafkaConfig]) -> Result<()> {
    for config in topics {
        let topic = &config.topic;
        let looked = config.clone();
        let shortened = blocking("looking at the topic", move || shortened(&looked)).await?;
        let settings = Admin::new(config)?.settings(&[topic]).await?;
        let policy = settings.first().and_then(|settings| settings.get("cleanup.policy"));
        let Some(policy) = policy else {
            return Err(Error::refused(format!(
                "whether topic {topic} is compacted is not told: the user of Kafka needs DescribeConfigs on it"
            )));
        };
        if policy.contains("compact") {
            return Err(Error::refused(format!(
                "topic {topic} is compacted: of each key it keeps the last record alone, and a read model takes all of them"
            )));
        }
        if let Some((partition, low)) = shortened {
            return Err(Error::refused(format!(
                "topic {topic} does not reach back to its beginning: partition {partition} begins at offset {low}, what was before it \
                 was deleted. A collection that is rebuilt from the rest would lack what came before; let the topic keep its \
                 records (retention.ms=-1) for as long as they are to be rebuilt from"
            )));
        }
    }
    Ok(())
}

/// A partition that begins behind its beginning, and where.
fn shortened(config: &KafkaConfig) -> Result<Option<(i32, i64)>> {
    let looker = Looker::new(config)?;
    for partition in partitions(&looker, config)? {
        let (low, _) = looker.bounds(&config.topic, partition)?;
        if low > 0 {
            return Ok(Some((partition, low)));
        }
    }
    Ok(None)
}

fn partitions(looker: &Looker, config: &KafkaConfig) -> Result<BTreeSet<i32>> {
    let mut topics = looker.topics()?;
    let Some(partitions) = topics.remove(&config.topic) else {
        let message = format!("topic {} (KAFKA_TOPIC) does not exist: run `evp init`", config.topic);
        return Err(Error::new(ErrorKind::Missing, message));
    };
    Ok(partitions.into_iter().map(|partition| partition.id).collect())
}

/// Asks how far the group is.
pub(super) async fn progress(topics: &[KafkaConfig]) -> Result<Progress> {
    let topics = topics.to_vec();
    blocking("asking how far the group is", move || {
        let mut progress = Progress::default();
        for config in &topics {
            let looker = Looker::new(config)?;
            let partitions = partitions(&looker, config)?;
            let committed = looker.committed(&config.topic, partitions.iter().copied())?;
            let has_any = !committed.is_empty();
            let offset = |partition: &i32| (*partition, committed.get(partition).copied().unwrap_or_default());
            progress.committed.push(partitions.iter().map(offset).collect());
            progress.group = match looker.group()?.map(|group| group.state) {
                Some(state) if state == "Empty" => Group::Empty,
                Some(state) if state == "Stable" => Group::Stable,
                Some(state) if state == "Dead" || state.is_empty() => untold(has_any),
                Some(_) => Group::Balancing,
                None => untold(has_any),
            };
        }
        Ok(progress)
    })
    .await
}

fn untold(has_offsets: bool) -> Group {
    if has_offsets { Group::Untold } else { Group::Empty }
}

/// Hands over the records between offsets, in batches; reading ends with the receiver, or with the token.
pub(super) fn read(
    topics: &[KafkaConfig],
    from: &[Offsets],
    to: &[Offsets],
    token: &CancellationToken,
) -> mpsc::Receiver<Result<Batch>> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let begun = |place: usize, partition: i32| from.get(place).and_then(|from| from.get(&partition)).copied();
    let ranges = to.iter().enumerate().map(|(place, to)| {
        let range = |(partition, end): (&i32, &i64)| (*partition, (begun(place, *partition).unwrap_or_default(), *end));
        to.iter().map(range).collect::<BTreeMap<i32, Range>>()
    });
    let work: Vec<_> = topics.iter().cloned().zip(ranges).collect();
    let token = token.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_merged(&work, &token, |batch| sender.blocking_send(Ok(batch)).is_ok()) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    batches
}

/// Reads until the ends, or until nobody `takes` more.
fn read_merged(
    work: &[(KafkaConfig, BTreeMap<i32, Range>)],
    token: &CancellationToken,
    takes: impl Fn(Batch) -> bool,
) -> Result<()> {
    let mut readers = Vec::new();
    for (place, (config, ranges)) in work.iter().enumerate() {
        if ranges.values().any(|(from, end)| from < end) {
            readers.push((place, RangeReader::open(config, ranges)?));
        }
    }
    let empty = || work.iter().map(|_| Chunk::default()).collect::<Batch>();
    let (mut batch, mut records, mut bytes) = (empty(), 0_usize, 0_usize);
    loop {
        if token.is_cancelled() {
            return Err(stopped());
        }
        let mut first: Option<(i64, usize)> = None;
        for (index, (_, reader)) in readers.iter_mut().enumerate() {
            if let Some(time) = reader.next_ms()? {
                first = Some(first.map_or((time, index), |first| first.min((time, index))));
            }
        }
        let Some((_, index)) = first else { break };
        let Some((place, reader)) = readers.get_mut(index) else { break };
        if let (Some(taken), Some(chunk)) = (reader.take()?, batch.get_mut(*place)) {
            taken.records().for_each(|record| chunk.append(record));
            records = records.saturating_add(1);
            bytes = bytes.saturating_add(taken.bytes());
        }
        if records >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            if !takes(std::mem::replace(&mut batch, empty())) {
                return Ok(());
            }
            (records, bytes) = (0, 0);
        }
    }
    if records > 0 {
        takes(batch);
    }
    Ok(())
}

/// What ends a rebuild that was told to stop.
pub(super) fn stopped() -> Error {
    Error::new(
        ErrorKind::System,
        "stopped before it was done, by a signal or because another rebuild has taken over; nothing was changed",
    )
}
