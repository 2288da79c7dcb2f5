//! Open loop: each latency counts from the moment at which its transaction was due, however late anything was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evp::generate::{GenerateSummary, Length};
use evp::telemetry::LatencySummary;
use serde::Serialize;
use uuid::Uuid;

use crate::Result;
use crate::arguments::{CaptureSubject, LatencyArguments, ProcessSubject, name_of};
use crate::arrivals::Expected;
use crate::plot::Plot;
use crate::report::{Section, Table, milliseconds};
use crate::servers::{Load, Servers, World};
use crate::subjects::{CONSUMABLE, STREAMED, Subjects, VISIBLE};

/// The writer's own fault, which must stay small.
const SENT: &str = "sent by the writer";
const COMMITTED: &str = "commit returned";

/// A system that has not shown everything this long after the last event was due does not sustain the rate.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// A quiet machine commits within a few milliseconds.
const SATURATED_COMMIT_MS: f64 = 50.0;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Lets what the warm-up has begun come to its end.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// The hops of one run at one rate.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) capture: String,
    pub(crate) process: String,
    pub(crate) rate: u32,
    pub(crate) events: usize,
    pub(crate) is_void: bool,
    pub(crate) hops: Vec<Hop>,
    pub(crate) cpu_us_per_event: Vec<(String, f64)>,
}

/// From scheduled to somewhere.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hop {
    pub(crate) to: &'static str,
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Hop {
    fn new(to: &'static str, summary: LatencySummary) -> Self {
        let LatencySummary { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = summary;
        Self { to, count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms }
    }
}

/// Measures every rate with the same subjects.
pub(crate) async fn measure(servers: &Servers, arguments: &LatencyArguments) -> Result<Section> {
    let world = World::create(servers, "latency", arguments.partitions).await?;
    let outcome = measure_in(&world, arguments).await;
    world.remove().await?;
    outcome
}

async fn measure_in(world: &World, arguments: &LatencyArguments) -> Result<Section> {
    let subjects = Subjects::start(world, arguments).await?;
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for rate in &arguments.rates {
        eprintln!("latency: {} at {rate}/s for {} s", name_of(&arguments.capture), arguments.seconds);
        let run = one_rate(world, &subjects, arguments, *rate, &mut faults).await?;
        runs.push(run);
    }
    subjects.stop(world).await?;
    if arguments.process == ProcessSubject::Evp && arguments.capture != CaptureSubject::Walsender {
        world
            .run(&world.names(""), &["verify"])
            .await
            .map_err(|error| format!("the read models are wrong: {error}"))?;
    }
    Ok(section(arguments, runs, faults))
}

async fn one_rate(
    world: &World,
    subjects: &Subjects,
    arguments: &LatencyArguments,
    rate: u32,
    faults: &mut Vec<String>,
) -> Result<Run> {
    if arguments.warm_up > 0 {
        load(world, arguments, rate, arguments.warm_up, Arc::default()).await?;
        tokio::time::sleep(SETTLE_TIME).await;
    }
    subjects.readers().for_each(|(_, seen)| drop(seen.take()));
    let cpu_before = subjects.cpu_times();
    let expected = Arc::new(Expected::default());
    let written = load(world, arguments, rate, arguments.seconds, Arc::clone(&expected)).await?;
    let name = name_of(&arguments.capture);
    let events = expected.len();
    let mut hops = vec![Hop::new(SENT, written.lateness), Hop::new(COMMITTED, written.committed)];
    if let Err(fault) = wait_until_all_is_shown(subjects, &expected).await {
        faults.push(format!("{name} at {rate}/s: {fault}"));
    }
    #[allow(clippy::cast_precision_loss)]
    let cpu_us_per_event = cpu_before
        .into_iter()
        .zip(subjects.cpu_times())
        .map(|((who, before), (_, after))| {
            (who, after.saturating_sub(before).as_secs_f64() * 1e6 / events.max(1) as f64)
        })
        .collect();
    for (hop, seen) in subjects.readers() {
        let seen = seen.take();
        let (latencies, found) = shown(hop, &expected, &seen);
        if found != events {
            faults.push(format!("{name} at {rate}/s, {hop}: {found} arrivals of {events} events"));
        }
        hops.push(Hop::new(hop, latencies));
    }
    let is_void = written.lateness.p99_ms > arguments.late_ms_max;
    if is_void {
        let late = written.lateness.p99_ms;
        faults.push(format!(
            "{name} at {rate}/s is VOID: the writer itself was {late:.1} ms late at p99, above {} ms",
            arguments.late_ms_max
        ));
    }
    let process = name_of(&arguments.process);
    Ok(Run { capture: name, process, rate, events, is_void, hops, cpu_us_per_event })
}

async fn load(
    world: &World,
    arguments: &LatencyArguments,
    rate: u32,
    seconds: u64,
    observer: Arc<Expected>,
) -> Result<GenerateSummary> {
    let load = Load {
        rate: f64::from(rate),
        length: Length::Time(Duration::from_secs(seconds)),
        connections: arguments.connections,
        transaction_rows: 1,
        seed: rand::random(),
        observer: Some(observer),
    };
    world.generate(load).await
}

fn shown(hop: &str, expected: &Expected, seen: &[(Uuid, Instant)]) -> (LatencySummary, usize) {
    let (latencies, found) =
        if hop == VISIBLE { expected.latencies_of_documents(seen) } else { expected.latencies(seen) };
    (latencies.summary(), found)
}

async fn wait_until_all_is_shown(subjects: &Subjects, expected: &Expected) -> Result<()> {
    let deadline = Instant::now() + SHOWN_TIMEOUT;
    for (hop, seen) in subjects.readers() {
        loop {
            // Documents fold several events, so only a look at the events themselves tells.
            let is_complete =
                if hop == VISIBLE { expected.are_all_shown(&seen.snapshot()) } else { seen.len() >= expected.len() };
            if is_complete {
                break;
            }
            if Instant::now() >= deadline {
                return Err(format!("not sustained: {hop} is not complete after {SHOWN_TIMEOUT:?}").into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// Where commits themselves are late, the hops behind them say little of the subject.
fn saturation(run: &Run) -> Option<String> {
    let commit = run.hops.iter().find(|hop| hop.to == COMMITTED && hop.p99_ms > SATURATED_COMMIT_MS)?;
    let (rate, p99) = (run.rate, milliseconds(commit.p99_ms));
    Some(format!(
        "at {rate}/s PostgreSQL itself took {p99} ms to commit at p99: the machine, not the subject, is the limit"
    ))
}

fn plot(run: &Run) -> Plot {
    let lines =
        run.hops.iter().map(|hop| (hop.to.to_owned(), [hop.p50_ms, hop.p90_ms, hop.p99_ms, hop.p999_ms, hop.max_ms]));
    Plot::Percentiles {
        file: format!("{}-{}.svg", name(&run.capture, &run.process), run.rate),
        title: format!("{} at {} transactions a second", run.capture, run.rate),
        lines: lines.collect(),
    }
}

/// Of the report and the plots.
fn name(capture: &str, process: &str) -> String {
    match process {
        "none" => format!("latency-{capture}"),
        _ => format!("latency-{capture}-to-mongodb"),
    }
}

fn section(arguments: &LatencyArguments, runs: Vec<Run>, faults: Vec<String>) -> Section {
    let mut table =
        Table::new(&["capture", "rate/s", "to", "n", "p50", "p90", "p99", "p99.9", "max ms", "CPU µs/event"]);
    for run in &runs {
        for hop in &run.hops {
            let who = match hop.to {
                CONSUMABLE | STREAMED => "capture",
                VISIBLE => "process",
                _ => "",
            };
            let cpu = run.cpu_us_per_event.iter().find(|(name, _)| name == who);
            table.row([
                run.capture.clone(),
                run.rate.to_string(),
                hop.to.to_owned(),
                hop.count.to_string(),
                milliseconds(hop.p50_ms),
                milliseconds(hop.p90_ms),
                milliseconds(hop.p99_ms),
                milliseconds(hop.p999_ms),
                milliseconds(hop.max_ms),
                cpu.map(|(_, cpu)| format!("{cpu:.0}")).unwrap_or_default(),
            ]);
        }
    }
    let load = serde_json::json!({
        "rates_per_second": arguments.rates, "seconds": arguments.seconds, "warm_up_seconds": arguments.warm_up,
        "connections": arguments.connections, "partitions": arguments.partitions,
        "writer_late_p99_ms_max": arguments.late_ms_max, "transaction_rows": 1,
    });
    let title = "Latency from the scheduled time";
    let name = name(&name_of(&arguments.capture), &name_of(&arguments.process));
    let plots = runs.iter().map(plot).collect();
    let notes = runs.iter().filter_map(saturation).collect();
    Section::new(name, title, load, table, &runs, faults).with_plots(plots).with_notes(notes)
}
