//! Read models in memory, for unit tests of handlers: what MongoDB would hold after some events.

use std::collections::BTreeMap;

use bson::Document;

use super::Event;
use super::handler::HandlerRegistry;
use super::prepare::asked;
use super::write_paths::{Wanted, WritePaths};
use crate::error::{Error, Result};
use crate::mongo::{Change, Collection, CommitOrder, Done, EventOrder, KeptDocument, Position, WriteModel};

/// Where an event stands in a topic and among the commits of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Grows with each commit of the source.
    pub commit: u64,
}

/// Documents as handlers and guards make them, without a server.
///
/// ```
/// use evp::process::{Event, HandlerRegistry, ReadModels};
/// use evp::serde_json::json;
///
/// let mut models = ReadModels::new(evp::activity::registry());
/// models.apply(&Event::sample("UserCreated", json!({ "email": "ada@example.org" })).about("u-1")).unwrap();
/// assert_eq!(models.document("users", "u-1").unwrap().get_str("email").unwrap(), "ada@example.org");
/// ```
///
/// It has no claims: each call of [`Self::apply`] is an event of its own, whatever its id.
#[derive(Debug)]
pub struct ReadModels {
    registry: HandlerRegistry,
    documents: BTreeMap<(Collection, String), Option<KeptDocument>>,
    journal: Vec<(Event, Place)>,
    paths: WritePaths,
}

impl ReadModels {
    /// No documents.
    pub fn new(registry: HandlerRegistry) -> Self {
        Self { registry, documents: BTreeMap::new(), journal: Vec::new(), paths: WritePaths::default() }
    }

    /// Applies an event as the next record of the topic.
    ///
    /// Fails as the event would become a dead letter: no handler serves it, one refuses it, or a document that it changes
    /// is not there. What other handlers want of it is applied. Fails as well where evp would stop, because two handlers
    /// write one field in different ways.
    pub fn apply(&mut self, event: &Event) -> Result<()> {
        let next = i64::try_from(self.journal.len()).unwrap_or(i64::MAX);
        self.apply_at(event, Place { partition: 0, offset: next, commit: next.unsigned_abs() })
    }

    /// Applies an event as the record at a certain place, to try what comes late or twice.
    pub fn apply_at(&mut self, event: &Event, place: Place) -> Result<()> {
        self.journal.push((event.clone(), place));
        self.run(event, place)
    }

    /// Applies all events once more, each at its place, as a consumer does that begins anew. Nothing may change by it.
    pub fn replay(&mut self) -> Result<()> {
        for (event, place) in self.journal.clone() {
            self.run(&event, place)?;
        }
        Ok(())
    }

    /// A document without evp's bookkeeping.
    pub fn document(&self, collection: impl Into<Collection>, id: &str) -> Option<Document> {
        self.documents.get(&(collection.into(), id.to_owned()))?.as_ref()?.document().cloned()
    }

    /// The documents of a collection, by their ids.
    pub fn documents(&self, collection: impl Into<Collection>) -> Vec<Document> {
        let collection = collection.into();
        let kept = self.documents.iter().filter(|((known, _), _)| *known == collection);
        kept.filter_map(|(_, kept)| kept.as_ref()?.document().cloned()).collect()
    }

    fn run(&mut self, event: &Event, place: Place) -> Result<()> {
        let handlers = self.registry.serving(&event.event_type);
        if handlers.is_empty() {
            return Err(Error::data(format!("no handler serves `{}`", event.event_type)));
        }
        let mut failed = None;
        let mut parts = Vec::new();
        for handler in handlers.iter() {
            match asked(handler.as_ref(), event) {
                Ok(models) => parts.push((handler.name(), models)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let wanted: Vec<Wanted<'_>> = parts.iter().map(|(handler, models)| (*handler, models.as_slice())).collect();
        self.paths.check(&event.event_type, &wanted)?;
        let models: Vec<WriteModel> = parts.into_iter().flat_map(|(_, models)| models).collect();
        let written = self.write(&models, place);
        failed.map_or(written, Err)
    }

    /// Documents are created before any is changed, and each is changed once.
    fn write(&mut self, models: &[WriteModel], place: Place) -> Result<()> {
        let Place { partition, offset, commit } = place;
        let order = EventOrder::Commit(CommitOrder { epoch: 0, commit, within: 0, sequence: 0 });
        let position = Position { offset, order, is_replay: false };
        let mut changes: Vec<((Collection, String), Vec<&Change>)> = Vec::new();
        for model in models {
            let key = (model.collection().clone(), model.id().to_owned());
            match model {
                WriteModel::Create(create) => {
                    self.documents.entry(key).or_default().get_or_insert_with(|| KeptDocument::created(create));
                }
                WriteModel::Change(change) => match changes.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, known)) => known.push(change),
                    None => changes.push((key, vec![change])),
                },
            }
        }
        let mut failed = None;
        for (key, changes) in changes {
            let collection = key.0.clone();
            let kept = self.documents.entry(key).or_default();
            match KeptDocument::apply(kept, &changes, position, &partition.to_string()) {
                Ok(Done::Applied) => {}
                Ok(Done::Missing) => {
                    failed = Some(Error::data(format!(
                        "predecessor missing: the document in `{collection}` that the event changes does not exist"
                    )));
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::process::{EntryList, Handler, Path};

    /// Does whatever the payload says, so that a test can make up effects.
    struct Steps;

    impl Handler for Steps {
        fn name(&self) -> &str {
            "steps"
        }

        fn event_type(&self) -> &str {
            "Steps"
        }

        fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
            let id = event.aggregate_id.as_str();
            let text = |field: &str| event.text(field).map(Option::unwrap_or_default);
            let list = EntryList { list: "items".into(), key: "sku".into(), count: Some("count".into()) };
            let change = WriteModel::upsert("things", id);
            let model = match text("do")? {
                "set" => change.set("a.b", text("value")?),
                "unset" => change.unset("a.b"),
                "key" => change.set(Path::new("map").key(text("key")?), text("value")?),
                "forget" => change.unset(Path::new("map").key(text("key")?)),
                "put" => change.put_entry(&list, doc! { "sku": text("key")?, "value": text("value")? }),
                "remove" => change.remove_entry(&list, text("key")?),
                "tag" => change.put_value("tags", text("key")?),
                "untag" => change.remove_value("tags", text("key")?),
                "count" => change.increment("n", 2),
                _ => return Ok(vec![WriteModel::delete("things", id)]),
            };
            Ok(vec![model.into()])
        }
    }

    fn models() -> ReadModels {
        ReadModels::new(HandlerRegistry::new().register(Steps))
    }

    fn steps(payload: Value) -> Event {
        Event::sample("Steps", payload).about("x")
    }

    fn sorted(models: &ReadModels) -> Option<Document> {
        let mut document = models.document("things", "x")?;
        for list in ["items", "tags"] {
            if let Ok(entries) = document.get_array_mut(list) {
                entries.sort_by_key(ToString::to_string);
            }
        }
        Some(document)
    }

    #[test]
    fn a_deleted_document_stays_deleted_whatever_comes() {
        let mut models = models();
        models.apply(&steps(json!({ "do": "set", "value": "1" }))).unwrap();
        models.apply(&steps(json!({ "do": "delete" }))).unwrap();
        models.apply(&steps(json!({ "do": "set", "value": "2" }))).unwrap();
        models.apply_at(&steps(json!({ "do": "count" })), Place { partition: 3, offset: 0, commit: 0 }).unwrap();
        models.replay().unwrap();
        assert_eq!((models.document("things", "x"), models.documents("things").len()), (None, 0));
    }

    #[test]
    fn an_entry_that_comes_back_stands_at_the_end_and_one_that_changes_stays() {
        let mut models = models();
        for (what, key, value) in
            [("put", "a", "1"), ("put", "b", "1"), ("put", "a", "2"), ("remove", "b", ""), ("put", "b", "2")]
        {
            models.apply(&steps(json!({ "do": what, "key": key, "value": value }))).unwrap();
        }
        let items =
            doc! { "_id": "x", "count": 2, "items": [{ "sku": "a", "value": "2" }, { "sku": "b", "value": "2" }] };
        assert_eq!(models.document("things", "x").unwrap(), items);
        models.replay().unwrap();
        assert_eq!(models.document("things", "x").unwrap(), items);
    }

    #[test]
    fn what_would_be_a_dead_letter_is_an_error() {
        let mut models = ReadModels::new(crate::activity::registry());
        let error = models.apply(&Event::sample("UserUpdated", json!({ "bio": "x" }))).unwrap_err().to_string();
        assert!(error.contains("predecessor missing"), "{error}");
        assert!(models.apply(&Event::sample("Unheard", json!({}))).is_err());
        assert!(models.apply(&Event::sample("UserCreated", json!({ "email": 7 }))).is_err());
        assert_eq!(models.documents("statistics").len(), 1, "the other handler has counted");
    }

    proptest! {
        #[test]
        fn partitions_in_any_order_and_replays_end_in_the_same_document(
            events in prop::collection::vec((0..10_usize, 0..3_usize, 0..9_u8, 0..3_i32), 1..25),
            picks in prop::collection::vec(0..3_i32, 0..40),
        ) {
            const DO: [&str; 10] = ["set", "unset", "key", "forget", "put", "remove", "tag", "untag", "count", "set"];
            const KEYS: [&str; 3] = ["k", "$where.a", ""];
            let event = |(what, key, value, _): &(usize, usize, u8, i32)| {
                let key = if matches!(*what, 4..=7) && KEYS[*key].is_empty() { "other" } else { KEYS[*key] };
                steps(json!({ "do": DO[*what], "key": key, "value": value.to_string() }))
            };
            let placed: Vec<(Event, Place)> = (1..).zip(&events)
                .map(|(commit, told)| {
                    let place = Place { partition: told.3, offset: i64::try_from(commit).unwrap(), commit };
                    (event(told), place)
                })
                .collect();
            let mut in_order = models();
            for (event, place) in &placed {
                in_order.apply_at(event, *place).unwrap();
            }
            // Each partition in its order, the partitions as it comes.
            let mut shuffled = models();
            let mut rest = placed.clone();
            for partition in picks.into_iter().chain([0, 1, 2].into_iter().cycle()) {
                let Some(next) = rest.iter().position(|(_, place)| place.partition == partition) else {
                    if rest.is_empty() { break } else { continue }
                };
                let (event, place) = rest.remove(next);
                shuffled.apply_at(&event, place).unwrap();
            }
            prop_assert_eq!(sorted(&shuffled), sorted(&in_order));
            let before = shuffled.documents("things");
            shuffled.replay().unwrap();
            prop_assert_eq!(shuffled.documents("things"), before);
        }
    }
}
