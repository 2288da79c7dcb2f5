//! `evp capture` and what the stream does not tell: tables that leave the publication, and slots older than it.

use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Finished, Running, World, eventually, http_get, topic_end};

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}' \
                      FROM generate_series(1, $1::int)";

async fn insert(world: &World, rows: i32) {
    world.sql().await.execute(INSERT, &[&rows]).await.unwrap();
}

fn run(world: &World, more: &[&str]) -> Finished {
    world.run(&[&["capture", "--until", "caught-up"], more].concat())
}

async fn streaming(world: &World) -> Running {
    let mut capture = world.start(&["capture", "--set", "status.update.interval.ms=300"]);
    capture.event("streaming_started").await;
    insert(world, 2).await;
    eventually("rows are written", async || topic_end(world, world.topic()) >= Some(2)).await;
    capture
}

fn assert_refused(finished: &Finished, what: &str) {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let failure = finished.failure();
    for part in ["activity.event_outbox", what, "between 0/", "--accept-gap", "UPDATE activity.event_outbox SET"] {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
}

/// Changes the publication while capture streams, and waits for its end.
async fn refused_while_streaming(test: &str, statements: &[&str], what: &str) {
    let world = World::new(test).await;
    world.init(1);
    let capture = streaming(&world).await;
    let sql = world.sql().await;
    let changed = Instant::now();
    for statement in statements {
        sql.batch_execute(statement).await.unwrap();
    }
    let finished = capture.wait(DEADLINE);
    assert!(changed.elapsed() < Duration::from_secs(10), "noticed after {:?}", changed.elapsed());
    assert_refused(&finished, what);
    // Nothing is decided by a restart.
    assert_eq!(run(&world, &[]).code, Some(2));
}

#[tokio::test]
async fn a_table_that_leaves_the_publication_while_capture_streams_is_refused_within_seconds() {
    let statement = "ALTER PUBLICATION debezium_publication DROP TABLE activity.event_outbox";
    refused_while_streaming("pub_drop", &[statement], "has left the publication").await;
    let other = "CREATE TABLE activity.other (id int PRIMARY KEY); \
                 ALTER PUBLICATION debezium_publication SET TABLE activity.other";
    refused_while_streaming("pub_set", &[other], "has left the publication").await;
}

#[tokio::test]
async fn a_table_that_leaves_and_comes_back_between_two_looks_is_refused() {
    let statements = [
        "ALTER PUBLICATION debezium_publication DROP TABLE activity.event_outbox",
        "ALTER PUBLICATION debezium_publication ADD TABLE activity.event_outbox",
    ];
    refused_while_streaming("pub_back", &statements, "taken out and put back").await;
    let statements = [
        "ALTER PUBLICATION debezium_publication SET (publish = 'update, delete')",
        "ALTER PUBLICATION debezium_publication SET (publish = 'insert, update, delete, truncate')",
    ];
    refused_while_streaming("pub_ops", &statements, "was altered").await;
}

#[tokio::test]
async fn a_table_or_publication_that_is_made_anew_is_refused() {
    let anew = "CREATE TABLE activity.kept (LIKE activity.event_outbox INCLUDING ALL); \
                DROP TABLE activity.event_outbox CASCADE; ALTER TABLE activity.kept RENAME TO event_outbox; \
                ALTER PUBLICATION debezium_publication ADD TABLE activity.event_outbox";
    refused_while_streaming("pub_table", &[anew], "was dropped and made anew").await;
    let anew = "DROP PUBLICATION debezium_publication; \
                CREATE PUBLICATION debezium_publication FOR TABLE activity.event_outbox";
    refused_while_streaming("pub_anew", &[anew], "was dropped and made anew").await;
}

#[tokio::test]
async fn a_table_that_left_and_came_back_while_capture_was_down_is_refused_once() {
    let world = World::new("pub_down").await;
    world.init(1);
    insert(&world, 3).await;
    assert_eq!(run(&world, &[]).code, Some(0));
    let sql = world.sql().await;
    sql.batch_execute("ALTER PUBLICATION debezium_publication DROP TABLE activity.event_outbox").await.unwrap();
    insert(&world, 4).await;
    sql.batch_execute("ALTER PUBLICATION debezium_publication ADD TABLE activity.event_outbox").await.unwrap();
    insert(&world, 2).await;
    assert_refused(&run(&world, &[]), "taken out and put back");
    assert_eq!(topic_end(&world, world.topic()), Some(3));
    assert_eq!(run(&world, &["--accept-gap"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(5), "what the stream has is written");
    assert_eq!(run(&world, &[]).code, Some(0), "the gap is accepted once and for all");
}

#[tokio::test]
async fn what_costs_no_rows_is_no_gap() {
    let world = World::new("pub_fine").await;
    world.init(1);
    let sql = world.sql().await;
    let all = ["--set", "table.include.list=activity.*"];
    assert_eq!(run(&world, &all).code, Some(0));
    let role = format!("{}_owner", world.name());
    sql.batch_execute(&format!(
        "CREATE TABLE activity.more (id int PRIMARY KEY); ALTER PUBLICATION debezium_publication ADD TABLE activity.more; \
         CREATE ROLE {role} SUPERUSER"
    ))
    .await
    .unwrap();
    assert_eq!(run(&world, &all).code, Some(0), "a table more");
    sql.batch_execute("DROP TABLE activity.more").await.unwrap();
    assert_eq!(run(&world, &all).code, Some(0), "a table with all that it held");
    let owner = format!("ALTER PUBLICATION debezium_publication OWNER TO {role}");
    sql.batch_execute(&owner).await.unwrap();
    assert_eq!(run(&world, &all).code, Some(0), "another owner");
    sql.batch_execute("ALTER PUBLICATION debezium_publication OWNER TO CURRENT_USER").await.unwrap();
    sql.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

/// The remedy is done as it is printed; no row that is still in the table may be missing then.
#[tokio::test]
async fn a_slot_older_than_its_publication_is_refused_and_the_printed_remedy_loses_nothing() {
    let world = World::new("pub_young").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute("DROP PUBLICATION debezium_publication").await.unwrap();
    insert(&world, 7).await;
    // Too large to stay in its row, so that an update that leaves it alone would not bring it.
    sql.batch_execute(
        "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
         SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', jsonb_build_object('text', \
            (SELECT string_agg(md5(random()::text || n), '') FROM generate_series(1, 400) n))",
    )
    .await
    .unwrap();
    sql.batch_execute("CREATE PUBLICATION debezium_publication FOR TABLE activity.event_outbox").await.unwrap();
    insert(&world, 1).await;
    let finished = run(&world, &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains("the 9 rows of activity.event_outbox"), "{failure}");

    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    world.init(1);
    assert_eq!(run(&world, &["--accept-gap"]).code, Some(0));
    let update = failure.split("UPDATE ").nth(1).unwrap().split(';').next().unwrap();
    sql.batch_execute(&format!("UPDATE {update}")).await.unwrap();
    assert_eq!(run(&world, &[]).code, Some(0));
    let records = crate::support::records(&world, world.topic());
    let values: Vec<String> =
        records.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
    let ids = sql.query("SELECT event_id::text FROM activity.event_outbox", &[]).await.unwrap();
    assert!(ids.iter().all(|id| values.iter().any(|value| value.contains(id.get::<_, &str>(0)))));
    assert!(values.iter().all(|value| !value.contains("__debezium_unavailable_value")));
}

#[tokio::test]
async fn catalog_connections_that_are_ended_alone_are_made_again() {
    let world = World::new("pub_catalog").await;
    world.init(1);
    let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    capture.event("streaming_started").await;
    let sql = world.sql().await;
    let end = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'evp' AND backend_type = 'client backend'";
    let ended: i64 = sql.query_one(end, &[]).await.unwrap().get(0);
    assert_eq!(ended, 2, "one is the stream's, and one looks after slot and publication");
    // A new table needs the catalog, and the gauge is asked of it.
    sql.batch_execute("ALTER TABLE activity.event_outbox ADD COLUMN note text").await.unwrap();
    insert(&world, 3).await;
    eventually("the rows are written", async || topic_end(&world, world.topic()) == Some(3)).await;
    let there = "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'evp' AND backend_type = 'client backend'";
    eventually("it has new connections", async || sql.query_one(there, &[]).await.unwrap().get(0)).await;
    assert_eq!(http_get(&address, "/readyz").await.unwrap().0, 200);
    assert_eq!(capture.events("streaming_started").len(), 1, "the stream went on");
    assert_eq!(capture.stop().code, Some(0));
}

/// PostgreSQL does not tell what is published while somebody has the table to himself.
#[tokio::test]
async fn a_table_that_somebody_locks_holds_up_no_other() {
    let world = World::new("pub_locked").await;
    world.init(1);
    let (sql, locker) = (world.sql().await, world.sql().await);
    sql.batch_execute(
        "CREATE TABLE activity.locked (id int PRIMARY KEY); ALTER PUBLICATION debezium_publication ADD TABLE activity.locked",
    )
    .await
    .unwrap();
    let all = ["capture", "--set", "table.include.list=activity.*", "--set", "message.key.columns="];
    let mut capture = world.start(&all);
    capture.event("streaming_started").await;
    locker.batch_execute("BEGIN; LOCK TABLE activity.locked IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waits = "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'activity.locked'::regclass";
    eventually("the look at the publication waits", async || sql.query_one(waits, &[]).await.unwrap().get(0)).await;
    let started = std::time::Instant::now();
    sql.batch_execute("ALTER TABLE activity.event_outbox ADD COLUMN note text").await.unwrap();
    insert(&world, 3).await;
    eventually("the rows are written", async || topic_end(&world, world.topic()) == Some(3)).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "after {:?}", started.elapsed());
    locker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(capture.stop().code, Some(0));
}

/// As of a server that lets nobody else in.
#[tokio::test]
async fn a_catalog_that_cannot_be_asked_shows_in_readiness() {
    let world = World::new("pub_silent").await;
    world.init(1);
    let mut capture = world.start(&["capture", "--http", "127.0.0.1:0"]);
    let address = capture.event("http_listening").await["address"].as_str().unwrap().to_owned();
    capture.event("streaming_started").await;
    let admin = world.admin_sql().await;
    let allow = |allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", world.name());
    admin.batch_execute(&allow(false)).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = $1 AND application_name = 'evp' AND backend_type = 'client backend'";
    admin.execute(end, &[&world.name()]).await.unwrap();
    let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains("catalog"));
    eventually("readiness says so", is_told).await;
    admin.batch_execute(&allow(true)).await.unwrap();
    eventually("it is ready again", async || matches!(http_get(&address, "/readyz").await, Some((200, _)))).await;
    assert_eq!(capture.events("streaming_started").len(), 1, "the stream went on");
    assert_eq!(capture.stop().code, Some(0));
}
