//! Small numbers for topics, so that bookkeeping in documents stays short, and what was applied of each.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use mongodb::Database;
use mongodb::options::WriteConcern;

use super::failure::{DUPLICATE_KEY, client_error};
use crate::error::{Error, Result};
use crate::kafka::known::{KnownPartition, KnownTopic, PartitionNote};
use crate::kafka::witness::{Witness, Witnesses};

/// The collection of topics that were ever applied to this database.
pub(crate) const SOURCES: &str = "evp_sources";

const ATTEMPTS_MAX: u32 = 20;

/// A topic as one group applies it to this database.
#[derive(Debug, Clone)]
pub(crate) struct SourceKey {
    pub(crate) cluster: String,
    pub(crate) topic: String,
    pub(crate) group: String,
}

/// What is known of a topic.
#[derive(Debug)]
pub(crate) struct Source {
    /// Stands for the topic in documents.
    pub(crate) number: i32,
    pub(crate) known: KnownTopic,
    /// The group has applied another topic of this name, and none since.
    pub(crate) is_superseded: bool,
}

impl SourceKey {
    /// Offsets of another cluster's topic of the same name mean other events, so the cluster is part of the name.
    fn id(&self) -> String {
        format!("{}/{}", self.cluster, self.topic)
    }

    /// Where the group's own knowledge stands in the document of the topic.
    fn path(&self) -> String {
        format!("groups.{}", field_name(&self.group))
    }
}

/// A group may have any name, a field not.
pub(super) fn field_name(group: &str) -> String {
    let escaped = |letter: char| match letter {
        '%' | '.' | '$' | '\0' => format!("%{:02X}", u32::from(letter)),
        other => other.to_string(),
    };
    group.chars().map(escaped).collect()
}

/// Takes the topic as it is, because somebody has looked at it: forgets what the group knows of it, and gives it a number
/// that it never had, unless another group has done so.
///
/// Watermarks under the former number would hide the events that now have these offsets; repetitions are still
/// recognised by their event ids.
pub(crate) async fn accept_topic(database: &Database, key: &SourceKey, source: &Source) -> Result<()> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("giving a topic a new number", database.name(), error);
    let mut update = doc! { "$unset": { key.path(): 1, "committed": 1 } };
    if !source.is_superseded {
        let highest = sources.find_one(doc! {}).sort(doc! { "s": -1 }).await.map_err(failed)?;
        let number = highest.and_then(|known| known.get_i32("s").ok()).unwrap_or(0).saturating_add(1);
        update.insert("$set", doc! { "s": number });
    }
    let update = sources.update_one(doc! { "_id": key.id() }, update);
    update.write_concern(WriteConcern::majority()).await.map_err(failed).map(|_| ())
}

/// Notes what was applied where it outlives the topic: brokers delete the group's offsets together with it.
pub(crate) async fn note_applied(
    database: &Database,
    key: &SourceKey,
    number: i32,
    has_events: bool,
    notes: &[PartitionNote],
) -> Result<()> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("noting what was applied", database.name(), error);
    let path = key.path();
    let (mut set, mut max) = (doc! { format!("{path}.s"): number }, Document::new());
    if has_events {
        set.insert(format!("{path}.has_events"), true);
    }
    for note in notes {
        let partition = format!("{path}.partitions.{}", note.partition);
        let witnesses: Vec<Bson> = note.witnesses.iter().map(witness_to_bson).collect();
        set.insert(format!("{partition}.witnesses"), witnesses);
        max.insert(format!("{partition}.committed"), note.committed);
    }
    let mut update = doc! { "$set": set };
    if !max.is_empty() {
        update.insert("$max", max);
    }
    // A member that knows the topic under another number has nothing to say of this one.
    let this = doc! { "_id": key.id(), "s": number };
    sources.update_one(this, update).await.map_err(failed).map(|_| ())
}

/// What is known of a topic in this database; a number is given to it the first time it is seen.
pub(crate) async fn source(database: &Database, key: &SourceKey) -> Result<Source> {
    let sources = database.collection::<Document>(SOURCES);
    let failed = |error| client_error("reading the topics known to the database", database.name(), error);
    let name = key.id();
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = sources.find_one(doc! { "_id": &name }).await.map_err(failed)? {
            return read_source(&found, &key.group)
                .ok_or_else(|| Error::protocol(format!("{SOURCES} holds `{name}` without a number")));
        }
        let highest = sources.find_one(doc! {}).sort(doc! { "s": -1 }).await.map_err(failed)?;
        let number = highest.and_then(|known| known.get_i32("s").ok()).unwrap_or(0).saturating_add(1);
        let insert = sources.insert_one(doc! { "_id": &name, "s": number });
        match insert.write_concern(WriteConcern::majority()).await {
            Ok(_) => return Ok(Source { number, known: KnownTopic::default(), is_superseded: false }),
            // Another process has just taken the name or the number.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Error::unavailable(format!("no number could be had for topic `{}` in {SOURCES}", key.topic)))
}

fn read_source(document: &Document, group: &str) -> Option<Source> {
    let number = document.get_i32("s").ok()?;
    let (mut known, mut is_superseded, own) = (KnownTopic::default(), false, field_name(group));
    // An earlier form, which says nothing of groups.
    for (partition, offset) in document.get_document("committed").into_iter().flatten() {
        if let (Ok(partition), Some(offset)) = (partition.parse(), offset.as_i64()) {
            known.partition_mut(partition).add_other(Some(offset), None);
            known.has_events = true;
        }
    }
    let groups = document.get_document("groups").into_iter().flatten();
    for (name, group) in groups.filter_map(|(name, group)| Some((name, group.as_document()?))) {
        let is_own = *name == own;
        if group.get_i32("s").ok() != Some(number) {
            is_superseded |= is_own;
            continue;
        }
        if is_own {
            known.was_read = true;
            known.has_events |= group.get_bool("has_events").unwrap_or_default();
        }
        for (partition, noted) in group.get_document("partitions").into_iter().flatten() {
            if let (Ok(number), Some(noted)) = (partition.parse(), noted.as_document()) {
                read_partition(noted, is_own, known.partition_mut(number));
            }
        }
    }
    Some(Source { number, known, is_superseded })
}

fn read_partition(noted: &Document, is_own: bool, known: &mut KnownPartition) {
    let committed = noted.get_i64("committed").ok();
    let witnesses = noted.get_array("witnesses").into_iter().flatten();
    let witnesses: Vec<Witness> = witnesses.filter_map(witness_of_bson).collect();
    if is_own {
        known.committed = committed;
        known.add_other(committed, None);
        known.witnesses = Witnesses::noted(&witnesses);
    } else {
        known.add_other(committed, witnesses.last().copied());
    }
}

fn witness_to_bson(witness: &Witness) -> Bson {
    let digest = Binary { subtype: BinarySubtype::Generic, bytes: witness.digest.to_vec() };
    Bson::Document(doc! { "offset": witness.offset, "digest": digest })
}

fn witness_of_bson(noted: &Bson) -> Option<Witness> {
    let noted = noted.as_document()?;
    let digest = noted.get_binary_generic("digest").ok()?.as_slice().try_into().ok()?;
    Some(Witness { offset: noted.get_i64("offset").ok()?, digest })
}

pub(super) fn is_duplicate(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_any_name_has_a_field_of_its_own() {
        assert_eq!(field_name("a.b$c%d"), "a%2Eb%24c%25d");
        assert_eq!(field_name("plain-group_1"), "plain-group_1");
    }

    #[test]
    fn what_other_groups_have_applied_counts_for_the_topic_and_not_for_this_group() {
        let witness = |offset| witness_to_bson(&Witness { offset, digest: [7; 32] });
        let document = doc! {
            "s": 2, "committed": { "0": 5_i64 },
            "groups": {
                "a": { "s": 2, "partitions": { "0": { "committed": 10_i64, "witnesses": [witness(3), witness(9)] } } },
                "b": { "s": 2, "partitions": { "0": { "committed": 12_i64, "witnesses": [witness(11)] } } },
                "c": { "s": 1, "partitions": { "0": { "committed": 99_i64, "witnesses": [witness(98)] } } },
            },
        };
        let of = |group| read_source(&document, group).unwrap();
        let offsets = |group| {
            let expected = of(group).known.expected(&[0]);
            expected.iter().map(|expected| expected.witness.offset).collect::<Vec<_>>()
        };
        let partition = |group| of(group).known.partition(0).cloned().unwrap();
        assert_eq!((partition("a").committed, partition("a").applied), (Some(10), Some(12)));
        assert_eq!((offsets("a"), offsets("b"), offsets("new")), (vec![3, 9, 11], vec![11, 9], vec![11]));
        assert!(of("a").known.was_read && !of("new").known.was_read);
        assert_eq!((partition("new").committed, partition("new").applied), (None, Some(12)));
        assert!(of("c").is_superseded && !of("a").is_superseded);
    }
}
