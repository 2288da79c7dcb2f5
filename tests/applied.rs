//! `GET /applied` of `evp process`: never early, and honest about what it does not know.

// Its `main` is for people.
#[allow(dead_code)]
#[path = "../examples/read_your_writes.rs"]
mod example;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::options::ReadConcern;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::envelopes::{NewRecord, event, id, produce, world_with};
use crate::support::{Load, Running, World, eventually, http_get};

const CREATED: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                       VALUES ($1, $2, 'User', 'UserCreated', jsonb_build_object('email', $3::text))";
const UPDATED: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                       VALUES ($1, $2, 'User', 'UserUpdated', jsonb_build_object('email', $3::text))";

async fn start_process(world: &World) -> (Running, String) {
    let mut process = world.start(&["process", "--http", "127.0.0.1:0"]);
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    (process, address)
}

async fn ask(address: &str, question: &str) -> (u16, Value) {
    let (status, body) = http_get(address, &format!("/applied?{question}")).await.expect("evp answers");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

async fn insert_lsn(sql: &tokio_postgres::Client) -> String {
    sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0)
}

/// The e-mail address of a user, by what a majority of the servers has.
async fn email(database: &mongodb::Database, user: Uuid) -> Option<String> {
    let users = database.collection::<Document>("users");
    let found = users.find_one(doc! { "_id": user.to_string() }).read_concern(ReadConcern::majority()).await.unwrap();
    found.map(|user| user.get_str("email").unwrap().to_owned())
}

/// How many questions are asked under load; a soak sets more.
fn question_count() -> u64 {
    std::env::var("EVP_TEST_QUESTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Commits an event about a user of its own, asks for it in one of the two ways, and reads what is there then.
async fn questioner(world: &World, address: &str, number: u64, asked: &AtomicU64) -> (u64, Duration) {
    let (sql, database) = (world.sql().await, world.mongo().await);
    let (mut user, mut in_time, mut longest) = (Uuid::new_v4(), 0, Duration::ZERO);
    for round in 0_u64.. {
        if asked.fetch_add(1, Ordering::Relaxed) >= question_count() {
            break;
        }
        let (event_id, mail) = (Uuid::new_v4(), format!("{number}-{round}@example.org"));
        let is_new = round % 4 == 0;
        if is_new {
            user = Uuid::new_v4();
        }
        sql.execute(if is_new { CREATED } else { UPDATED }, &[&event_id, &user, &mail]).await.unwrap();
        let question = match (number + round) % 3 {
            0 => format!("event_id={event_id}"),
            _ => format!("lsn={}", insert_lsn(&sql).await),
        };
        let started = Instant::now();
        let (status, answer) = ask(address, &format!("{question}&timeout=20")).await;
        if status == 200 {
            assert_eq!(email(&database, user).await.as_deref(), Some(mail.as_str()), "early: {question}: {answer}");
            in_time += 1;
            longest = longest.max(started.elapsed());
        } else {
            assert_eq!(status, 504, "{question}: {answer}");
        }
    }
    (in_time, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_answer_is_early() {
    let world = Arc::new(World::new("applied_load").await);
    world.init(3);
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let (process, address) = start_process(&world).await;
    let load = Load::paced(&world, 150, Duration::from_secs(3_600)).await;
    let asked = Arc::new(AtomicU64::new(0));
    let questioners = (0..24).map(|number| {
        let (world, address, asked) = (Arc::clone(&world), address.clone(), Arc::clone(&asked));
        tokio::spawn(async move { questioner(&world, &address, number, &asked).await })
    });
    let started = Instant::now();
    let (mut in_time, mut longest) = (0, Duration::ZERO);
    for questioner in questioners.collect::<Vec<_>>() {
        let (answered, waited) = questioner.await.unwrap();
        (in_time, longest) = (in_time + answered, longest.max(waited));
    }
    let events = load.stop().await;
    println!("{in_time} answers in {:?}, the longest after {longest:?}, beside {events} events", started.elapsed());
    assert!(in_time * 100 >= question_count() * 99, "{in_time} of {} were answered", question_count());
    assert_eq!((process.stop().code, capture.stop().code), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_partitions_and_other_log_traffic_keep_nobody_waiting() {
    let world = World::new("applied_quiet").await;
    world.init(4);
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let (process, address) = start_process(&world).await;
    let (sql, database) = (world.sql().await, world.mongo().await);
    let user = example::sign_up(&sql, &address, &database, "ada@example.org").await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "ada@example.org");
    sql.batch_execute("CREATE TABLE unrelated AS SELECT generate_series(1, 100) AS n").await.unwrap();
    let (status, answer) = ask(&address, &format!("lsn={}&timeout=30", insert_lsn(&sql).await)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["dead_letters"], json!({ "since_start": 0, "latest": [] }));
    // While nothing comes, brokers hold the reader's requests for half a second; questions do not stand behind them.
    let event_id: Uuid = sql.query_one("SELECT event_id FROM activity.event_outbox", &[]).await.unwrap().get(0);
    let started = Instant::now();
    for _ in 0..5 {
        assert_eq!(ask(&address, &format!("event_id={event_id}")).await.0, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let (status, answer) = ask(&address, "lsn=FFFF/0&timeout=200ms").await;
    let topic = &answer["topics"][0];
    assert_eq!((status, topic["partitions"].as_array().unwrap().len()), (504, 4), "{answer}");
    assert!(topic["captured_lsn"].is_string() && topic["partitions"][0]["read_by"] == "this process", "{answer}");
    let system: i64 = sql.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await.unwrap().get(0);
    assert_eq!(ask(&address, &format!("lsn=0/1&system={system}&timeout=20")).await.0, 200);
    assert_eq!(ask(&address, "lsn=0/1&system=1&timeout=300ms").await.0, 504, "that of another cluster");
    assert_eq!(ask(&address, "lsn=").await.0, 400);
    assert_eq!((process.stop().code, capture.stop().code), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_answers_for_the_partitions_of_the_others_and_not_for_one_that_stands_still() {
    let world = World::new("applied_members").await;
    world.init(2);
    let mut capture = world.start(&["capture"]);
    capture.event("streaming_started").await;
    let (first, first_address) = start_process(&world).await;
    let (mut second, second_address) = start_process(&world).await;
    second.event("partitions_assigned").await;
    eventually("each has a partition", async || {
        let (_, answer) = ask(&first_address, "lsn=FFFF/0&timeout=200ms").await;
        let partitions = answer["topics"][0]["partitions"].as_array().cloned().unwrap_or_default();
        partitions.iter().filter(|partition| partition["read_by"] == "this process").count() == 1
    })
    .await;
    let (sql, database) = (world.sql().await, world.mongo().await);
    for round in 0..6_u32 {
        let (event_id, user, mail) = (Uuid::new_v4(), Uuid::new_v4(), format!("{round}@example.org"));
        sql.execute(CREATED, &[&event_id, &user, &mail]).await.unwrap();
        let question = match round % 2 {
            0 => format!("event_id={event_id}"),
            _ => format!("lsn={}", insert_lsn(&sql).await),
        };
        for address in [&first_address, &second_address] {
            let (status, answer) = ask(address, &format!("{question}&timeout=20")).await;
            assert_eq!(status, 200, "{question}: {answer}");
            assert_eq!(email(&database, user).await, Some(mail.clone()), "early: {question}");
        }
    }
    second.pause();
    for number in 0..8_u32 {
        sql.execute(CREATED, &[&Uuid::new_v4(), &Uuid::new_v4(), &format!("late{number}")]).await.unwrap();
    }
    let (status, answer) = ask(&first_address, &format!("lsn={}&timeout=3", insert_lsn(&sql).await)).await;
    assert_eq!(status, 504, "the other member has some of the events, and stands still: {answer}");
    second.resume();
    let (status, answer) = ask(&first_address, &format!("lsn={}&timeout=40", insert_lsn(&sql).await)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(database.collection::<Document>("users").count_documents(doc! {}).await.unwrap(), 14);
    for running in [first, second, capture] {
        assert_eq!(running.stop().code, Some(0));
    }
}

/// A record with its place as Debezium gives it.
fn at(lsn: u64, record: NewRecord) -> NewRecord {
    let mut envelope: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
    envelope["source"]["lsn"] = json!(lsn);
    envelope["source"]["sequence"] = json!(format!("[\"{}\",\"{lsn}\"]", lsn - 10));
    NewRecord { value: Some(envelope.to_string().into_bytes()), ..record }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_named_waiting_events_are_waited_for_and_beside_debezium_later_commits_tell() {
    let bad = at(1_000, event(0, 1, 11, "UserCreated", &json!({ "email": 7 })));
    let waits = at(2_000, event(1, 2, 12, "UserUpdated", &json!({ "email": "late@example.org" })));
    let mut world = world_with("applied_letters", 2, &[bad, waits]).await;
    world.set("RETRY_DELAY_SECONDS", "60");
    let (process, address) = start_process(&world).await;
    let by_event = |number: u128, timeout: &str| format!("event_id={}&timeout={timeout}", id(number));
    let (status, answer) = ask(&address, &by_event(1, "20")).await;
    assert_eq!((status, &answer["failed_handlers"]), (409, &json!(["user_created"])), "{answer}");
    assert_eq!(ask(&address, &by_event(2, "300ms")).await.0, 504, "it waits for its document");
    assert_eq!(ask(&address, &by_event(99, "100ms")).await.0, 504, "nobody knows it");
    // 0/3E8 is 1 000.
    assert_eq!(ask(&address, "lsn=0/3E8&timeout=300ms").await.0, 504, "the second partition has passed nothing");
    let later = [
        at(3_000, event(0, 3, 12, "UserCreated", &json!({ "email": "first@example.org" }))),
        at(3_100, event(0, 4, 13, "UserCreated", &json!({}))),
        at(3_200, event(1, 5, 13, "UserUpdated", &json!({ "bio": "b" }))),
    ];
    let asking = ask(&address, "lsn=0/BB9&timeout=20");
    let (_, (status, answer)) = tokio::join!(produce(&world, world.topic(), &later), asking);
    assert_eq!(status, 200, "{answer}");
    let letters = &answer["dead_letters"];
    assert_eq!((&letters["since_start"], &letters["latest"][0]["event_id"]), (&json!(1), &json!(id(1))), "{answer}");
    assert_eq!(ask(&address, &by_event(2, "20")).await.0, 200);
    let user = crate::support::document(&world.mongo().await, "users", &id(12)).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "late@example.org", "what waited is applied");
    assert_eq!(ask(&address, "lsn=0/C81&timeout=300ms").await.0, 504, "nobody has written behind 3 200");
    assert_eq!(process.stop().code, Some(0));
}
