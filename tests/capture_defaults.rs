//! Column defaults that nobody can evaluate: capture goes on, and writes what Debezium writes.

use serde_json::{Value, json};

use crate::support::{OwnStack, World, eventually, records, topic_end};

fn arguments<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [command, &["--set", "table.include.list=public.orders", "--set", "message.key.columns="]].concat()
}

fn rows(world: &World) -> Vec<Value> {
    let records = records(world, &format!("{}.public.orders", world.name()));
    let values = records.into_iter().filter_map(|record| record.value);
    values.map(|value| serde_json::from_slice::<Value>(&value).unwrap()["after"].clone()).collect()
}

#[tokio::test]
async fn a_default_that_is_not_understood_stops_capture_neither_at_its_start_nor_in_mid_stream() {
    let world = World::new("defaults").await;
    let sql = world.sql().await;
    // Literals are printed in the style of the session that asks.
    sql.batch_execute(&format!(
        "ALTER DATABASE {0} SET TimeZone = 'Asia/Tokyo'; ALTER DATABASE {0} SET DateStyle = 'German'; \
         CREATE TABLE orders (id int PRIMARY KEY, flag bool DEFAULT (NOT true), sum int DEFAULT 1 + 1, name text DEFAULT 'a' || 'b')",
        world.name()
    ))
    .await
    .unwrap();
    let init = world.run(&arguments(&["init"]));
    assert_eq!(init.code, Some(0), "{init:?}");
    let mut capture = world.start(&arguments(&["capture"]));
    capture.event("streaming_started").await;
    sql.batch_execute("INSERT INTO orders VALUES (1, NULL, NULL, NULL)").await.unwrap();
    let topic = format!("{}.public.orders", world.name());
    eventually("the first row is written", async || topic_end(&world, &topic) == Some(1)).await;
    sql.batch_execute(
        "ALTER TABLE orders ADD COLUMN at timestamptz DEFAULT '2026-06-01 12:00:00+00', \
                            ADD COLUMN until timestamptz DEFAULT CURRENT_TIMESTAMP + '1 day', \
                            ADD COLUMN by text DEFAULT current_user, ADD COLUMN big bigint DEFAULT (1)::numeric::bigint",
    )
    .await
    .unwrap();
    sql.batch_execute("INSERT INTO orders VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)").await.unwrap();
    eventually("the second row is written", async || topic_end(&world, &topic) == Some(2)).await;
    let finished = capture.stop();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        rows(&world),
        [
            json!({"id": 1, "flag": false, "sum": null, "name": "a"}),
            json!({"id": 2, "flag": false, "sum": null, "name": "a", "at": "2026-06-01T12:00:00.000000Z", "until": null,
                   "by": "CURRENT_USER", "big": null}),
        ]
    );
}

/// PostgreSQL sends a commit before it shows to others; a synchronous standby that is away stretches the moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_written_as_the_transaction_has_made_it_though_that_does_not_show_yet() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let world = World::on_stack("defaults_shown", &stack).await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE orders (id int PRIMARY KEY)").await.unwrap();
    let init = world.run(&arguments(&["init"]));
    assert_eq!(init.code, Some(0), "{init:?}");
    let mut capture = world.start(&arguments(&["capture"]));
    capture.event("streaming_started").await;
    let set = |names: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
    sql.batch_execute(&set("nobody")).await.unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let held = world.sql().await;
    let held_up = tokio::spawn(async move {
        held.batch_execute(
            "BEGIN; ALTER TABLE orders ADD COLUMN sum int DEFAULT 7; INSERT INTO orders VALUES (1, NULL); COMMIT",
        )
        .await
    });
    eventually("the commit waits for the standby", async || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        sql.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let topic = format!("{}.public.orders", world.name());
    // Long enough for what would not wait.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(topic_end(&world, &topic), Some(0), "the row waits for what it was made with");
    for statement in [set(""), "SELECT pg_reload_conf()".to_owned()] {
        // Its own commit would wait as well.
        sql.batch_execute("SET synchronous_commit = local").await.unwrap();
        sql.batch_execute(&statement).await.unwrap();
    }
    held_up.await.unwrap().unwrap();
    sql.batch_execute("INSERT INTO orders VALUES (2, NULL)").await.unwrap();
    eventually("the rows are written", async || topic_end(&world, &topic) == Some(2)).await;
    assert_eq!(capture.stop().code, Some(0));
    assert_eq!(rows(&world), [json!({"id": 1, "sum": 7}), json!({"id": 2, "sum": 7})]);
}
