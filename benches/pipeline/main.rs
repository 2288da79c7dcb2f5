//! evp end to end, measured on real servers; `benches/README.md` says what each figure means.
//!
//! Each measurement makes a database, slots and topics of its own, runs one subject at a time, checks that what
//! arrived is what was written, and ends in a [`report::Section`].

mod arguments;
mod arrivals;
mod catch_up;
mod child;
mod debezium;
mod drain;
mod idle;
mod kafka;
mod latency;
mod noise;
mod plot;
mod read_models;
mod recvlogical;
mod report;
mod servers;
mod subjects;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use arguments::{
    Arguments, CaptureSubject, CatchUpArguments, CatchUpSubject, DrainArguments, IdleArguments, LatencyArguments,
    Measurement, ProcessSubject,
};
use noise::NoiseWatch;
use report::Section;
use servers::Servers;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run(arguments)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pipeline: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the measurements; whether all their figures are good.
async fn run(arguments: Arguments) -> Result<bool> {
    let servers = Servers::from_environment(&arguments.evp)?;
    let measurements = match arguments.measurement {
        None | Some(Measurement::All) => all(arguments.quick),
        Some(measurement) => vec![measurement],
    };
    let mut sections = Vec::new();
    for measurement in &measurements {
        let noise = NoiseWatch::start();
        let mut section = measure(&servers, measurement).await?;
        section.noise = Some(noise.finish());
        section.show(&arguments.out)?;
        sections.push(section);
    }
    report::write(&arguments.out, &servers, &sections).await?;
    Ok(sections.iter().all(|section| section.faults.is_empty()))
}

async fn measure(servers: &Servers, measurement: &Measurement) -> Result<Section> {
    match measurement {
        Measurement::Latency(arguments) => latency::measure(servers, arguments).await,
        Measurement::CatchUp(arguments) => catch_up::measure(servers, arguments).await,
        Measurement::Drain(arguments) => drain::measure(servers, arguments).await,
        Measurement::Idle(arguments) => idle::measure(servers, arguments).await,
        Measurement::All => Err("`all` is a list of measurements".into()),
    }
}

/// Every measurement that needs no Kafka Connect, in sizes that take a quarter of an hour together or a minute.
fn all(is_quick: bool) -> Vec<Measurement> {
    let to_mongodb = LatencyArguments {
        rates: if is_quick { vec![500] } else { vec![1_000, 3_000] },
        seconds: if is_quick { 3 } else { 20 },
        warm_up: if is_quick { 1 } else { 10 },
        capture: CaptureSubject::Evp,
        process: ProcessSubject::Evp,
        all_hops: false,
        partitions: 1,
        connections: 8,
        late_ms_max: if is_quick { 50.0 } else { 5.0 },
    };
    let to_kafka = LatencyArguments { process: ProcessSubject::None, ..to_mongodb.clone() };
    let walsender = LatencyArguments { capture: CaptureSubject::Walsender, ..to_kafka.clone() };
    let catch_up = CatchUpArguments {
        events: if is_quick { 5_000 } else { 200_000 },
        transaction_rows: if is_quick { vec![1] } else { vec![1, 100_000] },
        subjects: vec![CatchUpSubject::Evp, CatchUpSubject::PgRecvlogical],
        runs: if is_quick { 1 } else { 3 },
    };
    let drain = DrainArguments {
        events: if is_quick { 5_000 } else { 60_000 },
        partitions: if is_quick { vec![1] } else { vec![1, 4] },
        runs: if is_quick { 1 } else { 3 },
    };
    let idle = IdleArguments { seconds: if is_quick { 3 } else { 20 }, starts: if is_quick { 2 } else { 10 } };
    vec![
        Measurement::Idle(idle),
        Measurement::CatchUp(catch_up),
        Measurement::Drain(drain),
        Measurement::Latency(walsender),
        Measurement::Latency(to_kafka),
        Measurement::Latency(to_mongodb),
    ]
}
