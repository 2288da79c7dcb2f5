//! A way to a Kafka broker that takes its time, as one to another continent does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frames::{read_frame, write_frame};

/// How many requests of one connection have been without an answer at once, at the most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unanswered(Arc<AtomicUsize>);

impl Unanswered {
    pub(crate) fn most(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Passes every connection to `from` on to `to`, each request and each answer `delay` later, as long as the test lives.
pub(crate) async fn relay(from: &str, to: &str, delay: Duration) -> Unanswered {
    let (listener, to) = (TcpListener::bind(from).await.unwrap(), to.to_owned());
    let unanswered = Unanswered::default();
    let most = Arc::clone(&unanswered.0);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&to).await else { continue };
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let (most, asked) = (Arc::clone(&most), Arc::new(AtomicUsize::new(0)));
            let answered = Arc::clone(&asked);
            let ask = move || {
                most.fetch_max(asked.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            };
            let answer = move || {
                answered.fetch_sub(1, Ordering::SeqCst);
            };
            tokio::spawn(pass(near_read, far_write, delay, ask));
            tokio::spawn(pass(far_read, near_write, delay, answer));
        }
    });
    unanswered
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, passed: impl Fn()) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, frame)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if write_frame(&mut to, &frame).await.is_none() {
                return;
            }
        }
    });
    while let Some(frame) = read_frame(&mut from).await {
        passed();
        if sender.send((Instant::now() + delay, frame)).is_err() {
            return;
        }
    }
}
