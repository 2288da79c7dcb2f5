//! What does not agree at first, once more, with what the topic says.
//!
//! `sequence_id` is drawn before the commit, and it is the commit that counts; and rows may be deleted by now, in the very
//! transaction that wrote them. The topic has both: the order of the commits and the events.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::{DateTime, doc};
use mongodb::Database;
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio_postgres::Client;
use uuid::Uuid;

use super::dead_letters::DeadLetters;
use super::documents::by_ids;
use super::first_look::{COLLECTIONS, FirstLook};
use super::fold::{Fold, OutboxEntry};
use super::judge::judge;
use super::report::{FindingKind, VerifyReport};
use super::rows::of_aggregates;
use super::topic::{Reach, read_to_end};
use crate::config::{KafkaConfig, PostgresConfig};
use crate::envelope::POSITION_HEADER;
use crate::envelope::decode::{EnvelopeOp, decode};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::headers;
use crate::mongo::EventOrder;
use crate::process::Event;
use crate::process::order::placed;

/// As many aggregates are looked at twice in one reading of the topic.
const PASS_MAX: usize = 50_000;
/// As many documents are looked for of which the table has no rows.
const CREATIONS_MAX: usize = 500_000;
/// As many are fetched at a time.
const CHUNK: usize = 1_000;

/// The events of some aggregates as the topic has them.
struct Told {
    reach: Reach,
    /// By aggregate and event, each at its first place.
    events: HashMap<String, BTreeMap<Uuid, (EventOrder, OutboxEntry)>>,
    /// The first events of aggregates, with the collections that they make documents of.
    creations: HashMap<String, (Uuid, &'static str)>,
    /// Users that were created, and the date of the last of them.
    created_users: HashSet<Uuid>,
    last_updated: Option<DateTime>,
}

/// Judges the suspects, and the counter if it does not agree with the rows.
pub(super) async fn look(
    (client, config): (&Client, &PostgresConfig),
    database: &Database,
    kafka: &KafkaConfig,
    dead_letters: &DeadLetters,
    first: &mut FirstLook,
    counts_users: bool,
    report: &mut VerifyReport,
) -> Result<()> {
    let mut suspects: Vec<String> = std::mem::take(&mut first.suspects).into_iter().collect();
    suspects.sort_unstable();
    let mut gone = 0_usize;
    let mut passes: Vec<&[String]> = suspects.chunks(PASS_MAX).collect();
    if passes.is_empty() && counts_users {
        passes.push(&[]);
    }
    let mut first_told = None;
    for suspects in passes {
        let is_first = first_told.is_none();
        let told = told(kafka, suspects, counts_users && is_first).await?;
        if counts_users && is_first {
            recount(first, &told);
        }
        for ids in suspects.chunks(CHUNK) {
            let judged = Chunk { client, config, database, dead_letters, told: &told, ids };
            gone = gone.saturating_add(judged.judge(report).await?);
        }
        first_told.get_or_insert(told);
    }
    if let Some(first_told) = first_told {
        missing_without_rows((client, config), database, dead_letters, &first_told, report).await?;
    }
    if first.unsifted > 0 {
        report.note(format!(
            "{} findings are told by the rows alone: too many aggregates differ for a second look at each in the topic",
            first.unsifted
        ));
    }
    if gone > 0 {
        report.not_judged = u64::try_from(gone).unwrap_or(u64::MAX);
        report.note(format!(
            "{gone} documents are not compared: their rows are deleted, and the topic does not reach back to their events"
        ));
    }
    Ok(())
}

/// Where the topic is whole it has every event, also of rows that are deleted.
fn recount(first: &mut FirstLook, told: &Told) {
    if told.reach == Reach::Whole {
        let created = i64::try_from(told.created_users.len()).unwrap_or(i64::MAX);
        first.total_users = first.total_users.max(created.saturating_sub(first.total_users_uncertain));
        first.last_updated = first.last_updated.max(told.last_updated);
    }
}

/// Documents that are on neither side although the topic has the events that create them: their rows are deleted.
async fn missing_without_rows(
    (client, config): (&Client, &PostgresConfig),
    database: &Database,
    dead_letters: &DeadLetters,
    told: &Told,
    report: &mut VerifyReport,
) -> Result<()> {
    if told.creations.len() >= CREATIONS_MAX {
        report.note(format!("of documents whose rows are deleted, {CREATIONS_MAX} were looked for and no more"));
    }
    let ids: Vec<String> = told.creations.keys().cloned().collect();
    for ids in ids.chunks(CHUNK) {
        let mut missing: HashSet<String> = ids.iter().cloned().collect();
        for collection in COLLECTIONS {
            let there = by_ids(database, collection, ids, doc! { "_id": 1 }).await?;
            missing.retain(|id| !there.contains_key(id));
        }
        let absent: Vec<String> = missing.iter().cloned().collect();
        if absent.is_empty() {
            continue;
        }
        // Those with rows were judged by them.
        for entry in of_aggregates(client, config, &absent).await? {
            missing.remove(&entry.aggregate_id);
        }
        for id in missing {
            if let Some((event_id, collection)) = told.creations.get(&id)
                && !dead_letters.event_ids.contains(event_id)
            {
                report.add(FindingKind::Missing, id, format!("{collection}: the document does not exist"));
            }
        }
    }
    Ok(())
}

async fn told(kafka: &KafkaConfig, suspects: &[String], counts_users: bool) -> Result<Told> {
    let (kafka, suspects) = (kafka.clone(), suspects.iter().cloned().collect::<HashSet<_>>());
    let read = tokio::task::spawn_blocking(move || {
        let mut told = Told {
            reach: Reach::Nothing,
            events: HashMap::new(),
            creations: HashMap::new(),
            created_users: HashSet::new(),
            last_updated: None,
        };
        told.reach = read_to_end(&kafka, &kafka.topic, |record| told.add(record, &suspects, counts_users))?;
        Ok(told)
    });
    read.await.map_err(|error| Error::with_source(ErrorKind::System, "reading the topic was interrupted", error))?
}

impl Told {
    fn add(&mut self, record: &BorrowedMessage<'_>, suspects: &HashSet<String>, counts_users: bool) {
        let Some(envelope) = record.payload().and_then(|value| decode(value).ok()) else { return };
        let is_event = matches!(envelope.op, EnvelopeOp::Create | EnvelopeOp::Update | EnvelopeOp::Read);
        let Some(row) = envelope.after.as_ref().filter(|_| is_event) else { return };
        let Ok(event) = Event::from_row(row, envelope.source_ts_us) else { return };
        if counts_users && event.event_type == "UserCreated" {
            self.created_users.insert(event.event_id);
            self.last_updated = self.last_updated.max(Some(event.created_at));
        }
        if !suspects.contains(&event.aggregate_id) {
            self.add_creation(event);
            return;
        }
        let sequence = event.sequence_id.unwrap_or(0);
        let header = headers::value(record, POSITION_HEADER);
        let placed = placed(header, &envelope.source, sequence).filter(|_| envelope.op == EnvelopeOp::Create);
        let order = placed.map_or(EventOrder::Sequence(sequence), |placed| placed.order);
        let entry = OutboxEntry {
            event_id: event.event_id,
            aggregate_id: event.aggregate_id.clone(),
            event_type: event.event_type,
            payload: Some(event.payload),
            created_at_ms: event.created_at.timestamp_millis(),
            sequence_id: sequence,
        };
        let events = self.events.entry(event.aggregate_id).or_default();
        let known = events.get(&entry.event_id).is_some_and(|(known, _)| *known >= order);
        if !known {
            events.insert(entry.event_id, (order, entry));
        }
    }
}

impl Told {
    fn add_creation(&mut self, event: Event) {
        let [users, activities] = COLLECTIONS;
        let collection = match event.event_type.as_str() {
            "UserCreated" => users,
            "ActivityCreated" => activities,
            _ => return,
        };
        if self.creations.len() < CREATIONS_MAX {
            self.creations.entry(event.aggregate_id).or_insert((event.event_id, collection));
        }
    }
}

/// Some suspects.
struct Chunk<'a> {
    client: &'a Client,
    config: &'a PostgresConfig,
    database: &'a Database,
    dead_letters: &'a DeadLetters,
    told: &'a Told,
    ids: &'a [String],
}

impl Chunk<'_> {
    /// Reports what is wrong; gives the number of documents of which nothing is known any more.
    async fn judge(&self, report: &mut VerifyReport) -> Result<usize> {
        let mut rows: HashMap<String, Vec<OutboxEntry>> = HashMap::new();
        for entry in of_aggregates(self.client, self.config, self.ids).await? {
            rows.entry(entry.aggregate_id.clone()).or_default().push(entry);
        }
        let mut actual = Vec::new();
        for collection in COLLECTIONS {
            actual.push(by_ids(self.database, collection, self.ids, doc! { "_evp": 0 }).await?);
        }
        let mut gone = 0_usize;
        for id in self.ids {
            let entries = in_commit_order(rows.remove(id).unwrap_or_default(), self.told.events.get(id));
            let is_unknown = entries.is_empty() && self.told.reach != Reach::Whole;
            let mut fold = Fold::default();
            for entry in entries {
                match self.dead_letters.event_ids.contains(&entry.event_id) {
                    true => fold.set_aside(&entry),
                    false => fold.apply(entry),
                }
            }
            for (event_id, reason) in fold.take_inapplicable() {
                let detail = format!("{reason}, and it is not among the dead letters");
                report.add(FindingKind::LostEvent, event_id, detail);
            }
            let expected = [fold.users.remove(id), fold.activities.remove(id)];
            for ((collection, actual), expected) in COLLECTIONS.into_iter().zip(&actual).zip(expected) {
                let actual = actual.get(id);
                if is_unknown || fold.uncertain.contains(id) {
                    gone = gone.saturating_add(usize::from(is_unknown && actual.is_some()));
                    continue;
                }
                if let Some((kind, detail)) = judge(collection, expected.as_ref(), actual) {
                    report.add(kind, id, detail);
                }
            }
        }
        Ok(gone)
    }
}

/// The events of an aggregate: those of the table and those that only the topic has, in the order of their commits.
/// A row that the topic has not comes first, as the topic begins later.
fn in_commit_order(
    rows: Vec<OutboxEntry>,
    told: Option<&BTreeMap<Uuid, (EventOrder, OutboxEntry)>>,
) -> Vec<OutboxEntry> {
    let order_of = |entry: &OutboxEntry| {
        let told = told.and_then(|told| told.get(&entry.event_id)).map(|(order, _)| *order);
        told.unwrap_or(EventOrder::Sequence(entry.sequence_id))
    };
    let is_row: HashSet<Uuid> = rows.iter().map(|entry| entry.event_id).collect();
    let mut entries: Vec<(EventOrder, OutboxEntry)> = rows.into_iter().map(|entry| (order_of(&entry), entry)).collect();
    let only_told = told.into_iter().flatten().filter(|(event_id, _)| !is_row.contains(event_id));
    entries.extend(only_told.map(|(_, (order, entry))| (*order, entry.clone())));
    entries.sort_by_key(|(order, _)| *order);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::CommitOrder;

    fn entry(number: u8) -> OutboxEntry {
        OutboxEntry {
            event_id: Uuid::from_bytes([number; 16]),
            aggregate_id: "a".to_owned(),
            event_type: "UserUpdated".to_owned(),
            payload: None,
            created_at_ms: 0,
            sequence_id: i64::from(number),
        }
    }

    fn committed(commit: u64) -> EventOrder {
        EventOrder::Commit(CommitOrder { epoch: 0, commit, within: 0, sequence: 0 })
    }

    #[test]
    fn the_commits_decide_rows_that_the_topic_lacks_come_first_and_deleted_ones_are_in_their_place() {
        let told = [(2, 30), (3, 10), (9, 20)];
        let told = told.map(|(number, commit)| (entry(number).event_id, (committed(commit), entry(number))));
        let ordered = in_commit_order((1..4).map(entry).collect(), Some(&BTreeMap::from(told)));
        let numbers: Vec<i64> = ordered.iter().map(|entry| entry.sequence_id).collect();
        assert_eq!(numbers, [1, 3, 9, 2]);
        assert_eq!(in_commit_order(vec![entry(2), entry(1)], None)[0].sequence_id, 1);
    }
}
