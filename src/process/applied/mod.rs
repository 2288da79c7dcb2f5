//! Read your own writes: is everything up to a commit, or an event, in MongoDB?
//!
//! Whoever asks waits beside the work: the dispatcher keeps the questions apart, and looks for their answers while there are any.

mod desk;
mod evidence;
mod http;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::lsn::Lsn;

pub(super) use desk::{Desk, Turn};
pub(crate) use http::routes;

/// Questions that wait at the same time.
const QUESTIONS_MAX: usize = 1_000;
/// How soon somebody is looked for again who can answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Dead letters that an answer names.
const NAMED_MAX: usize = 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is everything that was committed before this position applied?
    Commit {
        /// What `pg_current_wal_insert_lsn()` says after the commit.
        lsn: Lsn,
        /// The cluster's system identifier; with it, positions of another cluster are never taken for those of this one.
        system: Option<u64>,
    },
    /// Is this event applied?
    Event(Uuid),
}

/// What is known when the time is over, or sooner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is in MongoDB, on a majority. What became a dead letter is not, and is named.
    Applied(SetAside),
    /// The event is a dead letter of these handlers.
    DeadLetter(Vec<String>),
    /// It is not, as far as is known.
    NotYet(Vec<Reach>),
    /// Nobody can answer.
    Unavailable(&'static str),
}

/// Events that this process has given up instead of applying them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetAside {
    /// How many since it started.
    pub count: u64,
    /// The last of them that were committed before what was asked for.
    pub latest: Vec<(Uuid, Option<Lsn>)>,
}

/// How far a topic is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The topic.
    pub topic: String,
    /// Up to where capture has written everything, if that is known.
    pub captured: Option<Lsn>,
    /// Its partitions; none before the first look.
    pub partitions: Vec<PartitionReach>,
    /// Why nothing is known, if that is so.
    pub problem: Option<String>,
}

/// How far a partition is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionReach {
    /// Its number.
    pub partition: i32,
    /// One past the last record of those that are all applied or dead letters.
    pub decided_end: Option<i64>,
    /// One past its last record.
    pub end: i64,
    /// The last commit that it has passed, as far as this process has read it.
    pub passed: Option<Lsn>,
    /// Whether this process reads it.
    pub is_own: bool,
}

/// Where questions are asked of a running [`run`](super::run) that has the same [`Questions`] among its options.
#[derive(Debug, Clone, Default)]
pub struct Questions(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    /// By topic; all of them have to be there.
    desks: Mutex<HashMap<String, Option<OpenDesk>>>,
    waiting: AtomicUsize,
}

/// Where the questions about a topic go.
#[derive(Debug, Clone)]
struct OpenDesk {
    asked: mpsc::UnboundedSender<Asked>,
    reach: Arc<Mutex<Reach>>,
}

/// A question at a desk. Whoever asked may be gone.
#[derive(Debug)]
struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// Counts a question as long as it waits.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Questions {
    /// Waits for the answer, `timeout` at the longest.
    pub async fn ask(&self, question: Question, timeout: Duration) -> Answer {
        let place = Place(&self.0.waiting);
        if place.0.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
            return Answer::Unavailable("too many questions wait; ask again later");
        }
        let answered = async {
            loop {
                match self.ask_once(question).await {
                    // A process that starts, or begins anew, answers when it is there.
                    Answer::Unavailable(_) => tokio::time::sleep(RETRY_INTERVAL).await,
                    answer => return answer,
                }
            }
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(answer) => answer,
            Err(_elapsed) => match self.desks() {
                Some(desks) => Answer::NotYet(desks.iter().map(|desk| desk.reach.lock().clone()).collect()),
                None => Answer::Unavailable("the process is starting, or has lost a server; ask again"),
            },
        }
    }

    /// The desks of all topics.
    fn desks(&self) -> Option<Vec<OpenDesk>> {
        let desks: Option<Vec<OpenDesk>> = self.0.desks.lock().values().cloned().collect();
        desks.filter(|desks| !desks.is_empty())
    }

    async fn ask_once(&self, question: Question) -> Answer {
        let Some(desks) = self.desks() else { return Answer::Unavailable("nobody is there yet") };
        let answers = desks.iter().map(|desk| desk.ask(question));
        match question {
            Question::Commit { .. } => all_of(join_all(answers).await),
            // One topic has it, and the others never will.
            Question::Event(_) => select_all(answers.map(Box::pin)).await.0,
        }
    }

    /// Topics that will be read. Before all of them are, nothing can be answered.
    pub(super) fn expect(&self, topics: &[&str]) {
        let mut desks = self.0.desks.lock();
        for topic in topics {
            desks.entry((*topic).to_owned()).or_default();
        }
    }

    fn open(&self, topic: &str, desk: OpenDesk) {
        self.0.desks.lock().insert(topic.to_owned(), Some(desk));
    }

    /// Nobody answers for the topic any more.
    fn close(&self, topic: &str) {
        self.0.desks.lock().insert(topic.to_owned(), None);
    }
}

impl OpenDesk {
    async fn ask(&self, question: Question) -> Answer {
        let (answer, answered) = oneshot::channel();
        let _ = self.asked.send(Asked { question, answer });
        answered.await.unwrap_or(Answer::Unavailable("the process stops, or begins anew; ask again"))
    }
}

/// What the desks of several topics say together.
fn all_of(answers: Vec<Answer>) -> Answer {
    let mut together = SetAside::default();
    for answer in answers {
        match answer {
            Answer::Applied(aside) => {
                together.count = together.count.saturating_add(aside.count);
                together.latest.extend(aside.latest);
            }
            other => return other,
        }
    }
    Answer::Applied(together)
}

/// The dead letters of this process, the last of which are named.
#[derive(Debug, Default)]
struct Letters {
    count: u64,
    latest: VecDeque<(Uuid, Option<Lsn>)>,
}

impl Letters {
    fn note(&mut self, event_id: Option<Uuid>, lsn: Option<Lsn>) {
        self.count = self.count.saturating_add(1);
        self.latest.extend(event_id.map(|event_id| (event_id, lsn)));
        if self.latest.len() > NAMED_MAX {
            self.latest.pop_front();
        }
    }

    /// Those that were committed before `lsn`, as far as that is known.
    fn before(&self, lsn: Lsn) -> SetAside {
        let is_before = |(_, committed): &&(Uuid, Option<Lsn>)| committed.is_none_or(|committed| committed < lsn);
        SetAside { count: self.count, latest: self.latest.iter().filter(is_before).copied().collect() }
    }
}
