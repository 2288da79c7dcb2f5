//! From the events of one aggregate to the documents that must exist.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use bson::{Bson, DateTime, Document, doc};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::history::Event;
use super::payload::{Payload, coordinates, id, text, text_in};
use super::record::Content;
use crate::envelope::decode::parse_payload;
use crate::envelope::number::integer;

/// The documents that the events so far call for.
#[derive(Debug, Default)]
pub(super) struct Fold {
    id: String,
    user: Option<Document>,
    activity: Option<Activity>,
    pub(super) created_users: i64,
    pub(super) last_created: Option<DateTime>,
    pub(super) unknown_events: u64,
}

/// Why an event has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The document that it changes does not exist.
    NoCreation(String),
    /// No handler can read what is told of it.
    Content(String),
}

/// An activity whose lists are still to be put into it.
#[derive(Debug)]
struct Activity {
    document: Document,
    participants: Vec<Document>,
    places: HashMap<String, usize>,
    allowed_users: Vec<String>,
    allowed: HashSet<String>,
}

/// What is told of an event.
struct Entry<'a> {
    event_id: Uuid,
    aggregate_id: &'a str,
    content: &'a Content,
}

impl Fold {
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    /// Applies an event as the first telling of it that can be applied.
    pub(super) fn apply(&mut self, event: &Event) -> Result<(), Refusal> {
        let unreadable = || event.unreadable.clone().unwrap_or_default();
        let mut refusal = None;
        let mut is_counted = false;
        for content in &event.contents {
            let entry = Entry { event_id: event.id, aggregate_id: &self.id.clone(), content };
            let outcome = match parse_payload(&content.payload) {
                Ok(payload) => {
                    // The counter has a handler of its own, which a wrong field of the user does not stop.
                    if content.event_type == "UserCreated" && !std::mem::replace(&mut is_counted, true) {
                        self.created_users = self.created_users.saturating_add(1);
                        self.last_created = self.last_created.max(Some(date(&entry)));
                    }
                    self.effect(&entry, &payload)
                }
                Err(error) => Err(Refusal::Content(format!("{}: {error}", content.event_type))),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(reason) => refusal.get_or_insert(reason),
            };
        }
        Err(refusal.unwrap_or_else(|| Refusal::Content(unreadable())))
    }

    /// The user and the activity.
    pub(super) fn into_documents(self) -> [Option<Document>; 2] {
        [self.user, self.activity.map(Activity::into_document)]
    }

    fn effect(&mut self, entry: &Entry<'_>, payload: &Payload) -> Result<(), Refusal> {
        let kind = entry.content.event_type.as_str();
        let refused = |reason: String| Refusal::Content(format!("{kind}: {reason}"));
        let missing = || Refusal::NoCreation(format!("this {kind} has no creation before it"));
        match kind {
            "UserCreated" => {
                let document = user(entry, payload).map_err(refused)?;
                self.user.get_or_insert(document);
            }
            "UserUpdated" => {
                update_user(self.user.as_mut().ok_or_else(missing)?, entry, payload).map_err(refused)?;
            }
            "ActivityCreated" => {
                let activity = activity(entry, payload).map_err(refused)?;
                self.activity.get_or_insert(activity);
            }
            "ActivityUpdated" => {
                let activity = self.activity.as_mut().ok_or_else(missing)?;
                update_activity(&mut activity.document, entry, payload).map_err(refused)?;
            }
            "ParticipantJoined" => {
                self.activity.as_mut().ok_or_else(missing)?.join(entry, payload).map_err(refused)?;
            }
            _ => self.unknown_events = self.unknown_events.saturating_add(1),
        }
        Ok(())
    }
}

impl Activity {
    fn join(&mut self, entry: &Entry<'_>, payload: &Payload) -> Result<(), String> {
        let user_id = id(payload, "user_id")?.filter(|id| !id.is_empty()).ok_or("`user_id` is missing")?;
        let joined = doc! { "user_id": &user_id, "joined_at": date(entry), "status": "confirmed" };
        match self.places.get(&user_id).and_then(|place| self.participants.get_mut(*place)) {
            // Someone who joined twice has been there since the first time.
            Some(known) if known.get_datetime("joined_at").is_ok_and(|at| *at > date(entry)) => *known = joined,
            Some(_) => {}
            None => {
                self.places.insert(user_id.clone(), self.participants.len());
                self.participants.push(joined);
            }
        }
        self.allow(user_id);
        touch(&mut self.document, entry);
        Ok(())
    }

    fn allow(&mut self, user_id: String) {
        if self.allowed.insert(user_id.clone()) {
            self.allowed_users.push(user_id);
        }
    }

    fn into_document(mut self) -> Document {
        let count = i64::try_from(self.participants.len()).unwrap_or(i64::MAX);
        if let Ok(participants) = self.document.get_document_mut("participants") {
            participants.insert("current_count", count);
            participants.insert("list", self.participants);
        }
        self.document.insert("allowed_users", self.allowed_users);
        self.document
    }
}

fn user(entry: &Entry<'_>, payload: &Payload) -> Result<Document, String> {
    let mut document = doc! { "_id": entry.aggregate_id };
    for field in ["email", "username", "first_name", "last_name"] {
        document.insert(field, text(payload, field)?.unwrap_or(Bson::Null));
    }
    let name = full_name(&document);
    let profile = |field| Ok::<_, String>(text_in(payload, field, "profile", field)?.unwrap_or(Bson::Null));
    document.extend(doc! {
        "name": name,
        "profile": { "bio": profile("bio")?, "avatar_url": profile("avatar_url")? },
        "metadata": new_metadata(entry),
        "allowed_users": [entry.aggregate_id],
    });
    Ok(document)
}

fn update_user(document: &mut Document, entry: &Entry<'_>, payload: &Payload) -> Result<(), String> {
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

fn activity(entry: &Entry<'_>, payload: &Payload) -> Result<Activity, String> {
    let plain = |field| Ok::<_, String>(text(payload, field)?.unwrap_or(Bson::Null));
    let located = |flat, field| Ok::<_, String>(text_in(payload, flat, "location", field)?.unwrap_or(Bson::Null));
    let creator = id(payload, "creator_user_id")?;
    let max_count = match payload.get("max_participants") {
        None | Some(Value::Null) => Bson::Null,
        Some(_) => {
            Bson::Int64(whole_number(entry, "max_participants").ok_or("`max_participants` is not a whole number")?)
        }
    };
    let document = doc! {
        "_id": entry.aggregate_id,
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
        "participants": { "max_count": max_count },
        "status": "active",
        "metadata": new_metadata(entry),
    };
    let (participants, places, allowed_users, allowed) = Default::default();
    let mut activity = Activity { document, participants, places, allowed_users, allowed };
    creator.into_iter().for_each(|creator| activity.allow(creator));
    Ok(activity)
}

/// A number of the payload, however JSON writes it, and exactly.
fn whole_number(entry: &Entry<'_>, field: &str) -> Option<i64> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(&entry.content.payload).ok()?;
    integer(fields.get(field)?.get())
}

fn update_activity(document: &mut Document, entry: &Entry<'_>, payload: &Payload) -> Result<(), String> {
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

fn date(entry: &Entry<'_>) -> DateTime {
    DateTime::from_millis(entry.content.created_at_ms)
}

fn new_metadata(entry: &Entry<'_>) -> Document {
    let event_id = entry.event_id.hyphenated().to_string();
    doc! { "created_at": date(entry), "updated_at": date(entry), "source_event_id": event_id }
}

fn touch(document: &mut Document, entry: &Entry<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::tests::events;

    fn folded(told: &[(&str, &str)]) -> (Fold, Vec<Refusal>) {
        let mut fold = Fold::new("id");
        let refusals = events(told).iter().filter_map(|event| fold.apply(event).err()).collect();
        (fold, refusals)
    }

    #[test]
    fn half_a_name_keeps_the_other_half() {
        let (fold, _) = folded(&[
            ("UserCreated", r#"{"first_name":"Ada","last_name":"Byron"}"#),
            ("UserUpdated", r#"{"last_name":"Lovelace","bio":null}"#),
        ]);
        assert_eq!((fold.created_users, fold.last_created), (1, Some(DateTime::from_millis(1_000))));
        let [user, _] = fold.into_documents();
        let user = user.unwrap();
        assert_eq!(user.get_str("name").unwrap(), "Ada Lovelace");
        let metadata = user.get_document("metadata").unwrap();
        assert_eq!(metadata.get_datetime("created_at").unwrap().timestamp_millis(), 1_000);
        assert_eq!(metadata.get_datetime("updated_at").unwrap().timestamp_millis(), 2_000);
    }

    #[test]
    fn joining_twice_counts_once_and_numbers_are_exact() {
        let (fold, _) = folded(&[
            (
                "ActivityCreated",
                r#"{"creator_user_id":"AAAAAAAA-0000-4000-8000-000000000001","max_participants":9007199254740993.0}"#,
            ),
            ("ParticipantJoined", r#"{"user_id":"AAAAAAAA-0000-4000-8000-000000000001"}"#),
            ("ParticipantJoined", r#"{"user_id":"aaaaaaaa-0000-4000-8000-000000000001"}"#),
        ]);
        let [_, activity] = fold.into_documents();
        let activity = activity.unwrap();
        let participants = activity.get_document("participants").unwrap();
        assert_eq!(participants.get_i64("current_count").unwrap(), 1);
        assert_eq!(participants.get_i64("max_count").unwrap(), 9_007_199_254_740_993);
        let joined = participants.get_array("list").unwrap();
        assert_eq!(joined[0].as_document().unwrap().get_datetime("joined_at").unwrap().timestamp_millis(), 2_000);
        assert_eq!((joined.len(), activity.get_array("allowed_users").unwrap().len()), (1, 1));
    }

    #[test]
    fn what_cannot_be_applied_is_told_from_what_has_nothing_to_change() {
        let (fold, refusals) = folded(&[
            ("UserUpdated", "{}"),
            ("UserCreated", r#"{"email":5}"#),
            ("ActivityCreated", r#"{"title":"\ud800"}"#),
            ("SomethingElse", "{}"),
        ]);
        assert!(
            matches!(refusals[..], [Refusal::NoCreation(_), Refusal::Content(_), Refusal::Content(_)]),
            "{refusals:?}"
        );
        assert_eq!((fold.created_users, fold.unknown_events), (1, 1), "the counter does not read the email");
    }

    #[test]
    fn a_correction_is_applied_where_the_first_telling_is_refused_and_counts_once() {
        let mut told = events(&[("UserCreated", r#"{"email":5}"#), ("UserCreated", r#"{"email":"a@b"}"#)]);
        let correction = told[1].contents.remove(0);
        told[0].contents.push(correction);
        let mut fold = Fold::new("id");
        assert_eq!(fold.apply(&told[0]), Ok(()));
        assert_eq!(fold.created_users, 1);
        assert_eq!(fold.into_documents()[0].as_ref().unwrap().get_str("email").unwrap(), "a@b");
    }
}
