//! `activities`: one document per activity, with its participants.

use bson::{Bson, doc};

use super::fields::{change_metadata, creation_metadata, nested_text, point, text_or_null};
use crate::error::Result;
use crate::mongo::{AddOnce, CollectionSpec, WriteModel};
use crate::process::{AfterFailure, Event, Handler};

const ACTIVITIES: &str = "activities";

/// Creates the activity, without participants.
pub(super) struct ActivityCreated;

impl Handler for ActivityCreated {
    fn name(&self) -> &str {
        "activity_created"
    }

    fn event_type(&self) -> &str {
        "ActivityCreated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let creator = event.id("creator_user_id")?;
        let location = |flat, field| nested_text(event, flat, "location", field).map(|text| text.unwrap_or(Bson::Null));
        let document = doc! {
            "_id": event.aggregate_id.as_str(),
            "title": text_or_null(event, "title")?,
            "description": text_or_null(event, "description")?,
            "creator_id": creator.as_deref(),
            "type": text_or_null(event, "activity_type")?,
            "location": {
                "name": location("location_name", "name")?,
                "address": location("location_address", "address")?,
                "coordinates": point(event),
            },
            "schedule": {
                "start_date": text_or_null(event, "start_date")?,
                "end_date": text_or_null(event, "end_date")?,
                "timezone": text_or_null(event, "timezone")?,
            },
            "participants": { "current_count": 0, "max_count": event.integer("max_participants")?, "list": [] },
            "status": "active",
            "metadata": creation_metadata(event),
            "allowed_users": creator.as_deref().into_iter().collect::<Vec<_>>(),
        };
        Ok(vec![WriteModel::create(ACTIVITIES, event.aggregate_id.as_str(), document)])
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        let activities = CollectionSpec::new(ACTIVITIES).index("allowed_users", doc! { "allowed_users": 1 });
        let activities = activities.index("created_at", doc! { "metadata.created_at": 1 });
        // Documents without valid coordinates hold null there.
        vec![activities.sparse_index("coordinates", doc! { "location.coordinates": "2dsphere" })]
    }
}

/// Changes the fields that the event names.
pub(super) struct ActivityUpdated;

impl Handler for ActivityUpdated {
    fn name(&self) -> &str {
        "activity_updated"
    }

    fn event_type(&self) -> &str {
        "ActivityUpdated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let mut change = WriteModel::update(ACTIVITIES, event.aggregate_id.as_str());
        for field in ["title", "description", "status"] {
            if event.has(field) {
                change = change.set(field, text_or_null(event, field)?);
            }
        }
        for (path, flat, field) in
            [("location.name", "location_name", "name"), ("location.address", "location_address", "address")]
        {
            if let Some(value) = nested_text(event, flat, "location", field)? {
                change = change.set(path, value);
            }
        }
        Ok(vec![change.set_together(change_metadata(event)).into()])
    }
}

/// Adds a participant, once per user.
pub(super) struct ParticipantJoined;

impl Handler for ParticipantJoined {
    fn name(&self) -> &str {
        "participant_joined"
    }

    fn event_type(&self) -> &str {
        "ParticipantJoined"
    }

    fn validate(&self, event: &Event) -> Result<()> {
        event.required_text("user_id").map(|_| ())
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let user_id = event.id("user_id")?;
        let joining = AddOnce {
            list: "participants.list".into(),
            key: "user_id".into(),
            order: "joined_at".into(),
            count: Some("participants.current_count".into()),
            entry: doc! { "user_id": user_id.as_deref(), "joined_at": event.created_at, "status": "confirmed" },
        };
        let change = WriteModel::update(ACTIVITIES, event.aggregate_id.as_str())
            .add_once(joining)
            .add_value("allowed_users", user_id)
            .set_together(change_metadata(event));
        Ok(vec![change.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::DateTime;
    use serde_json::json;

    const ID: &str = "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491";

    #[test]
    fn a_new_activity_has_every_field() {
        let payload = json!({
            "title": "Chess", "creator_user_id": "AAAAAAAA-0000-4000-8000-000000000001", "activity_type": "game",
            "location_name": "Park", "location_coordinates": [13.4, 52.5], "start_date": "2026-12-01T10:00:00Z",
            "timezone": "Europe/Berlin", "max_participants": 8,
        });
        let models = ActivityCreated.handle(&Event::sample("ActivityCreated", payload)).unwrap();
        let date = DateTime::from_millis(1_000);
        let creator = "aaaaaaaa-0000-4000-8000-000000000001";
        let expected = doc! {
            "_id": ID, "title": "Chess", "description": null, "creator_id": creator, "type": "game",
            "location": { "name": "Park", "address": null, "coordinates": { "type": "Point", "coordinates": [13.4, 52.5] } },
            "schedule": { "start_date": "2026-12-01T10:00:00Z", "end_date": null, "timezone": "Europe/Berlin" },
            "participants": { "current_count": 0, "max_count": 8_i64, "list": [] }, "status": "active",
            "metadata": { "created_at": date, "updated_at": date, "source_event_id": "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e" },
            "allowed_users": [creator],
        };
        assert_eq!(models, [WriteModel::create("activities", ID, expected)]);
    }

    #[test]
    fn an_activity_without_a_creator_is_nobodys() {
        let models = ActivityCreated.handle(&Event::sample("ActivityCreated", json!({}))).unwrap();
        let WriteModel::Create(create) = &models[0] else { panic!("a creation is expected") };
        assert_eq!(create.document.get_array("allowed_users").unwrap().len(), 0);
    }

    #[test]
    fn an_update_sets_only_what_it_names() {
        let event = Event::sample("ActivityUpdated", json!({ "status": "cancelled", "location_name": "Hall" }));
        let expected = WriteModel::update("activities", ID)
            .set("status", "cancelled")
            .set("location.name", "Hall")
            .set_together(change_metadata(&event));
        assert_eq!(ActivityUpdated.handle(&event).unwrap(), [WriteModel::from(expected)]);
    }

    #[test]
    fn joining_needs_a_user() {
        assert!(ParticipantJoined.validate(&Event::sample("ParticipantJoined", json!({}))).is_err());
        assert!(ParticipantJoined.validate(&Event::sample("ParticipantJoined", json!({ "user_id": 5 }))).is_err());
        assert!(ParticipantJoined.validate(&Event::sample("ParticipantJoined", json!({ "user_id": "u" }))).is_ok());
    }
}
