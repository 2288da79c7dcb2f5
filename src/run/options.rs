//! What flags and variables ask of a command, together.

use std::sync::Arc;
use std::time::Duration;

use super::task::{DlqTask, Output};
use crate::capture::{CaptureChoices, CaptureOptions, RefusedRows};
use crate::cli::{
    ChosenLetters, ConnectorArguments, DlqArguments, DlqCommand, GenerateArguments, HandoverArguments, LetterArguments,
    ProcessArguments, RebuildArguments, TargetArgument, UnknownEventsArgument, UntilArgument,
};
use crate::config::{KafkaConfig, MongoConfig, PostgresConfig, ProcessConfig, Variables, outbox_columns};
use crate::connector::Connector;
use crate::dead_letters::{DlqAction, DlqOptions, LetterFilter, ReplayChoices, ReplayOptions};
use crate::error::Result;
use crate::generate::{GenerateOptions, KafkaTarget, Length, Target, Watched};
use crate::handover::{CompareOptions, Direction, HandoverOptions, Range};
use crate::init::InitPlan;
use crate::process::{HandlerRegistry, Operation, ProcessOptions, Questions, UnknownEvents};
use crate::rebuild::{RebuildAction, RebuildChoices, RebuildOptions};
use crate::shutdown::Until;

pub(super) fn process_options(flags: &ProcessArguments, variables: &mut Variables) -> ProcessOptions {
    ProcessOptions {
        kafka: KafkaConfig::from_variables(variables, &flags.kafka),
        mongo: MongoConfig::from_variables(variables),
        process: ProcessConfig::from_variables(variables).with_flags(flags.remember_days, flags.target_p99_ms),
        operations: flags.events.ops.iter().filter_map(|letter| Operation::from_letter(letter)).collect(),
        unknown_events: match flags.unknown_events {
            UnknownEventsArgument::DeadLetter => UnknownEvents::DeadLetter,
            UnknownEventsArgument::Skip => UnknownEvents::Skip,
        },
        columns: outbox_columns(variables, flags.events.columns.as_deref(), flags.events.ids.as_deref()),
        until: until(flags.until),
        accept_new_topic: flags.accept_new_topic,
        accept_shape: flags.accept_shape,
        questions: Questions::default(),
        projections: None,
    }
}

pub(super) fn rebuild_options(flags: RebuildArguments, variables: &mut Variables) -> RebuildOptions {
    let process = ProcessOptions {
        kafka: KafkaConfig::from_variables(variables, &flags.kafka),
        mongo: MongoConfig::from_variables(variables),
        process: ProcessConfig::from_variables(variables),
        operations: flags.events.ops.iter().filter_map(|letter| Operation::from_letter(letter)).collect(),
        unknown_events: UnknownEvents::Skip,
        columns: outbox_columns(variables, flags.events.columns.as_deref(), flags.events.ids.as_deref()),
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

pub(super) fn handover_options(flags: &HandoverArguments, variables: &mut Variables) -> Result<HandoverOptions> {
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

pub(super) fn compare_options(flags: HandoverArguments, variables: &mut Variables) -> Result<CompareOptions> {
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

pub(super) fn generate_options(
    flags: &GenerateArguments,
    variables: &mut Variables,
    registry: &HandlerRegistry,
) -> Result<GenerateOptions> {
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
        watch: flags.watch.then(|| {
            let mongo = MongoConfig::from_variables(variables);
            Watched { mongo, collections: registry.collections() }
        }),
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

/// What there is to look at, with the collections of the handlers.
pub(super) fn plan_of(
    connector: &ConnectorArguments,
    kafka: &[String],
    variables: &mut Variables,
    registry: &HandlerRegistry,
) -> Result<InitPlan> {
    let plan = InitPlan::load(variables, connector.connector.as_deref(), &connector.sets, kafka)?;
    Ok(InitPlan { collections: registry.collections(), ..plan })
}

/// What concerns one topic must be told which.
pub(super) fn check_one_topic(kafka: &KafkaConfig, command: &str, variables: &mut Variables) {
    if kafka.topics().len() > 1 {
        variables.mistake(format!("KAFKA_TOPIC names several topics, and `evp {command}` looks at one: name that"));
    }
}

pub(super) fn dlq_task(flags: DlqArguments, variables: &mut Variables) -> DlqTask {
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

pub(super) fn chosen_letters(chosen: ChosenLetters, variables: &mut Variables) -> LetterFilter {
    let filter = letter_filter(chosen.filter);
    if filter.is_everything() && !chosen.all {
        variables
            .mistake("no dead letters are chosen: give their names, a filter such as --handler, or --all".to_owned());
    }
    filter
}

pub(super) fn letter_filter(flags: LetterArguments) -> LetterFilter {
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

pub(super) fn until(argument: Option<UntilArgument>) -> Until {
    match argument {
        Some(UntilArgument::CaughtUp) => Until::CaughtUp,
        None => Until::Stopped,
    }
}

pub(super) fn output(is_json: bool) -> Output {
    if is_json { Output::Json } else { Output::Text }
}
