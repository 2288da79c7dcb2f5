//! The application that evp ships: activities, their participants, and users.
//!
//! Its handlers have one file per collection and one line each; [`sample`] makes events for them. The machine knows none of it:
//! another application is another registry, as `examples/custom_handler.rs` shows.

mod activities;
mod fields;
mod mix;
pub(crate) mod sample;
mod statistics;
mod users;

pub use mix::Mix;
pub use sample::{EventSource, OutboxEvent};
pub(crate) use statistics::{GLOBAL, STATISTICS};

use crate::process::HandlerRegistry;

/// All of its handlers.
pub fn registry() -> HandlerRegistry {
    HandlerRegistry::new()
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

    use super::registry;
    use crate::process::Event;

    #[test]
    fn every_event_type_has_its_handlers() {
        let registry = registry();
        let types = ["ActivityCreated", "ActivityUpdated", "ParticipantJoined", "UserCreated", "UserUpdated"];
        assert_eq!(registry.event_types(), types);
        assert_eq!(registry.handlers("UserCreated").len(), 2);
        assert!(registry.handlers("UserDeleted").is_empty());
    }

    #[test]
    fn wrong_types_are_refused_and_operators_stay_data() {
        let registry = registry();
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
