//! `evp process`: a document whose list grows up to MongoDB's limit.

use std::time::Instant;

use bson::{DateTime, Document, doc};
use serde_json::json;

use crate::support::envelopes::{NewRecord, committed, event, id, produce, world_with};
use crate::support::{World, document, eventually, http_get, records};

const HOT: u128 = 700_000;
/// Of one entry, which is in two lists.
const ENTRY_BYTES: usize = 800_000;

fn joined(number: u128, user_id: &str) -> NewRecord {
    event(0, number, HOT, "ParticipantJoined", &json!({ "user_id": user_id }))
}

/// Participants with ids that are far too long.
fn large(numbers: std::ops::Range<u128>) -> Vec<NewRecord> {
    numbers.map(|number| joined(number, &format!("{number}{}", "x".repeat(ENTRY_BYTES)))).collect()
}

async fn participants(world: &World) -> i32 {
    let activity = document(&world.mongo().await, "activities", &id(HOT)).await.unwrap();
    activity.get_document("participants").unwrap().get_i32("current_count").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_told_of_before_it_is_full_and_then_only_what_it_cannot_take_is_a_dead_letter() {
    let world = world_with("large", 1, &[event(0, 1, HOT, "ActivityCreated", &json!({}))]).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    produce(&world, world.topic(), &large(10..18)).await;
    let told = process.event("document_large").await;
    assert!(told["bytes"].as_i64().unwrap() > 12 << 20 && !told.to_string().contains("xxx"), "{told}");
    let metrics = http_get(&address, "/metrics").await.unwrap().1;
    assert!(metrics.contains("evp_process_largest_document_bytes 1"), "{metrics}");
    assert_eq!(participants(&world).await, 8);

    // Two more fit. Others are not kept waiting by those that do not, and small entries still fit.
    let user = |number: u128| event(0, number, number, "UserCreated", &json!({}));
    let mixed: Vec<NewRecord> = large(20..40)
        .into_iter()
        .enumerate()
        .flat_map(|(place, large)| {
            let first = 1_000 + 50 * place as u128;
            std::iter::once(large).chain((first..first + 50).map(user))
        })
        .chain([joined(90, "small")])
        .collect();
    produce(&world, world.topic(), &mixed).await;
    let letters = format!("{}.dlq", world.topic());
    eventually("what does not fit is set aside", async || records(&world, &letters).len() == 18).await;
    eventually("all is committed", async || committed(&world, 1) == [(0, 1 + 8 + 20 + 1_000 + 1)].into()).await;
    let users = world.mongo().await.collection::<Document>("users").count_documents(doc! {}).await.unwrap();
    assert_eq!((users, participants(&world).await), (1_000, 8 + 2 + 1));
    let letter = &records(&world, &letters)[0];
    let said = letter.headers.iter().find(|(name, _)| name == "__connect.errors.exception.message").unwrap();
    let said = String::from_utf8(said.1.clone().unwrap()).unwrap();
    assert!(said.contains(&id(HOT)) && said.contains("16 MB") && said.contains("documents of their own"), "{said}");
    assert!(process.events("refusals_in_a_row").is_empty() && !process.has_ended());
    assert_eq!(process.stop().code, Some(0));
}

/// An activity that so many have joined.
async fn long_list(world: &World, length: u128) {
    let entry =
        |number: u128| doc! { "user_id": id(number), "joined_at": DateTime::from_millis(1), "status": "confirmed" };
    let list: Vec<Document> = (0..length).map(entry).collect();
    let users: Vec<String> = (0..length).map(id).collect();
    let activity = doc! { "_id": id(HOT), "participants": { "current_count": i32::try_from(length).unwrap(), "list": list }, "allowed_users": users };
    let activities = world.mongo().await.collection::<Document>("activities");
    activities.replace_one(doc! { "_id": id(HOT) }, activity).upsert(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and tells nothing but numbers"]
async fn how_long_a_join_takes_by_the_length_of_the_list() {
    let world = world_with("large_measured", 1, &[]).await;
    let mut process = world.start(&["process"]);
    process.event("partitions_assigned").await;
    let mut next = 10_000_000;
    for length in [1_000, 10_000, 50_000, 90_000] {
        long_list(&world, length).await;
        let size =
            vec![doc! { "$match": { "_id": id(HOT) } }, doc! { "$project": { "size": { "$bsonSize": "$$ROOT" } } }];
        let mut found = world.mongo().await.collection::<Document>("activities").aggregate(size).await.unwrap();
        assert!(found.advance().await.unwrap());
        let bytes = found.deserialize_current().unwrap().get_i32("size").unwrap();
        println!("{length} entries: {} bytes an entry", i128::from(bytes) / i128::try_from(length).unwrap());
        let mut expected = i32::try_from(length).unwrap();
        for count in [1, 1, 100, 1_000] {
            let joins: Vec<NewRecord> = (next..next + count).map(|number| joined(number, &id(number))).collect();
            next += count;
            expected += i32::try_from(count).unwrap();
            let started = Instant::now();
            produce(&world, world.topic(), &joins).await;
            eventually("they have joined", async || participants(&world).await == expected).await;
            println!("{length} entries: {count} joins in {:.0?}", started.elapsed());
        }
        // One of them once more, among others.
        let again = joined(next, &id(7));
        next += 1;
        let joins: Vec<NewRecord> =
            [again].into_iter().chain((next..next + 500).map(|number| joined(number, &id(number)))).collect();
        next += 500;
        let started = Instant::now();
        produce(&world, world.topic(), &joins).await;
        eventually("they have joined", async || participants(&world).await == expected + 500).await;
        println!("{length} entries: 500 joins and one repeated in {:.0?}", started.elapsed());
    }
    assert_eq!(process.stop().code, Some(0));
}
