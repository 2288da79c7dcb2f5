//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures evp end to end on the servers that the environment names.
#[derive(Debug, Parser)]
#[command(name = "pipeline", max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) measurement: Option<Measurement>,

    /// Without a subcommand: sizes of a smoke run, whose figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,

    /// The program under test
    #[arg(long, global = true, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_evp"))]
    pub(crate) evp: PathBuf,

    /// Where the report and the plots go
    #[arg(long, global = true, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    pub(crate) out: PathBuf,

    /// Cargo gives it to every bench
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Measurement {
    /// From the scheduled time of a transaction to each hop, open loop
    Latency(LatencyArguments),
    /// A backlog in a slot, drained by one capture after the other from identical WAL
    CatchUp(CatchUpArguments),
    /// A full topic, drained into MongoDB
    Drain(DrainArguments),
    /// What evp costs when there is nothing to do, and how long it takes to start
    Idle(IdleArguments),
    /// All of them in moderate sizes
    All,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LatencyArguments {
    /// Single-row transactions a second, one run after the other
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1000,3000")]
    pub(crate) rates: Vec<u32>,

    /// Measured time of each run
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(crate) seconds: u64,

    /// Load before it that is not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) warm_up: u64,

    /// Who reads the slot
    #[arg(long, value_enum, default_value = "evp")]
    pub(crate) capture: CaptureSubject,

    /// Who writes the read models
    #[arg(long, value_enum, default_value = "evp")]
    pub(crate) process: ProcessSubject,

    /// Observe the topic even where the read models are observed; each observer takes time from what it observes
    #[arg(long)]
    pub(crate) all_hops: bool,

    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) partitions: i32,

    /// Connections of the writer
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) connections: u16,

    /// A writer that is later than this at p99 makes the run void
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5.0)]
    pub(crate) late_ms_max: f64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CatchUpArguments {
    /// Events of the backlog
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    pub(crate) events: u64,

    /// Rows of one transaction, one backlog after the other
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,100000")]
    pub(crate) transaction_rows: Vec<u32>,

    /// Who drains it, in turns
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_value = "evp,pg_recvlogical")]
    pub(crate) subjects: Vec<CatchUpSubject>,

    /// Runs of each subject
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) runs: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DrainArguments {
    /// Events of the topic
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) events: u64,

    /// Partitions of the topic, one topic after the other
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4")]
    pub(crate) partitions: Vec<i32>,

    /// Runs of each topic
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) runs: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleArguments {
    /// Measured time
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(crate) seconds: u64,

    /// Starts of each half
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) starts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaptureSubject {
    Evp,
    /// With the settings of the connector file
    Debezium,
    /// With the settings that suit it best
    DebeziumTuned,
    /// No capture at all: a row counts as seen when pg_recvlogical has it
    Walsender,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProcessSubject {
    Evp,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatchUpSubject {
    Evp,
    /// With the settings of the connector file
    Debezium,
    /// With the settings that suit it best
    DebeziumTuned,
    #[value(name = "pg_recvlogical")]
    PgRecvlogical,
}

/// The name that the command line gives to a value.
pub(crate) fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
