//! One backlog, drained by each subject from a copy of the same slot: everybody reads identical WAL.

use std::time::{Duration, Instant};

use evp::generate::Length;
use serde::Serialize;

use crate::Result;
use crate::arguments::{CatchUpArguments, CatchUpSubject, name_of};
use crate::arrivals::IdScanner;
use crate::debezium::{Connect, Tuning};
use crate::kafka::{TopicEnd, create_topic, delete_topic};
use crate::plot::Plot;
use crate::recvlogical::{self, INSERTED_ID};
use crate::report::{Section, Table, mebibytes, median, thousands};
use crate::servers::{Load, Names, Servers, SlotWatch, World};
use crate::usage::{MemoryWatch, cpu_time};

const READY_TIMEOUT: Duration = Duration::from_secs(120);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
/// Short against a run, long enough for the question not to load the broker.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const BACKLOG_CONNECTIONS: u16 = 8;
const BACKLOG_SEED: u64 = 7;

/// One drained backlog.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    subject: String,
    transaction_rows: u32,
    events: u64,
    /// From the start of the process to the last acknowledgement; for Debezium from the call that deploys it.
    wall_seconds: f64,
    /// From the moment at which the slot is read.
    streaming_seconds: f64,
    events_per_second: f64,
    /// Of the subject's own process; `None` if it cannot be seen.
    cpu_us_per_event: Option<f64>,
    peak_rss_kib: u64,
    last_rss_kib: u64,
}

struct Backlog {
    slot: String,
    events: u64,
    transaction_rows: u32,
    end: String,
}

/// Measures every size of transaction.
pub(crate) async fn measure(servers: &Servers, arguments: &CatchUpArguments) -> Result<Section> {
    if arguments.subjects.iter().any(is_debezium) {
        // Known before a backlog is written for nothing.
        Connect::from_environment()?;
    }
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for transaction_rows in &arguments.transaction_rows {
        let world = World::create(servers, &format!("catchup{transaction_rows}"), 1).await?;
        let outcome = drain_in_turns(&world, arguments, *transaction_rows, &mut runs, &mut faults).await;
        world.remove().await?;
        outcome?;
    }
    Ok(section(arguments, runs, faults))
}

async fn drain_in_turns(
    world: &World,
    arguments: &CatchUpArguments,
    transaction_rows: u32,
    runs: &mut Vec<Run>,
    faults: &mut Vec<String>,
) -> Result<()> {
    eprintln!("catch-up: writing {} events, {transaction_rows} in each transaction", arguments.events);
    let backlog = write_backlog(world, arguments.events, transaction_rows).await?;
    if let Some(subject) = arguments.subjects.iter().find(|subject| is_debezium(subject)) {
        eprintln!("catch-up: one run of Debezium that is not counted, so that the JVM is warm");
        drain(world, &backlog, *subject, &world.names("warmup")).await?;
    }
    for round in 1..=arguments.runs {
        for subject in &arguments.subjects {
            let name = name_of(subject);
            let names = world.names(&format!("{}_{round}", name.replace('-', "_")));
            match drain(world, &backlog, *subject, &names).await {
                Ok(run) => {
                    eprintln!("catch-up: {name} run {round}: {} events/s", thousands(run.events_per_second));
                    runs.push(run);
                }
                Err(error) => faults.push(format!("{name} run {round}, {transaction_rows} rows: {error}")),
            }
        }
    }
    Ok(())
}

fn is_debezium(subject: &CatchUpSubject) -> bool {
    matches!(subject, CatchUpSubject::Debezium | CatchUpSubject::DebeziumTuned)
}

async fn write_backlog(world: &World, events: u64, transaction_rows: u32) -> Result<Backlog> {
    let slot = world.name.clone();
    let sql = world.sql().await?;
    // What the writer waits for is not measured; what it writes is the same.
    sql.batch_execute(&format!("ALTER DATABASE {} SET synchronous_commit = off", world.name)).await?;
    let load = Load {
        rate: 0.0,
        length: Length::Events(events),
        connections: BACKLOG_CONNECTIONS,
        transaction_rows,
        seed: BACKLOG_SEED,
        observer: None,
    };
    let written = world.generate(load).await?.event_count();
    if written != events {
        return Err(format!("the backlog has {written} events instead of {events}").into());
    }
    // Everything is on disk, and no checkpoint falls into a run.
    sql.batch_execute("CHECKPOINT").await?;
    let end = sql.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?.get(0);
    Ok(Backlog { slot, events, transaction_rows, end })
}

async fn drain(world: &World, backlog: &Backlog, subject: CatchUpSubject, names: &Names) -> Result<Run> {
    world.copy_slot(&backlog.slot, names).await?;
    let outcome = match subject {
        CatchUpSubject::Evp => drain_by_evp(world, backlog, names).await,
        CatchUpSubject::PgRecvlogical => drain_by_recvlogical(world, backlog, names).await,
        CatchUpSubject::Debezium => drain_by_debezium(world, backlog, names, Tuning::Defaults).await,
        CatchUpSubject::DebeziumTuned => drain_by_debezium(world, backlog, names, Tuning::Tuned).await,
    };
    world.drop_slot(&names.name).await?;
    let measured = outcome?;
    #[allow(clippy::cast_precision_loss)]
    let events = backlog.events as f64;
    let streaming_seconds = (measured.ended_at - measured.streaming_at).as_secs_f64();
    Ok(Run {
        subject: name_of(&subject),
        transaction_rows: backlog.transaction_rows,
        events: backlog.events,
        wall_seconds: (measured.ended_at - measured.started_at).as_secs_f64(),
        streaming_seconds,
        events_per_second: events / streaming_seconds,
        cpu_us_per_event: measured.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / events),
        peak_rss_kib: measured.memory.last().peak_rss_kib,
        last_rss_kib: measured.memory.last().rss_kib,
    })
}

/// The moments of one run, and what the subject used.
struct Measured {
    started_at: Instant,
    streaming_at: Instant,
    ended_at: Instant,
    cpu: Option<Duration>,
    memory: MemoryWatch,
}

async fn drain_by_evp(world: &World, backlog: &Backlog, names: &Names) -> Result<Measured> {
    create_topic(&world.servers, &names.topic(), 1).await?;
    let topic = TopicEnd::of(&world.servers, &names.topic())?;
    let capture = world.start(names, &["capture", "--until", "caught-up"])?;
    let (streaming_at, _) = capture.wait_for_event("streaming_started", READY_TIMEOUT).await?;
    let mut memory = MemoryWatch::default();
    let ended_at = wait_for_records(&topic, backlog.events, || memory.look(capture.id())).await?;
    let (id, started_at) = (capture.id(), capture.spawned_at);
    capture.wait_for_end(DRAIN_TIMEOUT).await?;
    let cpu = cpu_time(id).ok();
    capture.reap()?;
    finish_topic(world, &topic, backlog, names).await?;
    Ok(Measured { started_at, streaming_at, ended_at, cpu, memory })
}

async fn drain_by_recvlogical(world: &World, backlog: &Backlog, names: &Names) -> Result<Measured> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut scanner = IdScanner::new(INSERTED_ID);
    let sink = Box::new(move |bytes: &[u8]| {
        let mut count = 0_u64;
        scanner.push(bytes, |_| count += 1);
        // The receiver outlives the process.
        let _ = sender.send(count);
    });
    let watch = SlotWatch::of(world, names).await?;
    let reader = recvlogical::start(world, &names.name, Some(&backlog.end), sink)?;
    let streaming_at = watch.wait_until_read(&reader, READY_TIMEOUT).await?;
    let (id, started_at) = (reader.id(), reader.spawned_at);
    let mut memory = MemoryWatch::default();
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while !reader.has_ended() {
        memory.look(id);
        if Instant::now() >= deadline {
            return Err(format!("pg_recvlogical still reads after {DRAIN_TIMEOUT:?}").into());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let ended_at = Instant::now();
    let cpu = cpu_time(id).ok();
    reader.reap()?;
    let rows: u64 = receiver.iter().sum();
    if rows != backlog.events {
        return Err(format!("{rows} rows were read instead of {}", backlog.events).into());
    }
    Ok(Measured { started_at, streaming_at, ended_at, cpu, memory })
}

async fn drain_by_debezium(world: &World, backlog: &Backlog, names: &Names, tuning: Tuning) -> Result<Measured> {
    let connect = Connect::from_environment()?;
    create_topic(&world.servers, &names.topic(), 1).await?;
    let topic = TopicEnd::of(&world.servers, &names.topic())?;
    let watch = SlotWatch::of(world, names).await?;
    let started_at = Instant::now();
    let deploying = connect.begin_deploy(world, names, tuning)?;
    let drained = async {
        let streaming_at = watch.wait_until_read(&deploying, READY_TIMEOUT).await?;
        let cpu_time_now = || connect.pid.and_then(|pid| cpu_time(pid).ok());
        let (cpu_before, mut memory) = (cpu_time_now(), MemoryWatch::default());
        let look = || connect.pid.iter().for_each(|pid| memory.look(*pid));
        let ended_at = wait_for_records(&topic, backlog.events, look).await?;
        let cpu = cpu_time_now().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        Ok::<_, crate::Error>(Measured { started_at, streaming_at, ended_at, cpu, memory })
    };
    let drained = drained.await;
    // Whatever became of the run, the next one must not find the connector at work.
    let deployed = Connect::finish_deploy(deploying).await;
    connect.remove(world, names).await?;
    let measured = drained?;
    deployed?;
    finish_topic(world, &topic, backlog, names).await?;
    Ok(measured)
}

/// Waits until the topic holds so many records, and says since when.
async fn wait_for_records(topic: &TopicEnd, count: u64, mut look: impl FnMut()) -> Result<Instant> {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    loop {
        let found = topic.count()?;
        if found >= count {
            return Ok(Instant::now());
        }
        if Instant::now() >= deadline {
            return Err(format!("the topic holds {found} of {count} records after {DRAIN_TIMEOUT:?}").into());
        }
        look();
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Fails if the topic holds other than the backlog, and deletes it.
async fn finish_topic(world: &World, topic: &TopicEnd, backlog: &Backlog, names: &Names) -> Result<()> {
    let found = topic.count()?;
    delete_topic(&world.servers, &names.topic()).await?;
    if found == backlog.events {
        return Ok(());
    }
    Err(format!("the topic holds {found} records instead of {}", backlog.events).into())
}

fn section(arguments: &CatchUpArguments, runs: Vec<Run>, faults: Vec<String>) -> Section {
    let mut table = Table::new(&[
        "subject",
        "rows/tx",
        "runs",
        "events/s",
        "lowest",
        "highest",
        "start to end s",
        "CPU µs/event",
        "peak RSS MiB",
    ]);
    let mut bars = Vec::new();
    for rows in &arguments.transaction_rows {
        for subject in &arguments.subjects {
            let name = name_of(subject);
            let of_subject: Vec<&Run> =
                runs.iter().filter(|run| run.subject == name && run.transaction_rows == *rows).collect();
            let rates: Vec<f64> = of_subject.iter().map(|run| run.events_per_second).collect();
            let Some((low, middle, high)) = median(&rates) else { continue };
            let over = |figure: fn(&Run) -> f64| {
                let figures: Vec<f64> = of_subject.iter().map(|run| figure(run)).collect();
                median(&figures).map_or(0.0, |(_, middle, _)| middle)
            };
            let cpu = over(|run| run.cpu_us_per_event.unwrap_or(f64::NAN));
            #[allow(clippy::cast_precision_loss)]
            let peak = over(|run| run.peak_rss_kib as f64);
            table.row([
                name.clone(),
                rows.to_string(),
                rates.len().to_string(),
                thousands(middle),
                thousands(low),
                thousands(high),
                format!("{:.2}", over(|run| run.wall_seconds)),
                if cpu.is_nan() { "not seen".to_owned() } else { format!("{cpu:.1}") },
                mebibytes(peak),
            ]);
            bars.push((format!("{name}, {rows} rows/tx"), rates));
        }
    }
    let load = serde_json::json!({
        "events": arguments.events, "transaction_rows": arguments.transaction_rows, "runs": arguments.runs,
        "partitions": 1, "order": "subjects in turns",
    });
    let plot = Plot::Bars {
        file: "catch-up.svg".to_owned(),
        title: format!("Backlog of {} events", arguments.events),
        unit: "events a second",
        bars,
    };
    let has_debezium = arguments.subjects.iter().any(is_debezium);
    let note = "one run of Debezium before each backlog is not counted, so that its JVM is warm".to_owned();
    Section::new("catch-up", "Catch-up from identical WAL", load, table, &runs, faults)
        .with_plots(vec![plot])
        .with_notes(has_debezium.then_some(note).into_iter().collect())
}
