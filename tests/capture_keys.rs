//! The key of a table's records: which columns it has, in which order, and so which partition it goes to.

use crate::support::{Record, World, records};

/// A world whose only captured table is `public.orders`, made by `table`.
async fn world_with(test: &str, table: &str) -> (World, tokio_postgres::Client) {
    let world = World::new(test).await;
    let sql = world.sql().await;
    sql.batch_execute(table).await.unwrap();
    (world, sql)
}

fn run(world: &World, command: &[&str], keys: &str) {
    let keys = format!("message.key.columns={keys}");
    let arguments = [command, &["--set", "table.include.list=public.orders", "--set", &keys]].concat();
    let finished = world.run(&arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn orders(world: &World) -> Vec<Record> {
    records(world, &format!("{}.public.orders", world.name()))
}

/// The keys in the order of their partitions, each with its partition.
fn keys(world: &World) -> Vec<(i32, String)> {
    orders(world)
        .into_iter()
        .map(|record| (record.partition, String::from_utf8(record.key.unwrap()).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_key_has_the_columns_of_the_primary_key_in_its_order_and_none_that_it_includes() {
    let table = "CREATE TABLE orders (a int, note text NOT NULL, b text, PRIMARY KEY (b, a) INCLUDE (note))";
    let (world, sql) = world_with("keys_primary", table).await;
    run(&world, &["init", "--partitions", "16"], "");
    sql.batch_execute("INSERT INTO orders VALUES (1, 'n', 'x'); UPDATE orders SET note = 'm'; DELETE FROM orders")
        .await
        .unwrap();
    run(&world, &["capture", "--until", "caught-up"], "");
    let keys = keys(&world);
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys.iter().all(|key| *key == (keys[0].0, r#"{"b":"x","a":1}"#.to_owned())), "{keys:?}");
}

#[tokio::test]
async fn a_listed_key_has_all_entries_of_its_table_in_the_listed_order() {
    let table = "CREATE TABLE orders (a int PRIMARY KEY, p_id int, q_id int, note text)";
    let (world, sql) = world_with("keys_listed", table).await;
    let listed = "public.orders:note;public.(orders|others):Q_id,(p|q)_id";
    run(&world, &["init"], listed);
    sql.batch_execute("INSERT INTO orders VALUES (1, 2, 3, 'n')").await.unwrap();
    run(&world, &["capture", "--until", "caught-up"], listed);
    assert_eq!(keys(&world), [(0, r#"{"note":"n","q_id":3,"p_id":2}"#.to_owned())]);
}

#[tokio::test]
async fn a_listed_column_that_its_table_does_not_have_is_named() {
    let (world, _sql) = world_with("keys_missing", "CREATE TABLE orders (a int PRIMARY KEY)").await;
    run(&world, &["init"], "");
    let arguments =
        ["capture", "--set", "table.include.list=public.orders", "--set", "message.key.columns=public.orders:b"];
    let finished = world.run(&arguments);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    assert!(finished.failure().contains("public.orders.b"), "{finished:?}");
}
