//! What members of the group and `evp rebuild` tell each other, in `evp_rebuilds`.
//!
//! A *swap*, known by the id of the collection that it puts in place, says up to which offsets that collection holds the
//! topics. It is written before the swap. Members that work with that collection begin there at the latest, once each
//! partition. A *gate* asks members to stop between two batches, so that no reader sees a document go and come again.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use uuid::Uuid;

use super::client_error;
use super::pins::{CollectionIds, uuid, uuid_of};
use super::sources::field_name;
use super::store::{Durability, Store, begin_command};
use crate::error::Result;
use crate::kafka::offsets::OffsetTracker;

/// The collection of all this; a name's state is kept under the name, a swap under its id.
pub(crate) const REBUILDS: &str = "evp_rebuilds";

/// One past the last offset of each partition, by the number of the topic.
pub(crate) type Ends = BTreeMap<i32, BTreeMap<i32, i64>>;

/// A collection that was put in place, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) id: Uuid,
    pub(crate) collection: String,
    pub(crate) ends: Ends,
    /// What the group has begun since, by the number of the topic.
    pub(crate) begun: BTreeMap<i32, BTreeSet<i32>>,
}

/// Members are asked to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) collection: String,
    /// Another one each time.
    pub(crate) token: String,
    /// The collection that is to be replaced.
    pub(crate) id: Uuid,
    /// The partitions that members have stopped, by the number of the topic.
    pub(crate) stopped: BTreeMap<i32, BTreeSet<i32>>,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) swaps: Vec<Swap>,
    pub(crate) gates: Vec<Gate>,
}

/// Reads it; `group` is whose partitions have begun, and whose members have stopped.
pub(crate) async fn seen(database: &Database, group: &str) -> Result<Seen> {
    let failed = |error| client_error("reading what was rebuilt", database.name(), error);
    let found = database.collection::<Document>(REBUILDS).find(doc! {}).await.map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    Ok(read(&found, group))
}

fn read(documents: &[Document], group: &str) -> Seen {
    let group = field_name(group);
    Seen {
        swaps: documents.iter().filter_map(|document| swap(document, &group)).collect(),
        gates: documents.iter().filter_map(|document| gate(document, &group)).collect(),
    }
}

fn swap(document: &Document, group: &str) -> Option<Swap> {
    let begun = document.get_document("begun").ok().and_then(|groups| groups.get_document(group).ok());
    Some(Swap {
        id: document.get("_id").and_then(uuid_of)?,
        collection: document.get_str("collection").ok()?.to_owned(),
        ends: by_source(document.get_document("ends").ok(), |ends| {
            let ends = ends.as_document()?.iter();
            Some(ends.filter_map(|(partition, end)| Some((partition.parse().ok()?, end.as_i64()?))).collect())
        }),
        begun: by_source(begun, partitions),
    })
}

fn gate(document: &Document, group: &str) -> Option<Gate> {
    let gate = document.get_document("gate").ok()?;
    let mut stopped: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    for (_, member) in gate.get_document("members").into_iter().flatten() {
        let Some(member) = member.as_document().filter(|member| member.get_str("group").is_ok_and(|of| of == group))
        else {
            continue;
        };
        let (Ok(source), Some(numbers)) = (member.get_i32("s"), member.get("partitions").and_then(partitions)) else {
            continue;
        };
        stopped.entry(source).or_default().extend(numbers);
    }
    Some(Gate {
        collection: document.get_str("_id").ok()?.to_owned(),
        token: gate.get_str("token").ok()?.to_owned(),
        id: gate.get("id").and_then(uuid_of)?,
        stopped,
    })
}

fn by_source<T>(document: Option<&Document>, read: impl Fn(&Bson) -> Option<T>) -> BTreeMap<i32, T> {
    let entries = document.into_iter().flatten();
    entries.filter_map(|(source, value)| Some((source.parse().ok()?, read(value)?))).collect()
}

fn partitions(list: &Bson) -> Option<BTreeSet<i32>> {
    Some(list.as_array()?.iter().filter_map(Bson::as_i32).collect())
}

impl Swap {
    /// Whether the collection holds all that was read of the assigned partitions of a topic.
    pub(crate) fn holds(&self, source: i32, tracker: &OffsetTracker) -> bool {
        let ends = self.ends.get(&source);
        tracker.partitions().all(|partition| match tracker.decided_end(partition) {
            Some(read) => ends.and_then(|ends| ends.get(&partition)).is_some_and(|end| read <= *end),
            None => true,
        })
    }
}

impl Seen {
    /// The swaps that have taken place: their collections are those that names stand for.
    pub(crate) fn done<'a>(&'a self, ids: &'a CollectionIds) -> impl Iterator<Item = &'a Swap> {
        self.swaps.iter().filter(|swap| ids.get(&swap.collection) == Some(&swap.id))
    }

    /// Where partitions of a topic begin at the latest, if they have not begun since.
    pub(crate) fn floors(&self, ids: &CollectionIds, source: i32) -> BTreeMap<i32, i64> {
        let mut floors = BTreeMap::new();
        for swap in self.done(ids) {
            let begun = swap.begun.get(&source);
            let open = swap.ends.get(&source).into_iter().flatten();
            for (partition, end) in open.filter(|(partition, _)| begun.is_none_or(|begun| !begun.contains(*partition)))
            {
                let floor = floors.entry(*partition).or_insert(*end);
                *floor = (*floor).min(*end);
            }
        }
        floors
    }
}

/// Notes that the group has begun partitions of a topic, so that they do not begin there again.
pub(crate) async fn note_begun(
    store: &Store,
    swaps: &[Uuid],
    (group, source): (&str, i32),
    partitions: &[i32],
) -> Result<()> {
    let path = format!("begun.{}.{source}", field_name(group));
    let update = doc! { "$addToSet": { path: { "$each": partitions.to_vec() } } };
    let updates = swaps.iter().map(|id| doc! { "q": { "_id": uuid(*id) }, "u": &update }.into()).collect();
    let mut writer = begin_command("update", REBUILDS, Durability::Majority, 512);
    writer.value("updates", &Bson::Array(updates));
    store.write(&writer.finish()?).await.map(|_| ())
}

/// Tells that a member has stopped between two batches, with all that it has read decided and committed.
pub(crate) async fn note_stopped(
    store: &Store,
    gate: &Gate,
    member: &str,
    (group, source): (&str, i32),
    partitions: &[i32],
) -> Result<()> {
    let path = format!("gate.members.{member}");
    let stopped = doc! { "s": source, "group": field_name(group), "partitions": partitions.to_vec() };
    let update = doc! {
        "q": { "_id": &gate.collection, "gate.token": &gate.token }, "u": { "$set": { path: stopped } },
    };
    let mut writer = begin_command("update", REBUILDS, Durability::Majority, 512);
    writer.value("updates", &Bson::Array(vec![update.into()]));
    store.write(&writer.finish()?).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(id: Uuid) -> Vec<Document> {
        vec![
            doc! {
                "_id": uuid(id), "collection": "users",
                "ends": { "3": { "0": 95_i64, "1": 40_i64 }, "4": { "0": 7_i64 } },
                "begun": { "a%2Eb": { "3": [1] } },
            },
            doc! {
                "_id": "users", "token": "t",
                "gate": { "token": "g", "id": uuid(id), "members": {
                    "m1": { "s": 3, "group": "g", "partitions": [0] }, "m2": { "s": 3, "group": "g", "partitions": [1] },
                    "m3": { "s": 3, "group": "another", "partitions": [2] },
                } },
            },
        ]
    }

    #[test]
    fn a_partition_begins_at_the_end_of_the_swap_until_it_has_begun() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let floors = |id, group, source| {
            let ids = [("users".to_owned(), id)].into();
            read(&documents(new), group).floors(&ids, source).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(floors(new, "a.b", 3), [(0, 95)], "the other has begun");
        assert_eq!(floors(new, "another", 3), [(0, 95), (1, 40)]);
        assert_eq!(floors(new, "a.b", 4), [(0, 7)]);
        assert!(floors(old, "another", 3).is_empty(), "it has not taken place");
    }

    #[test]
    fn the_lowest_of_several_swaps_counts() {
        let swap = |id, collection: &str, end| Swap {
            id: Uuid::from_u128(id),
            collection: collection.to_owned(),
            ends: [(1, [(0, end)].into())].into(),
            begun: BTreeMap::new(),
        };
        let seen = Seen { swaps: vec![swap(1, "a", 9), swap(2, "b", 5), swap(3, "b", 1)], gates: Vec::new() };
        let ids = [("a".to_owned(), Uuid::from_u128(1)), ("b".to_owned(), Uuid::from_u128(2))].into();
        assert_eq!(seen.floors(&ids, 1), [(0, 5)].into());
    }

    #[test]
    fn a_collection_that_holds_all_that_a_member_has_read_needs_no_new_beginning() {
        let swap = swap(&documents(Uuid::from_u128(2))[0], "g").unwrap();
        let holds = |partition, read| {
            let mut tracker = OffsetTracker::default();
            tracker.assign(partition, read);
            swap.holds(3, &tracker)
        };
        assert!(holds(0, Some(95)) && holds(0, None) && holds(7, None));
        assert!(!holds(0, Some(96)) && !holds(7, Some(1)));
    }

    #[test]
    fn a_gate_tells_which_partitions_have_stopped() {
        let gates = read(&documents(Uuid::from_u128(2)), "g").gates;
        assert_eq!(gates.len(), 1);
        assert_eq!((gates[0].token.as_str(), &gates[0].stopped[&3]), ("g", &[0, 1].into()));
    }
}
