//! What evp costs when there is nothing to do, and how soon it works after a start.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Result;
use crate::arguments::IdleArguments;
use crate::child::Running;
use crate::report::{Section, Table, mebibytes, median};
use crate::servers::{Servers, World};
use crate::usage::{fine_cpu_time, memory, pss_kib};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Start-up allocates and connects; that is over by then.
const SETTLE_TIME: Duration = Duration::from_secs(3);
const HALVES: [(&str, &str); 2] = [("capture", "streaming_started"), ("process", "partitions_assigned")];

/// One half of evp.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    half: &'static str,
    cpu_percent_of_one_core: f64,
    rss_kib: u64,
    pss_kib: u64,
    ready_ms: Vec<f64>,
}

/// Measures both halves.
pub(crate) async fn measure(servers: &Servers, arguments: &IdleArguments) -> Result<Section> {
    let world = World::create(servers, "idle", 1).await?;
    let outcome = measure_in(&world, arguments).await;
    world.remove().await?;
    Ok(section(arguments, outcome?))
}

async fn measure_in(world: &World, arguments: &IdleArguments) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (half, ready_event) in HALVES {
        let mut ready_ms = Vec::new();
        for _ in 0..arguments.starts {
            let (running, ready) = start(world, half, ready_event).await?;
            ready_ms.push(ready.as_secs_f64() * 1e3);
            running.stop().await?;
        }
        eprintln!("idle: {half} for {} s", arguments.seconds);
        let (running, _) = start(world, half, ready_event).await?;
        tokio::time::sleep(SETTLE_TIME).await;
        let (cpu_before, started) = (fine_cpu_time(running.id())?, Instant::now());
        tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
        let used = fine_cpu_time(running.id())?.saturating_sub(cpu_before);
        runs.push(Run {
            half,
            cpu_percent_of_one_core: used.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0,
            rss_kib: memory(running.id())?.rss_kib,
            pss_kib: pss_kib(running.id())?,
            ready_ms,
        });
        running.stop().await?;
    }
    Ok(runs)
}

async fn start(world: &World, half: &str, ready_event: &str) -> Result<(Running, Duration)> {
    let running = world.start(&world.names(""), &[half])?;
    let (ready_at, _) = running.wait_for_event(ready_event, READY_TIMEOUT).await?;
    let ready = ready_at - running.spawned_at;
    Ok((running, ready))
}

fn section(arguments: &IdleArguments, runs: Vec<Run>) -> Section {
    let mut table =
        Table::new(&["half", "CPU % of a core", "RSS MiB", "PSS MiB", "starts", "ready ms", "lowest", "highest"]);
    for run in &runs {
        let (low, middle, high) = median(&run.ready_ms).unwrap_or_default();
        #[allow(clippy::cast_precision_loss)]
        let (rss, pss) = (run.rss_kib as f64, run.pss_kib as f64);
        table.row([
            run.half.to_owned(),
            format!("{:.2}", run.cpu_percent_of_one_core),
            mebibytes(rss),
            mebibytes(pss),
            run.ready_ms.len().to_string(),
            format!("{middle:.0}"),
            format!("{low:.0}"),
            format!("{high:.0}"),
        ]);
    }
    let load = serde_json::json!({ "seconds": arguments.seconds, "starts": arguments.starts });
    Section::new("idle", "Idle, and start-up", load, table, &runs, Vec::new())
}
