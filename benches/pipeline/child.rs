//! A child process with its log, every line stamped when it arrives.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::usage;

const POLL_INTERVAL: Duration = Duration::from_millis(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Lines of the log that an error message quotes.
const QUOTED_LINES: usize = 8;

type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A running process; dropping it kills it.
pub(crate) struct Running {
    name: String,
    child: Child,
    pub(crate) spawned_at: Instant,
    log: Lines,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a command and reads its log from stderr; stdout goes to `sink`, if one is given.
    pub(crate) fn spawn(name: &str, mut command: Command, sink: Option<Sink>) -> Result<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(if sink.is_some() { Stdio::piped() } else { Stdio::null() });
        let spawned_at = Instant::now();
        let mut child = command.spawn().map_err(|error| {
            format!("{name} cannot be started as {}: {error}", command.get_program().to_string_lossy())
        })?;
        let log = Lines::default();
        let reader = child.stderr.take().map(|pipe| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), line));
                }
            })
        });
        if let (Some(mut pipe), Some(mut sink)) = (child.stdout.take(), sink) {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    sink(buffer.get(..count).unwrap_or_default());
                }
            });
        }
        Ok(Self { name: name.to_owned(), child, spawned_at, log, reader })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended; it is not reaped, so that its figures can still be read.
    pub(crate) fn has_ended(&self) -> bool {
        usage::has_ended(self.id())
    }

    /// When the log line of an event arrived, and what it says.
    pub(crate) fn event(&self, event: &str) -> Option<(Instant, Value)> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find_map(|(at, line)| {
            let value: Value = serde_json::from_str(line).ok()?;
            (value.get("event")?.as_str()? == event).then_some((*at, value))
        })
    }

    /// Waits for the log line of an event.
    pub(crate) async fn wait_for_event(&self, event: &str, limit: Duration) -> Result<(Instant, Value)> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = self.event(event) {
                return Ok(found);
            }
            if self.has_ended() {
                return Err(format!("{} ended before `{event}`{}", self.name, self.last_words()).into());
            }
            if Instant::now() >= deadline {
                return Err(format!("{}: no `{event}` within {limit:?}{}", self.name, self.last_words()).into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until it has ended, without reaping it.
    pub(crate) async fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return Err(format!("{} still runs after {limit:?}{}", self.name, self.last_words()).into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Reaps it; fails unless it ended well.
    pub(crate) fn reap(mut self) -> Result<()> {
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if status.success() {
            return Ok(());
        }
        Err(format!("{} ended with {status}{}", self.name, self.last_words()).into())
    }

    /// Sends SIGTERM, waits for the drain, and fails unless it ended well.
    pub(crate) async fn stop(self) -> Result<()> {
        self.terminate()?;
        self.wait_for_end(STOP_TIMEOUT).await?;
        self.reap()
    }

    /// Sends SIGTERM, and reaps it however it ends: for programs that report a signal as a failure.
    pub(crate) async fn stop_anyhow(self) -> Result<()> {
        self.terminate()?;
        self.wait_for_end(STOP_TIMEOUT).await
    }

    fn terminate(&self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.id().to_string()]).status()?;
        Ok(())
    }

    /// The end of its log, to be quoted behind what went wrong.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let first = log.len().saturating_sub(QUOTED_LINES);
        log.iter().skip(first).map(|(_, line)| format!("\n    {line}")).collect()
    }
}

/// Takes the bytes of a process's stdout as they come.
pub(crate) type Sink = Box<dyn FnMut(&[u8]) + Send>;

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
