//! Flags of the commands that set everything up, load it, and look whether it came out right.

use clap::{Args, ValueEnum};

use super::{ConnectorArguments, HandlerArguments};
use crate::generate::Mix;

/// Flags of `evp init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The handlers, whose collections are made.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Partitions of a new topic of events [default: what topic.creation.default.partitions says, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: Option<i32>,

    /// Replicas of a new topic; -1 is the broker's default [default: what topic.creation.default.replication.factor says, else -1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = replication_factor)]
    pub replication_factor: Option<i32>,

    /// Only print what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp generate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("length").required(true).args(["count", "duration"]))]
pub struct GenerateArguments {
    /// The handlers, whose collections `--watch` looks at.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Where the events go
    #[arg(long, value_enum, value_name = "WHERE", default_value = "postgres")]
    pub to: TargetArgument,

    /// Events a second; 0 is as fast as they are taken
    #[arg(long, value_name = "RATE", default_value_t = 100.0, value_parser = rate)]
    pub rate: f64,

    /// Stop after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub count: Option<u64>,

    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub duration: Option<u64>,

    /// Shares of the events that concern users, activities and participants
    #[arg(long, value_name = "SHARES", default_value = "users=40,activities=30,participants=30")]
    pub mix: Mix,

    /// Database connections that insert; with --to kafka as many streams of events, by one producer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: u16,

    /// Rows of one transaction
    #[arg(long, value_name = "ROWS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch: u32,

    /// Also wait until each new user and activity is visible in MongoDB, and show how long that took
    #[arg(long)]
    pub watch: bool,

    /// Repeat the same data: number to start the random generator from [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Values of `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetArgument {
    /// Rows of the outbox.
    Postgres,
    /// Records of the topic, as evp capture writes those rows.
    Kafka,
}

/// Flags of `evp verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The handlers, of whose collections those of the activity application are compared.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.0..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("give events a second, from 0 to 1000000".to_owned()),
    }
}

fn replication_factor(text: &str) -> Result<i32, String> {
    match text.parse::<i32>() {
        Ok(factor) if factor == -1 || (1..=100).contains(&factor) => Ok(factor),
        _ => Err("give a number of replicas, or -1 for the broker's default".to_owned()),
    }
}
