//! Documents that grow towards MongoDB's limit: told of before it is reached, and left alone once it is.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use parking_lot::Mutex;

use super::path::Collection;
use super::store::Store;
use super::write_model::WriteModel;

/// From here on a document is told of; the server's limit is 16 MB.
const LARGE_BYTES: i64 = 12 * 1024 * 1024;
/// A document that is full is not tried more often: each attempt costs the server two copies of it.
const FULL_FOR: Duration = Duration::from_secs(60);
const FULL_MAX: usize = 1_000;
/// Documents whose growth is counted between two looks.
const COUNTED_MAX: usize = 10_000;
/// So many of those that have grown most are looked at.
const LOOKED_AT_MAX: usize = 10;

type Key = (Collection, String);

/// What is known of sizes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    hasher: RandomState,
    /// By a hash of the key, so that a document that is counted already costs no copy of its names.
    grown: Mutex<HashMap<u64, (Key, u64)>>,
    /// Since when, and the least that was too much.
    full: Mutex<HashMap<Key, (Instant, usize)>>,
    told: Mutex<HashSet<Key>>,
}

impl Sizes {
    /// Notes that an entry was added to a list of a document.
    pub(crate) fn grew(&self, model: &WriteModel) {
        let hash = self.hasher.hash_one((model.collection(), model.id()));
        let mut grown = self.grown.lock();
        if let Some((_, count)) = grown.get_mut(&hash) {
            *count = count.saturating_add(1);
        } else if grown.len() < COUNTED_MAX {
            grown.insert(hash, (key(model), 1));
        }
    }

    /// Notes that a document does not take what a model adds to it.
    pub(crate) fn is_full_now(&self, model: &WriteModel) {
        let (mut full, added) = (self.full.lock(), model.added_bytes());
        if full.len() < FULL_MAX {
            let (since, least) = full.entry(key(model)).or_insert((Instant::now(), added));
            (*since, *least) = (Instant::now(), added.min(*least));
        }
    }

    /// Whether a document was found a short while ago not to take as much.
    pub(crate) fn is_full(&self, model: &WriteModel) -> bool {
        let mut full = self.full.lock();
        if full.is_empty() {
            return false;
        }
        full.retain(|_, (since, _)| since.elapsed() < FULL_FOR);
        full.get(&key(model)).is_some_and(|(_, least)| model.added_bytes() >= *least)
    }

    /// Those that have grown most since this was last asked, by collection.
    fn take_grown(&self) -> HashMap<Collection, Vec<String>> {
        let mut grown: Vec<(Key, u64)> = self.grown.lock().drain().map(|(_, counted)| counted).collect();
        grown.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut by_collection: HashMap<Collection, Vec<String>> = HashMap::new();
        for ((collection, id), _) in grown.into_iter().take(LOOKED_AT_MAX) {
            by_collection.entry(collection).or_default().push(id);
        }
        by_collection
    }
}

fn key(model: &WriteModel) -> Key {
    (model.collection().clone(), model.id().to_owned())
}

impl Store {
    /// Looks at the documents that have grown most, and tells of those that come near the limit.
    pub(crate) async fn look_at_sizes(&self) {
        let mut largest = 0;
        for (collection, ids) in self.sizes.take_grown() {
            let sizes = doc! { "$project": { "size": { "$bsonSize": "$$ROOT" } } };
            let found = self.aggregate(&collection, vec![doc! { "$match": { "_id": { "$in": ids } } }, sizes]).await;
            let Ok(found) = found else { continue };
            for document in found {
                let size = size_of(&document);
                largest = largest.max(size);
                let Ok(id) = document.get_str("_id") else { continue };
                let known = (collection.clone(), id.to_owned());
                if size >= LARGE_BYTES && self.sizes.told.lock().insert(known) {
                    tracing::warn!(
                        event = "document_large",
                        collection = collection.as_str(),
                        bytes = size,
                        "a list grows towards MongoDB's limit of 16 MB, where its events become dead letters; \
                         find it with {{$expr: {{$gt: [{{$bsonSize: \"$$ROOT\"}}, {LARGE_BYTES}]}}}} and keep the list in documents of its own"
                    );
                }
            }
        }
        if largest > 0 {
            #[allow(clippy::cast_precision_loss)]
            metrics::gauge!("evp_process_largest_document_bytes").set(largest as f64);
        }
    }
}

fn size_of(document: &Document) -> i64 {
    document.get_i64("size").or_else(|_| document.get_i32("size").map(i64::from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str) -> WriteModel {
        WriteModel::update("activities", id).add_value("list", "x").into()
    }

    #[test]
    fn those_that_have_grown_most_are_looked_at_once() {
        let sizes = Sizes::default();
        for number in 0..30 {
            (0..=number).for_each(|_| sizes.grew(&model(&number.to_string())));
        }
        let looked_at = sizes.take_grown().remove(&Collection::new("activities")).unwrap();
        assert!(looked_at.len() == LOOKED_AT_MAX && looked_at.contains(&"29".to_owned()), "{looked_at:?}");
        assert!(sizes.take_grown().is_empty());
    }

    #[test]
    fn a_full_document_is_left_alone_for_a_while() {
        let sizes = Sizes::default();
        assert!(!sizes.is_full(&model("1")));
        sizes.is_full_now(&model("1"));
        assert!(sizes.is_full(&model("1")) && !sizes.is_full(&model("2")));
        let smaller = WriteModel::update("activities", "1").add_value("list", "").into();
        assert!(!sizes.is_full(&smaller), "less may still fit");
        sizes.full.lock().values_mut().for_each(|(since, _)| *since = since.checked_sub(FULL_FOR).unwrap());
        assert!(!sizes.is_full(&model("1")));
    }
}
