//! The task that takes signals from a topic.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;

use crate::capture::CaptureOptions;
use crate::config::KafkaConfig;
use crate::kafka::signals::{SignalReader, TopicSignal};

/// Signals that may wait to be taken.
const SIGNALS_AHEAD_MAX: usize = 64;

/// Reads the topic from an offset on, or from where Debezium would go on, until the token is cancelled.
pub(super) fn start(
    options: &Arc<CaptureOptions>,
    next_offset: Option<i64>,
    token: CancellationToken,
) -> Receiver<TopicSignal> {
    let (sender, receiver) = channel(SIGNALS_AHEAD_MAX);
    let options = Arc::clone(options);
    // A thread of its own: it waits for the broker, and for the next look.
    tokio::task::spawn_blocking(move || {
        let Some(topic) = &options.settings.signals.topic else { return };
        let servers = topic.bootstrap_servers.clone().unwrap_or_else(|| options.kafka.bootstrap_servers.clone());
        let config = KafkaConfig { bootstrap_servers: servers, ..options.kafka.clone() };
        let mut reader = SignalReader::new(config, &topic.name, &topic.group_id, next_offset);
        let mut told: Option<String> = None;
        while !token.is_cancelled() {
            match reader.look() {
                Ok(signals) => {
                    told = None;
                    for signal in signals {
                        if sender.blocking_send(signal).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(
                            event = "signal_topic_unreadable",
                            topic = topic.name,
                            error = text,
                            "no signals are taken from the topic; the stream goes on"
                        );
                        told = Some(text);
                    }
                }
            }
            wait(&token, topic.interval);
        }
    });
    receiver
}

/// Sleeps, and wakes when there is nothing more to wait for.
fn wait(token: &CancellationToken, interval: std::time::Duration) {
    let step = std::time::Duration::from_millis(50);
    let mut left = interval;
    while !left.is_zero() && !token.is_cancelled() {
        std::thread::sleep(left.min(step));
        left = left.saturating_sub(step);
    }
}
