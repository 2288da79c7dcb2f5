//! From the command line to an exit code: everything is read and checked before the runtime starts.

mod options;
mod task;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::capture::{CaptureChoices, CaptureOptions, RefusedRows};
use crate::cli::{AnyCommand, Arguments, Command, ManualCommand, RefusedRowsArgument, manual};
use crate::config::{KafkaConfig, MongoConfig, PostgresConfig, Variables};
use crate::doctor::DoctorOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::init::InitPlan;
use crate::process::{HandlerRegistry, ProjectionFile};
use crate::status::StatusOptions;
use crate::telemetry::{self, LogFormat};
use crate::top::TopOptions;
use crate::trace::TraceOptions;
use crate::verify::VerifyOptions;
use options::{
    check_one_topic, compare_options, dlq_task, generate_options, handover_options, output, plan_of, process_options,
    rebuild_options, until,
};
use task::{Task, execute};

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
        Command::Generate(flags) => &flags.handlers,
        Command::Verify(flags) => &flags.handlers,
        Command::Status(flags) => &flags.handlers,
        Command::Top(flags) => &flags.handlers,
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
            let plan = plan_of(&flags.connector, &flags.kafka, variables, registry)?;
            Ok(Task::Init(Box::new(InitPlan {
                partitions: flags.partitions,
                replication_factor: flags.replication_factor,
                is_dry_run: flags.dry_run,
                ..plan
            })))
        }
        Command::Generate(flags) => {
            Ok(Task::Generate(Box::new(generate_options(&flags, variables, registry)?), output(flags.json)))
        }
        Command::Verify(flags) => {
            let options = VerifyOptions {
                postgres: PostgresConfig::from_variables(variables, |_| None),
                mongo: MongoConfig::from_variables(variables),
                kafka: KafkaConfig::from_variables(variables, &flags.kafka),
                collections: registry.collections(),
            };
            check_one_topic(&options.kafka, "verify", variables);
            Ok(Task::Verify(Box::new(options), output(flags.json)))
        }
        Command::Doctor(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables, registry)?;
            check_one_topic(&plan.kafka, "doctor", variables);
            Ok(Task::Doctor(Box::new(DoctorOptions {
                plan,
                connect: flags.connect,
                fixes: flags.fix,
                is_json: flags.json,
            })))
        }
        Command::Status(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables, registry)?;
            check_one_topic(&plan.kafka, "status", variables);
            let options = StatusOptions { watch: flags.watch.map(Duration::from_secs), is_json: flags.json };
            Ok(Task::Status(Box::new(plan), options))
        }
        Command::Top(flags) => {
            let plan = plan_of(&flags.connector, &flags.kafka, variables, registry)?;
            check_one_topic(&plan.kafka, "top", variables);
            Ok(Task::Top(Box::new(TopOptions {
                plan,
                capture: flags.capture_http,
                processes: flags.process_http,
                every: Duration::from_secs(flags.every),
            })))
        }
        Command::Trace(flags) => Ok(Task::Trace(Box::new(TraceOptions {
            plan: plan_of(&flags.connector, &flags.kafka, variables, registry)?,
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
