//! A projection file that changes while events are applied.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::text_of;
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
    /// The text that was looked at last.
    known: Arc<Mutex<Option<String>>>,
}

impl ProjectionFile {
    /// Reads the file; `program` has the handlers that may stay beside those of the file.
    pub fn load(path: PathBuf, program: HandlerRegistry) -> Result<Self> {
        let text = text_of(&path)?;
        let registry = program.with_projections(&path.display().to_string(), &text)?;
        let (current, known) = (Arc::new(watch::Sender::new(registry)), Arc::new(Mutex::new(Some(text))));
        Ok(Self { path, program, current, known })
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
            loop {
                let is_asked = tokio::select! {
                    asked = hang_up.recv() => asked.is_some(),
                    () = tokio::time::sleep(LOOK_INTERVAL) => false,
                };
                let text = file.text().await;
                // A file that is being replaced may be away for a moment.
                if !is_asked && (text.is_err() || text.as_ref().ok() == file.known.lock().as_ref()) {
                    continue;
                }
                file.take(text.as_deref());
                *file.known.lock() = text.ok();
            }
        }))
    }

    async fn text(&self) -> Result<String> {
        let path = self.path.clone();
        let interrupted = |error| Error::with_source(ErrorKind::System, "reading the projection file panicked", error);
        tokio::task::spawn_blocking(move || text_of(&path)).await.map_err(interrupted)?
    }

    fn take(&self, text: std::result::Result<&str, &Error>) {
        let file = self.path.display().to_string();
        let read = |text| self.program.with_projections(&file, text).map_err(|error| error.to_string());
        match text.map_err(ToString::to_string).and_then(read) {
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
    /// That it does not succeed has been told.
    is_told: bool,
}

impl Replacement {
    /// Of the handlers that the file has now.
    pub(in crate::process) fn of(file: Option<&ProjectionFile>) -> Self {
        Self { changes: file.map(|file| file.current.subscribe()), preparing: None, is_told: false }
    }

    /// New handlers, once the database knows since when each of them is there.
    pub(in crate::process) fn ready(&mut self, store: &Arc<Store>) -> Option<(HandlerRegistry, Generations)> {
        let changes = self.changes.as_mut()?;
        if let Some(preparing) = self.preparing.take_if(|preparing| preparing.is_finished()) {
            return match futures_util::FutureExt::now_or_never(preparing) {
                Some(Ok(Ok(prepared))) => {
                    self.is_told = false;
                    Some(prepared)
                }
                prepared => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        let error = prepared.and_then(std::result::Result::ok).and_then(Result::err);
                        let error = error.map(|error| error.to_string());
                        tracing::warn!(
                            event = "handlers_not_replaced",
                            error,
                            "those of before go on; it is tried again"
                        );
                    }
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
