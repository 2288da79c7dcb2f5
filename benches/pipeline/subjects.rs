//! Who carries the events during a latency run, and the readers that note when they arrive.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Result;
use crate::arguments::{CaptureSubject, LatencyArguments, ProcessSubject};
use crate::arrivals::{IdScanner, Sightings};
use crate::child::Running;
use crate::debezium::{Connect, Tuning};
use crate::kafka::TopicReader;
use crate::read_models::ReadModelReader;
use crate::recvlogical::{self, INSERTED_ID};
use crate::servers::{Names, SlotWatch, World};
use crate::usage::cpu_time;

pub(crate) const VISIBLE: &str = "visible in MongoDB";
pub(crate) const CONSUMABLE: &str = "consumable on Kafka";
pub(crate) const STREAMED: &str = "on the replication stream";

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Who works, and who looks on.
pub(crate) struct Subjects {
    capture: Option<Running>,
    process: Option<Running>,
    connect: Option<Connect>,
    topic: Option<TopicReader>,
    read_models: Option<ReadModelReader>,
    stream: Option<Sightings>,
}

impl Subjects {
    /// Starts them, and returns once everybody works.
    pub(crate) async fn start(world: &World, arguments: &LatencyArguments) -> Result<Self> {
        let LatencyArguments { capture, process, all_hops, .. } = *arguments;
        let names = world.names("");
        let mut subjects =
            Self { capture: None, process: None, connect: None, topic: None, read_models: None, stream: None };
        match capture {
            CaptureSubject::Walsender => {
                let seen = Sightings::default();
                let scanner = Mutex::new((IdScanner::new(INSERTED_ID), seen.clone()));
                let sink = Box::new(move |bytes: &[u8]| {
                    let at = Instant::now();
                    if let Ok(mut guard) = scanner.lock() {
                        let (scanner, seen) = &mut *guard;
                        scanner.push(bytes, |id| seen.note(id, at));
                    }
                });
                let reader = recvlogical::start(world, &names.name, None, sink)?;
                SlotWatch::of(world, &names).await?.wait_until_read(&reader, READY_TIMEOUT).await?;
                subjects.capture = Some(reader);
                subjects.stream = Some(seen);
                return Ok(subjects);
            }
            CaptureSubject::Evp => {
                let capture = world.start(&names, &["capture"])?;
                capture.wait_for_event("streaming_started", READY_TIMEOUT).await?;
                subjects.capture = Some(capture);
            }
            CaptureSubject::Debezium | CaptureSubject::DebeziumTuned => {
                let tuned = capture == CaptureSubject::DebeziumTuned;
                subjects.connect = Some(deploy(world, &names, tuned).await?);
            }
        }
        if process == ProcessSubject::None || all_hops {
            subjects.topic = Some(TopicReader::start(&world.servers, &names.topic())?);
        }
        if process == ProcessSubject::Evp {
            let process = world.start(&names, &["process"])?;
            process.wait_for_event("partitions_assigned", READY_TIMEOUT).await?;
            subjects.process = Some(process);
            subjects.read_models = Some(ReadModelReader::start(&world.servers, &names.name).await?);
        }
        Ok(subjects)
    }

    /// What each reader has seen, by the name of its hop.
    pub(crate) fn readers(&self) -> impl Iterator<Item = (&'static str, &Sightings)> {
        let stream = self.stream.iter().map(|seen| (STREAMED, seen));
        let topic = self.topic.iter().map(|reader| (CONSUMABLE, &reader.seen));
        stream.chain(topic).chain(self.read_models.iter().map(|reader| (VISIBLE, &reader.seen)))
    }

    /// Processor time of the halves that can be seen.
    pub(crate) fn cpu_times(&self) -> Vec<(String, Duration)> {
        let connect = self.connect.as_ref().and_then(|connect| connect.pid);
        let pids = [
            ("capture", self.capture.as_ref().map(Running::id).or(connect)),
            ("process", self.process.as_ref().map(Running::id)),
        ];
        pids.into_iter().filter_map(|(who, pid)| Some((who.to_owned(), cpu_time(pid?).ok()?))).collect()
    }

    /// Stops them in order; each must end well.
    pub(crate) async fn stop(mut self, world: &World) -> Result<()> {
        if let Some(reader) = self.read_models.take() {
            reader.close().await;
        }
        if let Some(connect) = &self.connect {
            connect.remove(world, &world.names("")).await?;
        }
        match self.capture.take() {
            Some(recvlogical) if self.stream.is_some() => recvlogical.stop_anyhow().await?,
            Some(capture) => capture.stop().await?,
            None => {}
        }
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }
}

async fn deploy(world: &World, names: &Names, tuned: bool) -> Result<Connect> {
    let connect = Connect::from_environment()?;
    let tuning = if tuned { Tuning::Tuned } else { Tuning::Defaults };
    Connect::finish_deploy(connect.begin_deploy(world, names, tuning)?).await?;
    Ok(connect)
}
