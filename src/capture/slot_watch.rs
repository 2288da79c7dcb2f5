//! How much log the slot holds back. PostgreSQL is asked, because a stream that nobody reads on tells nothing.

use std::convert::Infallible;
use std::time::Duration;

use tokio_postgres::Client;

use super::CaptureOptions;
use super::meter::Meter;
use crate::postgres;

const INTERVAL: Duration = Duration::from_secs(10);

/// Publishes the slot's log for as long as the session lasts; a server that is lost shows in the stream.
pub(super) async fn watch_slot(catalog: &Client, options: &CaptureOptions, meter: &Meter) -> Infallible {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        match postgres::slot_log(catalog, &options.postgres, &options.settings.slot_name).await {
            Ok(log) => meter.slot_log(log.unwrap_or_default()),
            Err(error) => tracing::debug!(event = "slot_not_watched", %error, "asked again later"),
        }
    }
}
