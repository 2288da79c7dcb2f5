//! Every way to start evp wrongly ends in one clear sentence and the right exit code.

use std::net::TcpListener;

use crate::support::{OwnStack, Running, World, free_address, http_get};

#[tokio::test]
async fn help_and_version_are_not_errors() {
    let world = World::new("help").await;
    for command in [
        "capture",
        "process",
        "init",
        "generate",
        "verify",
        "dlq",
        "doctor",
        "status",
        "top",
        "trace",
        "completions",
        "man",
    ] {
        let help = world.run(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.stdout.contains("Variables: "), "{help:?}");
    }
    let version = world.run(&["--version"]);
    assert_eq!((version.code, version.stdout.trim()), (Some(0), concat!("evp ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn wrong_usage_exits_with_64() {
    let world = World::new("usage").await;
    for arguments in [
        vec![],
        vec!["captrue"],
        vec!["capture", "--compat", "1.9"],
        vec!["process", "--ops", "x"],
        vec!["process", "--batch", "1"],
        vec!["init", "--partitions", "0"],
        vec!["generate"],
        vec!["verify", "--log-format", "xml"],
        vec!["dlq"],
        vec!["dlq", "show", "17"],
        vec!["dlq", "list", "--since", "yesterday"],
        vec!["dlq", "replay"],
        vec!["status", "--watch", "0"],
        vec!["doctor", "--connect"],
        vec!["generate", "--count", "1", "--mix", "people=1"],
        vec!["generate", "--count", "1", "--to", "mongodb"],
        vec!["man"],
    ] {
        let finished = Running::spawn(world.command(&arguments)).wait(crate::support::DEADLINE);
        assert_eq!(finished.code, Some(64), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_misspelt_property_is_named_with_the_nearest_one() {
    let world = World::new("misspelt").await;
    let finished = world.run(&["capture", "--set", "publication.nmae=p"]);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains("publication.nmae") && failure.contains("`publication.name`"), "{failure}");
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let mut world = World::new("mistakes").await;
    world.set("POSTGRES_PORT", "http");
    world.set("KAFKA_ENABLE_AUTO_COMMIT", "true");
    world.set("LOG_LEVEL", "loud");
    let finished = world.run(&["capture", "--set", "slot.nme=s", "--kafka", "nonsense"]);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    let failure = finished.failure();
    for part in ["POSTGRES_PORT", "KAFKA_ENABLE_AUTO_COMMIT", "LOG_LEVEL", "slot.nme", "nonsense"] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
}

#[tokio::test]
async fn a_broken_dotenv_is_named_without_its_value() {
    let world = World::new("dotenv").await;
    std::fs::write(world.directory().join(".env"), "POSTGRES_PASSWORD='hunter2\n").unwrap();
    for command in ["capture", "process", "init", "verify"] {
        let finished = world.run(&[command]);
        assert_eq!(finished.code, Some(64), "{finished:?}");
        let failure = finished.failure();
        assert!(failure.contains(".env") && failure.contains("POSTGRES_PASSWORD"), "{failure}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test]
async fn an_unknown_kafka_property_is_a_usage_error() {
    let world = World::new("kafkaprop").await;
    for command in ["capture", "process", "init"] {
        world.init(1);
        let finished = world.run(&[command, "--kafka", "linger.millis=5"]);
        assert_eq!(finished.code, Some(64), "{command}: {finished:?}");
        assert!(finished.failure().contains("linger.millis"), "{finished:?}");
    }
}

#[tokio::test]
async fn a_malformed_mongodb_uri_is_named_without_its_password() {
    let mut world = World::new("mongouri").await;
    world.init(1);
    world.set("MONGODB_URI", "mongo://evp:hunter2@localhost");
    for command in ["process", "init", "verify"] {
        let finished = world.run(&[command]);
        assert_eq!(finished.code, Some(64), "{command}: {finished:?}");
        assert!(finished.failure().contains("MONGODB_URI"), "{finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test]
async fn a_port_in_use_stops_the_start() {
    let world = World::new("port").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["capture", "process"] {
        let finished = world.run(&[command, "--http", &address]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let failure = finished.failure();
        assert!(failure.contains(&address) && failure.contains("in use"), "{failure}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let mut world = World::new("password").await;
    world.set("POSTGRES_PASSWORD", "hunter2");
    for command in ["capture", "init", "verify"] {
        let finished = world.run(&[command, "--log-level", "debug"]);
        assert_eq!(finished.code, Some(1), "{command}: {finished:?}");
        assert!(finished.failure().contains("POSTGRES_PASSWORD"), "{finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test]
async fn an_unknown_database_is_named() {
    let mut world = World::new("nodb").await;
    world.set("POSTGRES_DB", "no_such_database");
    for command in ["capture", "init", "verify"] {
        let finished = world.run(&[command]);
        assert_eq!(finished.code, Some(1), "{command}: {finished:?}");
        let failure = finished.failure();
        assert!(failure.contains("no_such_database") && failure.contains("POSTGRES_DB"), "{failure}");
    }
}

#[tokio::test]
async fn what_init_would_make_is_asked_for() {
    let world = World::new("noinit").await;
    let no_publication = world.run(&["capture"]);
    assert_eq!(no_publication.code, Some(1), "{no_publication:?}");
    let failure = no_publication.failure();
    assert!(failure.contains("publication") && failure.contains("evp init"), "{failure}");

    world.init(1);
    let sql = world.sql().await;
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    let no_slot = world.run(&["capture"]);
    assert_eq!(no_slot.code, Some(1), "{no_slot:?}");
    let failure = no_slot.failure();
    assert!(failure.contains("slot") && failure.contains("evp init"), "{failure}");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_asked_for() {
    let world = World::new("notable").await;
    let finished = world.run(&["generate", "--count", "1"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("evp init"), "{finished:?}");
}

#[tokio::test]
async fn wal_level_is_checked_first() {
    let stack = OwnStack::up(&["postgres"], &[("EVP_WAL_LEVEL", "replica")]);
    let mut world = World::on_stack("wal", &stack).await;
    // Neither is asked for anything before the source is known to be fit.
    world.set("KAFKA_BOOTSTRAP_SERVERS", free_address());
    world.set("MONGODB_URI", format!("mongodb://{}", free_address()));
    for command in ["init", "capture"] {
        let finished = world.run(&[command]);
        assert_eq!(finished.code, Some(1), "{command}: {finished:?}");
        let failure = finished.failure();
        assert!(failure.contains("wal_level = logical") && failure.contains("restart"), "{failure}");
    }
}

#[tokio::test]
async fn servers_that_are_down_end_the_commands_that_do_not_wait() {
    let mut world = World::new("down").await;
    world.set("MONGODB_SERVER_SELECTION_TIMEOUT_MS", "300");
    world.init(1);
    let address = free_address();
    let (_, port) = address.split_once(':').unwrap();
    for (variable, value, named) in [
        ("MONGODB_URI", format!("mongodb://{address}"), "MongoDB"),
        ("KAFKA_BOOTSTRAP_SERVERS", address.clone(), "Kafka"),
        ("POSTGRES_PORT", port.to_owned(), "PostgreSQL"),
    ] {
        world.set(variable, value);
        let finished = world.run(&["init"]);
        assert_eq!(finished.code, Some(1), "{named}: {finished:?}");
        assert!(finished.failure().contains(named), "{named}: {finished:?}");
    }
}

#[tokio::test]
async fn health_is_served_while_a_half_waits_for_its_server() {
    let mut world = World::new("health").await;
    world.set("POSTGRES_PORT", free_address().split_once(':').unwrap().1);
    let mut running = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = running.event("http_listening").await["address"].as_str().unwrap().to_owned();
    crate::support::eventually(
        "readiness names PostgreSQL",
        async || matches!(http_get(&address, "/readyz").await, Some((503, reason)) if reason.contains("PostgreSQL")),
    )
    .await;
    assert_eq!(http_get(&address, "/livez").await.unwrap().0, 200);
    let metrics = http_get(&address, "/metrics").await.unwrap();
    assert!(metrics.0 == 200 && metrics.1.contains("evp_build_info"), "{metrics:?}");
    let finished = running.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_server_that_takes_connections_and_never_answers_is_told_and_tried_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::new("silent").await;
    let port = world.variable("POSTGRES_PORT").to_owned();
    world.set("POSTGRES_PORT", silent.local_addr().unwrap().port().to_string());
    let mut capture = world.start(&["capture"]);
    let waiting = capture.event("capture_waiting").await;
    assert!(waiting["error"].as_str().unwrap().contains("PostgreSQL at 127.0.0.1"), "{waiting}");
    assert_eq!(capture.stop().code, Some(0));
    // For the world to remove what it has made.
    world.set("POSTGRES_PORT", port);
}

#[tokio::test]
async fn errors_are_plain_sentences_in_text_form() {
    let mut world = World::new("text").await;
    world.set("POSTGRES_PORT", "http");
    let finished = world.run(&["verify", "--log-format", "text"]);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    assert!(finished.stderr.starts_with("evp: POSTGRES_PORT"), "{finished:?}");
}
