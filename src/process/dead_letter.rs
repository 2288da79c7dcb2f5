//! Events that evp gives up, in a topic of their own, with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::in_flight::{Failure, InFlight};
use crate::config::KafkaConfig;
use crate::dead_letters::{Cause, dead_letter_topic};
use crate::error::Result;
use crate::kafka::admin::create_kept_topic;
use crate::kafka::letters::{Letter, LetterProducer, NotTaken, Repetition};
use crate::telemetry::Health;

/// Dead letters that Kafka has not taken for so long are told of, while they are still tried.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes to the dead-letter topic; connects at the first dead letter.
pub(crate) struct DeadLetters {
    config: KafkaConfig,
    topic: String,
    producer: OnceCell<LetterProducer>,
    health: Arc<Health>,
    /// Whether a letter is refused that is still to be tried again.
    is_refused: AtomicBool,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeadLetters").field(&self.topic).finish()
    }
}

impl DeadLetters {
    pub(crate) fn new(config: &KafkaConfig, health: Arc<Health>) -> Self {
        Self {
            config: config.clone(),
            topic: dead_letter_topic(&config.topic),
            producer: OnceCell::new(),
            health,
            is_refused: AtomicBool::new(false),
        }
    }

    /// Writes one dead letter for each failure; says of each event whether Kafka has all of its letters safe.
    ///
    /// An event that Kafka refuses is in neither place, so its offset must not be committed.
    pub(crate) async fn write(&self, events: &[(&InFlight, Vec<Failure>)]) -> Result<Vec<bool>> {
        let producer = self.producer.get_or_try_init(async || self.open().await).await?;
        let written = events.iter().map(|(event, failures)| async {
            let letters = failures.iter().map(|failure| self.write_one(producer, event, failure));
            try_join_all(letters).await.map_err(|error| self.refused(event, error))
        });
        let written = self.patiently(join_all(written)).await;
        self.tell(events, &written);
        if written.iter().filter_map(|written| written.as_ref().err()).any(NotTaken::may_miss_topic) {
            self.create_topic().await;
        }
        Ok(written.iter().map(std::result::Result::is_ok).collect())
    }

    /// Not ready as long as a letter is refused; that others are taken meanwhile changes nothing.
    fn tell(&self, events: &[(&InFlight, Vec<Failure>)], written: &[Result<Vec<()>, NotTaken>]) {
        let is_retried = || events.iter().any(|(event, _)| event.was_refused());
        if let Some(error) = written.iter().find_map(|written| written.as_ref().err()) {
            let topic = &self.topic;
            self.is_refused.store(true, Ordering::Relaxed);
            self.health.set_dead_letter_obstacle(Some(format!(
                "topic `{topic}` does not take a dead letter: {error}; check that it exists, its rights and its limits"
            )));
        } else if !self.is_refused.load(Ordering::Relaxed) || is_retried() {
            self.is_refused.store(false, Ordering::Relaxed);
            self.health.set_dead_letter_obstacle(None);
        }
    }

    /// Letters that were refused may be another member's now; those that are not will be tried again.
    pub(crate) fn forget_refusals(&self) {
        if self.is_refused.swap(false, Ordering::Relaxed) {
            self.health.set_dead_letter_obstacle(None);
        }
    }

    /// Waits for Kafka, and says so when that takes long.
    async fn patiently<T>(&self, written: impl Future<Output = T>) -> T {
        let mut written = std::pin::pin!(written);
        if let Ok(written) = tokio::time::timeout(PATIENCE, &mut written).await {
            return written;
        }
        let (topic, seconds) = (&self.topic, PATIENCE.as_secs());
        self.health.set_dead_letter_obstacle(Some(format!("topic `{topic}` has taken no dead letter for {seconds} s")));
        written.await
    }

    /// Before the first record comes, for which a broker would make the topic, with a retention that forgets.
    async fn open(&self) -> Result<LetterProducer> {
        // A letter may be repeated: the one that comes first is taken for both.
        let producer = LetterProducer::new(&self.config, "evp-process-dead-letters", Repetition::Harmless)?;
        self.patiently(self.create_topic()).await;
        Ok(producer)
    }

    async fn write_one(&self, producer: &LetterProducer, event: &InFlight, failure: &Failure) -> Result<(), NotTaken> {
        let kept = event.record();
        let Some(record) = kept.chunk.record(kept.index) else { return Ok(()) };
        let letter = Letter { topic: &self.topic, partition: None, key: record.key(), value: record.value() };
        let reason = self.cause(event, failure).to_headers();
        let reason = reason.iter().map(|(name, value)| (&**name, Some(value.as_ref())));
        producer.send(letter, record.headers().chain(reason))?.acknowledged().await?;
        log(event, failure, &self.topic);
        metrics::counter!("evp_process_dead_letters_total", "kind" => failure.error.kind().name()).increment(1);
        Ok(())
    }

    fn refused(&self, event: &InFlight, error: NotTaken) -> NotTaken {
        metrics::counter!("evp_process_dead_letters_refused_total").increment(1);
        if event.dead_letter_refused() {
            tracing::error!(
                event = "dead_letter_refused", topic = self.topic, partition = event.partition,
                offset = event.position.offset, %error,
                "waiting until Kafka takes the dead letter; check the topic and its max.message.bytes"
            );
        }
        error
    }

    fn cause(&self, event: &InFlight, failure: &Failure) -> Cause {
        Cause {
            topic: self.config.topic.clone(),
            partition: Some(event.partition),
            offset: Some(event.position.offset),
            group: Some(self.config.group_id.clone()),
            stage: failure.stage.name().to_owned(),
            handler: failure.handler.clone(),
            attempts: Some(failure.attempts),
            kind: failure.error.kind().name().to_owned(),
            message: failure.message(),
        }
    }

    /// Brokers that do not create topics by themselves need to be asked, on a thread that may wait for the client to end.
    async fn create_topic(&self) {
        let (config, topic, runtime) = (self.config.clone(), self.topic.clone(), Handle::current());
        let created = tokio::task::spawn_blocking(move || runtime.block_on(create_kept_topic(&config, &topic))).await;
        tracing::debug!(event = "dead_letter_topic_created", ?created);
    }
}

fn log(event: &InFlight, failure: &Failure, topic: &str) {
    use super::in_flight::Stage;
    let (partition, offset, attempts) = (event.partition, event.position.offset, failure.attempts);
    let event_id = event.claim.map(|claim| claim.event_id.to_string());
    let handler = failure.handler.as_deref();
    let error = &failure.error;
    match (failure.stage, handler) {
        (Stage::Parse, _) => {
            tracing::warn!(event = "message_processing_failed", partition, offset, %error, topic, "not an event: now a dead letter");
        }
        (Stage::Handle, None) => {
            tracing::warn!(event = "no_handlers_found", partition, offset, %error, topic, "no handler: now a dead letter");
        }
        (Stage::Handle, _) => {
            tracing::warn!(event = "event_validation_failed", handler, partition, offset, %error, topic, "refused: now a dead letter");
        }
        (Stage::Park, _) => {
            tracing::warn!(event = "event_parked", handler, event_id, partition, offset, %error, topic, "behind a dead letter of its aggregate: now one, too");
        }
        (Stage::Apply, _) => {
            tracing::warn!(event = "handler_failed", handler, event_id, partition, offset, attempts, %error, topic, "not applied: now a dead letter");
        }
    }
}
