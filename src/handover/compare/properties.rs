//! The properties that either side of a comparison runs with: the connector's own, without what reaches beyond its topics.

use std::collections::BTreeMap;

pub(super) type Properties = BTreeMap<String, String>;

/// The transform that leads every record to topics of the comparison, the last of the chain.
const ROUTE: &str = "evpCompare";
/// So many partitions has a topic that is made meanwhile: more than one, so that the choice of the partition is compared.
pub(super) const PARTITIONS: i32 = 3;
/// Of Debezium's side alone: its heartbeats say how far its records are in Kafka.
const HEARTBEAT_MS: &str = "1000";

/// Beginnings of properties that neither side may have, with the reason where their owner should hear of it.
const SET_ASIDE: [(&str, Option<&str>); 12] = [
    ("heartbeat.action.query", Some("it writes to the database")),
    ("signal.", Some("a signal has tables read, for which Debezium writes to the database")),
    ("notification.", Some("notifications are for those who run the connector")),
    ("openlineage.", Some("it tells another system of the connector")),
    ("replica.identity.autoset.values", Some("it changes tables")),
    ("exactly.once.support", None),
    ("transaction.boundary", None),
    ("offsets.storage.topic", None),
    ("slot.drop.on.stop", None),
    ("slot.failover", None),
    ("topic.creation.", None),
    ("name", None),
];

/// What belongs to the comparison for as long as it runs.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The connector beside the connector.
    pub(super) connector: String,
    /// What all of its topics begin with.
    pub(super) topics: String,
    pub(super) debezium_slot: String,
    pub(super) evp_slot: String,
}

impl Names {
    pub(super) fn of(connector: &str, slot: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let word: String = connector.chars().take(60).map(|c| if is_plain(c) { c } else { '_' }).collect();
        // A slot's name has 63 characters at the most.
        let slot: String = slot.chars().take(44).collect();
        Self {
            connector: format!("{connector}-evp-compare"),
            topics: format!("evp-compare.{word}."),
            debezium_slot: format!("{slot}_evp_compare_d"),
            evp_slot: format!("{slot}_evp_compare_e"),
        }
    }

    /// The beginning of the names of Debezium's topics.
    pub(super) fn debezium_topics(&self) -> String {
        format!("{}debezium.", self.topics)
    }

    /// The beginning of the names of evp's topics.
    pub(super) fn evp_topics(&self) -> String {
        format!("{}evp.", self.topics)
    }

    /// Where evp notes what it has confirmed of its copy.
    pub(super) fn position_topic(&self) -> String {
        format!("{}position", self.topics)
    }
}

/// The properties of both sides.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) debezium: Properties,
    pub(super) evp: Properties,
    /// What was left out and may be missed.
    pub(super) notes: Vec<String>,
}

/// `theirs` are the connector's, `ours` those that evp would run with. `is_old` is a Debezium before 2.6, and `with_heartbeats`
/// says whether its converter can write them.
pub(super) fn sides(
    theirs: &Properties,
    ours: &Properties,
    names: &Names,
    (is_old, with_heartbeats): (bool, bool),
) -> Sides {
    let mut notes = Vec::new();
    let mut debezium = shared(theirs, &names.debezium_topics(), Some(&mut notes));
    let mut evp = shared(ours, &names.evp_topics(), None);
    let set = |properties: &mut Properties, pairs: &[(&str, &str)]| {
        properties.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    };
    set(
        &mut debezium,
        &[
            ("slot.name", &names.debezium_slot),
            ("snapshot.mode", if is_old { "never" } else { "no_data" }),
            ("publication.autocreate.mode", "disabled"),
            ("heartbeat.interval.ms", if with_heartbeats { HEARTBEAT_MS } else { "0" }),
            ("status.update.interval.ms", "1000"),
            // Two connectors of one prefix would have one name for their figures, and the second take them from the first.
            ("custom.metric.tags", "evp=compare"),
            ("tasks.max", "1"),
        ],
    );
    set(&mut evp, &[("slot.name", &names.evp_slot), ("snapshot.mode", "no_data"), ("heartbeat.interval.ms", "0")]);
    Sides { debezium, evp, notes }
}

fn shared(given: &Properties, topics: &str, mut notes: Option<&mut Vec<String>>) -> Properties {
    let mut kept = Properties::new();
    for (name, value) in given {
        let aside = SET_ASIDE.iter().find(|(beginning, _)| is_of(name, beginning));
        match (aside, &mut notes) {
            (None, _) => _ = kept.insert(name.clone(), value.clone()),
            (Some((_, Some(reason))), Some(notes)) => notes.push(format!("{name} is left out: {reason}")),
            (Some(_), _) => {}
        }
    }
    let listed = kept.get("transforms").map(|list| list.trim().trim_end_matches(',')).filter(|list| !list.is_empty());
    let chain = listed.map_or_else(|| ROUTE.to_owned(), |list| format!("{list},{ROUTE}"));
    let mut set = |name: String, value: &str| _ = kept.insert(name, value.to_owned());
    set("transforms".to_owned(), &chain);
    set(format!("transforms.{ROUTE}.type"), "org.apache.kafka.connect.transforms.RegexRouter");
    set(format!("transforms.{ROUTE}.regex"), "(.*)");
    set(format!("transforms.{ROUTE}.replacement"), &format!("{topics}$1"));
    set("topic.creation.default.partitions".to_owned(), &PARTITIONS.to_string());
    set("topic.creation.default.replication.factor".to_owned(), "-1");
    kept
}

/// A beginning that ends with a point is one of many names, another is a name.
fn is_of(name: &str, beginning: &str) -> bool {
    if beginning.ends_with('.') { name.starts_with(beginning) } else { name == beginning }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_record_is_led_to_the_sides_own_topics_behind_the_connectors_transforms() {
        let theirs = properties(&[
            ("transforms", "outbox, route"),
            ("slot.name", "live"),
            ("topic.prefix", "shop"),
            ("name", "shop-connector"),
        ]);
        let names = Names::of("shop.connector", "live");
        let sides = sides(&theirs, &theirs, &names, (false, true));
        assert_eq!(sides.debezium["transforms"], "outbox, route,evpCompare");
        assert_eq!(sides.debezium["transforms.evpCompare.replacement"], "evp-compare.shop_connector.debezium.$1");
        assert_eq!(sides.evp["transforms.evpCompare.replacement"], "evp-compare.shop_connector.evp.$1");
        assert_eq!((sides.debezium["topic.prefix"].as_str(), sides.evp["topic.prefix"].as_str()), ("shop", "shop"));
        assert_ne!(sides.debezium["slot.name"], sides.evp["slot.name"]);
        assert!([&sides.debezium, &sides.evp].into_iter().all(|side| side["slot.name"] != "live"));
        assert!(!sides.debezium.contains_key("name"));
        let bare = super::sides(&Properties::new(), &Properties::new(), &names, (true, false));
        assert_eq!(bare.evp["transforms"], "evpCompare");
        assert_eq!(
            (bare.debezium["snapshot.mode"].as_str(), bare.debezium["heartbeat.interval.ms"].as_str()),
            ("never", "0")
        );
    }

    #[test]
    fn what_would_reach_beyond_the_topics_is_left_out_on_both_sides_and_told_once() {
        let theirs = properties(&[
            ("heartbeat.action.query", "UPDATE beat SET at = now()"),
            ("signal.data.collection", "public.signals"),
            ("signal.enabled.channels", "source,kafka"),
            ("notification.sink.topic.name", "notes"),
            ("replica.identity.autoset.values", "public.a:FULL"),
            ("topic.creation.groups", "big"),
            ("publication.autocreate.mode", "filtered"),
            ("slot.drop.on.stop", "true"),
            ("decimal.handling.mode", "string"),
        ]);
        let sides = sides(&theirs, &theirs, &Names::of("c", "s"), (false, true));
        for side in [&sides.debezium, &sides.evp] {
            let left: Vec<&String> =
                side.keys().filter(|name| SET_ASIDE.iter().any(|(of, _)| is_of(name, of))).collect();
            assert!(left.iter().all(|name| name.starts_with("topic.creation.default.")), "{left:?}");
            assert_eq!(side["decimal.handling.mode"], "string");
        }
        assert_eq!(sides.debezium["publication.autocreate.mode"], "disabled");
        assert_eq!(sides.notes.len(), 5, "{:?}", sides.notes);
        assert!(!sides.notes.iter().any(|note| note.contains("UPDATE")), "values may be secrets");
    }

    #[test]
    fn a_long_slots_copies_have_names_that_postgresql_takes() {
        let names = Names::of(&"c".repeat(300), &"s".repeat(63));
        assert!(names.debezium_slot.len() <= 63 && names.evp_slot.len() <= 63 && names.topics.len() < 80);
    }
}
