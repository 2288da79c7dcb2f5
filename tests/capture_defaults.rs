//! Column defaults that nobody can evaluate: capture goes on, and writes what Debezium writes.

use serde_json::{Value, json};

use crate::support::{World, eventually, records, topic_end};

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
