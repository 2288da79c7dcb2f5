//! A command with everything that it needs, and its way through the runtime to an exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::capture::{self, CaptureOptions};
use crate::dead_letters::{self, DlqAction, DlqOptions, LetterFilter};
use crate::doctor::{self, DoctorOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::generate::{self, GenerateOptions};
use crate::handover::{self, CompareOptions, HandoverOptions};
use crate::init::{self, InitPlan};
use crate::process::{self, HandlerRegistry, ProcessOptions};
use crate::rebuild::{self, RebuildOptions};
use crate::shutdown;
use crate::status::{self, StatusOptions};
use crate::telemetry::{self, Health};
use crate::top::{self, TopOptions};
use crate::trace::{self, TraceOptions};
use crate::verify::{self, VerifyOptions};

/// More threads than this do not make one stream faster, and each costs memory.
const WORKER_THREADS_MAX: usize = 4;
/// Tasks that outlive the command, such as a blocking call to a server that is gone, are left behind after this.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

const FINDINGS: u8 = 3;

/// A command with everything that it needs, checked.
pub(super) enum Task {
    Capture(Box<CaptureOptions>),
    Process(Box<ProcessOptions>),
    Plan(Box<ProcessOptions>, Output),
    Init(Box<InitPlan>),
    Generate(Box<GenerateOptions>, Output),
    Verify(Box<VerifyOptions>, Output),
    Dlq(Box<DlqTask>, Output),
    Doctor(Box<DoctorOptions>),
    Status(Box<InitPlan>, StatusOptions),
    Top(Box<TopOptions>),
    Trace(Box<TraceOptions>),
    Rebuild(Box<RebuildOptions>),
    Handover(Box<HandoverOptions>),
    Compare(Box<CompareOptions>),
}

/// What is done with which dead letters.
pub(super) struct DlqTask {
    pub(super) options: DlqOptions,
    pub(super) filter: LetterFilter,
    pub(super) action: DlqAction,
}

/// How a result is printed.
#[derive(Clone, Copy)]
pub(super) enum Output {
    Text,
    Json,
}

/// Builds the runtime, runs the task on it, and takes it down in bounded time.
pub(super) fn execute(task: Task, registry: HandlerRegistry, http: Option<&str>) -> Result<ExitCode> {
    let mut builder = match task {
        // One stream of work: handing it from thread to thread would cost more than the work. Clients of Kafka bring
        // threads of their own.
        Task::Capture(_) | Task::Process(_) => tokio::runtime::Builder::new_current_thread(),
        Task::Init(_)
        | Task::Plan(..)
        | Task::Generate(..)
        | Task::Verify(..)
        | Task::Dlq(..)
        | Task::Doctor(_)
        | Task::Status(..)
        | Task::Top(_)
        | Task::Trace(_)
        | Task::Rebuild(_)
        | Task::Handover(_)
        | Task::Compare(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(WORKER_THREADS_MAX);
    let runtime = builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Error::with_source(ErrorKind::System, "cannot start the runtime", error))?;
    let outcome = runtime.block_on(supervised(task, registry, http));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    outcome
}

/// The task with what surrounds it: signals, health, metrics.
async fn supervised(task: Task, registry: HandlerRegistry, http: Option<&str>) -> Result<ExitCode> {
    let token = CancellationToken::new();
    shutdown::listen(token.clone())?;
    let health = Arc::new(Health::default());
    // Health is served while the command drains, and ends with it.
    let serving = CancellationToken::new();
    let telling = token.child_token();
    let is_service = matches!(task, Task::Capture(_) | Task::Process(_));
    let told = is_service.then(|| telemetry::keep_told(Arc::clone(&health), telling.clone())).flatten();
    if let Some(address) = http {
        let more = match &task {
            Task::Process(options) => process::routes(options.questions.clone()),
            _ => axum::Router::new(),
        };
        telemetry::serve(address, Arc::clone(&health), more, serving.clone()).await?;
    }
    let outcome = perform(task, registry, health, token).await;
    serving.cancel();
    telling.cancel();
    if let Some(told) = told {
        let _ = told.await;
    }
    outcome
}

async fn perform(
    task: Task,
    registry: HandlerRegistry,
    health: Arc<Health>,
    token: CancellationToken,
) -> Result<ExitCode> {
    match task {
        Task::Capture(options) => {
            capture::run(*options, health, token).await?;
        }
        Task::Process(options) => {
            process::run(*options, registry, health, token).await?;
        }
        Task::Plan(options, output) => {
            let is_json = matches!(output, Output::Json);
            let summary = process::plan(&options, registry, is_json, &token).await?;
            return Ok(judged(summary.dead_letters == 0));
        }
        Task::Init(plan) => match token.run_until_cancelled(init::run(&plan)).await {
            Some(outcome) => outcome?,
            None => {
                return Err(Error::new(ErrorKind::System, "stopped by a signal; run `evp init` again to complete it"));
            }
        },
        Task::Generate(options, output) => {
            let summary = generate::run(*options, token).await?;
            match output {
                Output::Text => generate::print_text(&summary),
                Output::Json => generate::print_json(&summary),
            }
            summary.check()?;
        }
        Task::Verify(options, output) => {
            let report = verify::run(&options, &token).await?;
            match output {
                Output::Text => report.print_text(),
                Output::Json => report.print_json(),
            }
            return Ok(judged(report.is_clean()));
        }
        Task::Doctor(options) => {
            let is_clean = doctor::run(&options, &token).await?;
            return Ok(judged(is_clean));
        }
        Task::Trace(options) => {
            let is_known = trace::run(&options, &registry, &token).await?;
            return Ok(judged(is_known));
        }
        Task::Rebuild(options) => rebuild::run(&options, registry, &token).await?,
        Task::Handover(options) => handover::run(&options, &token).await?,
        Task::Compare(options) => {
            let is_equal = handover::compare(*options, &token).await?;
            return Ok(judged(is_equal));
        }
        Task::Status(plan, options) => status::run(&plan, options, &token).await?,
        Task::Top(options) => top::run(&options, &token).await?,
        Task::Dlq(task, output) => {
            let is_json = matches!(output, Output::Json);
            let is_clean = dead_letters::run(&task.options, &task.filter, &task.action, is_json, &token).await?;
            return Ok(judged(is_clean));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code of a command that looks for something amiss.
fn judged(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) }
}
