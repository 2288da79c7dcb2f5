//! The shipped file beside the handlers in Rust, every step, and every mistake with its line.

use bson::doc;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::process::prepare::asked;
use crate::process::{Event, HandlerRegistry, ReadModels};

const SHIPPED: &str = include_str!("../../../examples/activity.yaml");

fn shipped() -> HandlerRegistry {
    HandlerRegistry::new().with_projections("activity.yaml", SHIPPED).unwrap()
}

fn models(file: &str) -> ReadModels {
    ReadModels::new(HandlerRegistry::new().with_projections("test.yaml", file).unwrap())
}

/// Both say the same of an event: the same write models, or that they refuse it, whichever of its faults they name.
fn assert_same(builtin: &HandlerRegistry, shipped: &HandlerRegistry, event: &Event) {
    let (expected, found) = (builtin.handlers(&event.event_type), shipped.handlers(&event.event_type));
    assert_eq!(expected.len(), found.len());
    for handler in expected {
        let same = found.iter().find(|other| other.name() == handler.name()).unwrap();
        assert_eq!(handler.after_failure(), same.after_failure());
        let [expected, found] = [handler, same].map(|handler| asked(handler.as_ref(), event).ok());
        assert_eq!(expected, found, "{} of {event:?}", handler.name());
    }
}

#[test]
fn the_shipped_file_has_the_event_types_and_collections_of_the_handlers_in_rust() {
    let builtin = crate::activity::registry();
    assert_eq!(shipped().event_types(), builtin.event_types());
    assert_eq!(shipped().collections(), builtin.collections());
    assert_eq!(shipped().len(), 6);
}

/// Payloads of fields that handlers read, with values of every type, right and wrong.
fn payload() -> impl Strategy<Value = Value> {
    const FIELDS: [&str; 26] = [
        "email",
        "username",
        "first_name",
        "last_name",
        "bio",
        "avatar_url",
        "profile",
        "title",
        "description",
        "status",
        "creator_user_id",
        "activity_type",
        "location_name",
        "location_address",
        "location_coordinates",
        "coordinates",
        "location",
        "start_date",
        "end_date",
        "timezone",
        "max_participants",
        "user_id",
        "latitude",
        "longitude",
        "lng",
        "$set",
    ];
    let scalar = prop_oneof![
        6 => "[ a-zA-Z0-9$.]{0,6}".prop_map(Value::from),
        2 => Just(json!("AAAAAAAA-0000-4000-8000-000000000001")),
        2 => Just(Value::Null),
        2 => (-190..190_i32).prop_map(Value::from),
        1 => Just(json!(8.0)),
        1 => Just(json!(1.5)),
        1 => Just(json!(true)),
    ];
    let point = prop_oneof![
        Just(json!([13.4, 52.5])),
        Just(json!({ "lat": 52.5, "lng": 13.4 })),
        Just(json!({ "type": "Point", "coordinates": [13.4, 52.5] })),
        Just(json!([200, 1])),
    ];
    let inner = prop::sample::select(vec![
        "bio",
        "avatar_url",
        "name",
        "address",
        "coordinates",
        "latitude",
        "longitude",
        "type",
    ]);
    let object = prop::collection::btree_map(inner, prop_oneof![scalar.clone(), point.clone()], 0..5);
    let value = prop_oneof![5 => scalar, 2 => point, 2 => object.prop_map(|object| json!(object))];
    let fields = prop::collection::btree_map(prop::sample::select(FIELDS.to_vec()), value, 0..10);
    fields.prop_map(|fields| json!(fields))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]
    #[test]
    fn the_shipped_file_wants_what_the_handlers_in_rust_want(
        kind in prop::sample::select(vec!["UserCreated", "UserUpdated", "ActivityCreated", "ActivityUpdated", "ParticipantJoined"]),
        payload in payload(),
    ) {
        thread_local! { static BOTH: (HandlerRegistry, HandlerRegistry) = (crate::activity::registry(), shipped()); }
        BOTH.with(|(builtin, shipped)| assert_same(builtin, shipped, &Event::sample(kind, payload)));
    }
}

#[test]
fn every_step_does_what_that_of_a_handler_in_rust_does() {
    let mut models = models(
        "
handlers:
  - { name: placed, event: [Placed, Replaced], upsert: orders, key: { id: order.id }, if_present: [order],
      set: { customer: { any: order.customer }, open: { boolean: open }, total: { number: order.total }, at: { date: at } },
      put_entry: { items: { key: sku, count: item_count, entry: { sku: { text: sku }, n: { integer: n } } } },
      put_value: { tags: { text: tag } }, increment: { times: { integer: n } } }
  - { name: unset, event: Cleared, update: orders, unset: [customer], latest: { cleared: { event: created_at } },
      remove_entry: { items: { key: sku, count: item_count, value: { text: sku } } }, remove_value: { tags: { text: tag } } }
  - { name: gone, event: Cancelled, delete: orders }
",
    );
    let placed = json!({ "order": { "id": "A/1", "customer": { "name": "ada" }, "total": 2 }, "open": true, "n": 3,
        "at": "2026-01-01T00:00:00Z", "sku": "x", "tag": "new" });
    models.apply(&Event::sample("Placed", placed.clone())).unwrap();
    models.apply(&Event::sample("Replaced", json!({ "unrelated": 1 }))).unwrap();
    let date = bson::DateTime::from_millis(1_767_225_600_000);
    let expected = doc! {
        "_id": "A/1", "customer": { "name": "ada" }, "open": true, "total": 2.0, "at": date,
        "items": [{ "sku": "x", "n": 3_i64 }], "item_count": 1, "tags": ["new"], "times": 3_i64,
    };
    assert_eq!(models.documents("orders"), [expected]);
    models.apply(&Event::sample("Cleared", json!({ "sku": "x", "tag": "new" })).about("A/1")).unwrap();
    let cleared = models.document("orders", "A/1").unwrap();
    assert!(!cleared.contains_key("customer") && cleared.get_array("items").unwrap().is_empty(), "{cleared}");
    models.replay().unwrap();
    assert_eq!(models.document("orders", "A/1").unwrap(), cleared);
    for wrong in
        [json!({ "order": { "id": "", "x": 1 } }), json!({ "order": { "id": "A/1", "customer": { "$set": 1 } } })]
    {
        assert!(models.apply(&Event::sample("Placed", wrong)).is_err());
    }
    models.apply(&Event::sample("Cancelled", json!({})).about("A/1")).unwrap();
    assert_eq!(models.document("orders", "A/1"), None);
}

#[test]
fn handlers_of_the_program_stay_where_the_file_says_so() {
    let file = |keep: &str| {
        format!(
            "program_handlers: {keep}\nhandlers: [{{ name: n, event: New, create: news, fields: {{ a: {{ value: 1 }} }} }}]"
        )
    };
    let of = |keep| crate::activity::registry().with_projections("f", &file(keep)).unwrap();
    assert_eq!((of("keep").len(), of("none").len()), (7, 1));
}

/// What is wrong with a file of one handler, whose own lines begin with the third.
fn mistakes(handler: &str) -> String {
    let file =
        format!("handlers:\n  - name: h\n{}", handler.lines().map(|line| format!("    {line}\n")).collect::<String>());
    HandlerRegistry::new().with_projections("f.yaml", &file).unwrap_err().to_string()
}

#[test]
fn a_mistake_in_a_handler_is_told_with_its_line_and_the_remedy() {
    for (handler, expected) in [
        (
            "event: E\nupdaet: users\nset: { a: { text: a } }",
            "f.yaml:4: a handler has no `updaet`: did you mean `update`?",
        ),
        ("event: E\nupdate: users\nset:\n  a: { txt: a }", "f.yaml:6: `a` has no `txt`: did you mean `text`?"),
        ("event: E\nupdate: users\nset:\n  a: email", "f.yaml:6: `a` has to say where its value comes from"),
        ("event: E\nupdate: users\nset: { $a: { text: a } }", "f.yaml:5: a handler writes the path `$a`"),
        ("event: E\nupdate: users\nset: { _evp.wm: { text: a } }", "f.yaml:5: a handler writes the path `_evp.wm`"),
        ("event: E\nupdate: evp_x\nset: { a: { text: a } }", "f.yaml:4: the collection `evp_x` is reserved"),
        ("event: E\nupdate: users\nset: { a: { text: a } }\nunset: [a.b]", "f.yaml:6: `a.b` and `a` of one handler"),
        ("event: E\nupdate: users", "f.yaml:4: `update` needs steps"),
        ("event: E\nset: { a: { text: a } }", "f.yaml:2: a handler says what it does"),
        ("event: E\nupdate: u\ndelete: u\nset: { a: { text: a } }", "f.yaml:5: a handler does one thing"),
        ("event: E\ncreate: users\nset: { a: { text: a } }", "f.yaml:5: `set` goes with `update` or `upsert`"),
        ("event: E\ncreate: users", "f.yaml:4: `create` needs `fields`"),
        ("event: E\ncreate: users\nfields: { a: { text: a }, a.b: { text: b } }", "f.yaml:5: `a.b` stands inside"),
        ("update: users\nset: { a: { text: a } }", "f.yaml:2: a handler needs `event`"),
        ("event: E\nafter_failure: stop\ndelete: users", "f.yaml:4: `after_failure` is park"),
        ("event: E\nupdate: u\nset: { a: { event: time } }", "f.yaml:5: an event has no `time`: there are id"),
        ("event: E\nupdate: u\nset: { a: { text: a..b } }", "f.yaml:5: `a..b` is no path of a payload"),
        ("event: E\nupdate: u\nlatest: { a: { text: a } }", "f.yaml:5: `latest` takes a date"),
        ("event: E\nupdate: u\nset_if_present: { a: { value: 1 } }", "f.yaml:5: only what is read from the payload"),
        (
            "event: E\nupdate: u\nadd_once: { l: { key: k, order: o, entry: { k: { text: k } } } }",
            "the entry has no field `o`",
        ),
        (
            "event: E\nupdate: u\nadd_once: { l: { key: k, entry: { k: { text: k } } } }",
            "f.yaml:5: `add_once` needs `order`",
        ),
        (
            "event: E\nupdate: u\nput_entry: { l: { key: k, cuont: n, entry: { k: { text: k } } } }",
            "did you mean `count`?",
        ),
        ("event: E\nevent: F\ndelete: u", "f.yaml:4: this is no YAML: duplicated key"),
        ("event: E\n\tdelete: u", "f.yaml:3: this is no YAML: while scanning a plain scalar, found a tab"),
    ] {
        let said = mistakes(handler);
        assert!(said.contains(expected), "{handler}\n{said}\n{expected}");
    }
    let both = mistakes("event: E\nupdate: users\nset: { a: { txt: a }, $b: { text: b } }");
    assert_eq!(both.lines().count(), 2, "all at once: {both}");
}

#[test]
fn a_mistake_beside_the_handlers_is_told_with_its_line() {
    let handler = |name: &str, path: &str| {
        format!("  - {{ name: {name}, event: E, update: users, set: {{ {path}: {{ text: a }} }} }}\n")
    };
    let handlers = |all: &[(&str, &str)]| {
        format!("handlers:\n{}", all.iter().map(|(name, path)| handler(name, path)).collect::<String>())
    };
    let good = handlers(&[("a", "a")]);
    for (file, expected) in [
        (String::new(), "f.yaml:1: the file is empty"),
        ("handlers: []".to_owned(), "f.yaml:1: `handlers` has none"),
        (format!("handler: 1\n{good}"), "f.yaml:1: a projection file has no `handler`: did you mean `handlers`?"),
        (format!("{good}---\n{good}"), "a second document"),
        (format!("handlers: {}1", "- ".repeat(100_000)), "f.yaml:1: "),
        (format!("handlers:\n  {}1", "- ".repeat(100_000)), "f.yaml:2: this is nested too deeply"),
        (format!("handlers: {}", "[".repeat(100)), "f.yaml:1: this is nested too deeply"),
        (
            handlers(&[("a", "profile"), ("b", "profile.bio")]),
            "f.yaml:3: handler `a` of `E` writes `profile` of `users`",
        ),
        (handlers(&[("a", "a"), ("a", "b")]), "f.yaml:3: a handler `a` of `E` stands in line 2 already"),
        (
            format!("{good}collections:\n  users: {{ indexes: {{ x: {{ a: 2 }} }} }}"),
            "f.yaml:4: the key of an index is",
        ),
        (
            format!("{good}collections:\n  users: {{ indexes: {{ x: {{ a: 1 }} }}, unique: [y] }}"),
            "f.yaml:4: there is no index `y`",
        ),
        (
            format!("{good}collections:\n  orders: {{ forget_deleted: true }}"),
            "f.yaml:4: no handler of the file writes `orders`",
        ),
        (format!("{good}program_handlers: yes please"), "f.yaml:3: `program_handlers` is keep"),
    ] {
        let said = HandlerRegistry::new().with_projections("f.yaml", &file).unwrap_err();
        assert_eq!(said.kind().exit_code(), 64);
        assert!(said.to_string().contains(expected), "{file}\n{said}\n{expected}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[a-z:{}\\[\\]\\- \n$.,'\"&*!|>#]{0,80}") {
        let _ = HandlerRegistry::new().with_projections("f.yaml", &format!("handlers:\n  - {text}"));
        let _ = HandlerRegistry::new().with_projections("f.yaml", &text);
    }
}
