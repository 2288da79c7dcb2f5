//! `evp process` as a library: what a stranger's handlers do to documents, compared with the read models in memory.

use bson::{Document, doc};
use evp::error::Result;
use evp::process::{
    CollectionSpec, EntryList, Event, Handler, HandlerRegistry, Path, Place, ProcessSummary, ReadModels, WriteModel,
};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::support::World;
use crate::support::envelopes::{NewRecord, Topics, event, id, produce};
use crate::support::library::apply_topic;

/// Does whatever the payload says.
struct Steps;

impl Handler for Steps {
    fn name(&self) -> &str {
        "steps"
    }

    fn event_type(&self) -> &str {
        "Steps"
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        vec![CollectionSpec::new("things").index("bio", doc! { "bio": 1 }).forget_deleted()]
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let id = event.aggregate_id.as_str();
        let text = |field: &str| event.text(field).map(Option::unwrap_or_default);
        let list = EntryList { list: "cart.items".into(), key: "sku".into(), count: Some("cart.count".into()) };
        let change = WriteModel::upsert("things", id);
        let (map, key, value) = (Path::new("map"), text("key")?, text("value")?);
        let model = match text("do")? {
            "create" => return Ok(vec![WriteModel::create("things", id, doc! { "bio": "created" })]),
            "set" => change.set("bio", value).set("a.b", value),
            "unset" => change.unset("bio"),
            "unset nested" => change.unset("a.b"),
            "key" => change.set(map.key(key), value),
            "forget" => change.unset(map.key(key)),
            "put" => change.put_entry(&list, doc! { "sku": format!("s{key}"), "value": value }),
            "remove" => change.remove_entry(&list, format!("s{key}")),
            "tag" => change.put_value("tags", format!("t{key}")),
            "untag" => change.remove_value("tags", format!("t{key}")),
            "count" => change.increment("n", 2).increment(Path::new("counts").key(key), 1),
            _ => return Ok(vec![WriteModel::delete("things", id)]),
        };
        Ok(vec![model.into()])
    }
}

const DO: [&str; 11] =
    ["set", "put", "tag", "count", "remove", "untag", "key", "forget", "unset", "unset nested", "put"];
const KEYS: [&str; 4] = ["DE", "$where.a/b", "", "7"];

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Steps on a few aggregates, which are on all partitions; some are deleted on the way.
fn history(partitions: usize) -> Vec<(Event, Place, NewRecord)> {
    let mut numbers = Numbers(7);
    let mut offsets = vec![0; partitions];
    let told = (1..=1_200_u32).map(|number| {
        let (what, key) = (DO[numbers.below(DO.len())], KEYS[numbers.below(KEYS.len())]);
        let what = if numbers.below(150) == 0 { "delete" } else { what };
        let payload = json!({ "do": what, "key": key, "value": number.to_string() });
        let (aggregate, partition) = (numbers.below(25) as u128, numbers.below(partitions));
        let place =
            Place { partition: partition.try_into().unwrap(), offset: offsets[partition], commit: number.into() };
        offsets[partition] += 1;
        let record = event(place.partition, number.into(), aggregate, "Steps", &payload);
        (Event::sample("Steps", payload).about(id(aggregate)), place, record)
    });
    told.collect()
}

async fn apply(world: &World, group: &str, batch: &str) -> ProcessSummary {
    let registry = HandlerRegistry::new().register(Steps);
    apply_topic(world, registry, &[("KAFKA_GROUP_ID", group), ("PROCESSING_BATCH_SIZE", batch)]).await
}

/// Everything that the collection holds, and of that the documents that readers see, without bookkeeping.
async fn things(world: &World) -> (Vec<Document>, Vec<Document>) {
    let things = world.mongo().await.collection::<Document>("things");
    let all: Vec<Document> = things.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
    let (mut seen, gone): (Vec<_>, Vec<_>) = all
        .clone()
        .into_iter()
        .partition(|document| !document.get_document("_evp").is_ok_and(|bookkeeping| bookkeeping.contains_key("d")));
    for document in &gone {
        assert_eq!(document.len(), 2, "something is left of a deleted document: {document}");
        assert!(document.get_document("_evp").unwrap().get_datetime("d").is_ok(), "{document}");
    }
    seen.iter_mut().for_each(|document| {
        document.remove("_evp");
    });
    (all, seen)
}

/// Across partitions a list has the same entries, and no certain order.
fn sorted(mut documents: Vec<Document>) -> Vec<Document> {
    for document in &mut documents {
        let in_cart = |document: &mut Document| -> Option<()> {
            let items = document.get_document_mut("cart").ok()?.get_array_mut("items").ok()?;
            items.sort_by_key(ToString::to_string);
            Some(())
        };
        in_cart(document);
        if let Ok(tags) = document.get_array_mut("tags") {
            tags.sort_by_key(ToString::to_string);
        }
    }
    documents
}

async fn equals_the_models_in_memory(partitions: usize, batch: &str) {
    let world = World::new(&format!("effects_{partitions}_{batch}")).await;
    let history = history(partitions);
    Topics::new(&world).create(world.topic(), i32::try_from(partitions).unwrap(), &[]).await;
    let records: Vec<NewRecord> = history.iter().map(|(_, _, record)| record.clone()).collect();
    produce(&world, world.topic(), &records).await;
    let mut expected = ReadModels::new(HandlerRegistry::new().register(Steps));
    for (event, place, _) in &history {
        expected.apply_at(event, *place).unwrap();
    }
    let done = apply(&world, "first", batch).await;
    assert_eq!((done.processed, done.dead_lettered), (1_200, 0), "{done:?}");
    let (all, seen) = things(&world).await;
    assert!(seen.len() > 5 && seen.len() < all.len(), "{} of {}", seen.len(), all.len());
    match partitions {
        1 => assert_eq!(seen, expected.documents("things")),
        _ => assert_eq!(sorted(seen), sorted(expected.documents("things"))),
    }
    apply(&world, "second", "100").await;
    assert!(things(&world).await.0 == all, "a replay has changed a document");
    // Without claims the guards in the documents are left.
    world.mongo().await.collection::<Document>("evp_applied_events").delete_many(doc! {}).await.unwrap();
    let done = apply(&world, "third", "33").await;
    assert_eq!(done.dead_lettered, 0);
    assert!(things(&world).await.0 == all, "a replay without claims has changed a document");
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_on_one_partition_equal_the_models_in_memory_and_replays_change_nothing() {
    for batch in ["1", "40", "2000"] {
        equals_the_models_in_memory(1, batch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_on_several_partitions_equal_the_models_in_memory_and_replays_change_nothing() {
    for batch in ["5", "2000"] {
        equals_the_models_in_memory(3, batch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_older_or_newer_brings_a_deleted_document_back() {
    let world = World::new("effects_deleted").await;
    Topics::new(&world).create(world.topic(), 2, &[]).await;
    let step = |partition, number, what: &str| -> NewRecord {
        let payload: Value = json!({ "do": what, "key": "DE", "value": "x" });
        event(partition, number, 1, "Steps", &payload)
    };
    let database = world.mongo().await;
    let made = evp::mongo::ensure_collections(&database, &HandlerRegistry::new().register(Steps).collections()).await;
    assert!(made.unwrap().iter().any(|line| line == "index evp_deleted on things"));
    produce(&world, world.topic(), &[step(0, 5, "create"), step(0, 6, "set"), step(0, 7, "delete")]).await;
    apply(&world, "first", "10").await;
    let before = things(&world).await;
    assert_eq!((before.0.len(), before.1.len()), (1, 0));
    // Events of another partition that were committed before, and of the same one after.
    produce(
        &world,
        world.topic(),
        &[step(1, 1, "create"), step(1, 2, "count"), step(0, 8, "create"), step(0, 9, "put")],
    )
    .await;
    for group in ["first", "second"] {
        let done = apply(&world, group, "10").await;
        assert_eq!(done.dead_lettered, 0, "{done:?}");
        let (all, seen) = things(&world).await;
        assert_eq!((all.len(), seen.len()), (1, 0));
        let deleted =
            |document: &Document| document.get_document("_evp").unwrap().get_datetime("d").unwrap().to_owned();
        assert_eq!(deleted(&all[0]), deleted(&before.0[0]), "the time of the deletion stays");
    }
    let indexes = database.collection::<Document>("things").list_index_names().await.unwrap();
    assert_eq!(indexes, ["_id_", "bio", "evp_deleted"]);
}
