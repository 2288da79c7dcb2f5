//! `evp doctor` names what is wrong, with the remedy; `evp status` shows where the chain stands.

use std::io::{Read, Write};
use std::net::TcpListener;

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, event, process, produce, reset_offset, world_with};
use crate::support::{World, document, eventually, free_address, topics};

/// Runs `evp doctor`; what it printed for programs.
fn doctor(world: &World, flags: &[&str]) -> Value {
    let finished = world.run(&[&["doctor", "--json"], flags].concat());
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let code = if report["clean"].as_bool().unwrap() { 0 } else { 3 };
    assert_eq!(finished.code, Some(code), "{finished:?}");
    report
}

/// What is found and its remedy, each in a text.
fn findings(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let is_finding = |check: &&Value| check["grade"] == "warning" || check["grade"] == "problem";
    checks
        .filter(is_finding)
        .map(|check| {
            format!("{} {}: {} → {}", check["link"], check["name"], check["what"], check["remedy"]).replace('"', "")
        })
        .collect()
}

/// Each of the parts stands in one of the findings.
#[track_caller]
fn assert_found(report: &Value, fault: &str, parts: &[&str]) {
    let found = findings(report);
    let has_all = |text: &String| parts.iter().all(|part| text.contains(part));
    assert!(found.iter().any(has_all), "{fault}: no finding says {parts:?}:\n{}", found.join("\n"));
}

#[tokio::test]
async fn a_chain_that_runs_has_no_findings_and_one_that_was_never_set_up_is_told_what_to_do() {
    let world = World::new("doctor_well").await;
    let report = doctor(&world, &[]);
    for (fault, parts) in [
        ("the table", &["event_outbox does not exist", "evp init"][..]),
        ("the publication", &["publication", "does not exist", "evp init"]),
        ("the slot", &["slot", "does not exist", "evp init"]),
        ("the topic", &["topic", "event_outbox does not exist", "evp init --partitions"]),
        ("the group", &["no members", "evp process"]),
        ("the collections", &["indexes", "collection users", "evp init"]),
    ] {
        assert_found(&report, fault, parts);
    }
    let finished = world.run(&["status"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.matches("does not exist: evp init").count() == 2, "{finished:?}");

    world.init(2);
    let (capture, running) = (world.start(&["capture"]), world.start(&["process"]));
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  VALUES (gen_random_uuid(), '00000000-0000-4000-8000-000000000001', 'User', 'UserCreated', '{}')";
    world.sql().await.batch_execute(insert).await.unwrap();
    let database = world.mongo().await;
    let user = "00000000-0000-4000-8000-000000000001";
    eventually("the event is applied", async || document(&database, "users", user).await.is_some()).await;
    eventually("all is well", async || doctor(&world, &[])["clean"] == true).await;
    let report = doctor(&world, &[]);
    assert_eq!(report["facts"]["kafka"]["topics"][world.topic()]["partitions"].as_array().unwrap().len(), 2);
    let finished = world.run(&["doctor"]);
    assert!(finished.code == Some(0) && finished.stdout.ends_with("no findings\n"), "{finished:?}");
    assert!(!finished.stdout.contains('\u{1b}'), "colours in a pipe: {finished:?}");

    let finished = world.run(&["status"]);
    for part in
        ["read by evp", "lag 0", "partitions 2, records 1", "members 1", "none wait", "1 users", "total_users 1"]
    {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
    assert!(finished.stdout.lines().all(|line| line.len() <= 100), "{}", finished.stdout);
    let status: Value = serde_json::from_str(&world.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["mongo"]["total_users"], &status["dead_letters"]["waiting"]), (&json!(1), &json!(0)));
    let watching = world.start(&["status", "--json", "--watch", "1"]);
    assert_eq!((capture.stop().code, running.stop().code), (Some(0), Some(0)));
    let watched = watching.stop();
    assert_eq!(watched.code, Some(0), "{watched:?}");
}

#[tokio::test]
async fn each_fault_of_the_source_is_named_with_the_statement_that_repairs_it() {
    let mut world = World::new("doctor_source").await;
    let slot = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    let admin = world.admin_sql().await;
    admin.execute(slot, &[&world.name()]).await.unwrap();
    assert_found(&doctor(&world, &[]), "a slot of another database", &["belongs to database", "slot.name"]);
    admin.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    world.init(1);
    let sql = world.sql().await;
    assert_found(&doctor(&world, &[]), "capture does not run", &["nobody reads", "evp capture"]);
    let publication = "ALTER PUBLICATION debezium_publication";
    let table = "activity.event_outbox";
    for (fault, statement, parts) in [
        (
            "no inserts",
            format!("{publication} SET (publish = 'update')"),
            &["inserts", "publish = 'insert, update, delete'"][..],
        ),
        (
            "an unpublished table",
            format!("{publication} DROP TABLE {table}"),
            &["not in publication", "ADD TABLE activity.event_outbox;"],
        ),
        (
            "no replica identity",
            format!("ALTER TABLE {table} REPLICA IDENTITY NOTHING"),
            &["UPDATE and DELETE of the application fails", "REPLICA IDENTITY FULL;"],
        ),
    ] {
        sql.batch_execute(&statement).await.unwrap();
        assert_found(&doctor(&world, &[]), fault, parts);
        let repair = format!(
            "{publication} SET TABLE {table}; {publication} SET (publish = 'insert, update, delete, truncate'); \
             ALTER TABLE {table} REPLICA IDENTITY DEFAULT"
        );
        sql.batch_execute(&repair).await.unwrap();
    }
    let role = format!("{}_role", world.name());
    let make = format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE {} TO {role}", world.name());
    sql.batch_execute(&make).await.unwrap();
    let owner = ["POSTGRES_USER", "POSTGRES_PASSWORD"].map(|name| world.variable(name).to_owned());
    world.set("POSTGRES_USER", role.clone());
    world.set("POSTGRES_PASSWORD", "x");
    let report = doctor(&world, &[]);
    assert_found(&report, "a role without rights", &["may not replicate", "REPLICATION;"]);
    assert_found(&report, "a role that may not read", &["may not read activity.event_outbox", "GRANT SELECT"]);
    world.set("POSTGRES_USER", "nobody_of_that_name");
    assert_found(&doctor(&world, &[]), "a role that does not exist", &["postgres server", "POSTGRES_USER"]);
    world.set("POSTGRES_USER", owner[0].clone());
    world.set("POSTGRES_PASSWORD", owner[1].clone());
    let remove = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sql.batch_execute(&remove).await.unwrap();
}

#[tokio::test]
async fn each_fault_of_topic_group_and_letters_is_named_with_the_command_that_repairs_it() {
    let mut world = World::new("doctor_kafka").await;
    world.init(1);
    let topic = world.topic().to_owned();
    let (topics, letters) = (Topics::new(&world), format!("{topic}.dlq"));
    // A setting that is changed takes others back to the broker's.
    for (fault, name, setting, value, parts) in [
        ("a compacted topic", &topic, "cleanup.policy", "compact", &["compacted", "cleanup.policy=delete"][..]),
        ("an hour of retention", &topic, "retention.ms", "3600000", &["for 1 hours", "retention.ms=604800000"]),
        (
            "dead letters that are forgotten",
            &letters,
            "retention.ms",
            "3600000",
            &["forgets dead letters", "retention.ms=-1"],
        ),
        (
            "dead letters that do not fit",
            &letters,
            "max.message.bytes",
            "5000",
            &["smaller records", "max.message.bytes="],
        ),
    ] {
        topics.set(name, setting, value).await;
        assert_found(&doctor(&world, &[]), fault, parts);
    }
    topics.set(&topic, "max.message.bytes", "10000").await;
    let wide = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                VALUES (gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', jsonb_build_object('bio', repeat('x', 9000)))";
    world.sql().await.batch_execute(wide).await.unwrap();
    assert_found(
        &doctor(&world, &[]),
        "a row that is too wide",
        &["takes records of 10000 bytes", "max.message.bytes="],
    );

    let poison = NewRecord { value: Some(b"poison".to_vec()), ..NewRecord::default() };
    produce(&world, &topic, &[event(0, 1, 1, "UserCreated", &json!({})), poison]).await;
    assert_found(&doctor(&world, &[]), "nobody processes", &["no members", "evp process"]);
    process(&world);
    assert_found(&doctor(&world, &[]), "a dead letter", &["1 wait", "evp dlq list"]);
    reset_offset(&world, 9);
    assert_found(&doctor(&world, &[]), "an offset behind the end", &["made anew", "--accept-new-topic"]);
    reset_offset(&world, 1);
    topics.delete_records_before(&topic, 2).await;
    assert_found(&doctor(&world, &[]), "records that retention took", &["were deleted before", "--to-earliest"]);
    world.set("KAFKA_TOPIC", "another.topic");
    assert_found(
        &doctor(&world, &[]),
        "another topic",
        &["process reads another.topic", &format!("KAFKA_TOPIC={topic}")],
    );
}

#[tokio::test]
async fn what_is_missing_is_made_on_request_and_nothing_else_is_changed() {
    let world = world_with("doctor_fix", 1, &[]).await;
    world.init(1);
    let (kafka, letters) = (Topics::new(&world), format!("{}.dlq", world.topic()));
    kafka.delete(&letters).await;
    eventually("the topic is gone", async || !topics(&world).contains_key(&letters)).await;
    kafka.create(&letters, 1, &[("retention.ms", "1000"), ("max.message.bytes", "3000000")]).await;
    let heartbeats = topics(&world).into_keys().find(|name| name.starts_with("__debezium-heartbeat")).unwrap();
    kafka.delete(&heartbeats).await;
    eventually("the topic is gone", async || !topics(&world).contains_key(&heartbeats)).await;
    let users = world.mongo().await.collection::<Document>("users");
    users.drop_index("email").await.unwrap();
    let report = doctor(&world, &[]);
    assert_found(&report, "a missing index", &["missing: index email on users", "evp init"]);
    assert_found(&report, "a missing topic", &[&heartbeats, "does not exist"]);
    assert_found(&report, "dead letters that are forgotten", &["forgets dead letters"]);
    let report = doctor(&world, &["--fix"]);
    let left = findings(&report);
    assert!(left.iter().all(|text| text.contains("nobody reads") || text.contains("no members")), "{left:?}");
    assert_eq!(kafka.setting(&letters, "retention.ms").await.as_deref(), Some("-1"));
    assert_eq!(kafka.setting(&letters, "max.message.bytes").await.as_deref(), Some("3000000"), "a setting is lost");
}

#[tokio::test]
async fn servers_that_do_not_answer_are_a_line_each_and_hide_nothing_else() {
    let mut world = World::new("doctor_away").await;
    world.init(1);
    world.set("MONGODB_SERVER_SELECTION_TIMEOUT_MS", "500");
    let mongo = world.variable("MONGODB_URI").to_owned();
    world.set("MONGODB_URI", format!("mongodb://{}", free_address()));
    let report = doctor(&world, &[]);
    assert_found(&report, "MongoDB is away", &["mongodb server", "mongosh"]);
    assert_found(&report, "the rest is looked at", &["nobody reads"]);
    world.set("MONGODB_URI", mongo);
    let kafka = world.variable("KAFKA_BOOTSTRAP_SERVERS").to_owned();
    world.set("KAFKA_BOOTSTRAP_SERVERS", free_address());
    assert_found(&doctor(&world, &[]), "Kafka is away", &["kafka servers", "kafka-topics"]);
    let finished = world.run(&["status"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("nobody reads it") && finished.stdout.contains("total_users 0"), "{finished:?}");
    world.set("KAFKA_BOOTSTRAP_SERVERS", kafka);
    let address = free_address();
    world.set("POSTGRES_HOST", "127.0.0.1");
    world.set("POSTGRES_PORT", address.rsplit(':').next().unwrap());
    assert_found(&doctor(&world, &[]), "PostgreSQL is away", &["postgres server", "psql -h 127.0.0.1"]);
}

#[tokio::test]
async fn a_connector_on_the_same_slot_is_named() {
    let world = World::new("doctor_connect").await;
    world.init(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config =
        json!({ "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "slot.name": world.name() });
    let body = json!({ "outbox": { "info": { "config": config }, "status": { "connector": { "state": "RUNNING" } } } })
        .to_string();
    let worker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        stream
            .write_all(format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").as_bytes())
            .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    assert_found(
        &doctor(&world, &["--connect", &url]),
        "a connector",
        &["outbox is RUNNING on slot", "debezium/connector remove"],
    );
    assert!(worker.join().unwrap().starts_with("GET /connectors?expand=info&expand=status"));
    let gone = format!("http://{}", free_address());
    assert_found(&doctor(&world, &["--connect", &gone]), "no worker", &["does not answer", "--connect"]);
    let finds = world.mongo().await.collection::<Document>("users").find_one(doc! {}).await.unwrap();
    assert!(finds.is_none(), "doctor writes nothing");
}
