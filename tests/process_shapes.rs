//! `evp process` on a topic that begins with records of another shape.

use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, committed, envelope, event, id, process, produce, row, world_with};
use crate::support::{DEADLINE, World, claim_count, records, topics};

fn value(bytes: impl Into<Vec<u8>>) -> NewRecord {
    NewRecord { value: Some(bytes.into()), ..NewRecord::default() }
}

fn user(number: u128) -> Value {
    row(number, number, "UserCreated", &json!({}))
}

type Written = fn(u128) -> Vec<u8>;

/// Each shape with what is to be said of it.
fn shapes() -> Vec<(&'static str, Written)> {
    vec![
        ("ExtractNewRecordState", |number| user(number).to_string().into()),
        ("EventRouter", |number| json!({ "email": format!("{number}@example.org") }).to_string().into()),
        ("schema registry", |number| [b"\0\0\0\0\x07\x02", number.to_string().as_bytes()].concat()),
        ("encoded twice", |number| json!(envelope(&user(number)).to_string()).to_string().into()),
        ("base64", |number| format!("eyJvcCI6ImMi{number:04}").into()),
        ("texts that are no JSON", |number| format!("Struct{{number={number}}}").into()),
        ("another table", |number| json!({ "op": "c", "after": { "id": number.to_string() } }).to_string().into()),
    ]
}

fn letters(world: &World) -> String {
    format!("{}.dlq", world.topic())
}

#[tokio::test]
async fn a_topic_of_another_shape_is_refused_with_what_it_looks_like_and_nothing_is_set_aside() {
    let mut world = world_with("shape_each", 1, &[]).await;
    for (number, (sentence, shape)) in shapes().into_iter().enumerate() {
        let topic = format!("{}.shape{number}", world.name());
        let records: Vec<NewRecord> = (0..30).map(|number| value(shape(number))).collect();
        crate::support::envelopes::Topics::new(&world).create(&topic, 1, &[]).await;
        // A tombstone before them says nothing.
        produce(&world, &topic, &[NewRecord::default()]).await;
        produce(&world, &topic, &records).await;
        world.set("KAFKA_TOPIC", topic);
        for arguments in [&["process", "--until", "caught-up"][..], &["process"]] {
            let stopped = world.start(arguments).wait(DEADLINE);
            assert_eq!(stopped.code, Some(1), "{sentence}: {stopped:?}");
            let failure = stopped.failure();
            assert!(failure.contains(sentence) && failure.contains("--accept-shape"), "{sentence}: {failure}");
        }
        assert!(!topics(&world).contains_key(&letters(&world)), "{sentence}");
        assert!(committed(&world, 1).values().all(|offset| *offset <= 1), "{sentence}");
    }
    let accepted = world.run(&["process", "--until", "caught-up", "--accept-shape"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert_eq!(crate::support::records(&world, &letters(&world)).len(), 30);
}

#[tokio::test]
async fn fewer_records_of_another_shape_stop_it_once_no_more_come() {
    let [one, two, three] = [1, 2, 3].map(|number| value(user(number).to_string()));
    let world = world_with("shape_few", 1, &[one, two]).await;
    // Two are too few to tell, and become dead letters.
    let mut running = world.start(&["process"]);
    running.event("message_processing_failed").await;
    produce(&world, world.topic(), &[three]).await;
    let stopped = running.wait(DEADLINE);
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert!(stopped.failure().contains("ExtractNewRecordState"), "{}", stopped.failure());
    assert_eq!((records(&world, &letters(&world)).len(), committed(&world, 1)[&0]), (2, 2));
}

#[tokio::test]
async fn a_burst_of_poison_in_a_topic_that_had_events_becomes_dead_letters() {
    let poison = |count: u128| (0..count).map(|_| value("not json")).collect::<Vec<_>>();
    let mut first = poison(2);
    first.push(event(0, 1, 1, "UserCreated", &json!({})));
    let world = world_with("shape_burst", 1, &first).await;
    process(&world);
    produce(&world, world.topic(), &poison(30)).await;
    process(&world);
    assert_eq!(records(&world, &letters(&world)).len(), 32);
    assert_eq!((committed(&world, 1)[&0], claim_count(&world.mongo().await).await), (33, 1));
    assert!(crate::support::document(&world.mongo().await, "users", &id(1)).await.is_some());
}
