//! What the user may type; nothing is resolved or looked up here.

pub mod manual;
mod operate;
mod set_up;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::LogFormat;

pub use manual::{CompletionsArguments, ManArguments, ManualCommand};
pub use operate::{
    ChosenLetters, DlqArguments, DlqCommand, DoctorArguments, HandoverArguments, LetterArguments, RebuildArguments,
    StatusArguments, TopArguments, TraceArguments,
};
pub use set_up::{GenerateArguments, InitArguments, TargetArgument, VerifyArguments};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "evp",
    version,
    about = "Moves rows of a PostgreSQL transactional outbox to MongoDB read models through Kafka",
    long_about = "Moves rows of a PostgreSQL transactional outbox to MongoDB read models through Kafka, \
                  in Debezium's own format, so that either half can be exchanged for Debezium or for any consumer of it.",
    after_help = "A first run:  evp init && evp capture  and, beside it,  evp process\n\n\
                  Settings come from flags, else environment variables, else .env in the working directory, else the \
                  connector file, else defaults. Each password variable also has a …_FILE form.\n\n\
                  Exit codes: 0 done · 1 failed · 2 refused, because data would be lost or skipped · \
                  3 findings (doctor, verify, dlq replay, trace, process --plan) · 64 wrong usage or configuration",
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: AnyCommand,
}

/// The subcommands, by what they need.
#[derive(Debug, Subcommand)]
pub enum AnyCommand {
    /// Those that work on the chain, with settings and servers.
    #[command(flatten)]
    Chain(Command),
    /// Those that describe evp, and need neither.
    #[command(flatten)]
    Manual(ManualCommand),
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct CommonArguments {
    /// How logs are written to stderr [default: text on a terminal, else json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Logs and health")]
    pub log_format: Option<LogFormat>,

    /// Least level that is logged: error, warn, info, debug or trace [env: LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logs and health")]
    pub log_level: Option<String>,

    /// Serve /livez, /readyz, /metrics and, of process, /applied at HOST:PORT; port 0 takes a free one and logs it
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Logs and health")]
    pub http: Option<String>,
}

/// The subcommands that work on the chain.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream the replication slot to Kafka until told to stop
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD _SSLMODE _SSLROOTCERT _SSLCERT _SSLKEY, \
        KAFKA_BOOTSTRAP_SERVERS and its security, SHUTDOWN_TIMEOUT_SECONDS, LOG_LEVEL; all are in .env.example"
    )]
    Capture(CaptureArguments),

    /// Apply the topic's events to MongoDB until told to stop
    #[command(after_help = "Variables: KAFKA_BOOTSTRAP_SERVERS and its security, KAFKA_TOPIC, KAFKA_GROUP_ID, \
        KAFKA_AUTO_OFFSET_RESET, OUTBOX_COLUMNS, OUTBOX_IDS, MONGODB_URI, MONGODB_DATABASE, PROCESSING_BATCH_SIZE, MAX_RETRIES, RETRY_DELAY_SECONDS, \
        MAX_REFUSALS_IN_A_ROW, TARGET_P99_MS, REMEMBER_DAYS, \
        SHUTDOWN_TIMEOUT_SECONDS, LOG_LEVEL; all are in .env.example\n\n\
        Exit codes with --plan: 0 all events would be applied · 3 some would be dead letters")]
    Process(ProcessArguments),

    /// Set up tables, publication, slot, topics and collections; what exists is kept
    #[command(after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS, \
        MONGODB_URI, MONGODB_DATABASE, LOG_LEVEL\n\n\
        Safe to run at every deployment: it never changes or drops what is there, but adds missing tables to a publication \
        of its role.")]
    Init(InitArguments),

    /// Write realistic outbox events at an exact rate
    #[command(after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, with --to kafka instead \
        KAFKA_BOOTSTRAP_SERVERS and its security and KAFKA_TOPIC, with --watch also MONGODB_URI and MONGODB_DATABASE\n\n\
        Event i is due at start + i/rate, however late an earlier one was, and every latency is counted from that \
        moment. With --to kafka evp capture is left out: its records come from a cluster that does not exist, so \
        capture refuses a topic that has them.")]
    Generate(GenerateArguments),

    /// Compare the read models with what the outbox rows say they must be
    #[command(after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, MONGODB_URI, MONGODB_DATABASE, \
        KAFKA_BOOTSTRAP_SERVERS and KAFKA_TOPIC; TMPDIR for the temporary file in which the topic is sorted\n\n\
        Exit codes: 0 equal · 3 differences found · 1 could not compare")]
    Verify(VerifyArguments),

    /// Check every link of the chain; each finding has its remedy
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS and its security, \
        KAFKA_TOPIC, KAFKA_GROUP_ID, MONGODB_URI, MONGODB_DATABASE, NO_COLOR\n\n\
        Exit codes: 0 no findings · 3 findings"
    )]
    Doctor(DoctorArguments),

    /// One look at slot, topic, group, dead letters and read models
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS and its security, \
        KAFKA_TOPIC, KAFKA_GROUP_ID, MONGODB_URI, MONGODB_DATABASE\n\n\
        The servers are looked at side by side, each for 15 seconds at most; one that does not answer is one line."
    )]
    Status(StatusArguments),

    /// Watch the chain live: rates, latencies, slot, lag, handlers, dead letters
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS and its security, \
        KAFKA_TOPIC, KAFKA_GROUP_ID, MONGODB_URI, MONGODB_DATABASE, NO_COLOR\n\n\
        Rates and latencies are those of running halves whose --http address is given. Keys: q, Esc or Ctrl-C leaves."
    )]
    Top(TopArguments),

    /// Follow one event from the outbox to the documents, or to where it waits
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS and its security, \
        KAFKA_TOPIC, KAFKA_GROUP_ID, MONGODB_URI, MONGODB_DATABASE\n\n\
        The topic is read from its beginning to its end.\n\n\
        Exit codes: 0 found · 3 nothing is known of it"
    )]
    Trace(TraceArguments),

    /// Hand the slot over, from Debezium to evp or back, at the exact next row; or compare what the two write
    #[command(
        after_help = "Variables: POSTGRES_HOST _PORT _DB _USER _PASSWORD, KAFKA_BOOTSTRAP_SERVERS and its security, \
        CONNECT_URL\n\n\
        Stop the one that writes, hand over, start the other:\n  \
        evp handover --from-debezium --stop && evp capture\n  \
        evp handover --to-debezium --start\n\n\
        See before that they write the same bytes, while the connector runs on:\n  \
        evp handover --compare --for 60\n\n\
        Exit codes: 0 done, or equal · 3 a difference was found · 2 refused, because rows would be lost or repeated · \
        1 could not be done"
    )]
    Handover(HandoverArguments),

    /// Make a read model anew from the topic, beside the old one, and put it in its place
    #[command(
        after_help = "Variables: KAFKA_BOOTSTRAP_SERVERS and its security, KAFKA_TOPIC, KAFKA_GROUP_ID, OUTBOX_COLUMNS, OUTBOX_IDS, \
        MONGODB_URI, MONGODB_DATABASE\n\n\
        Readers see the old collection until the new one takes its place at once; `evp process` goes on meanwhile. The old one \
        is kept until it is dropped with --drop-old.\n\n\
        Exit codes: 0 done · 1 could not be done, nothing was changed · 2 refused, because something would be missing"
    )]
    Rebuild(RebuildArguments),

    /// Work with dead letters: list, show, replay, discard
    #[command(
        subcommand_required = true,
        arg_required_else_help = true,
        after_help = "Variables: KAFKA_BOOTSTRAP_SERVERS \
        and its security, KAFKA_TOPIC, KAFKA_GROUP_ID, MONGODB_URI, MONGODB_DATABASE\n\n\
        The topic of dead letters is never rewritten: what was replayed or discarded is noted behind it. A replay may be \
        repeated; an event that was applied meanwhile has no second effect."
    )]
    Dlq(DlqArguments),
}

/// Where the connector's properties come from.
#[derive(Debug, Args)]
pub struct ConnectorArguments {
    /// Debezium connector file (JSON), as posted to Kafka Connect [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    pub connector: Option<PathBuf>,

    /// Override one property of the connector file; may be repeated
    #[arg(long = "set", value_name = "PROPERTY=VALUE")]
    pub sets: Vec<String>,
}

/// Where the handlers come from.
#[derive(Debug, Args)]
pub struct HandlerArguments {
    /// Handlers of a file instead of the program's: which events change which documents (docs/projections.md)
    /// [env: PROJECTIONS]
    #[arg(long, value_name = "FILE")]
    pub projections: Option<PathBuf>,
}

/// Which records are events, and how they are read.
#[derive(Debug, Args)]
pub struct EventArguments {
    /// Operations that are applied: c (insert), u (update), r (snapshot); others are skipped
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "c,u", value_parser = ["c", "u", "r"])]
    pub ops: Vec<String>,

    /// Columns of an outbox that is not evp's own: `debezium` for id, aggregateid, aggregatetype, type and payload, or pairs
    /// such as event_id=id,aggregate_id=order_no,created_at= (none: the commit's time) [env: OUTBOX_COLUMNS]
    #[arg(long, value_name = "LIST")]
    pub columns: Option<String>,

    /// What ids of events and aggregates are: uuid, or any text or number [env: OUTBOX_IDS] [default: uuid]
    #[arg(long, value_name = "KIND")]
    pub ids: Option<String>,
}

/// Flags of `evp capture`.
#[derive(Debug, Args)]
pub struct CaptureArguments {
    /// The connector's properties.
    #[command(flatten)]
    pub connector: ConnectorArguments,

    /// The Debezium version whose bytes are written
    #[arg(long, value_name = "VERSION", default_value = "3.6", value_parser = ["3.6", "2.4"])]
    pub compat: String,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,

    /// Stop, with exit code 0, at the log's end as it is at start
    #[arg(long, value_enum, value_name = "WHEN")]
    pub until: Option<UntilArgument>,

    /// Go on although changes between the topic's end and the slot's start are lost for good
    #[arg(long)]
    pub accept_gap: bool,

    /// What happens to a row that the topic does not take: too large, or a value that cannot be written
    #[arg(long, value_enum, value_name = "ACTION", default_value = "stop")]
    pub refused_rows: RefusedRowsArgument,

    /// Do not write the evp.position header; a crash can then repeat events, as Debezium does
    #[arg(long)]
    pub no_position_header: bool,
}

/// Flags of `evp process`.
#[derive(Debug, Args)]
pub struct ProcessArguments {
    /// The handlers.
    #[command(flatten)]
    pub handlers: HandlerArguments,

    /// Set a librdkafka property, unless exactness rests on it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub kafka: Vec<String>,

    /// Stop, with exit code 0, at the topic's end as it is at start
    #[arg(long, value_enum, value_name = "WHEN")]
    pub until: Option<UntilArgument>,

    /// Which records are events, and how they are read.
    #[command(flatten)]
    pub events: EventArguments,

    /// How many days an event is remembered by its id; a repetition that comes later is counted again [env: REMEMBER_DAYS]
    /// [default: 30]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=24_000))]
    pub remember_days: Option<u64>,

    /// What 99 of 100 events may take from their commit to the read models, in milliseconds. Where they take less, events are
    /// gathered into fewer and larger writes, which saves time of all servers [env: TARGET_P99_MS] [default: gather nothing]
    #[arg(long = "target-p99", value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub target_p99_ms: Option<u64>,

    /// What happens to an event that no handler serves
    #[arg(long, value_enum, value_name = "ACTION", default_value = "dead-letter")]
    pub unknown_events: UnknownEventsArgument,

    /// Take a topic that is not the one that was applied before, or that has lost its end, for right: for one start, with
    /// all other processes of the group stopped. Counters count events again that are no longer remembered
    #[arg(long)]
    pub accept_new_topic: bool,

    /// Go on although the first records are no events of the outbox; each becomes a dead letter
    #[arg(long)]
    pub accept_shape: bool,

    /// Only print what the events of the whole topic would do in MongoDB: nothing is written, no group is joined
    #[arg(long, conflicts_with_all = ["until", "accept_new_topic", "accept_shape"])]
    pub plan: bool,

    /// With --plan, print one JSON object a record
    #[arg(long, requires = "plan")]
    pub json: bool,
}

/// Values of `--until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UntilArgument {
    /// At the end as it is at start.
    CaughtUp,
}

/// Values of `--refused-rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RefusedRowsArgument {
    /// Stop before it, with exit code 2.
    Stop,
    /// Put a pointer to it into the dead-letter topic and go on behind it.
    DeadLetter,
}

/// Values of `--unknown-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownEventsArgument {
    /// Put them into the dead-letter topic.
    DeadLetter,
    /// Pass over them.
    Skip,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_names_its_variables_in_the_help() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Variables: "), "{}", command.get_name());
        }
    }

    #[test]
    fn generate_wants_a_length_and_takes_only_one() {
        assert!(Arguments::try_parse_from(["evp", "generate"]).is_err());
        assert!(Arguments::try_parse_from(["evp", "generate", "--count", "1", "--duration", "1"]).is_err());
        assert!(Arguments::try_parse_from(["evp", "generate", "--count", "1", "--rate", "-1"]).is_err());
        assert!(Arguments::try_parse_from(["evp", "generate", "--count", "1", "--rate", "0"]).is_ok());
        let kafka = ["evp", "generate", "--to", "kafka", "--mix", "users=1,participants=3", "--count", "1"];
        assert!(Arguments::try_parse_from(kafka).is_ok());
        assert!(Arguments::try_parse_from(["evp", "generate", "--count", "1", "--mix", "users"]).is_err());
    }

    #[test]
    fn operations_are_a_list_of_letters() {
        let parsed = Arguments::try_parse_from(["evp", "process", "--ops", "c,r"]).unwrap();
        let AnyCommand::Chain(Command::Process(process)) = parsed.command else { panic!("not process") };
        assert_eq!(process.events.ops, ["c", "r"]);
        assert!(Arguments::try_parse_from(["evp", "process", "--ops", "c,x"]).is_err());
    }
}
