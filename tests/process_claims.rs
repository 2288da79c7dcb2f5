//! `evp process`: how long events are remembered by their ids.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use serde_json::json;

use crate::support::World;
use crate::support::envelopes::{event, process, world_with};

/// After how many days claims expire.
async fn remembered_days(world: &World) -> u64 {
    let claims = world.mongo().await.collection::<Document>("evp_applied_events");
    let indexes: Vec<IndexModel> = claims.list_indexes().await.unwrap().try_collect().await.unwrap();
    let expiry = indexes.into_iter().find(|index| index.keys == doc! { "at": 1 }).unwrap();
    expiry.options.unwrap().expire_after.unwrap().as_secs() / 86_400
}

#[tokio::test]
async fn events_are_remembered_for_as_long_as_a_variable_or_a_flag_says() {
    let mut world = world_with("claims_days", 1, &[event(0, 1, 1, "UserCreated", &json!({}))]).await;
    process(&world);
    assert_eq!(remembered_days(&world).await, 30);
    world.set("REMEMBER_DAYS", "3");
    process(&world);
    assert_eq!(remembered_days(&world).await, 3);
    assert_eq!(world.run(&["process", "--until", "caught-up", "--remember-days", "400"]).code, Some(0));
    assert_eq!(remembered_days(&world).await, 400);
    world.set("REMEMBER_DAYS", "0");
    let refused = world.run(&["process", "--until", "caught-up"]);
    assert_eq!(refused.code, Some(64));
    assert!(refused.failure().contains("REMEMBER_DAYS"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and tells nothing but numbers"]
async fn how_much_room_a_claim_takes() {
    let world = world_with("claims_room", 1, &[event(0, 1, 1, "UserCreated", &json!({}))]).await;
    process(&world);
    let database = world.mongo().await;
    let claims = database.collection::<Document>("evp_applied_events");
    let count = 500_000;
    for chunk in 0..count / 10_000 {
        let claim = |number: i64| {
            let id = bson::Binary {
                subtype: bson::spec::BinarySubtype::Uuid,
                bytes: uuid::Uuid::new_v4().as_bytes().to_vec(),
            };
            doc! { "_id": id, "s": 1, "p": 3, "o": chunk * 10_000 + number, "at": bson::DateTime::now() }
        };
        claims.insert_many((0..10_000).map(claim)).await.unwrap();
    }
    database.client().database("admin").run_command(doc! { "fsync": 1 }).await.unwrap();
    let stats = database.run_command(doc! { "collStats": "evp_applied_events" }).await.unwrap();
    let number = |name: &str| stats.get_i64(name).unwrap_or_else(|_| stats.get_i32(name).unwrap().into());
    println!(
        "{} B of data, {} B on disk, {} B of indexes a claim: {}",
        number("avgObjSize"),
        number("storageSize") / count,
        number("totalIndexSize") / count,
        stats.get_document("indexSizes").unwrap()
    );
}
