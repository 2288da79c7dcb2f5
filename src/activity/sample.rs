//! One stream of events that could come from a real application.

use fake::Fake;
use fake::faker::address::en::{BuildingNumber, CityName, Latitude, Longitude, StreetName};
use fake::faker::company::en::Buzzword;
use fake::faker::internet::en::DomainSuffix;
use fake::faker::lorem::en::{Sentence, Word};
use fake::faker::name::en::{FirstName, LastName};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

use super::Mix;

/// Of 100 events that concern a user or an activity, so many change one that exists.
const UPDATE_PERCENT: u32 = 15;

/// A row of the outbox; the database fills in the rest.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OutboxEvent {
    pub event_id: Uuid,
    pub aggregate_id: Uuid,
    pub aggregate_type: &'static str,
    pub event_type: &'static str,
    pub payload: Value,
}

impl OutboxEvent {
    /// Whether it makes a new document.
    pub fn is_create(&self) -> bool {
        matches!(self.event_type, "UserCreated" | "ActivityCreated")
    }
}

/// Endless events, the same ones for the same seed; each refers only to what an earlier one created.
#[derive(Debug)]
pub struct EventSource {
    random: SmallRng,
    mix: Mix,
    users: Vec<Uuid>,
    activities: Vec<Uuid>,
}

impl EventSource {
    /// The stream of `seed` in the usual mixture.
    pub fn new(seed: u64) -> Self {
        Self::with_mix(seed, Mix::default())
    }

    /// The stream of `seed` in that mixture; what events refer to is created first, whatever the mixture.
    pub fn with_mix(seed: u64, mix: Mix) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), mix, users: Vec::new(), activities: Vec::new() }
    }

    fn id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    fn any_of(random: &mut SmallRng, ids: &[Uuid]) -> Option<Uuid> {
        if ids.is_empty() { None } else { ids.get(random.random_range(0..ids.len())).copied() }
    }

    fn event(&mut self, aggregate_id: Uuid, event_type: &'static str, payload: Value) -> OutboxEvent {
        let aggregate_type = if event_type.starts_with("User") { "User" } else { "Activity" };
        OutboxEvent { event_id: self.id(), aggregate_id, aggregate_type, event_type, payload }
    }

    /// The next event.
    pub fn next_event(&mut self) -> OutboxEvent {
        let Mix { users, activities, .. } = self.mix;
        let subject = self.random.random_range(0..self.mix.total());
        let is_update = self.random.random_range(0..100) < UPDATE_PERCENT;
        let user = Self::any_of(&mut self.random, &self.users);
        let activity = Self::any_of(&mut self.random, &self.activities);
        match (user, activity) {
            (Some(user), _) if subject < users && is_update => self.user_updated(user),
            (Some(user), Some(activity)) if subject >= users.saturating_add(activities) => {
                self.participant_joined(activity, user)
            }
            (Some(_), Some(activity)) if subject >= users && is_update => self.activity_updated(activity),
            (Some(user), _) if subject >= users => self.activity_created(user),
            _ => self.user_created(),
        }
    }

    fn user_created(&mut self) -> OutboxEvent {
        let id = self.id();
        let random = &mut self.random;
        let first: String = FirstName().fake_with_rng(random);
        let last: String = LastName().fake_with_rng(random);
        let number = random.random_range(1..100_000);
        let username = format!("{}.{}{number}", first.to_lowercase(), last.to_lowercase().replace('\'', ""));
        let domain = format!("{}.{}", word(random), DomainSuffix().fake_with_rng::<String, _>(random));
        let payload = json!({
            "email": format!("{username}@{domain}"),
            "avatar_url": format!("https://cdn.{domain}/avatars/{id}.webp"),
            "username": username,
            "first_name": first,
            "last_name": last,
            "bio": Sentence(6..12).fake_with_rng::<String, _>(random),
        });
        self.users.push(id);
        self.event(id, "UserCreated", payload)
    }

    fn user_updated(&mut self, id: Uuid) -> OutboxEvent {
        let random = &mut self.random;
        // One half of the name at a time is what a careless consumer gets wrong.
        let payload = match random.random_range(0..4) {
            0 => json!({ "first_name": FirstName().fake_with_rng::<String, _>(random) }),
            1 => json!({ "last_name": LastName().fake_with_rng::<String, _>(random) }),
            2 => json!({ "bio": Sentence(8..16).fake_with_rng::<String, _>(random) }),
            _ => json!({
                "email": format!("{}{}@example.org", word(random), random.random_range(1..100_000)),
                "avatar_url": format!("https://cdn.example.org/avatars/{id}-{}.webp", random.random_range(1..100)),
            }),
        };
        self.event(id, "UserUpdated", payload)
    }

    fn activity_created(&mut self, creator: Uuid) -> OutboxEvent {
        let id = self.id();
        let random = &mut self.random;
        let kinds = ["sports", "music", "hiking", "games", "cooking", "language"];
        let kind = kinds.get(random.random_range(0..kinds.len())).copied().unwrap_or("games");
        let (day, hour) = (random.random_range(1..=28), random.random_range(8..20));
        let longitude: f64 = Longitude().fake_with_rng::<String, _>(random).parse().unwrap_or(0.0);
        let latitude: f64 = Latitude().fake_with_rng::<String, _>(random).parse().unwrap_or(0.0);
        let number: String = BuildingNumber().fake_with_rng(random);
        let payload = json!({
            "title": format!("{} {kind}", capitalised(&Buzzword().fake_with_rng::<String, _>(random))),
            "description": Sentence(3..8).fake_with_rng::<String, _>(random),
            "creator_user_id": creator,
            "activity_type": kind,
            "location_name": CityName().fake_with_rng::<String, _>(random),
            "location_address": format!("{} {number}", StreetName().fake_with_rng::<String, _>(random)),
            "location_coordinates": { "type": "Point", "coordinates": [longitude, latitude] },
            "start_date": format!("2027-01-{day:02}T{hour:02}:00:00Z"),
            "end_date": format!("2027-01-{day:02}T{:02}:30:00Z", hour + 1),
            "timezone": "Europe/Berlin",
            "max_participants": random.random_range(2..200),
        });
        self.activities.push(id);
        self.event(id, "ActivityCreated", payload)
    }

    fn activity_updated(&mut self, id: Uuid) -> OutboxEvent {
        let random = &mut self.random;
        let payload = match random.random_range(0..3) {
            0 => json!({ "title": Sentence(2..5).fake_with_rng::<String, _>(random) }),
            1 => json!({ "status": if random.random_bool(0.5) { "active" } else { "full" } }),
            _ => json!({
                "description": Sentence(6..14).fake_with_rng::<String, _>(random),
                "location_name": CityName().fake_with_rng::<String, _>(random),
            }),
        };
        self.event(id, "ActivityUpdated", payload)
    }

    fn participant_joined(&mut self, activity: Uuid, user: Uuid) -> OutboxEvent {
        let payload = json!({
            "activity_id": activity,
            "user_id": user,
            "message": Sentence(10..24).fake_with_rng::<String, _>(&mut self.random),
        });
        self.event(activity, "ParticipantJoined", payload)
    }
}

fn word(random: &mut SmallRng) -> String {
    Word().fake_with_rng(random)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn events(seed: u64, count: usize) -> Vec<OutboxEvent> {
        let mut source = EventSource::new(seed);
        (0..count).map(|_| source.next_event()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_does_not() {
        assert_eq!(events(1, 200), events(1, 200));
        assert_ne!(events(1, 5), events(2, 5));
    }

    #[test]
    fn the_mixture_is_40_30_30() {
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for event in events(7, 20_000) {
            *counts.entry(event.event_type).or_default() += 1;
        }
        let users = counts["UserCreated"] + counts["UserUpdated"];
        let activities = counts["ActivityCreated"] + counts["ActivityUpdated"];
        assert!((7_700..8_300).contains(&users), "{counts:?}");
        assert!((5_700..6_300).contains(&activities), "{counts:?}");
        assert!((5_700..6_300).contains(&counts["ParticipantJoined"]), "{counts:?}");
        assert!(counts["UserUpdated"] * 4 < counts["UserCreated"], "{counts:?}");
    }

    #[test]
    fn another_mixture_has_what_it_needs_first() {
        let mut source = EventSource::with_mix(3, "participants=1".parse().unwrap());
        let types: Vec<_> = (0..100).map(|_| source.next_event().event_type).collect();
        assert_eq!(types[..2], ["UserCreated", "ActivityCreated"]);
        assert!(types[2..].iter().all(|event_type| *event_type == "ParticipantJoined"), "{types:?}");
    }

    #[test]
    fn references_point_at_what_was_created_before() {
        let (mut known, mut ids) = (HashSet::new(), HashSet::new());
        for event in events(3, 5_000) {
            assert!(ids.insert(event.event_id));
            for field in ["creator_user_id", "user_id", "activity_id"] {
                if let Some(id) = event.payload.get(field) {
                    assert!(known.contains(id.as_str().unwrap()), "{event:?}");
                }
            }
            let id = event.aggregate_id.to_string();
            assert_eq!(known.insert(id), event.is_create(), "{event:?}");
        }
    }

    #[test]
    fn payloads_are_about_300_bytes() {
        let created: Vec<_> =
            events(5, 5_000).into_iter().filter(|event| !event.event_type.ends_with("Updated")).collect();
        let bytes: usize = created.iter().map(|event| event.payload.to_string().len()).sum();
        let mean = bytes / created.len();
        assert!((240..400).contains(&mean), "{mean}");
    }
}
