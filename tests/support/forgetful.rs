//! A way to a broker that does not know some topics for a while, as one may that has just started.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::frames::{read_frame, write_frame};

/// Requests of one kind, by its number, and of one client.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) kind: i16,
    pub(crate) client: &'static str,
}

/// Where a request says who asks: behind its kind, its version and its number.
const CLIENT_AT: usize = 8;

/// Passes requests on, and has some of them answered as if topics were not there for as long as it is told to.
#[derive(Clone)]
pub(crate) struct Forgetful(Arc<Inner>);

struct Inner {
    asked: Asked,
    /// What the names of the topics have in common.
    name: Vec<u8>,
    /// As long, and the name of no topic.
    other: Vec<u8>,
    left: AtomicU32,
    told: AtomicU32,
}

/// Such requests of one connection that are not answered yet, by number, and whether they name one of the topics.
type Open = Arc<Mutex<HashMap<i32, bool>>>;

impl Forgetful {
    /// Stands between clients that connect to `from` and the broker at `to`.
    pub(crate) async fn between(from: &str, to: &str, asked: Asked, name: &str) -> Self {
        let other = format!("x{}", &name[1..]).into_bytes();
        let name = name.as_bytes().to_vec();
        assert_ne!(name, other);
        let inner = Inner { asked, name, other, left: AtomicU32::new(0), told: AtomicU32::new(0) };
        let forgetful = Self(Arc::new(inner));
        let (listener, to, passing) = (TcpListener::bind(from).await.unwrap(), to.to_owned(), forgetful.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let open = Open::default();
                tokio::spawn(passing.clone().pass_requests(near_read, far_write, Arc::clone(&open)));
                tokio::spawn(passing.clone().pass_answers(far_read, near_write, open));
            }
        });
        forgetful
    }

    /// Leaves the topics out of so many answers from now on.
    pub(crate) fn forget(&self, answers: u32) {
        self.0.left.store(answers, Ordering::SeqCst);
        self.0.told.store(0, Ordering::SeqCst);
    }

    /// How many answers were without the topics.
    pub(crate) fn told(&self) -> u32 {
        self.0.told.load(Ordering::SeqCst)
    }

    fn takes_one(&self) -> bool {
        let taken = self.0.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.0.told.fetch_add(u32::from(taken), Ordering::SeqCst);
        taken
    }

    /// A request that names a topic gets another name, so that the broker itself says that there is none.
    async fn pass_requests(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, open: Open) {
        while let Some(mut request) = read_frame(&mut from).await {
            if self.is_asked(&request) {
                let is_by_name = holds(&request, &self.0.name);
                let is_forgotten = is_by_name && self.takes_one();
                if is_forgotten {
                    replace(&mut request, &self.0.name, &self.0.other);
                }
                if is_forgotten || !is_by_name {
                    open.lock().await.insert(number_at(&request, 4), is_by_name);
                }
            }
            if write_frame(&mut to, &request).await.is_none() {
                return;
            }
        }
    }

    async fn pass_answers(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, open: Open) {
        while let Some(mut answer) = read_frame(&mut from).await {
            match open.lock().await.remove(&number_at(&answer, 0)) {
                Some(true) => replace(&mut answer, &self.0.other, &self.0.name),
                Some(false) if holds(&answer, &self.0.name) && self.takes_one() => {
                    replace(&mut answer, &self.0.name, &self.0.other);
                }
                _ => {}
            }
            if write_frame(&mut to, &answer).await.is_none() {
                return;
            }
        }
    }

    fn is_asked(&self, request: &[u8]) -> bool {
        let Asked { kind, client } = self.0.asked;
        request.starts_with(&kind.to_be_bytes()) && request[CLIENT_AT + 2..].starts_with(client.as_bytes())
    }
}

fn number_at(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

fn holds(frame: &[u8], name: &[u8]) -> bool {
    frame.windows(name.len()).any(|window| window == name)
}

fn replace(frame: &mut [u8], name: &[u8], other: &[u8]) {
    let mut at = 0;
    while let Some(found) = frame[at..].windows(name.len()).position(|window| window == name) {
        frame[at + found..at + found + name.len()].copy_from_slice(other);
        at += found + name.len();
    }
}
