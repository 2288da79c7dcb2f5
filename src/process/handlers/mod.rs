//! The handlers of the activity read models: one file per collection, one line per handler.

mod activities;
pub(super) mod fields;
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
mod tests {
    use serde_json::json;

    use crate::process::{Event, HandlerRegistry};

    #[test]
    fn every_event_type_has_its_handlers() {
        let registry = HandlerRegistry::builtin();
        let types = ["ActivityCreated", "ActivityUpdated", "ParticipantJoined", "UserCreated", "UserUpdated"];
        assert_eq!(registry.event_types(), types);
        assert_eq!(registry.handlers("UserCreated").len(), 2);
        assert!(registry.handlers("UserDeleted").is_empty());
    }

    #[test]
    fn wrong_types_are_refused_and_operators_stay_data() {
        let registry = HandlerRegistry::builtin();
        let hostile = json!({ "$set": { "_id": 1 }, "a.b": 1, "__proto__": {}, "_id": "x", "_evp": {}, "email": "$email",
            "user_id": "$$ROOT", "title": "$title" });
        for event_type in registry.event_types() {
            for handler in registry.handlers(event_type) {
                for model in handler.handle(&Event::sample(event_type, hostile.clone())).unwrap() {
                    model.check().unwrap();
                }
            }
        }
        let wrong = Event::sample("UserCreated", json!({ "email": 7 }));
        assert!(registry.handlers("UserCreated").iter().any(|handler| handler.handle(&wrong).is_err()));
    }
}
