//! A full topic into MongoDB by one `evp process`, and beside it what MongoDB takes from a plain writer.

use std::time::{Duration, Instant};

use evp::generate::{EventSource, Length};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde::Serialize;
use serde_json::Value;

use crate::Result;
use crate::arguments::DrainArguments;
use crate::plot::Plot;
use crate::report::{Section, Table, mebibytes, median, thousands};
use crate::servers::{Load, Names, Servers, World, drop_mongo};
use crate::usage::{MemoryWatch, cpu_time};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const TOPIC_SEED: u64 = 11;
const TOPIC_TRANSACTION_ROWS: u32 = 100;
/// One connection keeps the order in which the generator made the events.
const TOPIC_CONNECTIONS: u16 = 1;
/// Documents of one command of the plain writer.
const BULK_DOCUMENTS: u64 = 1_000;
const BOUND: &str = "bound: bulk upserts of 1000";

/// One drained topic.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    subject: String,
    partitions: Option<i32>,
    events: u64,
    seconds: f64,
    events_per_second: f64,
    cpu_us_per_event: Option<f64>,
    peak_rss_kib: u64,
    last_rss_kib: u64,
}

/// Measures every number of partitions.
pub(crate) async fn measure(servers: &Servers, arguments: &DrainArguments) -> Result<Section> {
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for partitions in &arguments.partitions {
        let world = World::create(servers, &format!("drain{partitions}"), *partitions).await?;
        let outcome = drain_repeatedly(&world, arguments, *partitions, &mut runs, &mut faults).await;
        world.remove().await?;
        outcome?;
    }
    Ok(section(arguments, runs, faults))
}

async fn drain_repeatedly(
    world: &World,
    arguments: &DrainArguments,
    partitions: i32,
    runs: &mut Vec<Run>,
    faults: &mut Vec<String>,
) -> Result<()> {
    eprintln!("drain: filling a topic of {partitions} partitions with {} events", arguments.events);
    let load = Load {
        rate: 0.0,
        length: Length::Events(arguments.events),
        connections: TOPIC_CONNECTIONS,
        transaction_rows: TOPIC_TRANSACTION_ROWS,
        seed: TOPIC_SEED,
        observer: None,
    };
    let topic = world.names("");
    world.generate(load).await?;
    world.run(&topic, &["capture", "--until", "caught-up"]).await?;
    for round in 1..=arguments.runs {
        let bound = write_plainly(world, arguments.events).await?;
        let drained = drain(world, &topic, partitions, arguments.events, round).await;
        for run in [Ok(bound), drained] {
            match run {
                Ok(run) => {
                    eprintln!("drain: {} run {round}: {} events/s", run.subject, thousands(run.events_per_second));
                    runs.push(run);
                }
                Err(error) => faults.push(format!("{partitions} partitions, run {round}: {error}")),
            }
        }
    }
    Ok(())
}

/// One run into a database and by a group that start empty.
async fn drain(world: &World, topic: &Names, partitions: i32, events: u64, round: u32) -> Result<Run> {
    let names = world.names(&format!("run{round}"));
    let command = |arguments: &[&str]| {
        let mut command = world.command(topic, arguments);
        command.env("MONGODB_DATABASE", &names.name).env("KAFKA_GROUP_ID", &names.name);
        command
    };
    let run_to_end = async |what: &str, arguments: &[&str]| {
        let running = crate::child::Running::spawn(what, command(arguments), None)?;
        running.wait_for_end(DRAIN_TIMEOUT).await?;
        running.reap()
    };
    run_to_end("evp init", &["init"]).await?;
    let process = crate::child::Running::spawn("evp process", command(&["process", "--until", "caught-up"]), None)?;
    let (assigned_at, _) = process.wait_for_event("partitions_assigned", READY_TIMEOUT).await?;
    let mut memory = MemoryWatch::default();
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while !process.has_ended() {
        memory.look(process.id());
        if Instant::now() >= deadline {
            return Err(format!("evp process still runs after {DRAIN_TIMEOUT:?}{}", process.last_words()).into());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let cpu = cpu_time(process.id())?;
    // Logged once everything is applied, before the consumer leaves its group.
    let (applied_at, _) = process.wait_for_event("kafka_consumer_shutting_down", Duration::ZERO).await?;
    let (_, summary) = process.wait_for_event("kafka_consumer_stopped", Duration::ZERO).await?;
    process.reap()?;
    let processed = summary.get("total_processed").and_then(Value::as_u64);
    if processed != Some(events) {
        return Err(format!("evp processed {processed:?} events instead of {events}").into());
    }
    run_to_end("evp verify", &["verify"]).await.map_err(|error| format!("the read models are wrong: {error}"))?;
    drop_mongo(&world.servers, &names.name).await?;
    let seconds = (applied_at - assigned_at).as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let count = events as f64;
    Ok(Run {
        subject: "evp process".to_owned(),
        partitions: Some(partitions),
        events,
        seconds,
        events_per_second: count / seconds,
        cpu_us_per_event: Some(cpu.as_secs_f64() * 1e6 / count),
        peak_rss_kib: memory.last().peak_rss_kib,
        last_rss_kib: memory.last().rss_kib,
    })
}

/// What one writer reaches that upserts the users of the same events, knows no guards, and waits for the majority.
async fn write_plainly(world: &World, events: u64) -> Result<Run> {
    let mut source = EventSource::new(TOPIC_SEED);
    let documents = (0..events).map(|_| source.next_event()).map(|event| {
        let payload = mongodb::bson::serialize_to_bson(&event.payload)?;
        Ok(doc! { "_id": event.event_id.to_string(), "type": event.event_type, "payload": payload })
    });
    let documents: Vec<Document> = documents.collect::<Result<_>>()?;
    let client = world.servers.mongo().await?;
    let started = Instant::now();
    let written = upsert_all(&client, &world.names("bound").name, &documents).await;
    let seconds = started.elapsed().as_secs_f64();
    client.database(&world.names("bound").name).drop().await?;
    client.shutdown().await;
    if written? != events {
        return Err("MongoDB did not upsert every document of the plain writer".into());
    }
    #[allow(clippy::cast_precision_loss)]
    let events_per_second = events as f64 / seconds;
    Ok(Run {
        subject: BOUND.to_owned(),
        partitions: None,
        events,
        seconds,
        events_per_second,
        cpu_us_per_event: None,
        peak_rss_kib: 0,
        last_rss_kib: 0,
    })
}

async fn upsert_all(client: &Client, database: &str, documents: &[Document]) -> Result<u64> {
    let database = client.database(database);
    let mut written = 0;
    for chunk in documents.chunks(usize::try_from(BULK_DOCUMENTS)?) {
        let updates = chunk.iter().map(|document| {
            let id = document.get("_id").cloned();
            doc! { "q": { "_id": id }, "u": document.clone(), "upsert": true }
        });
        let command = doc! {
            "update": "plain", "updates": updates.collect::<Vec<_>>(), "ordered": false, "writeConcern": { "w": "majority" },
        };
        let reply = database.run_command(command).await?;
        written += u64::try_from(reply.get_i32("n")?)?;
    }
    Ok(written)
}

fn section(arguments: &DrainArguments, runs: Vec<Run>, faults: Vec<String>) -> Section {
    let mut table =
        Table::new(&["subject", "partitions", "runs", "events/s", "lowest", "highest", "CPU µs/event", "peak RSS MiB"]);
    let mut bars = Vec::new();
    let groups = arguments.partitions.iter().map(|partitions| Some(*partitions)).chain([None]);
    for partitions in groups {
        let group: Vec<&Run> = runs.iter().filter(|run| run.partitions == partitions).collect();
        let rates: Vec<f64> = group.iter().map(|run| run.events_per_second).collect();
        let (Some(first), Some((low, middle, high))) = (group.first(), median(&rates)) else { continue };
        let cpu: Vec<f64> = group.iter().filter_map(|run| run.cpu_us_per_event).collect();
        #[allow(clippy::cast_precision_loss)]
        let peaks: Vec<f64> = group.iter().map(|run| run.peak_rss_kib as f64).filter(|peak| *peak > 0.0).collect();
        table.row([
            first.subject.clone(),
            partitions.map(|count| count.to_string()).unwrap_or_default(),
            rates.len().to_string(),
            thousands(middle),
            thousands(low),
            thousands(high),
            median(&cpu).map(|(_, cpu, _)| format!("{cpu:.1}")).unwrap_or_default(),
            median(&peaks).map(|(_, peak, _)| mebibytes(peak)).unwrap_or_default(),
        ]);
        let label =
            partitions.map_or_else(|| first.subject.clone(), |count| format!("{}, {count} part.", first.subject));
        bars.push((label, rates));
    }
    let load = serde_json::json!({
        "events": arguments.events, "partitions": arguments.partitions, "runs": arguments.runs,
        "mix": "as evp generate: 40 % users, 30 % activities, 30 % participants", "bulk_documents": BULK_DOCUMENTS,
    });
    let plot = Plot::Bars {
        file: "drain.svg".to_owned(),
        title: format!("Topic of {} events into MongoDB", arguments.events),
        unit: "events a second",
        bars,
    };
    Section::new("drain", "Drain of a full topic", load, table, &runs, faults).with_plots(vec![plot])
}
