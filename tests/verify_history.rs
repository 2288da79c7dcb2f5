//! `evp verify` beside rows and records that are no longer what, or where, they were.

use bson::{Document, doc};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::World;
use crate::support::envelopes::Topics;
use crate::verify::{both_halves, verified};

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      VALUES ($1, $2, 'Aggregate', $3, $4::text::jsonb)";
const DELETE: &str = "DELETE FROM activity.event_outbox WHERE event_id = $1";

async fn write(sql: &Client, aggregate: Uuid, event_type: &str, payload: &str) -> Uuid {
    let event_id = Uuid::new_v4();
    sql.execute(INSERT, &[&event_id, &aggregate, &event_type, &payload]).await.unwrap();
    event_id
}

/// A row that is gone as soon as its transaction is committed.
async fn write_and_delete(sql: &mut Client, aggregate: Uuid, event_type: &str, payload: &str) {
    let event_id = Uuid::new_v4();
    let transaction = sql.transaction().await.unwrap();
    transaction.execute(INSERT, &[&event_id, &aggregate, &event_type, &payload]).await.unwrap();
    transaction.execute(DELETE, &[&event_id]).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Outboxes are often emptied of personal data once they are published.
#[tokio::test]
async fn a_row_that_is_rewritten_after_its_event_was_applied_counts_as_it_was_applied() {
    let world = World::new("verify_rewritten").await;
    world.init(1);
    let sql = world.sql().await;
    let user = Uuid::new_v4();
    write(&sql, user, "UserCreated", r#"{"email":"a@b","first_name":"Ada"}"#).await;
    write(&sql, user, "UserUpdated", r#"{"email":"c@d"}"#).await;
    both_halves(&world);
    sql.execute("UPDATE activity.event_outbox SET payload = '{}', status = 'processed'", &[]).await.unwrap();
    both_halves(&world);
    let (code, report) = verified(&world);
    assert_eq!(code, Some(0), "{report}");
}

/// Rows and records are both kept for some days only, and aggregates live longer.
#[tokio::test]
async fn an_aggregate_whose_beginning_is_gone_on_both_sides_is_not_compared_and_its_later_events_are_not_lost() {
    let world = World::new("verify_beginning").await;
    world.init(1);
    let sql = world.sql().await;
    let (old, other) = (Uuid::new_v4(), Uuid::new_v4());
    let creation = write(&sql, old, "UserCreated", r#"{"email":"a@b"}"#).await;
    write(&sql, other, "UserCreated", r#"{"email":"e@f"}"#).await;
    both_halves(&world);
    sql.execute(DELETE, &[&creation]).await.unwrap();
    Topics::new(&world).delete_records_before(world.topic(), 1).await;
    write(&sql, old, "UserUpdated", r#"{"email":"c@d"}"#).await;
    both_halves(&world);
    let (code, report) = verified(&world);
    assert_eq!(code, Some(0), "{report}");
    let users = world.mongo().await.collection::<Document>("users");
    // What can still be compared is.
    users.update_one(doc! { "_id": other.to_string() }, doc! { "$set": { "email": "x" } }).await.unwrap();
    let (code, report) = verified(&world);
    assert_eq!((code, &report["finding_counts"]), (Some(3), &serde_json::json!({ "different": 1 })), "{report}");
}

#[tokio::test]
async fn what_is_lost_of_events_whose_rows_are_deleted_is_found() {
    let world = World::new("verify_deleted").await;
    world.init(2);
    let mut sql = world.sql().await;
    let (kept, gone) = (Uuid::new_v4(), Uuid::new_v4());
    write(&sql, kept, "ActivityCreated", r#"{"title":"first"}"#).await;
    both_halves(&world);
    let activities = world.mongo().await.collection::<Document>("activities");
    let kept_id = doc! { "_id": kept.to_string() };
    let before = activities.find_one(kept_id.clone()).await.unwrap().unwrap();
    write_and_delete(&mut sql, kept, "ActivityUpdated", r#"{"title":"second"}"#).await;
    write_and_delete(&mut sql, gone, "ActivityCreated", r#"{"title":"other"}"#).await;
    both_halves(&world);
    let (code, report) = verified(&world);
    assert_eq!(code, Some(0), "{report}");
    // As if the update had never come: the document agrees with all rows that there are.
    activities.replace_one(kept_id, before).await.unwrap();
    let (code, report) = verified(&world);
    assert_eq!((code, &report["finding_counts"]), (Some(3), &serde_json::json!({ "different": 1 })), "{report}");
    activities.delete_one(doc! { "_id": gone.to_string() }).await.unwrap();
    let (code, report) = verified(&world);
    let both = serde_json::json!({ "different": 1, "missing": 1 });
    assert_eq!((code, &report["finding_counts"]), (Some(3), &both), "{report}");
}

#[tokio::test]
async fn neither_a_date_without_end_nor_the_limits_of_the_database_end_the_comparison() {
    let world = World::new("verify_limits").await;
    world.init(1);
    let sql = world.sql().await;
    let rows = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                SELECT gen_random_uuid(), gen_random_uuid(), 'User', 'UserCreated', '{}' FROM generate_series(1, 20000)";
    sql.execute(rows, &[]).await.unwrap();
    let odd = write(&sql, Uuid::new_v4(), "UserCreated", "{}").await;
    let update = "UPDATE activity.event_outbox SET created_at = 'infinity' WHERE event_id = $1";
    sql.execute(update, &[&odd]).await.unwrap();
    sql.batch_execute(&format!("ALTER DATABASE {} SET statement_timeout = '50ms'", world.name())).await.unwrap();
    let (code, report) = verified(&world);
    assert_eq!((code, &report["outbox_events"]), (Some(3), &20_001.into()), "{report}");
    assert_eq!(report["finding_counts"]["missing"], 20_000);
    assert_eq!(report["findings"]["lost_event"][0]["subject"], odd.to_string(), "{report}");
}
