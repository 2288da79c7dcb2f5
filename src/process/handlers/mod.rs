//! The handlers of the activity read models: one file per collection, one line per handler.

mod activities;
mod fields;
mod statistics;
mod users;

use super::HandlerRegistry;

/// Adds all of them.
pub(super) fn register(registry: HandlerRegistry) -> HandlerRegistry {
    registry
        .register(users::UserCreated)
        .register(users::UserUpdated)
        .register(statistics::UserCount)
        .register(activities::ActivityCreated)
        .register(activities::ActivityUpdated)
        .register(activities::ParticipantJoined)
}

#[cfg(test)]
pub(super) mod samples {
    use bson::DateTime;
    use serde_json::{Value, json};

    use crate::process::Event;

    /// An event of `event_type` with `payload`, created one second after 1970.
    pub(crate) fn event(event_type: &str, payload: Value) -> Event {
        let Value::Object(payload) = payload else { panic!("the payload of a sample is an object") };
        Event {
            event_id: "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e".parse().unwrap(),
            sequence_id: Some(7),
            aggregate_id: "d8dca3d4-a667-4b57-82eb-0f8fcd2c6491".to_owned(),
            aggregate_type: "User".to_owned(),
            event_type: event_type.to_owned(),
            payload,
            created_at: DateTime::from_millis(1_000),
            source_ts_us: None,
        }
    }

    #[test]
    fn every_event_type_has_its_handlers() {
        let registry = crate::process::HandlerRegistry::builtin();
        let types = ["ActivityCreated", "ActivityUpdated", "ParticipantJoined", "UserCreated", "UserUpdated"];
        assert_eq!(registry.event_types(), types);
        assert_eq!(registry.handlers("UserCreated").len(), 2);
        assert!(registry.handlers("UserDeleted").is_empty());
    }

    #[test]
    fn wrong_types_are_refused_and_operators_stay_data() {
        let registry = crate::process::HandlerRegistry::builtin();
        let hostile = json!({ "$set": { "_id": 1 }, "a.b": 1, "__proto__": {}, "_id": "x", "_evp": {}, "email": "$email",
            "user_id": "$$ROOT", "title": "$title" });
        for event_type in registry.event_types() {
            for handler in registry.handlers(event_type) {
                for model in handler.handle(&event(event_type, hostile.clone())).unwrap() {
                    model.check().unwrap();
                }
            }
        }
        let wrong = event("UserCreated", json!({ "email": 7 }));
        assert!(registry.handlers("UserCreated").iter().any(|handler| handler.handle(&wrong).is_err()));
    }
}
