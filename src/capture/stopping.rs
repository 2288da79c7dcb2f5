//! How much time is left to a capture that was told to stop.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long the rest of an open transaction is waited for: Debezium could only repeat its first part.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the server may take to end the stream after we did.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// The time that everything has together from the moment on at which it was told.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    limit: Duration,
    told: Arc<OnceLock<Instant>>,
}

impl Stopping {
    pub(super) fn within(limit: Duration) -> Self {
        Self { limit, told: Arc::default() }
    }

    /// The same, whose time runs once `shutdown` is cancelled.
    pub(super) fn begun(&self, shutdown: CancellationToken) -> Self {
        let begun = Self::within(self.limit);
        let told = Arc::clone(&begun.told);
        tokio::spawn(async move {
            shutdown.cancelled().await;
            let _ = told.set(Instant::now());
        });
        begun
    }

    /// For the end of the open transaction.
    pub(super) fn commit_wait(&self) -> Duration {
        COMMIT_WAIT_MAX.min(self.limit / 4)
    }

    /// What is left to wait for Kafka, all of it if nobody has told.
    pub(super) fn for_kafka(&self) -> Duration {
        let gone = self.told.get().map(Instant::elapsed).unwrap_or_default();
        self.limit.saturating_sub(gone).saturating_sub(self.for_goodbye())
    }

    /// For the goodbye to PostgreSQL.
    pub(super) fn for_goodbye(&self) -> Duration {
        GOODBYE_MAX.min(self.limit / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_one_after_the_other_has_the_limit_together() {
        let long = Stopping::within(Duration::from_secs(30));
        assert_eq!(long.for_kafka() + long.for_goodbye(), Duration::from_secs(30));
        long.told.set(Instant::now().checked_sub(Duration::from_secs(20)).unwrap()).unwrap();
        assert!(long.for_kafka() <= Duration::from_secs(8), "{:?}", long.for_kafka());
        let short = Stopping::within(Duration::from_secs(1));
        assert!(short.commit_wait() + short.for_goodbye() < Duration::from_secs(1));
        short.told.set(Instant::now().checked_sub(Duration::from_secs(5)).unwrap()).unwrap();
        assert_eq!(short.for_kafka(), Duration::ZERO);
    }
}
