//! `evp capture` and records that are not a row in the topic of its table: an outbox's events, transactions, messages,
//! truncates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::envelopes::Topics;
use crate::support::{Record, World, eventually, records, topic_end, topics};

fn sets(pairs: &[&str]) -> Vec<String> {
    pairs.iter().flat_map(|pair| ["--set".to_owned(), (*pair).to_owned()]).collect()
}

fn arguments<'a>(command: &[&'a str], sets: &'a [String]) -> Vec<&'a str> {
    command.iter().copied().chain(sets.iter().map(String::as_str)).collect()
}

/// Starts capture and kills it once `progress` has grown, as often as that; then lets it finish.
async fn capture_killed(world: &World, sets: &[String], times: i64, step: i64, progress: impl Fn() -> i64) {
    for kill in 1..=times {
        let mut capture = world.start(&arguments(&["capture"], sets));
        capture.event("streaming_started").await;
        eventually("more is written", async || progress() >= kill * step).await;
        capture.kill();
    }
}

fn drain(world: &World, sets: &[String]) {
    let finished = world.run(&arguments(&["capture", "--until", "caught-up"], sets));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn json(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

fn router(world: &World) -> Vec<String> {
    let replacement = format!("transforms.outbox.route.topic.replacement={}.of.${{routedByValue}}", world.name());
    sets(&[
        "transforms=outbox",
        "transforms.outbox.type=io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.table.field.event.id=event_id",
        "transforms.outbox.table.field.event.key=aggregate_id",
        "transforms.outbox.route.by.field=aggregate_type",
        "transforms.outbox.table.fields.additional.placement=event_type:header:eventType",
        "key.converter=org.apache.kafka.connect.storage.StringConverter",
        "topic.creation.default.partitions=2",
        &replacement,
    ])
}

#[tokio::test]
async fn events_arrive_once_in_topics_that_rows_name_though_capture_is_killed() {
    const ROWS: i64 = 500;
    const ROWS_PER_TOPIC: i64 = 50;
    let world = World::new("routed").await;
    let sets = router(&world);
    let init = world.run(&arguments(&["init"], &sets));
    assert_eq!(init.code, Some(0), "{init:?}");
    let sql = world.sql().await;
    let writing = tokio::spawn(async move {
        for number in 1..=ROWS {
            // Two topics at a time, and new ones all along.
            let topic = format!("T{}", number / ROWS_PER_TOPIC * 2 + number % 2);
            let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                          VALUES (gen_random_uuid(), gen_random_uuid(), $1, $2, '{}')";
            sql.execute(insert, &[&topic, &number.to_string()]).await.unwrap();
            if number % 10 == 0 {
                sql.execute("DELETE FROM activity.event_outbox", &[]).await.unwrap();
            }
        }
    });
    let routed = |world: &World| -> Vec<String> {
        let prefix = format!("{}.of.", world.name());
        topics(world).into_keys().filter(|topic| topic.starts_with(&prefix)).collect()
    };
    let written = || routed(&world).iter().map(|topic| topic_end(&world, topic).unwrap_or(0)).sum();
    capture_killed(&world, &sets, 5, ROWS / 7, written).await;
    writing.await.unwrap();
    drain(&world, &sets);

    let mut numbers = Vec::new();
    for topic in routed(&world) {
        let header = |record: &Record| -> i64 {
            let value =
                record.headers.iter().find(|(name, _)| name == "eventType").and_then(|(_, value)| value.clone());
            String::from_utf8(value.unwrap()).unwrap().parse().unwrap()
        };
        let of_topic = records(&world, &topic);
        assert_eq!(topics(&world)[&topic], 2, "as topic.creation.default.partitions says");
        assert!(of_topic.iter().all(|record| record.value.as_deref() == Some(b"\"{}\"")));
        for partition in 0..2 {
            let in_order: Vec<i64> =
                of_topic.iter().filter(|record| record.partition == partition).map(header).collect();
            assert!(in_order.is_sorted(), "{topic} is out of order: {in_order:?}");
            numbers.extend(in_order);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>(), "no event is missing or twice");
    assert!(!topics(&world).contains_key(world.topic()), "no topic is made for the table itself");
}

#[tokio::test]
async fn a_topic_that_rows_name_and_that_is_made_anew_is_refused() {
    let world = World::new("routed_anew").await;
    let sets = router(&world);
    assert_eq!(world.run(&arguments(&["init"], &sets)).code, Some(0));
    let sql = world.sql().await;
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  VALUES (gen_random_uuid(), gen_random_uuid(), $1, 'e', '{}')";
    // With the second topic goes on record how far the first was written.
    for name in ["T", "U"] {
        sql.execute(insert, &[&name]).await.unwrap();
        drain(&world, &sets);
    }
    let topic = format!("{}.of.T", world.name());
    Topics::new(&world).delete(&topic).await;
    eventually("the topic is gone", async || !topics(&world).contains_key(&topic)).await;
    sql.execute(insert, &[&"T"]).await.unwrap();
    let finished = world.run(&arguments(&["capture", "--until", "caught-up"], &sets));
    assert!(finished.code == Some(2) && finished.failure().contains(&topic), "{finished:?}");
}

#[tokio::test]
async fn a_row_that_names_no_topic_stops_capture_or_becomes_a_dead_letter() {
    let world = World::new("routed_nowhere").await;
    let sets = router(&world);
    assert_eq!(world.run(&arguments(&["init"], &sets)).code, Some(0));
    let sql = world.sql().await;
    for name in ["T", "no topic's name", "U"] {
        let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      VALUES (gen_random_uuid(), gen_random_uuid(), $1, 'e', '{}')";
        sql.execute(insert, &[&name]).await.unwrap();
    }
    let finished = world.run(&arguments(&["capture", "--until", "caught-up"], &sets));
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        finished.failure().contains("route.by.field") && !finished.failure().contains("no topic's"),
        "{finished:?}"
    );
    let there = topics(&world);
    assert!(there.contains_key(&format!("{}.of.T", world.name())));
    assert!(!there.contains_key(&format!("{}.of.U", world.name())));
    let command = ["capture", "--until", "caught-up", "--refused-rows", "dead-letter"];
    let finished = world.run(&arguments(&command, &sets));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, &format!("{}.of.U", world.name())), Some(1));
    assert_eq!(topic_end(&world, &format!("{}.dlq", world.topic())), Some(1));
}

#[tokio::test]
async fn transactions_and_messages_are_told_once_though_capture_is_killed() {
    const TRANSACTIONS: i64 = 300;
    let world = World::new("told").await;
    let sets = sets(&["provide.transaction.metadata=true", "skipped.operations=none"]);
    world.init(2);
    let sql = world.sql().await;
    let writing = tokio::spawn(async move {
        for number in 1..=TRANSACTIONS {
            let insert = format!(
                "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                 VALUES (gen_random_uuid(), gen_random_uuid(), 'T', '{number}', '{{}}')"
            );
            sql.batch_execute(&format!(
                "SELECT pg_logical_emit_message(false, 'alone', '{number}'); \
                 BEGIN; {insert}; SELECT pg_logical_emit_message(true, 'within', '{number}'); {insert}; \
                 TRUNCATE activity.event_outbox; COMMIT"
            ))
            .await
            .unwrap();
        }
    });
    let transactions = format!("{}.transaction", world.name());
    let written = || topic_end(&world, &transactions).unwrap_or(0);
    capture_killed(&world, &sets, 4, TRANSACTIONS * 2 / 6, written).await;
    writing.await.unwrap();
    drain(&world, &sets);

    let mut ended = BTreeMap::new();
    for record in records(&world, &transactions).iter().map(json) {
        let id = record["id"].as_str().unwrap().split(':').next().unwrap().to_owned();
        let (status, count) = (record["status"].as_str().unwrap(), record["event_count"].as_i64());
        match status {
            "BEGIN" => assert_eq!(ended.insert(id, None), None, "a transaction begins once"),
            _ => assert_eq!(ended.insert(id, Some(count)), Some(None), "it ends once, behind its begin"),
        }
    }
    assert_eq!(i64::try_from(ended.len()), Ok(TRANSACTIONS));
    assert!(ended.values().all(|count| *count == Some(Some(4))), "two rows, a message and a truncate");

    let messages: Vec<Value> = records(&world, &format!("{}.message", world.name())).iter().map(json).collect();
    for prefix in ["alone", "within"] {
        let of_prefix = messages.iter().filter(|message| message["message"]["prefix"] == prefix);
        let contents: Vec<String> = of_prefix.map(|message| content(&message["message"]["content"])).collect();
        let expected: Vec<String> = (1..=TRANSACTIONS).map(|number| number.to_string()).collect();
        assert_eq!(contents, expected, "each message once and in order");
    }

    let rows = records(&world, world.topic());
    let orders = rows.iter().map(json).map(|row| {
        let transaction = &row["transaction"];
        let id = transaction["id"].as_str().unwrap().split(':').next().unwrap().to_owned();
        (id, transaction["total_order"].as_i64().unwrap(), row["op"].as_str().unwrap().to_owned())
    });
    let orders: BTreeSet<_> = orders.collect();
    let expected = usize::try_from(3 * TRANSACTIONS).unwrap();
    assert_eq!((rows.len(), orders.len()), (expected, expected), "each event once");
    assert!(orders.iter().all(|(_, order, op)| matches!((order, op.as_str()), (1 | 3, "c") | (4, "t"))));
}

fn content(base64: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}
