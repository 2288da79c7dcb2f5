//! `evp process` on outboxes that are not evp's own: other columns, other ids, several topics.

use bson::doc;
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, envelope, produce};
use crate::support::{World, document, records};

/// A row as the documentation of Debezium's event router has it, with numbers as ids of events.
fn record(partition: i32, number: u32, aggregate: &str, kind: &str, payload: &Value) -> NewRecord {
    let row = json!({
        "id": number, "aggregatetype": "User", "aggregateid": aggregate, "type": kind, "payload": payload.to_string(),
    });
    let value = Some(envelope(&row).to_string().into_bytes());
    NewRecord { partition, key: Some(aggregate.into()), value, ..NewRecord::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_of_other_columns_and_ids_is_read_from_several_topics() {
    let mut world = World::new("sources").await;
    world.set("RETRY_DELAY_SECONDS", "0.2");
    let topics = Topics::new(&world);
    let [first, second] = ["a", "b"].map(|end| format!("{}-{end}", world.name()));
    topics.create(&first, 2, &[]).await;
    topics.create(&second, 1, &[]).await;
    let ada = json!({ "first_name": "Ada", "email": "ada@example.org" });
    produce(&world, &first, &[record(0, 1, "u/1", "UserCreated", &ada), record(1, 2, "42", "UserCreated", &json!({}))])
        .await;
    let more = [
        record(0, 3, "7", "UserCreated", &json!({})),
        record(0, 1, "u/1", "UserCreated", &ada),
        record(0, 4, "7", "UserUpdated", &json!({ "email": 5 })),
    ];
    produce(&world, &second, &more).await;
    let both = format!("{first}, {second}");
    world.set("KAFKA_TOPIC", &both);
    world.set("OUTBOX_COLUMNS", "debezium");
    let flags = ["process", "--until", "caught-up", "--kafka", "group.instance.id=one"];
    let finished = world.run(&flags);
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let database = world.mongo().await;
    let user = document(&database, "users", "u/1").await.unwrap();
    assert_eq!((user.get_str("email").unwrap(), user.get_str("name").unwrap()), ("ada@example.org", "Ada"));
    let created = user.get_document("metadata").unwrap().get_datetime("created_at").unwrap();
    assert_eq!(created.timestamp_millis(), 1_767_225_600_000, "the time of the commit");
    assert!(document(&database, "users", "42").await.is_some());
    // The event that stands in both topics is counted once.
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    assert_eq!(statistics.get_i64("total_users").unwrap(), 3);
    // Each topic has dead letters of its own, and the group has offsets in both.
    assert_eq!(records(&world, &format!("{second}.dlq")).len(), 1);
    assert_eq!(records(&world, &format!("{first}.dlq")), []);
    let again = world.run(&flags);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(document(&database, "statistics", "global_stats").await.unwrap(), statistics);
    world.set("KAFKA_TOPIC", &first);
    assert_eq!(committed(&world, 2), [(0, 1), (1, 1)].into());
    world.set("KAFKA_TOPIC", &second);
    assert_eq!(committed(&world, 1), [(0, 3)].into());
    let claims = database.collection::<bson::Document>("evp_applied_events");
    assert_eq!(claims.count_documents(doc! {}).await.unwrap(), 4);

    // With evp's own columns nothing of it is an event, which is told before anything is set aside.
    world.set("KAFKA_TOPIC", &both);
    world.set("OUTBOX_COLUMNS", "event_id=colour");
    world.set("KAFKA_GROUP_ID", "another");
    world.set("MONGODB_DATABASE", format!("{}_other", world.name()));
    let refused = world.run(&["process", "--until", "caught-up", "--ids", "number"]);
    assert_eq!(refused.code, Some(64));
    assert!(refused.failure().contains("OUTBOX_IDS"), "{refused:?}");
    world.set("KAFKA_TOPIC", &second);
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.failure().contains("OUTBOX_COLUMNS"), "{refused:?}");
}

#[tokio::test]
async fn verify_compares_one_topic() {
    let mut world = World::new("sources_verify").await;
    world.set("KAFKA_TOPIC", "a,b");
    let refused = world.run(&["verify"]);
    assert_eq!(refused.code, Some(64));
    assert!(refused.failure().contains("KAFKA_TOPIC"), "{refused:?}");
}
