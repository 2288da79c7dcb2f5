//! `users`: one document per user.

use bson::{Bson, doc};

use super::fields::{change_metadata, creation_metadata, nested_text, text_or_null};
use crate::error::Result;
use crate::mongo::{CollectionSpec, WriteModel, joined_text};
use crate::process::{AfterFailure, Event, Handler};

const USERS: &str = "users";

/// Creates the user.
pub(super) struct UserCreated;

impl Handler for UserCreated {
    fn name(&self) -> &str {
        "user_created"
    }

    fn event_type(&self) -> &str {
        "UserCreated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let profile = |field| nested_text(event, field, "profile", field).map(|text| text.unwrap_or(Bson::Null));
        let document = doc! {
            "_id": event.aggregate_id.as_str(),
            "email": text_or_null(event, "email")?,
            "username": text_or_null(event, "username")?,
            "name": joined_text(&[event.text("first_name")?, event.text("last_name")?]),
            "first_name": text_or_null(event, "first_name")?,
            "last_name": text_or_null(event, "last_name")?,
            "profile": { "bio": profile("bio")?, "avatar_url": profile("avatar_url")? },
            "metadata": creation_metadata(event),
            "allowed_users": [event.aggregate_id.as_str()],
        };
        Ok(vec![WriteModel::create(USERS, event.aggregate_id.as_str(), document)])
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        let users =
            CollectionSpec::new(USERS).index("email", doc! { "email": 1 }).index("username", doc! { "username": 1 });
        let users = users.index("allowed_users", doc! { "allowed_users": 1 });
        vec![users.index("created_at", doc! { "metadata.created_at": 1 })]
    }
}

/// Changes the fields that the event names.
pub(super) struct UserUpdated;

impl Handler for UserUpdated {
    fn name(&self) -> &str {
        "user_updated"
    }

    fn event_type(&self) -> &str {
        "UserUpdated"
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::GoOn
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let mut change = WriteModel::update(USERS, event.aggregate_id.as_str());
        for field in ["email", "username", "first_name", "last_name"] {
            if event.has(field) {
                change = change.set(field, text_or_null(event, field)?);
            }
        }
        for (path, field) in [("profile.bio", "bio"), ("profile.avatar_url", "avatar_url")] {
            if let Some(value) = nested_text(event, field, "profile", field)? {
                change = change.set(path, value);
            }
        }
        if event.has("first_name") || event.has("last_name") {
            change = change.join("name", &["first_name", "last_name"]);
        }
        Ok(vec![change.set_together(change_metadata(event)).into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::WriteModel;
    use bson::DateTime;
    use serde_json::json;

    #[test]
    fn a_new_user_has_every_field() {
        let payload = json!({ "email": "a@b", "first_name": "Ada", "last_name": "Lovelace", "bio": "x" });
        let models = UserCreated.handle(&Event::sample("UserCreated", payload)).unwrap();
        let id = "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491";
        let date = DateTime::from_millis(1_000);
        let expected = doc! {
            "_id": id, "email": "a@b", "username": null, "name": "Ada Lovelace", "first_name": "Ada",
            "last_name": "Lovelace", "profile": { "bio": "x", "avatar_url": null },
            "metadata": { "created_at": date, "updated_at": date, "source_event_id": "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e" },
            "allowed_users": [id],
        };
        assert_eq!(models, [WriteModel::create("users", id, expected)]);
    }

    #[test]
    fn an_update_sets_only_what_it_names() {
        let event = Event::sample("UserUpdated", json!({ "last_name": null, "profile": { "bio": "new" } }));
        let expected = WriteModel::update("users", event.aggregate_id.as_str())
            .set("last_name", Bson::Null)
            .set("profile.bio", "new")
            .join("name", &["first_name", "last_name"])
            .set_together(change_metadata(&event));
        assert_eq!(UserUpdated.handle(&event).unwrap(), [WriteModel::from(expected)]);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_refused() {
        assert!(UserUpdated.handle(&Event::sample("UserUpdated", json!({ "email": ["a"] }))).is_err());
        assert!(UserUpdated.handle(&Event::sample("UserUpdated", json!({ "profile": "bio" }))).is_err());
    }
}
