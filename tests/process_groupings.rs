//! `evp process`: how events are grouped into batches does not show in the documents.

use bson::{Document, doc};
use evp::error::Result;
use evp::process::{Event, Handler, HandlerRegistry, Place, ReadModels, WriteModel};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::envelopes::{NewRecord, event, id, produce, world_with};
use crate::support::library::apply_topic;

/// Makes documents in every way there is.
struct Makes;

impl Handler for Makes {
    fn name(&self) -> &str {
        "makes"
    }

    fn event_type(&self) -> &str {
        "Made"
    }

    fn after_failure(&self) -> evp::process::AfterFailure {
        evp::process::AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let (id, number) = (event.aggregate_id.as_str(), event.integer("number")?);
        let create = || WriteModel::create("things", id, doc! { "made": number, "first": number });
        let change = |change: evp::process::Change| change.set("last", number).increment("count", 1);
        Ok(match event.text("do")?.unwrap_or_default() {
            "create" => vec![create()],
            "upsert" => vec![change(WriteModel::upsert("things", id)).into()],
            "both" => vec![change(WriteModel::upsert("things", id)).into(), create()],
            "delete" => vec![WriteModel::delete("things", id)],
            _ => vec![change(WriteModel::update("things", id)).into()],
        })
    }
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

const PHASES: usize = 3;

/// For each document what happens to it, and in which of the batches.
fn histories(count: usize) -> Vec<Vec<(&'static str, usize)>> {
    let mut numbers = Numbers(11);
    let history = |_| {
        let length = 2 + numbers.below(4);
        let mut phase = 0;
        let mut steps = Vec::new();
        for _ in 0..length {
            // Nothing is changed that is not there.
            let makes = ["create", "upsert", "create", "upsert", "both"];
            let any = ["create", "upsert", "update", "create", "upsert", "both", "delete"];
            let what = if steps.is_empty() { makes[numbers.below(makes.len())] } else { any[numbers.below(any.len())] };
            phase = (phase + numbers.below(2)).min(PHASES - 1);
            steps.push((what, phase));
        }
        steps
    };
    (0..count).map(history).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_made_by_create_and_by_upsert_are_the_same_in_any_grouping() {
    let registry = || HandlerRegistry::new().register(Makes);
    let world = world_with("groupings", 1, &[]).await;
    let mut expected = ReadModels::new(registry());
    let (mut offset, mut number) = (0, 0_u64);
    // The same steps in groups as they come, one by one, and all at once.
    let drawn = histories(150);
    let regrouped = |all: usize| drawn.iter().map(move |steps| steps.iter().map(|(what, _)| (*what, all)).collect());
    let single: Vec<Vec<(&str, usize)>> = regrouped(1).collect();
    let all: Vec<Vec<(&str, usize)>> = drawn.iter().cloned().chain(single).collect();
    for phase in 0..PHASES {
        let mut batch: Vec<NewRecord> = Vec::new();
        for (aggregate, steps) in all.iter().enumerate() {
            for (place, (what, _)) in steps.iter().enumerate().filter(|(_, (_, when))| *when == phase) {
                number += 1;
                let payload = json!({ "do": what, "number": place });
                batch.push(event(0, number.into(), aggregate as u128, "Made", &payload));
                let told = Event::sample("Made", payload).about(id(aggregate as u128));
                expected.apply_at(&told, Place { partition: 0, offset, commit: number }).unwrap();
                offset += 1;
            }
        }
        produce(&world, world.topic(), &batch).await;
        let group = world.variable("KAFKA_GROUP_ID");
        let done = apply_topic(&world, registry(), &[("KAFKA_GROUP_ID", group)]).await;
        assert_eq!(done.dead_lettered, 0, "{done:?}");
    }
    let visible = doc! { "_evp.d": { "$exists": false } };
    let things = world.mongo().await.collection::<Document>("things");
    let mut found: Vec<Document> =
        things.find(visible).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
    found.iter_mut().for_each(|document| {
        document.remove("_evp");
    });
    let wanted = expected.documents("things");
    assert!(wanted.len() > 150 && wanted.iter().any(|thing| !thing.contains_key("made")));
    for (found, wanted) in found.iter().zip(&wanted) {
        let names = |document: &Document| document.keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let same = names(found) == names(wanted) && wanted.iter().all(|(name, value)| found.get(name) == Some(value));
        assert!(same, "found {found}, wanted {wanted}");
    }
    assert_eq!(found.len(), wanted.len());
    // What was made in groups is what was made at once.
    let contents = |number: usize| {
        let mut thing = expected.document("things", &id(number as u128))?;
        thing.remove("_id");
        Some(thing)
    };
    assert!((0..drawn.len()).all(|number| contents(number) == contents(number + drawn.len())));
}
