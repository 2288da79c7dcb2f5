//! The screen as text: what it shows when all is well, when much is wrong, and before anything is known.

use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::facts::{DeadLetterFacts, Facts, KafkaFacts, SlotFacts, TopicFacts};
use crate::kafka::look::{GroupLook, PartitionLook};
use crate::top::exposition::Exposition;
use crate::top::screen::{ChainLook, HalfLook};

/// 2026-11-26T08:00:00Z.
const AT_MS: i64 = 1_795_680_000_000;
const CAPTURE: &str = "127.0.0.1:9101";
const PROCESS: &str = "127.0.0.1:9102";

fn postgres() -> PostgresFacts {
    let server = json!({
        "version_number": 170_007, "version": "17.7", "wal_level": "logical", "is_in_recovery": false, "max_wal_senders": 10,
        "used_wal_senders": 1, "max_replication_slots": 10, "used_replication_slots": 1, "wal_keep_bytes": 1_u64 << 30,
        "wal_sender_timeout_ms": 60_000, "idle_slot_timeout": null, "synchronous_standby_names": "", "role": "postgres",
        "is_superuser": true, "can_replicate": true, "clock_ms": AT_MS,
    });
    PostgresFacts {
        address: "db.example.org:5432/activity".to_owned(),
        server: serde_json::from_value(server).unwrap(),
        slot_name: "debezium_slot".to_owned(),
        slot: Some(SlotFacts {
            active_pid: Some(4_711),
            application: Some("evp capture".to_owned()),
            wal_status: Some("reserved".to_owned()),
            safe_wal_bytes: Some(1 << 30),
            lag_bytes: Some(0),
            retained_bytes: Some(16 << 20),
            ..SlotFacts::default()
        }),
        publication_name: "debezium_publication".to_owned(),
        publication: None,
        tables: Vec::new(),
        missing_tables: Vec::new(),
        clock_skew_ms: 0,
        wal_bytes_a_second: None,
        replication_login_error: None,
    }
}

/// A topic whose partitions end at `end`, of which the group is done with all but `lag`.
fn kafka(partitions: i32, end: i64, lag: impl Fn(i32) -> i64) -> KafkaFacts {
    let look = |id| PartitionLook { id, has_leader: true, replicas: 3, in_sync: 3 };
    let topic = "postgres.activity.event_outbox".to_owned();
    let settings = BTreeMap::new();
    let facts = TopicFacts { partitions: (0..partitions).map(look).collect(), settings };
    KafkaFacts {
        servers: "localhost:9092".to_owned(),
        topics: BTreeMap::from([(topic.clone(), facts)]),
        topic,
        missing_topics: Vec::new(),
        bounds: (0..partitions).map(|id| (id, (0, end))).collect(),
        user: None,
        missing_rights: None,
        group_name: "event-processor-group".to_owned(),
        committed: (0..partitions).map(|id| (id, end - lag(id))).collect(),
        group: Some(GroupLook { state: "Stable".to_owned(), members: vec![("evp".to_owned(), "host".to_owned())] }),
    }
}

fn mongo() -> MongoFacts {
    MongoFacts {
        database: "activity_read".to_owned(),
        version: "6.0.5".to_owned(),
        replica_set: Some("rs0".to_owned()),
        is_writable: true,
        clock_skew_ms: 0,
        counts: BTreeMap::from([("users".to_owned(), 102_000), ("activities".to_owned(), 76_500)]),
        total_users: Some(102_000),
        missing: Vec::new(),
        default_write_concern: None,
    }
}

fn facts(at_ms: i64, end: i64) -> Facts {
    Facts {
        postgres: Look::Seen(postgres()),
        kafka: Look::Seen(kafka(4, end, |_| 0)),
        dead_letters: Look::Seen(DeadLetterFacts::default()),
        mongo: Look::Seen(mongo()),
        connect: None,
        at_ms,
    }
}

/// What a half tells that has done so many events, half of them within 2 ms and the others within 5.
fn half(address: &str, events: u32) -> HalfLook {
    let mut text = String::new();
    for (events_name, latency) in [
        ("evp_capture_events_total", "evp_capture_ack_latency_seconds"),
        ("evp_process_events_total", "evp_process_applied_latency_seconds"),
        ("evp_capture_transactions_total", "evp_process_write_seconds"),
    ] {
        text.push_str(&format!("{events_name} {events}\n{latency}_bucket{{le=\"0.001\"}} 0\n"));
        for (bound, count) in [("0.002", events / 2), ("0.005", events), ("+Inf", events)] {
            text.push_str(&format!("{latency}_bucket{{le=\"{bound}\"}} {count}\n"));
        }
    }
    HalfLook { address: address.to_owned(), answer: Ok((None, Exposition::parse(&text))) }
}

fn well() -> Screen {
    let look = |at_ms, end, events| ChainLook {
        facts: facts(at_ms, end),
        capture: Some(half(CAPTURE, events)),
        processes: vec![half(PROCESS, events)],
    };
    Screen::of(&look(AT_MS, 75_500, 302_000), Some(&look(AT_MS - 2_000, 75_000, 300_000)))
}

/// A slot that is about to be lost, a capture that is gone, a process that waits, lag and dead letters.
fn ill(partitions: i32) -> Screen {
    let mut now = facts(AT_MS, 75_500);
    if let Look::Seen(postgres) = &mut now.postgres {
        postgres.slot = postgres.slot.take().map(|slot| SlotFacts {
            active_pid: None,
            wal_status: Some("unreserved".to_owned()),
            lag_bytes: Some(900 << 20),
            safe_wal_bytes: Some(100 << 20),
            ..slot
        });
    }
    now.kafka = Look::Seen(kafka(partitions, 75_500, |id| i64::from(id) * 10));
    let handlers = ["ActivityCreated", "ParticipantJoined", "UserCreated", "UserUpdated"];
    let counts = handlers.iter().zip([1, 3, 250, 2]);
    let waiting_by_handler: BTreeMap<_, _> = counts.map(|(name, count)| ((*name).to_owned(), count)).collect();
    now.dead_letters = Look::Seen(DeadLetterFacts { waiting: 256, waiting_by_handler, settled: 0 });
    let reason =
        "MongoDB at mongo.example.org:27017 does not answer; it is asked again until it does, and what was read waits";
    let reason = reason.to_owned();
    let (_, metrics) = half(PROCESS, 7).answer.unwrap();
    let look = ChainLook {
        facts: now,
        capture: Some(HalfLook {
            address: CAPTURE.to_owned(),
            answer: Err("does not answer: connection refused".to_owned()),
        }),
        processes: vec![HalfLook { address: PROCESS.to_owned(), answer: Ok((Some(reason), metrics)) }],
    };
    Screen::of(&look, None)
}

fn drawn(screen: Option<&Screen>, width: u16, height: u16, has_colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, has_colours)).unwrap();
    terminal
}

fn text(screen: Option<&Screen>, width: u16, height: u16) -> String {
    let terminal = drawn(screen, width, height, false);
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}

#[track_caller]
fn assert_shown(name: &str, shown: &str) {
    let path = format!("{}/src/top/view/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("EVP_WRITE_PAGES").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == shown, "if it should look like this, EVP_WRITE_PAGES=1 cargo test --lib top keeps it:\n{shown}");
}

#[test]
fn a_chain_that_runs_fits_a_small_terminal() {
    assert_shown("well-80x24", &text(Some(&well()), 80, 24));
}

#[test]
fn what_is_wrong_fits_a_small_terminal() {
    let shown = text(Some(&ill(12)), 80, 24);
    for part in ["unreserved", "what was read waits", "does not answer", "110 ", "UserCreated", "… ", "256 wait", KEYS]
    {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    assert_shown("ill-80x24", &shown);
}

#[test]
fn a_larger_terminal_shows_all_partitions_and_handlers() {
    let shown = text(Some(&ill(12)), 120, 40);
    assert!(!shown.contains('…') && shown.contains("ActivityCreated"), "{shown}");
    assert_shown("ill-120x40", &shown);
    assert_shown("well-120x40", &text(Some(&well()), 120, 40));
}

#[test]
fn a_tiny_terminal_and_one_without_a_look_are_drawn_too() {
    for (width, height) in [(1, 1), (20, 5), (80, 24)] {
        drawn(Some(&ill(3)), width, height, true);
        assert!(text(None, width, height).starts_with('e'));
    }
}

#[test]
fn servers_that_do_not_answer_are_a_line_each() {
    let failed = || "is away".to_owned();
    let facts = Facts {
        postgres: Look::Failed { error: failed() },
        kafka: Look::Failed { error: failed() },
        dead_letters: Look::Failed { error: failed() },
        mongo: Look::Failed { error: failed() },
        connect: None,
        at_ms: AT_MS,
    };
    let shown = text(Some(&Screen::of(&ChainLook { facts, capture: None, processes: Vec::new() }, None)), 80, 24);
    assert_eq!(shown.matches("is away").count(), 4, "{shown}");
    assert!(shown.contains(NO_HALVES.trim()), "{shown}");
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let coloured = |has_colours| {
        let terminal = drawn(Some(&ill(3)), 80, 24, has_colours);
        terminal.backend().buffer().content().iter().any(|cell| cell.fg == Color::Red)
    };
    assert!(coloured(true) && !coloured(false));
}
