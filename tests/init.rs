//! `evp init` makes what is missing, keeps what is there, and changes nothing when it is dry.

use crate::support::{World, topic_settings, topics};

/// The lines that tell of something made.
fn created(stdout: &str) -> Vec<&str> {
    stdout.lines().filter(|line| line.starts_with("created") || line.starts_with("would create")).collect()
}

#[tokio::test]
async fn a_second_run_finds_everything() {
    let world = World::new("twice").await;
    let first = world.run(&["init", "--partitions", "3"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    for thing in
        ["migration V1", "publication debezium_publication", "slot", "(3 partitions)", ".dlq", "collection users"]
    {
        assert!(created(&first.stdout).iter().any(|line| line.contains(thing)), "{thing}: {first:?}");
    }
    let second = world.run(&["init", "--partitions", "3"]);
    assert_eq!((second.code, created(&second.stdout)), (Some(0), vec![]), "{second:?}");

    let topics = topics(&world);
    assert_eq!(topics[world.topic()], 3);
    assert_eq!(topics[&format!("{}.dlq", world.topic())], 1);
    assert_eq!(topics[&format!("__debezium-heartbeat.{}", world.name())], 1);
    assert_eq!(topics[&format!("__evp-position.{}", world.name())], 1);
}

#[tokio::test]
async fn another_partition_count_is_told_and_kept() {
    let world = World::new("count").await;
    world.init(2);
    let again = world.run(&["init", "--partitions", "5"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("with 2 partitions, not 5"), "{again:?}");
    assert_eq!(topics(&world)[world.topic()], 2);
}

#[tokio::test]
async fn topics_of_rows_are_made_as_the_connector_says_unless_a_flag_does() {
    let sets = ["topic.creation.default.partitions=4", "topic.creation.default.cleanup.policy=compact"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let world = World::new("creation").await;
    let finished = world.run(&[&["init"][..], &sets].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topics(&world)[world.topic()], 4);
    assert_eq!(topic_settings(&world, world.topic()).await["cleanup.policy"], "compact");
    let letters = topic_settings(&world, &format!("{}.dlq", world.topic())).await;
    assert_eq!((letters["retention.ms"].as_str(), letters.get("cleanup.policy")), ("-1", None));
    let grouped = World::new("creation_group").await;
    let group =
        ["topic.creation.groups=wide", "topic.creation.wide.include=.*outbox", "topic.creation.wide.partitions=3"];
    let group: Vec<&str> = group.iter().flat_map(|set| ["--set", set]).collect();
    let finished = grouped.run(&[&["init"][..], &sets, &group].concat());
    assert_eq!((finished.code, topics(&grouped)[grouped.topic()]), (Some(0), 3), "{finished:?}");
    assert_eq!(topic_settings(&grouped, grouped.topic()).await.get("cleanup.policy"), None);
    let other = World::new("creation_flag").await;
    let finished = other.run(&[&["init", "--partitions", "2"][..], &sets].concat());
    assert_eq!((finished.code, topics(&other)[other.topic()]), (Some(0), 2), "{finished:?}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new("dry").await;
    let dry = world.run(&["init", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");

    let sql = world.sql().await;
    let found = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'activity') \
                 + (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1)";
    assert_eq!(sql.query_one(found, &[&world.name()]).await.unwrap().get::<_, i64>(0), 0);
    assert!(topics(&world).is_empty());
    assert!(world.mongo().await.list_collection_names().await.unwrap().is_empty());

    let real = world.run(&["init"]);
    let announced: Vec<_> =
        created(&dry.stdout).iter().map(|line| line.trim_start_matches("would create").trim()).collect();
    let made: Vec<_> = created(&real.stdout).iter().map(|line| line.trim_start_matches("created").trim()).collect();
    assert_eq!(announced, made, "a dry run says exactly what a real one does");
}

#[tokio::test]
async fn the_outbox_is_as_documented() {
    let world = World::new("outbox").await;
    world.init(1);
    let sql = world.sql().await;
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload, status) \
                  VALUES (gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}', $1)";
    for status in ["pending", "processing", "processed", "failed"] {
        sql.execute(insert, &[&status]).await.unwrap();
    }
    assert!(sql.execute(insert, &[&"lost"]).await.is_err());
    let row = sql
        .query_one("SELECT retry_count, created_at IS NOT NULL, sequence_id FROM activity.event_outbox WHERE status = 'failed'", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1), row.get::<_, i64>(2)), (0, true, 4));
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'activity' AND tablename = 'event_outbox'";
    assert_eq!(sql.query_one(indexes, &[]).await.unwrap().get::<_, i64>(0), 7, "six, and the primary key's");
    let role = "SELECT rolreplication AND NOT rolsuper AND NOT rolcreatedb AND NOT rolcreaterole \
                AND has_table_privilege(rolname, 'activity.event_outbox', 'SELECT') \
                AND NOT has_table_privilege(rolname, 'activity.event_outbox', 'INSERT') \
                FROM pg_roles WHERE rolname = 'evp_replication'";
    assert!(sql.query_one(role, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn an_existing_outbox_is_adopted() {
    let world = World::new("adopt").await;
    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE SCHEMA activity; \
         CREATE TABLE activity.event_outbox (event_id uuid PRIMARY KEY, sequence_id bigserial, aggregate_id uuid, \
             aggregate_type varchar(50), event_type varchar(50), payload jsonb, status varchar(20) DEFAULT 'pending', \
             retry_count int DEFAULT 0, last_error text, lock_id uuid, created_at timestamptz DEFAULT now(), \
             published_at timestamptz); \
         INSERT INTO activity.event_outbox (event_id) VALUES (gen_random_uuid()); \
         CREATE PUBLICATION debezium_publication;",
    )
    .await
    .unwrap();
    world.init(1);
    let row = sql
        .query_one(
            "SELECT count(*), (SELECT count(*) FROM pg_publication_tables WHERE pubname = 'debezium_publication') \
             FROM activity.event_outbox",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1), "the row is kept, the table is published");
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'activity' AND tablename = 'event_outbox'";
    let indexes: i64 = sql.query_one(indexes, &[]).await.unwrap().get(0);
    assert_eq!(indexes, 1, "building indexes would keep the application from writing");
}

#[tokio::test]
async fn a_slot_of_another_kind_is_refused_and_kept() {
    let world = World::new("foreign").await;
    let sql = world.sql().await;
    sql.execute("SELECT pg_create_logical_replication_slot($1, 'test_decoding')", &[&world.name()]).await.unwrap();
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("test_decoding"), "{finished:?}");
    let kept =
        sql.query_one("SELECT plugin::text FROM pg_replication_slots WHERE slot_name = $1", &[&world.name()]).await;
    assert_eq!(kept.unwrap().get::<_, String>(0), "test_decoding");
}

/// Creates a login role without privileges and makes the commands use it.
async fn as_role(world: &mut World, owns_database: bool) -> String {
    let role = format!("{}_role", world.name());
    let sql = world.sql().await;
    sql.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pencil'")).await.unwrap();
    if owns_database {
        sql.batch_execute(&format!("ALTER DATABASE {} OWNER TO {role}", world.name())).await.unwrap();
    }
    world.set("POSTGRES_USER", role.as_str());
    world.set("POSTGRES_PASSWORD", "pencil");
    role
}

#[tokio::test]
async fn an_owner_without_privileges_is_told_what_a_dba_has_to_run() {
    let mut world = World::new("owner").await;
    let (user, password) = (world.variable("POSTGRES_USER").to_owned(), world.variable("POSTGRES_PASSWORD").to_owned());
    let superuser = world.sql().await;
    let role = as_role(&mut world, true).await;
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let failure = finished.failure();
    assert!(failure.contains("pg_create_logical_replication_slot"), "{failure}");
    for made in ["migration V1", "migration V2", "publication", "topic", "collection users"] {
        assert!(created(&finished.stdout).iter().any(|line| line.contains(made)), "{made}: {finished:?}");
    }

    superuser.batch_execute(&format!("ALTER ROLE {role} REPLICATION")).await.unwrap();
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(0), "REPLICATION is all that was missing: {finished:?}");

    world.set("POSTGRES_USER", user);
    world.set("POSTGRES_PASSWORD", password);
    superuser
        .batch_execute(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn no_slot_is_made_before_the_publication_that_a_dba_has_to_make() {
    let mut world = World::new("dba").await;
    let (user, password) = (world.variable("POSTGRES_USER").to_owned(), world.variable("POSTGRES_PASSWORD").to_owned());
    let superuser = world.sql().await;
    let role = as_role(&mut world, false).await;
    let schema = format!("ALTER ROLE {role} REPLICATION; CREATE SCHEMA activity AUTHORIZATION {role}");
    superuser.batch_execute(&schema).await.unwrap();
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("CREATE PUBLICATION"), "{finished:?}");
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1";
    assert_eq!(superuser.query_one(slots, &[&world.name()]).await.unwrap().get::<_, i64>(0), 0);

    superuser.batch_execute("CREATE PUBLICATION debezium_publication FOR TABLE activity.event_outbox").await.unwrap();
    world.init(1);
    assert_eq!(superuser.query_one(slots, &[&world.name()]).await.unwrap().get::<_, i64>(0), 1);
    world.set("POSTGRES_USER", user);
    world.set("POSTGRES_PASSWORD", password);
    superuser
        .batch_execute(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_create_is_told_so_and_nothing_is_half_made() {
    let mut world = World::new("guest").await;
    let (user, password) = (world.variable("POSTGRES_USER").to_owned(), world.variable("POSTGRES_PASSWORD").to_owned());
    let superuser = world.sql().await;
    let role = as_role(&mut world, false).await;
    let finished = world.run(&["init"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains(&role), "{finished:?}");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'activity'";
    assert_eq!(superuser.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 0);
    world.set("POSTGRES_USER", user);
    world.set("POSTGRES_PASSWORD", password);
    superuser.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
