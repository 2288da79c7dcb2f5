//! `evp dlq` with 500 dead letters of five kinds over 50 aggregates, replayed twice while events flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, envelope, event, id, process, produce, row, world_with};
use crate::support::{World, document, eventually, read_models};

/// Aggregates of each kind, of which every other one is repaired.
const AGGREGATES: u128 = 10;
const LETTERS: u128 = 10;
const FLOWING: u128 = 50_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A handler refuses the type of a field; the rows are corrected.
    WrongType,
    /// MongoDB's validation refuses a value; the rule is relaxed.
    Refused,
    /// The document is not there; it is created.
    Missing,
    /// The creation itself is refused, and the updates wait for it.
    NotCreated,
    /// Joins whose time cannot be read; the rows are corrected.
    Unreadable,
}

const KINDS: [Kind; 5] = [Kind::WrongType, Kind::Refused, Kind::Missing, Kind::NotCreated, Kind::Unreadable];

/// An aggregate with ten letters.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    aggregate: u128,
    is_repaired: bool,
}

fn cases() -> impl Iterator<Item = Case> {
    (0_u128..).zip(KINDS).flat_map(|(place, kind)| {
        (0..AGGREGATES).map(move |number| Case {
            kind,
            aggregate: 10_000 + 100 * place + number,
            is_repaired: number % 2 == 0,
        })
    })
}

impl Case {
    fn number(&self, letter: u128) -> u128 {
        self.aggregate * 100 + letter
    }

    /// What has to be there before.
    fn base(&self) -> Option<NewRecord> {
        let kind = match self.kind {
            Kind::WrongType | Kind::Refused => "UserCreated",
            Kind::Unreadable => "ActivityCreated",
            Kind::Missing | Kind::NotCreated => return None,
        };
        Some(event(0, self.number(90), self.aggregate, kind, &json!({ "username": "good" })))
    }

    fn word(&self) -> &'static str {
        if self.is_repaired { "mended" } else { "blocked" }
    }

    fn row(&self, letter: u128, is_corrected: bool) -> Value {
        let update = |payload: Value| row(self.number(letter), self.aggregate, "UserUpdated", &payload);
        match self.kind {
            Kind::WrongType if is_corrected => update(json!({ "email": format!("{letter}@example.org") })),
            Kind::WrongType => update(json!({ "email": letter })),
            Kind::Refused => update(json!({ "username": format!("{} {letter}", self.word()) })),
            Kind::NotCreated if letter == 0 => {
                let payload = json!({ "username": format!("{} user", self.word()) });
                row(self.number(letter), self.aggregate, "UserCreated", &payload)
            }
            Kind::Missing | Kind::NotCreated => update(json!({ "bio": letter.to_string() })),
            Kind::Unreadable => {
                let payload = json!({ "user_id": id(self.number(letter)) });
                let mut row = row(self.number(letter), self.aggregate, "ParticipantJoined", &payload);
                if !is_corrected {
                    row["created_at"] = json!("one day");
                }
                row
            }
        }
    }

    fn letter(&self, letter: u128) -> NewRecord {
        let value = envelope(&self.row(letter, false)).to_string().into_bytes();
        NewRecord { partition: i32::try_from(self.aggregate % 2).unwrap(), value: Some(value), ..NewRecord::default() }
    }

    /// What repairs it on the topic, if that does.
    fn repairs(&self) -> Vec<NewRecord> {
        let corrected = |letter| {
            let mut envelope = envelope(&self.row(letter, true));
            envelope["op"] = json!("u");
            let partition = i32::try_from(self.aggregate % 2).unwrap();
            NewRecord { partition, value: Some(envelope.to_string().into_bytes()), ..NewRecord::default() }
        };
        match self.kind {
            Kind::WrongType | Kind::Unreadable => (0..LETTERS).map(corrected).collect(),
            Kind::Missing => vec![event(0, self.number(91), self.aggregate, "UserCreated", &json!({}))],
            Kind::Refused | Kind::NotCreated => Vec::new(),
        }
    }

    /// Whether its document is as all events that are applied make it.
    fn assert_document(&self, found: Option<&Document>) {
        let last = LETTERS - 1;
        let text = |path: &str| found.and_then(|found| found.get_str(path).ok()).map(str::to_owned);
        let bio = || found.and_then(|found| found.get_document("profile").ok()?.get_str("bio").ok().map(str::to_owned));
        match (self.kind, self.is_repaired) {
            (Kind::WrongType, is_repaired) => {
                assert_eq!(text("email"), is_repaired.then(|| format!("{last}@example.org")), "{self:?}");
            }
            (Kind::Refused, true) => assert_eq!(text("username"), Some(format!("mended {last}")), "{self:?}"),
            (Kind::Refused, false) => assert_eq!(text("username").as_deref(), Some("good"), "{self:?}"),
            (Kind::Missing | Kind::NotCreated, true) => assert_eq!(bio(), Some(last.to_string()), "{self:?}"),
            (Kind::Missing | Kind::NotCreated, false) => assert_eq!(found, None, "{self:?}"),
            (Kind::Unreadable, is_repaired) => {
                let participants = found.unwrap().get_document("participants").unwrap();
                let count = participants.get_i32("current_count").unwrap();
                assert_eq!(count, if is_repaired { 10 } else { 0 }, "{self:?}");
                assert_eq!(participants.get_array("list").unwrap().len(), usize::try_from(count).unwrap());
            }
        }
    }
}

async fn refuse_usernames(world: &World, pattern: &str) {
    let validator = doc! { "username": { "$not": { "$regex": pattern } } };
    world.mongo().await.run_command(doc! { "collMod": "users", "validator": validator }).await.unwrap();
}

fn list(world: &World) -> Value {
    let finished = world.run(&["dlq", "list", "--limit", "1000", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

/// Puts new users on the topic until told to stop.
async fn flow(world: Arc<World>, is_over: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    while !is_over.load(Ordering::Relaxed) {
        let first = FLOWING + u128::from(written.load(Ordering::Relaxed));
        let new: Vec<_> = (first..first + 20)
            .map(|number| event(i32::try_from(number % 2).unwrap(), number, number, "UserCreated", &json!({})))
            .collect();
        produce(&world, world.topic(), &new).await;
        written.fetch_add(20, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Replays everything, of which the half that is not repaired fails again.
async fn replay(world: &Arc<World>) -> Value {
    let world = Arc::clone(world);
    let finished = tokio::task::spawn_blocking(move || world.run(&["dlq", "replay", "--all", "--json"])).await.unwrap();
    assert_eq!(finished.code, Some(3), "half of them are not repaired: {finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_500_letters_of_five_kinds_are_applied_by_two_replays_and_the_others_stay() {
    let base: Vec<_> = cases().filter_map(|case| case.base()).collect();
    let mut world = world_with("dlq_size", 2, &base).await;
    for (name, value) in [("MAX_REFUSALS_IN_A_ROW", "0"), ("MAX_RETRIES", "1"), ("RETRY_DELAY_SECONDS", "0.1")] {
        world.set(name, value);
    }
    process(&world);
    refuse_usernames(&world, "^(mended|blocked)").await;
    let letters: Vec<_> = (0..LETTERS).flat_map(|letter| cases().map(move |case| case.letter(letter))).collect();
    assert_eq!(letters.len(), 500);
    produce(&world, world.topic(), &letters).await;
    process(&world);
    let before = list(&world);
    assert_eq!(before["waiting"], 500);

    let world = Arc::new(world);
    let running = world.start(&["process"]);
    let (is_over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flowing = tokio::spawn(flow(Arc::clone(&world), Arc::clone(&is_over), Arc::clone(&written)));
    refuse_usernames(&world, "^blocked").await;
    let repairs: Vec<_> = cases().filter(|case| case.is_repaired).flat_map(|case| case.repairs()).collect();
    produce(&world, world.topic(), &repairs).await;
    let users = id(10_200);
    let database = world.mongo().await;
    eventually("the missing users are there", async || document(&database, "users", &users).await.is_some()).await;
    let first = replay(&world).await;
    let second = replay(&world).await;
    is_over.store(true, Ordering::Relaxed);
    flowing.await.unwrap();
    assert_eq!(second["failed_again"].as_array().unwrap().len(), 250, "{first}");

    let rest = list(&world);
    assert_eq!(rest["waiting"], 250);
    let mut left: BTreeMap<&str, u32> = BTreeMap::new();
    for letter in rest["letters"].as_array().unwrap() {
        *left.entry(letter["aggregate_id"].as_str().unwrap_or_else(|| panic!("{letter}"))).or_default() += 1;
    }
    let blocked: Vec<String> = cases().filter(|case| !case.is_repaired).map(|case| id(case.aggregate)).collect();
    assert_eq!(left, blocked.iter().map(|aggregate| (aggregate.as_str(), 10)).collect());

    let flowed = written.load(Ordering::Relaxed);
    // Those of the base, those that create what was missing, and those that the counting handler took although they were refused.
    let users = 20 + 5 + 10 + flowed;
    let total =
        async || document(&database, "statistics", "global_stats").await.unwrap().get_i64("total_users").unwrap();
    eventually("all users are counted", async || total().await >= i64::try_from(users).unwrap()).await;
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(total().await, i64::try_from(users).unwrap(), "each user counts once");
    let models = read_models(&database, false).await;
    let documents: BTreeMap<&str, &Document> = models
        .iter()
        .flat_map(|(_, documents)| documents)
        .map(|found| (found.get_str("_id").unwrap(), found))
        .collect();
    for case in cases() {
        case.assert_document(documents.get(id(case.aggregate).as_str()).copied());
    }
    // The base, what was missing, what was refused at first, and what flowed.
    assert_eq!(models[0].1.len() as u64, 20 + 5 + 5 + flowed);
}
