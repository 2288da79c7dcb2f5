//! `evp capture`: incremental snapshots by signals, beside writers, interrupted, and signals that are none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::envelopes::{NewRecord, produce};
use crate::support::items::{FILL, ITEMS, items, write_items, written};
use crate::support::{Running, World, eventually, topic_end};

const TABLE: &str = "public.items";
const SIGNALS: &str = "CREATE TABLE public.signals (id text PRIMARY KEY, type text, data text)";

/// A world with these rows; slot, publication and topics as `init` makes them.
pub(crate) async fn world_with(test: &str, rows: i32) -> (World, Client) {
    let world = World::new(test).await;
    let sql = world.sql().await;
    sql.batch_execute(&format!("{ITEMS}; {SIGNALS}")).await.unwrap();
    sql.execute(FILL, &[&rows]).await.unwrap();
    let finished = world.run(&[&["init", "--partitions", "3"][..], &SETS].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    (world, sql)
}

pub(crate) const SETS: [&str; 8] = [
    "--set",
    "table.include.list=public.items",
    "--set",
    "message.key.columns=",
    "--set",
    "snapshot.mode=no_data",
    "--set",
    "signal.data.collection=public.signals",
];

fn capture<'a>(chunk: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    [&["capture"][..], &SETS, &["--set", chunk], others].concat()
}

async fn signal(sql: &Client, id: &str, kind: &str, data: &Value) {
    sql.execute("INSERT INTO public.signals VALUES ($1, $2, $3)", &[&id, &kind, &data.to_string()]).await.unwrap();
}

fn all_items() -> Value {
    json!({"type": "incremental", "data-collections": ["public.items"]})
}

/// The ids of the rows that a snapshot has brought, with repetitions.
fn read_ids(world: &World) -> Vec<i64> {
    let read = written(world, TABLE).into_iter().filter(|(operation, ..)| operation == "r");
    let mut ids: Vec<i64> = read
        .map(|(_, mark, row)| {
            assert_eq!(mark, "incremental");
            row["id"].as_i64().unwrap()
        })
        .collect();
    ids.sort_unstable();
    ids
}

/// Waits until all signals before this one have been dealt with.
async fn told(capture: &Running, sql: &Client, id: &str) {
    signal(sql, id, "log", &json!({"message": "so far"})).await;
    eventually("the stream has come to it", async || capture.events("signal_log").iter().any(|said| said["id"] == id))
        .await;
}

async fn completed(capture: &Running, count: usize) {
    eventually("the snapshot is completed", async || capture.events("incremental_snapshot_completed").len() >= count)
        .await;
}

/// The topic's rows as they are in the end. Each change of a row comes once and in order, and a snapshot's row has the
/// version that was told last, if one was.
fn folded(world: &World) -> BTreeMap<i64, i64> {
    let (mut fold, mut last, mut gone) = (BTreeMap::new(), HashMap::<i64, i64>::new(), BTreeSet::new());
    for (operation, mark, row) in written(world, TABLE) {
        let (id, version) = (row["id"].as_i64().unwrap(), row["version"].as_i64());
        assert!(!gone.contains(&id), "row {id} comes ({operation}) behind its end");
        if operation == "d" {
            gone.insert(id);
            fold.remove(&id);
            continue;
        }
        let version = version.unwrap();
        let told = last.insert(id, version);
        match operation.as_str() {
            "r" => assert_eq!((mark.as_str(), told.unwrap_or(version)), ("incremental", version), "row {id}"),
            "c" => assert_eq!((version, told), (0, None), "row {id}"),
            _ => assert_eq!(version, told.map_or(version, |told| told + 1), "row {id}"),
        }
        fold.insert(id, version);
    }
    fold
}

/// Whether a slot is confirmed beyond a position.
const CONFIRMED: &str = "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2";

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_killed_beside_writers_goes_on_from_its_last_recorded_chunk_and_folds_to_the_table() {
    let (_world, sql) = killed_beside_writers("inc_killed", &[]).await;
    assert!(marks(&sql).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_snapshot_that_is_killed_beside_writers_folds_to_the_table_and_writes_to_none() {
    let (_world, sql) = killed_beside_writers("inc_read_only", &["--set", "read.only=true"]).await;
    assert_eq!(marks(&sql).await, 0);
}

async fn marks(sql: &Client) -> i64 {
    let marks = "SELECT count(*) FROM public.signals WHERE type LIKE 'snapshot-window-%'";
    sql.query_one(marks, &[]).await.unwrap().get(0)
}

async fn killed_beside_writers(test: &str, more_sets: &[&str]) -> (World, Client) {
    const ROWS: i32 = 8_000;
    let (world, sql) = world_with(test, ROWS).await;
    let (writer, is_over) = write_items(&world, ROWS).await;
    let (topic, chunk) = (format!("{}.public.items", world.name()), "incremental.snapshot.chunk.size=20");
    signal(&sql, "all", "execute-snapshot", &all_items()).await;
    for kill in 1..=4_u32 {
        let mut capture = world.start(&capture(chunk, more_sets));
        capture.event("streaming_started").await;
        let begun = topic_end(&world, &topic).unwrap_or(0);
        let more = i64::from(ROWS) / 7 * i64::from(kill % 3 + 1) / 2;
        eventually("more is written", async || topic_end(&world, &topic).unwrap_or(0) >= begun + more).await;
        if kill == 4 {
            let end: String = sql.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
            eventually("chunks are on record", async || {
                sql.query_one(CONFIRMED, &[&end, &world.name()]).await.unwrap().get(0)
            })
            .await;
        }
        assert!(capture.events("incremental_snapshot_completed").is_empty(), "it is killed in the middle");
        capture.kill();
    }
    let mut last = world.start(&capture(chunk, more_sets));
    let resumed = last.event("incremental_snapshot_resumed").await;
    assert!(resumed["rows_done"].as_i64().unwrap() > 0, "{resumed}");
    completed(&last, 1).await;
    is_over.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(last.events("capture_waiting").is_empty(), "{:?}", last.log());
    assert_eq!(last.stop().code, Some(0));
    let again = world.run(&capture(chunk, &[more_sets, &["--until", "caught-up"]].concat()));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(!again.stderr.contains("incremental_snapshot_requested"), "the signal is taken once: {again:?}");
    assert_eq!(folded(&world), items(&sql).await);
    (world, sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_paused_goes_on_and_is_stopped_by_signals() {
    let (world, sql) = world_with("inc_stopped", 7).await;
    let mut capture = world.start(&capture("incremental.snapshot.chunk.size=2", &[]));
    capture.event("streaming_started").await;
    let (locker, lock) = (world.sql().await, "BEGIN; LOCK TABLE public.items IN ACCESS EXCLUSIVE MODE");
    locker.batch_execute(lock).await.unwrap();
    signal(&sql, "1", "execute-snapshot", &all_items()).await;
    signal(&sql, "2", "pause-snapshot", &json!({"type": "incremental"})).await;
    told(&capture, &sql, "3").await;
    locker.batch_execute("COMMIT").await.unwrap();
    eventually("the chunk that was begun is written", async || read_ids(&world) == [1, 2]).await;
    told(&capture, &sql, "4").await;
    assert_eq!(read_ids(&world), [1, 2], "and no other");
    signal(&sql, "5", "resume-snapshot", &json!({"type": "incremental"})).await;
    completed(&capture, 1).await;
    assert_eq!(read_ids(&world), [1, 2, 3, 4, 5, 6, 7]);

    locker.batch_execute(lock).await.unwrap();
    signal(&sql, "6", "execute-snapshot", &all_items()).await;
    signal(&sql, "7", "stop-snapshot", &json!({"type": "incremental", "data-collections": ["public.i.*"]})).await;
    told(&capture, &sql, "8").await;
    locker.batch_execute("COMMIT").await.unwrap();
    told(&capture, &sql, "8b").await;
    assert_eq!(read_ids(&world).len(), 7, "nothing more is read");

    let data = json!({"data-collections": ["public.items"], "surrogate-key": "version",
        "additional-conditions": [{"data-collection": "public.items", "filter": "id > 5"}]});
    signal(&sql, "9", "execute-snapshot", &data).await;
    completed(&capture, 2).await;
    assert_eq!(read_ids(&world), [1, 2, 3, 4, 5, 6, 6, 7, 7]);
    assert_eq!(capture.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_the_signal_topic_are_signals_once_and_those_of_others_are_not() {
    let (world, sql) = world_with("inc_kafka", 5).await;
    let topic = format!("{}-signal", world.name());
    let record =
        |key: &str, value: &str| NewRecord { key: Some(key.into()), value: Some(value.into()), ..NewRecord::default() };
    let channels = ["--set", "signal.enabled.channels=kafka", "--set", "signal.poll.interval.ms=50"];
    let arguments = capture("incremental.snapshot.chunk.size=2", &channels);
    produce(&world, &topic, &[record(world.name(), r#"{"id":"before","type":"log","data":{"message":"m"}}"#)]).await;
    let mut capture = world.start(&arguments);
    capture.event("streaming_started").await;
    let asked = json!({"id": "k", "type": "execute-snapshot", "data": all_items()}).to_string();
    let others = [record("another", &asked), record(world.name(), "{nope"), record(world.name(), &asked)];
    produce(&world, &topic, &others).await;
    completed(&capture, 1).await;
    assert_eq!(read_ids(&world), [1, 2, 3, 4, 5]);
    assert_eq!(capture.events("signal_log").len(), 1);
    assert_eq!((capture.events("signal_of_another").len(), capture.events("signal_ignored").len()), (1, 1));
    assert_eq!(capture.stop().code, Some(0));

    // A row of the signal table is none where the channel is Kafka.
    signal(&sql, "by table", "execute-snapshot", &all_items()).await;
    let mut again = world.start(&arguments);
    again.event("streaming_started").await;
    produce(&world, &topic, &[record(world.name(), r#"{"type":"log","data":{"message":"again"}}"#)]).await;
    eventually("it is taken", async || !again.events("signal_log").is_empty()).await;
    let log = again.events("signal_log");
    assert_eq!((log.len(), &log[0]["message"]), (1, &json!("again")), "no signal is taken twice: {log:?}");
    assert_eq!(again.stop().code, Some(0));
    assert_eq!(read_ids(&world), [1, 2, 3, 4, 5]);
}

/// Nothing but the position of the stream tells that a mark will never come.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_marks_are_not_published_is_paused_with_the_remedy() {
    let (world, sql) = world_with("inc_unmarked", 3).await;
    let without_marks = "ALTER PUBLICATION debezium_publication SET TABLE public.items, public.signals \
                         WHERE (id NOT LIKE '%-open' AND id NOT LIKE '%-close')";
    sql.batch_execute(without_marks).await.unwrap();
    let mut capture = world.start(&capture("incremental.snapshot.chunk.size=2", &[]));
    capture.event("streaming_started").await;
    signal(&sql, "all", "execute-snapshot", &all_items()).await;
    let told = capture.event("incremental_snapshot_given_up").await;
    assert!(told["remedy"].as_str().unwrap().contains("publication"), "{told}");
    sql.batch_execute("UPDATE public.items SET version = 1 WHERE id = 3").await.unwrap();
    eventually("the stream goes on", async || written(&world, TABLE).iter().any(|(operation, ..)| operation == "u"))
        .await;
    assert_eq!((read_ids(&world), capture.stop().code), (Vec::new(), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_signal_is_told_and_stops_nothing() {
    let (world, sql) = world_with("inc_bad", 3).await;
    sql.batch_execute(
        "CREATE TABLE public.keyless (v text); ALTER TABLE public.items ADD CONSTRAINT v CHECK (version >= 0)",
    )
    .await
    .unwrap();
    let mut capture = world.start(&capture("incremental.snapshot.chunk.size=2", &[]));
    capture.event("streaming_started").await;
    let bad = [
        ("dance", "{}"),
        ("execute-snapshot", "{nope"),
        ("execute-snapshot", r#"{"data-collections":[]}"#),
        ("stop-snapshot", r#"{"type":"blocking","data-collections":["public.items"]}"#),
        ("log", "{}"),
    ];
    for (number, (kind, data)) in bad.into_iter().enumerate() {
        let id = number.to_string();
        sql.execute("INSERT INTO public.signals VALUES ($1, $2, $3)", &[&id, &kind, &data]).await.unwrap();
    }
    sql.batch_execute("INSERT INTO public.signals VALUES ('null', NULL, NULL)").await.unwrap();
    told(&capture, &sql, "then").await;
    let ignored = capture.events("signal_ignored");
    assert_eq!(ignored.len(), bad.len() + 1, "{ignored:?}");
    assert!(ignored[3]["why"].as_str().unwrap().contains("blocking"), "{ignored:?}");
    // What the server refuses is told, and the next signal is taken.
    let condition = |filter: &str| {
        let conditions = json!([{"data-collection": "public.items", "filter": filter}]);
        json!({"data-collections": ["public.items", "public.none"], "additional-conditions": conditions})
    };
    signal(&sql, "wrong", "execute-snapshot", &condition("nothing = 1")).await;
    capture.event("incremental_snapshot_table_skipped").await;
    assert_eq!(capture.events("signal_collection_unknown").len(), 1);
    completed(&capture, 1).await;
    signal(&sql, "right", "execute-snapshot", &condition("id < 3")).await;
    completed(&capture, 2).await;
    assert_eq!(read_ids(&world), [1, 2]);
    sql.batch_execute("UPDATE public.items SET version = 1 WHERE id = 3").await.unwrap();
    eventually("the stream goes on", async || written(&world, TABLE).iter().any(|(operation, ..)| operation == "u"))
        .await;
    assert_eq!(capture.stop().code, Some(0));
}
