//! The questions about one topic, and the looks that answer them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::evidence::{AwaitedCommit, Commit, EventState, Look, OwnPartition, Passage, event_state};
use super::{Answer, Asked, Letters, OpenDesk, PartitionReach, Question, Questions, Reach, SetAside};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::captured::{CapturedPositions, position_topic_of};
use crate::kafka::consumer::ConsumerHandle;
use crate::kafka::offsets::OffsetTracker;
use crate::mongo::Claims;
use crate::process::in_flight::InFlight;
use crate::process::tally::End;
use crate::process::waiting::after;

/// Between the beginnings of two looks while events are decided.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// The same while nothing is decided here: other members may, and capture may go on.
const QUIET_INTERVAL: Duration = Duration::from_millis(50);
/// After a look that has failed.
const FAILED_INTERVAL: Duration = Duration::from_millis(500);

/// What happens at the desk.
pub(in crate::process) struct Turn(Happening);

enum Happening {
    Asked(Option<Asked>),
    Looked(std::result::Result<Result<Look>, tokio::task::JoinError>),
    Due,
}

/// The questions about a topic that wait.
pub(in crate::process) struct Desk {
    questions: Questions,
    kafka: KafkaConfig,
    position_topic: Option<String>,
    asked: mpsc::UnboundedReceiver<Asked>,
    commits: Vec<(AwaitedCommit, oneshot::Sender<Answer>)>,
    events: HashMap<Uuid, Vec<oneshot::Sender<Answer>>>,
    passage: Passage,
    letters: Letters,
    reach: Arc<Mutex<Reach>>,
    /// Begun with the first question about a commit.
    captured: Option<CapturedPositions>,
    look: Option<JoinHandle<Result<Look>>>,
    /// When the last look began, and how long the next one waits if there is no news.
    began: Instant,
    interval: Duration,
    /// Something was asked or decided since then.
    has_news: bool,
}

impl Desk {
    /// Takes questions from now on, until it is dropped.
    pub(in crate::process) fn open(questions: Questions, kafka: &KafkaConfig, position_topic: Option<String>) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let reach = Arc::new(Mutex::new(Reach { topic: kafka.topic.clone(), ..Reach::default() }));
        questions.open(&kafka.topic, OpenDesk { asked: sender, reach: Arc::clone(&reach) });
        Self {
            questions,
            kafka: kafka.clone(),
            position_topic: position_topic.or_else(|| position_topic_of(&kafka.topic)),
            asked,
            commits: Vec::new(),
            events: HashMap::new(),
            passage: Passage::default(),
            letters: Letters::default(),
            reach,
            captured: None,
            look: None,
            began: Instant::now(),
            interval: QUIET_INTERVAL,
            has_news: false,
        }
    }

    /// An event is decided.
    pub(in crate::process) fn decided(&mut self, event: &InFlight, end: End) {
        let commit = Commit::of(event.position.order).filter(|_| !event.position.is_replay);
        if let Some(commit) = commit {
            self.passage.decided(event.partition, event.position.offset, commit);
        }
        if end == End::DeadLettered {
            self.letters.note(event.claim.map(|claim| claim.event_id), commit.map(|commit| commit.lsn));
        }
        self.has_news = true;
        // What handlers that were not asked now have left undone is in its claim alone.
        if !self.events.is_empty()
            && end == End::Applied
            && !event.is_part
            && let Some(claim) = event.claim
        {
            let answers = self.events.remove(&claim.event_id).into_iter().flatten();
            answers.for_each(|answer| drop(answer.send(Answer::Applied(SetAside::default()))));
        }
    }

    /// Partitions are read by somebody else from now on.
    pub(in crate::process) fn revoked(&mut self, partitions: &[i32]) {
        self.passage.forget(partitions);
    }

    /// Notes how far the own partitions are.
    pub(in crate::process) fn advance(&mut self, tracker: &OffsetTracker) {
        self.own(tracker);
    }

    fn own(&mut self, tracker: &OffsetTracker) -> std::collections::BTreeMap<i32, OwnPartition> {
        let own = tracker.partitions().map(|partition| {
            let end = tracker.decided_end(partition);
            (partition, OwnPartition { end, passed: self.passage.advance(partition, end) })
        });
        own.collect()
    }

    fn due(&self) -> Instant {
        let interval = if self.has_news { self.interval.min(LOOK_INTERVAL) } else { self.interval };
        // After a failure news is no reason to hurry.
        let interval = if self.interval == FAILED_INTERVAL { FAILED_INTERVAL } else { interval };
        after(self.began, interval)
    }

    fn is_idle(&self) -> bool {
        self.commits.is_empty() && self.events.is_empty()
    }

    /// Waits until there is something to do.
    pub(in crate::process) async fn turn(&mut self) -> Turn {
        let (is_looking, is_idle, due) = (self.look.is_some(), self.is_idle(), self.due());
        let looking = async {
            match self.look.as_mut() {
                Some(look) => look.await,
                None => std::future::pending().await,
            }
        };
        Turn(tokio::select! {
            asked = self.asked.recv() => Happening::Asked(asked),
            look = looking, if is_looking => Happening::Looked(look),
            () = tokio::time::sleep_until(due.into()), if !is_looking && !is_idle => Happening::Due,
        })
    }

    /// Does what there is to do.
    pub(in crate::process) fn take(
        &mut self,
        Turn(happening): Turn,
        tracker: &OffsetTracker,
        consumer: &ConsumerHandle,
        (claims, source): (&Arc<Claims>, i32),
    ) {
        match happening {
            Happening::Asked(asked) => {
                asked.into_iter().for_each(|asked| self.note(asked));
                while let Ok(asked) = self.asked.try_recv() {
                    self.note(asked);
                }
            }
            Happening::Looked(look) => {
                self.look = None;
                let look = look.unwrap_or_else(|error| {
                    Err(Error::with_source(ErrorKind::System, "looking at the topic panicked", error))
                });
                match look {
                    Ok(look) => self.answer(&look, source),
                    Err(error) => self.not_seen(&error),
                }
            }
            Happening::Due => {}
        }
        let now = Instant::now();
        if self.is_idle() || self.look.is_some() || self.due() > now {
            return;
        }
        self.forget_gone();
        if !self.is_idle() {
            (self.began, self.has_news) = (now, false);
            if consumer.is_unreachable() {
                self.not_seen(&Error::unavailable("Kafka does not answer"));
            } else {
                self.start_look(tracker, consumer, claims);
            }
        }
    }
}

impl Desk {
    fn note(&mut self, asked: Asked) {
        self.has_news = true;
        match asked.question {
            Question::Commit { lsn, system } => self.commits.push((AwaitedCommit::new(lsn, system), asked.answer)),
            Question::Event(event_id) => self.events.entry(event_id).or_default().push(asked.answer),
        }
    }

    /// Whoever asked may have given up.
    fn forget_gone(&mut self) {
        self.commits.retain(|(_, answer)| !answer.is_closed());
        self.events.retain(|_, answers| {
            answers.retain(|answer| !answer.is_closed());
            !answers.is_empty()
        });
    }

    /// Looks at everything in such an order that what is seen later covers what was seen before.
    fn start_look(&mut self, tracker: &OffsetTracker, consumer: &ConsumerHandle, claims: &Arc<Claims>) {
        let own = self.own(tracker);
        if !self.commits.is_empty() {
            self.follow_capture();
        }
        let captured = self.captured.as_ref().and_then(CapturedPositions::lowest);
        let captured = captured.map(|captured| (captured, claims.epochs.place(captured.system)));
        let (ends, claims) = (consumer.ask_for_ends(), Arc::clone(claims));
        let event_ids: Vec<Uuid> = self.events.keys().copied().collect();
        self.look = Some(tokio::spawn(async move {
            let interrupted = |error| Error::with_source(ErrorKind::System, "looking at the topic panicked", error);
            let ends = ends.await.map_err(interrupted)??;
            Ok(Look { own, captured, ends, claims: claims.states(&event_ids).await? })
        }));
    }

    fn follow_capture(&mut self) {
        if let (None, Some(topic)) = (&self.captured, &self.position_topic) {
            match CapturedPositions::follow(&self.kafka, topic) {
                Ok(captured) => self.captured = Some(captured),
                Err(error) => tracing::debug!(event = "captured_position_unknown", topic, %error),
            }
        }
    }

    fn answer(&mut self, look: &Look, source: i32) {
        self.interval = QUIET_INTERVAL;
        self.publish(look);
        for (mut commit, answer) in std::mem::take(&mut self.commits) {
            if commit.is_decided(look) {
                let _ = answer.send(Answer::Applied(self.letters.before(commit.lsn())));
            } else {
                self.commits.push((commit, answer));
            }
        }
        let events: Vec<Uuid> =
            self.events.keys().copied().filter(|event_id| look.claims.contains_key(event_id)).collect();
        for event_id in events {
            let answer = match event_state(look, event_id, source) {
                EventState::Open => continue,
                EventState::Applied => Answer::Applied(SetAside::default()),
                EventState::DeadLetter(handlers) => Answer::DeadLetter(handlers),
            };
            let waiting = self.events.remove(&event_id).into_iter().flatten();
            waiting.for_each(|waiting| drop(waiting.send(answer.clone())));
        }
    }

    /// Why a question about a commit may wait for a quiet partition in vain.
    fn captured_problem(&self, look: &Look) -> Option<String> {
        if look.captured.is_some() || self.commits.is_empty() {
            return None;
        }
        let unnamed = || {
            format!(
                "how far capture has written is not known: {} is not named <prefix>.<schema>.<table>; set POSITION_TOPIC",
                self.kafka.topic
            )
        };
        match (&self.captured, &self.position_topic) {
            (Some(captured), _) => captured.problem(),
            (None, None) => Some(unnamed()),
            (None, Some(_)) => None,
        }
    }

    fn publish(&self, look: &Look) {
        let partitions = look.ends.iter().map(|ends| {
            let own = look.own.get(&ends.partition);
            PartitionReach {
                partition: ends.partition,
                decided_end: look.decided_end(ends),
                end: ends.end,
                passed: own.and_then(|own| own.passed).map(|commit| commit.lsn),
                is_own: own.is_some(),
            }
        });
        *self.reach.lock() = Reach {
            topic: self.kafka.topic.clone(),
            captured: look.captured.map(|(captured, _)| captured.lsn),
            partitions: partitions.collect(),
            problem: self.captured_problem(look),
        };
    }

    fn not_seen(&mut self, error: &Error) {
        self.interval = FAILED_INTERVAL;
        self.reach.lock().problem = Some(error.to_string());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.questions.close(&self.kafka.topic);
        if let Some(look) = &self.look {
            look.abort();
        }
    }
}
