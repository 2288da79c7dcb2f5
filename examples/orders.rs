//! A domain of one's own: orders, of an outbox with the columns `id, aggregateid, aggregatetype, type, payload`.
//!
//! `OUTBOX_COLUMNS=debezium KAFKA_TOPIC=shop.public.outbox cargo run --example orders -- process` runs it.

use std::process::ExitCode;

use evp::bson::doc;
use evp::error::Result;
use evp::process::{CollectionSpec, EntryList, Event, Handler, HandlerRegistry, Path, WriteModel};

/// One handler a type of event; all of them write the same collection.
struct Orders(&'static str);

impl Handler for Orders {
    fn name(&self) -> &str {
        "orders"
    }

    fn event_type(&self) -> &str {
        self.0
    }

    fn collections(&self) -> Vec<CollectionSpec> {
        vec![CollectionSpec::new("orders").index("customer", doc! { "customer": 1 }).forget_deleted()]
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let items = EntryList { list: "items".into(), key: "sku".into(), count: Some("item_count".into()) };
        let order = WriteModel::update("orders", event.aggregate_id.as_str());
        Ok(vec![match self.0 {
            "OrderPlaced" => {
                let order = doc! { "customer": event.required_text("customer")?, "items": [], "item_count": 0 };
                WriteModel::create("orders", event.aggregate_id.as_str(), order)
            }
            "ItemAdded" => {
                let item = doc! { "sku": event.required_text("sku")?, "count": event.integer("count")? };
                order.put_entry(&items, item).into()
            }
            "ItemRemoved" => order.remove_entry(&items, event.required_text("sku")?).into(),
            "Noted" => order.set(Path::new("notes").key(event.required_text("topic")?), event.text("note")?).into(),
            _ => WriteModel::delete("orders", event.aggregate_id.as_str()),
        }])
    }
}

fn registry() -> HandlerRegistry {
    let kinds = ["OrderPlaced", "ItemAdded", "ItemRemoved", "Noted", "OrderCancelled"];
    kinds.into_iter().fold(HandlerRegistry::new(), |registry, kind| registry.register(Orders(kind)))
}

fn main() -> ExitCode {
    evp::run(registry())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use evp::process::ReadModels;
    use evp::serde_json::{Value, json};

    #[test]
    fn an_order_is_what_its_events_make_of_it() {
        let mut models = ReadModels::new(registry());
        let mut tell = |kind: &str, payload: Value| models.apply(&Event::sample(kind, payload).about("A/1")).unwrap();
        tell("OrderPlaced", json!({ "customer": "ada" }));
        tell("ItemAdded", json!({ "sku": "pen", "count": 2 }));
        tell("ItemAdded", json!({ "sku": "ink", "count": 1 }));
        tell("ItemRemoved", json!({ "sku": "pen" }));
        tell("Noted", json!({ "topic": "$gift.wrap", "note": "red" }));
        let expected = doc! {
            "_id": "A/1", "customer": "ada", "items": [{ "sku": "ink", "count": 1_i64 }], "item_count": 1,
            "notes": { "%24gift%2Ewrap": "red" },
        };
        assert_eq!(models.document("orders", "A/1").unwrap(), expected);
        models.replay().unwrap();
        assert_eq!(models.document("orders", "A/1").unwrap(), expected);
        models.apply(&Event::sample("OrderCancelled", json!({})).about("A/1")).unwrap();
        assert_eq!(models.document("orders", "A/1"), None);
    }
}
