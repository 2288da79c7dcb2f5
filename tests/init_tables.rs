//! `evp init` and the tables themselves: what publishing them would break, partitions, defaults, and the slot of a standby.

use tokio_postgres::Client;

use crate::support::{DEADLINE, Finished, Running, World, records, topic_end};

fn created(stdout: &str) -> Vec<&str> {
    stdout.lines().filter(|line| line.starts_with("created")).collect()
}

fn init(world: &World, tables: &str) -> Finished {
    world.run(&["init", "--set", &format!("table.include.list={tables}")])
}

async fn exists(sql: &Client, query: &str) -> bool {
    sql.query_opt(query, &[]).await.unwrap().is_some()
}

#[tokio::test]
async fn a_table_whose_updates_would_fail_is_not_published_and_nothing_is_made() {
    let world = World::new("init_identity").await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE orders (a int NOT NULL UNIQUE); INSERT INTO orders VALUES (1)").await.unwrap();
    for statement in [
        "SELECT",
        "ALTER TABLE orders REPLICA IDENTITY NOTHING",
        "ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_a_key; ALTER TABLE orders DROP CONSTRAINT orders_a_key",
        "ALTER TABLE orders REPLICA IDENTITY DEFAULT, ADD PRIMARY KEY (a) DEFERRABLE",
    ] {
        sql.batch_execute(statement).await.unwrap();
        let refused = init(&world, "activity.event_outbox,public.orders");
        assert_eq!(refused.code, Some(1), "{statement}: {refused:?}");
        let failure = refused.failure();
        assert!(
            failure.contains("ALTER TABLE orders REPLICA IDENTITY FULL") && failure.contains("publish = 'insert'"),
            "{failure}"
        );
        assert!(!exists(&sql, "SELECT FROM pg_namespace WHERE nspname = 'activity'").await, "something was made");
        assert!(!exists(&sql, "SELECT FROM pg_publication").await, "something was made");
        sql.batch_execute("UPDATE orders SET a = a + 1").await.unwrap();
    }
    // Nor is it added to a publication that is there, unless that one has inserts only.
    assert_eq!(init(&world, "activity.event_outbox").code, Some(0));
    assert_eq!(init(&world, "activity.event_outbox,public.orders").code, Some(1));
    sql.batch_execute("ALTER PUBLICATION debezium_publication SET (publish = 'insert')").await.unwrap();
    let added = init(&world, "activity.event_outbox,public.orders");
    assert_eq!(added.code, Some(0), "{added:?}");
    sql.batch_execute("UPDATE orders SET a = a + 1").await.unwrap();
}

#[tokio::test]
async fn a_table_with_a_full_replica_identity_is_published() {
    let world = World::new("init_full").await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE orders (a int); ALTER TABLE orders REPLICA IDENTITY FULL").await.unwrap();
    let finished = init(&world, "public.orders");
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn wanted_replica_identities_are_given_by_init_and_asked_for_by_capture() {
    let world = World::new("init_identities").await;
    let sql = world.sql().await;
    let tables = "CREATE TABLE a (id int); CREATE TABLE b (id int PRIMARY KEY, k text NOT NULL); CREATE UNIQUE INDEX \"b K\" ON b (k); \
                  CREATE UNIQUE INDEX b_k ON b (k); CREATE TABLE c (id int PRIMARY KEY); ALTER TABLE c REPLICA IDENTITY FULL";
    sql.batch_execute(tables).await.unwrap();
    let include = "table.include.list=public.[abc]";
    let wanted = |list: &str| format!("replica.identity.autoset.values={list}");
    let run = |command: &str, list: &str| world.run(&[command, "--set", include, "--set", &wanted(list)]);
    let list = "public.a:FULL,public.b:INDEX b_k";
    let finished = run("init", list);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let is_identity = |line: &&str| line.contains("replica identity");
    assert_eq!(created(&finished.stdout).into_iter().filter(is_identity).count(), 2, "{finished:?}");
    assert!(exists(&sql, "SELECT FROM pg_class WHERE relname = 'a' AND relreplident = 'f'").await);
    let index = "SELECT FROM pg_index WHERE indexrelid = 'b_k'::regclass AND indisreplident";
    assert!(exists(&sql, index).await);
    assert_eq!(created(&run("init", list).stdout).into_iter().filter(is_identity).count(), 0, "it was made again");
    for (list, part) in [
        ("public.c:DEFAULT", "ALTER TABLE \"public\".\"c\" REPLICA IDENTITY DEFAULT"),
        ("public.b:INDEX b K", "TABLE:INDEX NAME"),
        (".*:FULL,public.a:FULL", "two entries"),
    ] {
        let refused = run("capture", list);
        assert!(refused.failure().contains(part), "{part}: {refused:?}");
    }
    let mut capture = world.start(&["capture", "--set", include, "--set", &wanted(list)]);
    capture.event("streaming_started").await;
    assert_eq!(capture.stop().code, Some(0));
}

const PARTITIONED: &str = "\
    CREATE SCHEMA activity; \
    CREATE TABLE activity.event_outbox (event_id uuid NOT NULL, sequence_id bigserial NOT NULL, aggregate_id uuid NOT NULL, \
        aggregate_type text NOT NULL, event_type text NOT NULL, payload jsonb NOT NULL, status text NOT NULL DEFAULT 'pending', \
        retry_count integer NOT NULL DEFAULT 0, last_error text, lock_id uuid, created_at timestamptz NOT NULL DEFAULT now(), \
        published_at timestamptz, PRIMARY KEY (event_id, created_at)) PARTITION BY RANGE (created_at); \
    CREATE TABLE activity.event_outbox_old PARTITION OF activity.event_outbox FOR VALUES FROM (MINVALUE) TO ('2026-01-01'); \
    CREATE TABLE activity.event_outbox_new PARTITION OF activity.event_outbox FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)";

const ONE_IN_EACH_PARTITION: &str = "\
    INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload, created_at) \
    SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}', at FROM unnest(ARRAY['2025-06-01', '2026-06-01']::timestamptz[]) AS at";

#[tokio::test]
async fn the_partitions_of_an_outbox_arrive_in_one_topic() {
    let world = World::new("init_partitioned").await;
    let sql = world.sql().await;
    sql.batch_execute(PARTITIONED).await.unwrap();
    world.init(1);
    let again = world.run(&["init"]);
    assert_eq!((again.code, created(&again.stdout)), (Some(0), vec![]), "{again:?}");
    sql.batch_execute(ONE_IN_EACH_PARTITION).await.unwrap();
    sql.batch_execute("UPDATE activity.event_outbox SET status = 'processed'; DELETE FROM activity.event_outbox")
        .await
        .unwrap();
    let captured = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(captured.code, Some(0), "{captured:?}");
    let values: Vec<serde_json::Value> = records(&world, world.topic())
        .iter()
        .map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap())
        .collect();
    assert_eq!(values.len(), 6);
    assert!(values.iter().all(|value| value["source"]["table"] == "event_outbox"), "{values:?}");
}

#[tokio::test]
async fn a_publication_that_sends_partitions_under_their_own_names_is_told_with_the_statement() {
    let world = World::new("init_leaves").await;
    let sql = world.sql().await;
    sql.batch_execute(PARTITIONED).await.unwrap();
    sql.batch_execute("CREATE PUBLICATION debezium_publication FOR TABLE activity.event_outbox").await.unwrap();
    let left = world.run(&["init"]);
    assert_eq!(left.code, Some(1), "{left:?}");
    let statement = "ALTER PUBLICATION debezium_publication SET (publish_via_partition_root = true)";
    assert!(left.failure().contains(statement), "{}", left.failure());
    sql.batch_execute(statement).await.unwrap();
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    sql.batch_execute(ONE_IN_EACH_PARTITION).await.unwrap();
    let captured = world.run(&["capture", "--until", "caught-up"]);
    assert_eq!(captured.code, Some(0), "{captured:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(2));
}

const INSERT_WITHOUT_ID: &str = "INSERT INTO activity.event_outbox (aggregate_id, aggregate_type, event_type, payload) \
                                 VALUES (gen_random_uuid(), 'User', 'UserCreated', '{}')";

#[tokio::test]
async fn an_event_needs_no_id_in_our_own_outbox_and_an_adopted_one_stays_as_it_is() {
    let world = World::new("init_default").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute(INSERT_WITHOUT_ID).await.unwrap();
    // As an earlier version has left it.
    sql.batch_execute(
        "ALTER TABLE activity.event_outbox ALTER COLUMN event_id DROP DEFAULT; DELETE FROM activity.evp_migrations WHERE version = 3",
    )
    .await
    .unwrap();
    let dry = world.run(&["init", "--dry-run"]);
    assert!(dry.stdout.contains("would create  migration V3 event_id_default"), "{dry:?}");
    assert!(sql.batch_execute(INSERT_WITHOUT_ID).await.is_err());
    world.init(1);
    sql.batch_execute(INSERT_WITHOUT_ID).await.unwrap();

    let adopted = World::new("init_adopted").await;
    let sql = adopted.sql().await;
    sql.batch_execute(PARTITIONED).await.unwrap();
    adopted.init(1);
    assert!(sql.batch_execute(INSERT_WITHOUT_ID).await.is_err(), "an adopted outbox was changed");
}

#[tokio::test]
async fn a_slot_for_failover_is_made_where_the_server_has_them_and_refused_elsewhere() {
    let world = World::new("init_failover").await;
    let sql = world.sql().await;
    let version: i32 = sql.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    let failover = ["init", "--set", "slot.failover=true"];
    if version < 170_000 {
        let refused = world.run(&failover);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.failure().contains("slot.failover"), "{}", refused.failure());
        return;
    }
    world.init(1);
    let left = world.run(&failover);
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.failure().contains("ALTER_REPLICATION_SLOT"), "{}", left.failure());
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    for _ in 0..2 {
        let finished = world.run(&failover);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    let statement = "SELECT failover FROM pg_replication_slots WHERE slot_name = $1";
    assert!(sql.query_one(statement, &[&world.name()]).await.unwrap().get::<_, bool>(0));
    let captured = world.run(&["capture", "--until", "caught-up", "--set", "slot.failover=true"]);
    assert_eq!(captured.code, Some(0), "{captured:?}");
}

/// The tables of a publication, sorted.
async fn published(sql: &Client, publication: &str) -> Vec<String> {
    let rows = sql
        .query(
            "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1",
            &[&publication],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn what_lists_take_is_published_though_they_do_not_name_it() {
    let world = World::new("init_lists").await;
    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE SCHEMA stock; CREATE SCHEMA audit; \
         CREATE TABLE stock.items (id int PRIMARY KEY); CREATE TABLE stock.moves (id int, day int, PRIMARY KEY (id, day)) \
         PARTITION BY LIST (day); CREATE TABLE stock.moves_1 PARTITION OF stock.moves FOR VALUES IN (1); \
         CREATE TABLE audit.log (id int PRIMARY KEY); CREATE UNLOGGED TABLE stock.cache (id int PRIMARY KEY)",
    )
    .await
    .unwrap();
    let every = ["audit.log", "stock.items", "stock.moves"];
    for (number, sets, wanted) in [
        (1, &["schema.include.list=stock"][..], &["stock.items", "stock.moves"][..]),
        (2, &["table.include.list=audit.log,stock.m.*"], &["audit.log", "stock.moves"]),
        (3, &["table.exclude.list=audit\\..*"], &["stock.items", "stock.moves"]),
        (4, &[], &every),
    ] {
        let publication = format!("p{number}");
        let mut arguments = vec!["--set".to_owned(), format!("publication.name={publication}")];
        for set in ["table.include.list=", "message.key.columns="].iter().chain(sets) {
            arguments.extend(["--set".to_owned(), (*set).to_owned()]);
        }
        let with = |command: &'static str| -> Vec<&str> {
            [command].into_iter().chain(arguments.iter().map(String::as_str)).collect()
        };
        let finished = world.run(&with("init"));
        assert_eq!(finished.code, Some(0), "{sets:?}: {finished:?}");
        assert_eq!(published(&sql, &publication).await, wanted, "{sets:?}");
        let looked = world.run(&with("status"));
        assert_eq!(looked.code, Some(0), "{sets:?}: {looked:?}");
    }
    let nothing = world.run(&["init", "--set", "table.include.list=", "--set", "schema.include.list=nosuch"]);
    assert!(nothing.code == Some(1) && nothing.failure().contains("no table that the connector's"), "{nothing:?}");
}

#[tokio::test]
async fn who_captures_other_tables_than_process_reads_needs_no_mongodb() {
    let world = World::new("init_no_mongo").await;
    world.sql().await.batch_execute("CREATE TABLE items (id int PRIMARY KEY)").await.unwrap();
    let without = |tables: &str| {
        let set = format!("table.include.list={tables}");
        let mut command = world.command(&["init", "--set", &set]);
        command.env("MONGODB_URI", "mongodb://127.0.0.1:1").env("MONGODB_SERVER_SELECTION_TIMEOUT_MS", "500");
        Running::spawn(command).wait(DEADLINE)
    };
    let finished = without("public.items");
    assert!(finished.code == Some(0) && finished.stdout.contains("no collections are made"), "{finished:?}");
    let finished = without("activity.event_outbox");
    assert!(finished.code == Some(1) && finished.failure().contains("MongoDB"), "{finished:?}");
}
