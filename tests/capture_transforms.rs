//! `evp capture` with single message transforms.

use serde_json::Value;

use crate::support::{Record, World, eventually, records, topic_end};

const UNWRAPPED: [&str; 14] = [
    "--set",
    "transforms=unwrap,route",
    "--set",
    "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState",
    "--set",
    "transforms.unwrap.delete.tombstone.handling.mode=drop",
    "--set",
    "transforms.unwrap.add.headers=op",
    "--set",
    "transforms.route.predicate=rows",
    "--set",
    "predicates=rows",
    "--set",
    "predicates.rows.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
];

fn arguments<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [
        command,
        &UNWRAPPED,
        &["--set", "predicates.rows.pattern=.*outbox", "--set", "transforms.route.replacement=$1.rows.$3"],
    ]
    .concat()
}

/// What is on the topic after so many rows, of which every third was deleted, and capture was killed between them.
async fn written_by_killed_captures(world: &World, rows: i64, more: &[&str]) -> Vec<Record> {
    let with = |command: &[&'static str]| [arguments(command), more.to_vec()].concat();
    let init = world.run(&with(&["init", "--partitions", "3"]));
    assert_eq!(init.code, Some(0), "{init:?}");
    let topic = world.topic().replace(".activity.", ".rows.");
    let sql = world.sql().await;
    let writing = tokio::spawn(async move {
        for number in 1..=rows {
            let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                          VALUES (gen_random_uuid(), gen_random_uuid(), $1, 'T', '{}')";
            sql.execute(insert, &[&number.to_string()]).await.unwrap();
            if number % 3 == 0 {
                sql.execute("DELETE FROM activity.event_outbox WHERE aggregate_type = $1", &[&number.to_string()])
                    .await
                    .unwrap();
            }
        }
    });
    for kill in 1..=4 {
        let mut capture = world.start(&with(&["capture"]));
        capture.event("streaming_started").await;
        eventually("more is written", async || topic_end(world, &topic).unwrap_or(0) >= kill * rows / 6).await;
        capture.kill();
    }
    writing.await.unwrap();
    let finished = world.run(&with(&["capture", "--until", "caught-up"]));
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let records = records(world, &topic);
    let mut numbers: Vec<i64> = records.iter().map(number_of).collect();
    assert_eq!(numbers.len(), usize::try_from(rows).unwrap(), "no row is missing or twice, and no delete is written");
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=rows).collect::<Vec<_>>());
    records
}

fn number_of(record: &Record) -> i64 {
    let row: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    row["aggregate_type"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn rows_without_envelopes_arrive_once_though_capture_is_killed_and_deletes_are_left_out() {
    let world = World::new("unwrapped").await;
    let records = written_by_killed_captures(&world, 1_800, &[]).await;
    let has_op = |(name, value): &(String, Option<Vec<u8>>)| name == "__op" && value.as_deref() == Some(b"c");
    assert!(records.iter().all(|record| record.headers.iter().any(has_op)));
}

#[tokio::test]
async fn rows_whose_keys_are_of_their_values_arrive_once_though_capture_is_killed() {
    let world = World::new("keys_of_values").await;
    let keys = [
        "--set",
        "transforms=unwrap,route,key,field",
        "--set",
        "transforms.key.type=org.apache.kafka.connect.transforms.ValueToKey",
        "--set",
        "transforms.key.fields=aggregate_type",
        "--set",
        "transforms.field.type=org.apache.kafka.connect.transforms.ExtractField$Key",
        "--set",
        "transforms.field.field=aggregate_type",
        "--set",
        "heartbeat.interval.ms=0",
    ];
    let records = written_by_killed_captures(&world, 900, &keys).await;
    let key = |record: &Record| String::from_utf8(record.key.clone().unwrap()).unwrap();
    assert!(records.iter().all(|record| key(record) == format!("\"{}\"", number_of(record))));
}

#[tokio::test]
async fn what_evp_cannot_write_as_debezium_does_is_refused_before_streaming() {
    let world = World::new("transforms_refused").await;
    let mask = ["capture", "--set", "transforms=mask", "--set", "transforms.mask.type=com.example.Mask"];
    let finished = world.run(&mask);
    assert!(finished.code == Some(64) && finished.failure().contains("com.example.Mask"), "{finished:?}");
    world.init(1);
    // The outbox has no columns of the names that the router looks for by default.
    let router = [
        "capture",
        "--set",
        "transforms=outbox",
        "--set",
        "transforms.outbox.type=io.debezium.transforms.outbox.EventRouter",
    ];
    let finished = world.run(&router);
    assert!(finished.code != Some(0) && finished.failure().contains("wants a column"), "{finished:?}");
    let filter = [
        "capture",
        "--set",
        "transforms=filter",
        "--set",
        "transforms.filter.type=io.debezium.transforms.Filter",
        "--set",
        "transforms.filter.language=jsr223.groovy",
        "--set",
        "transforms.filter.condition=value.after?.nosuch == 1",
    ];
    let finished = world.run(&filter);
    assert!(finished.code != Some(0) && finished.failure().contains("value.after.nosuch"), "{finished:?}");
    let added = arguments(&[
        "capture",
        "--set",
        "transforms.unwrap.add.fields=op:payload",
        "--set",
        "transforms.unwrap.add.fields.prefix=",
    ]);
    let finished = world.run(&added);
    assert!(finished.code != Some(0) && finished.failure().contains("payload"), "{finished:?}");
}
