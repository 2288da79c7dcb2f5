//! `evp capture` when the server behind the slot is not what it was: promoted, restored, exchanged; or the topic is not.

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use tokio_postgres::Client;

use crate::support::{Finished, OwnStack, World, topic_end};

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}' \
                      FROM generate_series(1, $1::int)";

/// Without it a server does not look for the end of its log, where a new timeline begins.
const SETTINGS: [(&str, &str); 1] = [("EVP_POSTGRES_SETTINGS", "restore_command = 'false'")];

async fn insert(client: &Client, rows: i32) {
    client.execute(INSERT, &[&rows]).await.unwrap();
}

/// Moves the end of the log on by two segments.
async fn age(client: &Client) {
    for _ in 0..2 {
        client.batch_execute("SELECT pg_switch_wal(); CREATE TEMP TABLE aged (); DROP TABLE aged").await.unwrap();
    }
}

fn capture(world: &World) -> Finished {
    world.run(&["capture", "--until", "caught-up"])
}

#[tokio::test]
async fn a_promoted_server_is_followed_if_it_has_everything_and_refused_if_not() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &SETTINGS);
    let world = World::on_stack("history_promoted", &stack).await;
    world.init(1);
    insert(&world.sql().await, 3).await;
    assert_eq!(capture(&world).code, Some(0));

    stack.stop(&["postgres"]);
    stack.copy_postgres();
    stack.begin_timeline();
    stack.start(&["postgres"]);
    insert(&world.sql().await, 4).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(7));

    // The copy has none of the four, lives on for a while, and then takes the same number.
    stack.stop(&["postgres"]);
    stack.restore_postgres();
    stack.start(&["postgres"]);
    insert(&world.sql().await, 2).await;
    stack.stop(&["postgres"]);
    stack.begin_timeline();
    stack.start(&["postgres"]);
    age(&world.sql().await).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("left that history"), "{}", finished.failure());
}

#[tokio::test]
async fn a_server_that_left_the_topics_timeline_before_its_end_is_refused_however_long_its_log_has_grown() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &SETTINGS);
    let world = World::on_stack("history_left", &stack).await;
    world.init(1);
    insert(&world.sql().await, 3).await;
    assert_eq!(capture(&world).code, Some(0));
    stack.stop(&["postgres"]);
    stack.copy_postgres();
    stack.start(&["postgres"]);
    insert(&world.sql().await, 4).await;
    assert_eq!(capture(&world).code, Some(0));

    stack.stop(&["postgres"]);
    stack.restore_postgres();
    stack.begin_timeline();
    stack.start(&["postgres"]);
    let sql = world.sql().await;
    insert(&sql, 2).await;
    age(&sql).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("timeline 1"), "{}", finished.failure());

    // Once that is accepted, the rows of the new timeline are none of those that the topic holds at the same positions.
    assert_eq!(world.run(&["capture", "--until", "caught-up", "--accept-gap"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(3 + 4 + 2));
    insert(&sql, 1).await;
    assert_eq!(capture(&world).code, Some(0), "the gap is accepted once and for all");
    assert_eq!(topic_end(&world, world.topic()), Some(3 + 4 + 2 + 1));
}

#[tokio::test]
async fn an_accepted_move_to_another_cluster_takes_nothing_of_the_old_one_for_written() {
    let stack = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
    let other = OwnStack::up(&["postgres"], &[]);
    let mut world = World::on_stack("history_moved", &stack).await;
    world.init(8);
    let sql = world.sql().await;
    // The new cluster's positions are all before those of the old one.
    for _ in 0..4 {
        age(&sql).await;
    }
    insert(&sql, 64).await;
    assert_eq!(capture(&world).code, Some(0));

    let admin_database = other.variables()["POSTGRES_DB"].clone();
    for name in ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"] {
        world.set(name, other.variables()[name].as_str());
    }
    world.create_database(&admin_database).await;
    world.init(8);
    let sql = world.sql().await;
    insert(&sql, 1).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.failure().contains("cluster"), "{}", finished.failure());
    assert_eq!(world.run(&["capture", "--until", "caught-up", "--accept-gap"]).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(64 + 1));

    // Most partitions still end with a record of the old cluster.
    insert(&sql, 20).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(64 + 1 + 20));
}

#[tokio::test]
async fn partitions_that_were_added_do_not_let_a_slot_that_fell_back_write_anything_again() {
    let world = World::new("history_grown").await;
    world.init(2);
    let sql = world.sql().await;
    let early = format!("{}_early", world.name());
    sql.execute("SELECT pg_copy_logical_replication_slot($1, $2)", &[&world.name(), &early]).await.unwrap();
    insert(&sql, 40).await;
    assert_eq!(capture(&world).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(40));

    add_partitions(&world, 5).await;
    // As after a crash of the server, which keeps a slot's position on disk only now and then.
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    sql.execute("SELECT pg_copy_logical_replication_slot($1, $2)", &[&early, &world.name()]).await.unwrap();
    insert(&sql, 10).await;
    let finished = capture(&world);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(topic_end(&world, world.topic()), Some(50));

    // And once more, now with commits on both sides of the change.
    sql.execute("SELECT pg_drop_replication_slot($1)", &[&world.name()]).await.unwrap();
    sql.execute("SELECT pg_copy_logical_replication_slot($1, $2)", &[&early, &world.name()]).await.unwrap();
    assert_eq!(capture(&world).code, Some(0));
    assert_eq!(topic_end(&world, world.topic()), Some(50));
}

async fn add_partitions(world: &World, count: usize) {
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", world.variable("KAFKA_BOOTSTRAP_SERVERS"))
        .create()
        .unwrap();
    let added = admin.create_partitions([&NewPartitions::new(world.topic(), count)], &AdminOptions::new()).await;
    assert!(added.unwrap().iter().all(Result::is_ok));
}
