//! From the command line to an exit code: everything is read and checked before the runtime starts.

mod task;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use crate::capture::{CaptureChoices, CaptureOptions, RefusedRows};
use crate::cli::{
    AnyCommand, Arguments, ChosenLetters, Command, ConnectorArguments, DlqArguments, DlqCommand, GenerateArguments,
    HandoverArguments, LetterArguments, ManualCommand, ProcessArguments, RebuildArguments, RefusedRowsArgument,
    TargetArgument, UnknownEventsArgument, UntilArgument, manual,
};
use crate::config::{KafkaConfig, MongoConfig, PostgresConfig, ProcessConfig, Variables, outbox_columns};
use crate::connector::Connector;
use crate::dead_letters::{DlqAction, DlqOptions, LetterFilter, ReplayChoices, ReplayOptions};
use crate::doctor::DoctorOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::generate::{GenerateOptions, KafkaTarget, Length, Target};
use crate::handover::{CompareOptions, Direction, HandoverOptions, Range};
use crate::init::InitPlan;
use crate::process::{HandlerRegistry, Operation, ProcessOptions, ProjectionFile, Questions, UnknownEvents};
use crate::rebuild::{RebuildAction, RebuildChoices, RebuildOptions};
use crate::shutdown::Until;
use crate::status::StatusOptions;
use crate::telemetry::{self, LogFormat};
use crate::top::TopOptions;
use crate::trace::TraceOptions;
use crate::verify::VerifyOptions;
use task::{DlqTask, Output, Task, execute};

const USAGE: u8 = 64;

/// Runs the command that the process was started with, applying events with the handlers of `registry`.
pub fn run(registry: HandlerRegistry) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; anything else is a mistake.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let command = match arguments.command {
        AnyCommand::Chain(command) => command,
        AnyCommand::Manual(command) => {
            return write_manual(&command).map_or_else(|error| fail(&error, LogFormat::Text), |()| ExitCode::SUCCESS);
        }
    };
    let mut variables = Variables::load();
    let format = arguments.common.log_format.unwrap_or_else(LogFormat::detect);
    let level_text = arguments.common.log_level.clone().unwrap_or_else(|| variables.text("LOG_LEVEL", "info"));
    let level = telemetry::parse_level(&level_text).unwrap_or_else(|reason| {
        variables.mistake(format!("LOG_LEVEL (--log-level): {reason}"));
        "info".to_owned()
    });
    // Lines of a log would stand in the middle of what is drawn.
    let is_drawn_over = matches!(command, Command::Top(_)) && std::io::stderr().is_terminal();
    let level = if is_drawn_over { "off".to_owned() } else { level };
    let outcome = telemetry::init_logs(format, &level)
        .and_then(|()| checked(command, variables, registry))
        .and_then(|(task, registry)| execute(task, registry, arguments.common.http.as_deref()));
    outcome.unwrap_or_else(|error| fail(&error, format))
}

/// Says why the command failed; the exit code says the same to programs.
fn fail(error: &Error, format: LogFormat) -> ExitCode {
    report(error, format);
    ExitCode::from(error.kind().exit_code())
}

/// Carries out a command that needs neither settings nor servers.
fn write_manual(command: &ManualCommand) -> Result<()> {
    let failed = |what: String| |error| Error::with_source(ErrorKind::System, what, error);
    match command {
        ManualCommand::Completions(flags) => manual::write_completions(flags.shell, &mut std::io::stdout())
            .map_err(failed("the script cannot be written to stdout".to_owned())),
        ManualCommand::Man(flags) => manual::write_man_pages(&flags.out)
            .map_err(failed(format!("the pages cannot be written to {}", flags.out.display()))),
    }
}

/// Reads the command's settings, and the handlers that it works with; all mistakes are in the one error.
fn checked(command: Command, mut variables: Variables, registry: HandlerRegistry) -> Result<(Task, HandlerRegistry)> {
    let projections = projections(&command, &mut variables, &registry);
    let registry = projections.as_ref().map_or(registry, ProjectionFile::handlers);
    let mut task = task_of(command, &mut variables, &registry);
    if let Ok(Task::Process(options) | Task::Plan(options, _)) = &mut task {
        options.projections = projections;
    }
    match (task, variables.finish()) {
        (Ok(task), Ok(())) => Ok((task, registry)),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
        (Err(error), Err(others)) => Err(Error::configuration(format!("{error}\n{others}"))),
    }
}

/// The file that a command with handlers was given.
fn projections(command: &Command, variables: &mut Variables, program: &HandlerRegistry) -> Option<ProjectionFile> {
    let flags = match command {
        Command::Process(flags) => &flags.handlers,
        Command::Init(flags) => &flags.handlers,
        Command::Doctor(flags) => &flags.handlers,
        Command::Trace(flags) => &flags.handlers,
        Command::Rebuild(flags) => &flags.handlers,
        _ => return None,
    };
    let path = flags.projections.clone().or_else(|| variables.optional("PROJECTIONS").map(Into::into))?;
    let loaded = ProjectionFile::load(path, program.clone());
    loaded.map_err(|error| variables.mistake(error.message().to_owned())).ok()
}

fn task_of(command: Command, variables: &mut Variables, registry: &HandlerRegistry) -> Result<Task> {
    match command {
        Command::Capture(flags) => {
            let choices = CaptureChoices {
                connector: flags.connector.connector.as_deref(),
                sets: &flags.connector.sets,
                kafka: &flags.kafka,
                compat: &flags.compat,
                until: until(flags.until),
                accept_gap: flags.accept_gap,
                with_position_header: !flags.no_position_header,
                refused_rows: match flags.refused_rows {
                    RefusedRowsArgument::Stop => RefusedRows::Stop,
                    RefusedRowsArgument::DeadLetter => RefusedRows::DeadLetter,
                },
            };
            let options = CaptureOptions::load(variables, choices)?;
            Ok(Task::Capture(Box::new(options)))
        }
        Command::Process(flags) => {
            let (is_plan, output) = (flags.plan, output(flags.json));
            let options = Box::new(process_options(&flags, variables));
            Ok(if is_plan { Task::Plan(options, output) } else { Task::Process(options) })
        }
        Command::Init(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables)?;
            Ok(Task::Init(Box::new(InitPlan {
                partitions: flags.partitions,
                replication_factor: flags.replication_factor,
                is_dry_run: flags.dry_run,
                collections: registry.collections(),
                ..plan
            })))
        }
        Command::Generate(flags) => {
            Ok(Task::Generate(Box::new(generate_options(&flags, variables)?), output(flags.json)))
        }
        Command::Verify(flags) => {
            let options = VerifyOptions {
                postgres: PostgresConfig::from_variables(variables, |_| None),
                mongo: MongoConfig::from_variables(variables),
                kafka: KafkaConfig::from_variables(variables, &flags.kafka),
            };
            check_one_topic(&options.kafka, "verify", variables);
            Ok(Task::Verify(Box::new(options), output(flags.json)))
        }
        Command::Doctor(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables)?;
            check_one_topic(&plan.kafka, "doctor", variables);
            Ok(Task::Doctor(Box::new(DoctorOptions {
                plan: InitPlan { collections: registry.collections(), ..plan },
                connect: flags.connect,
                fixes: flags.fix,
                is_json: flags.json,
            })))
        }
        Command::Status(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables)?;
            check_one_topic(&plan.kafka, "status", variables);
            let options = StatusOptions { watch: flags.watch.map(Duration::from_secs), is_json: flags.json };
            Ok(Task::Status(Box::new(plan), options))
        }
        Command::Top(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables)?;
            check_one_topic(&plan.kafka, "top", variables);
            Ok(Task::Top(Box::new(TopOptions {
                plan,
                capture: flags.capture_http,
                processes: flags.process_http,
                every: Duration::from_secs(flags.every),
            })))
        }
        Command::Trace(flags) => Ok(Task::Trace(Box::new(TraceOptions {
            plan: plan_of(&flags.connector, &flags.kafka, variables)?,
            event_id: flags.event_id,
            is_json: flags.json,
        }))),
        Command::Handover(flags) if flags.compare => Ok(Task::Compare(Box::new(compare_options(flags, variables)?))),
        Command::Rebuild(flags) => Ok(Task::Rebuild(Box::new(rebuild_options(flags, variables)))),
        Command::Handover(flags) => Ok(Task::Handover(Box::new(handover_options(&flags, variables)?))),
        Command::Dlq(flags) => {
            let output = output(flags.json);
            Ok(Task::Dlq(Box::new(dlq_task(flags, variables)), output))
        }
    }
}

fn process_options(flags: &ProcessArguments, variables: &mut Variables) -> ProcessOptions {
    ProcessOptions {
        kafka: KafkaConfig::from_variables(variables, &flags.kafka),
        mongo: MongoConfig::from_variables(variables),
        process: ProcessConfig::from_variables(variables).with_flags(flags.remember_days),
        operations: flags.ops.iter().filter_map(|letter| Operation::from_letter(letter)).collect(),
        unknown_events: match flags.unknown_events {
            UnknownEventsArgument::DeadLetter => UnknownEvents::DeadLetter,
            UnknownEventsArgument::Skip => UnknownEvents::Skip,
        },
        columns: outbox_columns(variables, flags.columns.as_deref(), flags.ids.as_deref()),
        until: until(flags.until),
        accept_new_topic: flags.accept_new_topic,
        accept_shape: flags.accept_shape,
        questions: Questions::default(),
        projections: None,
    }
}

fn rebuild_options(flags: RebuildArguments, variables: &mut Variables) -> RebuildOptions {
    let process = ProcessOptions {
        kafka: KafkaConfig::from_variables(variables, &flags.kafka),
        mongo: MongoConfig::from_variables(variables),
        process: ProcessConfig::from_variables(variables),
        operations: flags.ops.iter().filter_map(|letter| Operation::from_letter(letter)).collect(),
        unknown_events: UnknownEvents::Skip,
        columns: outbox_columns(variables, flags.columns.as_deref(), flags.ids.as_deref()),
        until: Until::CaughtUp,
        accept_new_topic: false,
        accept_shape: true,
        questions: Questions::default(),
        projections: None,
    };
    let action = match (flags.drop_old, flags.discard) {
        (true, _) => RebuildAction::DropOld { is_confirmed: flags.yes },
        (_, true) => RebuildAction::Discard,
        _ => RebuildAction::Rebuild(RebuildChoices {
            is_dry_run: flags.dry_run,
            sample: flags.sample,
            accepts_loss: flags.accept_loss,
            wait_seconds: flags.wait,
        }),
    };
    RebuildOptions { process, collection: flags.collection, action, is_json: flags.json }
}

fn handover_options(flags: &HandoverArguments, variables: &mut Variables) -> Result<HandoverOptions> {
    let file = &flags.connector;
    let choices = CaptureChoices {
        connector: file.connector.as_deref(),
        sets: &file.sets,
        kafka: &flags.kafka,
        compat: "3.6",
        until: Until::Stopped,
        accept_gap: false,
        with_position_header: true,
        refused_rows: RefusedRows::Stop,
    };
    let capture = CaptureOptions::load(variables, choices)?;
    let connector = Connector::load(&mut Variables::default(), file.connector.as_deref(), &file.sets)?;
    let name = flags.name.clone().or_else(|| connector.name().map(str::to_owned)).unwrap_or_else(|| {
        variables.mistake("the connector file has no `name`: give the connector's with --name".to_owned());
        String::new()
    });
    Ok(HandoverOptions {
        properties: connector.posted(capture.postgres()),
        capture: Arc::new(capture),
        direction: if flags.from_debezium { Direction::FromDebezium } else { Direction::ToDebezium },
        connect: flags.connect.clone().unwrap_or_else(|| variables.text("CONNECT_URL", "http://localhost:8083")),
        name,
        stops: flags.stop,
        starts: flags.start,
        accepts_repeat: flags.accept_repeat,
        is_json: flags.json,
    })
}

fn compare_options(flags: HandoverArguments, variables: &mut Variables) -> Result<CompareOptions> {
    let file = flags.connector.connector;
    let name = match flags.name {
        Some(name) => Some(name),
        None => Connector::load(&mut Variables::default(), file.as_deref(), &[])?.name().map(str::to_owned),
    };
    let name = name.unwrap_or_else(|| {
        variables.mistake("the connector file has no `name`: give the connector's with --name".to_owned());
        String::new()
    });
    Ok(CompareOptions {
        connect: flags.connect.unwrap_or_else(|| variables.text("CONNECT_URL", "http://localhost:8083")),
        // What it says is read once the connector's properties are known.
        variables: Variables::load(),
        file,
        sets: flags.connector.sets,
        kafka: flags.kafka,
        compat: flags.compat,
        name,
        range: Range { records_max: flags.records, live_for: flags.live.map(Duration::from_secs) },
        keeps_topics: flags.keep,
        shows_values: flags.show_values,
        is_json: flags.json,
    })
}

fn generate_options(flags: &GenerateArguments, variables: &mut Variables) -> Result<GenerateOptions> {
    let target = match flags.to {
        TargetArgument::Postgres => Target::Postgres(PostgresConfig::from_variables(variables, |_| None)),
        TargetArgument::Kafka => {
            let target = KafkaTarget::load(variables, &flags.kafka)?;
            check_one_topic(target.kafka(), "generate --to kafka", variables);
            Target::Kafka(Box::new(target))
        }
    };
    Ok(GenerateOptions {
        target,
        watch: flags.watch.then(|| MongoConfig::from_variables(variables)),
        rate: flags.rate,
        length: match (flags.count, flags.duration) {
            (Some(count), _) => Length::Events(count),
            (None, seconds) => Length::Time(Duration::from_secs(seconds.unwrap_or(1))),
        },
        connections: flags.connections,
        batch_rows: flags.batch,
        seed: flags.seed.unwrap_or_else(rand::random),
        mix: flags.mix,
        observer: None,
    })
}

fn plan_of(connector: &ConnectorArguments, kafka: &[String], variables: &mut Variables) -> Result<InitPlan> {
    InitPlan::load(variables, connector.connector.as_deref(), &connector.sets, kafka)
}

/// What concerns one topic must be told which.
fn check_one_topic(kafka: &KafkaConfig, command: &str, variables: &mut Variables) {
    if kafka.topics().len() > 1 {
        variables.mistake(format!("KAFKA_TOPIC names several topics, and `evp {command}` looks at one: name that"));
    }
}

fn dlq_task(flags: DlqArguments, variables: &mut Variables) -> DlqTask {
    let options = DlqOptions {
        kafka: KafkaConfig::from_variables(variables, &flags.kafka),
        mongo: MongoConfig::from_variables(variables),
    };
    check_one_topic(&options.kafka, "dlq", variables);
    let (filter, action) = match flags.command {
        DlqCommand::List { filter, settled, limit } => {
            (LetterFilter { with_settled: settled, ..letter_filter(filter) }, DlqAction::List(limit))
        }
        DlqCommand::Show { letter } => (LetterFilter::default(), DlqAction::Show(letter)),
        DlqCommand::Replay { chosen, only, forgotten, wait } => {
            let choices = ReplayChoices { only, forgotten };
            let replay = ReplayOptions { choices, wait: Duration::from_secs(wait) };
            (chosen_letters(chosen, variables), DlqAction::Replay(replay))
        }
        DlqCommand::Discard { chosen, yes } => {
            (chosen_letters(chosen, variables), DlqAction::Discard { is_confirmed: yes })
        }
    };
    DlqTask { options, filter, action }
}

fn chosen_letters(chosen: ChosenLetters, variables: &mut Variables) -> LetterFilter {
    let filter = letter_filter(chosen.filter);
    if filter.is_everything() && !chosen.all {
        variables
            .mistake("no dead letters are chosen: give their names, a filter such as --handler, or --all".to_owned());
    }
    filter
}

fn letter_filter(flags: LetterArguments) -> LetterFilter {
    LetterFilter {
        names: flags.letters,
        handler: flags.handler,
        event_type: flags.event_type,
        error: flags.error,
        aggregate: flags.aggregate,
        since_ms: flags.since,
        until_ms: flags.before,
        with_settled: false,
    }
}

fn until(argument: Option<UntilArgument>) -> Until {
    match argument {
        Some(UntilArgument::CaughtUp) => Until::CaughtUp,
        None => Until::Stopped,
    }
}

fn output(is_json: bool) -> Output {
    if is_json { Output::Json } else { Output::Text }
}

/// Says once why the process ends: a sentence for people, or a log line for programs.
fn report(error: &Error, format: LogFormat) {
    let text = error.to_string();
    match format {
        LogFormat::Json => {
            let (kind, exit_code) = (error.kind().name(), error.kind().exit_code());
            tracing::error!(event = "application_failed", kind, exit_code, "{text}");
        }
        LogFormat::Text => {
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            let rest: String = lines.map(|line| format!("     {line}\n")).collect();
            let _ = write!(std::io::stderr(), "evp: {first}\n{rest}");
        }
    }
}
