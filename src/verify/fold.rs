//! From the rows of the outbox to the documents that must exist.

use std::collections::{HashMap, HashSet};

use bson::{Bson, DateTime, Document, doc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::envelope::number::integer;

/// A row of the outbox, as far as the read models depend on it.
#[derive(Debug, Clone)]
pub(super) struct OutboxEntry {
    pub(super) event_id: Uuid,
    pub(super) aggregate_id: String,
    pub(super) event_type: String,
    /// Nothing where it is not an object that can be applied.
    pub(super) payload: Option<Map<String, Value>>,
    pub(super) created_at_ms: i64,
    pub(super) sequence_id: i64,
}

/// The documents that the rows so far call for.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) users: HashMap<String, Document>,
    pub(super) activities: HashMap<String, Document>,
    pub(super) total_users: i64,
    /// New users among the dead letters: another handler of the same event may have counted them.
    pub(super) total_users_uncertain: i64,
    pub(super) last_updated: Option<DateTime>,
    /// Aggregates with a dead letter; what their documents must be depends on when that is dealt with.
    pub(super) uncertain: HashSet<String>,
    pub(super) unknown_events: u64,
    inapplicable: Vec<(Uuid, String)>,
}

type Payload = Map<String, Value>;
type Outcome = Result<(), String>;

impl Fold {
    /// Applies a row.
    pub(super) fn apply(&mut self, entry: OutboxEntry) {
        let outcome = match &entry.payload {
            Some(payload) => self.effect(&entry, payload),
            None => Err(format!("the payload of this {} is not an object that can be applied", entry.event_type)),
        };
        if let Err(reason) = outcome {
            self.inapplicable.push((entry.event_id, reason));
            self.uncertain.insert(entry.aggregate_id);
        }
    }

    /// Notes a row that waits among the dead letters.
    pub(super) fn set_aside(&mut self, entry: &OutboxEntry) {
        self.uncertain.insert(entry.aggregate_id.clone());
        if entry.event_type == "UserCreated" {
            self.total_users_uncertain = self.total_users_uncertain.saturating_add(1);
        }
    }

    /// The rows that no handler can have applied, with the reason.
    pub(super) fn take_inapplicable(&mut self) -> Vec<(Uuid, String)> {
        std::mem::take(&mut self.inapplicable)
    }

    fn effect(&mut self, entry: &OutboxEntry, payload: &Payload) -> Outcome {
        match entry.event_type.as_str() {
            "UserCreated" => {
                // The counter has a handler of its own, which a wrong field of the user does not stop.
                self.total_users = self.total_users.saturating_add(1);
                self.last_updated = self.last_updated.max(Some(date(entry)));
                let document = user(entry, payload)?;
                self.users.entry(entry.aggregate_id.clone()).or_insert(document);
                Ok(())
            }
            "UserUpdated" => update_user(existing(&mut self.users, entry)?, entry, payload),
            "ActivityCreated" => {
                let document = activity(entry, payload)?;
                self.activities.entry(entry.aggregate_id.clone()).or_insert(document);
                Ok(())
            }
            "ActivityUpdated" => update_activity(existing(&mut self.activities, entry)?, entry, payload),
            "ParticipantJoined" => join(existing(&mut self.activities, entry)?, entry, payload),
            _ => {
                self.unknown_events = self.unknown_events.saturating_add(1);
                Ok(())
            }
        }
    }
}

fn existing<'a>(documents: &'a mut HashMap<String, Document>, entry: &OutboxEntry) -> Result<&'a mut Document, String> {
    documents
        .get_mut(&entry.aggregate_id)
        .ok_or_else(|| format!("this {} has no creation before it in the outbox", entry.event_type))
}

fn user(entry: &OutboxEntry, payload: &Payload) -> Result<Document, String> {
    let mut document = doc! { "_id": &entry.aggregate_id };
    for field in ["email", "username", "first_name", "last_name"] {
        document.insert(field, text(payload, field)?.unwrap_or(Bson::Null));
    }
    let name = full_name(&document);
    let profile = |field| Ok::<_, String>(text_in(payload, field, "profile", field)?.unwrap_or(Bson::Null));
    document.extend(doc! {
        "name": name,
        "profile": { "bio": profile("bio")?, "avatar_url": profile("avatar_url")? },
        "metadata": new_metadata(entry),
        "allowed_users": [&entry.aggregate_id],
    });
    Ok(document)
}

fn update_user(document: &mut Document, entry: &OutboxEntry, payload: &Payload) -> Outcome {
    let mut changes = Vec::new();
    for field in ["email", "username", "first_name", "last_name"] {
        changes.push((vec![field], text(payload, field)?));
    }
    for field in ["bio", "avatar_url"] {
        changes.push((vec!["profile", field], text_in(payload, field, "profile", field)?));
    }
    apply_changes(document, changes);
    let name = full_name(document);
    document.insert("name", name);
    touch(document, entry);
    Ok(())
}

fn activity(entry: &OutboxEntry, payload: &Payload) -> Result<Document, String> {
    let plain = |field| Ok::<_, String>(text(payload, field)?.unwrap_or(Bson::Null));
    let located = |flat, field| Ok::<_, String>(text_in(payload, flat, "location", field)?.unwrap_or(Bson::Null));
    let creator = id(payload, "creator_user_id")?;
    let allowed_users: Vec<&String> = creator.iter().collect();
    let max_count = match payload.get("max_participants") {
        None | Some(Value::Null) => Bson::Null,
        Some(number @ Value::Number(_)) => {
            Bson::Int64(integer(&number.to_string()).ok_or("`max_participants` is not a whole number")?)
        }
        Some(_) => return Err("`max_participants` is not a number".to_owned()),
    };
    Ok(doc! {
        "_id": &entry.aggregate_id,
        "title": plain("title")?,
        "description": plain("description")?,
        "creator_id": &creator,
        "type": plain("activity_type")?,
        "location": {
            "name": located("location_name", "name")?,
            "address": located("location_address", "address")?,
            "coordinates": coordinates(payload),
        },
        "schedule": {
            "start_date": plain("start_date")?,
            "end_date": plain("end_date")?,
            "timezone": plain("timezone")?,
        },
        "participants": { "current_count": 0_i64, "max_count": max_count, "list": [] },
        "status": "active",
        "metadata": new_metadata(entry),
        "allowed_users": allowed_users,
    })
}

fn update_activity(document: &mut Document, entry: &OutboxEntry, payload: &Payload) -> Outcome {
    let mut changes = Vec::new();
    for field in ["title", "description", "status"] {
        changes.push((vec![field], text(payload, field)?));
    }
    for (flat, field) in [("location_name", "name"), ("location_address", "address")] {
        changes.push((vec!["location", field], text_in(payload, flat, "location", field)?));
    }
    apply_changes(document, changes);
    touch(document, entry);
    Ok(())
}

fn join(document: &mut Document, entry: &OutboxEntry, payload: &Payload) -> Outcome {
    let user_id = id(payload, "user_id")?.filter(|id| !id.is_empty()).ok_or("`user_id` is missing")?;
    if let Ok(participants) = document.get_document_mut("participants") {
        let joined = doc! { "user_id": &user_id, "joined_at": date(entry), "status": "confirmed" };
        let mut count = 0;
        if let Ok(list) = participants.get_array_mut("list") {
            let is_same = |known: &&mut Bson| {
                known.as_document().is_some_and(|it| it.get_str("user_id").is_ok_and(|known| known == user_id))
            };
            match list.iter_mut().find(is_same) {
                // Someone who joined twice has been there since the first time.
                Some(known) if joined_at(known) > Some(date(entry)) => *known = joined.into(),
                Some(_) => {}
                None => list.push(joined.into()),
            }
            count = i64::try_from(list.len()).unwrap_or(i64::MAX);
        }
        participants.insert("current_count", count);
    }
    if let Ok(allowed_users) = document.get_array_mut("allowed_users") {
        let user_id = Bson::String(user_id);
        if !allowed_users.contains(&user_id) {
            allowed_users.push(user_id);
        }
    }
    touch(document, entry);
    Ok(())
}

fn joined_at(participant: &Bson) -> Option<DateTime> {
    participant.as_document()?.get_datetime("joined_at").ok().copied()
}

fn apply_changes(document: &mut Document, changes: Vec<(Vec<&str>, Option<Bson>)>) {
    for (path, value) in changes {
        let Some(value) = value else { continue };
        match path.as_slice() {
            [field] => {
                document.insert(*field, value);
            }
            [object, field] => {
                if let Ok(inner) = document.get_document_mut(object) {
                    inner.insert(*field, value);
                }
            }
            _ => {}
        }
    }
}

fn date(entry: &OutboxEntry) -> DateTime {
    DateTime::from_millis(entry.created_at_ms)
}

fn new_metadata(entry: &OutboxEntry) -> Document {
    let event_id = entry.event_id.hyphenated().to_string();
    doc! { "created_at": date(entry), "updated_at": date(entry), "source_event_id": event_id }
}

fn touch(document: &mut Document, entry: &OutboxEntry) {
    if let Ok(metadata) = document.get_document_mut("metadata") {
        metadata.insert("updated_at", date(entry));
        metadata.insert("last_event_id", entry.event_id.hyphenated().to_string());
    }
}

fn full_name(document: &Document) -> String {
    let part = |field| document.get_str(field).unwrap_or_default();
    format!("{} {}", part("first_name"), part("last_name"))
        .trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}')
        .to_owned()
}

/// A text or null that is present.
fn text(payload: &Payload, field: &str) -> Result<Option<Bson>, String> {
    text_value(payload.get(field), field)
}

/// A text that may stand beside the others or inside an object.
fn text_in(payload: &Payload, flat: &str, object: &str, field: &str) -> Result<Option<Bson>, String> {
    if payload.contains_key(flat) {
        return text(payload, flat);
    }
    match payload.get(object) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => text_value(inner.get(field), field),
        Some(_) => Err(format!("`{object}` is not an object")),
    }
}

fn text_value(value: Option<&Value>, field: &str) -> Result<Option<Bson>, String> {
    match value {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Bson::Null)),
        Some(Value::String(text)) => Ok(Some(Bson::String(text.clone()))),
        Some(_) => Err(format!("`{field}` is not a text")),
    }
}

/// An id in lower case, as documents hold it.
fn id(payload: &Payload, field: &str) -> Result<Option<String>, String> {
    let as_id = |text: &str| Uuid::try_parse(text.trim()).map_or_else(|_| text.to_owned(), |id| id.to_string());
    Ok(text(payload, field)?.and_then(|value| value.as_str().map(as_id)))
}

/// A GeoJSON point from whichever form the payload uses, or null.
fn coordinates(payload: &Payload) -> Bson {
    let location = payload.get("location");
    let inner = location.and_then(|location| location.get("coordinates"));
    let places = [payload.get("location_coordinates"), payload.get("coordinates"), inner, location];
    let point = places.into_iter().flatten().find_map(point).or_else(|| named_point(payload));
    point.map_or(Bson::Null, |(longitude, latitude)| {
        doc! { "type": "Point", "coordinates": [longitude, latitude] }.into()
    })
}

fn point(value: &Value) -> Option<(f64, f64)> {
    if let Some(object) = value.as_object() {
        let is_geojson = object.get("type").is_some_and(|kind| kind == "Point");
        return if is_geojson { object.get("coordinates").and_then(point) } else { named_point(object) };
    }
    match value.as_array().map(Vec::as_slice) {
        Some([longitude, latitude]) => valid_point(longitude.as_f64()?, latitude.as_f64()?),
        _ => None,
    }
}

fn named_point(object: &Payload) -> Option<(f64, f64)> {
    let number = |names: [&str; 3]| names.into_iter().find_map(|name| object.get(name)?.as_f64());
    valid_point(number(["longitude", "lng", "lon"])?, number(["latitude", "lat", "lat"])?)
}

fn valid_point(longitude: f64, latitude: f64) -> Option<(f64, f64)> {
    (longitude.abs() <= 180.0 && latitude.abs() <= 90.0).then_some((longitude, latitude))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(number: u8, aggregate: &str, event_type: &str, payload: Value) -> OutboxEntry {
        OutboxEntry {
            event_id: Uuid::from_bytes([number; 16]),
            aggregate_id: aggregate.to_owned(),
            event_type: event_type.to_owned(),
            payload: payload.as_object().cloned(),
            created_at_ms: i64::from(number) * 1_000,
            sequence_id: i64::from(number),
        }
    }

    fn folded(entries: impl IntoIterator<Item = OutboxEntry>) -> Fold {
        let mut fold = Fold::default();
        entries.into_iter().for_each(|entry| fold.apply(entry));
        fold
    }

    #[test]
    fn half_a_name_keeps_the_other_half() {
        let fold = folded([
            entry(1, "u", "UserCreated", json!({ "first_name": "Ada", "last_name": "Byron" })),
            entry(2, "u", "UserUpdated", json!({ "last_name": "Lovelace", "bio": null })),
        ]);
        let user = &fold.users["u"];
        assert_eq!(user.get_str("name").unwrap(), "Ada Lovelace");
        let metadata = user.get_document("metadata").unwrap();
        assert_eq!(metadata.get_datetime("created_at").unwrap().timestamp_millis(), 1_000);
        assert_eq!(metadata.get_datetime("updated_at").unwrap().timestamp_millis(), 2_000);
        assert_eq!((fold.total_users, fold.last_updated), (1, Some(DateTime::from_millis(1_000))));
    }

    #[test]
    fn joining_twice_counts_once() {
        let user = "AAAAAAAA-0000-4000-8000-000000000001";
        let fold = folded([
            entry(1, "a", "ActivityCreated", json!({ "creator_user_id": user, "max_participants": 5 })),
            entry(2, "a", "ParticipantJoined", json!({ "user_id": user })),
            entry(3, "a", "ParticipantJoined", json!({ "user_id": user.to_lowercase() })),
        ]);
        let participants = fold.activities["a"].get_document("participants").unwrap();
        assert_eq!(participants.get_i64("current_count").unwrap(), 1);
        assert_eq!(participants.get_array("list").unwrap().len(), 1);
        assert_eq!(fold.activities["a"].get_array("allowed_users").unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_applied_is_named_and_makes_its_document_uncertain() {
        let mut fold = folded([
            entry(1, "u", "UserUpdated", json!({})),
            entry(2, "v", "UserCreated", json!({ "email": 5 })),
            entry(3, "w", "UserCreated", json!("text")),
            entry(4, "x", "SomethingElse", json!({})),
        ]);
        assert_eq!(fold.take_inapplicable().len(), 3);
        assert_eq!((fold.uncertain.len(), fold.unknown_events), (3, 1));
        assert_eq!(fold.total_users, 1, "the counter does not read the email");
    }

    #[test]
    fn a_dead_letter_leaves_the_counter_within_bounds() {
        let mut fold = Fold::default();
        fold.set_aside(&entry(1, "u", "UserCreated", json!({})));
        assert_eq!((fold.total_users, fold.total_users_uncertain), (0, 1));
    }
}
