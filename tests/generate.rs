//! The load generator and the verification, against a database and read models that the test writes itself.

use bson::{DateTime, doc};
use serde_json::Value;

use crate::support::World;

fn json(stdout: &str) -> Value {
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

#[tokio::test]
async fn as_many_rows_as_asked_for_are_committed_at_the_rate() {
    let world = World::new("rate").await;
    world.init(1);
    let finished = world.run(&["generate", "--count", "500", "--rate", "250", "--connections", "3", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let summary = json(&finished.stdout);
    assert_eq!(summary["events"], 500);
    assert_eq!(summary["committed"]["count"], 500);
    let seconds = summary["elapsed_seconds"].as_f64().unwrap();
    assert!((1.9..8.0).contains(&seconds), "an open loop keeps its schedule: {summary}");
    let sql = world.sql().await;
    let rows = "SELECT count(*), count(DISTINCT event_id), count(DISTINCT xmin::text) FROM activity.event_outbox";
    let row = sql.query_one(rows, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (500, 500, 500));
}

#[tokio::test]
async fn rows_can_share_transactions_and_a_seed_repeats_them() {
    let world = World::new("batch").await;
    world.init(1);
    let generate = ["generate", "--count", "250", "--rate", "0", "--batch", "100", "--seed", "7", "--json"];
    let finished = world.run(&generate);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let sql = world.sql().await;
    let rows = "SELECT count(*), count(DISTINCT xmin::text) FROM activity.event_outbox";
    let row = sql.query_one(rows, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (250, 3));
    let again = world.run(&generate);
    assert_eq!(again.code, Some(64), "the same seed gives the same ids: {again:?}");
    assert!(again.failure().contains("--seed"), "{again:?}");
}

#[tokio::test]
async fn documents_that_do_not_come_are_missed() {
    let world = World::new("verify").await;
    world.init(1);
    let clean = world.run(&["verify"]);
    assert_eq!(clean.code, Some(0), "an empty outbox and no documents agree: {clean:?}");

    let sql = world.sql().await;
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload, created_at) \
                  VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000aa', 'User', \
                          'UserCreated', '{\"email\": \"a@b\", \"first_name\": \"Ada\"}', '2026-11-21T09:13:38.709461Z')";
    sql.execute(insert, &[]).await.unwrap();
    let missing = world.run(&["verify", "--json"]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    let report = json(&missing.stdout);
    assert_eq!((&report["clean"], &report["finding_counts"]["missing"]), (&false.into(), &1.into()));

    let at = DateTime::from_millis(1_795_252_418_709);
    let id = "00000000-0000-4000-8000-0000000000aa";
    let user = doc! {
        "_id": id, "email": "a@b", "username": null, "name": "Ada", "first_name": "Ada", "last_name": null,
        "profile": { "bio": null, "avatar_url": null },
        "metadata": { "created_at": at, "updated_at": at, "source_event_id": "00000000-0000-4000-8000-000000000001" },
        "allowed_users": [id], "_evp": { "anything": 1 },
    };
    let database = world.mongo().await;
    database.collection("users").insert_one(user).await.unwrap();
    let statistics = doc! { "_id": "global_stats", "total_users": 1_i64, "last_updated": at };
    database.collection("statistics").insert_one(statistics).await.unwrap();
    let equal = world.run(&["verify"]);
    assert_eq!(equal.code, Some(0), "{equal:?}");

    let users = database.collection::<bson::Document>("users");
    users.update_one(doc! { "_id": id }, doc! { "$set": { "name": "Eve", "profile.bio": "x" } }).await.unwrap();
    users.insert_one(doc! { "_id": "stranger" }).await.unwrap();
    let different = world.run(&["verify", "--json"]);
    assert_eq!(different.code, Some(3), "{different:?}");
    let report = json(&different.stdout);
    let detail = report["findings"]["different"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("`name`") && detail.contains("`profile.bio`"), "{detail}");
    assert_eq!(report["findings"]["unexpected"][0]["subject"], "stranger");
}
