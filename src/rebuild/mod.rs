//! `evp rebuild`: makes a collection anew from the topic, beside the one that is there, and puts it in its place.
//!
//! What processing has decided is not decided again: [`replay`] applies up to the group's committed offsets what claims say
//! was applied. [`swap`] then asks the members to stop between two batches, reads the rest, and renames. That the members
//! go on with the right collection at the right offsets rests on `process/swaps.rs` and is told in `docs/guards.md`.

mod compare;
mod decide;
mod differences;
mod job;
mod replay;
mod report;
mod shadow;
mod swap;
mod topics;

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use mongodb::Database;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::look::blocking;
use crate::mongo::{self, collection_ids};
use crate::process::{CollectionSpec, HandlerRegistry, ProcessOptions};
use job::{Job, missing};
use report::Report;

/// Everything that [`run`] needs to know.
#[derive(Debug, Clone)]
pub struct RebuildOptions {
    /// How the topic is processed.
    pub process: ProcessOptions,
    /// The collection that is rebuilt.
    pub collection: String,
    /// What is done with it.
    pub action: RebuildAction,
    /// Whether the result is printed as JSON.
    pub is_json: bool,
}

/// What is done with a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildAction {
    /// It is made anew.
    Rebuild(RebuildChoices),
    /// What is left of rebuilds that were killed is dropped.
    Discard,
    /// The old collections that were kept are dropped; asks unless it is confirmed.
    DropOld {
        /// Nobody is asked.
        is_confirmed: bool,
    },
}

/// How a collection is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildChoices {
    /// Nothing is replaced.
    pub is_dry_run: bool,
    /// Compare only so many documents.
    pub sample: Option<u32>,
    /// Replace the collection although documents or effects are not in the new one.
    pub accepts_loss: bool,
    /// How long members may take until they have stopped, in seconds.
    pub wait_seconds: u64,
}

/// Does it, and prints what was done.
pub async fn run(options: &RebuildOptions, registry: HandlerRegistry, token: &CancellationToken) -> Result<()> {
    let spec = known(&registry, &options.collection)?;
    let (client, address) = mongo::client(&options.process.mongo).await?;
    let database = client.database(&options.process.mongo.database);
    let outcome = act(options, registry, spec, (&database, &address), token).await;
    mongo::close(client).await;
    outcome
}

/// The collection as handlers declare it.
fn known(registry: &HandlerRegistry, name: &str) -> Result<CollectionSpec> {
    let specs = registry.collections();
    let names: Vec<String> = specs.iter().map(|spec| spec.name().to_string()).collect();
    specs.into_iter().find(|spec| spec.name().as_str() == name).ok_or_else(|| {
        Error::configuration(format!("no handler declares a collection `{name}`; there are {}", names.join(", ")))
    })
}

async fn act(
    options: &RebuildOptions,
    registry: HandlerRegistry,
    spec: CollectionSpec,
    (database, address): (&Database, &str),
    token: &CancellationToken,
) -> Result<()> {
    check_server(database, address).await?;
    let name = options.collection.as_str();
    match options.action {
        RebuildAction::Discard => {
            let lease = shadow::Lease::take(database, name, token.clone()).await?;
            let (dropped, _) = shadow::clean(database, name).await?;
            lease.give_back().await?;
            report::print_dropped(&dropped, options.is_json);
            Ok(())
        }
        RebuildAction::DropOld { is_confirmed } => {
            let mut dropped = shadow::named(database, &shadow::kept_prefix(name)).await?;
            let listed = dropped.clone();
            if !dropped.is_empty() && !is_confirmed && !blocking("asking", move || ask(&listed)).await? {
                dropped.clear();
            }
            shadow::drop_all(database, &dropped).await?;
            report::print_dropped(&dropped, options.is_json);
            Ok(())
        }
        RebuildAction::Rebuild(choices) => {
            if !collection_ids(database).await?.contains_key(name) {
                return Err(missing(database, name));
            }
            let report = rebuild(options, choices, registry, spec, (database, address), token).await?;
            if options.is_json {
                report.print_json()
            } else {
                report.print_text()
            }
            Ok(())
        }
    }
}

async fn rebuild(
    options: &RebuildOptions,
    choices: RebuildChoices,
    registry: HandlerRegistry,
    spec: CollectionSpec,
    (database, address): (&Database, &str),
    token: &CancellationToken,
) -> Result<Report> {
    // Both a signal and the loss of the right to go on end it.
    let stop = token.child_token();
    let lease = Arc::new(shadow::Lease::take(database, &options.collection, stop.clone()).await?);
    let outcome = match Job::begin(options, registry, spec, (database, address), &lease, stop).await {
        Ok(mut job) => {
            let outcome = job.run(choices).await;
            let ended = job.end().await;
            outcome.and_then(|report| ended.map(|()| report))
        }
        Err(error) => Err(error),
    };
    lease.give_back().await?;
    outcome
}

/// Sharded collections are renamed and identified by other rules.
async fn check_server(database: &Database, address: &str) -> Result<()> {
    let hello = database.run_command(bson::doc! { "hello": 1 }).await;
    let hello = hello.map_err(|error| mongo::client_error("connecting", address, error))?;
    if hello.get_str("msg").is_ok_and(|kind| kind == "isdbgrid") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "`evp rebuild` does not work through mongos: a sharded collection cannot be put in another one's place this way",
        ));
    }
    Ok(())
}

/// Asks whoever sits at the terminal.
fn ask(names: &[String]) -> Result<bool> {
    let names = names.join(", ");
    if !std::io::stdin().is_terminal() {
        return Err(Error::configuration(format!(
            "{names} would be dropped, and nobody is there to be asked: give --yes"
        )));
    }
    let _ = write!(std::io::stderr(), "Drop {names} for good? [y/N] ");
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    Ok(is_read && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
