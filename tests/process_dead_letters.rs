//! `evp process`: what waits, what is set aside, and that nothing is lost between the two.

use std::collections::BTreeMap;

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, Topics, committed, envelope, event, id, process, produce, row, world_with};
use crate::support::{document, eventually, http_get, produce_raw, records};

const USER: u128 = 1_001;

#[tokio::test]
async fn a_missing_predecessor_is_waited_for_and_then_given_up_without_slowing_the_rest() {
    let orphan = event(0, 2, USER, "UserUpdated", &json!({ "email": "new@example.org" }));
    let lost = event(0, 3, 9_999, "UserUpdated", &json!({ "email": "lost@example.org" }));
    let other = event(0, 4, 4_000, "UserCreated", &json!({}));
    let mut world = world_with("proc_orphan", 2, &[orphan, lost, other]).await;
    world.set("MAX_RETRIES", "20");
    let process = world.start(&["process"]);
    let database = world.mongo().await;
    eventually("the rest is applied", async || document(&database, "users", &id(4_000)).await.is_some()).await;
    let is_before_it = committed(&world, 2).get(&0).is_none_or(|offset| *offset == 0);
    assert!(is_before_it, "an offset passed an event that waits");
    produce(&world, world.topic(), &[event(1, 1, USER, "UserCreated", &json!({ "email": "old@example.org" }))]).await;
    eventually("the waiting event is applied", async || {
        let user = document(&database, "users", &id(USER)).await;
        user.is_some_and(|user| user.get_str("email").unwrap() == "new@example.org")
    })
    .await;
    eventually("the offset moves on", async || committed(&world, 2).get(&0) == Some(&3)).await;
    let letters = records(&world, &format!("{}.dlq", world.topic()));
    let headers = headers(&letters[0].headers);
    assert_eq!((letters.len(), &*headers["__connect.errors.offset"], &*headers["evp.attempts"]), (1, "1", "21"));
    assert!(headers["__connect.errors.exception.message"].contains("predecessor missing"), "{headers:?}");
    assert_eq!(process.stop().code, Some(0));
}

fn headers(headers: &[(String, Option<Vec<u8>>)]) -> BTreeMap<String, String> {
    let text = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().unwrap_or_default()).unwrap();
    headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// Values that cannot be applied, each with what its dead letter is to say.
fn poisons() -> Vec<(Vec<u8>, &'static str)> {
    let with = |column: &str, value: Value| {
        let mut row = row(7_000, 7_000, "UserCreated", &json!({}));
        row[column] = value;
        envelope(&row).to_string().into_bytes()
    };
    let nested = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let created = |payload: &str| with("payload", json!(payload));
    let mut not_utf8 = created("{}");
    not_utf8.extend_from_slice(b"\xff\xfe");
    let mut activity = row(7_001, 7_001, "ActivityCreated", &json!({}));
    activity["payload"] = json!("{\"max_participants\": 1e400}");
    vec![
        (b"not json".to_vec(), "the value is not JSON"),
        (b"".to_vec(), "the value is not JSON"),
        (b"[1, 2]".to_vec(), "not a JSON object"),
        (b"{\"op\":\"c\",\"after\":null}".to_vec(), "no `after`"),
        (b"{\"op\":\"c\"}".to_vec(), "no `after`"),
        (with("event_type", json!("UserVanished")), "no handler"),
        (with("event_type", json!(5)), "`event_type` is not a text"),
        (with("event_id", json!("x")), "`event_id` is not a UUID"),
        (with("aggregate_id", Value::Null), "`aggregate_id` is missing"),
        (with("created_at", json!("yesterday")), "`created_at`"),
        (with("sequence_id", json!(1.5)), "`sequence_id`"),
        (with("payload", json!(7)), "`payload`"),
        (created("{\"email\": 7}"), "`email` is not a text"),
        (created(&nested), "nested deeper"),
        (not_utf8, "not UTF-8"),
        (envelope(&activity).to_string().into_bytes(), "`payload` is not JSON"),
    ]
}

/// Payloads that look dangerous and are none.
fn harmless() -> Vec<Value> {
    let large = "x".repeat(900 * 1024);
    vec![
        json!({ "$set": { "email": "x" }, "email": "$email" }),
        json!({ "a.b": 1, "profile.bio": "x", "": 1, "__proto__": {}, "_id": "x", "_evp": 1 }),
        json!({ "nul\u{0}key": 1, "bio": "nul\u{0}text" }),
        json!({ "bio": large }),
        json!({ "followers": u64::MAX, "ratio": 1e300 }),
    ]
}

#[tokio::test]
async fn every_poison_becomes_a_dead_letter_as_it_was_and_what_is_between_is_applied() {
    let (poisons, harmless) = (poisons(), harmless());
    let mut new = Vec::new();
    for (number, (value, _)) in (100..).zip(&poisons) {
        let mut poison = event(0, number, number, "UserCreated", &json!({}));
        new.push(poison.clone());
        poison.value = Some(value.clone());
        poison.key = Some(b"key \xff of a poison".to_vec());
        poison.headers = vec![("trace", "abc"), ("trace", "def")];
        new.push(poison);
    }
    new.push(NewRecord::default());
    new.extend((200..).zip(&harmless).map(|(number, payload)| event(0, number, number, "UserCreated", payload)));
    let world = world_with("proc_poison", 1, &new).await;
    process(&world);

    let end = i64::try_from(new.len()).unwrap();
    assert_eq!(committed(&world, 1), [(0, end)].into());
    let database = world.mongo().await;
    // Of the two handlers of the poison with a wrong email only one reads it, and the other one counts.
    let statistics = document(&database, "statistics", "global_stats").await.unwrap();
    let total_users = statistics.get_i64("total_users").unwrap();
    assert_eq!(total_users, i64::try_from(poisons.len() + harmless.len() + 1).unwrap());
    let users = database.collection::<Document>("users").count_documents(doc! {}).await.unwrap();
    assert_eq!(users, u64::try_from(poisons.len() + harmless.len()).unwrap());
    let literal = document(&database, "users", &id(200)).await.unwrap();
    assert_eq!(literal.get_str("email").unwrap(), "$email");

    let mut letters = records(&world, &format!("{}.dlq", world.topic()));
    let offset = |letter: &crate::support::Record| -> i64 {
        headers(&letter.headers)["__connect.errors.offset"].parse().unwrap()
    };
    letters.sort_by_key(offset);
    assert_eq!(
        letters.iter().map(offset).collect::<Vec<_>>(),
        (0..).map(|n| 2 * n + 1).take(poisons.len()).collect::<Vec<_>>()
    );
    for (letter, (value, reason)) in letters.iter().zip(&poisons) {
        assert_eq!(letter.value.as_ref(), Some(value));
        assert_eq!(letter.key.as_deref(), Some(&b"key \xff of a poison"[..]));
        assert_eq!(
            letter.headers[..2],
            [("trace".to_owned(), Some(b"abc".to_vec())), ("trace".to_owned(), Some(b"def".to_vec()))]
        );
        let headers = headers(&letter.headers);
        assert!(headers["__connect.errors.exception.message"].contains(reason), "{reason}: {headers:?}");
        assert_eq!(
            (&*headers["__connect.errors.topic"], &*headers["__connect.errors.partition"]),
            (world.topic(), "0")
        );
        assert_eq!((&*headers["evp.error.kind"], &*headers["evp.attempts"]), ("data", "1"));
        assert!(headers.contains_key("evp.handler") && headers.contains_key("__connect.errors.stage"));
    }
}

#[tokio::test]
async fn the_offset_stays_before_a_poison_until_its_dead_letter_is_on_kafka() {
    // Nothing that compression makes smaller.
    let noise = (0..250).flat_map(|_| uuid::Uuid::new_v4().into_bytes());
    let poison = NewRecord { value: Some(noise.collect()), ..NewRecord::default() };
    let good = event(0, 1, USER, "UserCreated", &json!({}));
    let world = world_with("proc_dlq", 1, &[good.clone(), poison]).await;
    let (topics, letters) = (Topics::new(&world), format!("{}.dlq", world.topic()));
    topics.create(&letters, 1, &[("max.message.bytes", "2000")]).await;
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    process.event("dead_letter_refused").await;
    let is_told = async || matches!(http_get(&address, "/readyz").await, Some((503, why)) if why.contains(&letters));
    eventually("readiness tells of it", is_told).await;
    // What comes after it does not have to wait for it.
    let small = NewRecord { value: Some(b"not json".to_vec()), ..NewRecord::default() };
    produce(&world, world.topic(), &[event(0, 2, 4_000, "UserCreated", &json!({})), small]).await;
    let database = world.mongo().await;
    eventually("the other dead letter is written", async || !records(&world, &letters).is_empty()).await;
    assert!(is_told().await, "one that is taken hides one that is not");
    eventually("the rest is applied", async || document(&database, "users", &id(4_000)).await.is_some()).await;
    eventually("what is before it is committed", async || committed(&world, 1).get(&0) == Some(&1)).await;
    let mut again = world.command(&["process"]);
    again.env("SHUTDOWN_TIMEOUT_SECONDS", "1");
    assert_eq!(process.kill().code, None);
    let mut process = crate::support::Running::spawn(again);
    process.event("dead_letter_refused").await;
    assert_eq!(process.stop().code, Some(0), "a refused dead letter keeps evp from stopping");
    let is_refused = |letter: &crate::support::Record| headers(&letter.headers)["__connect.errors.offset"] == "1";
    assert_eq!(committed(&world, 1), [(0, 1)].into());
    assert!(!records(&world, &letters).iter().any(is_refused));

    topics.set(&letters, "max.message.bytes", "1000000").await;
    crate::support::envelopes::process(&world);
    assert_eq!(committed(&world, 1), [(0, 4)].into());
    assert_eq!(records(&world, &letters).into_iter().filter(is_refused).count(), 1);
}

#[tokio::test]
async fn a_document_is_not_changed_further_until_the_dead_letter_of_an_earlier_event_is_on_kafka() {
    let world = world_with("proc_held", 1, &[event(0, 1, USER, "UserCreated", &json!({}))]).await;
    process(&world);
    let (topics, letters) = (Topics::new(&world), format!("{}.dlq", world.topic()));
    topics.create(&letters, 1, &[("max.message.bytes", "2000")]).await;
    let database = world.mongo().await;
    let validator = |email: &str| doc! { "collMod": "users", "validator": { "email": { "$ne": email } } };
    database.run_command(validator("refused@example.org")).await.unwrap();
    // Nothing that compression makes small enough.
    let noise: String = (0..250).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let refused = json!({ "email": "refused@example.org", "bio": noise });
    produce(&world, world.topic(), &[event(0, 2, USER, "UserUpdated", &refused)]).await;
    let mut process = world.start(&["process"]);
    process.event("dead_letter_refused").await;
    let later = event(0, 3, USER, "UserUpdated", &json!({ "email": "later@example.org" }));
    produce(&world, world.topic(), &[later, event(0, 4, 4_000, "UserCreated", &json!({}))]).await;
    eventually("other documents go on", async || document(&database, "users", &id(4_000)).await.is_some()).await;
    assert_eq!(process.kill().code, None);
    topics.set(&letters, "max.message.bytes", "1000000").await;
    crate::support::envelopes::process(&world);
    let user = document(&database, "users", &id(USER)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "later@example.org");
    // With the later event in one batch the document is valid.
    let is_applied = user.get_document("profile").unwrap().get_str("bio").is_ok_and(|bio| bio == noise);
    assert!(is_applied || records(&world, &letters).len() == 1, "the refused event is in neither place");
    assert_eq!(committed(&world, 1), [(0, 4)].into());
}

#[tokio::test]
async fn a_document_that_its_collection_refuses_becomes_a_dead_letter_and_its_neighbours_are_created() {
    let world = world_with("proc_refused", 1, &[event(0, 1, USER, "UserCreated", &json!({}))]).await;
    let process = world.start(&["process"]);
    let database = world.mongo().await;
    eventually("the first is applied", async || committed(&world, 1).get(&0) == Some(&1)).await;
    let validator = doc! { "collMod": "users", "validator": { "email": { "$ne": "refused@example.org" } } };
    database.run_command(validator).await.unwrap();
    let events = [
        event(0, 2, 2_000, "UserCreated", &json!({ "email": "a@example.org" })),
        event(0, 3, 3_000, "UserCreated", &json!({ "email": "refused@example.org" })),
        event(0, 4, 2_000, "UserUpdated", &json!({ "email": "b@example.org" })),
        event(0, 5, 4_000, "UserCreated", &json!({ "email": "c@example.org" })),
    ];
    produce(&world, world.topic(), &events).await;
    eventually("all offsets are committed", async || committed(&world, 1).get(&0) == Some(&5)).await;
    assert_eq!(process.stop().code, Some(0));
    let email =
        async |aggregate| document(&database, "users", &id(aggregate)).await.map(|user| user.get("email").cloned());
    assert_eq!(email(2_000).await, Some(Some("b@example.org".into())));
    assert_eq!((email(3_000).await, email(4_000).await), (None, Some(Some("c@example.org".into()))));
    let letters = records(&world, &format!("{}.dlq", world.topic()));
    let headers = headers(&letters[0].headers);
    assert_eq!((letters.len(), &*headers["__connect.errors.offset"]), (1, "2"));
    assert!(headers["__connect.errors.exception.message"].contains("validation rule"), "{headers:?}");
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_again_stays_open_until_it_is_repaired() {
    let user = |email: Value| event(0, 1, USER, "UserCreated", &json!({ "email": email }));
    let world = world_with("proc_again", 1, &[user(json!(7))]).await;
    let (database, letters) = (world.mongo().await, format!("{}.dlq", world.topic()));
    let total = async || {
        let statistics = document(&database, "statistics", "global_stats").await.unwrap();
        statistics.get_i64("total_users").unwrap()
    };
    process(&world);
    assert_eq!((records(&world, &letters).len(), total().await), (1, 1));
    produce(&world, world.topic(), &[user(json!(7))]).await;
    process(&world);
    assert_eq!((records(&world, &letters).len(), total().await), (2, 1));
    assert!(document(&database, "users", &id(USER)).await.is_none());
    produce(&world, world.topic(), &[user(json!("repaired@example.org"))]).await;
    process(&world);
    let repaired = document(&database, "users", &id(USER)).await.unwrap();
    assert_eq!(repaired.get_str("email").unwrap(), "repaired@example.org");
    produce(&world, world.topic(), &[user(json!(7))]).await;
    process(&world);
    assert_eq!((records(&world, &letters).len(), total().await), (2, 1), "a handled event is a duplicate");
}

#[tokio::test]
async fn a_header_whose_name_is_no_text_does_not_keep_its_event_from_being_applied() {
    let world = world_with("proc_header", 1, &[]).await;
    let headers: [(&[u8], &[u8]); 3] = [(b"first", b"1"), (b"\xff\xfe", b"2"), (b"last", b"3")];
    produce_raw(&world, world.topic(), &event(0, 1, USER, "UserCreated", &json!({})).value.unwrap(), &headers);
    produce_raw(&world, world.topic(), b"not json", &headers);
    process(&world);
    assert!(document(&world.mongo().await, "users", &id(USER)).await.is_some());
    let letters = records(&world, &format!("{}.dlq", world.topic()));
    let names: Vec<&str> = letters[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((letters.len(), &names[..2]), (1, &["first", "last"][..]));
}

#[tokio::test]
async fn a_dead_letter_that_is_published_again_leaves_what_later_events_have_set() {
    let world = world_with("proc_older", 1, &[event(0, 1, USER, "UserCreated", &json!({}))]).await;
    process(&world);
    let database = world.mongo().await;
    let refused = json!({ "email": "refused@example.org", "bio": "kept" });
    let validator = |email: &str| doc! { "collMod": "users", "validator": { "email": { "$ne": email } } };
    database.run_command(validator("refused@example.org")).await.unwrap();
    let (older, newer) = (event(0, 2, USER, "UserUpdated", &refused), json!({ "email": "newer@example.org" }));
    produce(&world, world.topic(), std::slice::from_ref(&older)).await;
    process(&world);
    assert_eq!(records(&world, &format!("{}.dlq", world.topic())).len(), 1);
    produce(&world, world.topic(), &[event(0, 3, USER, "UserUpdated", &newer)]).await;
    process(&world);
    let user = async || document(&database, "users", &id(USER)).await.unwrap();
    assert_eq!(user().await.get_str("email").unwrap(), "newer@example.org");
    database.run_command(validator("nobody")).await.unwrap();
    produce(&world, world.topic(), &[older]).await;
    process(&world);
    let user = user().await;
    assert_eq!(user.get_str("email").unwrap(), "newer@example.org");
    assert_eq!(user.get_document("profile").unwrap().get_str("bio").unwrap(), "kept");
    assert_eq!(user.get_document("metadata").unwrap().get_str("last_event_id").unwrap(), id(3));
}

#[tokio::test]
async fn a_repaired_dead_letter_and_an_updated_row_leave_what_later_events_have_set() {
    let update = |number, email: Value| {
        event(0, number, USER, "UserUpdated", &json!({ "email": email, "bio": number.to_string() }))
    };
    let created = event(0, 1, USER, "UserCreated", &json!({}));
    let world =
        world_with("proc_repaired", 1, &[created, update(2, json!(7)), update(3, json!("c@example.org"))]).await;
    process(&world);
    let database = world.mongo().await;
    let user = async || {
        let user = document(&database, "users", &id(USER)).await.unwrap();
        (
            user.get_str("email").unwrap().to_owned(),
            user.get_document("profile").unwrap().get_str("bio").unwrap().to_owned(),
        )
    };
    let latest = ("c@example.org".to_owned(), "3".to_owned());
    assert_eq!(user().await, latest);
    let repaired =
        NewRecord { headers: vec![("__connect.errors.topic", "its topic")], ..update(2, json!("b@example.org")) };
    produce(&world, world.topic(), &[repaired]).await;
    process(&world);
    assert_eq!(user().await, latest);
    // The row of an event that is so old that its claim has expired.
    database.collection::<Document>("evp_applied_events").delete_many(doc! {}).await.unwrap();
    let mut updated = envelope(&row(2, USER, "UserUpdated", &json!({ "email": "b@example.org", "bio": "2" })));
    updated["op"] = json!("u");
    let updated = NewRecord { value: Some(updated.to_string().into_bytes()), ..update(2, Value::Null) };
    produce(&world, world.topic(), &[updated]).await;
    process(&world);
    assert_eq!(user().await, latest);
}

#[tokio::test]
async fn the_topic_of_dead_letters_takes_larger_records_than_its_events_topic() {
    let world = crate::support::World::new("proc_larger").await;
    let topics = Topics::new(&world);
    topics.create(world.topic(), 1, &[("max.message.bytes", "3000000")]).await;
    world.init(1);
    let letters = format!("{}.dlq", world.topic());
    assert_eq!(topics.setting(&letters, "max.message.bytes").await.as_deref(), Some("6000000"));
}
