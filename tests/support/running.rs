//! A running evp and what it says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::DEADLINE;

/// How much of its log a process leaves behind when a test fails.
const LOG_LINES_ON_FAILURE: usize = 400;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A child process; dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
    stderr_reader: Option<JoinHandle<()>>,
    stdout_reader: Option<JoinHandle<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Everything on stdout.
    pub(crate) stdout: String,
    /// Everything on stderr.
    pub(crate) stderr: String,
}

impl Running {
    /// Starts a command.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evp starts");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (pipe, lines) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        let stderr_reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut pipe = child.stdout.take().unwrap();
        let stdout_reader = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            text
        });
        Self { child, stderr, stderr_reader: Some(stderr_reader), stdout_reader: Some(stdout_reader) }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// The log lines of one event so far.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let parsed = self.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        parsed.filter(|line| line["event"] == name).collect()
    }

    /// Waits for the first log line of an event.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let started = Instant::now();
        loop {
            if let Some(line) = self.events(name).into_iter().next() {
                return line;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "evp ended ({ended:?}) before `{name}`:\n{}", self.log().join("\n"));
            assert!(started.elapsed() < DEADLINE, "no `{name}` in {DEADLINE:?}:\n{}", self.log().join("\n"));
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether it has ended by itself; its exit code is for [`Self::wait`].
    #[allow(dead_code)]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Freezes it.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Sends SIGKILL, as a crash would.
    pub(crate) fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.wait(DEADLINE)
    }

    /// Sends SIGTERM and waits for the drain.
    pub(crate) fn stop(self) -> Finished {
        self.terminate();
        self.wait(DEADLINE)
    }

    /// Waits for the end; panics, and kills it, if that takes longer than `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < limit, "evp still runs after {limit:?}:\n{}", self.log().join("\n"));
            std::thread::sleep(POLL_INTERVAL);
        };
        let stdout = self.stdout_reader.take().map(|reader| reader.join().unwrap()).unwrap_or_default();
        if let Some(reader) = self.stderr_reader.take() {
            reader.join().unwrap();
        }
        Finished { code: status.code(), stdout, stderr: self.log().join("\n") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.iter().rev().take(LOG_LINES_ON_FAILURE).rev().cloned().collect::<Vec<_>>().join("\n");
            eprintln!("the last that evp (process {}) has said:\n{tail}", self.child.id());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The text of the log line that says why it failed.
    pub(crate) fn failure(&self) -> String {
        let lines = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let failures: Vec<_> = lines.filter(|line| line["event"] == "application_failed").collect();
        assert_eq!(failures.len(), 1, "a failure is told exactly once: {self:?}");
        failures[0]["message"].as_str().unwrap().to_owned()
    }
}
