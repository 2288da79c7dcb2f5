//! A projection file that changes while events are applied.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::mongo::{Generations, Store, generations};
use crate::process::HandlerRegistry;

/// How soon a changed file is noticed without SIGHUP.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A projection file that is read again when it has changed, or on SIGHUP.
#[derive(Debug, Clone)]
pub struct ProjectionFile {
    path: PathBuf,
    program: HandlerRegistry,
    current: Arc<watch::Sender<HandlerRegistry>>,
}

impl ProjectionFile {
    /// Reads the file; `program` has the handlers that may stay beside those of the file.
    pub fn load(path: PathBuf, program: HandlerRegistry) -> Result<Self> {
        let registry = program.with_projection_file(&path)?;
        Ok(Self { path, program, current: Arc::new(watch::Sender::new(registry)) })
    }

    /// The handlers of the last valid file.
    pub fn handlers(&self) -> HandlerRegistry {
        self.current.borrow().clone()
    }

    /// Follows the file until the handle is aborted.
    pub(in crate::process) fn follow(&self) -> Result<JoinHandle<()>> {
        let unavailable = |error| Error::with_source(ErrorKind::System, "SIGHUP cannot be listened to", error);
        let mut hang_up = signal(SignalKind::hangup()).map_err(unavailable)?;
        let file = self.clone();
        Ok(tokio::spawn(async move {
            let mut known = file.text().await.ok();
            loop {
                let is_asked = tokio::select! {
                    asked = hang_up.recv() => asked.is_some(),
                    () = tokio::time::sleep(LOOK_INTERVAL) => false,
                };
                let text = file.text().await;
                // A file that is being replaced may be away for a moment.
                if !is_asked && (text.is_err() || text.as_ref().ok() == known.as_ref()) {
                    continue;
                }
                file.take(text.as_deref());
                known = text.ok();
            }
        }))
    }

    async fn text(&self) -> std::result::Result<String, String> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn take(&self, text: std::result::Result<&str, &String>) {
        let file = self.path.display().to_string();
        let unreadable = |error: &String| Error::configuration(format!("{file}: cannot be read: {error}"));
        match text.map_err(unreadable).and_then(|text| self.program.with_projections(&file, text)) {
            Ok(registry) => {
                let handlers = registry.len();
                self.current.send_replace(registry);
                tracing::info!(event = "projections_read", file, handlers, "taken with the next batch");
            }
            Err(error) => {
                tracing::error!(event = "projections_refused", file, %error, "the handlers stay as they were");
            }
        }
    }
}

/// Handlers that are to take the place of others.
#[derive(Debug)]
pub(in crate::process) struct Replacement {
    changes: Option<watch::Receiver<HandlerRegistry>>,
    preparing: Option<JoinHandle<Result<(HandlerRegistry, Generations)>>>,
}

impl Replacement {
    /// Of the handlers that the file has now.
    pub(in crate::process) fn of(file: Option<&ProjectionFile>) -> Self {
        Self { changes: file.map(|file| file.current.subscribe()), preparing: None }
    }

    /// New handlers, once the database knows since when each of them is there.
    pub(in crate::process) fn ready(&mut self, store: &Arc<Store>) -> Option<(HandlerRegistry, Generations)> {
        let changes = self.changes.as_mut()?;
        if let Some(preparing) = self.preparing.take_if(|preparing| preparing.is_finished()) {
            return match futures_util::FutureExt::now_or_never(preparing) {
                Some(Ok(Ok(prepared))) => Some(prepared),
                prepared => {
                    tracing::debug!(event = "handlers_not_replaced", ?prepared, "tried again");
                    changes.mark_changed();
                    None
                }
            };
        }
        if self.preparing.is_none() && changes.has_changed().unwrap_or_default() {
            let (registry, store) = (changes.borrow_and_update().clone(), Arc::clone(store));
            self.preparing = Some(tokio::spawn(async move {
                let generations = generations(store.database(), &registry.names()).await?;
                Ok((registry, generations))
            }));
        }
        None
    }
}
