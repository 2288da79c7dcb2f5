//! `evp verify` beside rows that are hard to read, gone, or lost.

use bson::doc;
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::World;

const USER: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                    VALUES (gen_random_uuid(), $1, 'User', $2, $3::text::json)";

async fn user(client: &Client, id: Uuid, event_type: &str, payload: &str) {
    client.execute(USER, &[&id, &event_type, &payload]).await.unwrap();
}

pub(crate) fn both_halves(world: &World) {
    for half in ["capture", "process"] {
        let finished = world.run(&[half, "--until", "caught-up"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
}

pub(crate) fn verified(world: &World) -> (Option<i32>, Value) {
    let finished = world.run(&["verify", "--json"]);
    let json = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    (finished.code, json)
}

/// What `json` takes and `jsonb` does not is in outboxes of others.
#[tokio::test]
async fn rows_that_no_program_can_hold_are_dead_letters_and_do_not_end_the_comparison() {
    let world = World::new("verify_odd").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE activity.event_outbox ALTER COLUMN payload TYPE json USING payload::json")
        .await
        .unwrap();
    user(&sql, Uuid::new_v4(), "UserCreated", r#"{"email":"a@b"}"#).await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(3_000), "]".repeat(3_000));
    for payload in [r#"{"email":"\ud800"}"#, r#"{"n":1e400}"#, &deep] {
        user(&sql, Uuid::new_v4(), "UserCreated", payload).await;
    }
    both_halves(&world);
    let (code, report) = verified(&world);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(report["finding_counts"]["dead_letter"], report["dead_letters"], "{report}");
    assert_eq!(report["finding_counts"].as_object().unwrap().len(), 1, "nothing else is wrong: {report}");
    assert_eq!(report["outbox_events"], 4);
}

#[tokio::test]
async fn rows_that_are_deleted_by_the_transaction_that_wrote_them_are_judged_by_the_topic() {
    let world = World::new("verify_gone").await;
    world.init(2);
    let mut sql = world.sql().await;
    let users: Vec<Uuid> = (0..20).map(|_| Uuid::new_v4()).collect();
    for id in &users {
        let transaction = sql.transaction().await.unwrap();
        for (event_type, payload) in
            [("UserCreated", r#"{"email":"a@b","first_name":"A"}"#), ("UserUpdated", r#"{"email":"c@d"}"#)]
        {
            transaction.execute(USER, &[id, &event_type, &payload]).await.unwrap();
        }
        transaction.execute("DELETE FROM activity.event_outbox", &[]).await.unwrap();
        transaction.commit().await.unwrap();
    }
    both_halves(&world);
    let (code, report) = verified(&world);
    assert_eq!((code, &report["total_users"]), (Some(0), &serde_json::json!([20, 20])), "{report}");

    let mongo = world.mongo().await;
    let collection = mongo.collection::<bson::Document>("users");
    let id = users[3].to_string();
    collection.update_one(doc! { "_id": &id }, doc! { "$set": { "email": "wrong" } }).await.unwrap();
    collection.delete_one(doc! { "_id": users[4].to_string() }).await.unwrap();
    let (code, report) = verified(&world);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(report["findings"]["different"][0]["subject"], id.as_str(), "{report}");
    assert_eq!(report["finding_counts"]["missing"], 1, "{report}");
}

#[tokio::test]
async fn a_document_that_no_event_makes_is_told_unless_the_events_may_be_gone() {
    let world = World::new("verify_none").await;
    world.init(1);
    let sql = world.sql().await;
    user(&sql, Uuid::new_v4(), "UserCreated", "{}").await;
    both_halves(&world);
    let collection = world.mongo().await.collection::<bson::Document>("users");
    collection.insert_one(doc! { "_id": Uuid::new_v4().to_string() }).await.unwrap();
    let (code, report) = verified(&world);
    assert_eq!((code, &report["finding_counts"]["unexpected"]), (Some(3), &1.into()), "{report}");
    user(&sql, Uuid::new_v4(), "UserCreated", "{}").await;
    both_halves(&world);
    crate::support::envelopes::Topics::new(&world).delete_records_before(world.topic(), 1).await;
    let (code, report) = verified(&world);
    assert_eq!((code, &report["not_judged"]), (Some(0), &1.into()), "{report}");
}
