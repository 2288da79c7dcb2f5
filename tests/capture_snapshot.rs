//! `evp capture`: snapshots, interrupted, repeated and beside writers.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::envelopes::{NewRecord, produce};
use crate::support::items::{FILL, ITEMS, items, write_items, written};
use crate::support::{Finished, OwnStack, World, eventually, free_address, http_get, records, topic_end};

/// A world with these tables; slot, publication and topics as `init` makes them for the tables that are `published`.
async fn world_with(test: &str, statements: &str, published: &str) -> (World, Client) {
    let world = World::new(test).await;
    let sql = world.sql().await;
    sql.batch_execute(statements).await.unwrap();
    let tables = format!("table.include.list={published}");
    let finished = world.run(&["init", "--partitions", "3", "--set", &tables, "--set", "message.key.columns="]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    (world, sql)
}

/// The arguments of a capture of all published tables.
fn capture<'a>(mode: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let sets = ["--set", "table.include.list=", "--set", "message.key.columns=", "--set", mode];
    [&["capture"][..], &sets, others].concat()
}

fn caught_up(world: &World, mode: &str, others: &[&str]) -> Finished {
    let finished = world.run(&capture(mode, &[others, &["--until", "caught-up"]].concat()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

fn operations(world: &World, table: &str) -> Vec<String> {
    written(world, table).into_iter().map(|(operation, ..)| operation).collect()
}

/// The topic's rows as they are in the end. Each row is read once at the most, and each of its changes comes once, in order.
fn folded_items(world: &World) -> BTreeMap<i64, i64> {
    let (mut fold, mut read) = (BTreeMap::new(), HashMap::new());
    let mut streamed: HashMap<i64, i64> = HashMap::new();
    for (operation, _, row) in written(world, "public.items") {
        let (id, version) = (row["id"].as_i64().unwrap(), row["version"].as_i64().unwrap());
        match operation.as_str() {
            "r" => {
                assert_eq!(read.insert(id, version), None, "row {id} is read twice");
                assert!(!streamed.contains_key(&id), "row {id} is read behind a change of it");
            }
            "c" => assert_eq!((version, streamed.insert(id, 0)), (0, None), "row {id}"),
            "u" => match streamed.insert(id, version) {
                Some(before) => assert_eq!(version, before + 1, "row {id}"),
                // A later attempt may have read what the stream tells from the first one on.
                None => assert!(version <= read[&id] + 1, "row {id}: {version} behind {}", read[&id]),
            },
            _ => {
                fold.remove(&id);
                continue;
            }
        }
        fold.insert(id, version);
    }
    fold
}

#[tokio::test]
async fn a_snapshot_that_is_killed_beside_writers_goes_on_and_each_row_and_change_is_there_once() {
    const ROWS: i32 = 200_000;
    let (world, sql) = world_with("snapshot_killed", ITEMS, "public.items").await;
    sql.execute(FILL, &[&ROWS]).await.unwrap();
    // Less than it takes: the slot's connection is kept alive meanwhile.
    sql.batch_execute(&format!("ALTER DATABASE {} SET wal_sender_timeout = '4s'", world.name())).await.unwrap();
    let (writer, is_over) = write_items(&world, ROWS).await;
    let topic = format!("{}.public.items", world.name());
    for kill in 1..=4 {
        let mut capture = world.start(&capture("snapshot.mode=initial", &[]));
        capture.event("snapshot_started").await;
        let least = i64::from(ROWS) * kill / 5;
        eventually("more is read", async || topic_end(&world, &topic).unwrap_or(0) >= least).await;
        capture.kill();
        // Not on the way any more.
        assert!(topic_end(&world, &topic).unwrap() < i64::from(ROWS), "it was killed in the middle");
    }
    let mut last = world.start(&capture("snapshot.mode=initial", &[]));
    let resumed = last.event("snapshot_started").await;
    assert!(resumed["rows_done"].as_i64().unwrap() > 100_000, "{resumed}");
    last.event("snapshot_completed").await;
    is_over.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(last.events("capture_waiting").is_empty(), "{:?}", last.log());
    assert_eq!(last.stop().code, Some(0));
    let again = caught_up(&world, "snapshot.mode=initial", &[]);
    assert!(!again.stderr.contains("snapshot_started"), "it is not read again: {again:?}");
    assert_eq!(folded_items(&world), items(&sql).await);
}

#[tokio::test]
async fn a_snapshot_is_told_of_while_it_runs_and_goes_on_where_it_was_stopped() {
    const ROWS: i32 = 150_000;
    let (world, sql) = world_with("snapshot_stopped", ITEMS, "public.items").await;
    sql.execute(FILL, &[&ROWS]).await.unwrap();
    sql.batch_execute("ANALYZE public.items").await.unwrap();
    let address = free_address();
    let mut running = world.start(&capture("snapshot.mode=initial", &["--http", &address]));
    running.event("snapshot_started").await;
    let mut told = None;
    eventually("readiness tells of the snapshot", async || {
        told = http_get(&address, "/readyz").await.filter(|(_, body)| body.contains("of about 150000 rows"));
        told.is_some()
    })
    .await;
    assert_eq!(told.unwrap().0, 503);
    let (_, metrics) = http_get(&address, "/metrics").await.unwrap();
    for line in ["evp_capture_snapshot_running 1", "evp_capture_snapshot_estimated_rows 150000"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'COPY (SELECT%'";
    eventually("its connection is ended", async || sql.execute(end, &[&world.name()]).await.unwrap() == 1).await;
    eventually("it goes on by itself", async || running.events("snapshot_started").len() == 2).await;
    let stopped = running.stop();
    assert!(stopped.code == Some(0) && stopped.stderr.contains("snapshot_interrupted"), "{stopped:?}");
    caught_up(&world, "snapshot.mode=initial", &[]);
    assert_eq!(folded_items(&world), items(&sql).await);
    assert_eq!(operations(&world, "public.items").len(), usize::try_from(ROWS).unwrap(), "no row twice");
}

#[tokio::test]
async fn what_the_slot_holds_from_before_the_snapshot_is_read_and_not_streamed_as_well() {
    let (world, sql) = world_with("snapshot_between", ITEMS, "public.items").await;
    let after = "INSERT INTO public.items VALUES (4, 0, '')";
    // Behind the slot: a row that is read, one that is gone again, and one whose transaction is still open.
    sql.batch_execute(
        "INSERT INTO public.items VALUES (1, 0, ''), (2, 0, ''); UPDATE public.items SET version = 1 WHERE id = 1; \
         DELETE FROM public.items WHERE id = 2",
    )
    .await
    .unwrap();
    let open = world.sql().await;
    open.batch_execute("BEGIN; INSERT INTO public.items VALUES (3, 0, '')").await.unwrap();
    let mut running = world.start(&capture("snapshot.mode=initial", &[]));
    running.event("snapshot_completed").await;
    open.batch_execute("COMMIT").await.unwrap();
    sql.batch_execute(after).await.unwrap();
    let topic = format!("{}.public.items", world.name());
    eventually("what came later is streamed", async || topic_end(&world, &topic) == Some(3)).await;
    assert_eq!(running.stop().code, Some(0));
    let mut written: Vec<_> = written(&world, "public.items");
    written.sort_by_key(|(.., row)| row["id"].as_i64());
    let short: Vec<_> =
        written.iter().map(|(operation, mark, row)| (operation.as_str(), mark.as_str(), &row["id"])).collect();
    assert_eq!(short, [("r", "last", &json!(1)), ("c", "false", &json!(3)), ("c", "false", &json!(4))]);
    assert_eq!(written[0].2["version"], 1);
}

#[tokio::test]
async fn modes_say_whether_a_start_reads_and_whether_it_streams() {
    let (world, sql) = world_with("snapshot_modes", ITEMS, "public.items").await;
    sql.execute(FILL, &[&3]).await.unwrap();
    let operations = || operations(&world, "public.items").concat();
    let only = world.run(&capture("snapshot.mode=initial_only", &[]));
    assert_eq!(only.code, Some(0), "it ends by itself: {only:?}");
    sql.batch_execute("DELETE FROM public.items WHERE id = 3").await.unwrap();
    let again = world.run(&capture("snapshot.mode=initial_only", &[]));
    assert_eq!((again.code, operations().as_str()), (Some(0), "rrr"), "{again:?}");
    // The key of the row that is deleted tells its partition, so the order over all of them is not that of time.
    caught_up(&world, "snapshot.mode=when_needed", &[]);
    assert_eq!(operations().len(), 4);
    caught_up(&world, "snapshot.mode=always", &[]);
    sql.batch_execute("DELETE FROM public.items WHERE id = 2").await.unwrap();
    caught_up(&world, "snapshot.mode=always", &[]);
    let (reads, deletes) = (operations().matches('r').count(), operations().matches('d').count());
    assert_eq!((reads, deletes), (3 + 2 + 1, 2), "a deletion between two snapshots is not lost");
    assert_eq!(folded(&world), [1]);
}

/// The ids that are left in the end.
fn folded(world: &World) -> Vec<i64> {
    let mut left = BTreeMap::new();
    for (operation, _, row) in written(world, "public.items") {
        left.insert(row["id"].as_i64().unwrap(), operation != "d");
    }
    left.into_iter().filter_map(|(id, is_left)| is_left.then_some(id)).collect()
}

#[tokio::test]
async fn a_slot_that_is_gone_is_made_again_and_the_tables_are_read_where_the_mode_asks_for_it() {
    let (world, sql) = world_with("snapshot_needed", ITEMS, "public.items").await;
    sql.execute(FILL, &[&2]).await.unwrap();
    let drop = "SELECT pg_drop_replication_slot($1)";
    sql.execute(drop, &[&world.name()]).await.unwrap();
    let first = caught_up(&world, "snapshot.mode=initial", &[]);
    assert!(first.stderr.contains("slot_created"), "a first start makes the slot: {first:?}");
    sql.execute(drop, &[&world.name()]).await.unwrap();
    sql.batch_execute("INSERT INTO public.items VALUES (3, 0, '')").await.unwrap();
    let refused = world.run(&capture("snapshot.mode=initial", &["--until", "caught-up"]));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    caught_up(&world, "snapshot.mode=when_needed", &[]);
    assert_eq!(operations(&world, "public.items").concat(), "rrrrr");
    assert_eq!(folded(&world), [1, 2, 3]);
}

/// Debezium's mode is `initial` where a file gives none.
#[tokio::test]
async fn a_posted_file_without_a_mode_starts_with_a_snapshot() {
    let world = World::new("snapshot_posted").await;
    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE SCHEMA stock; CREATE TABLE stock.parts (id int PRIMARY KEY); INSERT INTO stock.parts VALUES (1); \
         CREATE PUBLICATION dbz_publication FOR TABLE stock.parts",
    )
    .await
    .unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/connectors/bare-defaults.json");
    let finished = world.run(&["capture", "--until", "caught-up", "--connector", file]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let records = records(&world, &format!("{}.stock.parts", world.name()));
    let value: Value = serde_json::from_slice(records[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((records.len(), &value["payload"]["op"]), (1, &json!("r")));
}

#[tokio::test]
async fn half_a_snapshot_of_debeziums_is_refused_with_what_to_do_about_it() {
    let (world, sql) = world_with("snapshot_half", ITEMS, "public.items").await;
    sql.execute(FILL, &[&2]).await.unwrap();
    let topic = format!("{}.public.items", world.name());
    let source = json!({ "snapshot": "true", "sequence": "[null,\"5\"]", "txId": 700, "lsn": 5 });
    let value = json!({ "before": null, "after": { "id": 1, "version": 0 }, "source": source, "op": "r" });
    produce(&world, &topic, &[NewRecord { value: Some(value.to_string().into_bytes()), ..NewRecord::default() }]).await;
    let refused = world.run(&capture("snapshot.mode=initial", &["--until", "caught-up"]));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for remedy in ["snapshot.mode=always", "snapshot.mode=no_data"] {
        assert!(refused.failure().contains(remedy), "{refused:?}");
    }
    caught_up(&world, "snapshot.mode=always", &[]);
    assert_eq!(folded(&world), [1, 2]);
}

/// Debezium writes all rows and columns of its snapshots, and of later changes only what is published.
#[tokio::test]
async fn a_snapshot_has_what_the_publication_sends_and_no_more() {
    let tables = "CREATE TABLE public.lists (id int PRIMARY KEY, secret text, twice int GENERATED ALWAYS AS (id * 2) STORED); \
                  CREATE TABLE public.parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
                  CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM (0) TO (10); \
                  CREATE TABLE public.parts_2 PARTITION OF public.parts FOR VALUES FROM (10) TO (20); \
                  CREATE TABLE public.parent (id int PRIMARY KEY); CREATE TABLE public.child () INHERITS (public.parent); \
                  CREATE TABLE public.left_out (id int PRIMARY KEY)";
    let (world, sql) = world_with("snapshot_published", tables, "public.left_out").await;
    sql.batch_execute(
        "INSERT INTO public.lists SELECT n, 's' FROM generate_series(1, 5) n; INSERT INTO public.parts VALUES (1, 'a'), (11, 'b'); \
         INSERT INTO public.parent VALUES (1); INSERT INTO public.child VALUES (2); INSERT INTO public.left_out VALUES (1); \
         ALTER PUBLICATION debezium_publication ADD TABLE public.lists (id) WHERE (id > 3), public.parts, public.parent",
    )
    .await
    .unwrap();
    // A slot that is older than its publication cannot be read.
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    caught_up(&world, "snapshot.mode=initial", &["--set", "snapshot.include.collection.list=public\\.(?!left).*"]);
    let rows = |table: &str| {
        let mut rows: Vec<String> = written(&world, table).into_iter().map(|(.., row)| row.to_string()).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows("public.lists"), [r#"{"id":4}"#, r#"{"id":5}"#]);
    assert_eq!(rows("public.parts"), [r#"{"id":1,"v":"a"}"#, r#"{"id":11,"v":"b"}"#]);
    assert_eq!((rows("public.parent"), rows("public.child")), (vec![r#"{"id":1}"#.into()], vec![r#"{"id":2}"#.into()]));
    for table in ["public.parts_1", "public.left_out"] {
        assert_eq!(topic_end(&world, &format!("{}.{table}", world.name())).unwrap_or(0), 0, "{table}");
    }
}

#[tokio::test]
async fn a_row_that_the_topic_does_not_take_is_named_or_becomes_a_dead_letter() {
    let (world, sql) = world_with("snapshot_large", ITEMS, "public.items").await;
    sql.execute(FILL, &[&2]).await.unwrap();
    sql.batch_execute("UPDATE public.items SET filler = repeat('y', 2000000) WHERE id = 2").await.unwrap();
    let refused = world.run(&capture("snapshot.mode=initial", &["--until", "caught-up"]));
    assert!(refused.code == Some(2) && refused.failure().contains("operation r"), "{refused:?}");
    caught_up(&world, "snapshot.mode=initial", &["--refused-rows", "dead-letter"]);
    assert_eq!(operations(&world, "public.items"), ["r"]);
    assert_eq!(topic_end(&world, &format!("{}.public.items.dlq", world.name())), Some(1));
}

#[tokio::test]
async fn a_row_of_bytes_that_are_no_text_is_named_or_becomes_a_dead_letter() {
    let world = World::new("snapshot_bytes").await;
    world.without_encoding().await;
    let rows = "CREATE TABLE notes (id int PRIMARY KEY, body text); \
                INSERT INTO notes VALUES (1, 'caf\u{e9}'), (2, E'caf\\xe9'), (3, 'plain')";
    world.sql().await.batch_execute(rows).await.unwrap();
    let tables = "table.include.list=public.notes";
    let finished = world.run(&["init", "--set", tables, "--set", "message.key.columns="]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let refused = world.run(&capture("snapshot.mode=initial", &["--until", "caught-up"]));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in ["public.notes", "column body", "{\"id\":\"2\"}"] {
        assert!(refused.failure().contains(part), "{part} is not in: {}", refused.failure());
    }
    caught_up(&world, "snapshot.mode=initial", &["--refused-rows", "dead-letter"]);
    let bodies: Vec<Value> =
        written(&world, "public.notes").into_iter().map(|(_, _, row)| row["body"].clone()).collect();
    assert_eq!(bodies, ["caf\u{e9}", "plain"]);
}

/// A server writes its log when something commits, so that on a quiet one a snapshot sees further than the log is written.
#[tokio::test]
async fn a_snapshot_that_has_seen_beyond_the_written_log_goes_on() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack("snapshot_unwritten", &stack).await;
    let sql = world.sql().await;
    sql.batch_execute(ITEMS).await.unwrap();
    sql.execute(FILL, &[&2]).await.unwrap();
    sql.batch_execute("UPDATE public.items SET filler = repeat('y', 2000000) WHERE id = 2").await.unwrap();
    let finished = world.run(&["init", "--set", "table.include.list=public.items", "--set", "message.key.columns="]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    sql.batch_execute("BEGIN; SELECT pg_logical_emit_message(false, 'test', 'unwritten'); ROLLBACK").await.unwrap();
    let stopped = world.run(&capture("snapshot.mode=initial", &["--until", "caught-up"]));
    assert_eq!(stopped.code, Some(2), "{stopped:?}");
    let is_ahead = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
    assert!(sql.query_one(is_ahead, &[]).await.unwrap().get::<_, bool>(0), "the log was written meanwhile");
    caught_up(&world, "snapshot.mode=initial", &["--refused-rows", "dead-letter"]);
    assert_eq!(operations(&world, "public.items"), ["r"]);
}

/// Keys that do not order as their texts do, quotes within them, and types whose operators are an extension's.
#[tokio::test]
async fn tables_are_read_on_behind_any_key() {
    let tables = "CREATE EXTENSION citext; CREATE SCHEMA \"Odd.s\"; \
                  CREATE TABLE \"Odd.s\".\"it's \"\"t\" (\"K 1\" text, k2 timestamptz, k3 numeric(8,2), v int, PRIMARY KEY (\"K 1\", k2, k3)); \
                  CREATE TABLE public.cased (k citext PRIMARY KEY); CREATE TABLE public.keyless (v int)";
    let world = World::new("snapshot_keys").await;
    let sql = world.sql().await;
    sql.batch_execute(tables).await.unwrap();
    sql.batch_execute(
        "INSERT INTO \"Odd.s\".\"it's \"\"t\" SELECT CASE n % 3 WHEN 0 THEN 'o''c\\' WHEN 1 THEN 'Ä' || chr(9) ELSE 'a' END, \
            '2024-01-01'::timestamptz + n * interval '1 hour', n / 4.0, n FROM generate_series(1, 100000) n; \
         INSERT INTO public.cased SELECT 'K' || n FROM generate_series(1, 300) n; \
         INSERT INTO public.keyless SELECT n FROM generate_series(1, 300) n; \
         CREATE PUBLICATION debezium_publication FOR ALL TABLES",
    )
    .await
    .unwrap();
    let lists = ["--set", "schema.include.list=Odd\\.s,public"];
    let topic = format!("{}.Odd.s.it_s__t", world.name());
    let running = world.start(&capture("snapshot.mode=initial", &lists));
    eventually("a part is noted", async || topic_end(&world, &topic).unwrap_or(0) >= 12_000).await;
    running.kill();
    let finished = caught_up(&world, "snapshot.mode=initial", &lists);
    assert!(finished.stderr.contains("snapshot_resumed"), "{finished:?}");
    let mut values: Vec<i64> =
        written(&world, "Odd.s.it_s__t").iter().map(|(.., row)| row["v"].as_i64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=100_000).collect::<Vec<_>>());
    assert_eq!(operations(&world, "public.cased").len(), 300);
    let keyless = records(&world, &format!("{}.public.keyless", world.name()));
    assert!(keyless.len() == 300 && keyless.iter().all(|record| record.key.is_none()));
}
