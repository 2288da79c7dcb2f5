//! What systemd is told of a service of `Type=notify`: ready, what it waits for, and that it stops.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Health;

/// Tells whoever has set `NOTIFY_SOCKET`, until `token` is cancelled; nobody has, outside of systemd.
pub(crate) fn keep_told(health: Arc<Health>, token: CancellationToken) -> Option<JoinHandle<()>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let telling = tokio::spawn(async move {
        let mut was_ready = false;
        loop {
            let obstacle = health.obstacle();
            let status = obstacle.as_deref().unwrap_or("ready");
            // A service that is ready once stays so to systemd; the status says more.
            let ready = (obstacle.is_none() && !was_ready).then_some(NotifyState::Ready);
            was_ready |= ready.is_some();
            tell([Some(NotifyState::Status(status)), ready]);
            if token.run_until_cancelled(health.changed()).await.is_none() {
                break;
            }
        }
        tell([Some(NotifyState::Status("draining")), Some(NotifyState::Stopping)]);
    });
    Some(telling)
}

/// A manager that does not listen has no use for it.
fn tell(states: [Option<NotifyState<'_>>; 2]) {
    let states: Vec<_> = states.into_iter().flatten().collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(event = "systemd_not_told", %error, "NOTIFY_SOCKET does not take the state");
    }
}
