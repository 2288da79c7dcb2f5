//! `evp process`: of two events that set one field, the one that was committed later wins, wherever they are.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::support::envelopes::{NewRecord, committed, envelope, event, id, process, produce, row, world_with};
use crate::support::{World, document, records};

/// Where a record says that its event was committed.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In evp's header: cluster, commit, place in the transaction.
    Header(u64, u64, u64),
    /// In Debezium's `source` block: the end of the commit before, and the change itself.
    Source(u64, u64),
}

impl Place {
    fn mark(self, record: NewRecord) -> NewRecord {
        match self {
            Self::Header(system, commit, index) => {
                let text: &'static str = Box::leak(format!("{system}:{commit}:{index}").into_boxed_str());
                NewRecord { headers: vec![("evp.position", text)], ..record }
            }
            Self::Source(previous_end, lsn) => {
                let mut envelope: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
                envelope["source"]["lsn"] = json!(lsn);
                envelope["source"]["sequence"] = json!(format!("[\"{previous_end}\",\"{lsn}\"]"));
                NewRecord { value: Some(envelope.to_string().into_bytes()), ..record }
            }
        }
    }
}

fn created(user: u128) -> NewRecord {
    Place::Source(1, 2).mark(event(0, 100_000 + user, user, "UserCreated", &json!({})))
}

fn update(partition: i32, number: u128, user: u128, email: &str, place: Place) -> NewRecord {
    place.mark(event(partition, number, user, "UserUpdated", &json!({ "email": email })))
}

async fn emails(world: &World) -> BTreeMap<String, String> {
    let models = crate::support::read_models(&world.mongo().await, false).await;
    let email = |user: &Document| (user.get_str("_id").unwrap().to_owned(), user.get_str("email").unwrap().to_owned());
    models[0].1.iter().map(email).collect()
}

/// The update of the higher number is committed first, as that of a sequence that was read early and used late.
#[tokio::test]
async fn the_update_that_is_committed_later_wins_on_every_partition_and_in_every_order_of_delivery() {
    let first = [Place::Header(7, 250, 0), Place::Source(100, 200)];
    let last = [Place::Header(7, 300, 0), Place::Source(260, 150)];
    let (mut users, mut deliveries) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (partition_of_first, partition_of_last) in [(1, 1), (1, 2), (2, 1)] {
        for (first, last) in first.into_iter().flat_map(|first| last.map(|last| (first, last))) {
            for (delivery_of_first, delivery_of_last) in [(0, 0), (0, 1), (1, 0)] {
                if partition_of_first == partition_of_last && delivery_of_first > delivery_of_last {
                    continue;
                }
                let user = 1_000 + users.len() as u128;
                users.push(created(user));
                let early = update(partition_of_first, 2 * user + 1, user, "first", first);
                deliveries[delivery_of_first].push(early);
                deliveries[delivery_of_last].push(update(partition_of_last, 2 * user, user, "last", last));
            }
        }
    }
    let world = world_with("order_pairs", 3, &users).await;
    process(&world);
    for delivery in deliveries {
        produce(&world, world.topic(), &delivery).await;
        process(&world);
    }
    let emails = emails(&world).await;
    assert_eq!(emails.len(), users.len());
    assert!(emails.values().all(|email| email == "last"), "{emails:?}");
}

/// What four partitions hold in the end does not depend on how far each of them was read at any time.
#[tokio::test]
async fn any_delivery_over_the_partitions_gives_the_fold_in_the_order_of_the_commits() {
    const USERS: u128 = 40;
    let mut random = 4_711_u32;
    let mut below = |end: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % end
    };
    let (mut expected, mut deliveries) = (BTreeMap::new(), vec![Vec::new(); 4]);
    // How far the deliveries of each partition have come: a partition is read in the order of its commits.
    let mut turns = [0_usize; 4];
    for commit in 0..400_u32 {
        let (user, partition) = (1_000 + u128::from(below(40)), below(4) as usize);
        let field = ["email", "username", "bio"][below(3) as usize];
        // Numbers of rows say nothing; every other user's events are Debezium's.
        let number = u128::from(below(1_000)) * 1_000 + u128::from(commit);
        let at = 1_000 + u64::from(commit) * 100;
        let place = if user % 2 == 0 {
            Place::Header(7, at, 0)
        } else {
            Place::Source(at - 60, at - 10 * u64::from(below(10)))
        };
        let value = format!("{field} {commit}");
        let new = event(i32::try_from(partition).unwrap(), number, user, "UserUpdated", &json!({ field: value }));
        if below(30) == 0 {
            turns[partition] = (turns[partition] + 1).min(deliveries.len() - 1);
        }
        deliveries[turns[partition]].push(place.mark(new));
        expected.insert((id(user), field), value);
    }
    let users: Vec<_> = (1_000..1_000 + USERS).map(created).collect();
    let world = world_with("order_random", 4, &users).await;
    process(&world);
    // Twice: repetitions change nothing.
    for delivery in deliveries.iter().chain(&deliveries) {
        produce(&world, world.topic(), delivery).await;
        process(&world);
    }
    let database = world.mongo().await;
    for ((user, field), value) in &expected {
        let user = document(&database, "users", user).await.unwrap();
        let holder = if *field == "bio" { user.get_document("profile").unwrap() } else { &user };
        assert_eq!(holder.get_str(field).unwrap(), value);
    }
}

#[tokio::test]
async fn what_an_earlier_version_has_written_is_older_than_every_commit_and_compared_by_number_without_one() {
    let world = world_with("order_upgrade", 2, &[]).await;
    let database = world.mongo().await;
    let users = [1_001, 1_002, 1_003];
    for user in users {
        let bookkeeping = doc! { "wm": { "9p0": 5_i64 }, "s": 900_i64, "f": { "email": { "s": 900_i64, "p": "9p0" } } };
        let old = doc! { "_id": id(user), "email": "old", "metadata": {}, "_evp": bookkeeping };
        database.collection::<Document>("users").insert_one(old).await.unwrap();
    }
    let told_again = |number: u128, user| {
        let mut envelope = envelope(&row(number, user, "UserUpdated", &json!({ "email": "new" })));
        envelope["op"] = json!("u");
        let record = NewRecord { value: Some(envelope.to_string().into_bytes()), ..NewRecord::default() };
        Place::Header(7, 5_000, 0).mark(record)
    };
    let new =
        [update(0, 3, users[0], "new", Place::Header(7, 10, 0)), told_again(899, users[1]), told_again(901, users[2])];
    produce(&world, world.topic(), &new).await;
    process(&world);
    assert_eq!(emails(&world).await.into_values().collect::<Vec<_>>(), ["new", "old", "new"]);
    // Behind its place, an update of a row leaves alone what has a commit, whatever its number is.
    let mut later = told_again(902, users[0]);
    later.partition = 1;
    produce(&world, world.topic(), &[later]).await;
    process(&world);
    let user = document(&database, "users", &id(users[0])).await.unwrap();
    assert_eq!(user.get_str("email").unwrap(), "new");
    assert_eq!(user.get_document("metadata").unwrap().get_str("last_event_id").unwrap(), id(3));
}

#[tokio::test]
async fn another_cluster_that_starts_over_at_lower_positions_comes_after_the_one_before() {
    let user = 1_001;
    let world = world_with("order_cluster", 4, &[created(user)]).await;
    let step = async |partition, number, email: &str, place| {
        produce(&world, world.topic(), &[update(partition, number, user, email, place)]).await;
        process(&world);
        emails(&world).await.into_values().next().unwrap()
    };
    assert_eq!(step(0, 1, "first cluster", Place::Header(70, 9_000, 0)).await, "first cluster");
    assert_eq!(step(1, 2, "second cluster", Place::Header(50, 10, 0)).await, "second cluster");
    assert_eq!(step(2, 3, "first cluster, late", Place::Header(70, 9_500, 0)).await, "second cluster");
    // Debezium does not name its cluster, which is taken to be the last.
    assert_eq!(step(3, 4, "second cluster, by Debezium", Place::Source(20, 30)).await, "second cluster, by Debezium");
    assert_eq!(step(2, 5, "second cluster, late", Place::Header(50, 15, 0)).await, "second cluster, by Debezium");
    let sources = world.mongo().await.collection::<Document>("evp_sources");
    let systems = sources.find_one(doc! { "_id": "systems" }).await.unwrap().unwrap();
    assert_eq!(systems.get_array("systems").unwrap(), &[Bson::Int64(70), Bson::Int64(50)]);
    assert_eq!(committed(&world, 4).len(), 4);
}

/// Two transactions, of which one takes its number first and commits last.
async fn overlapping_updates(world: &World, users: &[String]) {
    let insert = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                  SELECT gen_random_uuid(), id::uuid, 'User', $2, jsonb_build_object('email', $3::text) \
                  FROM unnest($1::text[]) AS id";
    let (mut early, late) = (world.sql().await, world.sql().await);
    early.execute(insert, &[&users, &"UserCreated", &"none"]).await.unwrap();
    let transaction = early.transaction().await.unwrap();
    transaction.execute(insert, &[&users, &"UserUpdated", &"last"]).await.unwrap();
    late.execute(insert, &[&users, &"UserUpdated", &"first"]).await.unwrap();
    transaction.commit().await.unwrap();
    // The numbers start over.
    late.batch_execute("ALTER SEQUENCE activity.event_outbox_sequence_id_seq RESTART").await.unwrap();
    let reset = "INSERT INTO activity.event_outbox (event_id, sequence_id, aggregate_id, aggregate_type, event_type, payload) \
                 SELECT gen_random_uuid(), -row_number() OVER (), id::uuid, 'User', 'UserUpdated', \
                        jsonb_build_object('username', 'reset') FROM unnest($1::text[]) AS id";
    late.execute(reset, &[&users]).await.unwrap();
}

#[tokio::test]
async fn rows_that_commit_in_another_order_than_that_of_their_numbers_are_folded_as_they_commit() {
    let users: Vec<String> = (0..30).map(|number| id(1_000 + number)).collect();
    for (test, key, flag) in [
        ("order_row", "event_id", None),
        ("order_row_bare", "event_id", Some("--no-position-header")),
        ("order_aggregate", "aggregate_id", None),
    ] {
        let world = World::new(test).await;
        world.init(4);
        overlapping_updates(&world, &users).await;
        let key = format!("message.key.columns=activity.event_outbox:{key}");
        let mut arguments = vec!["capture", "--until", "caught-up", "--set", &key];
        arguments.extend(flag);
        let captured = world.run(&arguments);
        assert_eq!(captured.code, Some(0), "{captured:?}");
        process(&world);
        let emails = emails(&world).await;
        assert_eq!(emails.len(), users.len());
        assert!(emails.values().all(|email| email == "last"), "{test}: {emails:?}");
        let user = document(&world.mongo().await, "users", &users[0]).await.unwrap();
        assert_eq!(user.get_str("username").unwrap(), "reset");
        assert_eq!(records(&world, &format!("{}.dlq", world.topic())), []);
        let verified = world.run(&["verify"]);
        assert_eq!(verified.code, Some(0), "{test}: the order of the commits is what is verified: {verified:?}");
    }
}
