//! `evp capture` behind records that others have written: Debezium's snapshots, and transactions that are open.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::envelopes::{NewRecord, produce};
use crate::support::{Oracle, World, assert_topic_equals_commits, records, slot_as_it_was};

async fn insert(client: &Client, event_type: &str, rows: i32) {
    let statement = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                     SELECT gen_random_uuid(), gen_random_uuid(), 'User', $1, '{}' FROM generate_series(1, $2::int)";
    client.execute(statement, &[&event_type, &rows]).await.unwrap();
}

fn event_types(world: &World) -> Vec<String> {
    let parsed = records(world, world.topic()).into_iter().map(|record| record.value.unwrap());
    let values = parsed.map(|value| serde_json::from_slice::<Value>(&value).unwrap());
    values.map(|value| value["after"]["event_type"].as_str().unwrap_or("snapshot").to_owned()).collect()
}

/// A snapshot takes minutes, and rows that commit meanwhile have earlier times than its last record.
#[tokio::test]
async fn rows_that_committed_during_a_debezium_snapshot_are_written_whatever_the_clocks_say() {
    let world = World::new("take_snapshot").await;
    world.init(1);
    let sql = world.sql().await;
    insert(&sql, "before", 3).await;
    let at = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8, \
              (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let row = sql.query_one(at, &[]).await.unwrap();
    let (lsn, now_us): (i64, i64) = (row.get(0), row.get(1));
    insert(&sql, "during", 3).await;
    let later_us = now_us + 3_600_000_000;
    let source = json!({
        "version": "3.6.1.Final", "connector": "postgresql", "name": world.name(), "ts_ms": later_us / 1_000,
        "snapshot": "last", "db": world.name(), "sequence": format!("[null,\"{lsn}\"]"), "ts_us": later_us,
        "ts_ns": later_us * 1_000, "schema": "activity", "table": "event_outbox", "txId": 4_000_000, "lsn": lsn,
    });
    let value = json!({ "before": null, "after": {}, "source": source, "transaction": null, "op": "r" });
    let record = NewRecord { partition: 0, key: None, value: Some(value.to_string().into_bytes()), headers: vec![] };
    produce(&world, world.topic(), &[record]).await;
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(event_types(&world), ["snapshot", "during", "during", "during"]);
}

/// A transaction that nobody ends keeps readers of what is committed before it, for ever.
#[tokio::test]
async fn records_behind_a_transaction_that_is_left_open_are_not_written_again() {
    let world = World::new("take_open").await;
    world.init(1);
    let sql = world.sql().await;
    let oracle = Oracle::watch(&sql, world.name(), "debezium_publication").await;
    insert(&sql, "first", 2).await;
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    let open: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.variable("KAFKA_BOOTSTRAP_SERVERS"))
        .set("transactional.id", world.name())
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    open.init_transactions(Duration::from_secs(30)).unwrap();
    open.begin_transaction().unwrap();
    open.send(BaseRecord::<[u8], [u8]>::to(world.topic()).payload(b"{}").partition(0)).unwrap();
    open.flush(Duration::from_secs(30)).unwrap();
    slot_as_it_was(&world, async || {
        insert(&sql, "second", 3).await;
        assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    })
    .await;
    let finished = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    open.abort_transaction(Duration::from_secs(30)).unwrap();
    // The mark of the end of a transaction is no record to wait for.
    insert(&sql, "third", 1).await;
    assert_eq!(world.run(&["capture", "--until", "caught-up"]).code, Some(0));
    assert_topic_equals_commits(&world, &oracle).await;
}
