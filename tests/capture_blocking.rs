//! `evp capture`: snapshots that a signal asks for and that the stream waits for, interrupted and beside writers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::capture_incremental::{SETS, world_with};
use crate::support::envelopes::{NewRecord, produce};
use crate::support::items::{items, write_items, written};
use crate::support::{World, eventually, free_address, http_get, topic_end};

const TABLE: &str = "public.items";
const BY_TOPIC: [&str; 4] = ["--set", "signal.enabled.channels=kafka", "--set", "signal.poll.interval.ms=50"];

fn capture<'a>(others: &[&'a str]) -> Vec<&'a str> {
    [&["capture"][..], &SETS, others].concat()
}

fn all_items() -> Value {
    json!({"type": "blocking", "data-collections": ["public.items"]})
}

async fn signal(sql: &Client, id: &str, data: &Value) {
    let insert = "INSERT INTO public.signals VALUES ($1, 'execute-snapshot', $2)";
    sql.execute(insert, &[&id, &data.to_string()]).await.unwrap();
}

async fn signal_by_topic(world: &World, data: &Value) {
    let value = json!({"id": "k", "type": "execute-snapshot", "data": data}).to_string();
    let record = NewRecord { key: Some(world.name().into()), value: Some(value.into()), ..NewRecord::default() };
    produce(world, &format!("{}-signal", world.name()), &[record]).await;
}

/// The topic's rows as they are in the end, and how many were read. Each change of a row comes once and in order; a row that
/// was read is not older than what the stream had told of it before.
fn folded(world: &World) -> (BTreeMap<i64, i64>, usize) {
    let (mut fold, mut told, mut gone) = (BTreeMap::new(), HashMap::<i64, i64>::new(), BTreeSet::new());
    let mut reads = 0;
    for (operation, _, row) in written(world, TABLE) {
        let id = row["id"].as_i64().unwrap();
        assert!(!gone.contains(&id), "row {id} comes ({operation}) behind its end");
        if operation == "d" {
            gone.insert(id);
            fold.remove(&id);
            continue;
        }
        let version = row["version"].as_i64().unwrap();
        match operation.as_str() {
            "r" => {
                reads += 1;
                assert!(version >= told.get(&id).copied().unwrap_or(0), "row {id} is read as it was before");
            }
            "c" => assert_eq!((version, told.insert(id, 0)), (0, None), "row {id}"),
            _ => {
                let before = told.insert(id, version);
                // Of the rows that were there before the slot the first change is told.
                assert_eq!(version, before.map_or(1, |before| before + 1), "row {id}");
            }
        }
        fold.insert(id, version);
    }
    (fold, reads)
}

async fn killed_beside_writers(test: &str, by_topic: bool) {
    const ROWS: i32 = 150_000;
    let (world, sql) = world_with(test, ROWS).await;
    let others: &[&str] = if by_topic { &BY_TOPIC } else { &[] };
    let (writer, is_over) = write_items(&world, ROWS).await;
    let topic = format!("{}.public.items", world.name());
    let address = free_address();
    let served = [others, &["--http", &address]].concat();
    let mut running = world.start(&capture(&served));
    running.event("streaming_started").await;
    eventually("the stream goes", async || topic_end(&world, &topic).unwrap_or(0) > 200).await;
    match by_topic {
        true => signal_by_topic(&world, &all_items()).await,
        false => signal(&sql, "all", &all_items()).await,
    }
    for _ in 0..2 {
        running.event("blocking_snapshot_started").await;
        let begun = topic_end(&world, &topic).unwrap_or(0);
        eventually("rows are read", async || topic_end(&world, &topic).unwrap_or(0) >= begun + 5_000).await;
        let (_, metrics) = http_get(&address, "/metrics").await.unwrap();
        assert!(metrics.contains("evp_capture_blocking_running 1"), "{metrics}");
        running.kill();
        running = world.start(&capture(&served));
    }
    running.event("blocking_snapshot_completed").await;
    let (_, metrics) = http_get(&address, "/metrics").await.unwrap();
    assert!(metrics.contains("evp_capture_blocking_running 0"), "{metrics}");
    let rows = metrics.lines().find_map(|line| line.strip_prefix("evp_capture_blocking_rows ")).unwrap();
    assert!(rows.parse::<f64>().unwrap() > 140_000.0, "{rows}");
    let end: String = sql.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    // Nothing behind the signal is confirmed by then, in the first round at least.
    running.kill();
    let mut last = world.start(&capture(others));
    last.event("streaming_started").await;
    let confirmed = "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2";
    eventually("the stream goes on", async || sql.query_one(confirmed, &[&end, &world.name()]).await.unwrap().get(0))
        .await;
    is_over.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(last.events("blocking_snapshot_started").is_empty(), "it was completed before: {:?}", last.log());
    assert!(last.events("capture_waiting").is_empty(), "{:?}", last.log());
    assert_eq!(last.stop().code, Some(0));
    let finished = world.run(&capture(&[others, &["--until", "caught-up"]].concat()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.contains("blocking_snapshot"), "{finished:?}");
    let (fold, reads) = folded(&world);
    assert_eq!(fold, items(&sql).await);
    assert!(reads > 155_000, "it began anew, {reads} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_snapshot_that_is_killed_beside_writers_begins_anew_and_no_change_is_lost_or_there_twice() {
    killed_beside_writers("block_killed", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_that_the_signal_topic_has_asked_for() {
    killed_beside_writers("block_topic", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_snapshot_stands_behind_its_signal_and_before_what_follows_it_in_the_same_transaction() {
    let (world, sql) = world_with("block_place", 3).await;
    let mut capture = world.start(&capture(&[]));
    capture.event("streaming_started").await;
    let statement = json!([{"data-collection": "public.items", "filter": "SELECT * FROM public.items WHERE id > 1"}]);
    let asked = json!({"type": "BLOCKING", "data-collections": ["public.items", "public.none"], "additional-conditions": statement});
    sql.batch_execute(&format!(
        "BEGIN; UPDATE public.items SET version = 1 WHERE id = 1; INSERT INTO public.signals VALUES ('a', 'execute-snapshot', '{asked}'); \
         UPDATE public.items SET version = 1 WHERE id = 3; COMMIT"
    ))
    .await
    .unwrap();
    let completed = capture.event("blocking_snapshot_completed").await;
    assert_eq!((&completed["rows"], capture.events("signal_collection_unknown").len()), (&json!(2), 1));
    let topic = format!("{}.public.items", world.name());
    eventually("the rest is streamed", async || topic_end(&world, &topic) == Some(4)).await;
    let mut marks: Vec<_> =
        written(&world, TABLE).into_iter().map(|(operation, mark, row)| (row["id"].clone(), operation, mark)).collect();
    marks.sort_by_key(|(id, ..)| id.as_i64());
    let expected = [(1, "u", "false"), (2, "r", "first"), (3, "r", "last"), (3, "u", "false")];
    let expected = expected.map(|(id, operation, mark)| (json!(id), operation.to_owned(), mark.to_owned()));
    assert_eq!(marks, expected);

    // What the server refuses is told, and the stream goes on.
    let wrong = json!([{"data-collection": "public.items", "filter": "id > 1"}]);
    signal(
        &sql,
        "b",
        &json!({"type": "blocking", "data-collections": ["public.items"], "additional-conditions": wrong}),
    )
    .await;
    capture.event("blocking_snapshot_failed").await;
    sql.batch_execute("UPDATE public.items SET version = 2 WHERE id = 3").await.unwrap();
    eventually("the stream goes on", async || topic_end(&world, &topic) == Some(5)).await;
    assert_eq!(capture.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_topic_it_needs_no_signal_table_and_no_key_and_one_that_is_stopped_is_taken_again() {
    let world = World::new("block_keyless").await;
    let sql = world.sql().await;
    let tables = "CREATE TABLE public.keyless (v int); CREATE TABLE public.empty (id int PRIMARY KEY); \
                  ALTER TABLE public.keyless REPLICA IDENTITY FULL; \
                  INSERT INTO public.keyless SELECT n FROM generate_series(1, 100000) n";
    sql.batch_execute(tables).await.unwrap();
    let sets = ["table.include.list=public.empty,public.keyless", "message.key.columns=", "snapshot.mode=no_data"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let finished = world.run(&[&["init"][..], &sets].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let arguments = [&["capture"][..], &sets, &BY_TOPIC].concat();
    let mut stopped = world.start(&arguments);
    stopped.event("streaming_started").await;
    signal_by_topic(&world, &json!({"type": "blocking", "data-collections": ["public.*"]})).await;
    let topic = format!("{}.public.keyless", world.name());
    eventually("rows are read", async || topic_end(&world, &topic).unwrap_or(0) > 1_000).await;
    let finished = stopped.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.contains("blocking_snapshot_completed"), "it is stopped in the middle: {finished:?}");

    let mut capture = world.start(&arguments);
    assert_eq!(capture.event("blocking_snapshot_completed").await["rows"], json!(100_000));
    sql.batch_execute("INSERT INTO public.keyless VALUES (0)").await.unwrap();
    let rows = || written(&world, "public.keyless");
    eventually("the stream goes on", async || rows().last().is_some_and(|(operation, ..)| operation == "c")).await;
    assert_eq!(capture.stop().code, Some(0));
    let (all, mut read) = (rows(), BTreeSet::new());
    for (operation, _, row) in &all {
        if operation == "r" {
            read.insert(row["v"].as_i64());
        }
    }
    assert_eq!((read.len(), &all[all.len() - 2].1), (100_000, &"last".to_owned()));
}

/// A statement that breaks its connection, as one that needs more memory than there is, is broken at each attempt.
#[tokio::test]
async fn one_whose_statement_never_ends_well_is_given_up_and_the_stream_goes_on() {
    let (world, sql) = world_with("blocking_poison", 10).await;
    let filter = "SELECT * FROM public.items WHERE pg_terminate_backend(pg_backend_pid())";
    let data = json!({
        "type": "blocking",
        "data-collections": ["public.items"],
        "additional-conditions": [{ "data-collection": "public.items", "filter": filter }],
    });
    let mut capture = world.start(&capture(&[]));
    capture.event("streaming_started").await;
    signal(&sql, "poison", &data).await;
    sql.execute("UPDATE public.items SET version = 1 WHERE id = 1", &[]).await.unwrap();
    let failed = capture.event("blocking_snapshot_failed").await;
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("PostgreSQL")), "{failed}");
    let topic = format!("{}.public.items", world.name());
    eventually("the row behind the signal is there", async || topic_end(&world, &topic) == Some(1)).await;
    assert_eq!(capture.stop().code, Some(0));
}
