//! Status updates to PostgreSQL, from a task of their own that no back-pressure can block.
//!
//! The server drops a connection from which it hears nothing for `wal_sender_timeout`, however busy we are
//! and however long Kafka stalls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::confirmation::Confirmed;
use crate::error::Result;
use crate::postgres::ReplicationWriter;

/// A shorter silence is no reason to connect anew.
const SILENCE_MIN: Duration = Duration::from_secs(5);

/// For a server with `wal_sender_timeout = 0`, whose operator wants connections to be kept.
const SILENCE_WITHOUT_LIMIT: Duration = Duration::from_secs(600);

/// How often to report: the connector's wish, but three times within the server's patience.
pub(super) fn status_interval(wish: Duration, wal_sender_timeout: Option<Duration>) -> Duration {
    let patience = wal_sender_timeout.map_or(Duration::MAX, |timeout| timeout / 3);
    wish.min(patience).max(Duration::from_millis(10))
}

/// How long the server may say nothing, though each status update asks it to answer.
///
/// While it skips a large transaction of other tables it reads our updates only once in half its own patience
/// (`WalSndUpdateProgress` in walsender.c), and without a time limit of its own not until the transaction ends.
pub(super) fn silence_max(status_interval: Duration, wal_sender_timeout: Option<Duration>) -> Duration {
    let patience = wal_sender_timeout.unwrap_or(SILENCE_WITHOUT_LIMIT);
    patience.max(status_interval.saturating_mul(4)).max(SILENCE_MIN)
}

/// Reports until `token` is cancelled, then once more, and ends the stream.
pub(super) async fn run(
    mut writer: ReplicationWriter,
    acknowledgements: Arc<Acknowledgements>,
    confirmed: Arc<Confirmed>,
    interval: Duration,
    token: CancellationToken,
) -> Result<()> {
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // On the clock an answer is asked for: it tells an idle slot how far the log is, and us that the server lives.
        let is_reply_requested = tokio::select! {
            () = token.cancelled() => break,
            _ = ticker.tick() => true,
            () = confirmed.changed.notified() => false,
        };
        let (received, _) = acknowledgements.positions();
        writer.send_status(received, confirmed.get(), is_reply_requested).await?;
    }
    let (received, _) = acknowledgements.positions();
    writer.send_status(received, confirmed.get(), false).await?;
    writer.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_hears_from_us_three_times_within_its_patience() {
        let wish = Duration::from_secs(10);
        assert_eq!(status_interval(wish, Some(Duration::from_secs(60))), wish);
        assert_eq!(status_interval(wish, Some(Duration::from_secs(3))), Duration::from_secs(1));
        assert_eq!(status_interval(wish, None), wish, "a server without a timeout never asks");
    }

    #[test]
    fn the_server_may_be_silent_for_as_long_as_it_would_wait_for_us() {
        let seconds = Duration::from_secs;
        assert_eq!(silence_max(seconds(1), Some(seconds(60))), seconds(60));
        assert_eq!(silence_max(seconds(10), Some(seconds(30))), seconds(40), "four updates have gone unanswered");
        assert_eq!(silence_max(seconds(1), Some(seconds(1))), seconds(5));
        assert!(silence_max(seconds(10), None) > seconds(60));
    }
}
