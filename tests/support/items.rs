//! A table of versioned items, its writers, and what of it stands on the topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{World, records};

pub(crate) const ITEMS: &str = "CREATE TABLE public.items (id int PRIMARY KEY, version int NOT NULL, filler text)";
pub(crate) const FILL: &str =
    "INSERT INTO public.items SELECT n, 0, repeat('x', 100) FROM generate_series(1, $1::int) n";

/// Writers that raise versions, insert and delete, until told to stop.
pub(crate) async fn write_items(world: &World, rows: i32) -> (JoinHandle<()>, Arc<AtomicBool>) {
    let (client, is_over) = (world.sql().await, Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let writer = tokio::spawn(async move {
        let mut round = 0;
        while !over.load(Ordering::Relaxed) {
            round += 1;
            let update = "UPDATE public.items SET version = version + 1 WHERE id % 997 = $1";
            client.execute(update, &[&(round % 997)]).await.unwrap();
            let insert = "INSERT INTO public.items VALUES ($1, 0, ''), (-$1, 0, '')";
            client.execute(insert, &[&(rows + round)]).await.unwrap();
            client.execute("DELETE FROM public.items WHERE id = $1", &[&(round * 13 % rows)]).await.unwrap();
        }
    });
    (writer, is_over)
}

/// The versions that the table has, by id.
pub(crate) async fn items(sql: &Client) -> BTreeMap<i64, i64> {
    let rows = sql.query("SELECT id::int8, version::int8 FROM public.items", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Operation, mark and row of each record, partition by partition.
pub(crate) fn written(world: &World, table: &str) -> Vec<(String, String, Value)> {
    let records = records(world, &format!("{}.{table}", world.name())).into_iter();
    let values = records.filter_map(|record| record.value);
    values
        .map(|value| {
            let value: Value = serde_json::from_slice(&value).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let row = if value["op"] == "d" { &value["before"] } else { &value["after"] };
            (text(&value["op"]), text(&value["source"]["snapshot"]), row.clone())
        })
        .collect()
}
