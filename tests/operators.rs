//! What operators have beside the two halves: completions, man pages, systemd's notifications, `evp top`.

use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{DEADLINE, Running, World, eventually, free_address, http_get};

/// A folder whose `.env` cannot be read, which these commands have no business with.
fn broken_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "POSTGRES_PASSWORD='hunter2\n").unwrap();
    folder
}

fn run(folder: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evp"));
    command.env_clear().current_dir(folder).args(arguments);
    let finished = Running::spawn(command).wait(DEADLINE);
    (finished.code, finished.stdout)
}

#[test]
fn bash_completes_commands_and_flags() {
    let folder = broken_folder();
    let (code, script) = run(folder.path(), &["completions", "bash"]);
    assert_eq!(code, Some(0));
    std::fs::write(folder.path().join("evp.bash"), script).unwrap();
    let completed = |words: &str| {
        let ask = format!(
            "source evp.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _evp evp \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let answer = Command::new("bash").args(["-c", &ask]).current_dir(folder.path()).output().unwrap();
        assert!(answer.status.success() && answer.stderr.is_empty(), "{answer:?}");
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("evp cap"), "capture");
    assert_eq!(completed("evp dlq rep"), "replay");
    assert_eq!(completed("evp capture --compat \"\""), "3.6 2.4");
    assert_eq!(completed("evp generate --to k"), "kafka");
}

#[test]
fn man_pages_are_written_where_they_are_wanted() {
    let folder = broken_folder();
    assert_eq!(run(folder.path(), &["man", "--out", "share/man1"]).0, Some(0));
    for page in ["evp.1", "evp-process.1", "evp-dlq-replay.1"] {
        assert!(folder.path().join("share/man1").join(page).exists(), "{page}");
    }
    assert_eq!(run(folder.path(), &["man", "--out", ".env/man1"]).0, Some(1));
    assert_eq!(run(folder.path(), &["completions", "tcsh"]).0, Some(64));
}

/// What evp tells systemd, as one text for each message.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, world: &World, arguments: &[&str]) -> Running {
        let mut command = world.command(arguments);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        Running::spawn(command)
    }

    /// The first message that holds the text, and all before it.
    fn hears(&self, text: &str) -> Vec<String> {
        let (mut heard, mut bytes) = (Vec::new(), [0; 4_096]);
        loop {
            let count = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {text}: {error}: {heard:?}"));
            heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
            if heard.last().is_some_and(|last| last.contains(text)) {
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn systemd_is_told_of_readiness_obstacles_and_the_end() {
    let mut world = World::new("notify").await;
    world.init(1);
    let manager = Manager::new();
    let process = manager.start(&world, &["process"]);
    let heard = manager.hears("READY=1");
    assert!(heard[0].contains("STATUS=starting"), "{heard:?}");
    let finished = process.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    manager.hears("STOPPING=1");

    let port = world.variable("POSTGRES_PORT").to_owned();
    world.set("POSTGRES_PORT", free_address().split_once(':').unwrap().1);
    let capture = manager.start(&world, &["capture"]);
    let heard = manager.hears("PostgreSQL");
    assert!(heard.iter().all(|message| !message.contains("READY=1")), "{heard:?}");
    assert_eq!(capture.stop().code, Some(0));
    manager.hears("STOPPING=1");
    world.set("POSTGRES_PORT", port);
}

#[tokio::test]
async fn metrics_tell_readiness_and_what_the_slot_still_has() {
    let world = World::new("metrics").await;
    world.init(1);
    let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    eventually("the metrics tell it", async || {
        let metrics = http_get(&address, "/metrics").await.map(|(_, text)| text).unwrap_or_default();
        let wanted = ["evp_ready 1", "evp_waits{needed=\"kafka\"} 0", "evp_capture_wal_status{status=\"reserved\"} 1"];
        wanted.iter().all(|line| metrics.contains(line))
    })
    .await;
    assert_eq!(capture.stop().code, Some(0));
}

#[tokio::test]
async fn top_wants_a_terminal() {
    let world = World::new("top_pipe").await;
    let finished = world.run(&["top"]);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    assert!(finished.failure().contains("evp status") && finished.stdout.is_empty(), "{finished:?}");
}

/// Runs a command on a terminal of 24 lines, presses the key once `shown` stands there; all that was written to it.
fn on_a_terminal(world: &World, arguments: &[&str], shown: &str, key: &[u8]) -> Option<(bool, String)> {
    let evp = world.command(arguments);
    let words = evp.get_args().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let line = format!("stty rows 24 cols 80; exec '{}' {words}", evp.get_program().to_string_lossy());
    let mut script = Command::new("script");
    script.args(["-qfec", &line, "/dev/null"]).env_clear().current_dir(world.directory()).env("TERM", "xterm");
    script
        .envs(evp.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", std::env::var("PATH").unwrap());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, pieces) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 8_192];
        while let Ok(count @ 1..) = stdout.read(&mut bytes) {
            let _ = sender.send(bytes[..count].to_vec());
        }
    });
    let mut written = Vec::new();
    let has = |written: &[u8]| String::from_utf8_lossy(written).contains(shown);
    let asked = std::time::Instant::now();
    while !has(&written) {
        match pieces.recv_timeout(DEADLINE.saturating_sub(asked.elapsed())) {
            Ok(piece) => written.extend(piece),
            Err(error) => {
                let _ = child.kill();
                panic!("no `{shown}`: {error}: {}", String::from_utf8_lossy(&written));
            }
        }
    }
    stdin.write_all(key).unwrap();
    stdin.flush().unwrap();
    let started = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("the key {key:?} does not end it");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(stdin);
    reader.join().unwrap();
    written.extend(pieces.try_iter().flatten());
    Some((status.success(), String::from_utf8_lossy(&written).into_owned()))
}

#[tokio::test]
async fn top_draws_the_chain_and_gives_the_terminal_back() {
    let world = World::new("top").await;
    world.init(2);
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    for key in [&b"q"[..], b"\x1b", b"\x03"] {
        let arguments = ["top", "--process-http", &address, "--every", "1"];
        let Some((is_well, written)) = on_a_terminal(&world, &arguments, "statistics", key) else {
            eprintln!("the program script is not installed: evp top is not drawn");
            return;
        };
        assert!(is_well, "{written}");
        assert!(written.contains(&address) && written.contains("PARTITION"), "{written}");
        let (enters, leaves) = (written.find("\x1b[?1049h").unwrap(), written.rfind("\x1b[?1049l").unwrap());
        assert!(enters < leaves, "{written:?}");
    }
    assert_eq!(process.stop().code, Some(0));
}
