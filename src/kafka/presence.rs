//! Whether the topic is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::identity::close_aside;
use super::tail::{Isolation, TailReader};
use crate::config::KafkaConfig;
use crate::error::{ErrorKind, Result};

/// How long a topic must be absent to count as such; a broker that starts does not know its topics at once.
const ABSENT_FOR: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Whether a topic that librdkafka misses is there: what it asked may have been a broker that starts. It tells a
/// missing topic only once, so somebody must be asked until there is an answer, or until told to stop.
pub(super) fn is_there(config: &KafkaConfig, stop: &AtomicBool) -> Result<bool> {
    let tail = TailReader::new(config, Isolation::Uncommitted)?;
    let is_there = ask(&tail, &config.topic, stop);
    close_aside(tail);
    is_there
}

fn ask(tail: &TailReader, topic: &String, stop: &AtomicBool) -> Result<bool> {
    let asked = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match tail.partition_counts([topic]) {
            Ok(counts) if counts.contains_key(topic) => return Ok(true),
            Ok(_) if asked.elapsed() >= ABSENT_FOR => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(event = "kafka_unavailable", %error, "whether the topic is there cannot be asked");
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(ASK_AGAIN);
    }
    Ok(true)
}
