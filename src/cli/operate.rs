//! Flags of the commands by which operators look at the chain and put it right.

use clap::{Args, Subcommand};

use super::{ConnectorArguments, EventArguments, HandlerArguments};
use crate::dead_letters::{LetterName, parse_time};
use crate::terminal;

/// Flags of `evp doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The handlers, whose collections are looked for.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Also look at Kafka Connect, for a connector on the same slot
    #[arg(long, value_name = "URL")]
    pub connect: Option<String>,

    /// Make the topics, collections and indexes that are missing, but no topic of events; keep dead letters for ever
    #[arg(long)]
    pub fix: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp handover`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("direction").required(true).args(["from_debezium", "to_debezium", "compare"]))]
pub struct HandoverArguments {
    /// Let `evp capture` go on where the connector stopped
    #[arg(long)]
    pub from_debezium: bool,

    /// Let the connector go on where `evp capture` stopped; it is created if it does not exist
    #[arg(long)]
    pub to_debezium: bool,

    /// Change nothing: let both write what copies of the connector's slot hold, to topics of their own, and compare the bytes.
    /// Debezium's side has the connector's properties, evp's side as well, or those of --connector, with --set over them
    #[arg(long, conflicts_with_all = ["stop", "start", "accept_repeat"])]
    pub compare: bool,

    /// REST address of Kafka Connect [env: CONNECT_URL] [default: http://localhost:8083]
    #[arg(long, value_name = "URL")]
    pub connect: Option<String>,

    /// Name of the connector in Kafka Connect [default: the name in the connector file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// Stop the connector first, if it runs
    #[arg(long)]
    pub stop: bool,

    /// Let the connector run afterwards
    #[arg(long, conflicts_with = "from_debezium")]
    pub start: bool,

    /// Go on although rows that are on the topics already will be written once more
    #[arg(long)]
    pub accept_repeat: bool,

    /// With --compare: compare so many records, at about the most
    #[arg(long, value_name = "N", default_value_t = 100_000, conflicts_with_all = ["from_debezium", "to_debezium"],
          value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub records: i64,

    /// With --compare: also what is committed within so many seconds from now
    #[arg(long = "for", value_name = "SECONDS", conflicts_with_all = ["from_debezium", "to_debezium"], value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub live: Option<u64>,

    /// With --compare: the Debezium version whose bytes evp writes [default: the nearest to the connector's]
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["from_debezium", "to_debezium"], value_parser = ["3.6", "2.4"])]
    pub compat: Option<String>,

    /// With --compare: show the bytes around a difference, which may be your users' data
    #[arg(long, conflicts_with_all = ["from_debezium", "to_debezium"])]
    pub show_values: bool,

    /// With --compare: leave the topics that were written, until the next comparison
    #[arg(long, conflicts_with_all = ["from_debezium", "to_debezium"])]
    pub keep: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The handlers, whose collections are counted.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Look again every so many seconds, until told to stop
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,

    /// Print the result as JSON, one object a look
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp top`.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The handlers, whose collections are counted.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Also read /metrics and /readyz of the evp capture that serves them at HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub capture_http: Option<String>,

    /// Also read /metrics and /readyz of the evp process that serves them at HOST:PORT; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub process_http: Vec<String>,

    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub every: u64,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp trace`.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// Id of the event
    #[arg(value_name = "EVENT_ID")]
    pub event_id: uuid::Uuid,

    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The handlers.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArguments {
    /// The collection, such as users
    #[arg(value_name = "COLLECTION")]
    pub collection: String,

    /// The handlers.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Only compare: the new collection is dropped again
    #[arg(long, visible_alias = "no-swap")]
    pub dry_run: bool,

    /// Compare so many documents, chosen at random, instead of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub sample: Option<u32>,

    /// Replace the collection although documents, or effects, of the old one are not in the new one
    #[arg(long)]
    pub accept_loss: bool,

    /// Wait so long until the members of the group have stopped for the swap
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub wait: u64,

    /// Drop the old collections that were kept, instead of rebuilding; asks first
    #[arg(long, conflicts_with_all = ["dry_run", "sample", "accept_loss", "discard"])]
    pub drop_old: bool,

    /// Drop what a killed rebuild has left, instead of rebuilding
    #[arg(long, conflicts_with_all = ["dry_run", "sample", "accept_loss"])]
    pub discard: bool,

    /// With --drop-old, do not ask
    #[arg(long, requires = "drop_old")]
    pub yes: bool,

    /// Which records are events, as for `evp process`.
    #[command(flatten)]
    pub events: EventArguments,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// Flags of `evp dlq`.
#[derive(Debug, Args)]
pub struct DlqArguments {
    /// What to do with them.
    #[command(subcommand)]
    pub command: DlqCommand,

    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,
}

/// The subcommands of `evp dlq`.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// The letters that wait for somebody
    List {
        /// Which letters.
        #[command(flatten)]
        filter: LetterArguments,

        /// Also letters that were replayed, discarded or applied since
        #[arg(long)]
        settled: bool,

        /// Show so many [default: 100, with --json all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },

    /// One letter: cause, payload, what waits behind it, what to do
    Show {
        /// Its name, as `list` shows it
        #[arg(value_name = "LETTER")]
        letter: LetterName,
    },

    /// Publish letters again, in the order of their events; only the handlers that failed run
    #[command(after_help = "Exit codes: 0 done · 3 letters came back · 1 could not be done")]
    Replay {
        /// Which letters.
        #[command(flatten)]
        chosen: ChosenLetters,

        /// Leave the events that wait for a document which a replayed one creates
        #[arg(long)]
        only: bool,

        /// Also events that are not remembered any more (REMEMBER_DAYS, 30 by default): all of their handlers run, and counters count them again
        #[arg(long)]
        forgotten: bool,

        /// Wait so long until `evp process` has dealt with them
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
        wait: u64,
    },

    /// Put letters aside for good; asks first
    Discard {
        /// Which letters.
        #[command(flatten)]
        chosen: ChosenLetters,

        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters a command is about; all of what is given must be so.
#[derive(Debug, Args)]
pub struct LetterArguments {
    /// Letters by name, partition:offset
    #[arg(value_name = "LETTER")]
    pub letters: Vec<LetterName>,

    /// Of this handler
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,

    /// Of events of this type
    #[arg(long, value_name = "TYPE")]
    pub event_type: Option<String>,

    /// Whose error says this
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,

    /// Of the aggregate whose id is, or begins with, this
    #[arg(long, value_name = "ID")]
    pub aggregate: Option<String>,

    /// Written since: 2026-11-26T04:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<i64>,

    /// Written before
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub before: Option<i64>,
}

/// Letters that something is done with: without any choice it would be too much by mistake.
#[derive(Debug, Args)]
pub struct ChosenLetters {
    /// Which letters.
    #[command(flatten)]
    pub filter: LetterArguments,

    /// All that wait
    #[arg(long)]
    pub all: bool,
}

fn time(text: &str) -> Result<i64, String> {
    parse_time(text, terminal::now_ms())
}
