//! When a long command ends: at a signal, or once it has caught up.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;

/// What ends a command that could run for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only a signal.
    Stopped,
    /// Reaching the end as it was at start, or a signal.
    CaughtUp,
    /// Having written what was committed before this position, or a signal.
    Reached(Lsn),
}

/// Cancels `token` at the first SIGINT, SIGTERM or SIGHUP, so that work in flight can drain; the second ends the process.
pub fn listen(token: CancellationToken) -> Result<()> {
    let failed = |error| Error::with_source(ErrorKind::System, "cannot listen for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            }
        };
        let name = next().await;
        tracing::info!(event = "shutdown_requested", signal = name, "draining; a second signal stops at once");
        token.cancel();
        let name = next().await;
        tracing::warn!(event = "shutdown_forced", signal = name, "stopping at once; the next start resumes exactly");
        // What is in flight is neither acknowledged nor committed, so the next start does it again.
        std::process::exit(1);
    });
    Ok(())
}
