//! Lists of schemas, tables and columns, first starts, and `heartbeat.action.query`.

use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{World, eventually, records, topic_end};

const TABLES: &str = "CREATE SCHEMA sales; \
                      CREATE TABLE sales.orders (id int PRIMARY KEY, note text, secret text); \
                      CREATE TABLE sales.audit_orders (id int PRIMARY KEY, note text, secret text); \
                      CREATE TABLE public.visits (id int PRIMARY KEY, note text, secret text)";
const INSERTS: &str = "INSERT INTO sales.orders VALUES (1, 'a', 'x'); INSERT INTO sales.audit_orders VALUES (1, 'a', 'x'); \
                       INSERT INTO public.visits VALUES (1, 'a', 'x')";

/// A world that publishes three tables, with topics for all of them.
async fn world_with_tables(test: &str) -> (World, Client) {
    let world = World::new(test).await;
    let sql = world.sql().await;
    sql.batch_execute(TABLES).await.unwrap();
    let tables = "table.include.list=sales.orders,sales.audit_orders,public.visits";
    let finished = world.run(&["init", "--set", tables, "--set", "message.key.columns="]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    (world, sql)
}

/// Arguments for a capture without the tables and keys of the shipped file.
fn capture<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["capture", "--set", "table.include.list=", "--set", "message.key.columns="];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    arguments
}

fn written(world: &World, table: &str) -> Vec<(String, Value)> {
    let records = records(world, &format!("{}.{table}", world.name())).into_iter();
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
    records.map(|record| (text(record.key), serde_json::from_str(&text(record.value)).unwrap())).collect()
}

#[tokio::test]
async fn lists_of_schemas_tables_and_columns_are_obeyed_as_java_reads_them() {
    let (world, sql) = world_with_tables("lists").await;
    sql.batch_execute(INSERTS).await.unwrap();
    let mut arguments = capture(&[
        "schema.whitelist=SALES",
        "table.exclude.list=sales\\.(?!orders$).*",
        "column.exclude.list=.*\\.SECRET, sales.orders.id, \\Qsales.orders.gone\\E",
    ]);
    arguments.extend(["--until", "caught-up"]);
    let finished = world.run(&arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.stderr.contains("list_entry_idle") && finished.stderr.contains("sales.orders.gone"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("property_renamed") && finished.stderr.contains("schema.include.list"),
        "{finished:?}"
    );
    let orders = written(&world, "sales.orders");
    assert_eq!(orders.len(), 1);
    let (key, value) = &orders[0];
    assert_eq!((key.as_str(), value["after"].to_string().as_str()), (r#"{"id":1}"#, r#"{"note":"a"}"#));
    for table in ["sales.audit_orders", "public.visits"] {
        assert_eq!(topic_end(&world, &format!("{}.{table}", world.name())).unwrap_or(0), 0, "{table}");
    }
}

#[tokio::test]
async fn the_schema_of_values_is_without_the_columns_that_are_left_out() {
    let (world, sql) = world_with_tables("lists_schema").await;
    sql.batch_execute(INSERTS).await.unwrap();
    let mut arguments = capture(&[
        "table.include.list=public.visits",
        "column.include.list=public.visits.(id|note)",
        "value.converter.schemas.enable=true",
    ]);
    arguments.extend(["--until", "caught-up"]);
    let finished = world.run(&arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let visits = written(&world, "public.visits");
    let fields = visits[0].1["schema"]["fields"][1]["fields"].as_array().unwrap().clone();
    let names: Vec<_> = fields.iter().map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "note"]);
    assert_eq!(visits[0].1["payload"]["after"].to_string(), r#"{"id":1,"note":"a"}"#);
}

#[tokio::test]
async fn lists_that_take_no_table_are_refused_before_anything_is_streamed() {
    let (world, _sql) = world_with_tables("lists_empty").await;
    let finished = world.run(&capture(&["schema.include.list=nowhere"]));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("lists take"), "{finished:?}");
    let finished = world.run(&capture(&["table.exclude.list=sales.(", "schema.include.list=a"]));
    assert_eq!(finished.code, Some(64), "{finished:?}");
    assert!(finished.failure().contains("`sales.(`"), "{finished:?}");
}

#[tokio::test]
async fn a_first_start_takes_a_snapshot_unless_the_connector_wants_none() {
    for (test, mode, operation) in
        [("first_absent", "snapshot.mode=", "r"), ("first_no_data", "snapshot.mode=no_data", "c")]
    {
        let world = World::new(test).await;
        world.init(1);
        let sql = world.sql().await;
        let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      VALUES (gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}')";
        sql.batch_execute(insert).await.unwrap();
        for set in [mode, "snapshot.mode=initial", "snapshot.mode=when_needed", "snapshot.mode=no_data"] {
            let finished = world.run(&["capture", "--until", "caught-up", "--set", set]);
            assert_eq!(finished.code, Some(0), "{set}: {finished:?}");
            let operations: Vec<_> =
                written(&world, "activity.event_outbox").into_iter().map(|(_, value)| value["op"].clone()).collect();
            assert_eq!(operations, [operation], "{mode} and then {set}");
        }
    }
}

#[tokio::test]
async fn a_first_start_behind_tables_without_rows_needs_no_snapshot() {
    let world = World::new("first_empty").await;
    world.init(1);
    let finished = world.run(&["capture", "--until", "caught-up", "--set", "snapshot.mode=initial"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn the_query_of_heartbeats_runs_at_each_and_its_failure_stops_nothing() {
    let world = World::new("heartbeat_query").await;
    world.init(1);
    let sql = world.sql().await;
    let arguments = [
        "capture",
        "--set",
        "heartbeat.interval.ms=100",
        "--set",
        "heartbeat.action.query=INSERT INTO public.beats VALUES (now())",
    ];
    let mut capture = world.start(&arguments);
    capture.event("heartbeat_query_failed").await;
    sql.batch_execute("CREATE TABLE public.beats (at timestamptz)").await.unwrap();
    capture.event("heartbeat_query_runs").await;
    eventually("it has run several times", async || {
        sql.query_one("SELECT count(*) FROM public.beats", &[]).await.unwrap().get::<_, i64>(0) > 3
    })
    .await;
    assert_eq!(capture.events("heartbeat_query_failed").len(), 1, "said once");
    assert_eq!(capture.stop().code, Some(0));
}
